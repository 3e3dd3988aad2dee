#pragma once

#include <string>
#include <string_view>

#include "base/units.h"
#include "model/machine.h"

namespace tranche {

// The variant that an NVML_GPU_INSTANCE_PROFILE_* stands for; kPlain for one that is not known.
MigVariant VariantOfNvmlProfile(int nvml_profile);

// "MIG 1g.10gb+me" -> "1g.10gb+me"; "" when it is not such a name.
std::string ProfileNameFromDriver(std::string_view text);

// The name that the driver gives a profile, for drivers that only tell its numbers: compute slices,
// then the profile's part of the GPU in eighths, rounded up, of the GPU's memory in GiB, rounded
// up.
std::string ProfileNameFromNumbers(int compute_slices, Bytes memory, Bytes gpu_memory,
                                   MigVariant variant);

}  // namespace tranche
