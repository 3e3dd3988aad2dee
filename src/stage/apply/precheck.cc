#include "stage/apply/precheck.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>
#include <set>

#include "edge/driver/busy.h"
#include "model/spec.h"

namespace tranche {
namespace {

constexpr const char* kPlanAgain = "plan again and look at what is new: `tranche plan -f SPEC`";

std::string Name(const ReplicaKey& key) { return fmt::format("{}/{}", key.workload, key.replica); }

// What moved since the plan was made, in the fingerprint's terms.
std::vector<std::string> WhatMoved(const Plan& plan, const Machine& machine) {
  std::vector<std::string> moved = MachineDifferences(plan.machine_layout, machine);
  if (moved.empty()) {
    moved.push_back(fmt::format("the machine's fingerprint was {} and is {}",
                                plan.machine_fingerprint, machine.fingerprint));
  }
  return moved;
}

// In which way the plan was not made for what is deployed now; empty when it was.
std::vector<std::string> DeploymentMoved(const Plan& plan, const Deployment& deployment) {
  std::vector<std::string> moved;
  std::set<ReplicaKey> met;      // deployed ones that the plan knows of
  std::set<ReplicaKey> stopped;  // by the plan itself
  for (const Step& step : plan.steps) {
    const ReplicaKey key{step.workload, step.replica};
    const DeployedReplica* deployed = deployment.FindReplica(key.workload, key.replica);
    switch (step.kind) {
      case StepKind::kKeepReplica:
      case StepKind::kStopReplica:
      case StepKind::kDestroyVgpu:
        met.insert(key);
        if (step.kind != StepKind::kKeepReplica) stopped.insert(key);
        if (deployed == nullptr) {
          moved.push_back(fmt::format("workload {} is not deployed any more", Name(key)));
        } else if (step.slice && deployed->slice != *step.slice) {
          moved.push_back(fmt::format("workload {} holds another slice now", Name(key)));
        } else if (step.kind == StepKind::kKeepReplica &&
                   deployed->slice.mechanism != Mechanism::kVgpu) {
          const auto wanted =
              std::find_if(plan.spec.workloads.begin(), plan.spec.workloads.end(),
                           [&](const Workload& w) { return w.name == key.workload; });
          if (wanted != plan.spec.workloads.end() && WorkloadDigest(*wanted) != deployed->digest) {
            moved.push_back(fmt::format("workload {} runs from another spec now", Name(key)));
          }
        }
        break;
      case StepKind::kStartReplica:
      case StepKind::kCreateVgpu:
        if (deployed != nullptr && stopped.count(key) == 0) {
          moved.push_back(fmt::format("workload {} is deployed already", Name(key)));
        }
        break;
      default:
        break;
    }
  }
  for (const DeployedReplica& replica : deployment.replicas) {
    const ReplicaKey key{replica.workload, replica.replica};
    if (met.count(key) == 0) {
      moved.push_back(fmt::format("workload {} was deployed meanwhile", Name(key)));
    }
  }
  return moved;
}

bool TouchesInstance(const Step& step) { return step.kind == StepKind::kDestroyInstance; }
bool TouchesGpu(const Step& step) {
  return step.kind == StepKind::kEnableMig || step.kind == StepKind::kDisableMig;
}

// The machines that have a virtual GPU open which the step takes away, or whose turns it changes.
std::vector<GpuProcess> MachinesOn(const Step& step, const Gpu& gpu) {
  const bool destroys = step.kind == StepKind::kDestroyVgpu;
  std::vector<GpuProcess> machines;
  if ((!destroys && step.kind != StepKind::kSetVgpuHost) || !gpu.vgpu) return machines;
  for (const VgpuThere& there : gpu.vgpu->there) {
    const bool its = there.workload == step.workload && there.replica == step.replica;
    if (destroys && !its) continue;
    for (const int pid : there.holders) {
      GpuProcess& process = machines.emplace_back();
      process.pid = pid;
      process.command = fmt::format("a virtual machine with {}", there.id);
    }
  }
  return machines;
}

bool LetsOnlyMpsIn(const Step& step) {
  return step.kind == StepKind::kSetComputeMode &&
         step.compute_mode == ComputeMode::kExclusiveProcess;
}

// The processes that the step would take the ground from.
std::vector<GpuProcess> ProcessesUnder(const Step& step, const Gpu& gpu) {
  if (TouchesGpu(step) || LetsOnlyMpsIn(step)) return gpu.processes;
  std::vector<GpuProcess> under;
  if (!step.slice || !step.slice->placement) return under;
  const MigInstance* instance = gpu.FindInstance(*step.slice->placement);
  if (instance == nullptr) return under;
  for (const GpuProcess& process : gpu.processes) {
    if (process.gpu_instance == instance->id) under.push_back(process);
  }
  return under;
}

std::string InstanceName(const Gpu& gpu, const MigInstance& instance) {
  return fmt::format("gpu{} {}@{}", gpu.index, instance.profile, instance.placement.start);
}

// Whether a replica runs on the GPU as a client of its MPS server.
bool IsMpsTenant(const std::optional<ReplicaKey>& replica, const Gpu& gpu,
                 const Deployment& deployment) {
  const DeployedReplica* deployed =
      replica ? deployment.FindReplica(replica->workload, replica->replica) : nullptr;
  return deployed != nullptr && deployed->slice.mechanism == Mechanism::kMps &&
         deployed->slice.gpu_uuid == gpu.uuid;
}

// Instances that the step destroys or loses and that are not ours to lose.
std::vector<std::string> ForeignInstances(const Step& step, const Gpu& gpu,
                                          const Deployment& deployment,
                                          const std::set<MigPlacement>& destroyed) {
  std::vector<std::string> foreign;
  for (const MigInstance& instance : gpu.mig_instances) {
    const bool hit = TouchesGpu(step) ? destroyed.count(instance.placement) == 0
                                      : step.slice && step.slice->placement == instance.placement;
    if (hit && !deployment.Owns(gpu.uuid, instance.placement)) {
      foreign.push_back(InstanceName(gpu, instance));
    }
  }
  return foreign;
}

}  // namespace

Status CheckPlanFits(const Plan& plan, const Machine& machine, const Deployment& deployment) {
  if (plan.simulated_fleet) {
    return Fail(ErrorCode::kInvalid, "this plan was made on the spec's fleet, not on this machine",
                "leave `fleet:` out of the spec and plan again");
  }
  if (!plan.feasible()) {
    const Unplaced& first = plan.unplaced.front();
    return Fail(ErrorCode::kDoesNotFit,
                fmt::format("{}/{} does not fit: {}", first.workload, first.replica, first.reason),
                first.nearest);
  }
  for (const Step& step : plan.steps) {
    if (step.kind != StepKind::kStartReplica) continue;
    const auto workload = std::find_if(plan.spec.workloads.begin(), plan.spec.workloads.end(),
                                       [&](const Workload& w) { return w.name == step.workload; });
    if (workload != plan.spec.workloads.end() && !HasSomethingToRun(*workload)) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("workload '{}' says nothing that could be run", step.workload),
                  "give it an `engine:` or a `command:`");
    }
  }
  std::vector<std::string> moved;
  if (plan.machine_fingerprint != machine.fingerprint) moved = WhatMoved(plan, machine);
  for (std::string& difference : DeploymentMoved(plan, deployment)) {
    moved.push_back(std::move(difference));
  }
  if (moved.empty()) return {};
  return Fail(ErrorCode::kStale, fmt::format("the plan is stale: {}", fmt::join(moved, "; ")),
              kPlanAgain);
}

Status CheckNobodyInTheWay(const Plan& plan, const Machine& machine, const Deployment& deployment,
                           const ProcessOwner& owner) {
  std::set<ReplicaKey> stopped;
  std::map<std::string, std::set<MigPlacement>> destroyed;
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kStopReplica) stopped.insert({step.workload, step.replica});
    const Gpu* gpu = machine.FindGpu(step.gpu_uuid);
    if (gpu != nullptr) {
      const std::vector<GpuProcess> machines = MachinesOn(step, *gpu);
      if (!machines.empty()) return tl::unexpected(BusyError(step.target, machines));
    }
    if (!TouchesInstance(step) && !TouchesGpu(step) && !LetsOnlyMpsIn(step)) continue;
    if (gpu == nullptr) {
      return Fail(ErrorCode::kStale, fmt::format("{}: there is no such GPU here", step.target),
                  kPlanAgain);
    }
    const std::vector<std::string> foreign =
        LetsOnlyMpsIn(step) ? std::vector<std::string>()
                            : ForeignInstances(step, *gpu, deployment, destroyed[gpu->uuid]);
    if (!foreign.empty() && !plan.adopts && !step.by_hand) {
      return Fail(ErrorCode::kBusy,
                  fmt::format("{}: Tranche did not make {}", step.target, fmt::join(foreign, ", ")),
                  "destroy it yourself, or plan again with --adopt to let Tranche do it");
    }
    if (TouchesInstance(step) && step.slice && step.slice->placement) {
      destroyed[gpu->uuid].insert(*step.slice->placement);
    }

    std::vector<GpuProcess> in_the_way;
    for (const GpuProcess& process : ProcessesUnder(step, *gpu)) {
      const std::optional<ReplicaKey> replica = owner(process.pid);
      if (LetsOnlyMpsIn(step) && (process.graphics || IsMpsTenant(replica, *gpu, deployment)))
        continue;
      if (!replica || stopped.count(*replica) == 0) in_the_way.push_back(process);
    }
    if (!in_the_way.empty()) return tl::unexpected(BusyError(step.target, in_the_way));
  }
  return {};
}

Status CheckRoot(const Plan& plan, uint32_t uid, bool allow_root) {
  if (uid != 0 || allow_root || plan.spec.allow_root) return {};
  for (const Step& step : plan.steps) {
    if (step.kind != StepKind::kStartReplica) continue;
    const auto workload = std::find_if(plan.spec.workloads.begin(), plan.spec.workloads.end(),
                                       [&](const Workload& w) { return w.name == step.workload; });
    if (workload != plan.spec.workloads.end() && workload->allow_root) continue;
    return Fail(ErrorCode::kPermission,
                fmt::format("workload '{}' would run as root", step.workload),
                "apply as another user, or say `allow_root: true` in the spec or --allow-root");
  }
  return {};
}

}  // namespace tranche
