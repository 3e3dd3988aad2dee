#include "decide/placement/slice_value.h"

#include <gtest/gtest.h>

#include <numeric>

namespace tranche::placement {
namespace {

// 1g, the same with media engines, 1g with two slots, 2g, 3g, 4g, 7g of an A100 or H100.
const std::vector<MigShape> kProfiles = {{1, 1, {0, 1, 2, 3, 4, 5, 6}},
                                         {1, 1, {0, 1, 2, 3, 4, 5, 6}},
                                         {1, 2, {0, 2, 4, 6}},
                                         {2, 2, {0, 2, 4}},
                                         {3, 4, {0, 4}},
                                         {4, 4, {0}},
                                         {7, 8, {0}}};

SliceValue Of(const std::vector<double>& asked) { return {8, 7, kProfiles, asked}; }

TEST(SliceValue, BeforeAnythingWasSeenEachSizeAsksForAsMuch) {
  const std::vector<double> prior = PriorOf(8, 7, kProfiles);
  EXPECT_NEAR(std::accumulate(prior.begin(), prior.end(), 0.0), 1, 1e-12);
  EXPECT_NEAR(prior[0] / 7, prior[6], 1e-12);
  EXPECT_NEAR(prior[3] / prior[4], 0.5 / (2 / 7.0), 1e-12);
}

TEST(SliceValue, WhatIsAskedForOutweighsThePrior) {
  // A 2g at the end of either half. 4g all the time: not in the half where they stand.
  const auto points = [](const SliceValue& value, int start) {
    return value.PointsOf(3, value.WorthOf({}), value.WorthOf({3u << start, 2}));
  };
  const SliceValue fours = Of({0, 0, 0, 1, 0, 20, 0});
  EXPECT_GT(points(fours, 4), points(fours, 2));
  const SliceValue twos = Of({0, 0, 0, 20, 0, 1, 0});
  EXPECT_EQ(points(twos, 4), points(twos, 2));
}

// The same numbers as the simulator's policy has.
TEST(SliceValue, IsTheValuationOfWhatWasSeenAndThePrior) {
  std::vector<MigShape> shapes = kProfiles;
  shapes.erase(shapes.begin());
  std::vector<double> weights = PriorOf(8, 7, shapes);
  weights[0] += 5;
  weights[3] += 2;
  const MigValuation valuation(8, 7, shapes, weights);
  const SliceValue value = Of({4, 1, 0, 0, 2, 0, 0});
  for (uint32_t slots = 0; slots < 256; ++slots) {
    for (int compute = 0; compute <= 7; ++compute) {
      EXPECT_EQ(value.WorthOf({slots, compute}), valuation.worth({slots, compute}));
    }
  }
  const auto best = valuation.Best({0b1, 1}, 3);
  ASSERT_TRUE(best);
  const MigRoom taken{0b1, 1};
  const MigRoom after = valuation.With(taken, 3, best->start);
  EXPECT_EQ(value.PointsOf(4, value.WorthOf(taken), value.WorthOf(after)), best->points);
}

TEST(SliceValue, EnginesAreNotItsAffair) {
  const SliceValue with = Of({0, 7, 0, 3, 2, 0, 0});
  const SliceValue without = Of({7, 0, 0, 3, 2, 0, 0});
  for (uint32_t slots = 0; slots < 256; ++slots) {
    EXPECT_EQ(with.WorthOf({slots, 0}), without.WorthOf({slots, 0}));
  }
  EXPECT_EQ(with.PriceOf(0), with.PriceOf(1));
}

TEST(SliceValue, LosesPointsWhereRoomIsSpoilt) {
  const SliceValue value = Of({1, 0, 0, 0, 20, 20, 0});
  // A 3g beside a 4g takes what nobody else could have; of an empty GPU, the place of the 4g.
  EXPECT_GT(value.PointsOf(4, value.WorthOf({0x0f, 4}), value.WorthOf({0xff, 7})),
            value.PointsOf(4, value.WorthOf({}), value.WorthOf({0x0f, 3})));
}

}  // namespace
}  // namespace tranche::placement
