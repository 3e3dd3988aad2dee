#include "decide/placement/published.h"

#include <gtest/gtest.h>

#include <cmath>

#include "decide/placement/fragmentation.h"
#include "decide/placement/test_world.h"

namespace tranche::placement {
namespace {

using testing::RandomMix;
using testing::RandomNodes;
using testing::RandomRequest;

// The definition, word for word: for each typical workload, what it cannot use of what is free.
double FragmentationByDefinition(const Node& node, const std::vector<WeightedRequest>& mix) {
  double total = 0;
  double lost = 0;
  for (const auto& [request, weight] : mix) {
    total += weight;
    const bool able = request.gpus > 0 && node.cpu_free >= request.cpu_milli &&
                      (request.models >> node.model & 1) != 0 &&
                      CountWithFree(node, request.gpu_milli) >= request.gpus;
    for (size_t g = 0; g < node.gpus; ++g) {
      if (!able || node.gpu_free[g] < request.gpu_milli) lost += weight * node.gpu_free[g];
    }
  }
  return lost / total;
}

// A cluster in the middle of its life.
Cluster UsedCluster(Random& random) {
  const Cluster empty(RandomNodes(random, 30));
  Scheduler scheduler(empty, MakeRandomPolicy(4));
  for (int i = 0; i < 120; ++i) scheduler.Place(scheduler.Intern(RandomRequest(random)));
  return scheduler.cluster();
}

TEST(Fragmentation, IsAsDefined) {
  Random random(2);
  // Twenty equally frequent shapes: with 95 % all but one are typical.
  std::vector<WeightedRequest> mix;
  for (int i = 0; i < 19; ++i) {
    Request request = RandomRequest(random);
    request.cpu_milli += i;  // distinct
    mix.push_back({request, 100});
  }
  Request rare = RandomRequest(random);
  rare.cpu_milli = 77;
  std::vector<WeightedRequest> with_rare = mix;
  with_rare.push_back({rare, 1});
  const Fragmentation fragmentation(with_rare);
  const Cluster cluster = UsedCluster(random);
  for (const Node& node : cluster.nodes()) {
    EXPECT_NEAR(fragmentation.OfNode(node), FragmentationByDefinition(node, mix), 1e-6);
  }
}

TEST(Fgd, ScoresAreTheSigmoidOfWhatFragmentationDoes) {
  Random random(3);
  const auto mix = RandomMix(random, 12);
  const Fragmentation fragmentation(mix);
  const auto fgd = MakeFgdPolicy(mix);
  const Cluster cluster = UsedCluster(random);
  int compared = 0;
  for (int i = 0; i < 60; ++i) {
    const TaskClass task{0, RandomRequest(random)};
    for (int n = 0; n < cluster.size(); ++n) {
      if (!Fits(cluster.node(n), task.request)) continue;
      // Each GPU in turn for a share; else those with the lowest indices.
      int best = -1;
      GpuSet best_gpus = 0;
      std::vector<GpuSet> choices;
      if (task.request.gpus == 1 && !task.request.whole()) {
        for (int g = 0; g < cluster.node(n).gpus; ++g) {
          if (cluster.node(n).gpu_free[static_cast<size_t>(g)] >= task.request.gpu_milli) {
            choices.push_back(static_cast<GpuSet>(1 << g));
          }
        }
      } else {
        choices.push_back(TightestGpus(cluster.node(n), task.request));
      }
      for (const GpuSet gpus : choices) {
        Cluster after = cluster;
        after.Add(n, task.request, gpus);
        const double less =
            fragmentation.OfNode(cluster.node(n)) - fragmentation.OfNode(after.node(n));
        const int score = static_cast<int>(100 / (1 + std::exp(-less / 1000)));
        if (score > best) {
          best = score;
          best_gpus = gpus;
        }
      }
      EXPECT_EQ(fgd->Score(cluster.node(n), n, task), best);
      EXPECT_EQ(fgd->ChooseGpus(cluster.node(n), n, task), best_gpus);
      ++compared;
    }
  }
  EXPECT_GT(compared, 100);
}

// By hand, on the largest published node shape: 8 GPUs, 96 cores.
class ByHand : public ::testing::Test {
 protected:
  Node NodeAfter(const std::vector<std::pair<Request, GpuSet>>& placed) {
    Cluster cluster({{96000, 393216, 8, 0}});
    for (const auto& [request, gpus] : placed) cluster.Add(0, request, gpus);
    return cluster.node(0);
  }
  int ScoreOf(Policy& policy, const Node& node, const Request& request) {
    return policy.Score(node, 0, {0, request});
  }
  const Request share_{8000, 1024, 1, 500, kAnyModel};
  const Request one_{8000, 1024, 1, 1000, kAnyModel};
  const Request two_{8000, 1024, 2, 1000, kAnyModel};
  const Request cpu_{8000, 1024, 0, 0, kAnyModel};
};

TEST_F(ByHand, BestFit) {
  const auto policy = MakeBestFitPolicy();
  // 1 - 0.5 * 88/128 - 0.5 * 7500/8000 = 0.1875
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({}), share_), 18);
  // 1 - 0.5 * 80/128 - 0.5 * 7000/8000 = 0.25
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({{share_, 1}}), share_), 25);
}

TEST_F(ByHand, DotProduct) {
  const auto policy = MakeDotProductPolicy();
  // 1 - (96/128 * 8/128 + 1 * 1/8) / 2 = 0.914
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({}), one_), 91);
}

TEST_F(ByHand, Clustering) {
  const auto policy = MakeClusteringPolicy();
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({}), share_), 25);
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({{share_, 1}}), share_), 75 + 25 * 500 / 8000);
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({{share_, 1}}), one_), 25 * 500 / 8000);
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({{share_, 1}, {one_, 2}}), one_), 50 + 25 * 1500 / 8000);
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({{one_, 1}}), two_), 25 * 1000 / 8000);
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({}), cpu_), 0);
}

TEST_F(ByHand, Packing) {
  const auto policy = MakePackingPolicy();
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({}), share_), 33 - 8);
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({{share_, 1}}), share_), 100 - 50 / 10);
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({{share_, 1}}), two_), 50 - 2);
  EXPECT_EQ(ScoreOf(*policy, NodeAfter({{share_, 1}}), cpu_), 0);
}

}  // namespace
}  // namespace tranche::placement
