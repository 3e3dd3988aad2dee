#include "decide/serving/capacity.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tranche::serving {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr QueueRun kShort{4000, 1};

// Batches of 1, 4 and 16 in a slice, by one process and by two.
std::vector<ProfilePoint> Points() {
  return {{1, 1, 1, 100, 0.010}, {1, 4, 1, 250, 0.016}, {1, 16, 1, 400, 0.040},
          {1, 1, 2, 120, 0.017}, {1, 4, 2, 290, 0.028}, {2, 16, 1, 800, 0.020}};
}

TEST(Capacity, BatchesInBetweenTakeAsLongAsInBetween) {
  const BatchServer server = ServerOf(Points()[2], Points());
  ASSERT_EQ(server.seconds.size(), 16u);
  EXPECT_DOUBLE_EQ(server.seconds[0], 0.010);
  EXPECT_NEAR(server.seconds[1], 0.012, 1e-12);
  EXPECT_DOUBLE_EQ(server.seconds[3], 0.016);
  EXPECT_NEAR(server.seconds[9], 0.028, 1e-12);
  EXPECT_DOUBLE_EQ(server.seconds[15], 0.040);
}

TEST(Capacity, OfLatencyAndThroughputTheSlowerHolds) {
  ProfilePoint point{1, 8, 2, 100, 0.05};  // 16 in 0.05 s would be 320 per second
  EXPECT_DOUBLE_EQ(ServerOf(point, {point}).MostPerSecond(), 100);
  point.per_second = 1000;
  EXPECT_DOUBLE_EQ(ServerOf(point, {point}).MostPerSecond(), 320);
}

TEST(Capacity, SomeLessThanAFullServerAndNothingBelowItsShortestBatch) {
  const BatchServer server = ServerOf(Points()[2], Points());
  Objective objective;
  objective.seconds = 0.1;
  const double capacity = CapacityOf(server, objective, kShort);
  EXPECT_LT(capacity, 400);
  EXPECT_GT(capacity, 300);
  EXPECT_LE(SimulateBatches({server}, {}, capacity, 0.1, kShort).missed_share(), 0.01);
  objective.may_miss = 1;
  EXPECT_DOUBLE_EQ(CapacityOf(server, objective, kShort), 400);
  objective.seconds = 0.009;
  EXPECT_EQ(CapacityOf(server, objective, kShort), 0);
}

TEST(Capacity, TighterObjectivesTakeSmallerBatchesAndBearLess) {
  Objective loose, tight, impossible;
  loose.seconds = 0.5;
  tight.seconds = 0.05;
  impossible.seconds = 0.015;
  const std::vector<Setting> a = BestSettings(Points(), loose, kShort);
  const std::vector<Setting> b = BestSettings(Points(), tight, kShort);
  ASSERT_EQ(a.size(), 2u);
  EXPECT_EQ(a[0].point.batch, 16);
  EXPECT_EQ(a[1].point.slice, 2);
  ASSERT_EQ(b.size(), 2u);
  EXPECT_EQ(b[0].point.batch, 4);
  EXPECT_LE(b[0].point.seconds, 0.025);
  EXPECT_LT(b[0].per_second, a[0].per_second);
  EXPECT_TRUE(BestSettings(Points(), impossible, kShort).empty());
}

TEST(Capacity, PointsThatMakeNoSenseAreAllNamed) {
  const std::vector<std::string> wrong =
      WhatIsWrong({{1, 0, 1, 10, 0.1}, {1, 1, 0, -1, 0.1}, {1, 1, 1, 10, 0}, {1, 1, 1, 10, 0.1}});
  EXPECT_THAT(wrong, ElementsAre(HasSubstr("point 1: a batch of 0"), HasSubstr("point 2: 0 proc"),
                                 HasSubstr("point 2: a throughput of -1"),
                                 HasSubstr("point 3: a latency of 0")));
}

}  // namespace
}  // namespace tranche::serving
