#pragma once

#include <string>
#include <vector>

#include "stage/plan/layout.h"

namespace tranche::planning {

// The slice that a placed replica gets.
Slice SliceOf(const Placed& placed, const ReplicaNeed& need, const std::vector<GpuView>& views);

// The steps from what is deployed to the layout, in an order in which each can run: room is made
// before it is taken, replicas that change do so one by one, and what only takes away comes last.
std::vector<Step> StepsTo(const NodeLayout& layout, const std::vector<ReplicaNeed>& needs,
                          const std::vector<GpuView>& views, const Deployment& deployment,
                          const Spec& spec);

// Everything down again, back to the baselines.
std::vector<Step> StepsDown(const Machine& machine, const Deployment& deployment);

}  // namespace tranche::planning
