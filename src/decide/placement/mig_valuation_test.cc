#include "decide/placement/mig_valuation.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <climits>
#include <optional>
#include <utility>

#include "decide/placement/random.h"

namespace tranche::placement {
namespace {

// 1g, 1g with two slots, 2g, 3g, 4g, 7g of an A100 or H100.
const std::vector<MigShape> kShapes = {{1, 1, {0, 1, 2, 3, 4, 5, 6}},
                                       {1, 2, {0, 2, 4, 6}},
                                       {2, 2, {0, 2, 4}},
                                       {3, 4, {0, 4}},
                                       {4, 4, {0}},
                                       {7, 8, {0}}};

MigValuation Of(const std::vector<double>& weights) { return {8, 7, kShapes, weights}; }

TEST(MigValuation, PricesAreWhatAProfileKeepsFromOthers) {
  // 3g takes half the memory: two fill a GPU, although six of seven slices are used.
  EXPECT_NEAR(Of({0, 0, 0, 10, 0, 0}).price(3), 0.5, 1e-6);
  EXPECT_NEAR(Of({0, 0, 0, 0, 0, 1}).price(5), 1, 1e-6);
  // Seven alike share it.
  EXPECT_NEAR(Of({10, 0, 0, 0, 0, 0}).price(0), 0.8 / 7 + 0.2 / 7, 1e-6);
}

TEST(MigValuation, ASmallOneGoesWhereItSpoilsLeast) {
  // Where 3g and 4g come, slot 6 takes a 1g; at 0 it would keep the 4g out. Both halves lose one
  // 3g.
  const MigValuation valuation = Of({10, 0, 0, 5, 20, 0});
  const auto best = valuation.Best({}, 0);
  ASSERT_TRUE(best);
  EXPECT_GE(best->start, 4);
  // Beside a 4g, the other half is as good as gone for another: it goes there.
  EXPECT_GE(valuation.Best(valuation.With({}, 4, 0), 0)->start, 4);
}

TEST(MigValuation, NothingWhereNothingFits) {
  const MigValuation valuation = Of({1, 1, 1, 1, 1, 1});
  EXPECT_FALSE(valuation.Best(valuation.With({}, 0, 3), 5));
  EXPECT_FALSE(valuation.Best({0, 7}, 0)) << "slots are free, slices are not";
  EXPECT_EQ(valuation.worth({0xff, 7}), 0);
}

struct Instance {
  size_t gpu = 0;
  int shape = 0;
  int start = 0;
  double ends = 0;
};

// Compute slices in use on average where instances come and go, placed by value or first fit.
double MeanInUse(bool by_value, uint64_t seed, const std::vector<double>& weights) {
  const MigValuation valuation = Of(weights);
  Random random(seed);
  std::vector<MigRoom> gpus(20);
  std::vector<Instance> running;
  double sum = 0;
  const int arrivals = 3000;
  for (int i = 0; i < arrivals; ++i) {
    for (size_t k = 0; k < running.size();) {
      if (running[k].ends > i) {
        ++k;
        continue;
      }
      const Instance gone = running[k];
      const MigShape& shape = kShapes[static_cast<size_t>(gone.shape)];
      gpus[gone.gpu].slots &= ~(((1u << shape.slots) - 1) << gone.start);
      gpus[gone.gpu].compute -= shape.compute;
      running[k] = running.back();
      running.pop_back();
    }
    double at = random.Uniform();
    int shape = 0;
    while (at >= weights[static_cast<size_t>(shape)]) at -= weights[static_cast<size_t>(shape++)];
    const double ends = i + 70 * random.Exponential();
    std::optional<Instance> chosen;
    std::pair<int, int> best = {INT_MIN, 0};  // points, slices taken
    for (size_t g = 0; g < gpus.size() && (by_value || !chosen); ++g) {
      if (by_value) {
        const auto choice = valuation.Best(gpus[g], shape);
        if (!choice || std::pair(choice->points, gpus[g].compute) <= best) continue;
        best = {choice->points, gpus[g].compute};
        chosen = Instance{g, shape, choice->start, ends};
        continue;
      }
      for (const int start : kShapes[static_cast<size_t>(shape)].starts) {
        if (chosen || !valuation.Fits(gpus[g], shape, start)) continue;
        chosen = Instance{g, shape, start, ends};
      }
    }
    if (chosen) {
      gpus[chosen->gpu] = valuation.With(gpus[chosen->gpu], shape, chosen->start);
      running.push_back(*chosen);
    }
    for (const MigRoom& gpu : gpus) sum += gpu.compute;
  }
  return sum / arrivals;
}

// Of mixes without 7g: where whole GPUs are asked for as well, it is first fit's equal, no better.
TEST(MigValuation, KeepsMoreInUseThanFirstFit) {
  const std::vector<std::vector<double>> mixes = {{0.4, 0.0, 0.3, 0.2, 0.1, 0.0},
                                                  {0.2, 0.2, 0.2, 0.2, 0.2, 0.0}};
  for (const auto& mix : mixes) {
    double ours = 0;
    double first_fit = 0;
    for (uint64_t seed = 1; seed <= 3; ++seed) {
      ours += MeanInUse(true, seed, mix);
      first_fit += MeanInUse(false, seed, mix);
    }
    EXPECT_GT(ours, first_fit);
  }
}

}  // namespace
}  // namespace tranche::placement
