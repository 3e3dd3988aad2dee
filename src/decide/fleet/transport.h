#pragma once

#include <cstdint>
#include <vector>

namespace tranche::fleet {

// Moves as much as possible from sources to sinks over the arcs there are: a maximum flow.
struct Arc {
  int source = 0;
  int sink = 0;
  int64_t flow = 0;  // the answer
};
void Transport(const std::vector<int64_t>& supply, const std::vector<int64_t>& room,
               std::vector<Arc>* arcs);

}  // namespace tranche::fleet
