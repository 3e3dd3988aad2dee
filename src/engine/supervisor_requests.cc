#include <fmt/format.h>

#include "engine/supervisor.h"
#include "engine/supervisor_parts.h"

namespace tranche {

void Supervisor::Stop(const ReplicaKey& key) {
  {
    const std::lock_guard lock(mutex_);
    const auto entry = table_.find(key);
    if (entry == table_.end()) return;
    entry->second.supervision.state = ReplicaState::kStopped;
    entry->second.supervision.detail.clear();
    Save(entry->second);
    Note(key, "stopped by request");
  }
  if (RouterAvailable()) (void)UpdateRoutes();
  const std::lock_guard lock(mutex_);
  const auto entry = table_.find(key);
  if (entry != table_.end() && entry->second.record.process) {
    (void)runtime_.Stop(*entry->second.record.process, options_.stop_grace);
  }
}

Status Supervisor::Restart(const ReplicaKey& key) {
  std::optional<ProcessId> process;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = table_.find(key);
    if (entry == table_.end()) {
      return Fail(ErrorCode::kNotFound, fmt::format("{} is not deployed", Name(key)));
    }
    entry->second.held = true;
    process = entry->second.record.process;
  }
  if (RouterAvailable()) (void)UpdateRoutes();
  Status status;
  if (process) {
    const Result<ReplicaPoll> stopped = runtime_.StopAndWait(*process, options_.stop_grace);
    if (!stopped && stopped.error().code != ErrorCode::kNotFound) {
      status = FailedWhile(fmt::format("stopping {}", Name(key)), stopped.error());
    }
  }
  const std::lock_guard lock(mutex_);
  const auto found = table_.find(key);
  if (found == table_.end()) return status;
  Entry& entry = found->second;
  entry.held = false;
  if (!status) return status;
  entry.record.process.reset();
  entry.launch.ended = false;
  entry.record.lease_ends_at.reset();
  entry.supervision = Supervision{.restarts = entry.supervision.restarts + 1};
  Note(key, "restarted by request");
  if (const Status started = Start(key, entry); !started) {
    entry.supervision = AfterDeath(entry.supervision, clock_->Monotonic(), started.error().message,
                                   PolicyOf(entry.launch));
    Save(entry);
    return FailedWhile(fmt::format("starting {}", Name(key)), started.error());
  }
  SetTargets();
  return {};
}

Status Supervisor::StopAll() {
  std::vector<ProcessId> processes;
  {
    const std::lock_guard lock(mutex_);
    shut_down_ = true;
    for (auto& [key, entry] : table_) {
      if (!entry.record.process) continue;
      processes.push_back(*entry.record.process);
      (void)runtime_.Stop(*entry.record.process, options_.stop_grace);
    }
  }
  Status status = Unroute();
  for (const ProcessId& process : processes) {
    const Result<ReplicaPoll> stopped = runtime_.StopAndWait(process, options_.stop_grace);
    if (!stopped && stopped.error().code != ErrorCode::kNotFound) {
      status = tl::unexpected(stopped.error());
    }
  }
  const std::lock_guard lock(mutex_);
  for (auto& [key, entry] : table_) {
    entry.record.process.reset();
    // Wanted still: the next start of Tranche starts it again.
    const ReplicaState state = entry.supervision.state;
    if (state != ReplicaState::kStopped && state != ReplicaState::kEnded) {
      entry.supervision.state = ReplicaState::kStarting;
      entry.supervision.detail = "Tranche was stopped";
    }
    Save(entry);
  }
  SetTargets();
  return status;
}

}  // namespace tranche
