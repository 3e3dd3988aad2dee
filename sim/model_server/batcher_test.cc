#include "sim/model_server/batcher.h"

#include <gtest/gtest.h>

namespace tranche::sim {
namespace {

using namespace std::chrono_literals;

// Ten milliseconds for the weights, one more for a thousand cached tokens.
const Pace kPace = {.weights_bytes = 10e6, .cache_bytes_per_token = 1e3, .bandwidth = 1e9};

TEST(BatcherTest, WithoutSequencesThereIsNothingToDo) {
  Batcher batcher(kPace, 4);
  EXPECT_FALSE(batcher.BeginStep());
  EXPECT_TRUE(batcher.EndStep().empty());
}

TEST(BatcherTest, ATokenTakesTheTimeOfReadingTheWeights) {
  Batcher batcher({10e6, 0, 1e9}, 4);
  const uint64_t sequence = batcher.Add(5, 2);
  EXPECT_EQ(batcher.BeginStep(), 10ms);
  auto tokens = batcher.EndStep();
  ASSERT_EQ(tokens.size(), 1u);
  EXPECT_EQ(tokens[0].sequence, sequence);
  EXPECT_EQ(tokens[0].index, 0);
  EXPECT_FALSE(tokens[0].last);
  EXPECT_EQ(batcher.BeginStep(), 10ms);
  tokens = batcher.EndStep();
  EXPECT_TRUE(tokens.at(0).last);
  EXPECT_FALSE(batcher.BeginStep());
}

TEST(BatcherTest, ABatchReadsTheWeightsOnce) {
  Batcher batcher({10e6, 0, 1e9}, 4);
  for (int i = 0; i < 4; ++i) batcher.Add(1, 10);
  EXPECT_EQ(batcher.BeginStep(), 10ms);
  EXPECT_EQ(batcher.EndStep().size(), 4u);
}

TEST(BatcherTest, TheCacheIsReadToo) {
  Batcher batcher(kPace, 4);
  batcher.Add(100, 10);
  batcher.Add(300, 10);
  EXPECT_EQ(batcher.BeginStep(), 10400us);
  batcher.EndStep();
  EXPECT_EQ(batcher.BeginStep(), 10402us);
}

TEST(BatcherTest, ALongPromptTakesLongerToBegin) {
  Batcher batcher({10e6, 0, 1e9}, 4);
  batcher.Add(1024, 10);
  EXPECT_EQ(batcher.BeginStep(), 30ms);
  batcher.EndStep();
  EXPECT_EQ(batcher.BeginStep(), 10ms);
}

TEST(BatcherTest, HalfTheBandwidthTakesTwiceAsLong) {
  Batcher batcher({10e6, 0, 0.5e9}, 4);
  batcher.Add(1, 1);
  EXPECT_EQ(batcher.BeginStep(), 20ms);
}

TEST(BatcherTest, MoreThanFitWaitInOrder) {
  Batcher batcher(kPace, 2);
  const uint64_t a = batcher.Add(1, 1), b = batcher.Add(1, 2), c = batcher.Add(1, 1),
                 d = batcher.Add(1, 1);
  EXPECT_EQ(batcher.waiting(), 4);
  batcher.BeginStep();
  EXPECT_EQ(batcher.running(), 2);
  EXPECT_EQ(batcher.waiting(), 2);
  auto tokens = batcher.EndStep();
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0].sequence, a);
  EXPECT_EQ(tokens[1].sequence, b);
  batcher.BeginStep();
  tokens = batcher.EndStep();
  ASSERT_EQ(tokens.size(), 2u);
  EXPECT_EQ(tokens[0].sequence, b);
  EXPECT_EQ(tokens[1].sequence, c) << "the place of a";
  batcher.BeginStep();
  EXPECT_EQ(batcher.EndStep().at(0).sequence, d);
}

TEST(BatcherTest, WhoJoinsDuringAStepWaitsForTheNext) {
  Batcher batcher(kPace, 2);
  batcher.Add(1, 5);
  batcher.BeginStep();
  batcher.Add(1, 5);
  EXPECT_EQ(batcher.EndStep().size(), 1u);
  batcher.BeginStep();
  EXPECT_EQ(batcher.EndStep().size(), 2u);
}

TEST(BatcherTest, ACancelledSequenceMakesRoom) {
  Batcher batcher(kPace, 1);
  const uint64_t a = batcher.Add(1, 100), b = batcher.Add(1, 100), c = batcher.Add(1, 1);
  batcher.BeginStep();
  batcher.Cancel(a);
  batcher.Cancel(b);
  batcher.Cancel(12345);
  EXPECT_TRUE(batcher.EndStep().empty());
  batcher.BeginStep();
  EXPECT_EQ(batcher.EndStep().at(0).sequence, c);
}

}  // namespace
}  // namespace tranche::sim
