#pragma once

#include <string>

#include "edge/driver/driver.h"
#include "edge/driver/nvml/library.h"
#include "edge/driver/nvml/mig_change.h"

namespace tranche {

// See Driver. The layout of the two calls is known second-hand (driver 615 / CUDA 13.4), so what
// was set is always read back and compared.
Result<MemoryLimitsRead> ReadMemoryLimits(const NvmlLibrary& nvml, const FoundGpu& found,
                                          const std::string& cgroup);
Status ChangeMemoryLimits(const NvmlLibrary& nvml, const FoundGpu& found, const std::string& cgroup,
                          const MemoryLimits& limits);

}  // namespace tranche
