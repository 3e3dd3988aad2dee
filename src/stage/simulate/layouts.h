#pragma once

#include <cstdint>
#include <vector>

#include "decide/placement/scheduler.h"

namespace tranche::simulate {

// What is expected of a period, on average over it.
struct Demand {
  std::vector<double> instances;  // in use at once, by id of their MIG profile; [0] is not used
  double other_gpus = 0;          // shares and whole GPUs
};

// Chooses how every GPU that MIG can divide is divided from now on, whoever comes: as many are
// divided as the demand's part of instances, into what it asks for, the largest first. What runs
// stays where it is: `in_use[node][gpu]` has the places of running instances, as bits.
void FixLayouts(placement::Scheduler& scheduler, const Demand& demand,
                const std::vector<std::vector<uint32_t>>& in_use);

}  // namespace tranche::simulate
