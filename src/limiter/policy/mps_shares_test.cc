#include "limiter/policy/mps_shares.h"

#include <gtest/gtest.h>

#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include "test/limiter_control/measure.h"
#include "test/limiter_control/mps_controller.h"

// The policy for MPS against programs of every shape, on a virtual clock, with the way in which SMs
// are dealt out that we assume (sim/gpu_time/gpu.h).
namespace tranche::limiter {
namespace {

using limiter_control::Measure;
using limiter_control::MpsController;
using limiter_control::Percentile;
using limiter_control::Programs;
using limiter_control::Share;
using limiter_control::Shares;
using limiter_control::SharesOf;
using limiter_control::Who;

sim::GpuTiming Concurrent() {
  sim::GpuTiming timing;
  timing.sharing = sim::Sharing::kConcurrent;
  return timing;
}

struct Held {
  explicit Held(const std::vector<Who>& who)
      : controller(SharesOf(who), 132), world(Programs(who), Concurrent(), {}, 1, &controller) {}
  MpsController controller;
  sim::World world;
};

std::vector<Who> Pair(const std::string& a, const std::string& b, uint32_t percent) {
  return {{a, {percent * 10000}}, {b, {(100 - percent) * 10000}}};
}

TEST(MpsShares, ThoseThatFillTheGpuShareAsTheirWeights) {
  const char* pairs[][2] = {{"g132", "g132"},   {"b1024", "b1024"}, {"b64k", "g132"},
                            {"graph", "b1024"}, {"sync1", "g132"},  {"mix", "g132"},
                            {"fresh", "b64k"},  {"decode", "b64k"}};
  for (const auto& pair : pairs) {
    for (const uint32_t percent : {10u, 30u, 70u}) {
      // Those with a pause after each unit cannot use a large share.
      if (percent == 70 && (pair[0] == std::string("decode"))) continue;
      const std::vector<Who> who = Pair(pair[0], pair[1], percent);
      Held held(who);
      const Shares shares = Measure(held.world, 1, 5);
      EXPECT_LE(shares.RatioError(who), 1) << pair[0] << " " << pair[1] << " " << percent;
      EXPECT_GE(shares.Total(), 98) << pair[0] << " " << pair[1] << " " << percent;
    }
  }
}

// What a kernel takes alone cannot be seen beside others; now and then one is let run alone.
TEST(MpsShares, KernelsThatDifferAreMeasuredAgain) {
  const std::vector<Who> who = Pair("vary", "b1024", 30);
  Held held(who);
  const Shares shares = Measure(held.world, 1, 20);
  EXPECT_LE(shares.RatioError(who), 4);
  EXPECT_GE(shares.Total(), 97);
}

TEST(MpsShares, NobodyIsHeldWhileAllFit) {
  Held held(Pair("half", "half", 30));
  const Shares shares = Measure(held.world, 1, 3);
  EXPECT_GE(shares.Of(0), 99.5);
  EXPECT_GE(shares.Of(1), 99.5);
}

TEST(MpsShares, ASmallOneThatGetsAllItCanUseRestrainsNobody) {
  Held held(Pair("tiny", "g132", 30));
  const Shares shares = Measure(held.world, 1, 3);
  EXPECT_GE(shares.Of(0), 93);
  EXPECT_GE(shares.Of(1), 93);
  Held probed(Pair("g132", "probe", 30));
  EXPECT_GE(Measure(probed.world, 1, 3).Of(0), 99);
  EXPECT_LE(Percentile(probed.world.ends(1), 0.99), 40e3);
}

TEST(MpsShares, AloneIsHeldToItsLimit) {
  for (const char* shape : {"g132", "b1024", "b64k", "graph", "mix"}) {
    for (const uint32_t percent : {25u, 50u, 75u}) {
      Held held({{shape, {.limit = percent * 10000}}});
      EXPECT_NEAR(Measure(held.world, 1, 5).Of(0), percent, 0.5) << shape << percent;
    }
  }
}

// Of another time namespace, or of a broker on the host beside programs on a simulated clock.
TEST(MpsShares, AProcessWhoseClockIsAheadStopsNoMeasuring) {
  const std::vector<Who> who = Pair("b1024", "g132", 30);
  Held held(who);
  for (uint32_t i = 0; i < 2; ++i) {
    held.controller.policy().Adjust(i, 0, 1000000, who[i].share.weight, 0,
                                    held.world.now() + 3000 * kMillisecond);
  }
  EXPECT_LE(Measure(held.world, 0, 3).RatioError(who), 2);
}

TEST(MpsShares, TheOthersGoOnWhenTheOneToBeMeasuredIsGone) {
  auto device = std::make_unique<ComputeDevice>();
  MpsShares policy(device.get());
  for (uint32_t i = 0; i < 3; ++i) policy.Join(i, 0, 1000000, 300000, 0, 1);
  int64_t now = kMillisecond;
  EXPECT_TRUE(policy.Gate(0, kMillisecond, 1000000, true, now).allow);
  EXPECT_FALSE(policy.Gate(1, kMillisecond, 1000000, false, now).allow) << "waits to be alone";
  EXPECT_FALSE(policy.Gate(2, kMillisecond, 1000000, true, now).allow) << "waits for it";
  EXPECT_EQ(policy.Leave(1, now) & 4u, 4u);
  EXPECT_TRUE(policy.Gate(2, kMillisecond, 1000000, true, now).allow);
  // The next one dies without leaving.
  policy.Join(1, 0, 1000000, 300000, 0, now);
  EXPECT_FALSE(policy.Gate(1, kMillisecond, 1000000, false, now).allow);
  EXPECT_EQ(policy.Complete(0, 1, kMillisecond, kMillisecond, now), 0u);
  EXPECT_EQ(policy.Complete(2, 1, kMillisecond, kMillisecond, now), 2u) << "it is alone now";
  EXPECT_FALSE(policy.Gate(0, kMillisecond, 1000000, true, now).allow);
  now = policy.NextDeadline(now);
  for (int tick = 0; tick < 100 && device->solo_plus_1 != 0; ++tick) {
    policy.Tick(now);
    now = policy.NextDeadline(now);
  }
  EXPECT_LE(now, 100 * kMillisecond);
  EXPECT_TRUE(policy.Gate(0, kMillisecond, 1000000, true, now).allow);
}

TEST(MpsShares, TheOneThatIsMeasuredEndsThoughItsTenantHasMoreToDo) {
  auto device = std::make_unique<ComputeDevice>();
  MpsShares policy(device.get());
  for (uint32_t i = 0; i < 2; ++i) policy.Join(i, 0, 1000000, 300000, 0, 1);
  int64_t now = kMillisecond;
  EXPECT_TRUE(policy.Gate(0, kMillisecond, 60000, true, now).allow);
  EXPECT_FALSE(policy.Gate(0, kMillisecond, 60000, false, now).allow) << "beside its own";
  EXPECT_EQ(policy.Complete(0, 1, 60000, 60000, now), 1u) << "still nobody else's turn";
  EXPECT_FALSE(policy.Gate(1, kMillisecond, 60000, true, now).allow);
  EXPECT_TRUE(policy.Gate(0, kMillisecond, 60000, false, now).allow);
  EXPECT_FALSE(policy.Gate(0, kMillisecond, 60000, true, now).allow) << "it would not be alone";
  EXPECT_EQ(policy.Complete(0, 1, 60000, 60000, now), 3u);
  EXPECT_TRUE(policy.Gate(0, kMillisecond, 60000, true, now).allow);
  EXPECT_TRUE(policy.Gate(1, kMillisecond, 60000, true, now).allow);
}

TEST(MpsShares, NothingWrittenByATenantCanHarmAnother) {
  std::mt19937_64 random(7);
  auto device = std::make_unique<ComputeDevice>();
  MpsShares policy(device.get());
  int64_t now = 1000 * kMillisecond;
  for (uint32_t i = 0; i < 4; ++i) policy.Join(i, 100000, 500000, 250000, 0, now);
  auto* bytes = reinterpret_cast<unsigned char*>(device.get());
  for (int step = 0; step < 30000; ++step) {
    if (step % 3 == 0) {
      const size_t at = random() % (sizeof(ComputeDevice) - 8);
      const uint64_t garbage = random() >> random() % 64;
      memcpy(bytes + at, &garbage, sizeof(garbage));
    }
    now += static_cast<int64_t>(random() % kMillisecond);
    const auto i = static_cast<uint32_t>(random() % 70);
    switch (random() % 6) {
      case 0:
        policy.Tick(now);
        break;
      case 1:
        policy.Complete(i, static_cast<uint32_t>(random()), static_cast<int64_t>(random()),
                        static_cast<int64_t>(random()), now);
        break;
      case 2:
        policy.NextDeadline(now);
        break;
      case 3:
        policy.Leave(i, now);
        policy.Join(i, 100000, 500000, static_cast<uint32_t>(random()), 0, now);
        break;
      default:
        policy.Gate(i, static_cast<int64_t>(random() >> random() % 64),
                    static_cast<uint32_t>(random()), random() % 8 != 0, now);
    }
  }
  for (uint32_t i = 0; i < kMostTenants; ++i) policy.Leave(i, now);
  policy.Join(3, 0, 1000000, 1000000, 0, now);
  policy.Tick(now + kLongest);
  EXPECT_TRUE(policy.Gate(3, kMillisecond, 1000000, true, now + kLongest).allow);
}

}  // namespace
}  // namespace tranche::limiter
