#include "decide/placement/mig_valuation.h"

#include <algorithm>
#include <cmath>

#include "decide/placement/cutting_stock.h"

namespace tranche::placement {

MigValuation::MigValuation(int slots, int compute, std::vector<MigShape> shapes,
                           std::vector<double> weights, double size_weight, double softness)
    : slots_(slots), compute_(compute), shapes_(std::move(shapes)) {
  Price(weights, size_weight);
  Value(weights, softness);
}

bool MigValuation::Fits(const MigRoom& taken, int shape, int start) const {
  const MigShape& wanted = shapes_[static_cast<size_t>(shape)];
  const uint32_t mask = ((uint32_t{1} << wanted.slots) - 1) << start;
  return start + wanted.slots <= slots_ && (taken.slots & mask) == 0 &&
         taken.compute + wanted.compute <= compute_;
}

MigRoom MigValuation::With(const MigRoom& taken, int shape, int start) const {
  const MigShape& placed = shapes_[static_cast<size_t>(shape)];
  return {taken.slots | ((uint32_t{1} << placed.slots) - 1) << start,
          taken.compute + placed.compute};
}

double MigValuation::BestLayout(const std::vector<double>& prices,
                                std::vector<double>* layout) const {
  // From full to empty: what can still be added is worth so much.
  struct Step {
    double value = 0;
    int shape = -1;
    int start = 0;
  };
  std::vector<Step> steps(worth_.size());
  for (uint32_t mask = uint32_t{1} << slots_; mask-- > 0;) {
    for (int compute = compute_; compute >= 0; --compute) {
      const MigRoom room{mask, compute};
      Step& best = steps[Index(room)];
      for (int shape = 0; shape < static_cast<int>(shapes_.size()); ++shape) {
        for (const int start : shapes_[static_cast<size_t>(shape)].starts) {
          if (!Fits(room, shape, start)) continue;
          const double value =
              prices[static_cast<size_t>(shape)] + steps[Index(With(room, shape, start))].value;
          if (value > best.value + 1e-12) best = {value, shape, start};
        }
      }
    }
  }
  layout->assign(shapes_.size(), 0.0);
  MigRoom room;
  while (steps[Index(room)].shape >= 0) {
    const Step& step = steps[Index(room)];
    (*layout)[static_cast<size_t>(step.shape)] += 1;
    room = With(room, step.shape, step.start);
  }
  return steps[0].value;
}

void MigValuation::Price(const std::vector<double>& weights, double size_weight) {
  worth_.assign((size_t{1} << slots_) * static_cast<size_t>(compute_ + 1), 0.0);
  // How many of each an empty GPU holds, greedily: starts of one profile do not exclude each other.
  std::vector<int> alone;
  for (int shape = 0; shape < static_cast<int>(shapes_.size()); ++shape) {
    MigRoom room;
    int count = 0;
    for (const int start : shapes_[static_cast<size_t>(shape)].starts) {
      if (!Fits(room, shape, start)) continue;
      room = With(room, shape, start);
      ++count;
    }
    alone.push_back(std::max(1, count));
  }
  std::vector<double> counts;
  for (const double weight : weights) counts.push_back(std::max(weight, 1e-6));
  const std::vector<double> duals = CoveringPrices(
      counts, alone, [this](const std::vector<double>& prices, std::vector<double>* layout) {
        return BestLayout(prices, layout);
      });
  for (size_t i = 0; i < shapes_.size(); ++i) {
    const double size = std::max(static_cast<double>(shapes_[i].slots) / slots_,
                                 static_cast<double>(shapes_[i].compute) / compute_);
    prices_.push_back(size + size_weight * (duals[i] - size));
  }
}

void MigValuation::Value(const std::vector<double>& weights, double softness) {
  for (uint32_t mask = uint32_t{1} << slots_; mask-- > 0;) {
    for (int compute = compute_; compute >= 0; --compute) {
      const MigRoom room{mask, compute};
      double most = 0;
      double total = 0;
      std::vector<std::pair<double, double>> candidates;  // worth, weight
      for (size_t i = 0; i < shapes_.size(); ++i) {
        if (weights[i] <= 0) continue;
        double best = -1;
        for (const int start : shapes_[i].starts) {
          const int shape = static_cast<int>(i);
          if (!Fits(room, shape, start)) continue;
          best = std::max(best, prices_[i] + worth_[Index(With(room, shape, start))]);
        }
        if (best < 0) continue;
        candidates.emplace_back(best, weights[i]);
        most = std::max(most, best);
        total += weights[i];
      }
      // Never worth less than with more of it taken.
      double least = compute < compute_ ? worth_[Index({mask, compute + 1})] : 0;
      for (int slot = 0; slot < slots_; ++slot) {
        const uint32_t more = mask | uint32_t{1} << slot;
        if (more != mask) least = std::max(least, worth_[Index({more, compute})]);
      }
      double& worth_here = worth_[Index(room)];
      worth_here = least;
      if (candidates.empty()) continue;
      double sum = 0;
      for (const auto& [worth, weight] : candidates) {
        sum += weight * std::exp((worth - most) / softness);
      }
      worth_here = std::max(least, most + softness * std::log(sum / total));
    }
  }
}

std::optional<MigValuation::Choice> MigValuation::Best(const MigRoom& taken, int shape) const {
  std::optional<Choice> best;
  for (const int start : shapes_[static_cast<size_t>(shape)].starts) {
    if (!Fits(taken, shape, start)) continue;
    const double gain = price(shape) + worth(With(taken, shape, start)) - worth(taken);
    if (!best || gain > best->gain + 1e-9) {
      best = Choice{start, gain, static_cast<int>(std::floor(gain * 10 + 0.9))};
    }
  }
  return best;
}

}  // namespace tranche::placement
