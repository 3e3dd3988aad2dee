#pragma once

#include <array>
#include <vector>

#include "decide/placement/valuation.h"

namespace tranche::placement {

// What shares come, and how often.
struct ShareWeight {
  int milli = 0;  // of a GPU, 1..1000
  double weight = 1;
};

// The valuation for a machine rather than a cluster: of one kind of GPU, on which parts are taken
// one at a time. So the daemon chooses between GPUs as the simulator does. Immutable; pure.
class ShareValue {
 public:
  explicit ShareValue(const std::vector<ShareWeight>& shares);

  // What is gained where a share of `placed` milli leaves `after` milli free of `before`: it, less
  // what the rest loses in value. (The difference is not always `placed`: what is free is the
  // lesser of memory and time.)
  float GainOf(int placed, int before, int after) const;
  // The gain in tenths of a GPU: on a machine of few GPUs less than that is noise, and of GPUs with
  // equal points the fullest is best, so that the empty ones stay whole.
  int PointsOf(int placed, int before, int after) const;

 private:
  float WorthOf(int free_milli) const;

  std::array<float, 101> worth_{};  // of a GPU with so many hundredths free
};

}  // namespace tranche::placement
