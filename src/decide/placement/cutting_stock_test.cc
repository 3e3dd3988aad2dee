#include "decide/placement/cutting_stock.h"

#include <gtest/gtest.h>

#include <functional>

#include "decide/placement/random.h"

namespace tranche::placement {
namespace {

// The most that one stock brings at these prices, by trying every way to cut it.
double BestCut(int capacity, const std::vector<StockDemand>& demands,
               const std::vector<double>& prices, size_t from = 0) {
  double best = 0;
  for (size_t i = from; i < demands.size(); ++i) {
    if (demands[i].size > capacity) continue;
    best = std::max(best, prices[i] + BestCut(capacity - demands[i].size, demands, prices, i));
  }
  return best;
}

double Bound(const std::vector<StockDemand>& demands, const std::vector<double>& prices) {
  double sum = 0;
  for (size_t i = 0; i < demands.size(); ++i) sum += demands[i].count * prices[i];
  return sum;
}

TEST(CuttingStock, APieceCostsWhatNobodyElseCanUse) {
  EXPECT_EQ(CuttingStockPrices(100, {{81, 5}}), (std::vector<double>{1.0}));
  const auto halves = CuttingStockPrices(100, {{47, 6}});
  EXPECT_NEAR(halves[0], 0.5, 1e-9);
  // The small ones fit beside the large ones: they cost nothing.
  const auto beside = CuttingStockPrices(100, {{81, 10}, {16, 3}});
  EXPECT_NEAR(beside[0], 1, 1e-9);
  EXPECT_NEAR(beside[1], 0, 1e-9);
  // Unless there are more of them than room.
  const auto crowded = CuttingStockPrices(100, {{81, 1}, {16, 60}});
  EXPECT_NEAR(crowded[1], 1.0 / 6, 1e-9);
}

TEST(CuttingStock, NothingAskedNothingPriced) { EXPECT_TRUE(CuttingStockPrices(100, {}).empty()); }

// Optimal duals are feasible (no cut is worth more than a stock) and their bound is that of the
// linear programme: no feasible prices, such as size / capacity or 1 / pieces per stock, exceed it.
TEST(CuttingStock, PricesAreFeasibleAndNoOthersBoundMore) {
  Random random(7);
  for (int round = 0; round < 60; ++round) {
    const int capacity = 20 + static_cast<int>(random.Below(21));
    std::vector<StockDemand> demands;
    for (int size = 3; size <= capacity; ++size) {
      if (random.Below(6) == 0) {
        demands.push_back({size, 1 + static_cast<double>(random.Below(50))});
      }
    }
    const std::vector<double> prices = CuttingStockPrices(capacity, demands);
    ASSERT_EQ(prices.size(), demands.size());
    if (demands.empty()) continue;
    EXPECT_LE(BestCut(capacity, demands, prices), 1 + 1e-6);
    std::vector<double> by_size;
    std::vector<double> of_large;
    for (const StockDemand& demand : demands) {
      by_size.push_back(static_cast<double>(demand.size) / capacity);
      of_large.push_back(2 * demand.size > capacity ? 1.0 : 0.0);
    }
    EXPECT_GE(Bound(demands, prices), Bound(demands, by_size) - 1e-6);
    EXPECT_GE(Bound(demands, prices), Bound(demands, of_large) - 1e-6);
    // Random directions that stay feasible do not improve.
    for (int tries = 0; tries < 20; ++tries) {
      std::vector<double> other = prices;
      for (double& price : other) price = std::max(0.0, price + 0.2 * (random.Uniform() - 0.5));
      const double most = BestCut(capacity, demands, other);
      if (most > 1) {
        for (double& price : other) price /= most;
      }
      EXPECT_LE(Bound(demands, other), Bound(demands, prices) + 1e-6);
    }
  }
}

}  // namespace
}  // namespace tranche::placement
