#include "decide/serving/queue_simulation.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tranche::serving {
namespace {

BatchServer One(double seconds) {
  BatchServer server;
  server.seconds = {seconds};
  return server;
}

// M/D/1: the mean wait is known; here by the share that does not wait at all, which is 1 - load.
TEST(QueueSimulation, OneServerIsTheTextbooksQueue) {
  const QueueOutcome outcome = SimulateBatches({One(0.01)}, {}, 70, 0.0100001, {200000, 3});
  EXPECT_NEAR(outcome.missed_share(), 0.7, 0.01);
  EXPECT_NEAR(outcome.busy, 0.7, 0.01);
  EXPECT_EQ(outcome.mean_batch, 1);
}

TEST(QueueSimulation, NothingWaitsWhereLittleComes) {
  const QueueOutcome outcome = SimulateBatches({One(0.01)}, {}, 0.1, 0.011, {5000, 3});
  EXPECT_LT(outcome.missed_share(), 0.005);
  EXPECT_NEAR(outcome.p50, 0.01, 1e-9);
}

TEST(QueueSimulation, MoreThanItServesMissesNearlyAll) {
  EXPECT_GT(SimulateBatches({One(0.01)}, {}, 110, 0.1, {20000, 3}).missed_share(), 0.9);
}

TEST(QueueSimulation, BatchesServeWhatSinglesCannot) {
  BatchServer server;
  server.seconds = {0.01, 0.011, 0.012, 0.013};
  EXPECT_NEAR(server.MostPerSecond(), 4 / 0.013, 1e-9);
  const QueueOutcome outcome = SimulateBatches({server}, {}, 200, 0.05, {20000, 3});
  EXPECT_LT(outcome.missed_share(), 0.01);
  EXPECT_GT(outcome.mean_batch, 1.5);
}

TEST(QueueSimulation, WhoWaitsFillsItsBatches) {
  BatchServer server;
  server.seconds.assign(8, 0.01);
  const double at_once = SimulateBatches({server}, {}, 300, 1, {20000, 3}).mean_batch;
  server.wait = 0.02;
  const QueueOutcome waits = SimulateBatches({server}, {}, 300, 1, {20000, 3});
  EXPECT_GT(waits.mean_batch, at_once + 1);
  EXPECT_LE(waits.mean_batch, 8);
  EXPECT_GE(waits.p50, 0.01);
}

TEST(QueueSimulation, TurnsFollowWeights) {
  // The slow one gets a tenth, and can just bear that.
  const std::vector<BatchServer> servers = {One(0.001), One(0.01)};
  EXPECT_LT(SimulateBatches(servers, {9, 1}, 500, 0.1, {20000, 3}).missed_share(), 0.001);
  EXPECT_GT(SimulateBatches(servers, {1, 1}, 500, 0.1, {20000, 3}).missed_share(), 0.4);
}

TEST(QueueSimulation, TheSameSeedIsTheSameAnswer) {
  const QueueOutcome a = SimulateBatches({One(0.01)}, {}, 80, 0.03, {5000, 9});
  const QueueOutcome b = SimulateBatches({One(0.01)}, {}, 80, 0.03, {5000, 9});
  EXPECT_EQ(a.missed, b.missed);
  EXPECT_EQ(a.p99, b.p99);
  EXPECT_NE(a.missed, SimulateBatches({One(0.01)}, {}, 80, 0.03, {5000, 10}).missed);
}

TokenServer Chat(int batch) {
  TokenServer server;
  server.batch = batch;
  server.prefill_seconds = 0.02;
  server.output_tokens = 101;
  for (int n = 1; n <= batch; ++n) server.seconds.push_back(0.01 + 0.0001 * n);
  return server;
}

TEST(QueueSimulation, AnAnswerAloneTakesItsPrefillAndItsTokens) {
  const QueueOutcome outcome = SimulateTokens(Chat(8), 0.001, 0, 0, {500, 3});
  EXPECT_NEAR(outcome.first_p99, 0.02, 1e-9);
  EXPECT_NEAR(outcome.p50, 0.02 + 100 * 0.0101, 1e-9);
  EXPECT_EQ(outcome.mean_batch, 1);
}

TEST(QueueSimulation, TokensOfABatchStretchUnderLoad) {
  const TokenServer server = Chat(16);
  const double most = server.MostPerSecond();
  const QueueOutcome some = SimulateTokens(server, 0.5 * most, 0, 0, {4000, 3});
  const QueueOutcome more = SimulateTokens(server, 0.95 * most, 0, 0, {4000, 3});
  EXPECT_GT(more.p50, some.p50);
  EXPECT_GT(more.first_p99, some.first_p99);
  EXPECT_GT(more.mean_batch, some.mean_batch);
  EXPECT_LE(more.mean_batch, 16);
  // Four times what it can serve: nobody keeps to a second.
  EXPECT_GT(SimulateTokens(server, 4 * most, 0.5, 0, {4000, 3}).missed_share(), 0.9);
}

TEST(QueueSimulation, NothingServesNothing) {
  EXPECT_EQ(SimulateBatches({}, {}, 10, 1, {100, 1}).requests, 0);
  EXPECT_EQ(SimulateTokens({}, 10, 1, 1, {100, 1}).requests, 0);
  EXPECT_EQ(SimulateBatches({One(0.01)}, {}, 0, 1, {100, 1}).requests, 0);
}

}  // namespace
}  // namespace tranche::serving
