#include "decide/placement/valuation.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>

#include "decide/placement/mix.h"
#include "decide/placement/test_world.h"

namespace tranche::placement {
namespace {

using testing::RandomMix;
using testing::RandomNodes;
using testing::RandomRequest;

TEST(Lanes, ExponentialIsClose) {
  for (float x = -79; x <= 0; x += 0.37f) {
    EXPECT_NEAR(Lanes::Of(x).Exponential()[7] / std::exp(x), 1.0f, 4e-6f) << x;
  }
  EXPECT_EQ(Lanes::Of(0).Exponential()[0], 1.0f);
  EXPECT_EQ(Lanes::Of(-200).Exponential()[23], 0.0f);
}

TEST(Lanes, LeastLooksAtAll) {
  float values[Lanes::kCount];
  for (int least = 0; least < Lanes::kCount; ++least) {
    for (int i = 0; i < Lanes::kCount; ++i) values[i] = i == least ? -1.0f : 2.0f + i;
    EXPECT_EQ(Lanes::Load(values).Least(), -1.0f);
  }
}

Valuation ValuationOf(const Cluster& cluster, const std::vector<WeightedRequest>& mix,
                      const ValuationOptions& options = {}) {
  return {cluster.types(), cluster.type_counts(), mix, options};
}

// `after` with the memory that is in sight from `before`.
Node WithMemoryInSight(const Node& before, Node after) {
  after.memory_free =
      std::max<int64_t>(0, MemoryInSight(before) - (before.memory_free - after.memory_free));
  return after;
}

// The gain of a placement is what it places less what the node is worth less for it, on the best of
// all its GPUs: the same by placing it and looking again.
TEST(Valuation, GainIsTheDifferenceThatPlacingMakes) {
  Random random(1);
  const Cluster empty(RandomNodes(random, 20));
  const auto mix = RandomMix(random, 15);
  const Valuation valuation = ValuationOf(empty, mix);
  Scheduler scheduler(empty, MakeRandomPolicy(2));
  for (int i = 0; i < 60; ++i) scheduler.Place(scheduler.Intern(RandomRequest(random)));
  const Cluster cluster = scheduler.cluster();
  for (const bool churn : {false, true}) {
    for (int i = 0; i < 40; ++i) {
      const Request request = RandomRequest(random);
      for (int n = 0; n < cluster.size(); ++n) {
        const Node& node = cluster.node(n);
        if (!Fits(node, request)) continue;
        const auto worth = valuation.Of(node);
        const auto gain = valuation.Best(node, worth, request, churn);
        const double price = valuation.scarcity_price(node.type) *
                             (request.cpu_only() ? static_cast<double>(node.gpus) *
                                                       request.cpu_milli / node.cpu_total
                                                 : request.total_milli() / 1000.0);
        double best = -1e30;
        for (unsigned gpus = 0; gpus < 1u << node.gpus; ++gpus) {
          if (std::popcount(gpus) != request.gpus) continue;
          bool room = true;
          for (int g = 0; g < node.gpus; ++g) {
            room &=
                (gpus >> g & 1) == 0 || node.gpu_free[static_cast<size_t>(g)] >= request.gpu_milli;
          }
          if (!room) continue;
          Cluster placed = cluster;
          placed.Add(n, request, static_cast<GpuSet>(gpus));
          const auto after = valuation.Of(placed.node(n));
          double milli = after.value - worth.value +
                         valuation.room_weight(churn) * (after.cpu_room - worth.cpu_room) +
                         request.total_milli() - price;
          if (churn) {
            milli += after.bonus - worth.bonus;
          } else {
            milli +=
                worth.stranded - valuation.Of(WithMemoryInSight(node, placed.node(n))).stranded;
          }
          best = std::max(best, milli);
        }
        EXPECT_NEAR(gain.milli, best, 0.1) << "node " << n;
        EXPECT_EQ(std::popcount(gain.gpus), request.gpus);
      }
    }
  }
}

TEST(Valuation, SizesCostTheGpuThatTheyReallyTake) {
  const Cluster cluster({{96000, 393216, 8, 0}});
  const Valuation valuation = ValuationOf(cluster, {{{1000, 1, 1, 810, kAnyModel}, 10},
                                                    {{1000, 1, 1, 160, kAnyModel}, 2},
                                                    {{1000, 1, 1, 1000, kAnyModel}, 5}});
  EXPECT_NEAR(valuation.size_price(810), 1000, 1e-6);
  EXPECT_NEAR(valuation.size_price(160), 0, 1e-6);
  EXPECT_NEAR(valuation.size_price(430), 430, 1e-6) << "never seen: its own size";
}

TEST(Valuation, ScarceHardwareHasAPrice) {
  // Model 1 is what some insist on; only 128-core nodes can hold the largest of model 0.
  const Cluster cluster({{96000, 393216, 8, 0},
                         {96000, 393216, 8, 0},
                         {96000, 393216, 8, 0},
                         {128000, 393216, 8, 0},
                         {64000, 262144, 2, 1}});
  const Request any{8000, 1024, 1, 1000, kAnyModel};
  EXPECT_EQ(ValuationOf(cluster, {{any, 10}}).scarcity_price(0), 0);

  const Request insists{8000, 1024, 1, 1000, ModelSet{1} << 1};
  const Valuation by_model = ValuationOf(cluster, {{any, 9}, {insists, 1}});
  EXPECT_EQ(by_model.scarcity_price(0), 0);
  EXPECT_GT(by_model.scarcity_price(2), 100);

  const Request large{120000, 1024, 8, 1000, kAnyModel};
  const Valuation by_shape = ValuationOf(cluster, {{any, 90}, {large, 1}});
  EXPECT_EQ(by_shape.scarcity_price(0), 0);
  EXPECT_GT(by_shape.scarcity_price(1), 50);
  EXPECT_EQ(by_shape.scarcity_price(2), 0);
}

TEST(Mix, FadesButRemembersTheLargeLonger) {
  MixOptions options;
  options.half_life = 100;
  options.long_half_life = 1000;
  Mix mix(options);
  const TaskClass share{0, {1000, 1024, 1, 500, kAnyModel}};
  const TaskClass large{1, {1000, 1024, 8, 1000, kAnyModel}};
  const TaskClass now{2, {1000, 1024, 1, 250, kAnyModel}};
  for (int i = 0; i < 10; ++i) mix.Add(share);
  for (int i = 0; i < 10; ++i) mix.Add(large);
  EXPECT_TRUE(mix.worth_taking());
  EXPECT_EQ(mix.Take().size(), 2u);
  EXPECT_FALSE(mix.worth_taking());
  for (int i = 0; i < 100; ++i) mix.Add(now);
  const auto seen = mix.Take();
  ASSERT_EQ(seen.size(), 3u);
  EXPECT_NEAR(seen[0].weight, 5, 0.01);
  EXPECT_NEAR(seen[1].weight, 9.33, 0.01);
  EXPECT_NEAR(seen[2].weight, 100, 0.01);
}

// Those who can run anywhere learn to leave the scarce model to those who cannot.
TEST(TranchePolicy, LearnsToLeaveScarceHardwareFree) {
  std::vector<NodeShape> nodes;
  for (int i = 0; i < 20; ++i) nodes.push_back({64000, 262144, 4, i % 2});
  const Cluster cluster(nodes);
  Scheduler scheduler(cluster, MakeTranchePolicy(cluster));
  const int any = scheduler.Intern({8000, 1024, 1, 1000, kAnyModel});
  const int insists = scheduler.Intern({8000, 1024, 1, 1000, ModelSet{1} << 1});
  int misplaced = 0;
  for (int i = 0; i < 64; ++i) {
    const bool picky = i % 2 == 1;
    const auto placed = scheduler.Place(picky ? insists : any);
    ASSERT_TRUE(placed);
    misplaced += !picky && scheduler.cluster().node(placed->node).model == 1 ? 1 : 0;
  }
  EXPECT_LE(misplaced, 8) << "only before it knew";
}

// Whoever is refused more than the others is kept more room: an empty node becomes dearer to break.
TEST(TranchePolicy, PricesSlotsByWhoIsRefused) {
  Cluster cluster({{96000, 393216, 8, 0}, {96000, 393216, 8, 0}});
  const TaskClass one{0, {8000, 1024, 1, 1000, kAnyModel}};
  const TaskClass eight{1, {64000, 1024, 8, 1000, kAnyModel}};
  cluster.Add(1, one.request, 1);
  TrancheOptions options;
  options.known = {{one.request, 40}, {eight.request, 1}};
  options.learns = false;
  const auto policy = MakeTranchePolicy(cluster, options);
  const auto prefers_the_broken = [&] {
    return policy->Score(cluster.node(1), 1, one) - policy->Score(cluster.node(0), 0, one);
  };
  const auto come_and_go = [&](int arrivals, bool refuse) {
    for (int i = 0; i < arrivals; ++i) {
      const TaskClass& task = i % 20 == 0 ? eight : one;
      policy->Arrived(task);
      if (refuse && &task == &eight) {
        policy->Refused(task);
      } else {
        policy->Placed(task);
        policy->Departed(task);
      }
    }
  };
  come_and_go(3000, false);
  const int before = prefers_the_broken();
  come_and_go(5000, true);
  const int after = prefers_the_broken();
  EXPECT_GT(after, before);
  // And as much less again when nobody is.
  come_and_go(60000, false);
  EXPECT_LE(prefers_the_broken(), after);
}

}  // namespace
}  // namespace tranche::placement
