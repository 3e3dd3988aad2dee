#pragma once

#include "edge/driver/nvml/library.h"
#include "model/machine.h"

namespace tranche {

// Everything about one GPU. What cannot be read is absent with its reason; a GPU that cannot be
// read at all, or whose instances are hidden from the caller, has health.usable = false and says
// why. Its uuid is "" when not even that can be read.
Gpu ReadGpu(const NvmlLibrary& nvml, nvmlDevice_t device, int index);

Reading<ComputeMode> ReadComputeMode(const NvmlLibrary& nvml, nvmlDevice_t device);
Reading<MigMode> ReadMigMode(const NvmlLibrary& nvml, nvmlDevice_t device);

}  // namespace tranche
