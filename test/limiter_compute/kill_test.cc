#include <gtest/gtest.h>

#include <numeric>

#include "scene.h"

// Programs die in the middle of what the limiter does for them, also while they hold the turn and
// the lock of the GPU's table: each comes to the clock in some place of it for the last time.
namespace tranche::limiter_compute {
namespace {

constexpr size_t kDoomed = 6;
const Share kPart = {125000, 1000000, 125000};

class LimiterComputeKill : public testing::TestWithParam<int> {};

TEST_P(LimiterComputeKill, TheOthersGoOnAndTheBooksAreTrue) {
  const char* shapes[] = {"g132", "b1024", "sync1", "graph", "m16", "decode"};
  std::vector<Who> who = {{"g132", kPart}, {"sync1", kPart}};
  Play play;
  play.warm_up_ms = 0;
  play.every_ms = 100;
  play.count = 12;
  for (size_t i = 0; i < kDoomed; ++i) {
    who.push_back({shapes[i], kPart});
    // So that they die one after the other, each within another call than in other scenes.
    const size_t calls = 600 * (i + 1) + static_cast<size_t>(GetParam());
    play.variables.push_back({2 + i, Play::kDieAt, std::to_string(calls)});
  }
  Scene scene;
  const Played played = scene.Run(who, play);
  ASSERT_EQ(played.error, "");
  // Whoever has just died may still be about to give back its lock: at the next look it has.
  for (size_t i = 1; i < played.ledgers.size(); ++i)
    EXPECT_TRUE(played.ledgers[i] == played.machine[i] ||
                played.ledgers[i - 1] == played.machine[i - 1])
        << "after " << i * 100 << " ms: " << played.ledgers[i] << " in the books, "
        << played.machine[i] << " on the GPU";
  EXPECT_EQ(played.ledgers.back(), played.machine.back());
  for (size_t i = 0; i < played.served.size(); ++i) {
    const std::vector<double>& ns = played.served[i];
    // A death costs the rest of what was on the GPU and the 30 ms until a waiter looks for the
    // dead.
    EXPECT_GE(std::accumulate(ns.begin(), ns.end(), 0.0), 30e6) << "from " << i * 100 << " ms on";
    EXPECT_GT(ns[0], 0) << "from " << i * 100 << " ms on";
    EXPECT_GT(ns[1], 0) << "from " << i * 100 << " ms on";
  }
  // At the end they are alone.
  const std::vector<double>& last = played.served.back();
  EXPECT_GE(last[0] + last[1], 95e6);
  EXPECT_NEAR(last[0] / (last[0] + last[1]), 0.5, 0.06);
  EXPECT_EQ(std::accumulate(last.begin() + 2, last.end(), 0.0), 0);
}

INSTANTIATE_TEST_SUITE_P(Places, LimiterComputeKill, testing::Range(0, 6));

}  // namespace
}  // namespace tranche::limiter_compute
