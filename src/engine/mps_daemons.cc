#include "engine/mps_daemons.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdlib>
#include <filesystem>
#include <thread>

extern "C" char** environ;

namespace tranche {
namespace {

constexpr Duration kLastClients = std::chrono::seconds(2);

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

MpsDefaults MostOfTenants(const std::vector<Lease>& leases, const std::string& device_uuid) {
  MpsDefaults most{1, Bytes{0}, false};
  for (const Lease& lease : leases) {
    if (lease.mechanism != Mechanism::kMps || lease.device() != device_uuid) continue;
    const MpsDefaults one = MostOfProcess(lease.memory.value_or(Bytes{0}), lease.compute);
    most.thread_percentage = std::max(*most.thread_percentage, *one.thread_percentage);
    most.memory = std::max(*most.memory, *one.memory);
  }
  return most;
}

Result<MpsDaemonFiles> MpsDaemons::Ensure(const std::string& device_uuid, const MpsDefaults& most,
                                          bool partitioned) {
  const std::lock_guard lock(mutex_);
  const MpsDaemonFiles files = FilesOf(device_uuid);
  const auto control = FindMpsControl();
  if (!control) return tl::unexpected(control.error());
  // Which kind it is of, it was told when it was started.
  if (MpsControl::Daemon(files.pipe_directory) &&
      control->Partitions(files).has_value() != partitioned) {
    if (const Status quit = control->Quit(files); !quit)
      return FailedWhile(partitioned ? "dividing the SMs among MPS clients for good"
                                     : "letting MPS clients share all SMs",
                         quit.error());
  }
  if (!MpsControl::Daemon(files.pipe_directory)) {
    const auto started = control->Start(files, device_uuid, true, partitioned);
    if (!started) return FailedWhile("starting an MPS daemon", started.error());
  }
  Status set = control->SetDefaults(files, most);
  const auto server = control->Server(files);
  if (set && server && *server) set = control->SetLimits(files, **server, most);
  if (!set) return FailedWhile("setting the limits of an MPS server", set.error());
  set_[device_uuid] = most;
  return files;
}

std::optional<MpsDefaults> MpsDaemons::MostSetOn(const std::string& device_uuid) {
  const std::lock_guard lock(mutex_);
  const auto set = set_.find(device_uuid);
  return set != set_.end() ? std::optional(set->second) : std::nullopt;
}

Result<std::string> MpsDaemons::Partition(const std::string& gpu_uuid, int sms,
                                          const std::set<std::string>& in_use) {
  const std::lock_guard lock(mutex_);
  const MpsDaemonFiles files = FilesOf(gpu_uuid);
  const auto control = FindMpsControl();
  if (!control) return tl::unexpected(control.error());
  const auto there = control->Partitions(files);
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
