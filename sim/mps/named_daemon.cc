#include "sim/mps/named_daemon.h"

#include <sys/stat.h>

#include <algorithm>

#include "sim/mps/named_words.h"
#include "sim/mps/registration.h"
#include "sim/mps/sockets.h"

namespace tranche::sim::mps {

NamedDaemon::NamedDaemon(Machine* machine, Settings settings, Processes* processes)
    : machine_(machine),
      settings_(std::move(settings)),
      devices_(machine, settings_.devices),
      processes_(processes),
      features_({{"memacct", {true, true}}, {"context-share", {false, true}}}) {}

Status NamedDaemon::Begin() {
  for (size_t i = 0; i < devices_.size(); ++i) {
    if (devices_[i].ci != 0)
      return Fail(ErrorCode::kUnsupported, "Protocol 3 serves no MIG devices");
  }
  if (RegisterDaemon(machine_, settings_, &serial_) == Rc::kOk) return {};
  return Fail(ErrorCode::kFailed, "The daemon cannot serve behind this pipe directory");
}

void NamedDaemon::End() {
  std::vector<uint32_t> pids;
  machine_->Read([&](const MachineState& state) {
    for (const MpsServer* server : MpsServersOf(state, serial_)) {
      if (server->process.pid != 0) pids.push_back(server->process.pid);
    }
    return Rc::kOk;
  });
  UnregisterDaemon(machine_, serial_);
  for (const uint32_t pid : pids) processes_->End(pid);
}

Result<const MpsServer*> NamedDaemon::Find(const MachineState& state,
                                           const std::string& server) const {
  if (const MpsServer* found = FindMpsServer(state, serial_, server)) return found;
  return Fail(ErrorCode::kNotFound, "There is no server '" + server + "'");
}

Result<const MpsNamespace*> NamedDaemon::FindIn(const MachineState& state,
                                                const std::string& server,
                                                const std::string& name) const {
  const auto found = Find(state, server);
  if (!found) return tl::unexpected(found.error());
  if (const MpsNamespace* one = FindMpsNamespace(state, (*found)->serial, name)) return one;
  return Fail(ErrorCode::kNotFound,
              "There is no namespace '" + name + "' in server '" + server + "'");
}

Result<size_t> NamedDaemon::FindDevice(const std::string& name) const {
  if (const auto device = devices_.Named(name)) return *device;
  return Fail(ErrorCode::kNotFound, "There is no device '" + name + "', by ordinal or UUID");
}

Status NamedDaemon::Change(const std::string& server,
                           const std::function<Status(MachineState*, MpsServer*)>& change) {
  Status status;
  const Rc rc = machine_->Update([&](MachineState& state) {
    const auto found = Find(state, server);
    status = found ? change(&state, const_cast<MpsServer*>(*found)) : tl::unexpected(found.error());
    return status ? Rc::kOk : Rc::kInvalid;
  });
  if (!status || rc == Rc::kOk) return status;
  return Fail(ErrorCode::kFailed, std::string("The machine cannot be changed: ") + RcName(rc));
}

Status NamedDaemon::CheckUser(uint32_t uid) const {
  if (!settings_.any_user || uid == 0) return {};
  return Fail(ErrorCode::kInvalid,
              "In multiuser mode a server is of uid 0, not of " + std::to_string(uid));
}

Status NamedDaemon::RecordServer(const ServerWish& wish) {
  if (!IsName(wish.name)) return NoName("server", wish.name);
  if (const Status user = CheckUser(wish.uid); !user) return user;
  MpsServer entry;
  entry.daemon = serial_;
  entry.uid = wish.uid;
  entry.any_user = settings_.any_user ? 1 : 0;
  entry.locality_domains = wish.locality_domains ? 1 : 0;
  Words names = Split(wish.allowed_devices, ',');
  if (names.empty()) {
    for (size_t i = 0; i < devices_.size(); ++i) names.push_back(std::to_string(i));
  }
  for (const std::string& name : names) {
    const auto device = devices_.Named(name);
    // Nobody looks before the process does, which ends where one is not there.
    entry.gpus = device ? entry.gpus | uint32_t{1} << devices_[*device].gpu : 0;
    if (!device) break;
  }
  const std::string pipe = settings_.pipe_directory + "/" + wish.name;
  if (wish.allowed_devices.size() >= sizeof(entry.allowed_devices))
    return Fail(ErrorCode::kInvalid, "The list of devices is too long");
  if (!FitsSocket(pipe + "/" + kDefaultNamespace)) return TooLong(pipe);
  Keep(wish.name, entry.name);
  Keep(wish.allowed_devices, entry.allowed_devices);
  Keep(pipe, entry.pipe_directory);
  bool there = false;
  const Rc rc = machine_->Update([&](MachineState& state) {
    there = FindMpsServer(state, serial_, wish.name) != nullptr;
    return there ? Rc::kInvalid : StartMpsServer(machine_->spec(), &state, entry);
  });
  if (rc == Rc::kOk) return {};
  if (there) return Fail(ErrorCode::kBusy, "There is a server '" + wish.name + "' already");
  if (rc == Rc::kInsufficientResources) {
    return Fail(ErrorCode::kDoesNotFit,
                "There are too many servers or namespaces on this machine: at most " +
                    std::to_string(kMaxMpsServers) + " and " + std::to_string(kMaxMpsNamespaces));
  }
  return Fail(ErrorCode::kFailed, "Another server is behind " + pipe);
}

Status NamedDaemon::StartProcess(const std::string& server) {
  MpsServer entry;
  const Status found = Change(server, [&](MachineState*, MpsServer* one) -> Status {
    entry = *one;
    return {};
  });
  if (!found) return found;
  const std::string folder = settings_.log_directory + "/" + server;
  mkdir(folder.c_str(), 0755);
  const Watched process = processes_->Start(entry.serial, entry.uid, folder + "/server.log");
  if (process.pid == 0) {
    machine_->Update([&](MachineState& state) {
      RemoveMpsServer(&state, entry.serial);
      return Rc::kOk;
    });
    return Fail(ErrorCode::kFailed, "The process of server '" + server + "' cannot be started");
  }
  // It may have ended already, and the server with it.
  ChangeServer(machine_, entry.serial, [&](MpsServer& one) { one.process = process; });
  return {};
}

Status NamedDaemon::DeleteServer(const std::string& name, bool force) {
  uint32_t pid = 0;
  const Status gone = Change(name, [&](MachineState* state, MpsServer* server) -> Status {
    const std::vector<uint32_t> clients = MpsClients(*state, server->serial);
    if (!clients.empty() && !force) {
      return Fail(ErrorCode::kBusy, "Server '" + name + "' has clients: " + Listed(clients) +
                                        " (--force terminates them)");
    }
    pid = server->process.pid;
    EndMpsClients(state, server->serial, 0, kMpsClientTerminated);
    RemoveMpsServer(state, server->serial);
    return {};
  });
  // Waited for, since it holds its GPUs until then.
  if (gone && pid != 0) processes_->End(pid);
  return gone;
}

Status NamedDaemon::SetServer(const std::string& server, const ServerChange& change) {
  if (change.uid) {
    if (const Status user = CheckUser(*change.uid); !user) return user;
  }
  return Change(server, [&](MachineState* state, MpsServer* one) -> Status {
    const bool divided = std::any_of(
        std::begin(state->sm_partitions), std::end(state->sm_partitions),
        [&](const SmPartition& other) { return other.serial != 0 && other.server == one->serial; });
    if (divided && change.locality_domains.value_or(false)) {
      return Fail(ErrorCode::kBusy,
                  "Server '" + server + "' has SM partitions, which locality domains exclude");
    }
    if (change.locality_domains) one->locality_domains = *change.locality_domains ? 1 : 0;
    if (change.uid) one->uid = *change.uid;
    return Limit(state, *one, kDefaultNamespace, change.limits);
  });
}

std::string NamedDaemon::Admit(const std::string& directory, uint32_t uid) {
  MpsRoute route;
  uint32_t pid = 0;
  const auto find = [&] {
    machine_->Read([&](const MachineState& state) {
      route = RouteMpsClient(state, directory, uid);
      const MpsServer* server = FindMpsServer(state, route.server);
      pid = server == nullptr ? 0 : server->process.pid;
      return Rc::kOk;
    });
  };
  find();
  if (route.server == 0 && directory == settings_.pipe_directory) {
    const uint32_t owner = settings_.any_user ? 0 : uid;
    const std::string name = "uid_" + std::to_string(owner);
    Status made = RecordServer({name, owner, "", false});
    if (made) made = StartProcess(name);
    if (!made) return made.error().message + "\n";
    find();
  }
  if (route.up || (pid != 0 && processes_->Await(pid))) return "ready\n";
  if (pid != 0) ServerEnded(pid);
  return "There is no server\n";
}

void NamedDaemon::ServerEnded(uint32_t pid) {
  processes_->Forget(pid);
  // The dead are forgotten with any change.
  machine_->Update([](MachineState&) { return Rc::kOk; });
}

Status NamedDaemon::TerminateClient(uint32_t pid) {
  bool found = false;
  machine_->Update([&](MachineState& state) {
    for (const MpsServer* server : MpsServersOf(state, serial_)) {
      const std::vector<uint32_t> clients = MpsClients(state, server->serial);
      if (std::find(clients.begin(), clients.end(), pid) == clients.end()) continue;
      found = true;
      EndMpsClients(&state, server->serial, pid, kMpsClientTerminated);
    }
    return found ? Rc::kOk : Rc::kNotFound;
  });
  if (found) return {};
  return Fail(ErrorCode::kNotFound, "There is no client " + std::to_string(pid));
}

}  // namespace tranche::sim::mps
