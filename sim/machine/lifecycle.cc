#include "sim/machine/lifecycle.h"

#include "sim/machine/mig.h"
#include "sim/machine/mps.h"
#include "sim/machine/usage.h"

namespace tranche::sim {
namespace {

// nvmlEventType*
constexpr uint64_t kSingleBitEcc = 0x1;
constexpr uint64_t kDoubleBitEcc = 0x2;
constexpr uint64_t kXidCritical = 0x8;
constexpr uint64_t kGpuUnavailable = 0x4000;
constexpr uint64_t kRecoveryAction = 0x8000;

// NVML_GPU_RECOVERY_ACTION_*
constexpr uint32_t kRecoverByReset = 1;
constexpr uint32_t kRecoverByReboot = 2;
constexpr uint32_t kRecoverByDrainAndReset = 4;

void DropInstances(Gpu* gpu) {
  for (GpuInstance& gi : gpu->gis) {
    gpu->gis_destroyed += gi.serial != 0 ? 1 : 0;
    gi = GpuInstance{};
  }
  for (ComputeInstance& ci : gpu->cis) ci = ComputeInstance{};
}

// What every way of starting the GPU anew does.
void StartAnew(Gpu* gpu) {
  DropInstances(gpu);
  gpu->ecc_mode = gpu->ecc_pending;
  gpu->ecc_volatile_corrected = gpu->ecc_volatile_uncorrected = 0;
  if (gpu->rows_pending) {
    gpu->rows_uncorrectable += gpu->rows_pending;
    gpu->rows_pending = 0;
  }
  if (gpu->recovery_action != kRecoverByReboot) gpu->recovery_action = 0;
}

void DriverDefaults(const GpuSpec& spec, Gpu* gpu) {
  gpu->compute_mode = 0;
  gpu->time_slice = kDefaultSlice;
  gpu->persistence = 0;
  gpu->accounting = 0;
  gpu->gpm_streaming = 0;
  gpu->locked_min_mhz = gpu->locked_max_mhz = 0;
  gpu->power_limit_mw = spec.tdp_watts * 1000;
}

void RestoreMode(const GpuSpec& spec, Gpu* gpu) {
  if (spec.mode_persists) {
    gpu->mig_mode = gpu->mig_pending;
  } else {
    gpu->mig_mode = gpu->mig_pending = 0;
  }
}

void ForgetProcesses(MachineState* state, uint64_t wall_ns) {
  for (Process& process : state->processes) {
    if (process.pid != 0) RemoveProcess(state, process.pid, wall_ns);
  }
}

// XIDs after which the application's contexts are dead. 63 and 92 only report.
bool KillsContexts(uint32_t xid) {
  switch (xid) {
    case 13:
    case 31:
    case 32:
    case 38:
    case 43:
    case 45:
    case 46:
    case 48:
    case 62:
    case 64:
    case 68:
    case 69:
    case 74:
    case 79:
    case 94:
    case 95:
    case 109:
    case 119:
    case 120:
      return true;
    default:
      return false;
  }
}

// XIDs that hit whatever runs on the GPU, not only where they were noticed.
bool HitsWholeGpu(uint32_t xid) { return xid == 79 || xid == 95 || xid == 119 || xid == 120; }

}  // namespace

void InitialState(const MachineSpec& spec, MachineState* state) {
  *state = MachineState{};
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    Gpu& gpu = state->gpus[i];
    gpu.persistence = 1;
    gpu.ecc_mode = gpu.ecc_pending = spec.gpus[i].ecc;
    gpu.power_limit_mw = spec.gpus[i].tdp_watts * 1000;
  }
}

Rc ResetGpu(const MachineSpec& spec, MachineState* state, uint32_t index) {
  if (index >= spec.gpu_count) return Rc::kInvalid;
  Gpu& gpu = state->gpus[index];
  if (gpu.lost) return Rc::kGpuLost;
  if (spec.passthrough) return Rc::kNotSupported;
  if (!ContextsOn(*state, index).empty()) return Rc::kInUse;
  StartAnew(&gpu);
  gpu.mig_mode = gpu.mig_pending;
  return Rc::kOk;
}

Rc ReloadDriver(const MachineSpec& spec, MachineState* state, uint64_t wall_ns) {
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    if (!ContextsOn(*state, i).empty()) return Rc::kInUse;
  }
  ForgetProcesses(state, wall_ns);
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    StartAnew(&state->gpus[i]);
    DriverDefaults(spec.gpus[i], &state->gpus[i]);
    RestoreMode(spec.gpus[i], &state->gpus[i]);
  }
  for (Event& event : state->events) event = Event{};
  state->modules_absent = 0;
  ++state->boot;
  return Rc::kOk;
}

const char* ModuleName(DriverModule module) {
  constexpr const char* kNames[kDriverModules] = {"nvidia", "nvidia_uvm", "nvidia_modeset",
                                                  "nvidia_drm"};
  return kNames[module];
}

bool StandsOn(DriverModule module, DriverModule other) {
  if (module == other) return false;
  return other == kNvidia || (module == kDrm && other == kModeset);
}

bool IsDriverLoaded(const MachineSpec& spec, const MachineState& state) {
  return spec.driver.loaded != 0 && (state.modules_absent >> kNvidia & 1) == 0;
}

namespace {

bool FindModule(const MachineSpec& spec, std::string_view name, DriverModule* module) {
  for (uint32_t i = 0; i < kDriverModules; ++i) {
    *module = static_cast<DriverModule>(i);
    if (name == ModuleName(*module)) return spec.driver.loaded != 0;
  }
  return false;
}

bool IsLoaded(const MachineState& state, DriverModule module) {
  return (state.modules_absent >> module & 1) == 0;
}

}  // namespace

Rc LoadModule(const MachineSpec& spec, MachineState* state, std::string_view name,
              uint64_t wall_ns) {
  DriverModule module;
  if (!FindModule(spec, name, &module)) return Rc::kNotFound;
  const uint32_t before = state->modules_absent;
  if (!IsLoaded(*state, kNvidia)) {
    const Rc rc = ReloadDriver(spec, state, wall_ns);
    if (rc != Rc::kOk) return rc;
  }
  state->modules_absent = before;
  for (uint32_t i = 0; i < kDriverModules; ++i) {
    const auto other = static_cast<DriverModule>(i);
    if (other == module || StandsOn(module, other)) state->modules_absent &= ~(1u << i);
  }
  return Rc::kOk;
}

Rc UnloadModule(const MachineSpec& spec, MachineState* state, std::string_view name) {
  DriverModule module;
  if (!FindModule(spec, name, &module)) return Rc::kNotFound;
  if (!IsLoaded(*state, module)) return Rc::kOk;
  for (uint32_t i = 0; i < kDriverModules; ++i) {
    const auto other = static_cast<DriverModule>(i);
    if (IsLoaded(*state, other) && StandsOn(other, module)) return Rc::kInUse;
  }
  // Whoever computes holds both of these.
  for (uint32_t i = 0; (module == kNvidia || module == kUvm) && i < spec.gpu_count; ++i) {
    if (!ContextsOn(*state, i).empty()) return Rc::kInUse;
  }
  state->modules_absent |= 1u << module;
  return Rc::kOk;
}

Rc SetTimeSlice(const MachineSpec& spec, MachineState* state, uint32_t index, uint32_t value) {
  if (index >= spec.gpu_count || value > kLongSlice) return Rc::kInvalid;
  if (state->gpus[index].lost) return Rc::kGpuLost;
  state->gpus[index].time_slice = value;
  return Rc::kOk;
}

Rc Reboot(const MachineSpec& spec, MachineState* state, uint64_t wall_ns) {
  for (Context& context : state->contexts) context = Context{};
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    state->gpus[i].lost = 0;
    state->gpus[i].recovery_action = 0;
  }
  return ReloadDriver(spec, state, wall_ns);
}

void AddEvent(MachineState* state, uint32_t gpu, uint64_t type, uint64_t data, uint32_t gi,
              uint32_t ci, uint64_t wall_ns) {
  uint64_t number = state->next_event++;
  Event& event = state->events[number % kMaxEvents];
  event = Event{};
  event.number = number;
  event.type = type;
  event.data = data;
  event.time_ns = wall_ns;
  event.gpu = gpu;
  event.gi = gi;
  event.ci = ci;
}

Rc RaiseXid(const MachineSpec& spec, MachineState* state, uint32_t index, uint32_t xid,
            uint32_t gi_id, uint32_t ci_id, uint64_t wall_ns) {
  if (index >= spec.gpu_count || xid == 0) return Rc::kInvalid;
  Gpu& gpu = state->gpus[index];
  const GpuInstance* gi = nullptr;
  const ComputeInstance* ci = nullptr;
  if (gi_id != kNoId) {
    gi = FindGiById(gpu, gi_id);
    if (gi == nullptr) return Rc::kNotFound;
  }
  if (ci_id != kNoId) {
    ci = gi == nullptr ? nullptr : FindCiById(gpu, gi->serial, ci_id);
    if (ci == nullptr) return Rc::kNotFound;
  }

  switch (xid) {
    case 48:  // double-bit ECC error
    case 94:  // contained
    case 95:  // uncontained
      ++gpu.ecc_volatile_uncorrected;
      ++gpu.ecc_aggregate_uncorrected;
      if (xid == 95) gpu.recovery_action = kRecoverByReset;
      if (xid == 94) gpu.recovery_action = kRecoverByDrainAndReset;
      AddEvent(state, index, kDoubleBitEcc, 0, gi_id, ci_id, wall_ns);
      break;
    case 63:  // a row remapping was recorded; a reset does it
      ++gpu.rows_pending;
      gpu.recovery_action = kRecoverByDrainAndReset;
      break;
    case 64:  // it could not be recorded
      gpu.rows_failure = 1;
      break;
    case 92:  // many single-bit errors
      gpu.ecc_volatile_corrected += 1000;
      gpu.ecc_aggregate_corrected += 1000;
      AddEvent(state, index, kSingleBitEcc, 0, gi_id, ci_id, wall_ns);
      break;
    case 79:  // fallen off the bus
      gpu.lost = 1;
      gpu.recovery_action = kRecoverByReboot;
      break;
    case 119:  // the GPU's own firmware does not answer
    case 120:
      gpu.recovery_action = kRecoverByReset;
      break;
    default:
      break;
  }
  AddEvent(state, index, kXidCritical, xid, gi_id, ci_id, wall_ns);
  if (gpu.lost) AddEvent(state, index, kGpuUnavailable, 0, kNoId, kNoId, wall_ns);
  if (gpu.recovery_action) {
    AddEvent(state, index, kRecoveryAction, gpu.recovery_action, kNoId, kNoId, wall_ns);
  }

  if (!KillsContexts(xid)) return Rc::kOk;
  for (Context& context : state->contexts) {
    if (context.serial == 0 || context.gpu != index) continue;
    const ComputeInstance* on = FindCi(gpu, context.ci);
    bool hit =
        HitsWholeGpu(xid) || gi == nullptr ||
        (on != nullptr && on->gi == gi->serial && (ci == nullptr || on->serial == ci->serial));
    if (!hit) continue;
    context.fault_xid = xid;
    context.load = context.memory_load = 0;
    SpreadMpsFault(state, context.mps_server, index, xid);
  }
  return Rc::kOk;
}

Rc FaultProcess(const MachineSpec& spec, MachineState* state, uint32_t index, uint32_t xid,
                uint32_t pid, uint64_t wall_ns) {
  if (index >= spec.gpu_count || xid == 0) return Rc::kInvalid;
  bool any = false;
  for (Context& context : state->contexts) {
    if (context.serial == 0 || context.gpu != index || context.pid != pid) continue;
    any = true;
    if (!KillsContexts(xid)) continue;
    context.fault_xid = xid;
    context.load = context.memory_load = 0;
    SpreadMpsFault(state, context.mps_server, index, xid);
  }
  if (!any) return Rc::kNotFound;
  AddEvent(state, index, kXidCritical, xid, kNoId, kNoId, wall_ns);
  return Rc::kOk;
}

void ClearFaults(MachineState* state, uint32_t index) {
  Gpu& gpu = state->gpus[index];
  gpu.lost = gpu.no_permission = 0;
  gpu.recovery_action = 0;
  gpu.rows_correctable = gpu.rows_uncorrectable = gpu.rows_pending = gpu.rows_failure = 0;
  gpu.ecc_volatile_corrected = gpu.ecc_volatile_uncorrected = 0;
  gpu.ecc_aggregate_corrected = gpu.ecc_aggregate_uncorrected = 0;
}

}  // namespace tranche::sim
