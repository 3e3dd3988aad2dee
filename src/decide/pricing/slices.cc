#include <fmt/format.h>

#include <algorithm>

#include "decide/pricing/cost.h"

namespace tranche {

Result<std::vector<SliceCost>> CostOfSlices(const CatalogGpu& gpu, double price_per_hour) {
  if (!(price_per_hour > 0)) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("the price per hour {} is not above 0", price_per_hour));
  }
  if (!gpu.mig_capable) {
    return Fail(ErrorCode::kUnsupported, gpu.key + " has no MIG, so it has no slices",
                "'tranche cost share' and 'compare' price the other mechanisms");
  }
  std::vector<SliceCost> slices;
  for (const MigProfile& profile : gpu.mig_profiles) {
    // The variants trade engines at the same price.
    if (profile.variant != MigVariant::kPlain) continue;
    SliceCost slice;
    slice.profile = profile.name;
    slice.most = profile.max_instances;
    slice.memory = profile.memory;
    slice.compute_fraction =
        gpu.sm_count ? static_cast<double>(profile.sm_count) / *gpu.sm_count : 0;
    slice.cost_per_hour = price_per_hour / profile.max_instances;
    slice.part_per_hour =
        price_per_hour * profile.placements.front().size / std::max(1, gpu.mig_memory_slots);
    slices.push_back(std::move(slice));
  }
  return slices;
}

}  // namespace tranche
