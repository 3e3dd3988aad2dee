#pragma once

#include <vector>

#include "sim/machine/machine.h"

// Who uses what: contexts, memory and load on the state of one machine. Called inside a
// transaction.
namespace tranche::sim {

const Context* FindContext(const MachineState& state, uint64_t serial);
const Process* FindProcess(const MachineState& state, uint32_t pid);
// On the whole GPU and on all its instances; with `ci`, on that compute instance only.
std::vector<const Context*> ContextsOn(const MachineState& state, uint32_t gpu, uint64_t ci = 0);
std::vector<const Context*> ContextsOnGi(const MachineState& state, uint32_t gpu, uint64_t gi);

// Memory of a whole GPU, or of the GPU instance behind a compute instance (its compute instances
// share it). kNotFound when the instance is gone.
Rc MemoryOf(const MachineSpec& spec, const MachineState& state, const Target& target,
            MemoryInfo* info);

// How busy a GPU, a GPU instance or a compute instance is now, 0..1 of its own SMs and bandwidth.
struct Load {
  double sm = 0;
  double memory = 0;
};
Load LoadOfGpu(const MachineSpec& spec, const MachineState& state, uint32_t gpu);
Load LoadOfGi(const MachineSpec& spec, const MachineState& state, uint32_t gpu, uint64_t gi);

// Electrical power drawn now.
double PowerWatts(const MachineSpec& spec, const MachineState& state, uint32_t gpu);

Rc CreateContext(const MachineSpec& spec, MachineState* state, const Target& target,
                 const Process& owner, ContextKind kind, uint64_t overhead_bytes, uint64_t wall_ns,
                 const MpsClient& mps, uint64_t* context);
Rc DestroyContext(MachineState* state, uint32_t pid, uint64_t context, uint64_t wall_ns);
Rc ChangeMemory(const MachineSpec& spec, MachineState* state, uint32_t pid, uint64_t context,
                uint64_t grow, uint64_t shrink, bool counted);
// Takes a process and all it holds away, as when it died.
void RemoveProcess(MachineState* state, uint32_t pid, uint64_t wall_ns);

// Moves the integrals (busy time, energy, accounting) on to `now_ns`.
void AdvanceTime(const MachineSpec& spec, MachineState* state, uint64_t now_ns);

}  // namespace tranche::sim
