#include "decide/placement/scheduler.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cctype>

#include "decide/placement/test_world.h"

namespace tranche::placement {
namespace {

using testing::AllPolicies;
using testing::MakeNamed;
using testing::RandomMix;
using testing::RandomNodes;
using testing::RandomRequest;

bool FitsSomewhere(const Cluster& cluster, const Request& request) {
  return std::any_of(cluster.nodes().begin(), cluster.nodes().end(),
                     [&](const Node& node) { return Fits(node, request); });
}

// What may never be: more given than there is, or less than nothing free.
void ExpectSane(const Cluster& cluster) {
  int64_t used = 0;
  for (const Node& node : cluster.nodes()) {
    ASSERT_GE(node.cpu_free, 0);
    ASSERT_LE(node.cpu_free, node.cpu_total);
    ASSERT_GE(node.memory_free, 0);
    ASSERT_LE(node.memory_free, node.memory_total);
    for (size_t g = 0; g < node.gpus; ++g) {
      ASSERT_GE(node.gpu_free[g], 0);
      ASSERT_LE(node.gpu_free[g], kGpuMilli);
      used += kGpuMilli - node.gpu_free[g];
    }
  }
  ASSERT_EQ(used, cluster.used_gpu_milli());
}

struct Running {
  int task = 0;
  Placement at;
};

class EveryPolicy : public ::testing::TestWithParam<std::string> {};
// Those whose scores depend on nothing but the node and the task.
class FixedPolicy : public ::testing::TestWithParam<std::string> {};

std::string TestName(const ::testing::TestParamInfo<std::string>& policy) {
  std::string name = policy.param;
  std::erase_if(name, [](char c) { return std::isalpha(c) == 0; });
  return name;
}

INSTANTIATE_TEST_SUITE_P(Placement, EveryPolicy, ::testing::ValuesIn(AllPolicies()), TestName);
INSTANTIATE_TEST_SUITE_P(Placement, FixedPolicy,
                         ::testing::Values("bestfit", "dotprod", "clustering", "packing", "fgd",
                                           "tranche, told"),
                         TestName);

// The promise: what fits somewhere is placed, on a node where it fits and on GPUs that have room;
// what does not is refused; and what leaves, leaves all it had.
TEST_P(EveryPolicy, PlacesWhatFitsAndNothingElse) {
  for (uint64_t seed = 1; seed <= 3; ++seed) {
    Random random(seed);
    const Cluster empty(RandomNodes(random, 25));
    const auto mix = RandomMix(random, 20);
    Scheduler scheduler(empty, MakeNamed(GetParam(), empty, mix));
    std::vector<Running> running;
    int refused = 0;
    for (int i = 0; i < 700; ++i) {
      const uint64_t what = random.Below(10);
      if (what < 3 && !running.empty()) {
        std::swap(running[random.Below(running.size())], running.back());
        scheduler.Remove(running.back().task, running.back().at);
        running.pop_back();
      } else if (what == 3) {
        scheduler.SetUp(static_cast<int>(random.Below(25)), random.Below(4) != 0);
      }
      const Request request = RandomRequest(random);
      const bool fits = FitsSomewhere(scheduler.cluster(), request);
      const int task = scheduler.Intern(request);
      const std::vector<Node> before = scheduler.cluster().nodes();
      const auto placed = scheduler.Place(task);
      ASSERT_EQ(placed.has_value(), fits) << "arrival " << i;
      if (!placed) {
        ++refused;
        continue;
      }
      const Node& chosen = before[static_cast<size_t>(placed->node)];
      ASSERT_TRUE(Fits(chosen, request));
      ASSERT_EQ(std::popcount(placed->gpus), request.gpus);
      for (int g = 0; g < kMaxGpusPerNode; ++g) {
        if ((placed->gpus >> g & 1) == 0) continue;
        ASSERT_LT(g, chosen.gpus);
        ASSERT_GE(chosen.gpu_free[static_cast<size_t>(g)], request.gpu_milli);
      }
      running.push_back({task, *placed});
      ExpectSane(scheduler.cluster());
    }
    EXPECT_GT(refused, 0) << "the test never filled the cluster";
    for (int node = 0; node < 25; ++node) scheduler.SetUp(node, true);
    for (const Running& gone : running) scheduler.Remove(gone.task, gone.at);
    for (int node = 0; node < 25; ++node) {
      EXPECT_EQ(scheduler.cluster().node(node).state, empty.node(node).state);
    }
    EXPECT_EQ(scheduler.cluster().used_gpu_milli(), 0);
  }
}

TEST_P(EveryPolicy, IsDeterministic) {
  std::vector<std::vector<std::optional<Placement>>> runs;
  for (int run = 0; run < 2; ++run) {
    Random random(5);
    const Cluster empty(RandomNodes(random, 20));
    const auto mix = RandomMix(random, 20);
    Scheduler scheduler(empty, MakeNamed(GetParam(), empty, mix));
    runs.emplace_back();
    for (int i = 0; i < 400; ++i) {
      runs.back().push_back(scheduler.Place(scheduler.Intern(RandomRequest(random))));
    }
  }
  EXPECT_EQ(runs[0], runs[1]);
}

// Kept scores are as good as fresh ones: the node is the first of the best, by asking for all.
TEST_P(FixedPolicy, ChoosesTheFirstOfTheBest) {
  Random random(11);
  const Cluster empty(RandomNodes(random, 40));
  const auto mix = RandomMix(random, 25);
  Scheduler scheduler(empty, MakeNamed(GetParam(), empty, mix));
  const auto fresh = MakeNamed(GetParam(), empty, mix);
  std::vector<Running> running;
  for (int i = 0; i < 500; ++i) {
    // Seldom enough that nobody takes it for coming and going.
    if (i % 25 == 24) {
      std::swap(running[random.Below(running.size())], running.back());
      scheduler.Remove(running.back().task, running.back().at);
      running.pop_back();
    }
    const Request request = RandomRequest(random);
    const int task = scheduler.Intern(request);
    int best = -1;
    int best_score = INT32_MIN;
    for (int node = 0; node < empty.size(); ++node) {
      if (!Fits(scheduler.cluster().node(node), request)) continue;
      const int score = fresh->Score(scheduler.cluster().node(node), node, scheduler.task(task));
      if (score <= best_score) continue;
      best_score = score;
      best = node;
    }
    const auto placed = scheduler.Place(task);
    ASSERT_EQ(placed ? placed->node : -1, best) << "arrival " << i;
    if (placed) running.push_back({task, *placed});
  }
}

// On clusters too large to look at all of them at once, the promise is the same.
TEST(Scheduler, LargeClustersAlsoPlaceWhatFits) {
  Random random(3);
  std::vector<NodeShape> nodes(Scheduler::kAllAtOnce + 500, NodeShape{8000, 65536, 1, 0});
  // The only nodes that can hold the largest are the last.
  for (size_t i = nodes.size() - 3; i < nodes.size(); ++i) nodes[i] = {96000, 393216, 8, 1};
  const Cluster cluster(nodes);
  Scheduler scheduler(cluster, MakeTranchePolicy(cluster));
  const int large = scheduler.Intern({32000, 1024, 8, kGpuMilli, kAnyModel});
  const int small = scheduler.Intern({1000, 1024, 1, 470, kAnyModel});
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(scheduler.Place(large));
    for (int k = 0; k < 900; ++k) ASSERT_TRUE(scheduler.Place(small));
  }
  EXPECT_FALSE(scheduler.Place(large));
  ExpectSane(scheduler.cluster());
}

TEST(Scheduler, FindLeavesOutTheExcepted) {
  const Cluster cluster(std::vector<NodeShape>(2, {16000, 65536, 2, 0}));
  Scheduler scheduler(cluster, MakeBestFitPolicy());
  const int task = scheduler.Intern({1000, 1024, 1, 500, kAnyModel});
  EXPECT_EQ(scheduler.Find(task)->node, 0);
  EXPECT_EQ(scheduler.Find(task, 0)->node, 1);
  EXPECT_EQ(scheduler.Find(task)->node, 0);
  scheduler.SetUp(1, false);
  EXPECT_FALSE(scheduler.Find(task, 0));
}

}  // namespace
}  // namespace tranche::placement
