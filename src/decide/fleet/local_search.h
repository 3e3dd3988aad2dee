#pragma once

#include <cstdint>
#include <vector>

#include "decide/fleet/problem.h"

namespace tranche::fleet {

// Improves an answer step by step: empties a few GPUs, puts what was on them wherever it fits best,
// and keeps what that led to when it is no worse. What a linear program over loads is
// too coarse for: many tenants, hardly two of one size. `parts`: what each item's part of a GPU is
// worth, by class and way. Looks at no more than `work` places for an item, and no further once
// everything is placed for `enough`. Never worse than `start`; its lower bound is that of `start`.
// Pure, deterministic.
Answer Improve(const Problem& problem, const Answer& start,
               const std::vector<std::vector<double>>& parts, int64_t work, uint64_t seed,
               int64_t enough);

}  // namespace tranche::fleet
