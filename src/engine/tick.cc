#include <fmt/format.h>

#include "engine/engine_impl.h"
#include "engine/xid_table.h"
#include "stage/apply/mig_steps.h"

// What the engine does on a timer: events, supervision, and making true again what is installed.

namespace tranche {
namespace {

constexpr Duration kMachineInterval = std::chrono::seconds(2);
constexpr Duration kMpsInterval = std::chrono::seconds(1);
constexpr Duration kRetryInterval = std::chrono::seconds(30);
constexpr const char* kDriver = "driver";

std::string KeyOf(const OwnedInstance& instance) {
  return fmt::format("{} {}", instance.gpu_uuid, instance.placement.start);
}

}  // namespace

void EngineImpl::Tick() {
  const std::unique_lock ticking(tick_mutex_, std::try_to_lock);
  if (!ticking) return;
  HandleEvents();
  // Before what it did to the replicas is seen, so that the cause is told.
  CheckMps();
  supervisor_.Supervise();
  leases_.Tick();
  CheckHandshakes();
  Lend();
  // Virtual functions before the MIG instances that making them destroys.
  CheckVgpus();
  CheckMachine();
  CheckTimeSlices();
}

void EngineImpl::HandleEvents() {
  if (!events_supported_) return;
  const Result<std::vector<DriverEvent>> events = driver_.WaitForEvents(Duration{0});
  if (!events) {
    if (events.error().code == ErrorCode::kUnsupported) events_supported_ = false;
    return;
  }
  for (const DriverEvent& event : *events) HandleEvent(event);
}

void EngineImpl::HandleEvent(const DriverEvent& event) {
  const auto machine = driver_.Recent();
  const Machine nothing;
  const Machine& now = machine ? **machine : nothing;
  const Gpu* gpu = now.FindGpu(event.gpu_uuid);
  const std::string name = gpu != nullptr ? fmt::format("gpu{}", gpu->index) : event.gpu_uuid;
  const auto concerns = [&](const Slice& slice) { return Concerns(event, now, slice); };
  switch (event.kind) {
    case DriverEvent::Kind::kXid: {
      const XidMeaning xid = MeaningOfXid(event.xid);
      Note(name, fmt::format("XID {}: {}", event.xid, xid.meaning));
      if (xid.blame == XidBlame::kHardware) {
        supervisor_.Fault(concerns, fmt::format("XID {} on {}: {}", event.xid, name, xid.meaning));
      }
      break;
    }
    case DriverEvent::Kind::kGpuLost:
      lost_gpus_.insert(event.gpu_uuid);
      Note(name, "the driver lost the GPU");
      supervisor_.Fault(concerns, fmt::format("{} is lost", name));
      break;
    case DriverEvent::Kind::kMigChanged:
      machine_checked_ = Duration{-1};
      break;
  }
}

void EngineImpl::CheckMps() {
  const Duration now = clock_->Monotonic();
  if (mps_checked_ >= Duration{0} && now - mps_checked_ < kMpsInterval) return;
  mps_checked_ = now;
  const std::set<std::string> devices = MpsDevices();
  const std::vector<Lease> leases = leases_.List();
  for (const std::string& device : devices) mps_.Settle(device, MpsTenantsOf(leases, device));
  for (const MpsTrouble& trouble : mps_.Look(devices)) {
    Note(trouble.device_uuid, trouble.what);
    supervisor_.DeviceFailed(trouble.device_uuid, trouble.what);
  }
}

void EngineImpl::CheckMachine() {
  const Duration now = clock_->Monotonic();
  if (machine_checked_ >= Duration{0} && now - machine_checked_ < kMachineInterval) return;
  // While a plan is applied the machine is in between; what is installed is decided at its end.
  const std::unique_lock changing(change_mutex_, std::try_to_lock);
  if (!changing) return;
  const std::optional<Result<Machine>> machine = driver_.TryRead();
  if (!machine) return;
  machine_checked_ = now;
  if (!*machine) {
    Warn(kDriver, fmt::format("the machine cannot be read: {}", machine->error().message));
    return;
  }
  Warn(kDriver, "");
  CheckDevices(**machine);
  CheckComputeModes(**machine);
  Reestablish(**machine);
}

void EngineImpl::CheckDevices(const Machine& machine) {
  for (const ReplicaStatus& replica : supervisor_.GetReplicas()) {
    const Result<SliceDevice> device = FindDevice(machine, replica.slice);
    if (!device) continue;
    if (replica.pid && !replica.device_uuid.empty() && device->uuid != replica.device_uuid) {
      supervisor_.DeviceReplaced(replica.slice, "somebody made its slice again");
    } else if (lost_gpus_.count(replica.slice.gpu_uuid) != 0) {
      supervisor_.DeviceReplaced(replica.slice, "its GPU is back");
    }
  }
  for (auto gpu = lost_gpus_.begin(); gpu != lost_gpus_.end();) {
    const Gpu* found = machine.FindGpu(*gpu);
    gpu = found != nullptr && found->health.usable ? lost_gpus_.erase(gpu) : std::next(gpu);
  }
}

void EngineImpl::Reestablish(const Machine& machine) {
  const Installation installed = installation();
  const std::vector<OwnedInstance> missing = MissingInstances(installed.deployment, machine);
  std::map<std::string, Duration> waiting;
  for (const OwnedInstance& instance : missing) {
    const auto retry = retry_at_.find(KeyOf(instance));
    if (retry != retry_at_.end()) waiting.insert(*retry);
  }
  for (const auto& [key, time] : retry_at_) {
    if (waiting.count(key) == 0) Warn(key, "");  // it came back by other hands
  }
  retry_at_ = std::move(waiting);

  const Duration now = clock_->Monotonic();
  for (const OwnedInstance& instance : missing) {
    const std::string key = KeyOf(instance);
    const auto retry = retry_at_.find(key);
    if (retry != retry_at_.end() && now < retry->second) continue;
    // A process on a device that is gone holds the GPU; it is of no use to anybody.
    if (!supervisor_.ClearSlice(instance.gpu_uuid, instance.placement)) {
      machine_checked_ = Duration{-1};
      continue;
    }
    const std::string name =
        InstanceText(machine, instance.gpu_uuid, instance.profile, instance.placement);
    MigSteps steps(driver_);
    const Result<std::string> made =
        steps.Establish(instance.gpu_uuid, instance.profile, instance.placement);
    if (!made) {
      retry_at_[key] = now + kRetryInterval;
      Warn(key,
           fmt::format("{} vanished and cannot be made again: {}{}{}", name, made.error().message,
                       made.error().hint.empty() ? "" : "; ", made.error().hint));
    } else {
      retry_at_.erase(key);
      Warn(key, "");
      Note(name, "it had vanished (a reset, a reboot, or somebody's hand) and was made again");
      for (const DeployedReplica& replica : installed.deployment.replicas) {
        if (replica.slice.gpu_uuid == instance.gpu_uuid &&
            replica.slice.placement == instance.placement) {
          supervisor_.DeviceReplaced(replica.slice, "its slice had vanished and was made again");
        }
      }
    }
    // One at a time: a call to the hardware may take seconds, and Tick is not to block for long.
    machine_checked_ = Duration{-1};
    return;
  }
}

}  // namespace tranche
