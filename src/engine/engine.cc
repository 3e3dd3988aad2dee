#include "engine/engine.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "base/suggest.h"
#include "edge/driver/timeslice/smi_time_slices.h"
#include "edge/runtime/log_file.h"
#include "engine/coefficients.h"
#include "engine/engine_impl.h"
#include "engine/launch_command.h"
#include "engine/plan_executor.h"
#include "engine/slice_memory.h"
#include "engine/vgpu_inventory.h"
#include "stage/apply/apply.h"
#include "stage/inventory/inventory.h"

namespace tranche {
namespace {

constexpr int kShownEvents = 20;
constexpr const char* kInterrupted = "interrupted";  // what warnings are about
constexpr const char* kPartial = "partial";
constexpr const char* kWorkloads = "workloads";

SupervisorOptions OptionsFor(const Paths& paths, const std::string& root) {
  SupervisorOptions options;
  options.log_directory = paths.state + "/logs";
  options.program_directory = OwnProgramDirectory();
  options.root = root;
  return options;
}

Status MakeDirectories(const Paths& paths) {
  for (const std::string& directory : {paths.state, paths.run, paths.state + "/logs"}) {
    std::error_code error;
    std::filesystem::create_directories(directory, error);
    if (!error) continue;
    const bool denied =
        error == std::errc::permission_denied || error == std::errc::read_only_file_system;
    return Fail(denied ? ErrorCode::kPermission : ErrorCode::kFailed,
                fmt::format("making {}: {}", directory, error.message()),
                "run as a user who may write there, or set TRANCHE_STATE_DIR");
  }
  return {};
}

bool HasStep(const Plan& plan, StepKind kind) {
  return std::any_of(plan.steps.begin(), plan.steps.end(),
                     [&](const Step& step) { return step.kind == kind; });
}

}  // namespace

EngineEdges MakeEdges(const Engine::Parts& parts) {
  RuntimeOptions runtime;
  runtime.root = parts.root;
  runtime.environment = CurrentEnvironment();
  const auto path = runtime.environment.find("PATH");
  std::vector<std::string> environment;
  for (const auto& [name, value] : runtime.environment) environment.push_back(name + "=" + value);
  auto time_slices = MakeSmiTimeSlices(
      path != runtime.environment.end() ? path->second : "/usr/local/bin:/usr/bin:/bin",
      std::move(environment));
  RouterOptions router;
  router.directory = parts.paths.run + "/router";
  return {MakeProcessRuntime(std::move(runtime), parts.clock),
          MakeNginxRouter(std::move(router), parts.clock), MakeHealthChecker(HealthOptions()),
          std::move(time_slices), OpenVgpuHost(VgpuRoot())};
}

Result<std::unique_ptr<Engine>> Engine::Open(Parts parts) {
  if (const Status made = MakeDirectories(parts.paths); !made) return tl::unexpected(made.error());
  EngineEdges edges = MakeEdges(parts);
  return OpenEngine(std::move(parts), std::move(edges));
}

Result<std::unique_ptr<Engine>> OpenEngine(Engine::Parts parts, EngineEdges edges) {
  if (const Status made = MakeDirectories(parts.paths); !made) return tl::unexpected(made.error());
  Result<StateLock> lock = StateLock::Acquire(parts.paths.state);
  if (!lock) return tl::unexpected(lock.error());
  // From here on nobody else writes below the state directory.
  Result<std::unique_ptr<Store>> store = Store::Open(parts.paths.state + "/tranche.db");
  if (!store) return tl::unexpected(store.error());
  auto engine = std::make_unique<EngineImpl>(std::move(parts), std::move(edges), std::move(*lock),
                                             std::move(*store));
  if (const Status started = engine->Start(); !started) return tl::unexpected(started.error());
  return engine;
}

EngineImpl::EngineImpl(Parts parts, EngineEdges edges, StateLock lock, std::unique_ptr<Store> store)
    : lock_(std::move(lock)),
      catalog_(std::move(parts.catalog)),
      clock_(std::move(parts.clock)),
      paths_(std::move(parts.paths)),
      root_(std::move(parts.root)),
      driver_(std::move(parts.driver)),
      time_slices_(std::move(edges.time_slices)),
      vgpu_host_(std::move(edges.vgpus)),
      vgpus_(vgpu_host_ == nullptr
                 ? nullptr
                 : std::make_unique<VgpuBook>(paths_.state + "/vgpu", *vgpu_host_, *clock_)),
      store_(std::move(store)),
      runtime_(std::move(edges.runtime)),
      kernel_(driver_, OpenCgroupTree(root_), KernelGroupPrefix(paths_.run)),
      tables_(paths_.run + "/slices",
              [] { return FindLimiterFiles().map(&LimiterFiles::table_broker); }),
      leases_(paths_.run + "/slices", tables_, clock_, &kernel_),
      mps_(paths_.run),
      fractions_(leases_, driver_, mps_),
      supervisor_(Supervisor::Parts{*store_, *runtime_, std::move(edges.router),
                                    std::move(edges.health), catalog_, clock_,
                                    [this](const Slice& slice) -> Result<SliceDevice> {
                                      const auto machine = driver_.Recent();
                                      if (!machine) return tl::unexpected(machine.error());
                                      return FindDevice(**machine, slice);
                                    },
                                    fractions_},
                  OptionsFor(paths_, root_)),
      handshakes_(root_) {}

Status EngineImpl::Start() {
  const Result<Installation> installed = store_->GetInstallation();
  if (!installed) return tl::unexpected(installed.error());
  const Result<std::optional<ApplyRecord>> open = store_->FindOpenApply();
  if (!open) return tl::unexpected(open.error());
  installation_ = *installed;
  for (const std::string& trouble : leases_.Open()) Note("leases", trouble);

  std::vector<const Installation*> candidates;
  if (*open) candidates = {&(*open)->after, &(*open)->before};
  candidates.push_back(&installation_);
  if (const Status adopted = supervisor_.Adopt(candidates); !adopted) {
    return FailedWhile("taking over the workloads that run", adopted.error());
  }
  if (!*open) {
    if (const Status aligned = supervisor_.Align(installation_); !aligned) {
      Warn(kWorkloads, aligned.error().message);
    }
    return {};
  }

  const ApplyRecord& apply = **open;
  StoreJournal journal(*store_, apply.id);
  PlanExecutor executor(
      driver_, *time_slices_, supervisor_, VgpuStepsHere(), [this] { EndMpsDaemons(); },
      apply.before, apply.after);
  const Receipt receipt = Recover(apply, {executor, journal, *clock_});
  Close(apply.id, receipt, apply.before, apply.after);
  Warn(kInterrupted, fmt::format("Tranche ended while it applied plan {} (begun {}); {}",
                                 apply.plan.id, FormatTime(apply.started),
                                 receipt.outcome == ApplyOutcome::kDone ? "it was completed"
                                 : receipt.outcome == ApplyOutcome::kRolledBack
                                     ? "it was undone"
                                     : "it could not be undone completely"));
  return {};
}

Installation EngineImpl::installation() {
  const std::lock_guard lock(state_mutex_);
  return installation_;
}

// ---- Planning ----

Result<Machine> EngineImpl::Inventory() {
  Result<Machine> machine = TakeInventory(driver_, *catalog_, *clock_, root_, ExclusiveForMps());
  if (machine) {
    ReadTimeSlices(nullptr, &*machine);
    ReadVgpus(&*machine);
  }
  return machine;
}

Result<Plan> EngineImpl::MakePlan(const Spec& spec, const PlanOptions& options) {
  PlanOptions all = options;
  if (all.coefficients == nullptr) {
    const auto used = ConfiguredCoefficients({paths_.config});
    if (!used) return tl::unexpected(used.error());
    all.coefficients = used->values;
    all.coefficients_from = used->from;
  }
  if (!spec.fleet.empty()) {
    return tranche::MakePlan(MachineFromFleet(spec, *catalog_), spec, Deployment(), *catalog_, all);
  }
  Result<Machine> machine = TakeInventory(driver_, *catalog_, *clock_, root_, ExclusiveForMps());
  if (!machine) return tl::unexpected(machine.error());
  ReadTimeSlices(&spec, &*machine);
  ReadVgpus(&*machine);
  all.compute_promised = PromisedToLeases();
  // Without it a plan is as good, only less foreseeing.
  if (const auto receipts = store_->GetReceipts(kReceiptsRemembered))
    all.slices_seen = SlicesSeen(*receipts);
  return tranche::MakePlan(WithLeases(*machine), spec, DeploymentWithProcesses(*machine), *catalog_,
                           all);
}

Deployment EngineImpl::DeploymentWithProcesses(const Machine& machine) {
  Deployment deployment = installation().deployment;
  for (const Gpu& gpu : machine.gpus) {
    for (const GpuProcess& process : gpu.processes) {
      for (const ReplicaKey& owner : OwnersOf(process.pid)) {
        for (DeployedReplica& replica : deployment.replicas) {
          if (replica.workload == owner.workload && replica.replica == owner.replica)
            replica.pids.push_back(process.pid);
        }
      }
    }
  }
  return deployment;
}

// ---- Changing ----

Result<Receipt> EngineImpl::Apply(const Plan& plan, const ApplyOptions& options,
                                  const StepProgress& progress) {
  const std::lock_guard changing(change_mutex_);
  const Result<Machine> machine = Inventory();
  if (!machine) return tl::unexpected(machine.error());
  const Installation before = installation();
  const auto owner = [this](int pid) { return OwnerInTheWay(pid); };
  for (const Status& check :
       {CheckPlanFits(plan, *machine, before.deployment),
        CheckRoot(plan, options.caller.uid, options.allow_root), CheckWindow(plan),
        HasStep(plan, StepKind::kRoute) ? supervisor_.RouterAvailable() : Status(),
        CheckNobodyInTheWay(plan, *machine, before.deployment, owner)}) {
    if (!check) return tl::unexpected(check.error());
  }
  // Nothing was changed so far; from here on there is a receipt.
  const Owner caller{options.caller.uid, options.caller.gid, options.allow_root};
  const Installation after = NextInstallation(before, plan, *machine, caller);
  TakeBackFor(*machine, after, {});
  return Carry(plan, after, progress);
}

Result<Receipt> EngineImpl::Down(const ApplyOptions&, const StepProgress& progress) {
  const std::lock_guard changing(change_mutex_);
  const Result<Machine> machine = Inventory();
  if (!machine) return tl::unexpected(machine.error());
  const Installation before = installation();
  const Plan plan = MakeDownPlan(*machine, DeploymentWithProcesses(*machine), *catalog_);
  const auto owner = [this](int pid) { return OwnerInTheWay(pid); };
  if (const Status free = CheckNobodyInTheWay(plan, *machine, before.deployment, owner); !free) {
    return tl::unexpected(free.error());
  }
  Installation after = EmptyInstallation();
  after.deployment.drained = before.deployment.drained;
  return Carry(plan, after, progress);
}

Result<Receipt> EngineImpl::Carry(const Plan& plan, const Installation& after,
                                  const StepProgress& progress) {
  ApplyRecord apply;
  apply.plan = plan;
  apply.before = installation();
  apply.after = after;
  apply.started = clock_->Now();
  // A job that has finished is not run again when this is undone.
  const std::set<ReplicaKey> ended = supervisor_.Ended();
  for (Launch& launch : apply.before.launches) {
    launch.ended = ended.count({launch.workload.name, launch.replica}) != 0;
  }
  const Result<int64_t> id = store_->BeginApply(apply);
  if (!id) return tl::unexpected(id.error());

  StoreJournal journal(*store_, *id);
  PlanExecutor executor(
      driver_, *time_slices_, supervisor_, VgpuStepsHere(), [this] { EndMpsDaemons(); },
      apply.before, apply.after);
  Receipt receipt = RunPlan(plan, {executor, journal, *clock_, progress});
  Warn(kInterrupted, "");
  Close(*id, receipt, apply.before, apply.after);
  return receipt;
}

void EngineImpl::Close(int64_t apply_id, const Receipt& receipt, const Installation& before,
                       const Installation& after) {
  Installation result = receipt.outcome == ApplyOutcome::kDone ? after : before;
  Warn(kPartial, "");
  if (receipt.outcome == ApplyOutcome::kPartial) {
    const Result<Machine> machine = driver_.Read();
    result = PartialInstallation(before, after, machine ? &*machine : nullptr);
    Warn(kPartial, fmt::format("applying plan {} stopped part-way: {}", receipt.plan_id,
                               receipt.error ? receipt.error->message : ""));
  }
  for (Launch& launch : result.launches) launch.ended = false;
  if (const Status closed = store_->CloseApply(apply_id, receipt, result); !closed) {
    // The journal stays open; the next start finds every outcome in it and comes to the same end.
    Warn(kPartial, closed.error().message);
  }
  {
    const std::lock_guard lock(state_mutex_);
    installation_ = result;
  }
  const Status aligned = supervisor_.Align(result);
  Warn(kWorkloads, aligned ? "" : aligned.error().message);
  EndMpsDaemons();
}

std::set<std::string> EngineImpl::MpsDevices(bool running) {
  std::set<std::string> devices;
  for (const ReplicaStatus& replica : supervisor_.GetReplicas()) {
    if (replica.slice.mechanism != Mechanism::kMps || replica.device_uuid.empty()) continue;
    if (!running || replica.pid) devices.insert(replica.device_uuid);
  }
  return devices;
}

std::optional<ReplicaKey> EngineImpl::OwnerInTheWay(int pid) {
  const std::vector<ReplicaKey> owners = OwnersOf(pid);
  return owners.empty() ? std::nullopt : std::optional(owners.front());
}

std::vector<ReplicaKey> EngineImpl::OwnersOf(int pid) {
  if (const auto owner = supervisor_.OwnerOf(pid)) return {*owner};
  std::vector<ReplicaKey> owners;
  const auto device = mps_.DeviceOfServer(pid, MpsDevices());
  if (!device) return owners;
  for (const ReplicaStatus& replica : supervisor_.GetReplicas()) {
    if (replica.slice.mechanism == Mechanism::kMps && replica.device_uuid == *device)
      owners.push_back({replica.workload, replica.replica});
  }
  return owners;
}

void EngineImpl::EndMpsDaemons() { mps_.EndOthers(MpsDevices(true)); }

Result<std::vector<ReplicaKey>> EngineImpl::Select(const std::string& workload,
                                                   std::optional<int> replica) {
  std::vector<ReplicaKey> keys;
  std::vector<std::string> names;
  for (const DeployedReplica& deployed : installation().deployment.replicas) {
    names.push_back(deployed.workload);
    if (deployed.workload != workload) continue;
    if (!replica || deployed.replica == *replica) keys.push_back({workload, deployed.replica});
  }
  if (!keys.empty()) return keys;
  if (std::find(names.begin(), names.end(), workload) != names.end()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("workload '{}' has no replica {}", workload, *replica));
  }
  return Fail(ErrorCode::kNotFound, fmt::format("no workload '{}' is deployed", workload),
              names.empty() ? "nothing is deployed" : DidYouMean(workload, names));
}

Status EngineImpl::SetStopped(const std::vector<ReplicaKey>& keys, bool stopped) {
  Installation changed = installation();
  for (DeployedReplica& replica : changed.deployment.replicas) {
    const ReplicaKey key{replica.workload, replica.replica};
    if (std::find(keys.begin(), keys.end(), key) != keys.end()) replica.stopped = stopped;
  }
  if (const Status put = store_->PutInstallation(changed); !put) return put;
  const std::lock_guard lock(state_mutex_);
  installation_ = std::move(changed);
  return {};
}

Status EngineImpl::Stop(const std::string& workload, std::optional<int> replica) {
  const std::lock_guard changing(change_mutex_);
  const Result<std::vector<ReplicaKey>> keys = Select(workload, replica);
  if (!keys) return tl::unexpected(keys.error());
  if (const Status ours = CheckNoMachines(*keys); !ours) return ours;
  if (const Status recorded = SetStopped(*keys, true); !recorded) return recorded;
  for (const ReplicaKey& key : *keys) supervisor_.Stop(key);
  return {};
}

Status EngineImpl::Restart(const std::string& workload, std::optional<int> replica) {
  const std::lock_guard changing(change_mutex_);
  const Result<std::vector<ReplicaKey>> keys = Select(workload, replica);
  if (!keys) return tl::unexpected(keys.error());
  if (const Status ours = CheckNoMachines(*keys); !ours) return ours;
  if (const Status recorded = SetStopped(*keys, false); !recorded) return recorded;
  for (size_t i = 0; i < keys->size(); ++i) {
    if (const Status restarted = supervisor_.Restart((*keys)[i]); !restarted) return restarted;
    // Replica by replica, so that somebody is always there to answer.
    if (i + 1 == keys->size()) break;
    if (const Status healthy = supervisor_.WaitHealthy((*keys)[i]); !healthy) return healthy;
  }
  return {};
}

void EngineImpl::StopAll() {
  const std::lock_guard changing(change_mutex_);
  if (const Status stopped = supervisor_.StopAll(); !stopped) {
    Warn(kWorkloads, stopped.error().message);
  }
}

// ---- Asking ----

Result<SystemStatus> EngineImpl::GetStatus() {
  SystemStatus status;
  status.replicas = supervisor_.GetReplicas();
  status.router = supervisor_.GetRouter();
  std::map<std::string, Lease> of_replicas;
  for (Lease& lease : leases_.List()) {
    if (lease.workload.empty())
      status.leases.push_back(std::move(lease));
    else
      of_replicas.emplace(lease.id, std::move(lease));
  }
  {
    const std::lock_guard lock(state_mutex_);
    status.plan_id = installation_.deployment.plan_id;
    for (const auto& [about, text] : warnings_) status.warnings.push_back(text);
  }
  const Result<std::vector<EventRecord>> events = store_->GetEvents(kShownEvents);
  if (!events) status.warnings.push_back(events.error().message);
  for (const EventRecord& event : events ? *events : std::vector<EventRecord>())
    status.events.push_back({event.time, event.subject, event.message});
  // Fresh where nobody is changing the machine, else as it was a moment ago.
  (void)driver_.TryRead();
  const auto machine = driver_.Recent();
  for (ReplicaStatus& replica : status.replicas) {
    if (!machine) {
      replica.memory_used = Reading<Bytes>::Absent(machine.error().message);
      continue;
    }
    const Gpu* gpu = (*machine)->FindGpu(replica.slice.gpu_uuid);
    replica.gpu_index = gpu != nullptr ? gpu->index : -1;
    replica.memory_used = MemoryUsed(**machine, replica.slice);
    const auto lease = of_replicas.find(LeaseBook::IdOfReplica(replica.workload, replica.replica));
    if (lease == of_replicas.end() || !replica.pid) continue;
    replica.memory_used = lease->second.memory_used;
    replica.compute_used = lease->second.compute_used;
    if (replica.detail.empty()) replica.detail = lease->second.detail;
    // What was promised may have been lost; whether it is in force is the lease's to say.
    const Guarantee memory = lease->second.guarantee().memory;
    if (memory < replica.guarantee.memory) replica.guarantee.memory = memory;
    const std::optional<Bytes> lent = lease->second.lent;
    if (replica.detail.empty() && lent && *lent > replica.slice.memory) {
      replica.detail = fmt::format("{} are lent to it until somebody is promised them",
                                   FormatBytes(*lent - replica.slice.memory));
    }
  }
  if (machine) {
    AddSharing(**machine, &status);
    AddMps(**machine, &status);
  }
  AddVgpuReplicas(&status);
  return status;
}

Result<Engine::LogPart> EngineImpl::Logs(const std::string& workload, int replica, int lines,
                                         std::optional<uint64_t> from) {
  const ReplicaKey key{workload, replica};
  const Result<std::vector<ReplicaKey>> keys = Select(workload, replica);
  // What an undone apply or a `down` took away can still say why it failed.
  if (!keys && !supervisor_.HasLog(key)) return tl::unexpected(keys.error());
  const Result<LogText> log = ReadLog(supervisor_.LogPath(key), lines, from);
  if (!log) {
    if (log.error().code == ErrorCode::kNotFound) return LogPart{};  // it never wrote anything
    return tl::unexpected(log.error());
  }
  return LogPart{log->text, log->next};
}

Result<Deployment> EngineImpl::GetDeployment() { return installation().deployment; }

Result<Spec> EngineImpl::GetSpec() {
  const Installation installed = installation();
  if (installed.spec) return *installed.spec;
  // An older Tranche noted the workloads only.
  Spec spec;
  for (const Launch& launch : installed.launches) {
    const auto same =
        std::find_if(spec.workloads.begin(), spec.workloads.end(),
                     [&](const Workload& w) { return w.name == launch.workload.name; });
    if (same == spec.workloads.end()) spec.workloads.push_back(launch.workload);
  }
  return spec;
}

Status EngineImpl::SetDrained(const std::string& gpu_uuid, bool drained) {
  const std::lock_guard changing(change_mutex_);
  const Result<Machine> machine = driver_.Read();
  if (!machine) return tl::unexpected(machine.error());
  const Gpu* gpu = machine->FindGpu(gpu_uuid);
  if (gpu == nullptr && drained) {
    return Fail(ErrorCode::kNotFound, fmt::format("GPU {} is not on this machine", gpu_uuid),
                "`tranche inventory` lists those that are");
  }
  Installation changed = installation();
  std::vector<std::string>& all = changed.deployment.drained;
  const bool before = changed.deployment.IsDrained(gpu_uuid);
  if (before == drained) return {};
  if (drained) {
    all.push_back(gpu_uuid);
  } else {
    all.erase(std::remove(all.begin(), all.end(), gpu_uuid), all.end());
  }
  if (const Status put = store_->PutInstallation(changed); !put) return put;
  {
    const std::lock_guard lock(state_mutex_);
    installation_ = std::move(changed);
  }
  Note(gpu != nullptr ? fmt::format("gpu{}", gpu->index) : gpu_uuid,
       drained ? "drained: nothing new is placed on it" : "no longer drained");
  return {};
}

void EngineImpl::Warn(const std::string& about, const std::string& text) {
  {
    const std::lock_guard lock(state_mutex_);
    if (text.empty()) {
      warnings_.erase(about);
      return;
    }
    const auto known = warnings_.find(about);
    if (known != warnings_.end() && known->second == text) return;
    warnings_[about] = text;
  }
  Note("tranche", text);
}

void EngineImpl::Note(const std::string& subject, const std::string& message) {
  (void)store_->AddEvent({clock_->Now(), subject, message});
}

}  // namespace tranche
