#include "sim/cuda/visible_devices.h"

#include <algorithm>
#include <charconv>
#include <string>

#include "sim/machine/mig.h"

namespace tranche::sim::cuda {
namespace {

// A device with the names it can be called by.
struct Candidate {
  Target target;
  std::string uuid;
  std::string old_name;  // MIG-GPU-<uuid>/<gi>/<ci>
};

bool CanBeOpened(const Gpu& gpu) { return !gpu.lost && !gpu.no_permission; }

std::vector<Candidate> MigDevices(const MachineSpec& spec, const MachineState& state,
                                  uint32_t gpu) {
  std::vector<Candidate> devices;
  for (const ComputeInstance* ci : ListCis(state.gpus[gpu])) {
    const GpuInstance* gi = FindGi(state.gpus[gpu], ci->gi);
    if (gi == nullptr) continue;
    devices.push_back({{gpu, ci->serial},
                       ci->uuid,
                       std::string("MIG-") + spec.gpus[gpu].uuid + "/" + std::to_string(gi->id) +
                           "/" + std::to_string(ci->id)});
  }
  return devices;
}

// What a GPU stands for: itself, its first compute instance, or nothing.
std::optional<Target> Stands(const MachineSpec& spec, const MachineState& state, uint32_t gpu) {
  if (!state.gpus[gpu].mig_mode) return Target{gpu, 0};
  const auto devices = MigDevices(spec, state, gpu);
  if (devices.empty()) return {};
  return devices.front().target;
}

std::string_view Trim(std::string_view text) {
  while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  while (!text.empty() && text.back() == ' ') text.remove_suffix(1);
  return text;
}

// The only one whose UUID begins like that.
template <typename Candidates>
std::optional<Target> ByPrefix(const Candidates& candidates, std::string_view text) {
  std::optional<Target> found;
  for (const Candidate& candidate : candidates) {
    if (candidate.old_name == text) return candidate.target;
    if (!std::string_view(candidate.uuid).starts_with(text)) continue;
    if (found) return {};
    found = candidate.target;
  }
  return found;
}

std::optional<Target> Named(const MachineSpec& spec, const MachineState& state,
                            std::string_view entry) {
  if (entry.starts_with("MIG-")) {
    std::vector<Candidate> all;
    for (uint32_t gpu = 0; gpu < spec.gpu_count; ++gpu) {
      if (!CanBeOpened(state.gpus[gpu])) continue;
      for (Candidate& device : MigDevices(spec, state, gpu)) all.push_back(std::move(device));
    }
    return entry.size() > 4 ? ByPrefix(all, entry) : std::nullopt;
  }
  if (entry.starts_with("GPU-")) {
    std::vector<Candidate> all;
    for (uint32_t gpu = 0; gpu < spec.gpu_count; ++gpu) {
      if (CanBeOpened(state.gpus[gpu])) all.push_back({{gpu, 0}, spec.gpus[gpu].uuid, ""});
    }
    const auto gpu = entry.size() > 4 ? ByPrefix(all, entry) : std::nullopt;
    return gpu ? Stands(spec, state, gpu->gpu) : std::nullopt;
  }
  uint32_t index = 0;
  const auto [end, error] = std::from_chars(entry.data(), entry.data() + entry.size(), index);
  if (error != std::errc() || end != entry.data() + entry.size() || index >= spec.gpu_count)
    return {};
  if (!CanBeOpened(state.gpus[index])) return {};
  return Stands(spec, state, index);
}

std::vector<Target> Listed(const MachineSpec& spec, const MachineState& state,
                           std::string_view list) {
  std::vector<Target> devices;
  for (size_t at = 0; at <= list.size();) {
    const size_t end = std::min(list.find(',', at), list.size());
    const auto device = Named(spec, state, Trim(list.substr(at, end - at)));
    const auto is_device = [&](const Target& other) {
      return device->gpu == other.gpu && device->ci == other.ci;
    };
    if (!device || std::any_of(devices.begin(), devices.end(), is_device)) break;
    devices.push_back(*device);
    at = end + 1;
  }
  return devices;
}

std::vector<Target> All(const MachineSpec& spec, const MachineState& state) {
  std::vector<Target> devices;
  for (uint32_t gpu = 0; gpu < spec.gpu_count; ++gpu) {
    if (!CanBeOpened(state.gpus[gpu])) continue;
    if (const auto device = Stands(spec, state, gpu)) devices.push_back(*device);
  }
  return devices;
}

}  // namespace

std::vector<Target> VisibleDevices(const MachineSpec& spec, const MachineState& state,
                                   const std::optional<std::string>& list) {
  std::vector<Target> devices = list ? Listed(spec, state, *list) : All(spec, state);
  const auto mig = std::find_if(devices.begin(), devices.end(),
                                [](const Target& target) { return target.ci != 0; });
  if (mig != devices.end()) return {*mig};
  return devices;
}

}  // namespace tranche::sim::cuda
