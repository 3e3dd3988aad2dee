#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/test_world.h"

namespace tranche {
namespace {

using testing::HasSubstr;

const std::string kGpu = TestGpuUuid(0);

Spec Sharers(std::optional<TimeSlice> time_slice) {
  Spec spec = SpecOf({Sleeper("a", GiB(4)), Sleeper("b", GiB(4))});
  for (Workload& workload : spec.workloads) {
    workload.mechanism = Mechanism::kTimeSlicing;
    workload.isolation = {"none", {}, false};
    workload.time_slice = time_slice;
  }
  return spec;
}

TEST(TimeSlicingTest, IsSetAndGoesBack) {
  World world(TestMachine({TestH100(0, false)}));
  world.time_slices->of[kGpu] = TimeSlice::kMedium;
  world.Open();
  ASSERT_EQ(world.Apply(Sharers(TimeSlice::kShort)).outcome, ApplyOutcome::kDone);
  EXPECT_EQ(world.time_slices->of[kGpu], TimeSlice::kShort);
  EXPECT_FALSE(world.MakePlan(Sharers(TimeSlice::kShort)).HasChanges());
  const SystemStatus status = *world.engine().GetStatus();
  ASSERT_EQ(status.time_sliced.size(), 1u);
  EXPECT_EQ(status.time_sliced[0].tenants, 2);
  EXPECT_EQ(*status.time_sliced[0].time_slice, TimeSlice::kShort);
  EXPECT_THAT(status.time_sliced[0].note, HasSubstr("neither memory nor"));

  ASSERT_EQ(world.Apply(Sharers(TimeSlice::kLong)).outcome, ApplyOutcome::kDone);
  EXPECT_EQ(world.time_slices->of[kGpu], TimeSlice::kLong);
  ASSERT_TRUE(world.engine().Down(world.Options(), nullptr));
  EXPECT_EQ(world.time_slices->of[kGpu], TimeSlice::kMedium);
}

TEST(TimeSlicingTest, IsSetAgainAfterTheDriverForgotIt) {
  World world(TestMachine({TestH100(0, false)}));
  world.Open();
  ASSERT_EQ(world.Apply(Sharers(TimeSlice::kShort)).outcome, ApplyOutcome::kDone);
  world.time_slices->of.clear();
  ASSERT_TRUE(world.TickUntil([&] { return world.time_slices->of[kGpu] == TimeSlice::kShort; }));
}

TEST(TimeSlicingTest, WhereItCannotBeSetNothingIsDone) {
  World world(TestMachine({TestH100(0, false)}));
  world.time_slices->why_not = "not supported on this GPU";
  world.Open();
  const Receipt receipt = world.Apply(Sharers(TimeSlice::kShort));
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  ASSERT_TRUE(receipt.error);
  EXPECT_THAT(receipt.error->message, HasSubstr("not supported on this GPU"));
  EXPECT_EQ(*world.engine().GetDeployment(), Deployment());
  // Without a time slice nobody needs it.
  EXPECT_EQ(world.Apply(Sharers(std::nullopt)).outcome, ApplyOutcome::kDone);
}

TEST(DrainTest, NothingIsPlacedThereUntilItIsTakenBack) {
  World world(TestMachine({TestH100(0), TestH100(1)}));
  world.Open();
  ASSERT_EQ(world.Apply(SpecOf({Sleeper("a", GiB(9))})).outcome, ApplyOutcome::kDone);
  const std::string before = world.Replica("a").slice.gpu_uuid;
  ASSERT_TRUE(world.engine().SetDrained(before, true));
  EXPECT_EQ(world.engine().GetStatus()->drained.at(0).waiting_for.size(), 1u);

  const Spec spec = *world.engine().GetSpec();
  ASSERT_EQ(spec.workloads.size(), 1u);
  ASSERT_EQ(world.Apply(spec).outcome, ApplyOutcome::kDone);
  EXPECT_NE(world.Replica("a").slice.gpu_uuid, before);
  EXPECT_TRUE(world.engine().GetStatus()->drained.at(0).waiting_for.empty());
  ASSERT_TRUE(world.engine().SetDrained(world.Replica("a").slice.gpu_uuid, true));
  EXPECT_FALSE(world.engine().MakePlan(spec, {})->feasible());

  // It outlives the plan, and the daemon.
  ASSERT_TRUE(world.engine().Down(world.Options(), nullptr));
  world.Close();
  world.Open();
  EXPECT_EQ(world.engine().GetDeployment()->drained.size(), 2u);
  ASSERT_TRUE(world.engine().SetDrained(before, false));
  EXPECT_TRUE(world.MakePlan(spec).feasible());
  EXPECT_EQ(world.engine().SetDrained("GPU-none", true).error().code, ErrorCode::kNotFound);
}

TEST(WindowTest, LayoutsChangeOnlyWhileOneIsOpen) {
  World world(TestMachine({TestH100(0, false)}));
  world.Open();
  Spec spec = SpecOf({Sleeper("a", GiB(9))});
  const auto minute_of = [&](int later) {
    const auto since = world.clock->Now().time_since_epoch() + std::chrono::minutes(later);
    return static_cast<int>(std::chrono::duration_cast<std::chrono::minutes>(since).count() %
                            (24 * 60));
  };
  spec.maintenance = {{{}, minute_of(60), minute_of(120), "UTC"}};
  const auto closed = world.engine().Apply(world.MakePlan(spec), world.Options(), nullptr);
  ASSERT_FALSE(closed);
  EXPECT_EQ(closed.error().code, ErrorCode::kBusy);
  EXPECT_THAT(closed.error().message, HasSubstr("the next one opens at"));
  world.clock->Advance(std::chrono::minutes(61));
  ASSERT_EQ(world.Apply(spec).outcome, ApplyOutcome::kDone);
  // What changes no layout goes through at any time.
  world.clock->Advance(std::chrono::hours(3));
  spec.workloads[0].env["VERSION"] = "2";
  EXPECT_EQ(world.Apply(spec).outcome, ApplyOutcome::kDone);
}

}  // namespace
}  // namespace tranche
