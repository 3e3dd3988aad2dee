#include "decide/geometry/next_placement.h"

namespace tranche {
namespace {

// The placement that scores highest; the first, and so the lowest, among equals.
template <typename Score>
std::optional<MigPlacement> Highest(const MigGeometry& geometry, const Occupancy& taken,
                                    int profile, const Score& score_of) {
  std::optional<MigPlacement> best;
  std::optional<decltype(score_of(taken))> best_score;
  for (const MigPlacement& placement : geometry.profile(profile).placements) {
    if (!geometry.Fits(taken, profile, placement)) continue;
    Occupancy after = taken;
    geometry.Add({profile, placement}, &after);
    const auto score = score_of(after);
    const bool lower_tie = best && score == *best_score && placement.start < best->start;
    if (best && !(*best_score < score) && !lower_tie) continue;
    best = placement;
    best_score = score;
  }
  return best;
}

int FreePairs(const MigGeometry& geometry, const Occupancy& taken) {
  int pairs = 0;
  for (const MigProfile& profile : geometry.profiles()) {
    for (const MigPlacement& placement : profile.placements)
      pairs += (taken.slots & SlotsOf(placement)) == 0;
  }
  return pairs;
}

}  // namespace

std::optional<MigPlacement> BestPlacement(const MigGeometry& geometry, const Occupancy& taken,
                                          int profile) {
  return Highest(geometry, taken, profile,
                 [&](const Occupancy& after) { return geometry.OutlookOf(after); });
}

std::optional<MigPlacement> AutoPlacement(const MigGeometry& geometry, const Occupancy& taken,
                                          int profile) {
  return Highest(geometry, taken, profile,
                 [&](const Occupancy& after) { return FreePairs(geometry, after); });
}

}  // namespace tranche
