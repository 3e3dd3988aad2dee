#pragma once

#include <vector>

#include "decide/placement/cluster.h"
#include "stage/simulate/load.h"

namespace tranche::bench {

// No policy that takes the first arrivals, up to where a good one first has to refuse, allocates
// more than this, in percent of all GPU: the optimum of a linear programme with all of CPU, memory
// and whole GPUs per kind of node pooled, and every way to share a GPU allowed. `accepted` says for
// each arrival whether it must be placed. Less than 0 where the solver gave up.
double AllocationBound(const placement::Cluster& cluster,
                       const std::vector<simulate::Arrival>& arrivals,
                       const std::vector<bool>& accepted);

}  // namespace tranche::bench
