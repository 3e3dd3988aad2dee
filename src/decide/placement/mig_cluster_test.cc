#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>

#include "decide/placement/test_world.h"

// GPUs that MIG divides, in a cluster: what fits, what is free, and what policies make of it.
namespace tranche::placement {
namespace {

using testing::AllPolicies;
using testing::InstanceOf;
using testing::MakeNamed;
using testing::RandomRequest;
using testing::SevenSlices;

Cluster OneGpu() { return Cluster({{16000, 65536, 1, 0}}, {SevenSlices()}); }

// The place of a profile at its n-th start.
int PlaceOf(int profile, int nth = 0) {
  const MigKind kind = SevenSlices();
  for (size_t i = 0; i < kind.places.size(); ++i) {
    if (kind.profiles[static_cast<size_t>(kind.places[i].profile)].id != profile) continue;
    if (nth-- == 0) return static_cast<int>(i);
  }
  return -1;
}

TEST(MigCluster, AGpuIsDividedOrShared) {
  Cluster cluster = OneGpu();
  const Request share{1000, 1024, 1, 300, kAnyModel};
  EXPECT_TRUE(Fits(cluster.node(0), InstanceOf(4)));
  cluster.Add(0, share, 1);
  EXPECT_FALSE(Fits(cluster.node(0), InstanceOf(1))) << "somebody has a share of it";
  cluster.Remove(0, share, 1);
  cluster.Add(0, InstanceOf(1), 1, PlaceOf(1));
  EXPECT_FALSE(Fits(cluster.node(0), share));
  EXPECT_TRUE(Fits(cluster.node(0), InstanceOf(4)));
  EXPECT_FALSE(Fits(cluster.node(0), InstanceOf(5))) << "4g starts at slot 0 only";
  EXPECT_FALSE(Fits(cluster.node(0), InstanceOf(6)));
  EXPECT_EQ(cluster.node(0).free_milli(), 857);
  cluster.Remove(0, InstanceOf(1), 1, PlaceOf(1));
  EXPECT_TRUE(Fits(cluster.node(0), share));
  EXPECT_EQ(cluster.node(0).state, OneGpu().node(0).state);
}

TEST(MigCluster, SevenSeventhsAreOneGpu) {
  Cluster cluster = OneGpu();
  for (int i = 0; i < 7; ++i) cluster.Add(0, InstanceOf(1), 1, PlaceOf(1, i));
  EXPECT_EQ(cluster.used_gpu_milli(), 1000);
  EXPECT_FALSE(Fits(cluster.node(0), InstanceOf(1)));
}

TEST(MigCluster, AFixedLayoutServesWhoAsksForLess) {
  Cluster cluster = OneGpu();
  cluster.FixLayout(0, 0, 1u << PlaceOf(4, 0) | 1u << PlaceOf(4, 1));
  EXPECT_FALSE(Fits(cluster.node(0), {1000, 1024, 1, 300, kAnyModel}));
  EXPECT_FALSE(Fits(cluster.node(0), InstanceOf(5)));
  const MigSpot spot = TightestSpot(cluster.node(0), InstanceOf(1));
  EXPECT_EQ(spot.place, PlaceOf(4, 0)) << "a 3g for a 1g: there is nothing else";
  cluster.Add(0, InstanceOf(1), 1, spot.place);
  EXPECT_EQ(cluster.used_gpu_milli(), 142) << "what was asked for, not what it got";
  EXPECT_EQ(cluster.node(0).free_milli(), 571) << "four slices nobody has";
  cluster.Add(0, InstanceOf(4), 1, PlaceOf(4, 1));
  EXPECT_FALSE(Fits(cluster.node(0), InstanceOf(1)));
  cluster.Remove(0, InstanceOf(1), 1, spot.place);
  cluster.Remove(0, InstanceOf(4), 1, PlaceOf(4, 1));
  cluster.FixLayout(0, 0, 0);
  EXPECT_FALSE(Fits(cluster.node(0), InstanceOf(1)));
  EXPECT_TRUE(Fits(cluster.node(0), {1000, 1024, 1, 1000, kAnyModel}));
}

TEST(MigCluster, WhatIsDownTakesNothing) {
  Cluster cluster = OneGpu();
  cluster.SetGpuUp(0, 0, false);
  EXPECT_FALSE(Fits(cluster.node(0), InstanceOf(1)));
  EXPECT_FALSE(Fits(cluster.node(0), {1000, 1024, 1, 300, kAnyModel}));
  EXPECT_EQ(cluster.node(0).free_milli(), 0);
  cluster.SetGpuUp(0, 0, true);
  EXPECT_TRUE(Fits(cluster.node(0), InstanceOf(6)));
}

class EveryPolicyOnMig : public ::testing::TestWithParam<std::string> {};
INSTANTIATE_TEST_SUITE_P(Placement, EveryPolicyOnMig, ::testing::ValuesIn(AllPolicies()),
                         [](const auto& policy) {
                           std::string name = policy.param;
                           std::erase_if(name, [](char c) { return std::isalpha(c) == 0; });
                           return name;
                         });

// The promise of scheduler_test.cc, where instances, shares and whole GPUs come together.
TEST_P(EveryPolicyOnMig, PlacesWhatFitsAndNothingElse) {
  Random random(8);
  std::vector<NodeShape> nodes;
  for (int i = 0; i < 12; ++i) nodes.push_back({96000, 393216, 4, static_cast<int>(i % 3 == 0)});
  const Cluster empty(nodes, {SevenSlices()});  // of the other model, MIG can divide none
  const auto draw = [&] {
    if (random.Below(2) == 0) return RandomRequest(random);
    Request request = InstanceOf(1 + static_cast<int>(random.Below(6)));
    request.models = 1;
    return request;
  };
  std::vector<WeightedRequest> mix;
  for (int i = 0; i < 30; ++i) mix.push_back({draw(), 1});
  Scheduler scheduler(empty, MakeNamed(GetParam(), empty, mix));
  std::vector<std::pair<int, Placement>> running;
  int refused = 0;
  for (int i = 0; i < 700; ++i) {
    if (random.Below(3) == 0 && !running.empty()) {
      std::swap(running[random.Below(running.size())], running.back());
      scheduler.Remove(running.back().first, running.back().second);
      running.pop_back();
    }
    const Request request = draw();
    const auto& before = scheduler.cluster().nodes();
    const bool fits = std::any_of(before.begin(), before.end(),
                                  [&](const Node& node) { return Fits(node, request); });
    const std::vector<Node> then = before;
    const int task = scheduler.Intern(request);
    const auto placed = scheduler.Place(task);
    ASSERT_EQ(placed.has_value(), fits) << "arrival " << i;
    if (!placed) {
      ++refused;
      continue;
    }
    const Node& node = then[static_cast<size_t>(placed->node)];
    ASSERT_TRUE(Fits(node, request));
    ASSERT_EQ(std::popcount(placed->gpus), request.gpus);
    if (request.mig != 0) {
      const size_t gpu = static_cast<size_t>(std::countr_zero(placed->gpus));
      ASSERT_GE(placed->place, 0);
      ASSERT_TRUE(node.HasPlace(gpu, static_cast<size_t>(placed->place)));
      ASSERT_TRUE(
          Serves(*node.mig, node.mig_gpus[gpu], static_cast<size_t>(placed->place), request.mig));
    }
    running.emplace_back(task, *placed);
  }
  EXPECT_GT(refused, 0) << "the test never filled the cluster";
  for (const auto& [task, at] : running) scheduler.Remove(task, at);
  for (int node = 0; node < empty.size(); ++node) {
    EXPECT_EQ(scheduler.cluster().node(node).state, empty.node(node).state);
  }
  EXPECT_EQ(scheduler.cluster().used_gpu_milli(), 0);
}

// Where nothing but instances comes, an empty GPU is worth what they could make of it: small ones
// do not open one GPU after the other.
TEST(MigPolicy, FillsAGpuBeforeItOpensAnother) {
  const Cluster empty(std::vector<NodeShape>(6, {96000, 393216, 4, 0}), {SevenSlices()});
  Scheduler scheduler(empty, MakeTranchePolicy(empty));
  const int small = scheduler.Intern(InstanceOf(1));
  for (int i = 0; i < 21; ++i) ASSERT_TRUE(scheduler.Place(small));
  int opened = 0;
  for (const Node& node : scheduler.cluster().nodes()) opened += 4 - CountWithFree(node, kGpuMilli);
  EXPECT_EQ(opened, 3);
}

}  // namespace
}  // namespace tranche::placement
