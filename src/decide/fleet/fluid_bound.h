#pragma once

#include <cstdint>
#include <vector>

#include "decide/fleet/problem.h"

namespace tranche::fleet {

// The linear program in which tenants of shared GPUs, and whole GPUs, may be cut. Near the truth
// where tenants are small beside their GPUs.
struct FluidAnswer {
  // What no answer that leaves out at most so many items costs less than. 0 when nothing is known.
  double bound = 0;
  // What the part of a GPU that one item takes by each of its ways is worth there, by class.
  std::vector<std::vector<double>> parts;
  // How many items go by each of its ways, by class. Empty when nothing is known.
  std::vector<std::vector<double>> flows;
};
FluidAnswer SolveFluid(const Problem& problem, int64_t left_out);

}  // namespace tranche::fleet
