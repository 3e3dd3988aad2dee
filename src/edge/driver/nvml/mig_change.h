#pragma once

#include <string>

#include "edge/driver/nvml/library.h"
#include "model/machine.h"

// What changes a GPU. Each reads back what came of it and, where it fails, leaves the GPU as it was
// or says that it could not. The contracts are those of Driver.

namespace tranche {

// A GPU found by its UUID, and how it is just now.
struct FoundGpu {
  nvmlDevice_t device;
  Gpu gpu;
};

Result<MigMode> ChangeMigMode(const NvmlLibrary& nvml, const FoundGpu& found, bool enabled);
Status ChangeComputeMode(const NvmlLibrary& nvml, const FoundGpu& found, ComputeMode mode);
Result<MigInstance> MakeInstance(const NvmlLibrary& nvml, const FoundGpu& found,
                                 const std::string& profile_name, MigPlacement placement);
Status RemoveInstance(const NvmlLibrary& nvml, const FoundGpu& found, MigPlacement placement);

}  // namespace tranche
