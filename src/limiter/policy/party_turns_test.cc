#include "limiter/policy/party_turns.h"

#include <gtest/gtest.h>

#include <vector>

namespace tranche::limiter {
namespace {

// What a party's programs do: units of `unit` ns one after the other while `active`, `gap` ns
// apart.
struct Program {
  int64_t unit = kMillisecond;
  int64_t gap = 0;
  bool active = true;
  // Its state: until when it is busy, when it wants the next unit, and what it got.
  int64_t busy_until = 0, next_at = 0, done = 0, waiting_since = 0, longest_wait = 0;
};

class Scene {
 public:
  void Add(uint32_t weight, Program program) {
    turns_.Join(static_cast<uint32_t>(programs_.size()), weight, now_);
    programs_.push_back(program);
  }
  Program& operator[](size_t i) { return programs_[i]; }
  PartyTurns& turns() { return turns_; }

  void RunFor(int64_t length) {
    constexpr int64_t kStep = 20 * kMicrosecond;
    for (const int64_t end = now_ + length; now_ < end; now_ += kStep) {
      for (size_t i = 0; i < programs_.size(); ++i) {
        Program& one = programs_[i];
        const bool open = open_ == static_cast<int32_t>(i);
        const bool wants = one.active && now_ >= one.busy_until && now_ >= one.next_at;
        if (wants && open) {
          if (one.waiting_since != 0) {
            const int64_t waited = now_ - one.waiting_since;
            if (waited > one.longest_wait) one.longest_wait = waited;
            one.waiting_since = 0;
          }
          one.busy_until = now_ + one.unit;
          one.next_at = one.busy_until + one.gap;
          one.done += one.unit;
        } else if (wants && one.waiting_since == 0) {
          one.waiting_since = now_;
        }
        turns_.See(static_cast<uint32_t>(i), {wants && !open, now_ < one.busy_until}, now_);
      }
      open_ = turns_.Decide(now_);
      // With all gates closed nobody comes any more.
      if (open_ == PartyTurns::kNobody) open_ = turns_.Decide(now_);
    }
  }
  double Part(size_t i, int64_t of) const {
    return static_cast<double>(programs_[i].done) / static_cast<double>(of);
  }

 private:
  PartyTurns turns_;
  std::vector<Program> programs_;
  int32_t open_ = PartyTurns::kNobody;
  int64_t now_ = kMillisecond;
};

constexpr int64_t kSecond = 1000 * kMillisecond;

TEST(PartyTurns, OneAloneIsNeverInterrupted) {
  Scene scene;
  scene.Add(300000, {});
  scene.Add(700000, {.active = false});
  scene.RunFor(kSecond);
  EXPECT_GT(scene.Part(0, kSecond), 0.99);
}

TEST(PartyTurns, SharesFollowWhatWasPromised) {
  Scene scene;
  scene.Add(300000, {});
  scene.Add(700000, {.unit = 200 * kMicrosecond});
  scene.RunFor(2 * kSecond);
  EXPECT_NEAR(scene.Part(0, 2 * kSecond), 0.3, 0.01);
  EXPECT_NEAR(scene.Part(1, 2 * kSecond), 0.7, 0.02);
}

TEST(PartyTurns, LongKernelsArePaidForLater) {
  Scene scene;
  scene.Add(500000, {.unit = 60 * kMillisecond});
  scene.Add(500000, {});
  scene.RunFor(3 * kSecond);
  EXPECT_NEAR(scene.Part(0, 3 * kSecond), 0.5, 0.01);
}

TEST(PartyTurns, WhoPausesBetweenLaunchesKeepsItsTurn) {
  Scene scene;
  scene.Add(500000, {.unit = 400 * kMicrosecond, .gap = 50 * kMicrosecond});
  scene.Add(500000, {});
  scene.RunFor(2 * kSecond);
  // Of its half of the time it uses eight parts in nine.
  EXPECT_NEAR(scene.Part(0, 2 * kSecond), 0.5 * 8 / 9, 0.03);
}

TEST(PartyTurns, WhatOneLeavesIsTheOthers) {
  Scene scene;
  scene.Add(500000, {.unit = kMillisecond, .gap = 9 * kMillisecond});
  scene.Add(500000, {});
  scene.RunFor(2 * kSecond);
  EXPECT_GT(scene.Part(1, 2 * kSecond), 0.85);
  EXPECT_GT(scene.Part(0, 2 * kSecond), 0.05);
}

TEST(PartyTurns, AbsenceEarnsNoFlood) {
  Scene scene;
  scene.Add(500000, {});
  scene.Add(500000, {.active = false});
  scene.RunFor(3 * kSecond);
  scene[1].active = true;
  const int64_t before = scene[0].done;
  scene.RunFor(kSecond);
  EXPECT_GT(scene[0].done - before, kSecond * 2 / 5);
  // Nor does having had the GPU alone cost anything.
  EXPECT_LT(scene[1].longest_wait, 3 * kTurn);
}

TEST(PartyTurns, WhoClaimsToBeBusyPaysAndHoldsNobodyUp) {
  Scene scene;
  scene.Add(500000, {.unit = 3600 * kSecond});  // never idle again, or so it says
  scene.Add(500000, {});
  scene.RunFor(2 * kSecond);
  EXPECT_GT(scene.Part(1, 2 * kSecond), 0.8);
  EXPECT_LE(scene[1].longest_wait, kOverlapAfter + 2 * kTurn);
}

TEST(PartyTurns, OneThatLeavesInItsTurnHoldsNobodyUp) {
  Scene scene;
  scene.Add(500000, {});
  scene.Add(500000, {});
  scene.RunFor(100 * kMillisecond);
  scene[0].active = false;
  scene.turns().Leave(0, 101 * kMillisecond);
  const int64_t before = scene[1].done;
  scene.RunFor(100 * kMillisecond);
  EXPECT_GT(scene[1].done - before, 90 * kMillisecond);
}

TEST(PartyTurns, ThreeAndAHundredthStillGetTheirPart) {
  Scene scene;
  scene.Add(330000, {});
  scene.Add(330000, {.unit = 4 * kMillisecond});
  scene.Add(330000, {.unit = 100 * kMicrosecond});
  scene.Add(10000, {});
  scene.RunFor(3 * kSecond);
  EXPECT_NEAR(scene.Part(1, 3 * kSecond), 0.33, 0.02);
  EXPECT_NEAR(scene.Part(3, 3 * kSecond), 0.01, 0.005);
}

}  // namespace
}  // namespace tranche::limiter
