#pragma once

#include <string>
#include <vector>

#include "model/plan.h"
#include "stage/plan/layout.h"

namespace tranche::planning {

// Why a replica that was placed is where it is: its size, mechanism, profile and place, a sentence
// each.
std::vector<std::string> ReasonsFor(const Placed& placed, const ReplicaNeed& need,
                                    const Slice& slice, const NodeLayout& layout,
                                    const std::vector<GpuView>& views);

// Why a replica was not placed, and the smallest change under which it would be.
Unplaced ExplainUnplaced(const ReplicaNeed& need, const NodeLayout& layout,
                         const LayoutSolver& solver, const std::vector<GpuView>& views,
                         const Catalog& catalog, const SpeedSource& source);

}  // namespace tranche::planning
