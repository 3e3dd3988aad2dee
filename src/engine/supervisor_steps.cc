#include <fmt/format.h>

#include "engine/supervisor.h"
#include "engine/supervisor_parts.h"

namespace tranche {

Status Supervisor::StopReplica(const ReplicaKey& key) {
  std::optional<ProcessId> process;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = table_.find(key);
    if (entry == table_.end()) return {};
    entry->second.held = true;
    process = entry->second.record.process;
  }
  // First out of the route, then told to stop: no request is sent to a server that is going away. A
  // router that does not reload must not keep a workload alive.
  if (RouterAvailable()) (void)UpdateRoutes();
  if (process) {
    const Result<ReplicaPoll> stopped = runtime_.StopAndWait(*process, options_.stop_grace);
    if (!stopped && stopped.error().code != ErrorCode::kNotFound) {
      return FailedWhile(fmt::format("stopping {}", Name(key)), stopped.error());
    }
  }
  const std::lock_guard lock(mutex_);
  table_.erase(key);
  SetTargets();
  return store_.DeleteReplica(key.workload, key.replica);
}

Result<std::string> Supervisor::StartReplica(const Launch& launch,
                                             const DeployedReplica& deployed) {
  const ReplicaKey key{deployed.workload, deployed.replica};
  const std::lock_guard lock(mutex_);
  if (table_.count(key) != 0) {
    return Fail(ErrorCode::kFailed, fmt::format("{} is there already", Name(key)));
  }
  Entry& entry = table_.emplace(key, MakeEntry(launch, deployed)).first->second;
  Status started = Start(key, entry);
  if (started) {
    // What cannot be run at all mostly ends at once; the rest is for Supervise to see.
    const Result<ReplicaPoll> poll = runtime_.Poll(*entry.record.process);
    if (poll && poll->state == ReplicaPoll::State::kEnded) {
      entry.record.process.reset();
      if (LostItsPort(key, entry)) {
        // Supervise gives it another.
        entry.supervision.state = ReplicaState::kStarting;
        entry.supervision.detail = "its port was taken by another program; it is given the next";
        Save(entry);
      } else if (poll->end.exit_code == 0) {
        entry.supervision.state = ReplicaState::kEnded;
        entry.supervision.detail = "finished with exit code 0";
        Save(entry);
      } else {
        started = Fail(ErrorCode::kFailed, fmt::format("it ended at once: {}", poll->end.Text()),
                       fmt::format("read why in `tranche logs {}`", key.workload));
      }
    }
  }
  if (!started) {
    table_.erase(key);
    (void)store_.DeleteReplica(key.workload, key.replica);
    return FailedWhile(fmt::format("starting {}", Name(key)), started.error());
  }
  SetTargets();
  return entry.record.process ? fmt::format("pid {}", entry.record.process->pid)
                              : entry.supervision.detail;
}

Status Supervisor::RestoreReplica(const Launch& launch, const DeployedReplica& deployed) {
  const ReplicaKey key{deployed.workload, deployed.replica};
  bool another = false;
  {
    const std::lock_guard lock(mutex_);
    const auto entry = table_.find(key);
    if (entry != table_.end()) {
      another = !Matches(entry->second.record, deployed);
      if (!another) {
        entry->second.held = false;
        entry->second.launch = launch;
        // Restored before, but not started: that is what is left to be done.
        const bool waits = !entry->second.record.process &&
                           entry->second.supervision.state == ReplicaState::kStarting;
        if (!waits) return {};
      }
    }
  }
  if (another) {
    if (const Status stopped = StopReplica(key); !stopped) return stopped;
  }
  const std::lock_guard lock(mutex_);
  Entry& entry = table_.emplace(key, MakeEntry(launch, deployed)).first->second;
  Save(entry);
  if (entry.supervision.state != ReplicaState::kStarting) return {};
  if (const Status started = Start(key, entry); !started) {
    // It is under supervision again, which tries until it works (its slice may come back later than
    // it).
    entry.supervision = AfterDeath(entry.supervision, clock_->Monotonic(), started.error().message,
                                   PolicyOf(entry.launch));
    Save(entry);
  }
  SetTargets();
  return {};
}

bool Supervisor::IsRunning(const ReplicaKey& key) {
  const std::lock_guard lock(mutex_);
  const auto entry = table_.find(key);
  return entry != table_.end() && entry->second.record.process.has_value();
}

bool Supervisor::WasStarted(const DeployedReplica& deployed) {
  const std::lock_guard lock(mutex_);
  const auto entry = table_.find({deployed.workload, deployed.replica});
  if (entry == table_.end() || !Matches(entry->second.record, deployed)) return false;
  return entry->second.record.process.has_value() ||
         entry->second.supervision.state == ReplicaState::kEnded;
}

bool Supervisor::IsFrom(const DeployedReplica& deployed) {
  const std::lock_guard lock(mutex_);
  const auto entry = table_.find({deployed.workload, deployed.replica});
  return entry != table_.end() && Matches(entry->second.record, deployed);
}

Status Supervisor::WaitHealthy(const ReplicaKey& key) {
  Duration deadline{-1};
  for (;;) {
    Supervise();
    {
      const std::lock_guard lock(mutex_);
      const auto entry = table_.find(key);
      if (entry == table_.end()) return {};
      const Supervision& now = entry->second.supervision;
      const Duration monotonic = clock_->Monotonic();
      if (deadline < Duration{0})
        deadline = monotonic + entry->second.launch.workload.startup_grace;
      const bool waiting = now.state == ReplicaState::kStarting && monotonic <= deadline;
      const bool well = now.state == ReplicaState::kHealthy || now.state == ReplicaState::kEnded ||
                        now.state == ReplicaState::kStopped;
      if (well) return {};
      if (!waiting) {
        return Fail(
            ErrorCode::kFailed,
            fmt::format("{} is {}: {}", Name(key), ReplicaStateName(now.state),
                        now.detail.empty() ? "it did not become healthy in time" : now.detail),
            fmt::format("read why in `tranche logs {}`", key.workload));
      }
    }
    clock_->Sleep(kPollInterval);
  }
}

}  // namespace tranche
