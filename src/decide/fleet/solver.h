#pragma once

#include <cstdint>

#include "decide/fleet/problem.h"

namespace tranche::fleet {

struct SolverLimits {
  // Work beyond the linear program itself, in steps of the simplex algorithm, so that an answer
  // does not depend on how fast the machine is. A step of a fleet of six kinds and forty classes is
  // some 25 us.
  int64_t steps = 30000;
  uint64_t seed = 1;
};

// The cheapest answer that was found which leaves out as few items as any that was found, and how
// far from the cheapest it can be. Rounds the linear program by dives, then frees a part of the
// GPUs again and again and dives anew. Where many items may share GPUs, of which there are too many
// loads for that, it searches from step to step by the prices of a program in which items may be
// cut. Never worse than FirstFitDecreasing. Pure, deterministic.
Answer Solve(const Problem& problem, const SolverLimits& limits = {});

// What no answer costs less than that leaves nothing out; 0 when that is not known.
double LowerBound(const Problem& problem);

}  // namespace tranche::fleet
