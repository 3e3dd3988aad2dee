#include "stage/plan/compute_modes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kL40S = "L40S";

Machine WithMps(const std::vector<std::string>& gpus) {
  Machine machine = MachineWith(gpus);
  OfferMps(&machine);
  for (Gpu& gpu : machine.gpus) gpu.compute_mode = ComputeMode::kDefault;
  return machine;
}

Plan PlanOf(const Machine& machine, const Spec& spec, const Deployment& deployment = {}) {
  return MakePlan(machine, spec, deployment, TestCatalog(), {});
}

Workload By(Mechanism mechanism, const std::string& name, int replicas = 1) {
  Workload workload = Limited(name, {GiB(4), GiB(4)}, 0, replicas);
  workload.mechanism = mechanism;
  return workload;
}

testing::Matcher<std::vector<std::string>> FailsOpen(const std::string& why) {
  return Contains(testing::AllOf(HasSubstr("MPS on gpu0 fails open"), HasSubstr(why)));
}

TEST(ComputeModes, AreSetBeforeTheFirstClientAndPutBackAfterTheLast) {
  const Machine machine = WithMps({kL40S});
  const Spec spec = SpecOf({By(Mechanism::kMps, "a", 2)});
  const Plan plan = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_THAT(Lines(plan), ElementsAre("+ gpu0 compute mode exclusive_process",
                                       "+ start workload a/0", "+ start workload a/1"));
  EXPECT_EQ(plan.steps[0].compute_mode_before, ComputeMode::kDefault);
  EXPECT_THAT(plan.notes, Not(FailsOpen("")));
  const World world = Applied(machine, {}, plan);
  EXPECT_FALSE(PlanOf(world.machine, spec, world.deployment).HasChanges());

  const Plan gone = PlanOf(world.machine, SpecOf({}), world.deployment);
  EXPECT_EQ(gone.steps.back().kind, StepKind::kSetComputeMode);
  EXPECT_EQ(gone.steps.back().compute_mode, ComputeMode::kDefault);
  const Plan down = MakeDownPlan(world.machine, world.deployment, TestCatalog());
  EXPECT_EQ(down.steps.back().kind, StepKind::kSetComputeMode);
  EXPECT_EQ(down.steps.back().compute_mode, ComputeMode::kDefault);
}

TEST(ComputeModes, GoBackBeforeOthersCome) {
  for (const Mechanism other :
       {Mechanism::kFraction, Mechanism::kTimeSlicing, Mechanism::kExclusive, Mechanism::kMig}) {
    const Machine machine = WithMps({"H100-SXM5-80GB"});
    const Spec spec = SpecOf({By(Mechanism::kMps, "a", 2)});
    const World world = Applied(machine, {}, PlanOf(machine, spec));
    Spec next = SpecOf({By(other, "b")});
    next.workloads[0].isolation = {"none", {}, false};
    const Plan plan = PlanOf(world.machine, next, world.deployment);
    ASSERT_TRUE(plan.feasible()) << MechanismName(other);
    // Applied() holds that no client is there any more, no other yet, and that MIG mode is off.
    const World after = Applied(world.machine, world.deployment, plan);
    EXPECT_EQ(after.machine.gpus[0].compute_mode, ComputeMode::kDefault) << MechanismName(other);
    EXPECT_TRUE(after.deployment.compute_modes.empty()) << MechanismName(other);
    EXPECT_EQ(Count(plan, StepKind::kSetComputeMode), 1) << MechanismName(other);
  }
}

TEST(ComputeModes, GoBackAfterTheClientThatComesAgainByAnotherMechanism) {
  const Machine machine = WithMps({kL40S});
  const World world = Applied(machine, {}, PlanOf(machine, SpecOf({By(Mechanism::kMps, "a")})));
  const Plan plan =
      PlanOf(world.machine, SpecOf({By(Mechanism::kFraction, "a")}), world.deployment);
  EXPECT_THAT(Lines(plan), ElementsAre("~ stop workload a/0", "- gpu0 compute mode default",
                                       "~ start workload a/0"));
}

TEST(ComputeModes, AreSetAfterTheOneThatComesAgainAsAClient) {
  const Machine machine = WithMps({kL40S});
  const World world =
      Applied(machine, {}, PlanOf(machine, SpecOf({By(Mechanism::kFraction, "a")})));
  const Plan plan = PlanOf(world.machine, SpecOf({By(Mechanism::kMps, "a")}), world.deployment);
  EXPECT_THAT(Lines(plan),
              ElementsAre("~ stop workload a/0", "+ gpu0 compute mode exclusive_process",
                          "~ start workload a/0"));
}

TEST(ComputeModes, AreSetOnceMigModeIsOff) {
  Machine machine = WithMps({"H100-SXM5-80GB"});
  machine.gpus[0].mig_mode = MigMode{true, true};
  const Spec spec = SpecOf({By(Mechanism::kMps, "a")});
  const World world = Applied(machine, {}, PlanOf(machine, spec));
  if (world.deployment.replicas.at(0).slice.placement) return;  // within an instance of it
  EXPECT_EQ(world.machine.gpus[0].compute_mode, ComputeMode::kExclusiveProcess);
}

TEST(ComputeModes, AreLeftAloneWhereTheyCannotBeSetAndThatIsSaid) {
  const Spec spec = SpecOf({By(Mechanism::kMps, "a")});
  const auto left = [&](const Machine& machine, const std::string& why) {
    const Plan plan = PlanOf(machine, spec);
    EXPECT_TRUE(plan.feasible()) << why;
    EXPECT_EQ(Count(plan, StepKind::kSetComputeMode), 0) << why;
    EXPECT_THAT(plan.notes, FailsOpen(why));
  };
  Machine machine = WithMps({kL40S});
  for (Capability& capability : machine.capabilities) {
    if (capability.mechanism == Mechanism::kMps) capability.fails_open = "it is root's to set";
  }
  left(machine, "it is root's to set");

  machine = WithMps({kL40S});
  PutProcess(machine, 0, 4711, "python train.py");
  left(machine, "pid 4711 (python train.py, user ana) uses it as well, and would be locked out");
  // What draws on a screen is no CUDA process.
  machine.gpus[0].processes[0].graphics = true;
  EXPECT_EQ(Count(PlanOf(machine, spec), StepKind::kSetComputeMode), 1);

  machine = WithMps({"H100-SXM5-80GB"});
  Workload shared = By(Mechanism::kMps, "a");
  shared.profile = "3g.40gb";
  const Plan within = PlanOf(machine, SpecOf({shared}));
  ASSERT_TRUE(within.feasible());
  EXPECT_EQ(Count(within, StepKind::kSetComputeMode), 0);
  EXPECT_THAT(within.notes, FailsOpen("MIG mode"));
}

TEST(ComputeModes, OfOthersStayAsTheyAre) {
  Machine machine = WithMps({kL40S});
  machine.gpus[0].compute_mode = ComputeMode::kExclusiveProcess;
  const Spec spec = SpecOf({By(Mechanism::kMps, "a")});
  const Plan plan = PlanOf(machine, spec);
  EXPECT_THAT(Lines(plan), ElementsAre("+ start workload a/0"));
  EXPECT_THAT(plan.notes, Not(FailsOpen("")));

  // Ours that somebody has changed since is theirs.
  machine.gpus[0].compute_mode = ComputeMode::kDefault;
  World world = Applied(machine, {}, PlanOf(machine, spec));
  world.machine.gpus[0].compute_mode = ComputeMode::kDefault;
  EXPECT_EQ(Count(MakeDownPlan(world.machine, world.deployment, TestCatalog()),
                  StepKind::kSetComputeMode),
            0);
  // While it is needed it is set again.
  EXPECT_THAT(Lines(PlanOf(world.machine, spec, world.deployment)),
              Contains("~ gpu0 compute mode exclusive_process"));
}

// ---- static partitions ----

Machine WithPartitions(const std::vector<std::string>& gpus) {
  Machine machine = WithMps(gpus);
  for (Capability& capability : machine.capabilities) {
    if (capability.mechanism == Mechanism::kMps) capability.partition_sms = 8;
  }
  return machine;
}

Workload Partitioned(const std::string& name, double compute, int replicas = 1) {
  Workload workload = By(Mechanism::kMps, name, replicas);
  workload.isolation.word = "axes";
  workload.isolation.axes.compute = Guarantee::kDriver;
  if (compute > 0) workload.compute = Share<Fraction>{{compute}, {compute}};
  return workload;
}

TEST(Partitions, AreWholeChunksAndHeldByTheDriver) {
  const Machine machine = WithPartitions({"H100-SXM5-80GB"});
  ASSERT_EQ(*machine.gpus[0].sm_count, 132);
  const Spec spec =
      SpecOf({Partitioned("half", 0.48), Partitioned("third", 0.3), Partitioned("fifth", 0.18)});
  const Plan plan = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  ASSERT_TRUE(plan.feasible());
  EXPECT_DOUBLE_EQ(plan.FindAssignment("half", 0)->slice.compute_fraction, 64.0 / 132);
  EXPECT_DOUBLE_EQ(plan.FindAssignment("third", 0)->slice.compute_fraction, 40.0 / 132);
  EXPECT_DOUBLE_EQ(plan.FindAssignment("fifth", 0)->slice.compute_fraction, 24.0 / 132);
  EXPECT_EQ(plan.FindAssignment("third", 0)->guarantee.compute, Guarantee::kDriver);
  EXPECT_THAT(plan.FindAssignment("third", 0)->reasons,
              Contains(HasSubstr("a static partition of MPS in chunks of 8")));
  // 9, 5 and 4 chunks, of which there are 16.
  EXPECT_FALSE(PlanOf(machine, SpecOf({Partitioned("half", 0.5), Partitioned("third", 0.3),
                                       Partitioned("fifth", 0.2)}))
                   .feasible());
}

TEST(Partitions, AreNotToBeHadEverywhere) {
  const auto refused = [](const Machine& machine, const std::vector<Workload>& workloads,
                          const std::string& why) {
    const Plan plan = PlanOf(machine, SpecOf(workloads));
    ASSERT_FALSE(plan.feasible()) << why;
    EXPECT_THAT(plan.unplaced[0].reason, HasSubstr(why));
  };
  refused(WithMps({kL40S}), {Partitioned("a", 0.3)}, "has no static partitions");
  refused(WithPartitions({kL40S}), {Partitioned("a", 0)}, "say `compute: 30%`");
  // A server divides the SMs among all its clients or among none.
  refused(WithPartitions({kL40S}), {Partitioned("a", 0.3), By(Mechanism::kMps, "plain")},
          "gives to all its clients or to none");
}

TEST(Partitions, ComeAndGoWithAllClientsAtOnce) {
  const Machine machine = WithPartitions({kL40S});
  const Spec divided = SpecOf({Partitioned("a", 0.3), Partitioned("b", 0.2)});
  Spec shared = divided;
  for (Workload& workload : shared.workloads) workload.isolation = {"process", {}, false};
  const auto stops_before_starts = [](const Plan& plan) {
    bool started = false;
    for (const Step& step : plan.steps) {
      started = started || step.kind == StepKind::kStartReplica;
      if (step.kind == StepKind::kStopReplica && started) return false;
    }
    return true;
  };
  World world = Applied(machine, {}, PlanOf(machine, divided));
  Plan plan = PlanOf(world.machine, shared, world.deployment);
  EXPECT_EQ(Count(plan, StepKind::kStopReplica), 2);
  EXPECT_TRUE(stops_before_starts(plan));
  world = Applied(world.machine, world.deployment, plan);
  plan = PlanOf(world.machine, divided, world.deployment);
  EXPECT_EQ(Count(plan, StepKind::kStopReplica), 2);
  EXPECT_TRUE(stops_before_starts(plan));
  world = Applied(world.machine, world.deployment, plan);
  EXPECT_FALSE(PlanOf(world.machine, divided, world.deployment).HasChanges());
  // One by one where the kind stays.
  Spec changed = divided;
  for (Workload& workload : changed.workloads) workload.env["VERSION"] = "2";
  EXPECT_FALSE(stops_before_starts(PlanOf(world.machine, changed, world.deployment)));
}

}  // namespace
}  // namespace tranche::planning
