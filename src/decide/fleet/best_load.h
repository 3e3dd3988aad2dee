#pragma once

#include <cstdint>
#include <limits>
#include <vector>

namespace tranche::fleet {

// Tenants of a kind that might share a GPU.
struct LoadItem {
  int64_t memory = 0;
  int64_t compute = 0;
  double value = 0;  // of each
  int64_t most = 0;  // of them
  int64_t clients = 0;
};

struct BestLoad {
  double value = 0;
  double bound = 0;             // no load is worth more; equal to `value` when proven
  std::vector<int64_t> counts;  // of each item
  int64_t nodes = 0;            // visited
};

// The load of greatest value within memory, compute and clients: a knapsack of two dimensions whose
// items are counted, too, by branch and bound over at most `nodes` nodes. Deterministic.
BestLoad FindBestLoad(int64_t memory, int64_t compute, const std::vector<LoadItem>& items,
                      int64_t nodes, int64_t clients = std::numeric_limits<int64_t>::max());

}  // namespace tranche::fleet
