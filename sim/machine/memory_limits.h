#pragma once

#include <cstdint>
#include <string_view>

#include "sim/machine/rc.h"
#include "sim/machine/state.h"

// The kernel's own memory limits per cgroup and GPU (driver 615 and newer; cgroup v2's dmem
// controller). They count all that the processes of a cgroup and of those below it hold. Called
// inside a transaction.
namespace tranche::sim {

// nullptr when that cgroup itself has none.
const MemoryLimit* FindMemoryLimit(const MachineState& state, uint32_t gpu,
                                   std::string_view cgroup);

// A cgroup whose limits are both gone (soft 0, hard kNoLimit) is forgotten. kInsufficientResources
// when the table is full, kInvalid for a path that is too long. A hard limit below what is held
// stops growth only.
Rc SetMemoryLimit(MachineState* state, uint32_t gpu, std::string_view cgroup, uint64_t soft_bytes,
                  uint64_t hard_bytes);

// What the processes of a cgroup and of those below it hold of the GPU.
uint64_t MemoryUsedIn(const MachineState& state, uint32_t gpu, std::string_view cgroup);

// What a process in `cgroup` may still allocate of the GPU; kNoLimit when nothing limits it.
uint64_t MemoryLeftUnderLimits(const MachineState& state, uint32_t gpu, std::string_view cgroup);

}  // namespace tranche::sim
