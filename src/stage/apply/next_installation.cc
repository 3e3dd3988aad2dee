#include "stage/apply/next_installation.h"

#include <algorithm>

namespace tranche {
namespace {

bool ChangesGpu(StepKind kind) {
  return kind == StepKind::kEnableMig || kind == StepKind::kDisableMig ||
         kind == StepKind::kCreateInstance || kind == StepKind::kDestroyInstance;
}

Baseline& BaselineOf(Deployment& deployment, const Machine& machine, const std::string& gpu_uuid) {
  for (Baseline& baseline : deployment.baselines) {
    if (baseline.gpu_uuid == gpu_uuid) return baseline;
  }
  Baseline baseline;
  baseline.gpu_uuid = gpu_uuid;
  if (const Gpu* gpu = machine.FindGpu(gpu_uuid); gpu != nullptr && gpu->mig_mode) {
    baseline.mig_enabled = gpu->mig_mode->current;
  }
  return deployment.baselines.emplace_back(std::move(baseline));
}

OwnedInstance InstanceOf(const Step& step) {
  return {step.gpu_uuid, step.slice->profile, *step.slice->placement};
}

void Disown(Deployment& deployment, const OwnedInstance& instance) {
  auto& owned = deployment.instances;
  owned.erase(std::remove_if(owned.begin(), owned.end(),
                             [&](const OwnedInstance& one) {
                               return one.gpu_uuid == instance.gpu_uuid &&
                                      one.placement == instance.placement;
                             }),
              owned.end());
}

// What the plan does to who owns which instance.
void ApplyHardwareStep(const Step& step, const Plan& plan, const Machine& machine,
                       Deployment& deployment) {
  if (step.by_hand) return;
  if (ChangesGpu(step.kind)) BaselineOf(deployment, machine, step.gpu_uuid);
  if (step.kind == StepKind::kSetTimeSlice) {
    auto& set = deployment.time_slices;
    const bool first = deployment.FindTimeSlice(step.gpu_uuid) == nullptr;
    set.erase(std::remove_if(set.begin(), set.end(),
                             [&](const SetTimeSlice& s) { return s.gpu_uuid == step.gpu_uuid; }),
              set.end());
    if (step.change == Change::kDestroy) return;
    set.push_back({step.gpu_uuid, *step.time_slice});
    if (first) {
      BaselineOf(deployment, machine, step.gpu_uuid).time_slice = step.time_slice_before;
    }
    return;
  }
  if (step.kind == StepKind::kSetComputeMode) {
    auto& set = deployment.compute_modes;
    const bool first = deployment.FindComputeMode(step.gpu_uuid) == nullptr;
    std::erase_if(set, [&](const SetComputeMode& s) { return s.gpu_uuid == step.gpu_uuid; });
    if (step.change == Change::kDestroy) return;
    set.push_back({step.gpu_uuid, *step.compute_mode});
    if (first) {
      BaselineOf(deployment, machine, step.gpu_uuid).compute_mode = step.compute_mode_before;
    }
    return;
  }
  if (step.kind == StepKind::kSetVgpuHost) {
    auto& set = deployment.vgpu_hosts;
    const bool first = deployment.FindVgpuHost(step.gpu_uuid) == nullptr;
    std::erase_if(set, [&](const SetVgpuHost& s) { return s.gpu_uuid == step.gpu_uuid; });
    if (step.change == Change::kDestroy) return;
    set.push_back({step.gpu_uuid, *step.vgpu_host});
    if (first) BaselineOf(deployment, machine, step.gpu_uuid).vgpu_host = step.vgpu_host_before;
    return;
  }
  if (!step.slice || !step.slice->placement) return;
  const OwnedInstance instance = InstanceOf(step);
  const bool owned = deployment.Owns(instance.gpu_uuid, instance.placement);
  switch (step.kind) {
    case StepKind::kDestroyInstance:
      if (owned) {
        Disown(deployment, instance);
      } else {
        BaselineOf(deployment, machine, step.gpu_uuid).instances.push_back(instance);
      }
      break;
    case StepKind::kCreateInstance:
      // Ours already when it had vanished and is made again.
      if (!owned) deployment.instances.push_back(instance);
      break;
    case StepKind::kKeepInstance:
      // Somebody else's instance that an adopting plan puts to use.
      if (!owned && plan.adopts) {
        BaselineOf(deployment, machine, step.gpu_uuid).instances.push_back(instance);
        deployment.instances.push_back(instance);
      }
      break;
    default:
      break;
  }
}

bool IsKept(const Plan& plan, const Assignment& assignment) {
  return std::any_of(plan.steps.begin(), plan.steps.end(), [&](const Step& step) {
    return step.kind == StepKind::kKeepReplica && step.workload == assignment.workload &&
           step.replica == assignment.replica;
  });
}

}  // namespace

Installation NextInstallation(const Installation& before, const Plan& plan, const Machine& machine,
                              const Owner& owner) {
  Installation after;
  after.deployment = before.deployment;
  after.deployment.plan_id = plan.id;
  after.spec = plan.spec;
  after.deployment.replicas.clear();
  for (const Step& step : plan.steps) {
    ApplyHardwareStep(step, plan, machine, after.deployment);
  }
  for (const Assignment& assignment : plan.assignments) {
    const auto workload =
        std::find_if(plan.spec.workloads.begin(), plan.spec.workloads.end(),
                     [&](const Workload& w) { return w.name == assignment.workload; });
    if (workload == plan.spec.workloads.end()) continue;

    Launch launch{.replica = assignment.replica,
                  .workload = *workload,
                  .engine_flags = assignment.engine_flags,
                  .guarantee = assignment.guarantee,
                  .uid = owner.uid,
                  .gid = owner.gid,
                  .allow_root = owner.allow_root || workload->allow_root || plan.spec.allow_root};
    DeployedReplica replica{.workload = assignment.workload,
                            .replica = assignment.replica,
                            .digest = WorkloadDigest(*workload),
                            .slice = assignment.slice,
                            .route = workload->route};
    const DeployedReplica* was =
        before.deployment.FindReplica(assignment.workload, assignment.replica);
    const bool kept = IsKept(plan, assignment);
    // Whoever only moves one does not make it theirs.
    if (kept || (was != nullptr && was->digest == replica.digest)) {
      if (const Launch* same = before.FindLaunch(assignment.workload, assignment.replica)) {
        launch.uid = same->uid;
        launch.gid = same->gid;
        launch.allow_root = same->allow_root;
      }
    }
    if (kept) replica.stopped = was != nullptr && was->stopped;
    after.launches.push_back(std::move(launch));
    after.deployment.replicas.push_back(std::move(replica));
  }
  return after;
}

Installation EmptyInstallation() { return {}; }

Installation PartialInstallation(const Installation& before, const Installation& after,
                                 const Machine* machine) {
  Installation left = before;
  left.deployment.baselines = after.deployment.baselines;
  for (const OwnedInstance& instance : after.deployment.instances) {
    if (left.deployment.Owns(instance.gpu_uuid, instance.placement)) continue;
    if (machine != nullptr) {
      const Gpu* gpu = machine->FindGpu(instance.gpu_uuid);
      const MigInstance* there = gpu != nullptr ? gpu->FindInstance(instance.placement) : nullptr;
      if (there == nullptr || there->profile != instance.profile) continue;
    }
    left.deployment.instances.push_back(instance);
  }
  // Ours wherever it is still set; where that cannot be seen, too, so that it is looked after.
  left.deployment.compute_modes = before.deployment.compute_modes;
  for (const SetComputeMode& set : after.deployment.compute_modes) {
    if (left.deployment.FindComputeMode(set.gpu_uuid) == nullptr)
      left.deployment.compute_modes.push_back(set);
  }
  std::erase_if(left.deployment.compute_modes, [&](const SetComputeMode& set) {
    const Gpu* gpu = machine != nullptr ? machine->FindGpu(set.gpu_uuid) : nullptr;
    return gpu != nullptr && gpu->compute_mode && *gpu->compute_mode != set.compute_mode;
  });
  for (const SetVgpuHost& set : after.deployment.vgpu_hosts) {
    if (left.deployment.FindVgpuHost(set.gpu_uuid) == nullptr)
      left.deployment.vgpu_hosts.push_back(set);
  }
  return left;
}

}  // namespace tranche
