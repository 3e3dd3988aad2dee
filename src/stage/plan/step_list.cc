#include "stage/plan/step_list.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche::planning {
namespace {

Change ChangeOf(StepKind kind) {
  switch (kind) {
    case StepKind::kCreateInstance:
      return Change::kCreate;
    case StepKind::kDestroyInstance:
      return Change::kDestroy;
    default:
      return Change::kKeep;
  }
}

bool RunsOn(const GpuProcess& process, const Slice& slice, const Gpu& gpu,
            const std::vector<int>& pids) {
  if (std::find(pids.begin(), pids.end(), process.pid) != pids.end()) return true;
  if (!slice.placement) return false;
  const MigInstance* instance = gpu.FindInstance(*slice.placement);
  return instance != nullptr && process.gpu_instance == instance->id;
}

Step SettingOf(StepKind kind, Change change, const std::string& gpu_uuid, std::string why) {
  Step step;
  step.kind = kind;
  step.change = change;
  step.why = std::move(why);
  step.gpu_uuid = gpu_uuid;
  return step;
}

}  // namespace

std::string SliceName(const Slice& slice, const std::string& gpu_name) {
  if (slice.placement) {
    return fmt::format("{} {}@{}{}", gpu_name, slice.profile, slice.placement->start,
                       slice.mechanism == Mechanism::kMps    ? " mps"
                       : slice.mechanism == Mechanism::kVgpu ? " " + slice.vgpu_type
                                                             : std::string());
  }
  if (slice.mechanism == Mechanism::kVgpu) return fmt::format("{} {}", gpu_name, slice.vgpu_type);
  if (slice.mechanism == Mechanism::kExclusive) return gpu_name;
  return fmt::format("{} {}", gpu_name, MechanismName(slice.mechanism));
}

const Gpu* StepList::Find(const std::string& uuid) const {
  const auto gpu =
      std::find_if(gpus_.begin(), gpus_.end(), [&](const Gpu* g) { return g->uuid == uuid; });
  return gpu != gpus_.end() ? *gpu : nullptr;
}

std::string StepList::GpuName(const std::string& uuid) const {
  const Gpu* gpu = Find(uuid);
  return gpu != nullptr ? fmt::format("gpu{}", gpu->index) : uuid;
}

void StepList::Add(Step step) {
  step.id = static_cast<int>(steps_.size()) + 1;
  steps_.push_back(std::move(step));
}

void StepList::SwitchMig(const std::string& gpu_uuid, bool on, std::string why) {
  Step step;
  step.kind = on ? StepKind::kEnableMig : StepKind::kDisableMig;
  step.change = Change::kChange;
  step.target = GpuName(gpu_uuid);
  step.why = std::move(why);
  step.gpu_uuid = gpu_uuid;
  Add(std::move(step));
}

void StepList::Instance(StepKind kind, const Slice& slice, std::string why) {
  Step step;
  step.kind = kind;
  step.change = ChangeOf(kind);
  step.target = SliceName(slice, GpuName(slice.gpu_uuid));
  step.why = std::move(why);
  step.gpu_uuid = slice.gpu_uuid;
  step.slice = slice;
  Add(std::move(step));
}

void StepList::Replica(StepKind kind, Change change, const std::string& workload, int replica,
                       const Slice& slice, std::string why, const std::vector<int>& pids) {
  Step step;
  step.kind = kind;
  step.change = change;
  step.target = fmt::format("workload {}/{}", workload, replica);
  step.why = std::move(why);
  step.gpu_uuid = slice.gpu_uuid;
  step.workload = workload;
  step.replica = replica;
  step.slice = slice;
  const Gpu* gpu = Find(slice.gpu_uuid);
  if (slice.mechanism == Mechanism::kVgpu && kind != StepKind::kKeepReplica) {
    const bool stop = kind == StepKind::kStopReplica;
    step.kind = stop ? StepKind::kDestroyVgpu : StepKind::kCreateVgpu;
    step.target =
        fmt::format("{} for {}/{}", SliceName(slice, GpuName(slice.gpu_uuid)), workload, replica);
    const bool known = stop && gpu != nullptr && gpu->vgpu;
    for (const VgpuThere& there : known ? gpu->vgpu->there : std::vector<VgpuThere>()) {
      if (there.workload != workload || there.replica != replica) continue;
      for (const int pid : there.holders)
        step.interrupts.push_back({pid, "a virtual machine", "", ""});
    }
  }
  if (kind == StepKind::kStopReplica && gpu != nullptr) {
    for (const GpuProcess& process : gpu->processes) {
      if (!RunsOn(process, slice, *gpu, pids)) continue;
      step.interrupts.push_back({process.pid, process.command, process.user, process.container});
    }
  }
  Add(std::move(step));
}

void StepList::TimeSlices(Change change, const std::string& gpu_uuid, TimeSlice before,
                          TimeSlice now, std::string why) {
  Step step = SettingOf(StepKind::kSetTimeSlice, change, gpu_uuid, std::move(why));
  step.target = fmt::format("{} time slice {}", GpuName(gpu_uuid), TimeSliceName(now));
  step.time_slice = now;
  step.time_slice_before = before;
  Add(std::move(step));
}

void StepList::ComputeModes(Change change, const std::string& gpu_uuid, ComputeMode before,
                            ComputeMode now, std::string why) {
  Step step = SettingOf(StepKind::kSetComputeMode, change, gpu_uuid, std::move(why));
  step.target = fmt::format("{} compute mode {}", GpuName(gpu_uuid), ComputeModeName(now));
  step.compute_mode = now;
  step.compute_mode_before = before;
  Add(std::move(step));
}

void StepList::VgpuHosts(Change change, const std::string& gpu_uuid, const VgpuHostState& before,
                         const VgpuHostState& now, std::string why) {
  Step step = SettingOf(StepKind::kSetVgpuHost, change, gpu_uuid, std::move(why));
  step.target = fmt::format(
      "{} {}{}{}", GpuName(gpu_uuid),
      now.functions ? "virtual functions" : "without virtual functions",
      now.mixed ? ", mixed sizes" : "",
      now.functions && now.scheduler ? fmt::format(", {}", VgpuSchedulerName(*now.scheduler)) : "");
  step.vgpu_host = now;
  step.vgpu_host_before = before;
  Add(std::move(step));
}

void StepList::Routes(StepKind kind, Change change, std::string target, std::string why) {
  Step step;
  step.kind = kind;
  step.change = change;
  step.target = std::move(target);
  step.why = std::move(why);
  Add(std::move(step));
}

}  // namespace tranche::planning
