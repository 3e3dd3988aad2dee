#include "engine/mps_daemons.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <thread>

#include "base/fnv.h"

extern "C" char** environ;

namespace tranche {
namespace {

constexpr Duration kLastClients = std::chrono::seconds(2);
// Before the names of those that are ours, and how much of a slice's id they show.
constexpr const char* kNamespaces = "tr_";
constexpr size_t kShown = 8;
// For programs that are sent to a server and to no namespace of it.
constexpr MpsDefaults kNextToNothing = {1, MiB(1), false};

}  // namespace

Result<MpsControl> FindMpsControl() {
  const char* path = std::getenv("PATH");
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  return MpsControl::Find(path != nullptr ? path : "/usr/local/bin:/usr/bin:/bin",
                          std::move(environment));
}

MpsDaemonFiles MpsDaemons::FilesOf(const std::string& device_uuid) const {
  // A socket's path has 107 characters at most, so the folder's name is short.
  const std::string folder = folder_ + "/" + device_uuid.substr(0, 12);
  return {folder, folder + "/log"};
}

MpsDefaults MostOfProcess(Bytes memory, const std::optional<Share<Fraction>>& compute) {
  MpsDefaults most{100, memory, false};
  if (compute && compute->limit.value < 1) {
    const double percent = std::ceil(compute->limit.value * 100 - 1e-9);
    most.thread_percentage = static_cast<int>(std::max(1.0, percent));
  }
  return most;
}

std::vector<MpsTenant> MpsTenantsOf(const std::vector<Lease>& leases,
                                    const std::string& device_uuid) {
  std::vector<MpsTenant> tenants;
  for (const Lease& lease : leases) {
    if (lease.mechanism != Mechanism::kMps || lease.device() != device_uuid) continue;
    tenants.push_back(
        {lease.id, lease.uid, MostOfProcess(lease.memory.value_or(Bytes{0}), lease.compute)});
  }
  return tenants;
}

std::string MpsNamespaceOf(const std::string& lease) {
  std::string name = kNamespaces;
  for (const char c : lease.substr(0, kShown)) {
    const bool as_is = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    name += as_is ? c : '_';
  }
  // Two may look the same so far.
  return name + fmt::format("_{:08x}", static_cast<uint32_t>(Fnv1a(lease)));
}

Result<MpsDaemonKind> MpsDaemons::Start(const MpsControl& control, const std::string& device_uuid,
                                        MpsDaemonKind kind) {
  const MpsDaemonFiles files = FilesOf(device_uuid);
  const auto there = MpsControl::KindOf(files.pipe_directory);
  if (there && *there != kind) {
    const Status quit = control.Quit(files);
    // How it is talked to is nothing to stop anybody for.
    if (!quit && there->partitioned == kind.partitioned) return *there;
    if (!quit) {
      return FailedWhile(kind.partitioned ? "dividing the SMs among MPS clients for good"
                                          : "letting MPS clients share all SMs",
                         quit.error());
    }
  } else if (there) {
    return kind;
  }
  const auto started = control.Start(files, device_uuid, kind);
  if (!started) return FailedWhile("starting an MPS daemon", started.error());
  set_.erase(device_uuid);
  return kind;
}

Result<MpsPlace> MpsDaemons::Admit(const MpsControl& control, const MpsDaemonFiles& files,
                                   const MpsTenant& tenant) {
  // A server is of one user, and a GPU for one process at a time of one server.
  const std::string own = fmt::format("uid_{}", tenant.uid);
  const auto servers = control.Servers(files);
  if (!servers) return tl::unexpected(servers.error());
  for (const MpsServer& server : *servers) {
    if (server.name == own) continue;
    if (const Status gone = control.RemoveServer(files, server.name); !gone)
      return FailedWhile("making room for an MPS server", gone.error());
  }
  const auto server = control.EnsureServer(files, tenant.uid);
  if (!server) return tl::unexpected(server.error());
  const auto others = control.SetNamespace(files, *server, "default", kNextToNothing);
  if (!others) return tl::unexpected(others.error());
  const auto folder =
      control.SetNamespace(files, *server, MpsNamespaceOf(tenant.lease), tenant.most);
  if (!folder) return tl::unexpected(folder.error());
  return MpsPlace{{*folder, files.log_directory}, true};
}

Status MpsDaemons::Raise(const MpsControl& control, const MpsDaemonFiles& files,
                         const MpsDefaults& most) {
  if (const Status set = control.SetDefaults(files, most); !set) return set;
  const auto server = control.Server(files);
  if (!server) return tl::unexpected(server.error());
  return *server ? control.SetLimits(files, **server, most) : Status();
}

MpsDefaults MpsDaemons::MostOn(const std::string& device_uuid, bool partitioned) const {
  MpsDefaults most{1, Bytes{0}, false};
  const auto tenants = tenants_.find(device_uuid);
  if (tenants != tenants_.end()) {
    for (const auto& [lease, one] : tenants->second) {
      const MpsDefaults& own = one.tenant.most;
      most.thread_percentage =
          std::max(*most.thread_percentage, own.thread_percentage.value_or(100));
      most.memory = std::max(*most.memory, own.memory.value_or(Bytes{0}));
    }
  }
  // What is divided for good needs no ceiling.
  if (partitioned) most.thread_percentage.reset();
  return most;
}

Result<MpsPlace> MpsDaemons::Ensure(const std::string& device_uuid, const MpsTenant& tenant,
                                    bool partitioned) {
  const std::lock_guard lock(mutex_);
  const MpsDaemonFiles files = FilesOf(device_uuid);
  const auto control = FindMpsControl();
  if (!control) return tl::unexpected(control.error());
  MpsDaemonKind kind{MpsProtocol::kText, partitioned};
  const auto version = control->Version();
  // Namespaces are not for MIG; partitions are made one by one in the older protocol alone.
  const bool whole = device_uuid.rfind("GPU-", 0) == 0;
  if (whole && !partitioned && version && *version >= kFirstMpsWithNames)
    kind.protocol = MpsProtocol::kNamed;
  const auto started = Start(*control, device_uuid, kind);
  if (!started) return tl::unexpected(started.error());
  tenants_[device_uuid].insert_or_assign(tenant.lease, Tenancy{tenant, false});
  unswept_.insert(device_uuid);
  if (started->protocol == MpsProtocol::kNamed) {
    auto place = Admit(*control, files, tenant);
    // So that it is missed even when it dies before anybody looked.
    Seen& seen = seen_[device_uuid];
    const auto server = place && !seen.server ? control->Server(files) : std::nullopt;
    if (server && *server) {
      if (const auto stat = ReadProcessStat(**server)) seen.server = stat->id;
    }
    return place;
  }
  const MpsDefaults most = MostOn(device_uuid, partitioned);
  if (const Status set = Raise(*control, files, most); !set)
    return FailedWhile("setting the limits of an MPS server", set.error());
  set_[device_uuid] = most;
  return MpsPlace{files, false};
}

void MpsDaemons::Arrive(const std::string& device_uuid, const std::string& lease) {
  const std::lock_guard lock(mutex_);
  auto& tenants = tenants_[device_uuid];
  if (const auto there = tenants.find(lease); there != tenants.end())
    there->second.has_lease = true;
}

void MpsDaemons::Leave(const std::string& device_uuid, const std::string& lease) {
  const std::lock_guard lock(mutex_);
  const auto tenants = tenants_.find(device_uuid);
  if (tenants == tenants_.end()) return;
  tenants->second.erase(lease);
}

bool MpsDaemons::Sweep(const MpsControl& control, const std::string& device_uuid) {
  const MpsDaemonFiles files = FilesOf(device_uuid);
  std::set<std::string> used;
  for (const auto& [lease, tenant] : tenants_[device_uuid]) used.insert(MpsNamespaceOf(lease));
  const auto servers = control.Servers(files);
  if (!servers) return false;
  bool all = true;
  for (const MpsServer& server : *servers) {
    const auto namespaces = control.Namespaces(files, server.name);
    if (!namespaces) return false;
    for (const MpsNamespace& one : *namespaces) {
      // Somebody may have made others by hand.
      if (one.name.rfind(kNamespaces, 0) != 0 || used.count(one.name) != 0) continue;
      all = control.RemoveNamespace(files, server.name, one.name).has_value() && all;
    }
  }
  return all;
}

void MpsDaemons::Settle(const std::string& device_uuid, const std::vector<MpsTenant>& tenants) {
  const std::lock_guard lock(mutex_);
  auto& there = tenants_[device_uuid];
  const auto has = [&](const std::string& lease) {
    return std::any_of(tenants.begin(), tenants.end(),
                       [&](const MpsTenant& one) { return one.lease == lease; });
  };
  const size_t gone = std::erase_if(
      there, [&](const auto& one) { return one.second.has_lease && !has(one.first); });
  if (gone > 0) unswept_.insert(device_uuid);
  for (const MpsTenant& one : tenants) there.insert_or_assign(one.lease, Tenancy{one, true});
  const MpsDaemonFiles files = FilesOf(device_uuid);
  const auto kind = MpsControl::KindOf(files.pipe_directory);
  if (!kind) return;
  const auto control = FindMpsControl();
  if (!control) return;
  if (kind->protocol == MpsProtocol::kNamed) {
    if (unswept_.count(device_uuid) != 0 && Sweep(*control, device_uuid))
      unswept_.erase(device_uuid);
    return;
  }
  const MpsDefaults most = MostOn(device_uuid, kind->partitioned);
  const auto set = set_.find(device_uuid);
  if (there.empty() || (set != set_.end() && set->second == most)) return;
  if (Raise(*control, files, most)) set_[device_uuid] = most;
}

std::optional<MpsCeilings> MpsDaemons::CeilingsOn(const std::string& device_uuid) {
  const std::lock_guard lock(mutex_);
  const auto kind = MpsControl::KindOf(FilesOf(device_uuid).pipe_directory);
  if (!kind) return std::nullopt;
  const auto set = set_.find(device_uuid);
  return MpsCeilings{kind->protocol == MpsProtocol::kNamed, kind->partitioned,
                     set != set_.end() ? set->second : MostOn(device_uuid, kind->partitioned)};
}

Result<std::string> MpsDaemons::Partition(const std::string& gpu_uuid, int sms,
                                          const std::set<std::string>& in_use) {
  const std::lock_guard lock(mutex_);
  const MpsDaemonFiles files = FilesOf(gpu_uuid);
  const auto control = FindMpsControl();
  if (!control) return tl::unexpected(control.error());
  const auto there = control->Partitions(files, gpu_uuid);
  if (!there) return tl::unexpected(there.error());
  for (const MpsPartition& partition : there->list) {
    if (in_use.count(partition.name) != 0) continue;
    // One that cannot go takes room; whether enough is left is seen next.
    (void)control->RemovePartition(files, partition.name);
  }
  const double chunks = static_cast<double>(sms) * there->chunks / there->sms;
  return control->AddPartition(files, gpu_uuid,
                               std::max(1, static_cast<int>(std::ceil(chunks - 1e-6))));
}

void MpsDaemons::EndOthers(const std::set<std::string>& device_uuids) {
  const std::lock_guard lock(mutex_);
  std::set<std::string> kept;
  for (const std::string& uuid : device_uuids) kept.insert(FilesOf(uuid).pipe_directory);
  const auto patient_until = std::chrono::steady_clock::now() + kLastClients;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(folder_, error)) {
    const std::string folder = entry.path().string();
    if (kept.count(folder) != 0 || !MpsControl::Daemon(folder)) continue;
    const auto control = FindMpsControl();
    if (!control) return;
    // A client that has ended is on its list for a moment longer.
    for (;;) {
      const Status quit = control->Quit({folder, folder + "/log"});
      const bool again = !quit && quit.error().code == ErrorCode::kBusy;
      if (!again || std::chrono::steady_clock::now() > patient_until) break;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
  }
}

std::optional<std::string> MpsDaemons::DeviceOfServer(
    int pid, const std::set<std::string>& device_uuids) const {
  if (device_uuids.empty()) return std::nullopt;
  const auto server = ReadProcessStat(pid);
  if (!server) return std::nullopt;
  for (const std::string& uuid : device_uuids) {
    const auto daemon = MpsControl::Daemon(FilesOf(uuid).pipe_directory);
    if (daemon && daemon->pid == server->parent) return uuid;
  }
  return std::nullopt;
}

std::string MpsDaemons::LookAt(const MpsDaemonFiles& files, Seen* seen) {
  const bool had_daemon = seen->daemon && !IsAlive(*seen->daemon);
  const bool had_server = seen->server && !IsAlive(*seen->server);
  const Seen before = *seen;
  std::string what;
  if (had_daemon) {
    what = fmt::format("the MPS daemon (pid {}) died", before.daemon->pid);
    seen->daemon.reset();
  }
  if (had_server) {
    if (what.empty()) what = fmt::format("the MPS server (pid {}) died", before.server->pid);
    what += ", and with it what its clients had on the GPU";
    seen->server.reset();
  }
  seen->faulted = seen->faulted && !had_server;
  if (!seen->daemon) seen->daemon = MpsControl::Daemon(files.pipe_directory);
  if (!seen->daemon) return what;
  const auto control = FindMpsControl();
  if (!control) return what;
  if (!seen->server) {
    const auto server = control->Server(files);
    if (!server || !*server) return what;
    const auto stat = ReadProcessStat(**server);
    if (stat) seen->server = stat->id;
    return what;
  }
  const auto faulted = control->IsFaulted(files, seen->server->pid);
  if (!faulted) return what;
  if (*faulted && !seen->faulted && what.empty()) {
    what = fmt::format(
        "a fault of one client ended what all clients of the MPS server (pid {}) had on the GPU",
        seen->server->pid);
  }
  seen->faulted = *faulted;
  return what;
}

std::vector<MpsTrouble> MpsDaemons::Look(const std::set<std::string>& device_uuids) {
  const std::lock_guard lock(mutex_);
  std::erase_if(seen_, [&](const auto& seen) { return device_uuids.count(seen.first) == 0; });
  std::vector<MpsTrouble> troubles;
  for (const std::string& uuid : device_uuids) {
    std::string what = LookAt(FilesOf(uuid), &seen_[uuid]);
    if (!what.empty()) troubles.push_back({uuid, std::move(what)});
  }
  return troubles;
}

}  // namespace tranche
