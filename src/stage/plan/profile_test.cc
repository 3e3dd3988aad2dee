#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::HasSubstr;

Plan PlanOf(const Machine& machine, const Spec& spec) {
  return MakePlan(machine, spec, {}, TestCatalog(), {});
}

Workload Wants(const std::string& name, const std::string& profile, int replicas = 1) {
  Workload workload = Hardware(name, GiB(1), replicas);
  workload.memory.reset();
  workload.profile = profile;
  return workload;
}

TEST(Profile, IsTakenAsItIsAsked) {
  const Machine machine = MachineWith({"H100-SXM5-80GB"});
  Workload small = Hardware("small", GiB(2));
  small.profile = "2g.20gb";  // a 1g would do
  const Spec spec = SpecOf({Wants("video", "1g.10gb+me"), small, Wants("plain", "1g.10gb", 2)});
  const Plan plan = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(plan.FindAssignment("video", 0)->slice.profile, "1g.10gb+me");
  EXPECT_EQ(plan.FindAssignment("small", 0)->slice.profile, "2g.20gb");
  EXPECT_EQ(plan.FindAssignment("plain", 1)->slice.profile, "1g.10gb");
  EXPECT_THAT(plan.FindAssignment("small", 0)->reasons,
              Contains(HasSubstr("the spec wants this profile")));
  // What it needs is all of the slice, as it does not say.
  EXPECT_EQ(plan.FindAssignment("plain", 0)->needed, plan.FindAssignment("plain", 0)->slice.memory);
}

TEST(Profile, OfOneGpuThereIsOneWithMediaEngines) {
  const Plan plan =
      PlanOf(MachineWith({"H100-SXM5-80GB"}), SpecOf({Wants("video", "1g.10gb+me", 2)}));
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_THAT(plan.unplaced[0].reason, HasSubstr("needs a 1g.10gb+me"));
  EXPECT_THAT(plan.unplaced[0].nearest,
              AllOf(HasSubstr("profile: 1g.10gb"), HasSubstr("one more H100-SXM5-80GB")));
}

TEST(Profile, ThatTheGpuHasNotIsToldWithTheNearest) {
  const Plan plan =
      PlanOf(MachineWith({"H100-SXM5-80GB", "L40S"}), SpecOf({Wants("video", "3g.30gb")}));
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_THAT(plan.unplaced[0].reason,
              AllOf(HasSubstr("it has no MIG profile 3g.30gb: did you mean '3g."),
                    HasSubstr("gpu1: no mig")));
}

TEST(Profile, TooSmallForWhatIsAskedIsRefused) {
  Workload workload = Hardware("big", GiB(30));
  workload.profile = "1g.10gb";
  const Plan plan = PlanOf(MachineWith({"H100-SXM5-80GB"}), SpecOf({workload}));
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_THAT(plan.unplaced[0].reason, HasSubstr("1g.10gb has 9.75 GiB"));
  EXPECT_THAT(plan.unplaced[0].nearest, HasSubstr("without profile: 1g.10gb"));
}

TEST(Profile, ByMpsIsThatOfTheInstance) {
  Machine machine = MachineWith({"H100-SXM5-80GB"});
  Workload note = Limited("note", {GiB(8), GiB(8)}, 0, 4);
  note.mechanism = Mechanism::kMps;
  note.profile = "3g.40gb";
  const Spec spec = SpecOf({note});
  const Plan without = PlanOf(machine, spec);
  ASSERT_FALSE(without.feasible());
  EXPECT_THAT(without.unplaced[0].reason, HasSubstr("no mps: not on this GPU"));
  OfferMps(&machine);
  const Plan plan = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 1);
  EXPECT_EQ(plan.FindAssignment("note", 3)->slice.profile, "3g.40gb");
}

}  // namespace
}  // namespace tranche::planning
