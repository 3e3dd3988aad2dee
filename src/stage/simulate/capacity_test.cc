#include "stage/simulate/capacity.h"

#include <gtest/gtest.h>

#include "stage/simulate/replay.h"

namespace tranche::simulate {
namespace {

const placement::Request kOne{1000, 1024, 1, 1000, placement::kAnyModel};

TEST(Capacity, TheSmallestThatHolds) {
  for (int least = 1; least <= 40; ++least) {
    int asked = 0;
    const auto found = SmallestThatHolds(1, 100, [&](int n) {
      ++asked;
      return n >= least;
    });
    EXPECT_EQ(found, least);
    EXPECT_LE(asked, 14);
  }
  EXPECT_FALSE(SmallestThatHolds(1, 100, [](int) { return false; }));
  EXPECT_EQ(SmallestThatHolds(1, 100, [](int n) { return n == 100; }), 100);
}

// Ten workloads at once, of which five insist on model 1.
std::vector<TimedWorkload> TenAtOnce() {
  std::vector<TimedWorkload> workloads;
  for (int i = 0; i < 10; ++i) {
    placement::Request request = kOne;
    if (i % 2 == 0) request.models = 2;
    workloads.push_back({request, 0, 100});
  }
  return workloads;
}

CapacityFindings Find(const Fleet& kinds, const std::vector<TimedWorkload>& workloads,
                      const CapacityTarget& target = {0, {}}) {
  TimelineOptions options;
  options.wait_slo = 10;
  options.costs = {{1, {}, 0}, {4, {}, 0}};
  std::vector<placement::WeightedRequest> mix;
  for (const TimedWorkload& workload : workloads) mix.push_back({workload.request, 1});
  return FindCapacity(kinds, workloads, mix, "tranche", options, target, 100,
                      [](const std::string&) {});
}

TEST(Capacity, EachKindAloneAndAMix) {
  const Fleet kinds{{{64000, 65536, 2, 0}, {64000, 65536, 2, 1}}, {"cheap", "dear"}};
  const CapacityFindings findings = Find(kinds, TenAtOnce());
  ASSERT_EQ(findings.none.size(), 1u);
  EXPECT_EQ(findings.none[0].because, "5 of 10 workloads fit no such node");
  ASSERT_EQ(findings.answers.size(), 2u);
  // Of the dear kind no more than insist on it: three nodes with six GPUs, and two of the other.
  const CapacityAnswer& mixed = findings.answers[0];
  EXPECT_TRUE(mixed.mixed);
  ASSERT_EQ(mixed.nodes.size(), 2u);
  EXPECT_EQ(mixed.nodes[0].count, 2);
  EXPECT_EQ(mixed.nodes[1].count, 3);
  EXPECT_EQ(mixed.cost_per_hour, 2 * 2 * 1 + 3 * 2 * 4);
  EXPECT_EQ(mixed.missed_share, 0);
  EXPECT_GT(*mixed.missed_share_with_less, 0);
  const CapacityAnswer& dear = findings.answers[1];
  EXPECT_EQ(dear.gpus, 10);
  EXPECT_EQ(dear.cost_per_hour, 40);
}

TEST(Capacity, SomeMayMissAndAllocationMayBeCapped) {
  const Fleet kinds{{{64000, 65536, 2, 1}}, {"cheap", "dear"}};
  const auto some = Find(kinds, TenAtOnce(), {0.4, {}});
  ASSERT_EQ(some.answers.size(), 1u);
  EXPECT_EQ(some.answers[0].gpus, 6) << "four of ten may wait";
  const auto capped = Find(kinds, TenAtOnce(), {0, 0.5});
  ASSERT_EQ(capped.answers.size(), 1u);
  EXPECT_EQ(capped.answers[0].gpus, 20);
}

}  // namespace
}  // namespace tranche::simulate
