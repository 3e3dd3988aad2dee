#include "decide/fleet/best_load.h"

#include <algorithm>
#include <numeric>

namespace tranche::fleet {
namespace {

constexpr double kTolerance = 1e-9;

class Knapsack {
 public:
  Knapsack(int64_t memory, int64_t compute, int64_t clients, const std::vector<LoadItem>& items,
           int64_t nodes)
      : memory_(memory), compute_(compute), clients_(clients), items_(items), nodes_(nodes) {
    for (size_t i = 0; i < items.size(); ++i) {
      if (items[i].value > kTolerance && items[i].most > 0) order_.push_back(i);
    }
    // Each constraint by itself, and their sum: an upper bound is the least of what fits into each
    // when items may be cut.
    const double per_memory = 1 / static_cast<double>(std::max<int64_t>(1, memory));
    const double per_compute = 1 / static_cast<double>(std::max<int64_t>(1, compute));
    weights_.resize(3);
    for (const LoadItem& item : items) {
      const double a = static_cast<double>(item.memory) * per_memory;
      const double b = static_cast<double>(item.compute) * per_compute;
      weights_[0].push_back(a);
      weights_[1].push_back(b);
      weights_[2].push_back(a + b);
    }
    Sort(&order_, 2);
    // The items from each depth on, by what they are worth in each weight.
    for (int w = 0; w < 3; ++w) {
      std::vector<std::vector<size_t>> by_depth;
      for (size_t depth = 0; depth <= order_.size(); ++depth) {
        std::vector<size_t> rest(order_.begin() + static_cast<long>(depth), order_.end());
        if (w != 2) Sort(&rest, w);
        by_depth.push_back(std::move(rest));
      }
      rest_.push_back(std::move(by_depth));
    }
    counts_.assign(items.size(), 0);
    best_.counts = counts_;
  }

  BestLoad Run() {
    Visit(0, memory_, compute_, clients_, 0);
    best_.bound = std::max(best_.value, open_bound_);
    best_.nodes = visited_;
    return best_;
  }

 private:
  double Density(size_t i, size_t w) const {
    return items_[i].value / std::max(weights_[w][i], 1e-12);
  }
  void Sort(std::vector<size_t>* order, int w) const {
    std::stable_sort(order->begin(), order->end(), [&](size_t a, size_t b) {
      return Density(a, static_cast<size_t>(w)) > Density(b, static_cast<size_t>(w));
    });
  }

  double BoundFrom(size_t depth, int64_t memory, int64_t compute) const {
    const double a =
        static_cast<double>(memory) / static_cast<double>(std::max<int64_t>(1, memory_));
    const double b =
        static_cast<double>(compute) / static_cast<double>(std::max<int64_t>(1, compute_));
    const double room[] = {a, b, a + b};
    double least = -1;
    for (size_t w = 0; w < 3; ++w) {
      double left = room[w], worth = 0;
      for (const size_t i : rest_[w][depth]) {
        const double weight = weights_[w][i];
        const double all = static_cast<double>(items_[i].most);
        const double some = weight <= 1e-12 ? all : std::min(all, left / weight);
        worth += some * items_[i].value;
        left -= some * weight;
        if (left <= kTolerance && weight > 1e-12) break;
      }
      least = w == 0 ? worth : std::min(least, worth);
    }
    return least;
  }

  void Visit(size_t depth, int64_t memory, int64_t compute, int64_t clients, double value) {
    if (value > best_.value + kTolerance) {
      best_.value = value;
      best_.counts = counts_;
    }
    if (depth == order_.size()) return;
    const double bound = value + BoundFrom(depth, memory, compute);
    if (bound <= best_.value + kTolerance) return;
    if (++visited_ > nodes_) {
      open_bound_ = std::max(open_bound_, bound);
      return;
    }
    const size_t i = order_[depth];
    int64_t most = items_[i].most;
    if (items_[i].memory > 0) most = std::min(most, memory / items_[i].memory);
    if (items_[i].compute > 0) most = std::min(most, compute / items_[i].compute);
    if (items_[i].clients > 0) most = std::min(most, clients / items_[i].clients);
    for (int64_t n = most; n >= 0; --n) {
      counts_[i] = n;
      Visit(depth + 1, memory - n * items_[i].memory, compute - n * items_[i].compute,
            clients - n * items_[i].clients, value + static_cast<double>(n) * items_[i].value);
    }
    counts_[i] = 0;
  }

  const int64_t memory_, compute_, clients_;
  const std::vector<LoadItem>& items_;
  const int64_t nodes_;
  int64_t visited_ = 0;
  std::vector<size_t> order_;
  std::vector<std::vector<double>> weights_;
  std::vector<std::vector<std::vector<size_t>>> rest_;
  std::vector<int64_t> counts_;
  BestLoad best_;
  double open_bound_ = 0;
};

}  // namespace

BestLoad FindBestLoad(int64_t memory, int64_t compute, const std::vector<LoadItem>& items,
                      int64_t nodes, int64_t clients) {
  return Knapsack(memory, compute, clients, items, nodes).Run();
}

}  // namespace tranche::fleet
