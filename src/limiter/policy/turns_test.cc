#include "limiter/policy/turns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "test/limiter_control/measure.h"

// The policy against programs of every shape, on a virtual clock. All figures are of simulated
// hardware; thresholds leave a margin over what was seen.
namespace tranche::limiter {
namespace {

using limiter_control::Conditions;
using limiter_control::Held;
using limiter_control::Measure;
using limiter_control::Percentile;
using limiter_control::Share;
using limiter_control::Shares;
using limiter_control::TurnsOptions;
using limiter_control::Who;

constexpr int64_t kSecond = 1000 * kMillisecond;

std::vector<Who> Pair(const std::string& a, const std::string& b, uint32_t percent) {
  return {{a, {percent * 10000}}, {b, {(100 - percent) * 10000}}};
}

Conditions Seed(uint32_t seed) {
  Conditions setup;
  setup.seed = seed;
  return setup;
}

double Alone(const std::string& shape, int seconds = 2) {
  Held held({{shape, {}}});
  return Measure(held.world, 1, seconds).Of(0);
}

class EveryShape : public testing::TestWithParam<const char*> {
 protected:
  std::string shape() const { return GetParam(); }
  // A unit cannot be divided: of 5 s, this part in points.
  double Granularity() const { return shape() == "giant" ? 100 * 0.2 / 5 : 0; }
  // Of those that wait for each kernel, less: their host is slower than the GPU.
  double LeastWork() const {
    if (sim::Shape(shape())->async) return 98;
    return shape() == "sync50" ? 80 : 96.5;
  }
};
INSTANTIATE_TEST_SUITE_P(Turns, EveryShape,
                         testing::Values("g132", "b1024", "b64k", "tiny", "graph", "giant", "sync1",
                                         "sync50", "decode", "m16", "mix", "vary", "liar", "fresh"),
                         [](const auto& given) { return std::string(given.param); });

TEST_P(EveryShape, SharesAsItsWeights) {
  for (const uint32_t percent : {5u, 30u, 50u}) {
    const std::vector<Who> who = Pair(shape(), shape(), percent);
    Held held(who);
    const Shares shares = Measure(held.world, 1, 5);
    EXPECT_LE(shares.RatioError(who), 0.5 + Granularity()) << percent;
    EXPECT_LE(shares.Spread(), Granularity() > 0 ? 10 : 1) << percent;
    EXPECT_GE(shares.Total(), LeastWork()) << percent;
  }
}

TEST_P(EveryShape, AskingForEachKernelIsAsExactAsLeases) {
  const std::vector<Who> who = Pair(shape(), shape(), 30);
  Held held(who, {}, {.lease = 0});
  const Shares shares = Measure(held.world, 1, 5);
  EXPECT_LE(shares.RatioError(who), 0.5 + Granularity());
  EXPECT_GE(shares.Total(), LeastWork());
}

TEST_P(EveryShape, EightShareAsTheirWeights) {
  const uint32_t weights[] = {50000, 50000, 50000, 50000, 100000, 150000, 200000, 350000};
  std::vector<Who> who;
  for (const uint32_t weight : weights) who.push_back({shape(), {weight}});
  Held held(who);
  const Shares shares = Measure(held.world, 1, 5);
  EXPECT_LE(shares.RatioError(who), 0.5 + Granularity());
  EXPECT_GE(shares.Total(), LeastWork());
}

TEST_P(EveryShape, AloneIsHeldToItsLimit) {
  const double demand = Alone(shape());
  for (const uint32_t percent : {5u, 25u, 50u, 75u, 95u}) {
    Held held({{shape(), {.limit = percent * 10000}}});
    // A unit of 200 ms under 5 % comes every 4 s.
    const Shares shares = Measure(held.world, 1, Granularity() > 0 ? 60 : 5);
    const double wanted = std::min<double>(percent, demand);
    // After 20 ms of bucket, 5 % needs a bit to show.
    double tolerance = Granularity() > 0 ? 1 : 0.5;
    // 20 ms at once, of 5 s.
    if (shape() == "liar") tolerance = 2;
    EXPECT_NEAR(shares.Of(0), wanted, tolerance) << percent;
  }
}

TEST_P(EveryShape, UnlimitedAloneLosesNothing) {
  sim::NoController none;
  sim::World free({*sim::Shape(shape())}, {}, {}, 1, &none);
  const double all = Measure(free, 1, 2).Of(0);
  // A marker of 1 us after each 50 us is what it costs most.
  EXPECT_GE(Alone(shape()), (shape() == "sync50" ? 0.98 : 0.99) * all);
}

TEST_P(EveryShape, NeighbourOfAnotherShapeChangesNoShare) {
  const std::vector<Who> who = Pair(shape(), "b1024", 30);
  Held held(who);
  const Shares shares = Measure(held.world, 1, 5);
  EXPECT_LE(shares.RatioError(who), 0.5 + Granularity());
  EXPECT_GE(shares.Total(), shape() == "sync50" ? 90 : 97.5);
}

TEST(Turns, LimitsOfTrainersHoldToo) {
  for (const char* shape : {"train", "trainov", "burst", "infer"}) {
    for (const uint32_t percent : {5u, 25u, 50u, 75u}) {
      Held held({{shape, {.limit = percent * 10000}}});
      const Shares shares = Measure(held.world, 2, 10);
      if (shape == std::string("train") || shape == std::string("trainov")) {
        EXPECT_NEAR(shares.Of(0), percent, 0.5) << shape << percent;
      } else {
        EXPECT_LE(shares.Of(0), percent + 0.5) << shape << percent;
      }
    }
  }
}

TEST(Turns, TinyKernelsUnderHalfDoNotStarveByHysteresis) {
  Held held({{"tiny", {.limit = 500000}}});
  EXPECT_NEAR(Measure(held.world, 1, 5).Of(0), 50, 0.3);
  Held other({{"b1024", {.limit = 750000}}});
  EXPECT_NEAR(Measure(other.world, 1, 5).Of(0), 75, 0.3);
}

TEST(Turns, DeadlinesAreComputedAgainAtEachSettlement) {
  Held held({{"giant", {.limit = 950000}}});
  EXPECT_NEAR(Measure(held.world, 1, 20).Of(0), 95, 1);
}

TEST(Turns, UnmarkedTailsAreSeen) {
  for (uint32_t seed = 1; seed <= 3; ++seed) {
    Held held({{"trainov", {.limit = 250000}}}, Seed(seed));
    EXPECT_NEAR(Measure(held.world, 1, 5).Of(0), 25, 0.5);
  }
}

TEST(Turns, CopiesAreNotBilled) {
  Held held({{"train", {.limit = 750000}}});
  EXPECT_NEAR(Measure(held.world, 1, 5).Of(0), 75, 0.5);
  Held billed({{"train", {.limit = 750000}}}, {}, {.wait_for_copies = false});
  EXPECT_LE(Measure(billed.world, 1, 5).Of(0), 72) << "else this test shows nothing";
}

// At most one unmeasured unit in flight: the first of 200 ms runs before anybody knows.
TEST(Turns, UnknownLongKernelsAreHeldFromTheStart) {
  Held held({{"giant", {.limit = 250000}}});
  EXPECT_LE(Measure(held.world, 0, 5).Of(0), 29);
}

TEST(Turns, TurnIsKeptOverShortPauses) {
  const std::vector<Who> who = Pair("decode", "b1024", 30);
  Held held(who);
  EXPECT_LE(Measure(held.world, 1, 10).RatioError(who), 1);
}

TEST(Turns, LagIsKeptAcrossPauses) {
  const std::vector<Who> who = Pair("decode", "giant", 80);
  Held held(who);
  const Shares shares = Measure(held.world, 1, 40);
  EXPECT_GE(shares.Of(0), 73);
  EXPECT_LE(shares.RatioError(who), 1);
}

TEST(Turns, TrainerKeepsItsShareBesideLongKernels) {
  const std::vector<Who> who = Pair("train", "giant", 70);
  Held held(who);
  EXPECT_LE(Measure(held.world, 1, 40).RatioError(who), 2);
}

// Launched ahead, the GPU has something to do while the host computes.
TEST(Turns, PausesOfTheHostAreBridged) {
  for (const char* other : {"trainov", "g132"}) {
    const std::vector<Who> who = Pair("trainov", other, 50);
    Held held(who);
    const Shares shares = Measure(held.world, 1, 10);
    EXPECT_GE(shares.Total(), 96.5) << other;
    EXPECT_LE(shares.RatioError(who), 1) << other;
  }
}

TEST(Turns, ReturningOwnerStartsSoon) {
  for (const char* other : {"g132", "b1024"}) {
    Held held(Pair("infer", other, 50));
    const Shares shares = Measure(held.world, 1, 20);
    EXPECT_GE(held.world.starts(0).size(), 300u);
    EXPECT_LE(Percentile(held.world.starts(0), 0.99), 2.5e6) << other;
    EXPECT_GE(shares.Total(), 98.5) << "spare time is used";
  }
}

TEST(Turns, ReturningAfterALongPauseStartsSoonToo) {
  sim::Program rare = *sim::Shape("infer");
  rare.script[0] = {.act = sim::Act::kIdle, .duration = 400 * kMillisecond};
  limiter_control::TurnsController controller({{500000}, {500000}}, {});
  sim::World world({rare, *sim::Shape("g132")}, {}, {}, 1, &controller);
  world.RunUntil(60 * kSecond);
  EXPECT_GE(world.starts(0).size(), 100u);
  EXPECT_LE(Percentile(world.starts(0), 0.99), 2.5e6);
}

TEST(Turns, ProbeIsServedBesideASaturatedNeighbour) {
  Held held(Pair("probe", "b1024", 20));
  const Shares shares = Measure(held.world, 1, 5);
  EXPECT_LE(Percentile(held.world.ends(0), 0.99), 2.5e6);
  EXPECT_NEAR(shares.Of(0), 2, 0.1) << "every request is served";
  EXPECT_GE(shares.Of(1), 88);
}

TEST(Turns, SlowWakesDoNotChangeTheRatio) {
  Conditions slow;
  slow.host.wake_from = 50000;
  slow.host.wake_to = 300000;
  for (const char* shape : {"g132", "b1024", "graph", "sync1"}) {
    const std::vector<Who> who = Pair(shape, shape, 30);
    Held held(who, slow);
    EXPECT_LE(Measure(held.world, 1, 5).RatioError(who), 0.5) << shape;
  }
}

TEST(Turns, TheOtherGoesOnWhenOneDies) {
  for (int64_t step = 0; step < 60; ++step) {
    const int64_t at = 500 * kMillisecond + step * 211 * kMicrosecond;
    Held held(Pair("g132", "g132", 70));
    held.world.KillAt(0, at);
    held.world.RunUntil(at + 12 * kMillisecond);
    const double before = held.world.gpu().served(1);
    held.world.RunUntil(at + 112 * kMillisecond);
    EXPECT_GE(held.world.gpu().served(1) - before, 98 * kMillisecond) << step;
  }
}

TEST(Turns, LateMarkersAreCalibratedAway) {
  for (const int64_t late : {1000, 40000, 100000}) {
    Conditions setup;
    setup.host.marker_seen_from = late;
    setup.host.marker_seen_to = late + 4000;
    for (const char* shape : {"g132", "b1024", "sync1", "sync50"}) {
      Held held({{shape, {.limit = 500000}}}, setup);
      EXPECT_NEAR(Measure(held.world, 1, 5).Of(0), 50, 0.5) << shape << late;
    }
  }
}

TEST(Turns, DearSwitchesMakeTurnsLong) {
  Conditions dear;
  dear.gpu.dry_switch = 300000;
  dear.gpu.preempting_switch = 400000;
  const std::vector<Who> who = Pair("b1024", "b1024", 30);
  Held held(who, dear);
  const Shares shares = Measure(held.world, 1, 5);
  TurnsOptions told;
  told.switch_cost = 300000;
  Held longer(who, dear, told);
  const Shares of_longer = Measure(longer.world, 1, 5);
  EXPECT_LE(of_longer.RatioError(who), 0.5);
  EXPECT_GE(of_longer.Total(), shares.Total() + 1);
}

TEST(Turns, WakesAndMarkersAreFew) {
  Held held(Pair("b1024", "b1024", 30));
  Measure(held.world, 0, 5);
  EXPECT_LE(held.world.wakes(), 5 * 1200u);
  EXPECT_LE(held.world.markers(), 5 * 3000u);
}

TEST(Turns, RequestsAreMetWhateverTheWeights) {
  // request, of weight 1 beside weight 3
  Held held({{"g132", {100000, 1000000, 400000}}, {"g132", {300000, 1000000, 300000}}});
  const Shares shares = Measure(held.world, 1, 10);
  EXPECT_GE(shares.Of(0), 39);
  EXPECT_GE(shares.Total(), 98);
  Held three({{"g132", {333333, 1000000, 200000}},
              {"g132", {333333, 1000000, 300000}},
              {"g132", {333333, 1000000, 500000}}});
  const Shares of_three = Measure(three.world, 1, 10);
  EXPECT_GE(of_three.Of(0), 19);
  EXPECT_GE(of_three.Of(1), 29);
  EXPECT_GE(of_three.Of(2), 48);
}

TEST(Turns, PriorityTakesTheSpareButNoGuarantee) {
  Held held({{"g132", {300000, 1000000, 300000, 1}}, {"g132", {500000, 1000000, 500000, 0}}});
  const Shares shares = Measure(held.world, 1, 10);
  EXPECT_GE(shares.Of(1), 49);
  EXPECT_GE(shares.Of(0), 47) << "30 and the 20 that are nobody's";
  EXPECT_GE(shares.Total(), 97.5);
}

TEST(Turns, SpareTimeOfACappedTenantGoesToTheOther) {
  Held held({{"g132", {500000, 250000}}, {"g132", {500000}}});
  const Shares shares = Measure(held.world, 1, 10);
  EXPECT_NEAR(shares.Of(0), 25, 0.5);
  EXPECT_GE(shares.Of(1), 0.99 * (100 - shares.Of(0)));
  Held both({{"g132", {500000, 300000}}, {"g132", {500000, 400000}}});
  const Shares capped = Measure(both.world, 1, 10);
  EXPECT_NEAR(capped.Of(0), 30, 0.5);
  EXPECT_NEAR(capped.Of(1), 40, 0.5);
}

TEST(Turns, SpareTimeOfAnIdleOneIsUsed) {
  Held held({{"infer", {500000, 1000000, 500000}}, {"g132", {500000}}});
  EXPECT_GE(Measure(held.world, 1, 20).Total(), 98.8);
}

TEST(Turns, NobodyWaitsForAKernelThatNeverEnds) {
  for (const uint32_t percent : {20u, 50u, 80u}) {
    Held held(Pair("g132", "persistent", percent));
    const double share = Measure(held.world, 1, 10).Of(0);
    // More than its slice the driver gives nobody.
    EXPECT_NEAR(share, std::min(percent, 46u), 5) << percent;
  }
}

TEST(Turns, AdversariesGainNothing) {
  for (const char* adversary : {"m16", "giant", "liar", "tiny", "fresh", "vary"}) {
    for (const char* victim : {"sync1", "decode"}) {
      const std::vector<Who> who = Pair(victim, adversary, 50);
      Held held(who);
      EXPECT_LE(Measure(held.world, 1, 8).RatioError(who), 2) << victim << adversary;
    }
  }
}

// What was charged, what stood idle and what went into switching are the wall, whatever the mix.
TEST(Turns, ChargesAddUpToTheWall) {
  const char* shapes[] = {"g132", "b1024", "tiny", "sync1", "sync50", "decode", "mix",
                          "vary", "fresh", "m16",  "infer", "train",  "graph",  "probe"};
  std::mt19937 random(20261121);
  for (int round = 0; round < 16; ++round) {
    std::vector<Who> who;
    std::string names;
    for (uint32_t n = 1 + random() % 4; n > 0; --n) {
      const char* shape = shapes[random() % std::size(shapes)];
      Share share{50000 + static_cast<uint32_t>(random() % 500000)};
      if (random() % 3 == 0) share.limit = 50000 + static_cast<uint32_t>(random() % 900000);
      who.push_back({shape, share});
      names += std::string(shape) + " ";
    }
    Held held(who, Seed(static_cast<uint32_t>(round) + 1));
    held.world.RunUntil(2 * kSecond);
    held.controller.turns().Settle(2 * kSecond);
    int64_t charged = 0;
    for (const TenantLine& t : held.controller.device().tenants) charged += t.charged;
    const int64_t busy = held.world.gpu().busy(), switching = held.world.gpu().switching();
    const double margin = 0.005 * 2 * kSecond;
    EXPECT_GE(double(charged), double(busy) - margin) << names;
    EXPECT_LE(double(charged), double(busy + switching) + margin) << names;
  }
}

TEST(Turns, NothingWrittenByATenantCanHarmAnother) {
  std::mt19937_64 random(7);
  auto device = std::make_unique<ComputeDevice>();
  Turns turns(device.get());
  int64_t now = kSecond;
  for (uint32_t i = 0; i < 4; ++i) turns.Join(i, 100000, 500000, 250000, 0, now);
  auto* bytes = reinterpret_cast<unsigned char*>(device.get());
  for (int step = 0; step < 30000; ++step) {
    if (step % 3 == 0) {
      const size_t at = random() % (sizeof(ComputeDevice) - 8);
      const uint64_t garbage = random() >> random() % 64;
      memcpy(bytes + at, &garbage, sizeof(garbage));
    }
    if (step % 1000 == 0)
      for (size_t at = 0; at + 8 <= sizeof(ComputeDevice); at += 8) {
        const uint64_t garbage = random();
        memcpy(bytes + at, &garbage, sizeof(garbage));
      }
    now += static_cast<int64_t>(random() % kMillisecond);
    const auto i = static_cast<uint32_t>(random() % 70);
    switch (random() % 8) {
      case 0:
        turns.Tick(now);
        break;
      case 1:
        turns.Complete(i, static_cast<uint32_t>(random()), static_cast<int64_t>(random()), now,
                       static_cast<int64_t>(random()), Seen::kByWaiting);
        break;
      case 2:
        turns.Adjust(i, static_cast<uint32_t>(random()), static_cast<uint32_t>(random()),
                     static_cast<uint32_t>(random()), static_cast<int32_t>(random()), now);
        break;
      case 3:
        turns.NextDeadline(now);
        break;
      case 4:
        turns.Leave(i, now);
        break;
      case 5:
        turns.Join(i, 100000, 500000, 250000, 0, now);
        break;
      default:
        turns.Gate(i, static_cast<int64_t>(random() >> random() % 64), now);
    }
    EXPECT_LT(turns.holder(), static_cast<int32_t>(kMostTenants));
  }
  // And it recovers: a fresh line gets through.
  turns.Leave(3, now);
  for (uint32_t i = 0; i < kMostTenants; ++i) turns.Leave(i, now);
  turns.Join(3, 0, 1000000, 1000000, 0, now);
  EXPECT_TRUE(turns.Gate(3, kMillisecond, now).allow);
}

TEST(Turns, AllThreadsOfATenantAreWoken) {
  auto device = std::make_unique<ComputeDevice>();
  Turns turns(device.get());
  turns.Join(0, 0, 1000000, 500000, 0, 1);
  turns.Join(1, 0, 1000000, 500000, 0, 1);
  // The other was here a moment ago, so that little may be in flight.
  EXPECT_TRUE(turns.Gate(1, kMillisecond, 1000).allow);
  turns.Complete(1, 1, kMillisecond, 1001000);
  const int64_t now = 2 * kMillisecond;
  EXPECT_TRUE(turns.Gate(0, kMillisecond, now).allow);
  EXPECT_TRUE(turns.Gate(0, kMillisecond, now).allow);
  EXPECT_EQ(turns.Gate(0, kMillisecond, now).reason, WaitReason::kInFlightBound);
  // One of them completes: those that sleep are woken, and one more thread is let in meanwhile.
  EXPECT_EQ(turns.Complete(0, 1, kMillisecond, now + kMillisecond), 1u);
  EXPECT_TRUE(turns.Gate(0, kMillisecond, now + kMillisecond).allow);
  EXPECT_FALSE(turns.Gate(0, kMillisecond, now + kMillisecond).allow);
  EXPECT_FALSE(turns.Gate(0, kMillisecond, now + kMillisecond).allow);
  EXPECT_EQ(turns.Complete(0, 1, kMillisecond, now + 2 * kMillisecond), 1u);
  EXPECT_TRUE(turns.Gate(0, kMillisecond, now + 2 * kMillisecond).allow);
}

TEST(Turns, LimitChangesAtOnce) {
  Held held({{"b1024", {.limit = 800000}}});
  EXPECT_NEAR(Measure(held.world, 1, 3).Of(0), 80, 0.5);
  held.controller.turns().Adjust(0, 0, 200000, 1000000, 0, held.world.now());
  EXPECT_NEAR(Measure(held.world, 1, 5).Of(0), 20, 0.5);
}

// Of another time namespace, or of a broker on the host beside programs on a simulated clock.
TEST(Turns, AProcessWhoseClockIsAheadStopsNoAccount) {
  Held held({{"b1024", {.limit = 800000}}});
  held.controller.turns().Adjust(0, 0, 200000, 1000000, 0, held.world.now() + 3 * kSecond);
  EXPECT_NEAR(Measure(held.world, 1, 2).Of(0), 20, 1);
}

TEST(Turns, WeightsChangeAtOnce) {
  const std::vector<Who> after = Pair("b1024", "g132", 80);
  Held held(Pair("b1024", "g132", 20));
  Measure(held.world, 0, 2);
  held.controller.turns().Adjust(0, 0, 1000000, 800000, 0, held.world.now());
  held.controller.turns().Adjust(1, 0, 1000000, 200000, 0, held.world.now());
  EXPECT_LE(Measure(held.world, 1, 5).RatioError(after), 0.5);
}

}  // namespace
}  // namespace tranche::limiter
