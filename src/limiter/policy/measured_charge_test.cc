#include "limiter/policy/measured_charge.h"

#include <gtest/gtest.h>

namespace tranche::limiter {
namespace {

// A line that the clock has charged 100 us since the last completion, which was comparable.
class MeasuredChargeTest : public testing::Test {
 protected:
  MeasuredChargeTest() {
    line_.weight = static_cast<uint32_t>(kWhole);
    CorrectCharge(&line_, &measured_, 0, true);
    Charge();
  }
  void Charge() {
    line_.charged += 100 * kMicrosecond;
    line_.tokens -= 100 * kMicrosecond;
  }

  TenantLine line_ = {};
  MeasuredCharge measured_ = {};
};

TEST_F(MeasuredChargeTest, WhatTheGpuDidNotWorkIsGivenBack) {
  CorrectCharge(&line_, &measured_, 30 * kMicrosecond, true);
  EXPECT_EQ(line_.charged, 30 * kMicrosecond);
  EXPECT_EQ(line_.tokens, -30 * kMicrosecond);
  EXPECT_EQ(line_.virtual_time, -70 * kMicrosecond);
}

// Otherwise a slice of a weight alone would come before everybody else for ever.
TEST_F(MeasuredChargeTest, NoGuaranteeGrowsWhereNothingWasRequested) {
  CorrectCharge(&line_, &measured_, 30 * kMicrosecond, true);
  EXPECT_EQ(line_.guarantee, 0);
  line_.request = kWhole / 2;
  Charge();
  CorrectCharge(&line_, &measured_, 30 * kMicrosecond, true);
  EXPECT_EQ(line_.guarantee, 70 * kMicrosecond);
}

TEST_F(MeasuredChargeTest, MoreThanTheClockSaysIsTakenOnlyOfWhatWasGivenBack) {
  CorrectCharge(&line_, &measured_, 500 * kMicrosecond, true);
  EXPECT_EQ(line_.charged, 100 * kMicrosecond) << "nothing was given back before";
  Charge();
  CorrectCharge(&line_, &measured_, 40 * kMicrosecond, true);
  Charge();
  CorrectCharge(&line_, &measured_, 500 * kMicrosecond, true);
  EXPECT_EQ(line_.charged, 300 * kMicrosecond);
}

TEST_F(MeasuredChargeTest, TimeStampsThatHoldTheWorkOfOthersSayNothing) {
  line_.shared += 50 * kMicrosecond;
  CorrectCharge(&line_, &measured_, 30 * kMicrosecond, true);
  EXPECT_EQ(line_.charged, 100 * kMicrosecond);
  // From then on nobody disturbed it.
  Charge();
  CorrectCharge(&line_, &measured_, 30 * kMicrosecond, true);
  EXPECT_EQ(line_.charged, 130 * kMicrosecond);
}

TEST_F(MeasuredChargeTest, NeitherDoThoseOfOneThreadAmongSeveral) {
  CorrectCharge(&line_, &measured_, 30 * kMicrosecond, false);
  EXPECT_EQ(line_.charged, 100 * kMicrosecond);
  Charge();
  CorrectCharge(&line_, &measured_, 30 * kMicrosecond, true);
  EXPECT_EQ(line_.charged, 200 * kMicrosecond) << "the last landing was not comparable";
}

}  // namespace
}  // namespace tranche::limiter
