#pragma once

#include <string>
#include <vector>

#include "edge/driver/nvml/library.h"
#include "edge/driver/nvml/reading.h"
#include "model/machine.h"

namespace tranche {

// The GPU instance profiles of a GPU with MIG, on or off, by nvml_profile. What the driver
// describes in a way that makes no sense is left out and named in `problems`.
std::vector<MigProfile> ReadMigProfiles(const NvmlLibrary& nvml, nvmlDevice_t device,
                                        Bytes gpu_memory, std::vector<std::string>* problems);

// How many memory slots the placements of these profiles need.
int SlotsOf(const std::vector<MigProfile>& profiles);

// A GPU instance with its NVML handle, which dies with it.
struct FoundInstance {
  nvmlGpuInstance_t handle;
  MigInstance instance;
};

// All GPU instances with their compute instances, by placement. Placements are read, never derived
// from ids.
Answer<std::vector<FoundInstance>> ReadMigInstances(const NvmlLibrary& nvml, nvmlDevice_t device,
                                                    const std::vector<MigProfile>& profiles);

// The compute instance profile that spans a whole GPU instance of `compute_slices`.
Answer<unsigned int> WholeComputeProfile(const NvmlLibrary& nvml, nvmlGpuInstance_t instance,
                                         int compute_slices);

}  // namespace tranche
