#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "stage/simulate/timeline.h"
#include "stage/simulate/trace.h"

namespace tranche::simulate {

// The smallest number from `first` to `most` that `holds`, if more is never worse: by doubling,
// then halving. The number below it was asked for as well, and does not hold.
std::optional<int> SmallestThatHolds(int first, int most, const std::function<bool(int)>& holds);

// What a fleet must hold to.
struct CapacityTarget {
  double may_miss = 0.01;                 // of the workloads, so many may wait too long
  std::optional<double> most_allocation;  // mean over time, as a share
};

// One kind of node, and how many of them.
struct NodeCount {
  placement::NodeShape shape;
  int count = 0;
};

struct CapacityAnswer {
  std::vector<NodeCount> nodes;  // those with a count above 0
  int gpus = 0;
  std::optional<double> cost_per_hour;
  TimelineResult result;  // of that fleet
  double missed_share = 0;
  // With one node less, of whichever kind comes nearest to holding.
  std::optional<double> missed_share_with_less;
  bool mixed = false;
};

struct CapacityNo {
  placement::NodeShape shape;
  std::string because;
};

struct CapacityFindings {
  std::vector<CapacityAnswer> answers;  // the cheapest first
  std::vector<CapacityNo> none;         // kinds that alone do not hold however many there are
};

// How many nodes of which kind hold these workloads under that policy: each kind of the fleet alone
// and, where there are several, a mix, from which as much as possible of the dearest is taken away
// first. Whoever gives up, is never placed or waits longer than options.wait_slo counts as a miss.
// `progress` is called before each simulation.
CapacityFindings FindCapacity(const Fleet& kinds, const std::vector<TimedWorkload>& workloads,
                              const std::vector<placement::WeightedRequest>& mix,
                              const std::string& policy, const TimelineOptions& options,
                              const CapacityTarget& target, int most_nodes,
                              const std::function<void(const std::string&)>& progress);

}  // namespace tranche::simulate
