#pragma once

#include <string>
#include <vector>

#include "model/plan.h"
#include "stage/plan/layout.h"

namespace tranche::planning {

// Takes out the needs that are over their team's memory quota, in the order of the spec, with the
// reason.
std::vector<Unplaced> TakeOutOverQuota(const Spec& spec, std::vector<ReplicaNeed>* needs);

// Takes out the placed replicas that are over their team's quota of GPUs, likewise. A slice counts
// as its share of its GPU.
std::vector<Unplaced> TakeOutOverGpuQuota(const Spec& spec, const std::vector<ReplicaNeed>& needs,
                                          NodeLayout* layout);

}  // namespace tranche::planning
