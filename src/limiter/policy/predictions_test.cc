#include "limiter/policy/predictions.h"

#include <gtest/gtest.h>

#include <memory>
#include <random>

namespace tranche::limiter {
namespace {

class PredictionsTest : public testing::Test {
 protected:
  void Learn(Prediction* p, int64_t each, uint32_t launches = 1) {
    const PredictedPart part = {p, Predictions::Expected(p) * launches, launches};
    Predictions::Learn(&part, 1, each * launches);
  }
  std::unique_ptr<Predictions> table_{new Predictions{}};
};

TEST_F(PredictionsTest, FirstBatchIsBelieved) {
  Prediction* p = table_->Find(7);
  EXPECT_FALSE(Predictions::Measured(p));
  EXPECT_EQ(Predictions::Expected(p), kUnmeasuredUnit);
  Learn(p, 42000, 10);
  EXPECT_TRUE(Predictions::Measured(p));
  EXPECT_EQ(Predictions::Expected(p), 42000);
}

TEST_F(PredictionsTest, LaterOnesMoveItByATenthAtLeast) {
  Prediction* p = table_->Find(7);
  Learn(p, 1000000);
  Learn(p, 2000000);
  EXPECT_EQ(Predictions::Expected(p), 1500000);
  for (int i = 0; i < 100; ++i) Learn(p, 1500000);
  Learn(p, 2500000);
  EXPECT_NEAR(double(Predictions::Expected(p)), 1.6e6, 10);
}

TEST_F(PredictionsTest, BatchIsDividedByWhatWasExpected) {
  Prediction* a = table_->Find(1);
  Prediction* b = table_->Find(2);
  Learn(a, 100000);
  Learn(b, 300000);
  // Both took twice as long: 2 of a, 1 of b.
  const PredictedPart parts[] = {{a, 200000, 2}, {b, 300000, 1}};
  Predictions::Learn(parts, 2, 1000000);
  EXPECT_EQ(Predictions::Expected(a), 150000);
  EXPECT_EQ(Predictions::Expected(b), 450000);
}

TEST_F(PredictionsTest, OneUnmeasuredAtATime) {
  Prediction* p = table_->Find(7);
  EXPECT_TRUE(Predictions::Try(p));
  EXPECT_FALSE(Predictions::Try(p));
  Predictions::GiveUp(p);
  EXPECT_TRUE(Predictions::Try(p));
  Learn(p, 1000);
  EXPECT_TRUE(Predictions::Try(p)) << "learning ends the attempt";
}

TEST_F(PredictionsTest, LiarIsErratic) {
  Prediction* p = table_->Find(7);
  for (int i = 0; i < 30; ++i) Learn(p, 100000);
  EXPECT_FALSE(Predictions::Erratic(p));
  Learn(p, 20000000);
  for (int i = 0; i < 5; ++i) Learn(p, 100000);
  EXPECT_TRUE(Predictions::Erratic(p));
}

TEST_F(PredictionsTest, DoubtGrowsWithHowFarKernelsAreFromTheirMean) {
  Prediction* p = table_->Find(7);
  const PredictedPart part = {p, 500000, 5};
  Learn(p, 100000);
  EXPECT_EQ(Predictions::Doubt(part), part.predicted) << "one measurement says nothing of that";
  for (int i = 0; i < 10; ++i) Learn(p, 100000);
  EXPECT_EQ(Predictions::Doubt(part), 0);
  for (int i = 0; i < 40; ++i) Learn(p, i % 2 == 0 ? 80000 : 120000);
  EXPECT_GT(Predictions::Doubt(part), 100000);
  EXPECT_LT(Predictions::Doubt(part), 300000);
  for (int i = 0; i < 40; ++i) Learn(p, i % 2 == 0 ? 10000 : 1000000);
  EXPECT_EQ(Predictions::Doubt(part), part.predicted);
}

TEST_F(PredictionsTest, TheErraticAreSampledForEver) {
  Prediction* p = table_->Find(7);
  for (int i = 0; i < 3; ++i) {
    EXPECT_TRUE(Predictions::DeservesSample(p, 1, 0)) << i;
    Learn(p, 100000);
  }
  EXPECT_FALSE(Predictions::DeservesSample(p, 16, 1000 * kMillisecond)) << "always the same";
  EXPECT_TRUE(Predictions::DeservesSample(p, 1, 10000 * kMillisecond)) << "as far as one knows";
  for (int i = 0; i < 20; ++i) Learn(p, i % 2 == 0 ? 100000 : 1000000);
  EXPECT_TRUE(Predictions::DeservesSample(p, 16, 0));
  EXPECT_FALSE(Predictions::DeservesSample(p, 17, 0));
}

TEST_F(PredictionsTest, WhatASampleShowsToBeWrongIsLearntAnew) {
  Prediction* p = table_->Find(7);
  for (int i = 0; i < 50; ++i) Learn(p, 1000000);
  Predictions::Sampled(p, 900000);
  EXPECT_EQ(Predictions::Expected(p), 1000000);
  Predictions::Sampled(p, 500000);
  Learn(p, 500000);
  EXPECT_EQ(Predictions::Expected(p), 500000);
  EXPECT_TRUE(Predictions::DeservesSample(p, 1, 0)) << "as of a new one";
  // One that is never the same is not new each time.
  for (int i = 0; i < 50; ++i) Learn(p, i % 2 == 0 ? 100000 : 1000000);
  Predictions::Sampled(p, 100000);
  EXPECT_FALSE(Predictions::DeservesSample(p, 1, 0));
}

TEST_F(PredictionsTest, NonsenseIsBounded) {
  Prediction* p = table_->Find(0);
  Learn(p, -5);
  EXPECT_GE(Predictions::Expected(p), Predictions::kShortest);
  const PredictedPart part = {p, 0, 1};
  Predictions::Learn(&part, 1, INT64_MAX);
  EXPECT_LE(Predictions::Expected(p), kLongest);
  const PredictedPart nothing = {p, 100, 0};
  Predictions::Learn(&nothing, 1, 5);
}

TEST_F(PredictionsTest, FullTableKeepsWhatIsKnownBest) {
  Prediction* known = table_->Find(12345);
  for (int i = 0; i < 100; ++i) Learn(known, 77000);
  std::mt19937_64 random(1);
  for (int i = 0; i < 100000; ++i) {
    Prediction* p = table_->Find(random());
    ASSERT_NE(p, nullptr);
    if (i % 2 == 0) Learn(p, 1000);
  }
  EXPECT_EQ(Predictions::Expected(table_->Find(12345)), 77000);
}

}  // namespace
}  // namespace tranche::limiter
