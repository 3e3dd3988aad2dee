#pragma once

#include <cstdint>
#include <vector>

#include "decide/placement/policy.h"
#include "stage/simulate/trace.h"

namespace tranche::simulate {

// One workload that comes: at tick i of its list, for `lifetime` ticks.
struct Arrival {
  placement::Request request;
  double lifetime = 0;  // 0: it stays
  bool preemptible = false;
};

// The protocol of the published results: the list shuffled, then grown by copies of randomly drawn
// members until what is asked of GPUs would pass `ratio` times what `gpu_milli` there is (or
// thinned, at random, until it does not). Nobody leaves.
std::vector<Arrival> Inflated(const std::vector<TracePod>& pods, int64_t gpu_milli, double ratio,
                              uint64_t seed);

// Workloads that come and go: `count` drawn at random from the list, each for an exponential
// lifetime, of one mean that is such that they would fill `load` times the GPUs if all found room.
std::vector<Arrival> ComingAndGoing(const std::vector<TracePod>& pods, int64_t gpu_milli,
                                    double load, int count, uint64_t seed);

// How often each request is in the list.
std::vector<placement::WeightedRequest> MixOf(const std::vector<TracePod>& pods);

}  // namespace tranche::simulate
