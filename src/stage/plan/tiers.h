#pragma once

#include <string>
#include <vector>

#include "stage/plan/candidates.h"

namespace tranche::planning {

// Which tier each GPU is in, beside machine.gpus; "" for none. A GPU that is named (by index or
// UUID) comes before one that is counted, and GPUs are counted by index, tier by tier.
struct TierGpus {
  std::vector<std::string> tier_of;
  std::vector<std::string> problems;  // of selectors that select less than they say; sentences
};
TierGpus ResolveTiers(const Machine& machine, const Spec& spec);

// The instances into which a GPU is divided for good: one profile as often as it fits, several once
// each. kDoesNotFit, with what would, when it cannot be divided so.
Result<std::vector<PlacedProfile>> FixedLayout(const MigGeometry& geometry,
                                               const std::vector<std::string>& profiles);

// Holds the views to what their tiers say.
void PutIntoTiers(const Machine& machine, const Spec& spec, std::vector<GpuView>* views);

// How many workloads each tier of the spec holds. `used` of it is left at 0.
std::vector<TierCapacity> CapacitiesOf(const Spec& spec, const std::vector<GpuView>& views);

}  // namespace tranche::planning
