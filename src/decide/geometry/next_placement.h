#pragma once

#include <optional>

#include "decide/geometry/mig_geometry.h"

namespace tranche {

// Where to put one more instance so that the largest profiles stay possible: the placement with the
// greatest Outlook afterwards, the lowest start among equals. Absent when it fits nowhere.
std::optional<MigPlacement> BestPlacement(const MigGeometry& geometry, const Occupancy& taken,
                                          int profile);

// Where the driver would put it when `nvidia-smi mig -cgi` names no placement: the one that leaves
// the most (profile, placement) pairs free of overlap, the lowest start among equals. Reproduces
// every recorded creation order; the algorithm itself runs in closed firmware.
std::optional<MigPlacement> AutoPlacement(const MigGeometry& geometry, const Occupancy& taken,
                                          int profile);

}  // namespace tranche
