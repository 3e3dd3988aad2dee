#include "decide/serving/language_model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tranche::serving {
namespace {

using testing::HasSubstr;

constexpr QueueRun kShort{1000, 1};

// 16 GB of weights and 128 KiB per token on a GPU of 3.35 TB/s.
TokenServer Server(int batch, double part = 1) {
  LlmWork work;
  work.model.layers = 32;
  work.model.heads = 32;
  work.model.head_dim = 128;
  work.model.active_parameters = 8e9;
  work.weight_bytes = 16e9;
  work.kv_bytes_per_token = 131072;
  return TokenServerOf(work, {3.35e12 * part, 989e12 * part}, {512, 128}, batch, {});
}

TEST(LanguageModel, AHalfOfAGpuBearsLess) {
  TokenObjective objective;
  objective.first_p99 = 0.5;
  const double whole = TokenCapacity(Server(16), objective, kShort);
  const double half = TokenCapacity(Server(16, 0.5), objective, kShort);
  EXPECT_GT(half, 0);
  EXPECT_LT(half, 0.7 * whole);
  EXPECT_LE(whole, 0.9 * Server(16).MostPerSecond());
}

TEST(LanguageModel, LargerBatchesBearMoreUntilTokensComeTooSlowly) {
  TokenObjective objective;
  objective.tokens_per_second = 100;
  EXPECT_GT(TokenCapacity(Server(16), objective, kShort),
            2 * TokenCapacity(Server(4), objective, kShort));
  objective.tokens_per_second = 130;
  EXPECT_GT(TokenCapacity(Server(1), objective, kShort), 0);
  EXPECT_EQ(TokenCapacity(Server(128), objective, kShort), 0);
  EXPECT_THAT(BrokenAlready(Server(128), objective), HasSubstr("each of 128 sequences sees"));
}

TEST(LanguageModel, TighterObjectivesBearLess) {
  TokenObjective objective;
  double last = TokenCapacity(Server(16), objective, kShort);
  for (const double p99 : {5.0, 2.0, 1.3}) {
    objective.answer_p99 = p99;
    const double capacity = TokenCapacity(Server(16), objective, kShort);
    EXPECT_LE(capacity, last) << p99;
    last = capacity;
  }
  EXPECT_GT(last, 0);
  objective.first_p50 = objective.first_p99 = 0.03;
  EXPECT_LT(TokenCapacity(Server(16), objective, kShort), last);
}

TEST(LanguageModel, WhatIsImpossibleIsSaid) {
  TokenObjective objective;
  EXPECT_EQ(BrokenAlready(Server(8), objective), "");
  objective.first_p99 = 0.001;
  EXPECT_THAT(BrokenAlready(Server(8), objective), HasSubstr("a first token takes"));
  EXPECT_EQ(TokenCapacity(Server(8), objective, kShort), 0);
  objective = {};
  objective.answer_p99 = 0.1;
  EXPECT_THAT(BrokenAlready(Server(8), objective), HasSubstr("an answer takes"));
  EXPECT_NE(BrokenAlready({}, {}), "");
}

}  // namespace
}  // namespace tranche::serving
