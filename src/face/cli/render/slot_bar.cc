#include "face/cli/render/slot_bar.h"

namespace tranche {

std::string SlotBar(int slots, const std::vector<std::pair<MigPlacement, std::string>>& instances) {
  if (slots <= 0 || slots > 64) return "";
  // -1 = nobody; the placements come from outside, so they are held to the bar.
  std::vector<int> holder(static_cast<size_t>(slots), -1);
  for (size_t i = 0; i < instances.size(); ++i) {
    const MigPlacement at = instances[i].first;
    for (int slot = at.start; slot < at.start + at.size && slot < slots; ++slot) {
      if (slot >= 0) holder[static_cast<size_t>(slot)] = static_cast<int>(i);
    }
  }
  std::string bar = "[";
  for (size_t slot = 0; slot < holder.size(); ++slot) {
    if (slot > 0 && holder[slot] != holder[slot - 1]) bar += '|';
    if (holder[slot] < 0) {
      bar += '.';
    } else {
      const std::string& profile = instances[static_cast<size_t>(holder[slot])].second;
      bar += profile.empty() ? '#' : profile[0];
    }
  }
  return bar + "]";
}

std::string SlotBar(const Gpu& gpu) {
  if (!gpu.mig_mode || !gpu.mig_mode->current) return "";
  std::vector<std::pair<MigPlacement, std::string>> instances;
  for (const MigInstance& instance : gpu.mig_instances) {
    instances.emplace_back(instance.placement, instance.profile);
  }
  return SlotBar(gpu.memory_slots, instances);
}

}  // namespace tranche
