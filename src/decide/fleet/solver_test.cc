#include "decide/fleet/solver.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "decide/fleet/greedy.h"

namespace tranche::fleet {
namespace {

// A100's plain instances 1g 2g 3g 4g 7g: maximal layouts, by how many of each.
const std::vector<std::vector<int>> kSevenSlices = {
    {7, 0, 0, 0, 0}, {5, 1, 0, 0, 0}, {3, 2, 0, 0, 0}, {1, 3, 0, 0, 0}, {3, 0, 1, 0, 0},
    {1, 1, 1, 0, 0}, {4, 0, 1, 0, 0}, {2, 1, 1, 0, 0}, {0, 2, 1, 0, 0}, {0, 0, 2, 0, 0},
    {3, 0, 0, 1, 0}, {1, 1, 0, 1, 0}, {0, 0, 1, 1, 0}, {0, 0, 0, 0, 1}};

Way Instance(int kind, int shape) {
  Way way;
  way.kind = kind;
  way.shape = shape;
  return way;
}
Way Whole(int kind) {
  Way way;
  way.kind = kind;
  way.use = Way::Use::kWhole;
  return way;
}
Way Shared(int kind, int64_t memory, int64_t compute, int circle = 0) {
  Way way;
  way.kind = kind;
  way.use = Way::Use::kShare;
  way.share = {memory, compute};
  way.circle = circle;
  return way;
}
Way InInstance(int kind, int shape, Share share, int circle = 0) {
  Way way;
  way.kind = kind;
  way.use = Way::Use::kInstanceShare;
  way.shape = shape;
  way.share = share;
  way.circle = circle;
  return way;
}

// Every assignment of single items to GPUs, one after the other.
class BruteForce {
 public:
  explicit BruteForce(const Problem& problem) : problem_(problem) {
    for (size_t c = 0; c < problem.classes.size(); ++c) {
      for (int64_t n = 0; n < problem.classes[c].count; ++n) items_.push_back(static_cast<int>(c));
    }
    for (const GpuKind& kind : problem.kinds) left_.push_back(kind.count);
  }
  // {left out, cost}
  std::pair<int64_t, int64_t> Run() {
    Visit(0, 0, 0);
    return best_;
  }

 private:
  // One that is shared.
  struct Inside {
    int shape;
    int circle;
    Share left;
  };
  struct Gpu {
    int kind;
    bool divided;
    Way::Use use;
    int circle;
    Share left;
    std::vector<int> counts;
    std::vector<Inside> inside = {};
  };
  static bool Divides(const Way& way) {
    return way.use == Way::Use::kInstance || way.use == Way::Use::kInstanceShare;
  }

  // Into the instance with that number, or a new one when it is that of none.
  bool Put(const Way& way, Gpu* gpu, size_t instance) const {
    const GpuKind& kind = problem_.kinds[static_cast<size_t>(way.kind)];
    if (way.kind != gpu->kind || Divides(way) != gpu->divided) return false;
    if (!gpu->divided && way.use != gpu->use) return false;
    if (way.use == Way::Use::kWhole) return false;  // only ever alone
    if (way.use == Way::Use::kShare) {
      if (gpu->circle != way.circle || !gpu->left.Holds(way.share)) return false;
      gpu->left -= way.share;
      return true;
    }
    if (way.use == Way::Use::kInstanceShare) {
      const bool is_new = instance == gpu->inside.size();
      if (is_new) {
        gpu->inside.push_back({way.shape, way.circle, kind.rooms[static_cast<size_t>(way.shape)]});
      }
      Inside& one = gpu->inside[instance];
      if (one.shape != way.shape || one.circle != way.circle || !one.left.Holds(way.share)) {
        return false;
      }
      one.left -= way.share;
      if (!is_new) return true;
    }
    ++gpu->counts[static_cast<size_t>(way.shape)];
    return std::any_of(kind.layouts.begin(), kind.layouts.end(), [&](const auto& layout) {
      for (size_t s = 0; s < layout.size(); ++s) {
        if (gpu->counts[s] > layout[s]) return false;
      }
      return true;
    });
  }

  void Visit(size_t i, int64_t left_out, int64_t cost) {
    if (std::pair(left_out, cost) >= best_) return;
    if (i == items_.size()) {
      best_ = {left_out, cost};
      return;
    }
    const ItemClass& item = problem_.classes[static_cast<size_t>(items_[i])];
    for (const Way& way : item.ways) {
      const size_t k = static_cast<size_t>(way.kind);
      const GpuKind& kind = problem_.kinds[k];
      for (size_t g = 0; g < gpus_.size() && item.gpus == 1; ++g) {
        const Gpu before = gpus_[g];
        const size_t instances = way.use == Way::Use::kInstanceShare ? before.inside.size() + 1 : 1;
        for (size_t n = 0; n < instances; ++n) {
          if (Put(way, &gpus_[g], n)) Visit(i + 1, left_out, cost);
          gpus_[g] = before;
        }
      }
      if (left_[k] < item.gpus) continue;
      Gpu fresh{way.kind, Divides(way), way.use, way.circle, kind.whole(), {}};
      if (!kind.layouts.empty()) fresh.counts.assign(kind.layouts.front().size(), 0);
      if (way.use != Way::Use::kWhole && !Put(way, &fresh, 0)) continue;
      left_[k] -= item.gpus;
      gpus_.push_back(fresh);
      Visit(i + 1, left_out, cost + item.gpus * kind.price);
      gpus_.pop_back();
      left_[k] += item.gpus;
    }
    Visit(i + 1, left_out + 1, cost);
  }

  const Problem& problem_;
  std::vector<int> items_;
  std::vector<int64_t> left_;
  std::vector<Gpu> gpus_;
  std::pair<int64_t, int64_t> best_{std::numeric_limits<int64_t>::max(), 0};
};

Problem SmallProblem(std::mt19937_64* random) {
  const auto upto = [&](int n) { return static_cast<int>((*random)() % static_cast<uint64_t>(n)); };
  Problem problem;
  const int kinds = 1 + upto(3);
  for (int k = 0; k < kinds; ++k) {
    GpuKind kind;
    kind.price = 100 + 5 * upto(40);
    kind.count = upto(4);
    if (upto(3) > 0) kind.layouts = kSevenSlices;
    kind.memory = 40 + 40 * upto(2);
    problem.kinds.push_back(std::move(kind));
  }
  int64_t items = 0;
  while (items < 6) {
    ItemClass item;
    item.count = 1 + upto(3);
    items += item.count;
    const int kind_of_item = upto(8);
    const int64_t memory = 5 + upto(50), compute = 50'000 * upto(16);
    const int least = upto(5);
    for (int k = 0; k < kinds; ++k) {
      const GpuKind& kind = problem.kinds[static_cast<size_t>(k)];
      if (kind_of_item == 0) {
        item.gpus = 2;
        item.ways.push_back(Whole(k));
      } else if (kind_of_item < 4 && !kind.layouts.empty()) {
        for (int s = least; s < 5; ++s) item.ways.push_back(Instance(k, s));
        item.ways.push_back(Whole(k));
      } else if (kind_of_item >= 4 && memory <= kind.memory) {
        item.ways.push_back(Shared(k, memory, compute, upto(2)));
      }
    }
    problem.classes.push_back(std::move(item));
  }
  return problem;
}

TEST(FleetSolver, IsAsGoodAsTryingEverything) {
  std::mt19937_64 random(7);
  for (int i = 0; i < 1000; ++i) {
    const Problem problem = SmallProblem(&random);
    const Answer answer = Solve(problem);
    ASSERT_EQ(WhatIsWrong(problem, answer), "") << "case " << i;
    const auto [left_out, cost] = BruteForce(problem).Run();
    ASSERT_EQ(answer.LeftOut(), left_out) << "case " << i;
    ASSERT_EQ(answer.cost, cost) << "case " << i;
    ASSERT_LE(answer.lower_bound, cost) << "case " << i;
  }
}

// A100-80's instances, as rooms for those who share one.
const std::vector<Share> kRooms = {{10, kWholeCompute / 7, 6},
                                   {20, kWholeCompute / 7 * 2, 13},
                                   {40, kWholeCompute / 7 * 3, 20},
                                   {40, kWholeCompute / 7 * 4, 27},
                                   {80, kWholeCompute, 48}};

// Some of the tenants may share an instance as well, which makes room beside those who need one of
// their own.
Problem WithSharedInstances(std::mt19937_64* random) {
  Problem problem = SmallProblem(random);
  for (GpuKind& kind : problem.kinds) {
    if (!kind.layouts.empty()) kind.rooms = kRooms;
  }
  for (ItemClass& item : problem.classes) {
    const std::vector<Way> ways = item.ways;
    for (const Way& way : ways) {
      const GpuKind& kind = problem.kinds[static_cast<size_t>(way.kind)];
      if (way.use != Way::Use::kShare || kind.layouts.empty() || (*random)() % 3 == 0) continue;
      for (int s = 0; s < 4; ++s) {
        Share share = way.share;
        share.clients = 1;
        if (!kRooms[static_cast<size_t>(s)].Holds(share)) continue;
        item.ways.push_back(InInstance(way.kind, s, share, way.circle));
      }
    }
  }
  return problem;
}

// Putting them together beforehand is no search over all ways to do so, so an answer may cost more
// than it could. How often, is held here.
TEST(FleetSolver, SharedInstancesAreNearlyAsGoodAsTryingEverything) {
  std::mt19937_64 random(17);
  int as_good = 0, better_for_it = 0;
  constexpr int kCases = 300;
  for (int i = 0; i < kCases; ++i) {
    const Problem problem = WithSharedInstances(&random);
    const Answer answer = Solve(problem);
    ASSERT_EQ(WhatIsWrong(problem, answer), "") << "case " << i;
    const auto [left_out, cost] = BruteForce(problem).Run();
    ASSERT_GE(answer.LeftOut(), left_out) << "case " << i;
    if (answer.LeftOut() == left_out) {
      ASSERT_GE(answer.cost, cost) << "case " << i;
      ASSERT_LE(answer.lower_bound, cost) << "case " << i;
    }
    as_good += answer.LeftOut() == left_out && answer.cost == cost ? 1 : 0;
    Problem without = problem;
    for (ItemClass& item : without.classes) {
      item.ways.erase(
          std::remove_if(item.ways.begin(), item.ways.end(),
                         [](const Way& way) { return way.use == Way::Use::kInstanceShare; }),
          item.ways.end());
    }
    const Answer plain = Solve(without);
    ASSERT_LE(answer.LeftOut(), plain.LeftOut()) << "case " << i;
    if (answer.LeftOut() == plain.LeftOut()) {
      ASSERT_LE(answer.cost, plain.cost) << "case " << i;
    }
    better_for_it += answer.LeftOut() < plain.LeftOut() || answer.cost < plain.cost ? 1 : 0;
  }
  EXPECT_GE(as_good, kCases * 98 / 100);
  EXPECT_GE(better_for_it, kCases / 20);
}

// One needs 4g for itself; eight small ones fit beside it, in the 3g, and would need a second GPU
// otherwise.
TEST(FleetSolver, TenantsOfOneInstanceSitBesideOneThatNeedsItsOwn) {
  Problem problem;
  problem.kinds.push_back({100, 2, kSevenSlices, 80, kWholeCompute, -1, 48, kRooms});
  problem.classes.push_back({1, 1, {Instance(0, 3), Instance(0, 4)}});
  const Share share{5, 0, 1};
  problem.classes.push_back(
      {8, 1, {Shared(0, 5, 0), InInstance(0, 1, share), InInstance(0, 2, share)}});
  Answer answer = Solve(problem);
  EXPECT_EQ(WhatIsWrong(problem, answer), "");
  EXPECT_EQ(answer.LeftOut(), 0);
  EXPECT_EQ(answer.cost, 100);
  EXPECT_EQ(answer.lower_bound, 100);
  // By nobody's trust in another they would be in instances of their own, of which there are three.
  problem.classes.pop_back();
  for (int c = 0; c < 8; ++c) problem.classes.push_back({1, 1, {InInstance(0, 0, share, c)}});
  answer = Solve(problem);
  EXPECT_EQ(WhatIsWrong(problem, answer), "");
  EXPECT_EQ(answer.LeftOut(), 0);
  EXPECT_EQ(answer.cost, 200);
}

TEST(FleetSolver, NoMoreClientsThanAServerServes) {
  Problem problem;
  problem.kinds.push_back({100, 8, kSevenSlices, 80, kWholeCompute, -1, 3, kRooms});
  Way way = Shared(0, 1, 0);
  way.share.clients = 1;
  problem.classes.push_back({7, 1, {way}});
  Answer answer = Solve(problem);
  EXPECT_EQ(WhatIsWrong(problem, answer), "");
  EXPECT_EQ(answer.cost, 300);
  problem.classes[0].count = 70;  // too many for the linear program over loads
  problem.kinds[0].count = 80;
  answer = Solve(problem);
  EXPECT_EQ(WhatIsWrong(problem, answer), "");
  EXPECT_EQ(answer.cost, 2400);
  // Of an instance likewise: a 1g serves six.
  problem.classes[0].ways = {InInstance(0, 0, {1, 0, 1})};
  problem.classes[0].count = 43;
  answer = Solve(problem);
  EXPECT_EQ(WhatIsWrong(problem, answer), "");
  EXPECT_EQ(answer.cost, 200);
}

TEST(FleetSolver, IsNeverWorseThanFirstFit) {
  std::mt19937_64 random(11);
  for (int i = 0; i < 100; ++i) {
    Problem problem = SmallProblem(&random);
    for (GpuKind& kind : problem.kinds) kind.count *= 10;
    for (ItemClass& item : problem.classes) item.count *= 7;
    const Answer greedy = FirstFitDecreasing(problem);
    ASSERT_EQ(WhatIsWrong(problem, greedy), "") << "case " << i;
    // Also when it has no time for anything of its own.
    for (const int64_t steps : {0, 2000}) {
      const Answer answer = Solve(problem, {steps, 1});
      ASSERT_EQ(WhatIsWrong(problem, answer), "") << "case " << i;
      ASSERT_LE(answer.LeftOut(), greedy.LeftOut()) << "case " << i;
      if (answer.LeftOut() == greedy.LeftOut()) {
        ASSERT_LE(answer.cost, greedy.cost) << "case " << i;
      }
    }
  }
}

TEST(FleetSolver, TheSameProblemHasTheSameAnswer) {
  std::mt19937_64 random(3);
  Problem problem = SmallProblem(&random);
  for (GpuKind& kind : problem.kinds) kind.count = 50;
  for (ItemClass& item : problem.classes) item.count *= 9;
  const Answer once = Solve(problem), again = Solve(problem);
  EXPECT_EQ(once.used, again.used);
  EXPECT_EQ(once.lower_bound, again.lower_bound);
}

// Eight H100 hold eight 4g and eight 3g, but not sixteen 4g.
// The same two GPUs at two prices, of which only some may take the lower.
TEST(FleetSolver, APoolIsCountedOnce) {
  Problem problem;
  problem.kinds.push_back({100, 2, {}, 80, kWholeCompute, 7});
  problem.kinds.push_back({40, 2, {}, 80, kWholeCompute, 7});
  const auto shares = [](int kind) {
    Way way;
    way.kind = kind;
    way.use = Way::Use::kShare;
    way.share.memory = 40;
    return way;
  };
  problem.classes.push_back({1, 1, {shares(0)}});
  problem.classes.push_back({2, 1, {shares(0), shares(1)}});
  Answer answer = Solve(problem);
  EXPECT_EQ(WhatIsWrong(problem, answer), "");
  EXPECT_EQ(answer.LeftOut(), 0);
  EXPECT_EQ(answer.cost, 140);
  EXPECT_EQ(answer.lower_bound, 140);
  // All that two GPUs hold, and one more: the one that the dearer terms are for.
  problem.classes[1].count = 4;
  answer = Solve(problem);
  EXPECT_EQ(WhatIsWrong(problem, answer), "");
  EXPECT_EQ(answer.left_out, (std::vector<int64_t>{1, 0}));
  EXPECT_EQ(answer.cost, 80);
}

TEST(FleetSolver, SlotsNotCounts) {
  Problem problem;
  problem.kinds.push_back({100, 8, kSevenSlices, 0, kWholeCompute});
  problem.classes.push_back({8, 1, {Instance(0, 3), Instance(0, 4)}});
  problem.classes.push_back({8, 1, {Instance(0, 2), Instance(0, 3)}});
  Answer answer = Solve(problem);
  EXPECT_EQ(answer.LeftOut(), 0);
  EXPECT_EQ(answer.cost, 800);
  problem.classes[0].count = 16;
  problem.classes.pop_back();
  answer = Solve(problem);
  EXPECT_EQ(answer.LeftOut(), 8);
  EXPECT_EQ(answer.lower_bound, 800);
}

TEST(FleetSolver, TenantsWhoMayNotShareDoNot) {
  Problem problem;
  problem.kinds.push_back({100, 8, {}, 80, kWholeCompute});
  problem.classes.push_back({2, 1, {Shared(0, 30, 0, 1)}});
  problem.classes.push_back({2, 1, {Shared(0, 10, 0, 2)}});
  EXPECT_EQ(Solve(problem).cost, 200);
  problem.classes[1].ways[0].circle = 1;
  EXPECT_EQ(Solve(problem).cost, 100);
}

TEST(FleetSolver, NothingWantedCostsNothing) {
  EXPECT_EQ(Solve({}).cost, 0);
  Problem problem;
  problem.kinds.push_back({100, 1, {}, 80, kWholeCompute});
  problem.classes.push_back({3, 1, {}});
  const Answer answer = Solve(problem);
  EXPECT_EQ(answer.LeftOut(), 3);
  EXPECT_TRUE(answer.used.empty());
}

}  // namespace
}  // namespace tranche::fleet
