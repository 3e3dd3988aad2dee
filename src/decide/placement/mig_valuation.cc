#include "decide/placement/mig_valuation.h"

#include <algorithm>
#include <cmath>
#include <utility>

#include "decide/placement/cutting_stock.h"

namespace tranche::placement {
namespace {

constexpr int kMostOptions = 1024;  // beyond what shapes and starts come to

double SizeOf(int slots, int compute, const MigShape& shape) {
  return std::max(static_cast<double>(shape.slots) / slots,
                  static_cast<double>(shape.compute) / compute);
}

}  // namespace

std::vector<double> PriorOf(int slots, int compute, const std::vector<MigShape>& shapes) {
  std::vector<double> prior;
  double sum = 0;
  for (const MigShape& shape : shapes) {
    prior.push_back(1 / SizeOf(slots, compute, shape));
    sum += prior.back();
  }
  for (double& weight : prior) weight /= sum;
  return prior;
}

MigValuation::MigValuation(int slots, int compute, std::vector<MigShape> shapes,
                           std::vector<double> weights, double size_weight, double softness)
    : slots_(slots), compute_(compute), shapes_(std::move(shapes)) {
  worth_.assign((size_t{1} << slots_) * static_cast<size_t>(compute_ + 1), 0.0);
  FindWays();
  Price(weights, size_weight);
  Value(weights, softness);
}

void MigValuation::FindWays() {
  for (size_t shape = 0; shape < shapes_.size(); ++shape) {
    const MigShape& of = shapes_[shape];
    for (const int start : of.starts) {
      if (start + of.slots > slots_) continue;
      const uint32_t mask = ((uint32_t{1} << of.slots) - 1) << start;
      ways_.push_back({static_cast<int>(shape), start, mask, of.compute});
    }
  }
  // Whatever is added, the index grows.
  std::vector<bool> reached(worth_.size(), false);
  reached[0] = true;
  for (uint32_t mask = 0; mask < uint32_t{1} << slots_; ++mask) {
    for (int compute = 0; compute <= compute_; ++compute) {
      const MigRoom room{mask, compute};
      if (!reached[Index(room)]) continue;
      reachable_.push_back(room);
      for (const Way& way : ways_) {
        if (Fits(room, way)) reached[Index(With(room, way))] = true;
      }
    }
  }
  std::reverse(reachable_.begin(), reachable_.end());
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
    const Way* way = nullptr;
  };
  std::vector<Step> steps(worth_.size());
  for (const MigRoom& room : reachable_) {
    Step& best = steps[Index(room)];
    for (const Way& way : ways_) {
      if (!Fits(room, way)) continue;
      const double value =
          prices[static_cast<size_t>(way.shape)] + steps[Index(With(room, way))].value;
      if (value > best.value + 1e-12) best = {value, &way};
    }
  }
  layout->assign(shapes_.size(), 0.0);
  MigRoom room;
  while (const Way* way = steps[Index(room)].way) {
    (*layout)[static_cast<size_t>(way->shape)] += 1;
    room = With(room, *way);
  }
  return steps[0].value;
}

void MigValuation::Price(const std::vector<double>& weights, double size_weight) {
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
    const double size = SizeOf(slots_, compute_, shapes_[i]);
    prices_.push_back(size + size_weight * (duals[i] - size));
  }
}

void MigValuation::Value(const std::vector<double>& weights, double softness) {
  std::vector<std::pair<double, double>> candidates;  // worth, weight
  for (uint32_t mask = uint32_t{1} << slots_; mask-- > 0;) {
    for (int compute = compute_; compute >= 0; --compute) {
      const MigRoom room{mask, compute};
      double most = 0;
      double total = 0;
      candidates.clear();
      for (size_t w = 0; w < ways_.size();) {
        const size_t i = static_cast<size_t>(ways_[w].shape);
        double best = -1;
        for (; w < ways_.size() && ways_[w].shape == static_cast<int>(i); ++w) {
          if (weights[i] <= 0 || !Fits(room, ways_[w])) continue;
          best = std::max(best, prices_[i] + worth_[Index(With(room, ways_[w]))]);
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

int MigValuation::OutlookOf(const MigRoom& taken) const {
  int largest = 0;
  int options = 0;
  for (const Way& way : ways_) {
    if (!Fits(taken, way)) continue;
    const int slots = shapes_[static_cast<size_t>(way.shape)].slots;
    largest = std::max(largest, way.compute * (slots_ + 1) + slots);
    ++options;
  }
  return largest * kMostOptions + options;
}

int MigValuation::PointsOf(double gain) { return static_cast<int>(std::floor(gain * 10 + 0.9)); }

std::optional<MigValuation::Choice> MigValuation::Best(const MigRoom& taken, int shape) const {
  std::optional<Choice> best;
  int most_outlook = 0;
  for (const int start : shapes_[static_cast<size_t>(shape)].starts) {
    if (!Fits(taken, shape, start)) continue;
    const double gain = price(shape) + worth(With(taken, shape, start)) - worth(taken);
    const int points = PointsOf(gain);
    const int outlook_after = OutlookOf(With(taken, shape, start));
    if (!best || std::pair(points, outlook_after) > std::pair(best->points, most_outlook)) {
      best = Choice{start, gain, points};
      most_outlook = outlook_after;
    }
  }
  return best;
}

}  // namespace tranche::placement
