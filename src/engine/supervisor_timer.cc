#include <fmt/format.h>

#include "base/port.h"
#include "edge/runtime/log_file.h"
#include "engine/launch_command.h"
#include "engine/supervisor.h"
#include "engine/supervisor_parts.h"

namespace tranche {
namespace {

constexpr Duration kLogInterval = std::chrono::seconds(10);
constexpr Bytes kLargestLog = MiB(64);
constexpr int kKeptLogs = 3;
// What nothing holds to its slice is not given time to take more.
constexpr Duration kUnenforcedGrace = std::chrono::milliseconds(200);

}  // namespace

Result<int> Supervisor::ChoosePort(const ReplicaKey& key, const Entry& entry) const {
  std::set<int> taken;
  for (const auto& [other, its] : table_) {
    if (other != key && its.record.port) taken.insert(*its.record.port);
  }
  const std::optional<int> fixed = entry.launch.workload.port;
  if (fixed && key.replica == 0) {
    if (taken.count(*fixed) == 0 && IsPortFree(*fixed)) return *fixed;
    return Fail(ErrorCode::kFailed, fmt::format("port {} is in use", *fixed),
                "free it, or give the workload another `port`");
  }
  if (entry.record.port && taken.count(*entry.record.port) == 0 && IsPortFree(*entry.record.port)) {
    return *entry.record.port;  // stays what it was over restarts
  }
  return FindFreePort(fixed ? *fixed + 1 : options_.first_port, taken);
}

bool Supervisor::LostItsPort(const ReplicaKey& key, const Entry& entry) const {
  const bool fixed = entry.launch.workload.port && key.replica == 0;
  return !fixed && NeedsPort(entry.launch.workload) && entry.record.port &&
         !IsPortFree(*entry.record.port);
}

Status Supervisor::Start(const ReplicaKey& key, Entry& entry) {
  const Result<SliceDevice> device = find_device_(entry.record.slice);
  if (!device) return tl::unexpected(device.error());
  const Result<std::vector<std::string>> argv =
      CommandOf(entry.launch, *catalog_, options_.program_directory);
  if (!argv) return tl::unexpected(argv.error());
  if (NeedsPort(entry.launch.workload)) {
    const Result<int> port = ChoosePort(key, entry);
    if (!port) return tl::unexpected(port.error());
    entry.record.port = *port;
  }

  const Workload& workload = entry.launch.workload;
  const Time now = clock_->Now();
  entry.supervision.state = ReplicaState::kStarting;
  entry.supervision.started = clock_->Monotonic();
  entry.record.process.reset();
  ++entry.record.generation;
  entry.record.device_uuid = device->uuid;
  entry.record.started_at = now;
  if (workload.lease && !entry.record.lease_ends_at) {
    entry.record.lease_ends_at = now + *workload.lease;
  }
  // Before the process exists: should we die in between, its mark tells that it is this one.
  entry.record.state = entry.supervision.state;
  entry.record.detail = entry.supervision.detail;
  entry.record.restarts = entry.supervision.restarts;
  if (const Status saved = store_.PutReplica(entry.record); !saved) return saved;

  ReplicaLaunch launch;
  launch.mark = MarkOf(key, entry.record.generation);
  launch.argv = *argv;
  launch.container = ContainerOf(workload, &launch.argv);
  launch.env = workload.env;
  launch.env_from = workload.env_from;
  launch.working_directory = workload.working_directory;
  launch.uid = entry.launch.uid;
  launch.gid = entry.launch.gid;
  launch.allow_root = entry.launch.allow_root;
  launch.device_uuid = device->uuid;
  launch.devices = device->grants;
  launch.port = entry.record.port;
  launch.log_path = LogPath(key);
  const bool fraction = FractionSlices::Holds(entry.record.slice.mechanism, entry.launch.workload);
  if (fraction) {
    const Result<LimiterUse> limiter = fractions_.Make(launch, entry.launch, entry.record.slice);
    if (!limiter) return tl::unexpected(limiter.error());
    launch.limiter = *limiter;
  }
  const Result<ReplicaStart> started = runtime_.Start(launch);
  if (fraction && started) fractions_.Hold(launch.mark, started->process);
  if (fraction && !started) fractions_.GiveBack(launch);
  if (!started) return tl::unexpected(started.error());
  entry.record.process = started->process;
  entry.access = started->access;
  entry.access_reason = started->access_reason;
  Save(entry);
  return {};
}

ReplicaObservation Supervisor::Observe(const ReplicaKey& key, Entry& entry,
                                       const std::map<std::string, HealthReport>& reports) {
  ReplicaObservation seen;
  seen.now = clock_->Monotonic();
  seen.lease_over = entry.record.lease_ends_at && clock_->Now() >= *entry.record.lease_ends_at;
  if (entry.record.process) {
    const Result<ReplicaPoll> poll = runtime_.Poll(*entry.record.process);
    if (!poll) {
      seen.process = ReplicaObservation::Process::kEnded;
      seen.seen_to_end = false;
    } else if (poll->state == ReplicaPoll::State::kEnded) {
      seen.process = ReplicaObservation::Process::kEnded;
      seen.end = poll->end;
    } else {
      seen.process = poll->state == ReplicaPoll::State::kStopping
                         ? ReplicaObservation::Process::kStopping
                         : ReplicaObservation::Process::kRunning;
    }
    if (seen.process == ReplicaObservation::Process::kEnded) {
      entry.record.process.reset();
      seen.port_taken = LostItsPort(key, entry);
      Note(key, fmt::format("ended: {}", seen.end.Text()));
    }
  } else if (entry.vanished) {
    seen.process = ReplicaObservation::Process::kEnded;
    seen.seen_to_end = false;
    entry.vanished = false;
  }
  const auto report = reports.find(HealthKey(entry.record));
  if (report != reports.end()) {
    seen.health = report->second.state.verdict;
    seen.health_detail = report->second.detail;
  }
  if (seen.process == ReplicaObservation::Process::kNone) {
    const Result<SliceDevice> device = find_device_(entry.record.slice);
    seen.device_ready = device.has_value();
    if (!device) seen.device_reason = device.error().message;
  }
  return seen;
}

void Supervisor::SuperviseEntry(const ReplicaKey& key, Entry& entry,
                                const std::map<std::string, HealthReport>& reports) {
  const SupervisionPolicy policy = PolicyOf(entry.launch);
  const ReplicaObservation seen = Observe(key, entry, reports);
  SuperviseDecision decision = tranche::Supervise(entry.supervision, seen, policy);
  const ReplicaState before = entry.supervision.state;
  entry.supervision = std::move(decision.next);
  switch (decision.action) {
    case SuperviseAction::kNone:
      break;
    case SuperviseAction::kStop:
      if (entry.record.process) (void)runtime_.Stop(*entry.record.process, options_.stop_grace);
      break;
    case SuperviseAction::kStart:
      if (const Status started = Start(key, entry); !started) {
        entry.supervision =
            AfterDeath(entry.supervision, seen.now, started.error().message, policy);
      }
      break;
  }
  if (entry.supervision.state != before) {
    Note(key, entry.supervision.detail.empty()
                  ? ReplicaStateName(entry.supervision.state)
                  : fmt::format("{}: {}", ReplicaStateName(entry.supervision.state),
                                entry.supervision.detail));
  }
  const bool changed = entry.record.state != entry.supervision.state ||
                       entry.record.restarts != entry.supervision.restarts ||
                       seen.process == ReplicaObservation::Process::kEnded;
  if (changed) Save(entry);
}

void Supervisor::Supervise() {
  {
    const std::lock_guard lock(mutex_);
    if (shut_down_) return;
    std::map<std::string, HealthReport> reports;
    for (HealthReport& report : health_->Reports()) {
      std::string key = report.key;
      reports.emplace(std::move(key), std::move(report));
    }
    for (auto& [key, entry] : table_) {
      if (!entry.held) SuperviseEntry(key, entry, reports);
    }
    SetTargets();
  }
  (void)UpdateRoutes();
  if (router_) (void)(*router_)->Supervise();
  RotateLogs();
}

void Supervisor::RotateLogs() {
  const std::lock_guard lock(mutex_);
  const Duration now = clock_->Monotonic();
  if (now - logs_rotated_ < kLogInterval) return;
  logs_rotated_ = now;
  for (const auto& [key, entry] : table_) {
    if (const Result<bool> rotated = RotateLog(LogPath(key), kLargestLog, kKeptLogs); !rotated) {
      Note(key, fmt::format("its log could not be rotated: {}", rotated.error().message));
    }
  }
}

void Supervisor::Fault(const std::function<bool(const Slice&)>& concerns,
                       const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    for (auto& [key, entry] : table_) {
      const ReplicaState state = entry.supervision.state;
      if (state == ReplicaState::kStopped || state == ReplicaState::kEnded) continue;
      if (!concerns(entry.record.slice)) continue;
      entry.supervision.state = ReplicaState::kFaulted;
      entry.supervision.detail =
          fmt::format("{}; `tranche restart {}` tries it again", reason, key.workload);
      Save(entry);
      Note(key, fmt::format("faulted: {}", reason));
    }
  }
  (void)UpdateRoutes();
}

void Supervisor::StopUnenforced(const ReplicaKey& key, const std::string& reason) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = table_.find(key);
    if (found == table_.end() || !found->second.record.process) return;
    Entry& entry = found->second;
    (void)runtime_.Stop(*entry.record.process, kUnenforcedGrace);
    entry.supervision.state = ReplicaState::kFaulted;
    entry.supervision.detail = reason;
    Save(entry);
    Note(key, fmt::format("stopped: {}", reason));
  }
  (void)UpdateRoutes();
}

void Supervisor::StartAnew(const ReplicaKey& key, Entry& entry, const std::string& reason) {
  const ReplicaState state = entry.supervision.state;
  if (entry.held || state == ReplicaState::kStopped || state == ReplicaState::kEnded) return;
  Note(key, reason);
  if (entry.record.process) {
    // It goes on as a death would, without being counted as one.
    (void)runtime_.Stop(*entry.record.process, options_.stop_grace);
    entry.supervision.state = ReplicaState::kUnhealthy;
    entry.supervision.restarting = true;
    entry.supervision.deaths = 0;
  } else {
    entry.supervision.state = ReplicaState::kStarting;
    ++entry.supervision.restarts;
    entry.supervision.deaths = 0;
  }
  entry.supervision.detail = reason;
  Save(entry);
}

void Supervisor::TakeBack(const ReplicaKey& key, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  const auto found = table_.find(key);
  if (found == table_.end() || !found->second.record.process) return;
  if (found->second.supervision.restarting) return;  // on its way already
  StartAnew(key, found->second, reason);
}

void Supervisor::DeviceReplaced(const Slice& slice, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  for (auto& [key, entry] : table_) {
    if (entry.record.slice == slice) StartAnew(key, entry, reason);
  }
}

void Supervisor::DeviceFailed(const std::string& device_uuid, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  for (auto& [key, entry] : table_) {
    if (entry.record.slice.mechanism == Mechanism::kMps && entry.record.device_uuid == device_uuid)
      StartAnew(key, entry, reason);
  }
}

bool Supervisor::ClearSlice(const std::string& gpu_uuid, MigPlacement placement) {
  const std::lock_guard lock(mutex_);
  bool clear = true;
  for (auto& [key, entry] : table_) {
    if (entry.record.slice.gpu_uuid != gpu_uuid || entry.record.slice.placement != placement) {
      continue;
    }
    if (!entry.record.process) continue;
    clear = false;
    (void)runtime_.Stop(*entry.record.process, options_.stop_grace);
  }
  return clear;
}

}  // namespace tranche
