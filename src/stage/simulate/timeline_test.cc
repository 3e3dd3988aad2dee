#include "stage/simulate/timeline.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "decide/placement/published.h"
#include "stage/simulate/chart.h"

namespace tranche::simulate {
namespace {

using placement::Request;

const Request kOne{1000, 1024, 1, 1000, placement::kAnyModel};

TimelineResult RunOn(int nodes, const std::vector<TimedWorkload>& workloads,
                     const TimelineOptions& options = {}) {
  const placement::Cluster cluster(
      std::vector<placement::NodeShape>(static_cast<size_t>(nodes), {16000, 65536, 1, 0}));
  placement::Scheduler scheduler(cluster, placement::MakeBestFitPolicy());
  const TimelineResult result =
      Simulate(scheduler, workloads, placement::Fragmentation({{kOne, 1}}), options);
  EXPECT_EQ(scheduler.cluster().used_gpu_milli(), 0) << "everything ended";
  return result;
}

TEST(Timeline, WaitsForRoomInTheOrderOfArrival) {
  const auto result = RunOn(1, {{kOne, 0, 10}, {kOne, 1, 10}, {kOne, 2, 10}});
  EXPECT_EQ(result.started, 3);
  EXPECT_EQ(result.finished, 3);
  EXPECT_DOUBLE_EQ(result.duration, 30);
  EXPECT_DOUBLE_EQ(result.wait_most, 18);  // 0, 9, 18
  EXPECT_DOUBLE_EQ(result.wait_mean, 9);
  EXPECT_DOUBLE_EQ(result.allocation_percent_mean, 100);
}

TEST(Timeline, PatienceEndsAndMissesAreCounted) {
  TimelineOptions options;
  options.patience = 15;
  options.wait_slo = 5;
  const auto result = RunOn(1, {{kOne, 0, 10}, {kOne, 1, 10}, {kOne, 2, 10}}, options);
  EXPECT_EQ(result.finished, 2);
  EXPECT_EQ(result.gave_up, 1);
  EXPECT_EQ(result.slo_misses, 2);  // one waited nine seconds, one fifteen for nothing
}

TEST(Timeline, WhatNoNodeCouldHoldDoesNotWait) {
  const auto result =
      RunOn(1, {{{1000, 1024, 2, 1000, placement::kAnyModel}, 0, 10}, {kOne, 0, 10}});
  EXPECT_EQ(result.never_fits, 1);
  EXPECT_EQ(result.finished, 1);
}

TEST(Timeline, CostAndEnergyAreThoseOfTheClusterOrUnknown) {
  const auto unknown = RunOn(2, {{kOne, 0, 3600}});
  EXPECT_FALSE(unknown.cost);
  EXPECT_FALSE(unknown.energy_kwh);
  TimelineOptions options;
  options.price_per_hour = 2;
  options.idle_watts = 50;
  options.busy_watts = 200;
  const auto result = RunOn(2, {{kOne, 0, 3600}}, options);
  EXPECT_NEAR(*result.cost, 4, 1e-9);          // two GPUs for an hour
  EXPECT_NEAR(*result.energy_kwh, 0.3, 1e-9);  // both idle, one of them busy on top
  EXPECT_NEAR(*result.samples.back().cost, 4, 1e-9);
}

TEST(Timeline, FailuresRestartWhatRan) {
  std::vector<TimedWorkload> workloads;
  for (int i = 0; i < 50; ++i) workloads.push_back({kOne, i * 10.0, 400});
  TimelineOptions options;
  options.mtbf = 2000;
  options.repair = 100;
  options.seed = 4;
  const auto result = RunOn(30, workloads, options);
  EXPECT_EQ(result.finished, 50);
  EXPECT_GT(result.restarted, 0);
  EXPECT_EQ(result.started, 50 + result.restarted);
  const auto again = RunOn(30, workloads, options);
  EXPECT_EQ(again.restarted, result.restarted);
  EXPECT_DOUBLE_EQ(again.duration, result.duration);
}

TEST(Timeline, SamplesAreEvenAndGrow) {
  TimelineOptions options;
  options.samples = 10;
  const auto result = RunOn(1, {{kOne, 0, 50}, {kOne, 50, 50}}, options);
  ASSERT_GE(result.samples.size(), 10u);
  for (size_t i = 1; i < result.samples.size(); ++i) {
    EXPECT_GE(result.samples[i].at, result.samples[i - 1].at);
  }
  EXPECT_EQ(result.samples[2].allocation_percent, 100);
}

TEST(Timeline, TakesTimesFromTraces) {
  const std::vector<TracePod> pods = {{kOne, 100, 160}, {kOne, {}, 3}, {kOne, 40, 50}};
  const auto timed = TimesOf(pods);
  ASSERT_EQ(timed.size(), 2u);
  EXPECT_DOUBLE_EQ(timed[0].arrives, 0);
  EXPECT_DOUBLE_EQ(timed[0].runs, 10);
  EXPECT_DOUBLE_EQ(timed[1].arrives, 60);
  const auto paced = Paced({{kOne, 10}, {kOne, 30}}, 3600);
  EXPECT_DOUBLE_EQ(paced[1].arrives, 180);
  EXPECT_DOUBLE_EQ(paced[1].runs, 5400);
}

TEST(Chart, IsOnePageThatNeedsNothingElse) {
  TimelineOptions options;
  options.price_per_hour = 2;
  const std::string page = TimelinePage("a <b> & c", {{"first", RunOn(1, {{kOne, 0, 50}}, options)},
                                                      {"second", RunOn(1, {{kOne, 0, 9}})}});
  EXPECT_THAT(page, ::testing::HasSubstr("a &lt;b&gt; &amp; c"));
  EXPECT_THAT(page, ::testing::HasSubstr("Cost so far"));
  EXPECT_THAT(page, ::testing::Not(::testing::HasSubstr("Energy")));  // nobody said how much
  for (const char* outside : {"http", "src=", "@import", "url(", "<script"}) {
    EXPECT_THAT(page, ::testing::Not(::testing::HasSubstr(outside)));
  }
  size_t lines = 0;
  for (size_t at = page.find("<polyline"); at != std::string::npos;
       at = page.find("<polyline", at + 1)) {
    ++lines;
  }
  EXPECT_EQ(lines, 2u * 6);
}

}  // namespace
}  // namespace tranche::simulate
