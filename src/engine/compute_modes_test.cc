#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "engine/test_world.h"

namespace tranche {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kGpu = TestGpuUuid(0);

// The plan for a sleeper, which sets the compute mode first. What MPS does is seen on the simulated
// machine; here it is the step.
Plan PlanWithMode(World* world) {
  Spec spec = SpecOf({Sleeper("a", GiB(4))});
  spec.workloads[0].mechanism = Mechanism::kTimeSlicing;
  spec.workloads[0].isolation = {"none", {}, false};
  Plan plan = world->MakePlan(spec);
  Step step;
  step.kind = StepKind::kSetComputeMode;
  step.change = Change::kCreate;
  step.target = "gpu0 compute mode exclusive_process";
  step.gpu_uuid = kGpu;
  step.compute_mode = ComputeMode::kExclusiveProcess;
  step.compute_mode_before = ComputeMode::kDefault;
  plan.steps.insert(plan.steps.begin(), step);
  for (size_t i = 0; i < plan.steps.size(); ++i) plan.steps[i].id = static_cast<int>(i) + 1;
  plan.id = PlanDigest(plan);
  return plan;
}

ComputeMode ModeOf(const World& world) { return *world.driver->machine().gpus[0].compute_mode; }

TEST(ComputeModeTest, IsSetSetAgainAndGoesBack) {
  World world(TestMachine({TestH100(0, false)}));
  world.Open();
  ASSERT_EQ(world.TryApply(PlanWithMode(&world))->outcome, ApplyOutcome::kDone);
  EXPECT_EQ(ModeOf(world), ComputeMode::kExclusiveProcess);
  EXPECT_THAT(world.engine().GetDeployment()->compute_modes,
              ElementsAre(SetComputeMode{kGpu, ComputeMode::kExclusiveProcess}));

  // The driver was loaded anew; also while nobody looked.
  const auto forget = [](Machine& machine) {
    machine.gpus[0].compute_mode = ComputeMode::kDefault;
  };
  const auto is_set = [&] { return ModeOf(world) == ComputeMode::kExclusiveProcess; };
  world.driver->Edit(forget);
  EXPECT_TRUE(world.TickUntil(is_set));
  world.Close();
  world.driver->Edit(forget);
  world.Open();
  EXPECT_TRUE(world.TickUntil(is_set));
  const SystemStatus status = *world.engine().GetStatus();
  const bool noted =
      std::any_of(status.events.begin(), status.events.end(), [](const StatusEvent& event) {
        return event.message.find("is exclusive_process again") != std::string::npos;
      });
  EXPECT_TRUE(noted);

  ASSERT_TRUE(world.engine().Down(world.Options(), nullptr));
  EXPECT_EQ(ModeOf(world), ComputeMode::kDefault);
  EXPECT_THAT(world.engine().GetDeployment()->compute_modes, IsEmpty());
}

TEST(ComputeModeTest, ThatIsRefusedIsSaidAsLongAsItLasts) {
  World world(TestMachine({TestH100(0, false)}));
  world.driver->FailAlways(FakeDriver::Call::kSetComputeMode,
                           {ErrorCode::kPermission, "the driver does not permit it", ""});
  world.Open();
  const auto receipt = world.TryApply(PlanWithMode(&world));
  ASSERT_TRUE(receipt);
  EXPECT_EQ(receipt->outcome, ApplyOutcome::kDone) << "its tenants run all the same";
  EXPECT_THAT(receipt->steps.at(0).detail, HasSubstr("MPS fails open there"));
  EXPECT_EQ(ModeOf(world), ComputeMode::kDefault);
  const auto warnings = [&] { return world.engine().GetStatus()->warnings; };
  EXPECT_TRUE(world.TickUntil([&] { return !warnings().empty(); }));
  EXPECT_THAT(warnings(), Contains(HasSubstr("MPS on gpu0 fails open")));
  world.driver->Heal();
  EXPECT_TRUE(world.TickUntil([&] { return warnings().empty(); }));
  EXPECT_EQ(ModeOf(world), ComputeMode::kExclusiveProcess);
}

TEST(ComputeModeTest, ThatFailsOtherwiseUndoesThePlan) {
  World world(TestMachine({TestH100(0, false)}));
  world.driver->FailNth(FakeDriver::Call::kSetComputeMode, 1,
                        {ErrorCode::kFailed, "the driver is out of order", ""});
  world.Open();
  const auto receipt = world.TryApply(PlanWithMode(&world));
  ASSERT_TRUE(receipt);
  EXPECT_EQ(receipt->outcome, ApplyOutcome::kRolledBack);
  EXPECT_EQ(ModeOf(world), ComputeMode::kDefault);
}

TEST(ComputeModeTest, IsUndoneWithAPlanThatFailsLater) {
  World world(TestMachine({TestH100(0, false)}));
  world.Open();
  Plan plan = PlanWithMode(&world);
  plan.spec.workloads[0].command = {"/no/such/program"};
  plan.id = PlanDigest(plan);
  const auto receipt = world.TryApply(plan);
  ASSERT_TRUE(receipt);
  EXPECT_EQ(receipt->outcome, ApplyOutcome::kRolledBack);
  EXPECT_EQ(ModeOf(world), ComputeMode::kDefault);
  EXPECT_THAT(world.engine().GetDeployment()->compute_modes, IsEmpty());
}

}  // namespace
}  // namespace tranche
