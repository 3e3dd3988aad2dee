#include "sim/machine/usage.h"

#include <algorithm>
#include <cstring>

#include "sim/machine/memory_limits.h"
#include "sim/machine/mig.h"
#include "sim/machine/mps.h"

namespace tranche::sim {
namespace {

// What the driver keeps of each GPU instance for itself.
constexpr uint64_t kInstanceReserve = uint64_t{12} << 20;
// Of the power limit, drawn by a GPU that does nothing.
constexpr double kIdlePower = 0.12;

enum ComputeMode : uint32_t { kProhibited = 2, kExclusiveProcess = 3 };

Context* Owned(MachineState* state, uint32_t pid, uint64_t serial) {
  if (serial == 0) return nullptr;
  for (Context& context : state->contexts) {
    if (context.serial == serial && context.pid == pid) return &context;
  }
  return nullptr;
}

Account* RunningAccount(MachineState* state, uint32_t gpu, uint32_t pid) {
  for (Account& account : state->accounts) {
    if (account.number != 0 && account.running && account.gpu == gpu && account.pid == pid) {
      return &account;
    }
  }
  return nullptr;
}

uint64_t MemoryOfProcess(const MachineState& state, uint32_t gpu, uint32_t pid) {
  uint64_t bytes = 0;
  for (const Context* context : ContextsOn(state, gpu)) {
    if (context->pid == pid) bytes += context->memory_bytes;
  }
  return bytes;
}

void NoteMemory(MachineState* state, uint32_t gpu, uint32_t pid) {
  if (Account* account = RunningAccount(state, gpu, pid)) {
    account->max_memory_bytes =
        std::max(account->max_memory_bytes, MemoryOfProcess(*state, gpu, pid));
  }
}

void OpenAccount(MachineState* state, uint32_t gpu, uint32_t pid, uint64_t wall_ns) {
  if (!state->gpus[gpu].accounting || RunningAccount(state, gpu, pid) != nullptr) return;
  // The oldest that no longer runs makes room.
  Account* slot = nullptr;
  for (Account& account : state->accounts) {
    if (account.number == 0) {
      slot = &account;
      break;
    }
    if (!account.running && (slot == nullptr || account.number < slot->number)) slot = &account;
  }
  if (slot == nullptr) return;
  *slot = Account{};
  slot->number = state->next_account++;
  slot->gpu = gpu;
  slot->pid = pid;
  slot->running = 1;
  slot->start_us = wall_ns / 1000;
}

void CloseAccount(MachineState* state, uint32_t gpu, uint32_t pid, uint64_t wall_ns) {
  Account* account = RunningAccount(state, gpu, pid);
  if (account == nullptr) return;
  account->running = 0;
  account->end_us = wall_ns / 1000;
}

// The share of the whole GPU's SMs that a context keeps busy.
double GpuShare(const GpuSpec& spec, const Gpu& gpu, const Context& context) {
  if (context.ci == 0) return context.load;
  return spec.sm == 0 ? 0 : context.load * SmCountOf(spec, gpu, context.ci) / spec.sm;
}

double GpuMemoryShare(const GpuSpec& spec, const Gpu& gpu, const Context& context) {
  if (context.ci == 0) return context.memory_load;
  const ComputeInstance* ci = FindCi(gpu, context.ci);
  const GpuInstance* gi = ci == nullptr ? nullptr : FindGi(gpu, ci->gi);
  if (gi == nullptr || spec.memory_slots == 0) return 0;
  return context.memory_load * gi->size / spec.memory_slots;
}

}  // namespace

const Context* FindContext(const MachineState& state, uint64_t serial) {
  if (serial == 0) return nullptr;
  for (const Context& context : state.contexts) {
    if (context.serial == serial) return &context;
  }
  return nullptr;
}

const Process* FindProcess(const MachineState& state, uint32_t pid) {
  for (const Process& process : state.processes) {
    if (process.pid == pid) return &process;
  }
  return nullptr;
}

std::vector<const Context*> ContextsOn(const MachineState& state, uint32_t gpu, uint64_t ci) {
  std::vector<const Context*> list;
  for (const Context& context : state.contexts) {
    if (context.serial != 0 && context.gpu == gpu && (ci == 0 || context.ci == ci)) {
      list.push_back(&context);
    }
  }
  return list;
}

std::vector<const Context*> ContextsOnGi(const MachineState& state, uint32_t gpu, uint64_t gi) {
  std::vector<const Context*> list;
  for (const Context* context : ContextsOn(state, gpu)) {
    const ComputeInstance* ci = FindCi(state.gpus[gpu], context->ci);
    if (ci != nullptr && ci->gi == gi) list.push_back(context);
  }
  return list;
}

Rc MemoryOf(const MachineSpec& spec, const MachineState& state, const Target& target,
            MemoryInfo* info) {
  if (target.gpu >= spec.gpu_count) return Rc::kInvalid;
  const GpuSpec& gpu_spec = spec.gpus[target.gpu];
  const Gpu& gpu = state.gpus[target.gpu];
  if (gpu.lost) return Rc::kGpuLost;
  *info = MemoryInfo{};
  std::vector<const Context*> contexts;
  if (target.ci == 0) {
    info->total = gpu_spec.memory_bytes;
    info->reserved = gpu_spec.reserved_bytes;
    contexts = ContextsOn(state, target.gpu);
  } else {
    const ComputeInstance* ci = FindCi(gpu, target.ci);
    const GpuInstance* gi = ci == nullptr ? nullptr : FindGi(gpu, ci->gi);
    const GiProfileSpec* profile =
        gi == nullptr ? nullptr : FindGiProfile(gpu_spec, gi->profile_id);
    if (profile == nullptr) return Rc::kNotFound;
    info->total = profile->memory_bytes;
    info->reserved = kInstanceReserve;
    contexts = ContextsOnGi(state, target.gpu, gi->serial);
  }
  for (const Context* context : contexts) info->used += context->memory_bytes;
  uint64_t taken = info->reserved + info->used;
  info->free = info->total > taken ? info->total - taken : 0;
  return Rc::kOk;
}

Load LoadOfGpu(const MachineSpec& spec, const MachineState& state, uint32_t gpu) {
  Load load;
  for (const Context* context : ContextsOn(state, gpu)) {
    load.sm += GpuShare(spec.gpus[gpu], state.gpus[gpu], *context);
    load.memory += GpuMemoryShare(spec.gpus[gpu], state.gpus[gpu], *context);
  }
  return {std::min(load.sm, 1.0), std::min(load.memory, 1.0)};
}

Load LoadOfGi(const MachineSpec& spec, const MachineState& state, uint32_t gpu,
              uint64_t gi_serial) {
  const GpuInstance* gi = FindGi(state.gpus[gpu], gi_serial);
  const GiProfileSpec* profile =
      gi == nullptr ? nullptr : FindGiProfile(spec.gpus[gpu], gi->profile_id);
  Load load;
  if (profile == nullptr || profile->sm == 0) return load;
  for (const Context* context : ContextsOnGi(state, gpu, gi_serial)) {
    load.sm +=
        context->load * SmCountOf(spec.gpus[gpu], state.gpus[gpu], context->ci) / profile->sm;
    load.memory += context->memory_load;
  }
  return {std::min(load.sm, 1.0), std::min(load.memory, 1.0)};
}

double PowerWatts(const MachineSpec& spec, const MachineState& state, uint32_t gpu) {
  double tdp = spec.gpus[gpu].tdp_watts;
  double idle = tdp * kIdlePower;
  double drawn = idle + (tdp - idle) * LoadOfGpu(spec, state, gpu).sm;
  return std::min(drawn, state.gpus[gpu].power_limit_mw / 1000.0);
}

Rc CreateContext(const MachineSpec& spec, MachineState* state, const Target& target,
                 const Process& owner, ContextKind kind, uint64_t overhead_bytes, uint64_t wall_ns,
                 const MpsClient& mps, uint64_t* context) {
  MemoryInfo memory;
  Rc rc = MemoryOf(spec, *state, target, &memory);
  if (rc != Rc::kOk) return rc;
  const Gpu& gpu = state->gpus[target.gpu];
  if (gpu.no_permission) return Rc::kNoPermission;
  if (target.ci == 0 && gpu.mig_mode) return Rc::kNotSupported;
  if (gpu.compute_mode == kProhibited) return Rc::kExclusive;
  if (gpu.compute_mode == kExclusiveProcess) {
    for (const Context* other : ContextsOn(*state, target.gpu, target.ci)) {
      const bool through_mps = mps.server != 0 && other->mps_server == mps.server;
      if (other->pid != owner.pid && !through_mps) return Rc::kExclusive;
    }
  }
  if (overhead_bytes > memory.free) return Rc::kInsufficientResources;
  if (target.ci == 0 && overhead_bytes > MemoryLeftUnderLimits(*state, target.gpu, owner.cgroup)) {
    return Rc::kInsufficientResources;
  }

  if (mps.server != 0 &&
      overhead_bytes + MemoryOfMpsClient(*state, target.gpu, owner.pid) > mps.memory_limit) {
    return Rc::kInsufficientResources;
  }

  Process* process = const_cast<Process*>(FindProcess(*state, owner.pid));
  if (process == nullptr) process = const_cast<Process*>(FindProcess(*state, 0));
  Context* slot = nullptr;
  for (Context& free : state->contexts) {
    if (free.serial == 0) {
      slot = &free;
      break;
    }
  }
  if (process == nullptr || slot == nullptr) return Rc::kInsufficientResources;
  *process = owner;
  *slot = Context{};
  slot->serial = state->next_serial++;
  slot->pid = owner.pid;
  slot->gpu = target.gpu;
  slot->ci = target.ci;
  slot->kind = kind;
  slot->memory_bytes = overhead_bytes;
  slot->mps_server = mps.server;
  slot->mps_namespace = mps.name_space;
  slot->mps_partition = mps.partition;
  slot->limit_bytes = mps.memory_limit;
  *context = slot->serial;
  OpenAccount(state, target.gpu, owner.pid, wall_ns);
  NoteMemory(state, target.gpu, owner.pid);
  return Rc::kOk;
}

Rc DestroyContext(MachineState* state, uint32_t pid, uint64_t serial, uint64_t wall_ns) {
  Context* context = Owned(state, pid, serial);
  if (context == nullptr) return Rc::kNotFound;
  uint32_t gpu = context->gpu;
  *context = Context{};
  bool here = false, anywhere = false;
  for (const Context& other : state->contexts) {
    if (other.serial == 0 || other.pid != pid) continue;
    anywhere = true;
    here = here || other.gpu == gpu;
  }
  if (!here) CloseAccount(state, gpu, pid, wall_ns);
  if (!anywhere) {
    if (auto* process = const_cast<Process*>(FindProcess(*state, pid))) *process = Process{};
  }
  return Rc::kOk;
}

Rc ChangeMemory(const MachineSpec& spec, MachineState* state, uint32_t pid, uint64_t serial,
                uint64_t grow, uint64_t shrink, bool counted) {
  Context* context = Owned(state, pid, serial);
  if (context == nullptr) return Rc::kNotFound;
  if (shrink >
      (counted ? context->memory_bytes - context->unlimited_bytes : context->unlimited_bytes))
    return Rc::kInvalid;
  if (grow > 0) {
    MemoryInfo memory;
    Rc rc = MemoryOf(spec, *state, {context->gpu, context->ci}, &memory);
    if (rc != Rc::kOk) return rc;
    const uint64_t held = context->mps_server == 0 ? context->memory_bytes
                                                   : MemoryOfMpsClient(*state, context->gpu, pid);
    const uint64_t allowed = context->limit_bytes > held ? context->limit_bytes - held : 0;
    if (grow > memory.free || grow > allowed) return Rc::kInsufficientResources;
    const Process* owner = FindProcess(*state, pid);
    if (counted && context->ci == 0 && owner != nullptr &&
        grow > MemoryLeftUnderLimits(*state, context->gpu, owner->cgroup)) {
      return Rc::kInsufficientResources;
    }
  }
  context->memory_bytes = context->memory_bytes + grow - shrink;
  if (!counted) context->unlimited_bytes = context->unlimited_bytes + grow - shrink;
  NoteMemory(state, context->gpu, pid);
  return Rc::kOk;
}

void RemoveProcess(MachineState* state, uint32_t pid, uint64_t wall_ns) {
  for (Context& context : state->contexts) {
    if (context.serial != 0 && context.pid == pid) context = Context{};
  }
  for (uint32_t gpu = 0; gpu < kMaxGpus; ++gpu) CloseAccount(state, gpu, pid, wall_ns);
  if (auto* process = const_cast<Process*>(FindProcess(*state, pid))) *process = Process{};
}

void AdvanceTime(const MachineSpec& spec, MachineState* state, uint64_t now_ns) {
  if (now_ns <= state->time_ns) return;
  // A state from before a reboot of the host has a clock of its own; its gap counts for nothing.
  double seconds = state->time_ns == 0 ? 0 : static_cast<double>(now_ns - state->time_ns) * 1e-9;
  state->time_ns = now_ns;
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    Gpu& gpu = state->gpus[i];
    Load load = LoadOfGpu(spec, *state, i);
    gpu.busy_seconds += load.sm * seconds;
    gpu.memory_busy_seconds += load.memory * seconds;
    gpu.energy_joules += PowerWatts(spec, *state, i) * seconds;
    for (GpuInstance& gi : gpu.gis) {
      if (gi.serial == 0) continue;
      Load part = LoadOfGi(spec, *state, i, gi.serial);
      gi.busy_seconds += part.sm * seconds;
      gi.memory_busy_seconds += part.memory * seconds;
    }
  }
  for (const Context& context : state->contexts) {
    if (context.serial == 0) continue;
    if (Account* account = RunningAccount(state, context.gpu, context.pid)) {
      account->busy_seconds += context.load * seconds;
      account->memory_busy_seconds += context.memory_load * seconds;
    }
  }
}

}  // namespace tranche::sim
