#pragma once

#include <string_view>

#include "sim/machine/machine.h"

// What happens to a machine as a whole, and what goes wrong with it. Called inside a transaction.
namespace tranche::sim {

// How a fresh machine starts.
void InitialState(const MachineSpec& spec, MachineState* state);

// A GPU reset: instances vanish, the pending MIG and ECC modes come into force, pending row remaps
// are done. kInUse while a process holds the GPU; kGpuLost when it has fallen off the bus;
// kNotSupported inside a virtual machine.
Rc ResetGpu(const MachineSpec& spec, MachineState* state, uint32_t gpu);
// The driver unloaded and loaded again. kInUse while a process holds any GPU. Instances vanish; MIG
// mode stays where the GPU keeps it (A100, A30) and is lost elsewhere; modes of the driver fall
// back.
Rc ReloadDriver(const MachineSpec& spec, MachineState* state, uint64_t wall_ns);
// One module of the driver (its name as in /proc/modules: "nvidia_uvm"). Without the first of them
// the driver is not there: nvmlInit and cuInit fail. Loading it is what ReloadDriver() describes,
// and each module loads those that it stands on.
// kNotFound for another name, or on a machine without the driver; kInUse while a process holds a
// GPU, or another module stands on it.
Rc LoadModule(const MachineSpec& spec, MachineState* state, std::string_view name,
              uint64_t wall_ns);
Rc UnloadModule(const MachineSpec& spec, MachineState* state, std::string_view name);
const char* ModuleName(DriverModule module);
// Whether a module cannot be loaded without that other one.
bool StandsOn(DriverModule module, DriverModule other);
bool IsDriverLoaded(const MachineSpec& spec, const MachineState& state);

// Of contexts made from now on. kInvalid for a value that is no TimeSlice.
Rc SetTimeSlice(const MachineSpec& spec, MachineState* state, uint32_t gpu, uint32_t value);

// Everything above for all GPUs, whoever holds them; lost GPUs come back. Processes are forgotten:
// the caller kills them.
Rc Reboot(const MachineSpec& spec, MachineState* state, uint64_t wall_ns);

// An error report of the GPU: the event, and what that XID does to counters, contexts and the GPU.
// `gi` and `ci` are instance ids or kNoId; with them only contexts there are hit.
Rc RaiseXid(const MachineSpec& spec, MachineState* state, uint32_t gpu, uint32_t xid, uint32_t gi,
            uint32_t ci, uint64_t wall_ns);
// The same where one process was at fault: its contexts there end, and with them those of all
// clients of its MPS server. kNotFound when it has none on that GPU.
Rc FaultProcess(const MachineSpec& spec, MachineState* state, uint32_t gpu, uint32_t xid,
                uint32_t pid, uint64_t wall_ns);
void AddEvent(MachineState* state, uint32_t gpu, uint64_t type, uint64_t data, uint32_t gi,
              uint32_t ci, uint64_t wall_ns);
// Takes all faults of a GPU back, counters included.
void ClearFaults(MachineState* state, uint32_t gpu);

}  // namespace tranche::sim
