#include "stage/simulate/mig_fleet.h"

#include <algorithm>

namespace tranche::simulate {

void AddMig(const Catalog& catalog, Fleet* fleet) {
  fleet->mig_profiles = {""};  // ids count from 1
  fleet->kinds.assign(fleet->models.size(), {});
  for (size_t model = 0; model < fleet->models.size(); ++model) {
    const auto gpu = catalog.FindGpu(fleet->models[model]);
    if (!gpu || !(*gpu)->mig_capable || (*gpu)->mig_memory_slots > 16) continue;
    placement::MigKind kind;
    kind.compute = (*gpu)->mig_compute_slices;
    kind.slots = (*gpu)->mig_memory_slots;
    for (const MigProfile& profile : (*gpu)->mig_profiles) {
      if (profile.variant != MigVariant::kPlain || profile.placements.empty()) continue;
      const size_t places = kind.places.size() + profile.placements.size();
      if (places > static_cast<size_t>(placement::MigKind::kMaxPlaces)) continue;
      auto& names = fleet->mig_profiles;
      auto name = std::find(names.begin(), names.end(), profile.name);
      if (name == names.end()) name = names.insert(name, profile.name);
      const int index = static_cast<int>(kind.profiles.size());
      kind.profiles.push_back({static_cast<int>(name - names.begin()), profile.compute_slices,
                               profile.placements.front().size});
      for (const MigPlacement& at : profile.placements) {
        const uint32_t slots = ((uint32_t{1} << at.size) - 1) << at.start;
        kind.places.push_back({index, static_cast<uint16_t>(slots)});
      }
    }
    fleet->kinds[model] = std::move(kind);
  }
}

}  // namespace tranche::simulate
