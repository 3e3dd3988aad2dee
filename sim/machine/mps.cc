#include "sim/machine/mps.h"

#include <set>

#include "sim/machine/mig.h"
#include "sim/machine/process_table.h"
#include "sim/machine/usage.h"

namespace tranche::sim {
namespace {

// Clients on one device: since CUDA 13.1, and before.
constexpr uint32_t kMostClients = 60, kMostClientsBefore = 48;

// An instance serves as many of them as it has of the GPU.
uint32_t MostClients(const MachineSpec& spec, const MachineState& state, const Target& target) {
  const uint32_t most = spec.driver.cuda_version >= 13010 ? kMostClients : kMostClientsBefore;
  const ComputeInstance* ci = FindCi(state.gpus[target.gpu], target.ci);
  const uint32_t slices = spec.gpus[target.gpu].compute_slices;
  return ci == nullptr || slices == 0 ? most : most * ci->size / slices;
}

// The server's own context is of no client.
bool IsClient(const Context& context, uint64_t server) {
  return context.serial != 0 && context.mps_server == server && context.kind == kMps;
}

bool Runs(const Watched& watched) {
  Process process;
  process.pid = watched.pid;
  process.start_ticks = watched.start_ticks;
  return watched.pid != 0 && IsAlive(process);
}

}  // namespace

uint32_t SmsOfChunk(const GpuSpec& gpu) {
  if (gpu.arch < Arch::kAmpere) return 0;
  return gpu.arch >= Arch::kHopper ? 8 : 4;
}

const MpsServer* FindMpsServer(const MachineState& state, std::string_view pipe_directory) {
  while (pipe_directory.size() > 1 && pipe_directory.back() == '/') pipe_directory.remove_suffix(1);
  for (const MpsServer& server : state.mps_servers) {
    if (server.serial != 0 && server.pipe_directory == pipe_directory) return &server;
  }
  return nullptr;
}

const MpsServer* FindMpsServer(const MachineState& state, uint64_t serial) {
  for (const MpsServer& server : state.mps_servers) {
    if (serial != 0 && server.serial == serial) return &server;
  }
  return nullptr;
}

bool IsMpsServerUp(const MpsServer& server) {
  return server.serial != 0 && (server.daemon.pid == 0 || Runs(server.server));
}

void ReapMps(MachineState* state) {
  for (MpsServer& server : state->mps_servers) {
    if (server.serial == 0 || server.daemon.pid == 0) continue;
    const bool daemon_runs = Runs(server.daemon);
    if (server.server.pid != 0 && !(daemon_runs && Runs(server.server))) {
      EndMpsClients(state, server.serial, 0, kMpsServerDied);
      server.server = Watched{};
      server.faulted = 0;
    }
    if (!daemon_runs) server = MpsServer{};
  }
}

Rc StartMpsServer(const MachineSpec& spec, MachineState* state, const MpsServer& wanted) {
  const uint32_t all = (uint32_t{1} << spec.gpu_count) - 1;
  if (wanted.pipe_directory[0] == 0 || wanted.gpus == 0 || (wanted.gpus & ~all) != 0 ||
      FindMpsServer(*state, std::string_view(wanted.pipe_directory)) != nullptr) {
    return Rc::kInvalid;
  }
  uint32_t sms = 0;
  for (uint32_t i = 0; i < wanted.partition_count && i < kMaxSmPartitions; ++i)
    sms += wanted.partition_sms[i];
  for (uint32_t gpu = 0; wanted.partition_count > 0 && gpu < spec.gpu_count; ++gpu) {
    if ((wanted.gpus >> gpu & 1) == 0) continue;
    if (SmsOfChunk(spec.gpus[gpu]) == 0 || wanted.ci != 0) return Rc::kNotSupported;
    if (sms > spec.gpus[gpu].sm) return Rc::kInsufficientResources;
  }
  for (MpsServer& free : state->mps_servers) {
    if (free.serial != 0) continue;
    free = wanted;
    free.serial = state->next_serial++;
    return Rc::kOk;
  }
  return Rc::kInsufficientResources;
}

Rc StopMpsServer(MachineState* state, std::string_view pipe_directory) {
  auto* server = const_cast<MpsServer*>(FindMpsServer(*state, pipe_directory));
  if (server == nullptr) return Rc::kNotFound;
  if (!MpsClients(*state, server->serial).empty()) return Rc::kInUse;
  *server = MpsServer{};
  return Rc::kOk;
}

Rc AdmitMpsClient(const MachineSpec& spec, MachineState* state, const MpsClient& client,
                  const Target& target, uint32_t uid) {
  auto* server = const_cast<MpsServer*>(FindMpsServer(*state, client.server));
  if (server == nullptr) return Rc::kMpsNoServer;
  if (!IsMpsServerUp(*server)) return Rc::kMpsNoServer;
  if (server->quitting != 0) return Rc::kMpsNotReady;
  if (server->any_user == 0 && server->uid != uid) return Rc::kNoPermission;
  const uint32_t gpu = uint32_t{1} << target.gpu;
  if ((server->faulted & gpu) != 0) {
    bool over = true;
    for (const Context* context : ContextsOn(*state, target.gpu))
      over = over && !IsClient(*context, server->serial);
    if (!over) return Rc::kMpsNotReady;
    server->faulted &= ~gpu;
  }
  if (MpsClients(*state, server->serial, &target).size() >= MostClients(spec, *state, target))
    return Rc::kMpsFull;
  return Rc::kOk;
}

std::vector<uint32_t> MpsClients(const MachineState& state, uint64_t server, const Target* target) {
  std::set<uint32_t> pids;
  for (const Context& context : state.contexts) {
    const bool there =
        target == nullptr || (context.gpu == target->gpu && context.ci == target->ci);
    if (there && IsClient(context, server)) pids.insert(context.pid);
  }
  return {pids.begin(), pids.end()};
}

void EndMpsClients(MachineState* state, uint64_t server, uint32_t pid, uint32_t why) {
  for (Context& context : state->contexts) {
    if (!IsClient(context, server) || (pid != 0 && context.pid != pid)) continue;
    if (context.fault_xid == 0) context.fault_xid = why;
    context.load = context.memory_load = 0;
  }
  // So that they look.
  ++state->next_event;
}

uint64_t MemoryOfMpsClient(const MachineState& state, uint32_t gpu, uint32_t pid) {
  uint64_t bytes = 0;
  for (const Context* context : ContextsOn(state, gpu)) {
    if (context->pid == pid && context->mps_server != 0) bytes += context->memory_bytes;
  }
  return bytes;
}

void SpreadMpsFault(MachineState* state, uint64_t number, uint32_t gpu, uint32_t xid) {
  auto* server = const_cast<MpsServer*>(FindMpsServer(*state, number));
  if (server == nullptr) return;
  server->faulted |= uint32_t{1} << gpu;
  for (Context& context : state->contexts) {
    if (!IsClient(context, number) || context.gpu != gpu) continue;
    context.fault_xid = xid;
    context.load = context.memory_load = 0;
  }
}

}  // namespace tranche::sim
