#include "engine/plan_executor.h"

#include <fmt/format.h>

namespace tranche {
namespace {

ReplicaKey KeyOf(const Step& step) { return {step.workload, step.replica}; }

// What a plan and an installation say of one replica; both pointers, or neither.
struct Known {
  const Launch* launch = nullptr;
  const DeployedReplica* deployed = nullptr;
};

Result<Known> Find(const Installation& installation, const Step& step) {
  const Known known{installation.FindLaunch(step.workload, step.replica),
                    installation.deployment.FindReplica(step.workload, step.replica)};
  if (known.launch != nullptr && known.deployed != nullptr) return known;
  return Fail(ErrorCode::kInvalid, fmt::format("the plan names {}/{}, but does not say what it is",
                                               step.workload, step.replica));
}

}  // namespace

Status PlanExecutor::StopReplica(const ReplicaKey& key) {
  // Replica by replica: the next one goes only when those that were replaced take its requests.
  for (const ReplicaKey& other : started_) {
    if (other.workload != key.workload) continue;
    if (const Status healthy = supervisor_.WaitHealthy(other); !healthy) return healthy;
  }
  return supervisor_.StopReplica(key);
}

Result<ComputeMode> PlanExecutor::ComputeModeOf(const std::string& gpu_uuid) {
  const Result<Machine> machine = driver_.Read();
  if (!machine) return tl::unexpected(machine.error());
  const Gpu* gpu = machine->FindGpu(gpu_uuid);
  if (gpu == nullptr)
    return Fail(ErrorCode::kNotFound, fmt::format("GPU {} is not on this machine", gpu_uuid));
  if (gpu->compute_mode) return *gpu->compute_mode;
  return Fail(ErrorCode::kFailed, "its compute mode cannot be read: " + gpu->compute_mode.reason());
}

Result<std::string> PlanExecutor::SetComputeMode(const Step& step) {
  const Status set = driver_.SetComputeMode(step.gpu_uuid, *step.compute_mode);
  if (set) return fmt::format("the compute mode is {}", ComputeModeName(*step.compute_mode));
  // A second line behind the server: without it the tenants are where most users of MPS always are,
  // and `status` says so as long as it lasts.
  const bool refused =
      set.error().code == ErrorCode::kPermission || set.error().code == ErrorCode::kUnsupported;
  if (*step.compute_mode != ComputeMode::kExclusiveProcess || !refused)
    return tl::unexpected(set.error());
  left_open_.insert(step.gpu_uuid);
  return fmt::format("left as it was, so that MPS fails open there: {}", set.error().message);
}

Result<std::string> PlanExecutor::Do(const Step& step) {
  switch (step.kind) {
    case StepKind::kStopReplica: {
      const auto known = Find(before_, step);
      if (const Status stopped = StopReplica(KeyOf(step)); !stopped) {
        return tl::unexpected(stopped.error());
      }
      if (!known || known->deployed->slice.mechanism == Mechanism::kMps) end_unused_mps_();
      return std::string();
    }
    case StepKind::kStartReplica: {
      const Result<Known> known = Find(after_, step);
      if (!known) return tl::unexpected(known.error());
      started_.insert(KeyOf(step));
      return supervisor_.StartReplica(*known->launch, *known->deployed);
    }
    case StepKind::kRoute: {
      if (const Status routed = supervisor_.BeginRouting(); !routed) {
        return tl::unexpected(routed.error());
      }
      return supervisor_.GetRouter().url;
    }
    case StepKind::kUnroute: {
      if (const Status stopped = supervisor_.Unroute(); !stopped) {
        return tl::unexpected(stopped.error());
      }
      return std::string();
    }
    case StepKind::kSetTimeSlice: {
      if (const Status set = time_slices_.Set(step.gpu_uuid, *step.time_slice); !set) {
        return tl::unexpected(set.error());
      }
      return fmt::format("the time slice is {}", TimeSliceName(*step.time_slice));
    }
    case StepKind::kSetComputeMode:
      return SetComputeMode(step);
    case StepKind::kCreateVgpu:
    case StepKind::kDestroyVgpu:
    case StepKind::kSetVgpuHost:
      return vgpus_.Do(step);
    default:
      return mig_.Do(step);
  }
}

Result<bool> PlanExecutor::Holds(const Step& step) {
  switch (step.kind) {
    case StepKind::kStopReplica:
      return !supervisor_.IsRunning(KeyOf(step));
    case StepKind::kStartReplica: {
      const Result<Known> known = Find(after_, step);
      if (!known) return tl::unexpected(known.error());
      return supervisor_.WasStarted(*known->deployed);
    }
    case StepKind::kRoute:
      return supervisor_.GetRouter().running;
    case StepKind::kUnroute:
      return !supervisor_.GetRouter().running;
    case StepKind::kSetTimeSlice: {
      const Result<TimeSlice> now = time_slices_.Get(step.gpu_uuid);
      if (!now) return tl::unexpected(now.error());
      return *now == *step.time_slice;
    }
    case StepKind::kSetComputeMode: {
      if (left_open_.count(step.gpu_uuid) != 0) return true;
      const Result<ComputeMode> now = ComputeModeOf(step.gpu_uuid);
      if (!now) return tl::unexpected(now.error());
      return *now == *step.compute_mode;
    }
    case StepKind::kCreateVgpu:
    case StepKind::kDestroyVgpu:
    case StepKind::kSetVgpuHost:
      return vgpus_.Holds(step);
    default:
      return mig_.Holds(step);
  }
}

Status PlanExecutor::Undo(const Step& step, const std::string& made) {
  switch (step.kind) {
    case StepKind::kStopReplica: {
      const Result<Known> known = Find(before_, step);
      if (!known) return tl::unexpected(known.error());
      return supervisor_.RestoreReplica(*known->launch, *known->deployed);
    }
    case StepKind::kStartReplica: {
      const Result<Known> known = Find(after_, step);
      if (!known) return tl::unexpected(known.error());
      if (!supervisor_.IsFrom(*known->deployed)) return {};
      const Status stopped = supervisor_.StopReplica(KeyOf(step));
      if (known->deployed->slice.mechanism == Mechanism::kMps) end_unused_mps_();
      return stopped;
    }
    // Routes follow the replicas; they are put into force when all of those are as before.
    case StepKind::kRoute:
    case StepKind::kUnroute:
      return {};
    case StepKind::kSetTimeSlice: {
      const Result<TimeSlice> now = time_slices_.Get(step.gpu_uuid);
      // Where it cannot be read it was not set either.
      if (!now && now.error().code == ErrorCode::kUnsupported) return {};
      if (now && *now == *step.time_slice_before) return {};
      return time_slices_.Set(step.gpu_uuid, *step.time_slice_before);
    }
    case StepKind::kSetComputeMode: {
      const Result<ComputeMode> now = ComputeModeOf(step.gpu_uuid);
      if (now && *now == *step.compute_mode_before) return {};
      return driver_.SetComputeMode(step.gpu_uuid, *step.compute_mode_before);
    }
    case StepKind::kCreateVgpu:
    case StepKind::kDestroyVgpu:
    case StepKind::kSetVgpuHost:
      return vgpus_.Undo(step);
    default:
      return mig_.Undo(step, made);
  }
}

}  // namespace tranche
