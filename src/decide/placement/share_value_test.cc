#include "decide/placement/share_value.h"

#include <gtest/gtest.h>

#include "decide/placement/tranche_policy.h"

namespace tranche::placement {
namespace {

TEST(ShareValue, KeepsRoomForWhatComes) {
  // Where halves minus a bit come as often, 300 of 450 would leave 150 that nobody wants; of 600,
  // another 300 remain.
  const ShareValue value({{450, 10}, {300, 10}});
  EXPECT_GT(value.PointsOf(300, 600, 300), value.PointsOf(300, 450, 150));
  // A perfect fit costs nothing, and what opens an empty GPU is no better.
  EXPECT_EQ(value.PointsOf(300, 300, 0), 0);
  EXPECT_GE(value.PointsOf(300, 300, 0), value.PointsOf(300, 1000, 700));
  // 190 beside 810 are lost already: whoever fits there costs nothing.
  const ShareValue large({{810, 10}, {100, 1}});
  EXPECT_GE(large.PointsOf(100, 190, 90), large.PointsOf(100, 1000, 900));
}

TEST(ShareValue, KnowsNothingAndSaysSo) {
  const ShareValue value({});
  EXPECT_EQ(value.PointsOf(300, 1000, 700), value.PointsOf(300, 300, 0));
  // What makes no sense is left out.
  const ShareValue odd({{0, 1}, {1200, 5}});
  EXPECT_EQ(odd.PointsOf(300, 1000, 700), odd.PointsOf(300, 300, 0));
}

TEST(ShareValue, IsTheValueOfTheClustersPolicy) {
  const std::vector<ShareWeight> shares = {{470, 5}, {320, 3}, {1000, 1}};
  const ShareValue value(shares);
  std::vector<WeightedRequest> mix;
  for (const auto& [milli, weight] : shares) mix.push_back({{0, 0, 1, milli, kAnyModel}, weight});
  const Cluster cluster({{0, 0, 1, 0}, {0, 0, 1, 0}});
  TrancheOptions options;
  options.known = mix;
  options.learns = false;
  const auto policy = MakeTranchePolicy(cluster, options);
  for (const int size : {320, 470, 1000}) {
    Cluster one = cluster;
    if (size < 600) one.Add(0, {0, 0, 1, 400, kAnyModel}, 1);
    const TaskClass task{0, {0, 0, 1, size, kAnyModel}};
    for (int node = 0; node < 2; ++node) {
      const int free = one.node(node).gpu_free[0];
      if (free < size) continue;
      EXPECT_EQ(PointsOfGain(value.GainOf(size, free, free - size)),
                policy->Score(one.node(node), node, task));
    }
  }
}

}  // namespace
}  // namespace tranche::placement
