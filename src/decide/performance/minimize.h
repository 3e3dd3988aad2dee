#pragma once

#include <functional>
#include <vector>

namespace tranche {

// The point near `start` where `cost` is least, by the simplex of Nelder and Mead: needs no
// derivatives and takes any cost, also one with corners. `step` is the size of the first simplex.
// Deterministic; at most `most` evaluations.
std::vector<double> Minimize(const std::function<double(const std::vector<double>&)>& cost,
                             std::vector<double> start, double step = 0.3, int most = 2000);

}  // namespace tranche
