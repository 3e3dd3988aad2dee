#include <fmt/format.h>

#include <algorithm>

#include "engine/engine_impl.h"
#include "engine/vgpu_inventory.h"

// Virtual GPUs: what the inventory and `status` say of them, and that those of a plan stay there.

namespace tranche {
namespace {

constexpr Duration kCheckInterval = std::chrono::seconds(10);

std::string KeyOf(const DeployedReplica& replica) {
  return fmt::format("vGPU of {}/{}", replica.workload, replica.replica);
}

bool IsVgpu(const DeployedReplica& replica) { return replica.slice.mechanism == Mechanism::kVgpu; }

}  // namespace

void EngineImpl::ReadVgpus(Machine* machine) {
  if (vgpus_ != nullptr) AddVgpus(*vgpus_, *vgpu_host_, *catalog_, machine);
}

Status EngineImpl::CheckNoMachines(const std::vector<ReplicaKey>& keys) {
  const Deployment deployment = installation().deployment;
  for (const ReplicaKey& key : keys) {
    const DeployedReplica* replica = deployment.FindReplica(key.workload, key.replica);
    if (replica == nullptr || !IsVgpu(*replica)) continue;
    return Fail(ErrorCode::kInvalid,
                fmt::format("workload '{}' is a virtual machine, which is yours to stop and start",
                            key.workload),
                "use virsh, or whatever runs it; its vGPU stays as long as it is in the spec");
  }
  return {};
}

void EngineImpl::AddVgpuReplicas(SystemStatus* status) {
  if (vgpus_ == nullptr) return;
  const Installation installed = installation();
  const auto machine = driver_.Recent();
  for (const DeployedReplica& replica : installed.deployment.replicas) {
    if (!IsVgpu(replica)) continue;
    ReplicaStatus one;
    one.workload = replica.workload;
    one.replica = replica.replica;
    one.slice = replica.slice;
    if (const Launch* launch = installed.FindLaunch(replica.workload, replica.replica)) {
      one.team = launch->workload.team;
      one.guarantee = launch->guarantee;
    }
    const Gpu* gpu = machine ? (*machine)->FindGpu(replica.slice.gpu_uuid) : nullptr;
    one.gpu_index = gpu != nullptr ? gpu->index : -1;
    one.memory_used =
        Reading<Bytes>::Absent("what its machine uses of it is known inside the machine");
    if (const auto there = vgpus_->FindFor(replica.workload, replica.replica)) {
      const std::vector<int>& holders = there->device.holders;
      one.state = ReplicaState::kHealthy;
      one.device_uuid = there->device.id;
      one.started_at = there->since;
      one.detail = holders.empty()
                       ? fmt::format("{} is there, and no machine has it open", there->device.id)
                       : fmt::format("{} is open by pid {}", there->device.id, holders.front());
    } else {
      one.state = ReplicaState::kFaulted;
      one.detail = "its vGPU is gone";
    }
    // Whoever drains the GPU waits for the machine.
    for (DrainStatus& drained : status->drained) {
      if (drained.gpu_uuid == replica.slice.gpu_uuid && one.state == ReplicaState::kHealthy) {
        drained.waiting_for.push_back(
            fmt::format("workload {}/{}", replica.workload, replica.replica));
      }
    }
    status->replicas.push_back(std::move(one));
  }
  std::stable_sort(status->replicas.begin(), status->replicas.end(),
                   [](const ReplicaStatus& a, const ReplicaStatus& b) {
                     return std::tie(a.workload, a.replica) < std::tie(b.workload, b.replica);
                   });
}

void EngineImpl::CheckVgpus() {
  if (vgpus_ == nullptr) return;
  const Deployment deployment = installation().deployment;
  if (deployment.vgpu_hosts.empty() &&
      std::none_of(deployment.replicas.begin(), deployment.replicas.end(), IsVgpu)) {
    return;
  }
  const Duration now = clock_->Monotonic();
  if (vgpus_checked_ >= Duration{0} && now - vgpus_checked_ < kCheckInterval) return;
  // While a plan is applied it is the plan that makes them.
  const std::unique_lock changing(change_mutex_, std::try_to_lock);
  if (!changing) return;
  vgpus_checked_ = now;
  VgpuSteps steps = VgpuStepsHere();
  const auto machine = driver_.Recent();
  if (!machine) return;
  for (const SetVgpuHost& set : deployment.vgpu_hosts) {
    const Gpu* gpu = (*machine)->FindGpu(set.gpu_uuid);
    const auto read = gpu != nullptr ? vgpu_host_->Read(gpu->pci_bus_id)
                                     : Result<VgpuGpu>(Fail(ErrorCode::kNotFound, "it is gone"));
    // A driver that is loaded anew forgets them, and all that holds for them with them.
    if (read && (!set.state.functions || !read->functions.empty())) continue;
    const Status again =
        read ? steps.SetHost(set.gpu_uuid, set.state) : tl::unexpected(read.error());
    const std::string key = "virtual functions of " + set.gpu_uuid;
    Warn(key, again ? ""
                    : fmt::format("GPU {} has no virtual functions any more: {}", set.gpu_uuid,
                                  again.error().message));
    if (again) Note(set.gpu_uuid, "its virtual functions were gone and were made again");
  }
  for (const DeployedReplica& replica : deployment.replicas) {
    if (!IsVgpu(replica)) continue;
    if (vgpus_->FindFor(replica.workload, replica.replica)) {
      Warn(KeyOf(replica), "");
      continue;
    }
    const auto made = steps.Create(replica.workload, replica.replica, replica.slice);
    if (made) {
      Warn(KeyOf(replica), "");
      Note(KeyOf(replica),
           fmt::format("it had vanished (a reboot, or somebody's hand) and was made again: {}",
                       *made));
    } else {
      Warn(KeyOf(replica), fmt::format("{} vanished and cannot be made again: {}{}{}",
                                       KeyOf(replica), made.error().message,
                                       made.error().hint.empty() ? "" : "; ", made.error().hint));
    }
  }
}

}  // namespace tranche
