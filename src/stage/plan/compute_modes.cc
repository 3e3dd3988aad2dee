#include "stage/plan/compute_modes.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tranche::planning {
namespace {

bool IsExclusive(const Gpu& gpu) {
  return gpu.compute_mode && *gpu.compute_mode == ComputeMode::kExclusiveProcess;
}

std::string WhyFailsOpen(const GpuView& view, bool in_instance, bool others) {
  if (in_instance) return "a GPU in MIG mode has no compute mode of its own";
  const Capability* capability = view.Find(Mechanism::kMps);
  if (capability != nullptr && !capability->fails_open.empty()) return capability->fails_open;
  std::vector<GpuProcess> locked_out;
  for (const GpuProcess& process : view.foreign_processes) {
    if (!process.graphics) locked_out.push_back(process);
  }
  if (!locked_out.empty()) {
    return fmt::format("{} {} it as well, and would be locked out", WhoIs(locked_out),
                       locked_out.size() == 1 ? "uses" : "use");
  }
  if (others) return "workloads that are no clients of the server share it";
  return "";
}

}  // namespace

MpsAccess MpsAccessOn(size_t gpu, const NodeLayout& layout, const GpuView& view) {
  MpsAccess access;
  bool in_instance = false, others = false;
  for (const Placed& placed : layout.placed) {
    const bool here = std::find(placed.gpus.begin(), placed.gpus.end(), static_cast<int>(gpu)) !=
                      placed.gpus.end();
    if (!here) continue;
    const bool mps = placed.option.mechanism == Mechanism::kMps;
    access.shared = access.shared || mps;
    in_instance = in_instance || placed.placement.has_value();
    others = others || !mps;
  }
  if (!access.shared) return access;
  access.exclusive = !in_instance && IsExclusive(*view.gpu);
  if (access.exclusive) return access;
  access.fails_open = WhyFailsOpen(view, in_instance, others);
  access.exclusive = access.fails_open.empty();
  return access;
}

bool WasPartitioned(const GpuView& view, const Deployment& deployment) {
  const Capability* mps = view.Find(Mechanism::kMps);
  if (mps == nullptr || mps->partition_sms == 0 || !view.gpu->sm_count) return false;
  bool any = false;
  for (const DeployedReplica& replica : deployment.replicas) {
    const Slice& slice = replica.slice;
    const bool here = slice.gpu_uuid == view.gpu->uuid && slice.mechanism == Mechanism::kMps;
    if (!here || slice.placement) continue;
    const double chunks = slice.compute_fraction * *view.gpu->sm_count / mps->partition_sms;
    if (std::abs(chunks - std::round(chunks)) > 1e-6) return false;
    any = true;
  }
  return any;
}

ComputeMode ComputeModeBefore(const Deployment& deployment, const std::string& gpu_uuid) {
  for (const Baseline& baseline : deployment.baselines) {
    if (baseline.gpu_uuid == gpu_uuid && baseline.compute_mode) return *baseline.compute_mode;
  }
  return ComputeMode::kDefault;
}

}  // namespace tranche::planning
