#include "engine/supervisor.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/port.h"
#include "edge/runtime/log_file.h"
#include "engine/launch_command.h"

namespace tranche {
namespace {

constexpr Duration kPollInterval = std::chrono::milliseconds(100);
constexpr Duration kLogInterval = std::chrono::seconds(10);
constexpr Bytes kLargestLog = MiB(64);
constexpr int kKeptLogs = 3;
constexpr Duration kRouterGrace = std::chrono::seconds(5);

std::string Name(const ReplicaKey& key) { return fmt::format("{}/{}", key.workload, key.replica); }

ReplicaKey KeyOf(const ReplicaRecord& record) { return {record.workload, record.replica}; }

// Health is asked per start, so that what was known of an earlier process is forgotten.
std::string HealthKey(const ReplicaRecord& record) {
  return fmt::format("{}/{}/{}", record.workload, record.replica, record.generation);
}

bool Matches(const ReplicaRecord& record, const DeployedReplica& deployed) {
  return record.digest == deployed.digest && record.slice == deployed.slice;
}

}  // namespace

Supervisor::Supervisor(Parts parts, SupervisorOptions options)
    : store_(parts.store),
      runtime_(parts.runtime),
      router_(std::move(parts.router)),
      health_(std::move(parts.health)),
      catalog_(std::move(parts.catalog)),
      clock_(std::move(parts.clock)),
      find_device_(std::move(parts.find_device)),
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

// ---- Opening ----

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
      if (launch == nullptr) continue;
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

// ---- Steps of a plan ----

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

// ---- Routes ----

Status Supervisor::RouterAvailable() const {
  return router_ ? Status() : tl::unexpected(router_.error());
}

std::vector<Route> Supervisor::Routes() const {
  std::map<std::string, Route> routes;
  for (const auto& [key, entry] : table_) {
    const std::string& path = entry.launch.workload.route;
    if (path.empty()) continue;
    Route& route = routes[path];
    route.path = path;
    route.workload = key.workload;
    if (!entry.record.port) continue;
    const bool up = !entry.held && entry.record.process && TakesRequests(entry.supervision.state);
    route.backends.push_back({.port = *entry.record.port, .up = up});
  }
  std::vector<Route> list;
  for (auto& [path, route] : routes) list.push_back(std::move(route));
  return list;
}

Status Supervisor::BeginRouting() {
  const std::lock_guard order(route_mutex_);
  routing_ = true;
  return UpdateRoutesLocked();
}

Status Supervisor::UpdateRoutes() {
  const std::lock_guard order(route_mutex_);
  return routing_ ? UpdateRoutesLocked() : Status();
}

Status Supervisor::UpdateRoutesLocked() {
  std::vector<Route> routes;
  {
    const std::lock_guard lock(mutex_);
    routes = Routes();
  }
  if (routed_ == routes) return {};
  if (!routed_ && routes.empty()) return {};
  if (!router_) return tl::unexpected(router_.error());
  if (const Status configured = (*router_)->Configure(routes); !configured) return configured;
  routed_ = std::move(routes);
  return {};
}

Status Supervisor::Unroute() {
  const std::lock_guard order(route_mutex_);
  routing_ = false;
  routed_.reset();
  if (!router_) return {};
  return (*router_)->Stop(kRouterGrace);
}

// ---- On request ----

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

// ---- On a timer ----

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
  const Result<ReplicaStart> started = runtime_.Start(launch);
  if (!started) return tl::unexpected(started.error());
  entry.record.process = started->process;
  entry.access = started->access;
  entry.access_reason = started->access_reason;
  Save(entry);
  return {};
}

Observation Supervisor::Observe(const ReplicaKey& key, Entry& entry,
                                const std::map<std::string, HealthReport>& reports) {
  Observation seen;
  seen.now = clock_->Monotonic();
  seen.lease_over = entry.record.lease_ends_at && clock_->Now() >= *entry.record.lease_ends_at;
  if (entry.record.process) {
    const Result<ReplicaPoll> poll = runtime_.Poll(*entry.record.process);
    if (!poll) {
      seen.process = Observation::Process::kEnded;
      seen.seen_to_end = false;
    } else if (poll->state == ReplicaPoll::State::kEnded) {
      seen.process = Observation::Process::kEnded;
      seen.end = poll->end;
    } else {
      seen.process = poll->state == ReplicaPoll::State::kStopping ? Observation::Process::kStopping
                                                                  : Observation::Process::kRunning;
    }
    if (seen.process == Observation::Process::kEnded) {
      entry.record.process.reset();
      seen.port_taken = LostItsPort(key, entry);
      Note(key, fmt::format("ended: {}", seen.end.Text()));
    }
  } else if (entry.vanished) {
    seen.process = Observation::Process::kEnded;
    seen.seen_to_end = false;
    entry.vanished = false;
  }
  const auto report = reports.find(HealthKey(entry.record));
  if (report != reports.end()) {
    seen.health = report->second.state.verdict;
    seen.health_detail = report->second.detail;
  }
  if (seen.process == Observation::Process::kNone) {
    const Result<SliceDevice> device = find_device_(entry.record.slice);
    seen.device_ready = device.has_value();
    if (!device) seen.device_reason = device.error().message;
  }
  return seen;
}

void Supervisor::SuperviseEntry(const ReplicaKey& key, Entry& entry,
                                const std::map<std::string, HealthReport>& reports) {
  const SupervisionPolicy policy = PolicyOf(entry.launch);
  const Observation seen = Observe(key, entry, reports);
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
                       seen.process == Observation::Process::kEnded;
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

void Supervisor::DeviceReplaced(const Slice& slice, const std::string& reason) {
  const std::lock_guard lock(mutex_);
  for (auto& [key, entry] : table_) {
    if (entry.record.slice != slice || entry.held) continue;
    const ReplicaState state = entry.supervision.state;
    if (state == ReplicaState::kStopped || state == ReplicaState::kEnded) continue;
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

// ---- Bookkeeping ----

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

// ---- Asking ----

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
