#include <algorithm>

#include "engine/supervisor.h"
#include "engine/supervisor_parts.h"

namespace tranche {

Status Supervisor::Adopt(const std::vector<const Installation*>& candidates) {
  const Result<std::vector<ReplicaRecord>> records = store_.GetReplicas();
  if (!records) return tl::unexpected(records.error());

  std::vector<Orphan> strays;
  {
    const std::lock_guard lock(mutex_);
    for (const ReplicaRecord& record : *records) {
      Entry entry;
      entry.record = record;
      for (const Installation* installation : candidates) {
        const DeployedReplica* deployed =
            installation->deployment.FindReplica(record.workload, record.replica);
        const Launch* launch = installation->FindLaunch(record.workload, record.replica);
        if (deployed == nullptr || launch == nullptr || !Matches(record, *deployed)) continue;
        entry.launch = *launch;
        break;
      }
      entry.launch.replica = record.replica;
      entry.launch.workload.name = record.workload;
      entry.supervision.state = record.state;
      entry.supervision.detail = record.detail;
      entry.supervision.restarts = record.restarts;
      const Duration ran = record.started_at ? clock_->Now() - *record.started_at : Duration{0};
      entry.supervision.started = clock_->Monotonic() - std::max(ran, Duration{0});
      entry.supervision.unhealthy_since = clock_->Monotonic();
      entry.supervision.retry_at = clock_->Monotonic();
      if (record.process &&
          !runtime_.Adopt(*record.process, MarkOf(KeyOf(record), record.generation))) {
        entry.record.process.reset();
        entry.vanished = true;
      }
      table_.emplace(KeyOf(record), std::move(entry));
    }

    // A process may run whose pid was never written down: its mark says which start it belongs to.
    const Result<std::vector<Orphan>> orphans = runtime_.FindOrphans(store_.deployment_id());
    if (!orphans) return tl::unexpected(orphans.error());
    for (const Orphan& orphan : *orphans) {
      const auto entry = table_.find({orphan.mark.workload, orphan.mark.replica});
      const bool expected = entry != table_.end() && orphan.leader &&
                            !entry->second.record.process &&
                            entry->second.record.generation == orphan.mark.generation;
      if (expected && runtime_.Adopt(orphan.process, orphan.mark)) {
        entry->second.record.process = orphan.process;
        entry->second.vanished = false;
        Save(entry->second);
      } else if (entry == table_.end() || !entry->second.record.process ||
                 entry->second.record.generation != orphan.mark.generation) {
        strays.push_back(orphan);
      }
    }
    for (const auto& [key, entry] : table_) {
      if (entry.record.process &&
          FractionSlices::Holds(entry.record.slice.mechanism, entry.launch.workload))
        fractions_.Hold(MarkOf(key, entry.record.generation), *entry.record.process);
    }
  }
  if (strays.empty()) return {};
  return runtime_.StopOrphans(strays, options_.stop_grace);
}

Status Supervisor::Align(const Installation& installation) {
  std::vector<ReplicaKey> leaving;
  {
    const std::lock_guard lock(mutex_);
    for (const auto& [key, entry] : table_) {
      const DeployedReplica* deployed =
          installation.deployment.FindReplica(key.workload, key.replica);
      if (deployed == nullptr || !Matches(entry.record, *deployed)) leaving.push_back(key);
    }
  }
  Status status;
  for (const ReplicaKey& key : leaving) {
    if (const Status stopped = StopReplica(key); !stopped) status = stopped;
  }
  bool routed = false;
  {
    const std::lock_guard lock(mutex_);
    for (const DeployedReplica& deployed : installation.deployment.replicas) {
      const ReplicaKey key{deployed.workload, deployed.replica};
      const Launch* launch = installation.FindLaunch(key.workload, key.replica);
      // A virtual machine is its user's to run.
      if (launch == nullptr || deployed.slice.mechanism == Mechanism::kVgpu) continue;
      auto entry = table_.find(key);
      if (entry == table_.end()) {
        entry = table_.emplace(key, MakeEntry(*launch, deployed)).first;
        Save(entry->second);
      }
      entry->second.launch = *launch;
      entry->second.held = false;
      ReplicaState& state = entry->second.supervision.state;
      if (deployed.stopped) {
        state = ReplicaState::kStopped;
      } else if (state == ReplicaState::kStopped) {
        state = ReplicaState::kStarting;
      }
    }
    routed = !Routes().empty();
    SetTargets();
  }
  const Status routes = routed ? BeginRouting() : Unroute();
  return status ? routes : status;
}

}  // namespace tranche
