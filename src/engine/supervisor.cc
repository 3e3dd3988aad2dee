#include "engine/supervisor.h"

#include <fmt/format.h>

#include <filesystem>

#include "engine/launch_command.h"
#include "engine/supervisor_parts.h"

namespace tranche {

Supervisor::Supervisor(Parts parts, SupervisorOptions options)
    : store_(parts.store),
      runtime_(parts.runtime),
      router_(std::move(parts.router)),
      health_(std::move(parts.health)),
      catalog_(std::move(parts.catalog)),
      clock_(std::move(parts.clock)),
      find_device_(std::move(parts.find_device)),
      fractions_(parts.fractions),
      options_(std::move(options)) {}

SupervisionPolicy Supervisor::PolicyOf(const Launch& launch) {
  SupervisionPolicy policy;
  policy.kind = launch.workload.kind;
  policy.probed = NeedsPort(launch.workload);
  policy.startup_grace = launch.workload.startup_grace;
  return policy;
}

ReplicaMark Supervisor::MarkOf(const ReplicaKey& key, uint64_t generation) const {
  return {store_.deployment_id(), key.workload, key.replica, generation};
}

Supervisor::Entry Supervisor::MakeEntry(const Launch& launch,
                                        const DeployedReplica& deployed) const {
  Entry entry;
  entry.launch = launch;
  entry.record.workload = deployed.workload;
  entry.record.replica = deployed.replica;
  entry.record.digest = deployed.digest;
  entry.record.slice = deployed.slice;
  if (deployed.stopped) entry.supervision.state = ReplicaState::kStopped;
  if (launch.ended) {
    entry.supervision.state = ReplicaState::kEnded;
    entry.supervision.detail = "finished earlier";
  }
  entry.record.state = entry.supervision.state;
  return entry;
}

std::string Supervisor::LogPath(const ReplicaKey& key) const {
  return fmt::format("{}/{}-{}.log", options_.log_directory, key.workload, key.replica);
}

bool Supervisor::HasLog(const ReplicaKey& key) const {
  // Compared with what is there rather than opened: `key` may be anything that a caller typed.
  const std::string name = std::filesystem::path(LogPath(key)).filename();
  const bool one_name = LogPath(key) == options_.log_directory + "/" + name;
  std::error_code error;
  for (const auto& file : std::filesystem::directory_iterator(options_.log_directory, error)) {
    if (one_name && file.path().filename() == name) return true;
  }
  return false;
}

void Supervisor::Save(Entry& entry) {
  entry.record.state = entry.supervision.state;
  entry.record.detail = entry.supervision.detail;
  entry.record.restarts = entry.supervision.restarts;
  // A full disk must not end supervision. What is lost is found again by its mark.
  (void)store_.PutReplica(entry.record);
}

void Supervisor::Note(const ReplicaKey& key, const std::string& message) {
  (void)store_.AddEvent({clock_->Now(), Name(key), message});
}

void Supervisor::SetTargets() {
  std::vector<HealthTarget> targets;
  for (const auto& [key, entry] : table_) {
    if (!entry.record.process || !entry.record.port || !NeedsPort(entry.launch.workload)) continue;
    HealthTarget target;
    target.key = HealthKey(entry.record);
    target.port = *entry.record.port;
    target.probe = ProbeFor(entry.launch.workload.engine);
    targets.push_back(std::move(target));
  }
  if (targets == targets_) return;
  targets_ = targets;
  health_->SetTargets(std::move(targets));
}

std::vector<ReplicaStatus> Supervisor::GetReplicas() {
  const std::lock_guard lock(mutex_);
  std::vector<ReplicaStatus> replicas;
  for (const auto& [key, entry] : table_) {
    ReplicaStatus status;
    status.workload = key.workload;
    status.replica = key.replica;
    status.team = entry.launch.workload.team;
    status.state = entry.supervision.state;
    status.detail = entry.supervision.detail;
    status.slice = entry.record.slice;
    status.device_uuid = entry.record.device_uuid;
    status.guarantee = entry.launch.guarantee;
    // What was planned is the most; what the kernel gave when it was started is what counts.
    if (entry.record.process && entry.access < status.guarantee.access &&
        entry.access != Guarantee::kNone) {
      status.guarantee.access = entry.access;
    }
    if (entry.record.process) status.pid = entry.record.process->pid;
    status.port = entry.record.port;
    status.route = entry.launch.workload.route;
    status.restarts = entry.supervision.restarts;
    status.started_at = entry.record.started_at;
    status.lease_ends_at = entry.record.lease_ends_at;
    replicas.push_back(std::move(status));
  }
  return replicas;
}

RouterStatus Supervisor::GetRouter() {
  if (router_) return (*router_)->GetStatus();
  RouterStatus status;
  status.detail = router_.error().message;
  return status;
}

std::optional<ReplicaKey> Supervisor::OwnerOf(int pid) {
  const std::optional<std::string> text =
      ReadProcessVariable(pid, "TRANCHE_REPLICA", options_.root);
  if (text) {
    const Result<ReplicaMark> mark = ParseReplicaMark(*text);
    if (mark && mark->deployment == store_.deployment_id()) {
      return ReplicaKey{mark->workload, mark->replica};
    }
  }
  // A process that wrote over its environment still is in the session that it was started in.
  const std::optional<ProcessStat> stat = ReadProcessStat(pid, options_.root);
  const std::lock_guard lock(mutex_);
  for (const auto& [key, entry] : table_) {
    if (!entry.record.process) continue;
    if (entry.record.process->pid == pid || (stat && stat->session == entry.record.process->pid)) {
      return key;
    }
  }
  return std::nullopt;
}

std::set<ReplicaKey> Supervisor::Ended() {
  const std::lock_guard lock(mutex_);
  std::set<ReplicaKey> ended;
  for (const auto& [key, entry] : table_) {
    if (entry.supervision.state == ReplicaState::kEnded) ended.insert(key);
  }
  return ended;
}

}  // namespace tranche
