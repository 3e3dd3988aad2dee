#include "decide/serving/replicas.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <limits>

namespace tranche::serving {
namespace {

using fleet::Way;

// 1g to 7g of a GPU of seven slices, as its layouts in halves: enough to be no simple knapsack.
fleet::GpuKind Seven(int64_t price, int64_t count) {
  fleet::GpuKind kind;
  kind.price = price;
  kind.count = count;
  // 1g 2g 3g 4g 7g
  kind.layouts = {{7, 0, 0, 0, 0}, {5, 1, 0, 0, 0}, {3, 2, 0, 0, 0}, {1, 3, 0, 0, 0},
                  {3, 0, 0, 1, 0}, {1, 1, 0, 1, 0}, {0, 0, 1, 1, 0}, {4, 0, 1, 0, 0},
                  {2, 1, 1, 0, 0}, {0, 2, 1, 0, 0}, {0, 0, 2, 0, 0}, {0, 0, 0, 0, 1}};
  return kind;
}

ReplicaWay Slice(int kind, int shape, double per_second, double takes) {
  ReplicaWay way;
  way.way.kind = kind;
  way.way.shape = shape;
  way.per_second = per_second;
  way.takes = takes;
  return way;
}

Service Serving(double per_second, const std::vector<double>& capacities, int kind = 0) {
  static constexpr double kSlices[] = {1, 2, 3, 4, 7};
  Service service;
  service.per_second = per_second;
  for (size_t s = 0; s < capacities.size(); ++s) {
    service.ways.push_back(Slice(kind, static_cast<int>(s), capacities[s], kSlices[s]));
  }
  return service;
}

double Borne(const ReplicasProblem& problem, const ReplicasAnswer& answer, int service) {
  double borne = 0;
  for (const fleet::Used& used : answer.layout.used) {
    for (const fleet::Used::Content& content : used.contents) {
      const ReplicasAnswer::Item& item = answer.items[static_cast<size_t>(content.item_class)];
      if (item.service != service) continue;
      const int way = item.ways[static_cast<size_t>(content.way)];
      borne +=
          static_cast<double>(content.count) *
          problem.services[static_cast<size_t>(service)].ways[static_cast<size_t>(way)].per_second;
    }
  }
  return borne;
}

TEST(Replicas, BearTheTrafficInTheLeastOfGpus) {
  ReplicasProblem problem;
  problem.kinds = {Seven(10, 10)};
  // Two of 2g bear as much as one of 7g, which is the whole GPU.
  problem.services = {Serving(100, {20, 50, 60, 70, 100})};
  const ReplicasAnswer answer = ChooseReplicas(problem);
  EXPECT_TRUE(answer.impossible.empty());
  EXPECT_EQ(answer.cost, 10);
  EXPECT_EQ(answer.lower_bound, 10);
  EXPECT_DOUBLE_EQ(answer.takes, 4);
  EXPECT_DOUBLE_EQ(answer.takes_lower_bound, 4);
  EXPECT_GE(Borne(problem, answer, 0), 100);
}

TEST(Replicas, TheCheaperGpuWinsUntilItIsFull) {
  ReplicasProblem problem;
  problem.kinds = {Seven(10, 1), Seven(25, 10)};
  Service service = Serving(700, {100});
  service.ways.push_back(Slice(1, 0, 120, 1));
  problem.services = {service};
  EXPECT_EQ(ChooseReplicas(problem).cost, 10);
  problem.services[0].per_second = 750;
  const ReplicasAnswer both = ChooseReplicas(problem);
  EXPECT_EQ(both.cost, 25);  // seven of 120: one dear GPU is less than both
  problem.services[0].per_second = 1000;
  EXPECT_EQ(ChooseReplicas(problem).cost, 35);
}

TEST(Replicas, AnEvenSplitNeedsEachToBearItsPart) {
  ReplicasProblem problem;
  problem.kinds = {Seven(10, 10)};
  Service service = Serving(100, {15, 34, 51});
  service.even = true;
  problem.services = {service};
  const ReplicasAnswer answer = ChooseReplicas(problem);
  // Uneven it would be 51 + 34 + 15 = 6 slices; evenly two of 51 or three of 34.
  ASSERT_EQ(answer.items.size(), 1u);
  EXPECT_EQ(answer.cost, 10);
  EXPECT_DOUBLE_EQ(answer.takes, 6);
  const int64_t count = answer.items[0].count;
  for (const fleet::Used& used : answer.layout.used) {
    for (const fleet::Used::Content& content : used.contents) {
      const int way = answer.items[0].ways[static_cast<size_t>(content.way)];
      EXPECT_GE(problem.services[0].ways[static_cast<size_t>(way)].per_second *
                    static_cast<double>(count),
                100);
    }
  }
}

TEST(Replicas, WhatIsGivenIsNotChosen) {
  ReplicasProblem problem;
  problem.kinds = {Seven(10, 10)};
  Service given = Serving(0, {0});
  given.replicas = 9;
  problem.services = {given};
  const ReplicasAnswer answer = ChooseReplicas(problem);
  EXPECT_EQ(answer.cost, 20);
  EXPECT_EQ(answer.layout.LeftOut(), 0);
}

TEST(Replicas, WhatNoWayBearsIsNamedAndTheOthersArePlaced) {
  ReplicasProblem problem;
  problem.kinds = {Seven(10, 1)};
  problem.services = {Serving(10, {0, 0, 0}), Serving(100, {50}), Serving(1000, {50})};
  const ReplicasAnswer answer = ChooseReplicas(problem);
  EXPECT_EQ(answer.impossible, (std::vector<int>{0, 2}));
  EXPECT_EQ(answer.cost, 10);
  EXPECT_GE(Borne(problem, answer, 1), 100);
}

TEST(Replicas, SharesOfAGpuCountByMemoryAndCompute) {
  ReplicasProblem problem;
  fleet::GpuKind kind;
  kind.price = 7;
  kind.count = 5;
  kind.memory = 80;
  problem.kinds = {kind};
  Service service;
  service.per_second = 100;
  ReplicaWay way;
  way.way.use = Way::Use::kShare;
  way.way.share = {30, fleet::kWholeCompute / 4};
  way.per_second = 20;
  service.ways = {way};
  problem.services = {service};
  const ReplicasAnswer answer = ChooseReplicas(problem);  // five of 30 in GPUs of 80: two each
  EXPECT_EQ(answer.cost, 21);
  EXPECT_LE(answer.lower_bound, 21);
  EXPECT_GE(answer.lower_bound, 14);
}

TEST(Replicas, NothingIsNothing) {
  EXPECT_EQ(ChooseReplicas({}).cost, 0);
  ReplicasProblem problem;
  problem.services = {Serving(5, {10})};
  problem.kinds = {Seven(1, 0)};
  EXPECT_EQ(ChooseReplicas(problem).impossible, std::vector<int>{0});
}

// Every number of each way up to what one alone needs.
double BruteCover(double per_second, const std::vector<Offer>& offers) {
  double best = std::numeric_limits<double>::infinity();
  const std::function<void(size_t, double, double)> visit = [&](size_t i, double left,
                                                                double price) {
    if (left <= 1e-9 * per_second) best = std::min(best, price);
    if (left <= 1e-9 * per_second || i == offers.size()) return;
    const double capacity = offers[i].capacity;
    for (int64_t n = 0; n <= offers[i].most; ++n) {
      const double count = static_cast<double>(n);
      if (n > 0 && (count - 1) * capacity >= left) break;
      visit(i + 1, left - count * capacity, price + count * offers[i].price);
    }
  };
  visit(0, per_second, 0);
  return best;
}

RC_GTEST_PROP(Cover, IsAsCheapAsTryingEverything, ()) {
  const size_t ways = *rc::gen::inRange<size_t>(1, 5);
  std::vector<Offer> offers;
  for (size_t i = 0; i < ways; ++i) {
    offers.push_back({static_cast<double>(*rc::gen::inRange(0, 12)),
                      static_cast<double>(*rc::gen::inRange(0, 9)),
                      *rc::gen::inRange<int64_t>(0, 12)});
  }
  const double per_second = *rc::gen::inRange(1, 40);
  const Cover cover = CheapestCover(per_second, offers);
  const double best = BruteCover(per_second, offers);
  RC_ASSERT(cover.counts.empty() == std::isinf(best));
  if (cover.counts.empty()) return;
  double borne = 0, price = 0;
  for (size_t i = 0; i < ways; ++i) {
    RC_ASSERT(cover.counts[i] <= offers[i].most);
    borne += static_cast<double>(cover.counts[i]) * offers[i].capacity;
    price += static_cast<double>(cover.counts[i]) * offers[i].price;
  }
  RC_ASSERT(borne >= per_second - 1e-6);
  RC_ASSERT(std::abs(price - cover.price) < 1e-9);
  RC_ASSERT(std::abs(cover.price - best) < 1e-9);
  RC_ASSERT(std::abs(cover.bound - best) < 1e-9);
}

// Small problems: any number of replicas in any ways, each set laid out as cheaply as can be.
RC_GTEST_PROP(Replicas, AreNeverBelowTheBoundAndBearTheTraffic, ()) {
  ReplicasProblem problem;
  problem.kinds = {Seven(*rc::gen::inRange(5, 12), 50), Seven(*rc::gen::inRange(5, 12), 50)};
  const size_t services = *rc::gen::inRange<size_t>(1, 4);
  for (size_t s = 0; s < services; ++s) {
    Service service;
    service.per_second = *rc::gen::inRange(1, 300);
    service.even = *rc::gen::arbitrary<bool>();
    double capacity = 0;
    for (int k = 0; k < 2; ++k) {
      static constexpr double kSlices[] = {1, 2, 3, 4, 7};
      capacity = 0;
      for (int shape = 0; shape < 5; ++shape) {
        capacity += *rc::gen::inRange(1, 20);
        service.ways.push_back(Slice(k, shape, capacity, kSlices[shape]));
      }
    }
    problem.services.push_back(service);
  }
  ReplicasLimits limits;
  limits.dives = 3;
  const ReplicasAnswer answer = ChooseReplicas(problem, limits);
  RC_ASSERT(answer.impossible.empty());
  RC_ASSERT(answer.lower_bound <= answer.cost);
  RC_ASSERT(answer.takes_lower_bound <= answer.takes + 1e-9);
  RC_ASSERT(answer.layout.LeftOut() == 0);
  for (size_t s = 0; s < services; ++s) {
    RC_ASSERT(Borne(problem, answer, static_cast<int>(s)) >= problem.services[s].per_second - 1e-6);
  }
  // The bound holds against a plain answer: each service by its best single way.
  double plain = 0;
  for (const Service& service : problem.services) {
    double best = std::numeric_limits<double>::infinity();
    for (const ReplicaWay& way : service.ways) {
      const fleet::GpuKind& kind = problem.kinds[static_cast<size_t>(way.way.kind)];
      int most = 0;
      for (const auto& layout : kind.layouts) {
        most = std::max(most, layout[static_cast<size_t>(way.way.shape)]);
      }
      const double count = std::ceil(service.per_second / way.per_second - 1e-9);
      best = std::min(best, std::ceil(count / most) * static_cast<double>(kind.price));
    }
    plain += best;
  }
  RC_ASSERT(static_cast<double>(answer.lower_bound) <= plain + 1e-9);
}

}  // namespace
}  // namespace tranche::serving
