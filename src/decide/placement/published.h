#pragma once

#include <memory>
#include <vector>

#include "decide/placement/policy.h"

namespace tranche::placement {

// The policies that Weng et al. (ATC 2023) compare, as their public simulator computes them: whole
// numbers from 0 to 100, which is part of how well they do. But for FGD and Random, a share goes to
// the GPU with the least left.

// Any node on which it fits, and any such GPU.
std::unique_ptr<Policy> MakeRandomPolicy(uint64_t seed);
// The least of CPU and GPU left over, each as a share of 128 cores and 8 GPUs.
std::unique_ptr<Policy> MakeBestFitPolicy();
// Tetris' alignment, turned around: the smallest product of what is free and what is asked.
std::unique_ptr<Policy> MakeDotProductPolicy();
// Like with like: shares with shares, k whole GPUs with k whole GPUs.
std::unique_ptr<Policy> MakeClusteringPolicy();
// GPUs in use before free ones, free ones of nodes in use before nodes that are empty.
std::unique_ptr<Policy> MakePackingPolicy();
// The least growth of fragmentation, as workloads of `mix` see it.
std::unique_ptr<Policy> MakeFgdPolicy(const std::vector<WeightedRequest>& mix);

}  // namespace tranche::placement
