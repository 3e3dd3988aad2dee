#pragma once

#include <vector>

#include "catalog/catalog.h"
#include "decide/geometry/mig_geometry.h"

namespace tranche {

// Which profiles to build layouts of, besides the plain ones (1g 2g 3g 4g 7g): dimensions of their
// own.
struct LayoutOptions {
  bool double_memory = false;  // 1g with two memory slots
  bool media = false;          // +me, +me.all, -me
  bool graphics = false;       // +gfx
};

std::vector<int> ProfilesFor(const MigGeometry& geometry, const LayoutOptions& options);

// By ascending start.
using InstanceLayout = std::vector<PlacedProfile>;

// Every legal layout of these profiles to which no instance of any of them can be added, each once,
// in lexicographic order of (start, profile).
std::vector<InstanceLayout> MaximalLayoutsOf(const MigGeometry& geometry,
                                             const std::vector<int>& profiles);
std::vector<InstanceLayout> MaximalLayouts(const MigGeometry& geometry,
                                           const LayoutOptions& options = {});

// How many of each profile of `profiles` (the ones offered in a GPU instance of `slices` compute
// slices) can be in it at once so that none can be added. By number: where a compute instance sits
// within its GPU instance makes no difference to any other GPU instance.
struct ComputeMix {
  std::vector<int> counts;  // beside `profiles`
  bool operator==(const ComputeMix&) const = default;
};
std::vector<ComputeMix> MaximalComputeMixes(int slices,
                                            const std::vector<MigComputeProfile>& profiles);

}  // namespace tranche
