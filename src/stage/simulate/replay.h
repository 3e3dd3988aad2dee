#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "decide/placement/fragmentation.h"
#include "decide/placement/policy.h"
#include "decide/placement/scheduler.h"
#include "stage/simulate/load.h"

namespace tranche::simulate {

// The names that policies go by, in the order of the published comparison, ours last.
const std::vector<std::string>& PolicyNames();

// `mix` is told to those policies that are defined on it (fgd); ours learns instead. `seed` is for
// those that draw. A name of PolicyNames().
std::unique_ptr<placement::Policy> MakePolicy(const std::string& name,
                                              const placement::Cluster& cluster,
                                              const std::vector<placement::WeightedRequest>& mix,
                                              uint64_t seed);

// The nodes in a random order, which is what breaks ties.
placement::Cluster ShuffledCluster(const Fleet& fleet, uint64_t seed);

struct ReplayOptions {
  // Of the workloads that run, how many may be moved, in all.
  double repack = 0;
  // Allocation and fragmentation are means over the second half instead of what is at the end.
  bool steady = false;
};

struct ReplayResult {
  double allocation_percent = 0;     // of all GPU; with departures the mean of the second half
  double fragmentation_percent = 0;  // free GPU that typical workloads cannot use, of all GPU
  int64_t placed = 0;
  int64_t refused = 0;
  int64_t cpu_only_placed = 0;
  int64_t moved = 0;
  std::vector<int64_t> asked_by_gpus;  // workloads by the number of whole GPUs, [0] shares
  std::vector<int64_t> refused_by_gpus;
};

// Places the arrivals one after the other; what does not fit is dropped.
ReplayResult Replay(placement::Scheduler& scheduler, const std::vector<Arrival>& arrivals,
                    const placement::Fragmentation& fragmentation,
                    const ReplayOptions& options = {});

}  // namespace tranche::simulate
