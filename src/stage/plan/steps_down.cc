#include <fmt/format.h>

#include <algorithm>

#include "stage/plan/compute_modes.h"
#include "stage/plan/step_list.h"
#include "stage/plan/steps.h"
#include "stage/plan/vgpu.h"

namespace tranche::planning {
namespace {

Slice SliceOf(const Gpu& gpu, const OwnedInstance& owned) {
  Slice slice;
  slice.gpu_uuid = gpu.uuid;
  slice.mechanism = Mechanism::kMig;
  slice.profile = owned.profile;
  slice.placement = owned.placement;
  if (const MigProfile* profile = gpu.FindProfile(owned.profile); profile != nullptr) {
    slice.memory = profile->memory;
    if (gpu.sm_count && *gpu.sm_count > 0) {
      slice.compute_fraction =
          std::min(1.0, static_cast<double>(profile->sm_count) / *gpu.sm_count);
    }
  }
  return slice;
}

bool Stands(const Gpu& gpu, const OwnedInstance& owned) {
  const MigInstance* instance = gpu.FindInstance(owned.placement);
  return instance != nullptr && instance->profile == owned.profile;
}

bool HasBaseline(const Baseline& baseline, const OwnedInstance& owned) {
  return std::find(baseline.instances.begin(), baseline.instances.end(), owned) !=
         baseline.instances.end();
}

const Baseline* BaselineOf(const Deployment& deployment, const std::string& gpu_uuid) {
  for (const Baseline& baseline : deployment.baselines) {
    if (baseline.gpu_uuid == gpu_uuid) return &baseline;
  }
  return nullptr;
}

}  // namespace

std::vector<Step> StepsDown(const Machine& machine, const Deployment& deployment) {
  std::vector<const Gpu*> gpus;
  for (const Gpu& gpu : machine.gpus) gpus.push_back(&gpu);
  StepList list(gpus);
  const auto routed = [](const DeployedReplica& r) { return !r.route || !r.route->empty(); };
  if (std::any_of(deployment.replicas.begin(), deployment.replicas.end(), routed)) {
    list.Routes(StepKind::kUnroute, Change::kDestroy, "routes", "everything is taken down");
  }
  for (const DeployedReplica& replica : deployment.replicas) {
    list.Replica(StepKind::kStopReplica, Change::kDestroy, replica.workload, replica.replica,
                 replica.slice, "everything is taken down", replica.pids);
  }
  for (const OwnedInstance& owned : deployment.instances) {
    const Gpu* gpu = machine.FindGpu(owned.gpu_uuid);
    if (gpu == nullptr || !Stands(*gpu, owned)) continue;
    const Baseline* baseline = BaselineOf(deployment, owned.gpu_uuid);
    if (baseline != nullptr && HasBaseline(*baseline, owned)) {
      list.Instance(StepKind::kKeepInstance, SliceOf(*gpu, owned), "it was there before Tranche");
    } else {
      list.Instance(StepKind::kDestroyInstance, SliceOf(*gpu, owned), "Tranche made it");
    }
  }
  for (const SetTimeSlice& set : deployment.time_slices) {
    if (machine.FindGpu(set.gpu_uuid) == nullptr) continue;
    const Baseline* baseline = BaselineOf(deployment, set.gpu_uuid);
    list.TimeSlices(Change::kDestroy, set.gpu_uuid, set.time_slice,
                    baseline != nullptr ? baseline->time_slice.value_or(TimeSlice::kDefault)
                                        : TimeSlice::kDefault,
                    "as it was before Tranche");
  }
  for (const SetComputeMode& set : deployment.compute_modes) {
    const Gpu* gpu = machine.FindGpu(set.gpu_uuid);
    if (gpu == nullptr) continue;
    const ComputeMode before = ComputeModeBefore(deployment, set.gpu_uuid);
    // Where somebody else has changed it since it is theirs, and only forgotten.
    if (gpu->compute_mode && *gpu->compute_mode != set.compute_mode) continue;
    list.ComputeModes(Change::kDestroy, set.gpu_uuid, set.compute_mode, before,
                      "as it was before Tranche");
  }
  for (const SetVgpuHost& set : deployment.vgpu_hosts) {
    const Gpu* gpu = machine.FindGpu(set.gpu_uuid);
    if (gpu == nullptr) continue;
    list.VgpuHosts(Change::kDestroy, set.gpu_uuid, set.state, VgpuHostBefore(deployment, *gpu),
                   "as it was before Tranche");
  }
  for (const Gpu& gpu : machine.gpus) {
    const Baseline* baseline = BaselineOf(deployment, gpu.uuid);
    if (baseline == nullptr || !gpu.health.usable || !gpu.mig_mode) continue;
    const bool stranger = std::any_of(gpu.mig_instances.begin(), gpu.mig_instances.end(),
                                      [&](const MigInstance& instance) {
                                        return !deployment.Owns(gpu.uuid, instance.placement);
                                      });
    // Somebody has made an instance since; switching MIG off would take it from them.
    if (gpu.mig_mode->current != baseline->mig_enabled && !stranger) {
      list.SwitchMig(
          gpu.uuid, baseline->mig_enabled,
          fmt::format("MIG was {} before Tranche", baseline->mig_enabled ? "on" : "off"));
    }
    for (const OwnedInstance& owned : baseline->instances) {
      if (Stands(gpu, owned)) continue;
      list.Instance(StepKind::kCreateInstance, SliceOf(gpu, owned), "it was there before Tranche");
    }
  }
  return list.Take();
}

}  // namespace tranche::planning
