#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "base/fnv.h"
#include "model/machine.h"

// What a plan rests on, as a digest, as a value and as sentences. The three must cover the same
// things: a test changes machines at random and holds "the digests are equal" to "there is no
// sentence".

namespace tranche {
namespace {

std::string ModeText(const Gpu& gpu) {
  return gpu.compute_mode ? ComputeModeName(*gpu.compute_mode) : "unknown";
}

const char* OnOff(bool on) { return on ? "on" : "off"; }

std::string MigText(const Gpu& gpu) {
  if (!gpu.mig_mode) return "unknown";
  if (gpu.mig_mode->current == gpu.mig_mode->pending) return OnOff(gpu.mig_mode->current);
  return fmt::format("{} ({} after a GPU reset)", OnOff(gpu.mig_mode->current),
                     OnOff(gpu.mig_mode->pending));
}

std::string DriverText(const Machine& machine) {
  return machine.driver_version.value_or("unknown");
}

std::string ComputeInstancesText(const MigInstance& instance) {
  std::vector<MigPlacement> placements;
  for (const MigComputeInstance& compute : instance.compute_instances) {
    placements.push_back(compute.placement);
  }
  std::sort(placements.begin(), placements.end());
  std::string text;
  for (const MigPlacement placement : placements) {
    text += fmt::format("{}{}:{}", text.empty() ? "" : " ", placement.start, placement.size);
  }
  return text.empty() ? "none" : text;
}

std::map<MigPlacement, const MigInstance*> ByPlacement(const Gpu& gpu) {
  std::map<MigPlacement, const MigInstance*> instances;
  for (const MigInstance& instance : gpu.mig_instances) instances[instance.placement] = &instance;
  return instances;
}

std::map<std::string, const Gpu*> ByUuid(const Machine& machine) {
  std::map<std::string, const Gpu*> gpus;
  for (const Gpu& gpu : machine.gpus) gpus[gpu.uuid] = &gpu;
  return gpus;
}

// Of those that are not ours, which come and go without our doing.
std::multiset<std::string> ForeignMpsDaemons(const Gpu& gpu) {
  std::multiset<std::string> folders;
  for (const MpsDaemon& daemon : gpu.mps_daemons) {
    if (!daemon.ours)
      folders.insert(daemon.pipe_directory.empty() ? "an unknown directory"
                                                   : daemon.pipe_directory);
  }
  return folders;
}

// What is there of virtual GPUs, by place; not who has one open.
std::map<std::string, std::string> VgpusOf(const Gpu& gpu) {
  std::map<std::string, std::string> types;
  if (!gpu.vgpu) return types;
  for (const VgpuThere& there : gpu.vgpu->there) types[there.id] = there.type;
  return types;
}

std::string VgpuText(const Gpu& gpu) {
  if (!gpu.vgpu) return "no virtual GPUs";
  return fmt::format("{} virtual functions, {} sizes", gpu.vgpu->functions,
                     !gpu.vgpu->mixed   ? "unknown"
                     : *gpu.vgpu->mixed ? "mixed"
                                        : "equal");
}

// One line per fact, in an order that does not depend on how the driver enumerates.
std::string CanonicalText(const Machine& machine) {
  std::string text = "driver " + DriverText(machine) + "\n";
  for (const auto& [uuid, gpu] : ByUuid(machine)) {
    text += fmt::format("gpu {} mig {} mode {}\n", uuid, MigText(*gpu), ModeText(*gpu));
    for (const auto& [placement, instance] : ByPlacement(*gpu)) {
      text += fmt::format("instance {} {}:{} compute {}\n", instance->profile, placement.start,
                          placement.size, ComputeInstancesText(*instance));
    }
    for (const std::string& folder : ForeignMpsDaemons(*gpu)) text += "mps " + folder + "\n";
    if (gpu->vgpu) text += VgpuText(*gpu) + "\n";
    for (const auto& [id, type] : VgpusOf(*gpu)) text += fmt::format("vgpu {} {}\n", id, type);
  }
  return text;
}

void AddGpuDifferences(const Gpu& before, const Gpu& after, std::vector<std::string>* differences) {
  const std::string label = GpuLabel(after);
  const auto add = [&](const std::string& what) { differences->push_back(label + ": " + what); };
  if (MigText(before) != MigText(after)) {
    add(fmt::format("MIG mode was {} and is {} now", MigText(before), MigText(after)));
  }
  if (ModeText(before) != ModeText(after)) {
    add(fmt::format("compute mode was {} and is {} now", ModeText(before), ModeText(after)));
  }
  const auto was = ByPlacement(before);
  const auto is = ByPlacement(after);
  for (const auto& [placement, instance] : was) {
    const auto now = is.find(placement);
    if (now == is.end()) {
      add(fmt::format("instance {} at {} is gone", instance->profile, SlotsText(placement)));
    } else if (now->second->profile != instance->profile) {
      add(fmt::format("instance {} at {} is {} now", instance->profile, SlotsText(placement),
                      now->second->profile));
    } else if (ComputeInstancesText(*now->second) != ComputeInstancesText(*instance)) {
      add(fmt::format("compute instances of {} at {} were {} and are {} now", instance->profile,
                      SlotsText(placement), ComputeInstancesText(*instance),
                      ComputeInstancesText(*now->second)));
    }
  }
  for (const auto& [placement, instance] : is) {
    if (!was.count(placement)) {
      add(fmt::format("instance {} at {} is new", instance->profile, SlotsText(placement)));
    }
  }
  if (VgpuText(before) != VgpuText(after))
    add(fmt::format("it had {} and has {} now", VgpuText(before), VgpuText(after)));
  const auto vgpus_before = VgpusOf(before), vgpus_now = VgpusOf(after);
  for (const auto& [id, type] : vgpus_before) {
    const auto now = vgpus_now.find(id);
    if (now == vgpus_now.end())
      add(fmt::format("the vGPU {} ({}) is gone", id, type));
    else if (now->second != type)
      add(fmt::format("the vGPU {} was {} and is {} now", id, type, now->second));
  }
  for (const auto& [id, type] : vgpus_now) {
    if (vgpus_before.count(id) == 0) add(fmt::format("the vGPU {} ({}) is new", id, type));
  }
  const auto daemons_before = ForeignMpsDaemons(before), daemons_now = ForeignMpsDaemons(after);
  std::vector<std::string> gone, come;
  std::set_difference(daemons_before.begin(), daemons_before.end(), daemons_now.begin(),
                      daemons_now.end(), std::back_inserter(gone));
  std::set_difference(daemons_now.begin(), daemons_now.end(), daemons_before.begin(),
                      daemons_before.end(), std::back_inserter(come));
  for (const std::string& folder : gone) add(fmt::format("the MPS daemon of {} is gone", folder));
  for (const std::string& folder : come)
    add(fmt::format("an MPS daemon of {} is new, and not Tranche's", folder));
}

}  // namespace

std::string GpuLabel(const Gpu& gpu) {
  // "GPU-" and the first eight digits tell GPUs of one machine apart; fleet names stay whole.
  const bool long_uuid = gpu.uuid.size() > 24 && gpu.uuid.rfind("GPU-", 0) == 0;
  const std::string& name = gpu.model.empty() ? gpu.name : gpu.model;
  return fmt::format("gpu{} ({}{}{})", gpu.index, name, name.empty() ? "" : ", ",
                     long_uuid ? gpu.uuid.substr(0, 12) : gpu.uuid);
}

std::string SlotsText(MigPlacement placement) {
  if (placement.size <= 1) return fmt::format("slot {}", placement.start);
  return fmt::format("slots {}-{}", placement.start, placement.start + placement.size - 1);
}

const MigProfile* Gpu::FindProfile(const std::string& profile_name) const {
  for (const MigProfile& profile : mig_profiles) {
    if (profile.name == profile_name) return &profile;
  }
  return nullptr;
}

const MigProfile* Gpu::FindProfile(int profile_id) const {
  for (const MigProfile& profile : mig_profiles) {
    if (profile.id == profile_id) return &profile;
  }
  return nullptr;
}

const MigInstance* Gpu::FindInstance(MigPlacement placement) const {
  for (const MigInstance& instance : mig_instances) {
    if (instance.placement == placement) return &instance;
  }
  return nullptr;
}

const Gpu* Machine::FindGpu(const std::string& uuid) const {
  for (const Gpu& gpu : gpus) {
    if (gpu.uuid == uuid) return &gpu;
  }
  return nullptr;
}

std::string MachineFingerprint(const Machine& machine) {
  return fmt::format("m1:{:016x}", Fnv1a(CanonicalText(machine)));
}

Machine MachineLayout(const Machine& machine) {
  Machine layout;
  layout.simulated_fleet = machine.simulated_fleet;
  layout.hostname = machine.hostname;
  layout.driver_version = machine.driver_version;
  layout.fingerprint = machine.fingerprint;
  layout.read_at = machine.read_at;
  for (const Gpu& gpu : machine.gpus) {
    Gpu kept;
    kept.uuid = gpu.uuid;
    kept.index = gpu.index;
    kept.name = gpu.name;
    kept.model = gpu.model;
    kept.memory_total = gpu.memory_total;
    kept.compute_mode = gpu.compute_mode;
    kept.mig_mode = gpu.mig_mode;
    kept.memory_slots = gpu.memory_slots;
    kept.mig_instances = gpu.mig_instances;
    for (MigInstance& instance : kept.mig_instances) instance.memory_used = {};
    if (gpu.vgpu) {
      GpuVgpu& vgpu = kept.vgpu.emplace();
      vgpu.mediated = gpu.vgpu->mediated;
      vgpu.functions = gpu.vgpu->functions;
      vgpu.mixed = gpu.vgpu->mixed;
      for (const VgpuThere& there : gpu.vgpu->there) {
        VgpuThere& one = vgpu.there.emplace_back();
        one.id = there.id;
        one.type = there.type;
      }
    }
    for (const MpsDaemon& daemon : gpu.mps_daemons) {
      if (!daemon.ours) kept.mps_daemons.push_back(daemon);
    }
    for (MpsDaemon& daemon : kept.mps_daemons) daemon.pid = 0;
    layout.gpus.push_back(std::move(kept));
  }
  return layout;
}

std::vector<std::string> MachineDifferences(const Machine& planned, const Machine& now) {
  std::vector<std::string> differences;
  if (DriverText(planned) != DriverText(now)) {
    differences.push_back(
        fmt::format("driver {} was replaced by {}", DriverText(planned), DriverText(now)));
  }
  const auto was = ByUuid(planned);
  const auto is = ByUuid(now);
  for (const auto& [uuid, gpu] : was) {
    const auto after = is.find(uuid);
    if (after == is.end()) {
      differences.push_back(GpuLabel(*gpu) + " is gone");
    } else {
      AddGpuDifferences(*gpu, *after->second, &differences);
    }
  }
  for (const auto& [uuid, gpu] : is) {
    if (!was.count(uuid)) differences.push_back(GpuLabel(*gpu) + " is new");
  }
  return differences;
}

}  // namespace tranche
