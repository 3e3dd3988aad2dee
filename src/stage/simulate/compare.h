#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "stage/simulate/replay.h"

namespace tranche::simulate {

struct CompareOptions {
  std::vector<std::string> policies;  // of PolicyNames()
  std::vector<uint64_t> seeds;
  // GPU asked for, as a multiple of what there is.
  double load = 1.3;
  // Workloads come and go instead of only coming; so many of them.
  bool departures = false;
  int arrivals = 30000;
  // Of the running workloads, how many may be moved in all.
  double repack = 0;
};

struct MeanAndSpread {
  double mean = 0;
  double sd = 0;  // of the sample, n - 1; 0 for one seed
};

struct PolicyOutcome {
  std::string policy;
  MeanAndSpread allocation_percent;
  double fragmentation_percent = 0;
  double placed = 0;
  double refused = 0;
  double cpu_only_placed = 0;
  double moved = 0;
  double seconds = 0;                // one replay, on average
  double placements_per_second = 0;  // decisions, whether placed or refused
  // Whole-GPU workloads by their number of GPUs ([0]: shares), asked for and refused, on average.
  std::vector<double> asked_by_gpus;
  std::vector<double> refused_by_gpus;
};

// Replays the same arrivals under each policy, seed by seed. `progress` is called before each
// replay with the policy and how many of how many replays are done.
std::vector<PolicyOutcome> ComparePolicies(
    const Fleet& fleet, const std::vector<TracePod>& pods, const CompareOptions& options,
    Clock& clock, const std::function<void(const std::string&, size_t, size_t)>& progress);

}  // namespace tranche::simulate
