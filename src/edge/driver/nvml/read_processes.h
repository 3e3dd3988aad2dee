#pragma once

#include <vector>

#include "edge/driver/nvml/library.h"
#include "edge/driver/nvml/reading.h"
#include "model/machine.h"

namespace tranche {

// Everybody on a GPU (the parent, in MIG mode), by pid: compute, MPS and graphics, each once.
// Commands are what the driver calls the processes; users and containers are not its business.
Answer<std::vector<GpuProcess>> ReadProcesses(const NvmlLibrary& nvml, nvmlDevice_t device);

}  // namespace tranche
