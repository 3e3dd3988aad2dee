#pragma once

#include <memory>
#include <vector>

#include "decide/placement/mix.h"
#include "decide/placement/policy.h"
#include "decide/placement/valuation.h"

namespace tranche::placement {

struct TrancheOptions {
  ValuationOptions valuation;
  MixOptions mix;
  // What is known before anything came; what comes is learned on top.
  std::vector<WeightedRequest> known;
  bool learns = true;
};

// Our own policy: places where the cluster loses the least of what it is worth to the workloads
// that come (valuation.h). Learns what comes from what it is asked to place.
std::unique_ptr<Policy> MakeTranchePolicy(const Cluster& cluster, TrancheOptions options = {});

}  // namespace tranche::placement
