#pragma once

#include <functional>
#include <optional>
#include <vector>

#include "decide/geometry/mig_geometry.h"

namespace tranche {

// An instance that a plan wants. `at`: where it stands today, if it does; it is kept there where
// possible.
struct WantedInstance {
  int profile = 0;
  std::optional<MigPlacement> at;
  bool operator==(const WantedInstance&) const = default;
};

// What decides between answers that keep as many where they stand.
struct PackingChoice {
  // Instances that stand and that nobody holds: taking one over is as good as staying.
  std::vector<PlacedProfile> left_over = {};
  // How good what is left of the GPU is, the more, the better; absent: all alike.
  std::function<double(const Occupancy&)> value = {};
};

// A placement for each of `wanted`, in that order, around what is taken already, or nothing when
// there is none. Exact. As few as possible leave their `at`; among those answers the one of the
// greatest value, then that with the greatest Outlook, then the lowest starts.
std::optional<std::vector<MigPlacement>> PackProfiles(const MigGeometry& geometry,
                                                      const Occupancy& taken,
                                                      const std::vector<WantedInstance>& wanted,
                                                      const PackingChoice& choice = {});

// The same for a set of profiles that stand nowhere yet, with the reason when they do not fit
// (kDoesNotFit): the first of the rules (instances per profile, compute slices, memory slots,
// engines) that their number breaks, or the placement that is impossible although the numbers are
// legal. The hint names the most of them that would fit.
Result<std::vector<MigPlacement>> CanPlace(const MigGeometry& geometry,
                                           const std::vector<int>& wanted,
                                           const Occupancy& taken = {});

// How many more instances of the profile fit.
int CountFitting(const MigGeometry& geometry, const Occupancy& taken, int profile);

}  // namespace tranche
