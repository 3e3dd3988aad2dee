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
  options.costs = {{2, 50, 200}};
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

TEST(Timeline, BorrowersGiveWayAndLoseWhatWasNotSaved) {
  const TimedWorkload borrower{kOne, 0, 100, true};
  const auto result = RunOn(1, {borrower, {kOne, 50, 10}, {kOne, 55, 10}});
  EXPECT_EQ(result.preempted, 1);
  EXPECT_EQ(result.finished, 3);
  // 50 s lost; the second waits for the first; the borrower begins anew at 70.
  EXPECT_DOUBLE_EQ(result.duration, 170);
  EXPECT_NEAR(result.lost_gpu_hours, 50 / 3600.0, 1e-9);
  TimelineOptions options;
  options.checkpoint = 20;
  const auto saved = RunOn(1, {borrower, {kOne, 50, 10}, {kOne, 55, 10}}, options);
  EXPECT_DOUBLE_EQ(saved.duration, 130);
  EXPECT_NEAR(saved.lost_gpu_hours, 10 / 3600.0, 1e-9);
  // Nobody gives way to a borrower, and nobody gives way in vain.
  EXPECT_EQ(RunOn(1, {{kOne, 0, 100, false}, {kOne, 1, 1, true}}).preempted, 0);
  const Request two{1000, 1024, 2, 1000, placement::kAnyModel};
  EXPECT_EQ(RunOn(1, {borrower, {two, 1, 1, false}}).preempted, 0);
}

TEST(Timeline, OnlyAsManyGiveWayAsMust) {
  const Request half{1000, 1024, 1, 500, placement::kAnyModel};
  const Request small{1000, 1024, 1, 200, placement::kAnyModel};
  // 500 are free when the borrowers of 200 and 100 go; the one of 200 is enough for 400.
  const Request most{1000, 1024, 1, 400, placement::kAnyModel};
  const auto result = RunOn(1, {{half, 0, 100, false},
                                {small, 1, 100, true},
                                {small, 2, 100, true},
                                {{1000, 1024, 1, 300, placement::kAnyModel}, 10, 10, false}});
  EXPECT_EQ(result.preempted, 1);
  EXPECT_EQ(RunOn(1, {{half, 0, 100, false},
                      {small, 1, 100, true},
                      {small, 2, 100, true},
                      {most, 10, 10, false}})
                .preempted,
            2);
}

TEST(Timeline, LeasesEndAndTheNextInLineHasItsTurn) {
  TimelineOptions options;
  options.lease = 10;
  const auto result = RunOn(1, {{kOne, 0, 25}, {kOne, 1, 5}}, options);
  // 0-10 the first, 10-15 the second, then the first in two leases of 10 and 5.
  EXPECT_EQ(result.renewed, 2);
  EXPECT_EQ(result.finished, 2);
  EXPECT_DOUBLE_EQ(result.duration, 30);
  EXPECT_DOUBLE_EQ(result.wait_most, 9);
  EXPECT_EQ(result.lost_gpu_hours, 0);
}

TEST(Timeline, AFailedGpuTakesOnlyItsOwn) {
  std::vector<TimedWorkload> workloads;
  for (int i = 0; i < 40; ++i) workloads.push_back({kOne, i * 10.0, 400});
  TimelineOptions options;
  options.gpu_mtbf = 2000;
  options.repair = 100;
  options.seed = 4;
  const auto result = RunOn(30, workloads, options);
  EXPECT_EQ(result.finished, 40);
  EXPECT_GT(result.restarted, 0);
  EXPECT_EQ(RunOn(30, workloads, options).restarted, result.restarted);
}

// Two GPUs of seven slices, and instances of 1g (id 1) and 7g (id 2) at one place each.
TimelineResult RunOnMig(const std::vector<TimedWorkload>& workloads,
                        const TimelineOptions& options = {}) {
  placement::MigKind kind;
  kind.compute = 7;
  kind.slots = 8;
  kind.profiles = {{1, 1, 1}, {2, 7, 8}};
  for (int start = 0; start < 7; ++start) {
    kind.places.push_back({0, static_cast<uint16_t>(1 << start)});
  }
  kind.places.push_back({1, 0xff});
  const placement::Cluster cluster({{64000, 65536, 2, 0}}, {kind});
  placement::Scheduler scheduler(cluster, placement::MakeBestFitPolicy());
  const auto result =
      Simulate(scheduler, workloads, placement::Fragmentation({{kOne, 1}}), options);
  EXPECT_EQ(scheduler.cluster().used_gpu_milli(), 0) << "everything ended";
  return result;
}

TEST(Timeline, LayoutsThatAreFixedHoldWhatCameBefore) {
  const Request one{1000, 1024, 1, 143, 1, 1};
  const Request seven{1000, 1024, 1, 1000, 1, 2};
  std::vector<TimedWorkload> workloads;
  // On the first day as many 1g as fit one GPU, and the other whole; on the second 7g only.
  for (int i = 0; i < 7; ++i) workloads.push_back({one, 0, 80});
  workloads.push_back({seven, 0, 80});
  for (int i = 0; i < 2; ++i) workloads.push_back({seven, 100, 80});
  const auto free = RunOnMig(workloads);
  EXPECT_EQ(free.wait_most, 0);
  TimelineOptions options;
  options.layouts_for = 100;
  const auto fixed = RunOnMig(workloads, options);
  EXPECT_EQ(fixed.finished, 10);
  // One 7g finds a GPU cut into 1g, until the third day, which is decided by the second.
  EXPECT_DOUBLE_EQ(fixed.wait_most, 80);
  EXPECT_DOUBLE_EQ(fixed.duration, 260);
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
  options.costs = {{2, {}, 0}};
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
  EXPECT_EQ(lines, 2u * 8);
}

}  // namespace
}  // namespace tranche::simulate
