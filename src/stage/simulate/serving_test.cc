#include "stage/simulate/serving.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "stage/simulate/chart.h"

namespace tranche::simulate {
namespace {

using ::testing::HasSubstr;

// A server whose steps take about what these numbers say: a token of one sequence 10 ms, a prompt
// of 100 tokens 20 ms.
LlmServer Server(int most_sequences = 8) {
  LlmServer server;
  server.work.model.layers = 1;
  server.work.model.heads = 1;
  server.work.model.head_dim = 1;
  server.work.model.active_parameters = 1e6;
  server.work.weight_bytes = 1e7;
  server.rate = {1e9, 1e10};
  server.coefficients.bandwidth_efficiency = 1;
  server.coefficients.compute_efficiency = 1;
  server.coefficients.layer_seconds = 0;
  server.coefficients.step_seconds = 0;
  server.most_sequences = most_sequences;
  server.kv_tokens = 1000;
  return server;
}

TEST(Serving, OneRequestTakesAPromptAndItsTokens) {
  const auto result = Serve({{0, 100, 11}}, Server(), {});
  EXPECT_EQ(result.finished, 1);
  EXPECT_NEAR(result.first_token.mean, 0.02, 1e-4);
  EXPECT_NEAR(result.token.mean, 0.01, 1e-5);
  EXPECT_NEAR(result.duration, 0.12, 1e-4);
  EXPECT_NEAR(result.busy_percent, 100, 1e-6);
  EXPECT_EQ(result.wait.mean, 0);
}

TEST(Serving, SequencesShareStepsAndWaitForPlaces) {
  // Two at once: the second prompt stops the first answer, then both go on in common steps.
  const auto both = Serve({{0, 100, 11}, {0, 100, 11}}, Server(), {});
  EXPECT_NEAR(both.duration, 0.14, 1e-3);
  // One after the other where there is one place.
  const auto alone = Serve({{0, 100, 11}, {0, 100, 11}}, Server(1), {});
  EXPECT_NEAR(alone.duration, 0.24, 1e-3);
  EXPECT_NEAR(alone.wait.p99, 0.0, 1e-9);  // rank statistics of two: the lower
  EXPECT_NEAR(alone.wait.mean, 0.06, 1e-3);
  // KV cache is a place, too.
  LlmServer small = Server();
  small.kv_tokens = 120;
  EXPECT_NEAR(Serve({{0, 100, 11}, {0, 100, 11}}, small, {}).duration, 0.24, 1e-3);
}

TEST(Serving, WhoComesInTheMiddleOfAnAnswerIsLetInAfterTheStep) {
  const auto result = Serve({{0, 100, 101}, {0.105, 100, 2}}, Server(), {});
  EXPECT_EQ(result.finished, 2);
  // It waits for the end of the step at 0.11, no longer.
  EXPECT_NEAR(result.wait.mean, 0.005 / 2, 1e-3);
}

TEST(Serving, WhatNoCacheHoldsIsRefusedAndMissed) {
  ServingOptions options;
  options.first_token_slo = 1;
  const auto result = Serve({{0, 2000, 10}, {0, 100, 10}}, Server(), options);
  EXPECT_EQ(result.too_long, 1);
  EXPECT_EQ(result.finished, 1);
  EXPECT_EQ(result.slo_misses, 1);
}

std::vector<LlmRequest> Steady(int count, double every) {
  std::vector<LlmRequest> requests;
  for (int i = 0; i < count; ++i) requests.push_back({i * every, 100, 11});
  return requests;
}

TEST(Serving, MoreReplicasMissLess) {
  ServingOptions options;
  options.first_token_slo = 0.05;
  const auto requests = Steady(500, 0.01);
  const auto one = Serve(requests, Server(), options);
  options.replicas = 4;
  const auto four = Serve(requests, Server(), options);
  EXPECT_GT(one.missed_share(), 0.9);
  EXPECT_LT(four.missed_share(), 0.05);
  EXPECT_EQ(one.finished, 500);
  EXPECT_EQ(four.gpus, 4);
}

TEST(Serving, FailuresLoseNobody) {
  ServingOptions options;
  options.replicas = 3;
  options.mtbf = 1;
  options.repair = 0.5;
  options.seed = 3;
  const auto requests = Steady(600, 0.02);
  const auto result = Serve(requests, Server(), options);
  EXPECT_EQ(result.finished, 600);
  EXPECT_GT(result.restarted, 0);
  EXPECT_LE(result.busy_percent, 100);
  EXPECT_EQ(Serve(requests, Server(), options).restarted, result.restarted);
  EXPECT_TRUE(std::any_of(result.samples.begin(), result.samples.end(),
                          [](const ServingSample& s) { return s.replicas_down > 0; }));
}

TEST(Serving, SlicesShareAGpusPriceAndPower) {
  LlmServer slice = Server();
  slice.gpus = 1.0 / 7;
  EXPECT_EQ(GpusOf(slice, 7), 1);
  EXPECT_EQ(GpusOf(slice, 8), 2);
  ServingOptions options;
  options.replicas = 7;
  options.costs = {3600.0, 70.0, 70.0};
  const auto result = Serve(Steady(100, 0.1), slice, options);
  EXPECT_NEAR(*result.cost, result.duration, 1e-9);
  // Idle all the time, and busy a seventh of it as long as one of the seven is.
  const double busy = result.busy_percent / 100 * 7 * result.duration;
  EXPECT_NEAR(*result.energy_kwh * 3600 * 1000, 70 * result.duration + 10 * busy, 1e-6);
  EXPECT_FALSE(Serve(Steady(1, 1), slice, {}).cost);
}

TEST(Requests, AreReadByHeadingWithAllMistakes) {
  const auto requests = ParseRequests(
      "x,num_decode_tokens,arrived_at,num_prefill_tokens\n1,44,5.5,374\n2,3,4.5,10\n", "r.csv");
  ASSERT_TRUE(requests) << requests.error().message;
  ASSERT_EQ(requests->size(), 2u);
  EXPECT_EQ((*requests)[0].prompt, 10) << "sorted by time";
  EXPECT_DOUBLE_EQ((*requests)[1].arrives, 1);
  const auto wrong =
      ParseRequests("arrived_at,num_prefill_tokens,num_decode_tokens\n-1,0,x\n,1,1\n", "r.csv");
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("r.csv:2: arrived_at is '-1'"));
  EXPECT_THAT(wrong.error().message, HasSubstr("num_prefill_tokens is 0"));
  EXPECT_THAT(wrong.error().message, HasSubstr("num_decode_tokens is 'x'"));
  EXPECT_THAT(wrong.error().message, HasSubstr("r.csv:3: arrived_at is empty"));
}

TEST(Requests, DrawnOnesHaveTheRateAndTheDay) {
  RequestLoad load;
  load.per_second = 2;
  load.duration = 86400;
  const auto even = DrawRequests(load, 1);
  EXPECT_NEAR(static_cast<double>(even.size()), 172800, 5 * std::sqrt(172800));
  load.daily_peak = 1.8;
  const auto uneven = DrawRequests(load, 1);
  EXPECT_NEAR(static_cast<double>(uneven.size()), 172800, 5 * std::sqrt(172800));
  const auto within = [&](double from, double to) {
    return std::count_if(uneven.begin(), uneven.end(), [&](const LlmRequest& request) {
      return request.arrives >= from * 3600 && request.arrives < to * 3600;
    });
  };
  EXPECT_NEAR(static_cast<double>(within(14, 16)) / (2 * 7200), 1.79, 0.05);
  EXPECT_NEAR(static_cast<double>(within(2, 4)) / (2 * 7200), 0.21, 0.05);
  double prompts = 0;
  for (const LlmRequest& request : even) prompts += request.prompt;
  EXPECT_NEAR(prompts / static_cast<double>(even.size()), 512.5, 5);
}

TEST(Chart, ServersHaveAPageToo) {
  ServingOptions options;
  options.costs.price_per_hour = 2;
  const std::string page =
      ServingPage("<x>", {{"1 x A", Serve(Steady(20, 0.1), Server(), options)}});
  EXPECT_THAT(page, HasSubstr("&lt;x&gt;"));
  EXPECT_THAT(page, HasSubstr("Cost so far"));
  EXPECT_THAT(page, ::testing::Not(HasSubstr("Energy")));
}

}  // namespace
}  // namespace tranche::simulate
