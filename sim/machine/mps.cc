#include "sim/machine/mps.h"

#include <algorithm>
#include <set>
#include <string>

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

bool IsUp(const MpsServer& server) {
  return server.daemon == 0 || (server.ready != 0 && Runs(server.process));
}

std::string_view WithoutSlashes(std::string_view path) {
  while (path.size() > 1 && path.back() == '/') path.remove_suffix(1);
  return path;
}

template <typename Entry, size_t count>
const Entry* BySerial(const Entry (&entries)[count], uint64_t serial) {
  for (const Entry& entry : entries) {
    if (serial != 0 && entry.serial == serial) return &entry;
  }
  return nullptr;
}

template <typename Entry, size_t count>
Rc Place(Entry (&entries)[count], const Entry& wanted, MachineState* state, uint64_t* serial) {
  for (Entry& free : entries) {
    if (free.serial != 0) continue;
    free = wanted;
    free.serial = state->next_serial++;
    if (serial != nullptr) *serial = free.serial;
    return Rc::kOk;
  }
  return Rc::kInsufficientResources;
}

template <typename Entry>
void Sort(std::vector<const Entry*>* entries) {
  std::sort(entries->begin(), entries->end(),
            [](const Entry* a, const Entry* b) { return a->serial < b->serial; });
}

const MpsDaemon* DaemonBehind(const MachineState& state, std::string_view pipe_directory) {
  for (const MpsDaemon& daemon : state.mps_daemons) {
    if (daemon.serial != 0 && daemon.pipe_directory == pipe_directory) return &daemon;
  }
  return nullptr;
}

// A fault is over where none of those that had it is left.
void ForgetFaults(const MachineState& state, MpsServer* server) {
  uint32_t still = 0;
  for (const Context& context : state.contexts) {
    if (IsClient(context, server->serial)) still |= uint32_t{1} << context.gpu;
  }
  server->faulted &= still;
}

MpsRoute RouteTo(const MachineState& state, const MpsServer& server, std::string_view name) {
  const MpsNamespace* name_space = FindMpsNamespace(state, server.serial, name);
  return {server.daemon, server.serial, name_space == nullptr ? 0 : name_space->serial,
          IsUp(server)};
}

}  // namespace

const MpsDaemon* FindMpsDaemon(const MachineState& state, uint64_t serial) {
  return BySerial(state.mps_daemons, serial);
}

const MpsServer* FindMpsServer(const MachineState& state, std::string_view pipe_directory) {
  for (const MpsServer& server : state.mps_servers) {
    if (server.serial != 0 && server.pipe_directory == WithoutSlashes(pipe_directory))
      return &server;
  }
  return nullptr;
}

const MpsServer* FindMpsServer(const MachineState& state, uint64_t serial) {
  return BySerial(state.mps_servers, serial);
}

const MpsServer* FindMpsServer(const MachineState& state, uint64_t daemon, std::string_view name) {
  for (const MpsServer& server : state.mps_servers) {
    if (server.serial != 0 && server.daemon == daemon && server.name == name) return &server;
  }
  return nullptr;
}

const MpsNamespace* FindMpsNamespace(const MachineState& state, uint64_t serial) {
  return BySerial(state.mps_namespaces, serial);
}

const MpsNamespace* FindMpsNamespace(const MachineState& state, uint64_t server,
                                     std::string_view name) {
  for (const MpsNamespace& one : state.mps_namespaces) {
    if (one.serial != 0 && one.server == server && one.name == name) return &one;
  }
  return nullptr;
}

std::vector<const MpsServer*> MpsServersOf(const MachineState& state, uint64_t daemon) {
  std::vector<const MpsServer*> servers;
  for (const MpsServer& server : state.mps_servers) {
    if (server.serial != 0 && server.daemon == daemon) servers.push_back(&server);
  }
  Sort(&servers);
  return servers;
}

std::vector<const MpsNamespace*> MpsNamespacesOf(const MachineState& state, uint64_t server) {
  std::vector<const MpsNamespace*> namespaces;
  for (const MpsNamespace& one : state.mps_namespaces) {
    if (one.serial != 0 && one.server == server) namespaces.push_back(&one);
  }
  Sort(&namespaces);
  return namespaces;
}

bool IsServerOfUser(const MpsServer& server, const MpsDaemon& daemon, uint32_t uid) {
  // One server for everybody is root's.
  const std::string name = "uid_" + std::to_string(daemon.any_user != 0 ? 0 : uid);
  return server.daemon == daemon.serial && server.name == name;
}

MpsRoute RouteMpsClient(const MachineState& state, std::string_view pipe_directory, uint32_t uid) {
  const std::string_view path = WithoutSlashes(pipe_directory);
  if (const MpsServer* server = FindMpsServer(state, path))
    return RouteTo(state, *server, kDefaultNamespace);
  if (const MpsDaemon* daemon = DaemonBehind(state, path)) {
    for (const MpsServer& server : state.mps_servers) {
      if (server.serial != 0 && IsServerOfUser(server, *daemon, uid))
        return RouteTo(state, server, kDefaultNamespace);
    }
    return {daemon->serial, 0, 0, false};
  }
  const size_t slash = path.rfind('/');
  const MpsServer* server =
      slash == std::string_view::npos ? nullptr : FindMpsServer(state, path.substr(0, slash));
  if (server == nullptr) return {};
  const MpsRoute route = RouteTo(state, *server, path.substr(slash + 1));
  return route.name_space == 0 ? MpsRoute{} : route;
}

void ReapMps(MachineState* state) {
  for (const MpsDaemon& daemon : state->mps_daemons) {
    if (daemon.serial != 0 && !Runs(daemon.process)) RemoveMpsDaemon(state, daemon.serial);
  }
  for (MpsServer& server : state->mps_servers) {
    if (server.serial != 0 && server.faulted != 0) ForgetFaults(*state, &server);
    // Without a pid it is about to be started.
    if (server.serial == 0 || server.process.pid == 0 || Runs(server.process)) continue;
    const MpsDaemon* daemon = FindMpsDaemon(*state, server.daemon);
    if (daemon == nullptr || daemon->protocol != 2) {
      RemoveMpsServer(state, server.serial);
      continue;
    }
    EndMpsClients(state, server.serial, 0, kMpsServerDied);
    server.process = Watched{};
    server.faulted = server.ready = 0;
  }
}

Rc StartMpsDaemon(MachineState* state, const MpsDaemon& wanted, uint64_t* serial) {
  const std::string_view pipe = wanted.pipe_directory;
  if (pipe.empty() || FindMpsServer(*state, pipe) != nullptr ||
      DaemonBehind(*state, pipe) != nullptr)
    return Rc::kInvalid;
  return Place(state->mps_daemons, wanted, state, serial);
}

void RemoveMpsDaemon(MachineState* state, uint64_t serial) {
  for (const MpsServer* server : MpsServersOf(*state, serial))
    RemoveMpsServer(state, server->serial);
  if (auto* daemon = const_cast<MpsDaemon*>(FindMpsDaemon(*state, serial))) *daemon = MpsDaemon{};
}

Rc StartMpsServer(const MachineSpec& spec, MachineState* state, const MpsServer& wanted,
                  uint64_t* serial) {
  const uint32_t all = (uint32_t{1} << spec.gpu_count) - 1;
  const std::string_view pipe = wanted.pipe_directory;
  const MpsDaemon* daemon = FindMpsDaemon(*state, wanted.daemon);
  const bool is_named = daemon != nullptr && daemon->protocol == 3;
  const MpsDaemon* other = DaemonBehind(*state, pipe);
  if (pipe.empty() || (wanted.gpus & ~all) != 0 || (wanted.gpus == 0 && !is_named) ||
      FindMpsServer(*state, pipe) != nullptr || (other != nullptr && other != daemon))
    return Rc::kInvalid;
  uint64_t made = 0;
  const Rc rc = Place(state->mps_servers, wanted, state, &made);
  if (serial != nullptr) *serial = made;
  return rc == Rc::kOk && is_named ? AddMpsNamespace(state, made, kDefaultNamespace) : rc;
}

void RemoveMpsServer(MachineState* state, uint64_t serial) {
  EndMpsClients(state, serial, 0, kMpsServerDied);
  for (MpsNamespace& one : state->mps_namespaces) {
    if (one.server == serial) one = MpsNamespace{};
  }
  for (SmPartition& partition : state->sm_partitions) {
    if (partition.server == serial) partition = SmPartition{};
  }
  if (auto* server = const_cast<MpsServer*>(FindMpsServer(*state, serial))) *server = MpsServer{};
}

Rc StopMpsServer(MachineState* state, std::string_view pipe_directory) {
  const MpsServer* server = FindMpsServer(*state, pipe_directory);
  if (server == nullptr || server->daemon != 0) return Rc::kNotFound;
  if (!MpsClients(*state, server->serial).empty()) return Rc::kInUse;
  RemoveMpsServer(state, server->serial);
  return Rc::kOk;
}

Rc AddMpsNamespace(MachineState* state, uint64_t server, std::string_view name) {
  MpsNamespace wanted;
  wanted.server = server;
  if (name.size() >= sizeof(wanted.name) || FindMpsNamespace(*state, server, name) != nullptr)
    return Rc::kInvalid;
  if (MpsNamespacesOf(*state, server).size() >= kMaxMpsNamespacesOfServer)
    return Rc::kInsufficientResources;
  name.copy(wanted.name, name.size());
  return Place(state->mps_namespaces, wanted, state, nullptr);
}

void RemoveMpsNamespace(MachineState* state, uint64_t serial) {
  auto* name_space = const_cast<MpsNamespace*>(FindMpsNamespace(*state, serial));
  if (name_space == nullptr) return;
  EndMpsClients(state, name_space->server, 0, kMpsClientTerminated, serial);
  *name_space = MpsNamespace{};
}

Rc AdmitMpsClient(const MachineSpec& spec, const MachineState& state, const MpsClient& client,
                  const Target& target, uint32_t uid) {
  const MpsServer* server = FindMpsServer(state, client.server);
  if (server == nullptr || !IsUp(*server)) return Rc::kMpsNoServer;
  if (client.name_space != 0 && FindMpsNamespace(state, client.name_space) == nullptr)
    return Rc::kMpsNoServer;
  if (server->quitting != 0) return Rc::kMpsNotReady;
  if (server->any_user == 0 && server->uid != uid) return Rc::kNoPermission;
  if ((server->faulted >> target.gpu & 1) != 0) return Rc::kMpsNotReady;
  if (MpsClients(state, server->serial, {&target}).size() >= MostClients(spec, state, target))
    return Rc::kMpsFull;
  return Rc::kOk;
}

std::vector<uint32_t> MpsClients(const MachineState& state, uint64_t server,
                                 const MpsFilter& filter) {
  std::set<uint32_t> pids;
  for (const Context& context : state.contexts) {
    const Target* target = filter.target;
    const bool there =
        target == nullptr || (context.gpu == target->gpu && context.ci == target->ci);
    const bool in = (filter.name_space == 0 || context.mps_namespace == filter.name_space) &&
                    (filter.partition == 0 || context.mps_partition == filter.partition);
    if (there && in && IsClient(context, server)) pids.insert(context.pid);
  }
  return {pids.begin(), pids.end()};
}

void EndMpsClients(MachineState* state, uint64_t server, uint32_t pid, uint32_t why,
                   uint64_t name_space) {
  for (Context& context : state->contexts) {
    if (!IsClient(context, server) || (pid != 0 && context.pid != pid)) continue;
    if (name_space != 0 && context.mps_namespace != name_space) continue;
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
