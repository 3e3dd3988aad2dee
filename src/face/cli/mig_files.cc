#include "face/cli/mig_files.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <set>

#include "base/json.h"

namespace tranche {
namespace {

struct State {
  bool enabled = false;
  std::map<std::string, int> devices;
  auto operator<=>(const State&) const = default;
};

bool IsOn(const Gpu& gpu) { return gpu.mig_mode && gpu.mig_mode->current; }

State StateOf(const Gpu& gpu) { return {IsOn(gpu), MigDevicesOf(gpu)}; }

std::string DevicesText(const std::map<std::string, int>& devices) {
  std::string text;
  for (const auto& [name, count] : devices) {
    text += fmt::format("{}{} x {}", text.empty() ? "" : ", ", count, name);
  }
  return text.empty() ? "none" : text;
}

Json EntryOf(const State& state, const std::set<std::string>& filter, Json devices) {
  Json entry = Json::object();
  if (filter.size() == 1) entry["device-filter"] = *filter.begin();
  if (filter.size() > 1) entry["device-filter"] = filter;
  entry["devices"] = std::move(devices);
  entry["mig-enabled"] = state.enabled;
  entry["mig-devices"] = Json::object();
  for (const auto& [name, count] : state.devices) entry["mig-devices"][name] = count;
  return entry;
}

}  // namespace

std::map<std::string, int> MigDevicesOf(const Gpu& gpu) {
  std::map<std::string, int> devices;
  for (const MigInstance& instance : gpu.mig_instances) {
    const MigProfile* profile = gpu.FindProfile(instance.profile);
    for (const MigComputeInstance& compute : instance.compute_instances) {
      const bool all = profile == nullptr || compute.compute_slices >= profile->compute_slices;
      ++devices[all ? instance.profile
                    : fmt::format("{}c.{}", compute.compute_slices, instance.profile)];
    }
  }
  return devices;
}

std::vector<std::string> MigDifferences(const Machine& machine,
                                        const std::vector<MigPartedWant>& wants, bool mode_only) {
  std::vector<std::string> differences;
  for (const MigPartedWant& want : wants) {
    for (const Gpu& gpu : machine.gpus) {
      if (gpu.index != want.gpu_index) continue;
      if (!gpu.mig_mode && want.mig_enabled) {
        differences.push_back(fmt::format("gpu{} has no MIG", gpu.index));
      } else if (IsOn(gpu) != want.mig_enabled) {
        differences.push_back(fmt::format("gpu{}: MIG mode is {}, {} is wanted", gpu.index,
                                          IsOn(gpu) ? "on" : "off",
                                          want.mig_enabled ? "on" : "off"));
      } else if (!mode_only && MigDevicesOf(gpu) != want.devices) {
        differences.push_back(fmt::format("gpu{} has {}; wanted: {}", gpu.index,
                                          DevicesText(MigDevicesOf(gpu)),
                                          DevicesText(want.devices)));
      }
    }
  }
  return differences;
}

Json MigPartedConfig(const Machine& machine, const std::string& name) {
  // State by state, then model by model: what all GPUs share needs no filter, what all of one model
  // share needs no indices.
  std::map<State, std::vector<const Gpu*>> by_state;
  std::map<std::string, std::set<State>> states_of_id;
  for (const Gpu& gpu : machine.gpus) {
    by_state[StateOf(gpu)].push_back(&gpu);
    states_of_id[gpu.pci_device_id].insert(StateOf(gpu));
  }
  const bool by_id = std::all_of(states_of_id.begin(), states_of_id.end(), [](const auto& one) {
    return one.second.size() == 1 && !one.first.empty();
  });
  Json entries = Json::array();
  for (const auto& [state, gpus] : by_state) {
    std::set<std::string> ids;
    std::vector<int> indices;
    for (const Gpu* gpu : gpus) {
      ids.insert(gpu->pci_device_id);
      indices.push_back(gpu->index);
    }
    if (by_state.size() == 1) {
      entries.push_back(EntryOf(state, {}, "all"));
    } else if (by_id) {
      entries.push_back(EntryOf(state, ids, "all"));
    } else {
      entries.push_back(EntryOf(state, {}, indices));
    }
  }
  return {{"version", "v1"}, {"mig-configs", {{name, std::move(entries)}}}};
}

}  // namespace tranche
