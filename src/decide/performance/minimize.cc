#include "decide/performance/minimize.h"

#include <algorithm>
#include <cmath>

namespace tranche {
namespace {

struct Corner {
  std::vector<double> at;
  double cost = 0;
};

}  // namespace

std::vector<double> Minimize(const std::function<double(const std::vector<double>&)>& cost,
                             std::vector<double> start, double step, int most) {
  const size_t n = start.size();
  if (n == 0) return start;
  int spent = 0;
  const auto measured = [&](std::vector<double> at) {
    ++spent;
    const double value = cost(at);
    return Corner{std::move(at), std::isfinite(value) ? value : 1e300};
  };
  std::vector<Corner> corners;
  corners.push_back(measured(start));
  for (size_t i = 0; i < n; ++i) {
    std::vector<double> at = start;
    at[i] += step;
    corners.push_back(measured(std::move(at)));
  }
  while (spent < most) {
    std::stable_sort(corners.begin(), corners.end(),
                     [](const Corner& a, const Corner& b) { return a.cost < b.cost; });
    if (corners.back().cost - corners.front().cost <= 1e-10 * (1 + std::abs(corners[0].cost)))
      break;
    std::vector<double> middle(n, 0.0);
    for (size_t c = 0; c < n; ++c) {
      for (size_t i = 0; i < n; ++i) middle[i] += corners[c].at[i] / static_cast<double>(n);
    }
    const auto along = [&](double t) {
      std::vector<double> at(n);
      for (size_t i = 0; i < n; ++i) at[i] = middle[i] + t * (corners.back().at[i] - middle[i]);
      return measured(std::move(at));
    };
    Corner reflected = along(-1);
    if (reflected.cost < corners.front().cost) {
      Corner further = along(-2);
      corners.back() = further.cost < reflected.cost ? std::move(further) : std::move(reflected);
    } else if (reflected.cost < corners[n - 1].cost) {
      corners.back() = std::move(reflected);
    } else {
      Corner nearer = along(reflected.cost < corners.back().cost ? -0.5 : 0.5);
      if (nearer.cost < std::min(reflected.cost, corners.back().cost)) {
        corners.back() = std::move(nearer);
      } else {
        for (size_t c = 1; c <= n; ++c) {
          std::vector<double> at = corners[c].at;
          for (size_t i = 0; i < n; ++i) at[i] = (at[i] + corners[0].at[i]) / 2;
          corners[c] = measured(std::move(at));
        }
      }
    }
  }
  return std::min_element(corners.begin(), corners.end(),
                          [](const Corner& a, const Corner& b) { return a.cost < b.cost; })
      ->at;
}

}  // namespace tranche
