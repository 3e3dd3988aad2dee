#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "stage/plan/candidates.h"
#include "stage/plan/tiers.h"
#include "stage/plan/vgpu.h"

namespace tranche::planning {
namespace {

// Whether one of our replicas runs on the undivided GPU, and whether we know its processes.
bool IsOurs(const GpuProcess& process, const Gpu& gpu, const Deployment& deployment) {
  for (const DeployedReplica& replica : deployment.replicas) {
    const auto& pids = replica.pids;
    if (std::find(pids.begin(), pids.end(), process.pid) != pids.end()) return true;
    const auto& more = replica.slice.more_gpu_uuids;
    const bool here = replica.slice.gpu_uuid == gpu.uuid ||
                      std::find(more.begin(), more.end(), gpu.uuid) != more.end();
    if (here && !replica.slice.placement && pids.empty()) return true;
  }
  return false;
}

bool IsBusy(const MigInstance& instance, const Gpu& gpu) {
  return std::any_of(gpu.processes.begin(), gpu.processes.end(), [&](const GpuProcess& process) {
    return process.gpu_instance == instance.id;
  });
}

std::string Join(const std::vector<std::string>& parts, const char* separator) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : separator) + part;
  return text;
}

void JudgeHealth(const Deployment& deployment, GpuView& view) {
  const Gpu& gpu = *view.gpu;
  if (deployment.IsDrained(gpu.uuid)) {
    view.unusable =
        fmt::format("it is drained; `tranche undrain {}` takes it into use again", gpu.index);
    return;
  }
  if (!gpu.health.usable) {
    view.unusable =
        gpu.health.problems.empty() ? "the driver cannot use it" : Join(gpu.health.problems, "; ");
    return;
  }
  if (gpu.mig_mode && gpu.mig_mode->current != gpu.mig_mode->pending) {
    view.unusable = fmt::format(
        "its MIG mode turns {} at the next GPU reset; reset it first "
        "(nvidia-smi -i {} --gpu-reset), then plan again",
        gpu.mig_mode->pending ? "on" : "off", gpu.index);
  } else if (gpu.compute_mode && *gpu.compute_mode == ComputeMode::kProhibited) {
    view.unusable = "its compute mode prohibits CUDA";
  }
}

void CollectInstances(const Deployment& deployment, bool adopt, GpuView& view) {
  std::vector<MigInstance> staying;
  for (const MigInstance& instance : view.gpu->mig_instances) {
    if (deployment.Owns(view.gpu->uuid, instance.placement)) continue;
    if (adopt && !IsBusy(instance, *view.gpu)) {
      view.removable.push_back(instance);
    } else {
      staying.push_back(instance);
    }
  }
  if (view.geometry) view.foreign = view.geometry->OccupancyOf(staying);
  if (!staying.empty()) {
    view.no_whole = fmt::format("it is divided by MIG, and {} of its instances {} not Tranche's",
                                staying.size(), staying.size() == 1 ? "is" : "are");
  }
}

void CollectProcesses(const Deployment& deployment, GpuView& view) {
  const Gpu& gpu = *view.gpu;
  view.free_undivided = UsableMemory(gpu);
  for (const GpuProcess& process : gpu.processes) {
    if (process.gpu_instance || IsOurs(process, gpu, deployment)) continue;
    view.foreign_processes.push_back(process);
    if (process.memory_used) {
      view.free_undivided = view.free_undivided - *process.memory_used;
    } else {
      view.free_unknown = fmt::format("how much memory {} holds cannot be read", WhoIs({process}));
    }
  }
}

void JudgeMig(GpuView& view) {
  const Gpu& gpu = *view.gpu;
  const Capability* capability = view.Find(Mechanism::kMig);
  if (capability == nullptr) {
    view.no_mig = gpu.mig_mode ? "MIG is not among its capabilities" : gpu.mig_mode.reason();
  } else if (!capability->available) {
    view.no_mig = capability->reason;
  } else if (!view.mig_on && !view.foreign_processes.empty()) {
    view.no_mig =
        fmt::format("switching MIG on needs it idle, and {} {} it", WhoIs(view.foreign_processes),
                    view.foreign_processes.size() == 1 ? "uses" : "use");
  } else {
    Result<MigGeometry> geometry = MigGeometry::Make(gpu.mig_profiles);
    if (geometry) {
      view.geometry = *std::move(geometry);
    } else {
      view.no_mig = geometry.error().message;
    }
  }
}

// At CUDA_DEVICE_MAX_CONNECTIONS as it is by itself, and of GPUs on which MPS is offered at all
// (from Volta on). A driver that does not say what it is may be an old one.
int MpsClientsOf(const Machine& machine) {
  constexpr int kClients = 48, kClientsFromCuda131 = 60;
  if (!machine.cuda_version) return kClients;
  int major = 0, minor = 0;
  if (std::sscanf(machine.cuda_version->c_str(), "%d.%d", &major, &minor) < 1) return kClients;
  return major > 13 || (major == 13 && minor >= 1) ? kClientsFromCuda131 : kClients;
}

std::optional<double> PriceOf(const Gpu& gpu, const Spec& spec, const Catalog& catalog) {
  if (gpu.price_per_hour) return gpu.price_per_hour;
  if (gpu.model.empty()) return std::nullopt;
  for (const auto& [key, price] : spec.prices) {
    const Result<const CatalogGpu*> priced = catalog.FindGpu(key);
    if (key == gpu.model || (priced && (*priced)->key == gpu.model)) return price;
  }
  return std::nullopt;
}

}  // namespace

Bytes UsableMemory(const Gpu& gpu) { return gpu.memory_total - Bytes{gpu.memory_total.value / 60}; }

const Capability* GpuView::Find(Mechanism mechanism) const {
  for (const Capability& capability : capabilities) {
    if (capability.mechanism == mechanism) return &capability;
  }
  return nullptr;
}

double GpuView::ComputeOf(int profile) const {
  int sms = gpu->sm_count.value_or(0);
  if (!gpu->sm_count) {
    for (const MigProfile& one : gpu->mig_profiles) sms = std::max(sms, one.sm_count);
  }
  return sms > 0 ? static_cast<double>(geometry->profile(profile).sm_count) / sms : 0;
}

int GpuView::MpsClientsIn(int profile) const {
  return mps_clients * geometry->profile(profile).compute_slices / geometry->compute_slices();
}

std::string GpuView::name() const { return fmt::format("gpu{}", gpu->index); }

std::string WhoIs(const std::vector<GpuProcess>& processes) {
  constexpr size_t kNamed = 3;
  std::string text;
  for (size_t i = 0; i < processes.size() && i < kNamed; ++i) {
    const GpuProcess& process = processes[i];
    text += fmt::format("{}pid {} ({}{}{})", i == 0 ? "" : ", ", process.pid,
                        process.command.empty() ? "command unknown" : process.command,
                        process.user.empty() ? "" : ", user " + process.user,
                        process.container.empty() ? "" : ", container " + process.container);
  }
  if (processes.size() > kNamed) text += fmt::format(" and {} more", processes.size() - kNamed);
  return text;
}

std::vector<GpuView> ViewsOf(const Machine& machine, const Deployment& deployment, const Spec& spec,
                             const Catalog& catalog, const PlanOptions& options, bool adopt) {
  std::vector<GpuView> views;
  for (const Gpu& gpu : machine.gpus) {
    GpuView view;
    view.gpu = &gpu;
    view.mig_on = gpu.mig_mode && gpu.mig_mode->current;
    for (const Capability& capability : machine.capabilities) {
      if (capability.gpu_uuid == gpu.uuid) view.capabilities.push_back(capability);
    }
    view.mps_clients = MpsClientsOf(machine);
    view.mps_partitioned = std::any_of(spec.workloads.begin(), spec.workloads.end(),
                                       [](const Workload& w) { return AsksForPartition(w); });
    JudgeHealth(deployment, view);
    CollectProcesses(deployment, view);
    JudgeMig(view);
    CollectInstances(deployment, adopt, view);
    CollectVgpus(deployment, view);
    const auto promised = options.compute_promised.find(gpu.uuid);
    if (promised != options.compute_promised.end()) view.compute_promised = promised->second;
    view.price_per_hour = PriceOf(gpu, spec, catalog);
    view.spot_price_per_hour = gpu.spot_price_per_hour;
    if (const auto known = catalog.FindGpu(gpu.model); !gpu.model.empty() && known)
      view.watts = (*known)->tdp_watts;
    views.push_back(std::move(view));
  }
  PutIntoTiers(machine, spec, &views);
  return views;
}

}  // namespace tranche::planning
