#include "stage/plan/planner.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

Plan PlanFor(const Machine& machine, const Spec& spec, const Deployment& deployment = {},
             PlanOptions options = {}) {
  return MakePlan(machine, spec, deployment, TestCatalog(), options);
}

// The world after `spec` was planned for an empty machine and applied.
World Running(const Machine& machine, const Spec& spec) {
  const Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  return Applied(machine, {}, plan);
}

std::string Reasons(const Assignment& assignment) {
  std::string text;
  for (const std::string& reason : assignment.reasons) text += reason + "\n";
  return text;
}

// ---- the main job ----

TEST(Plan, ThreeModelsShareOneH100) {
  const Machine machine = MachineWith({"H100-SXM5-80GB"});
  const Plan plan = PlanFor(machine, ThreeModels());
  ExpectSound(machine, ThreeModels(), {}, plan);
  ASSERT_EQ(plan.assignments.size(), 3u);
  for (const Assignment& assignment : plan.assignments) {
    EXPECT_EQ(assignment.slice.mechanism, Mechanism::kMig);
    EXPECT_EQ(assignment.slice.placement->size, 2);
    EXPECT_EQ(assignment.slice.memory, MiB(20096));
    EXPECT_LE(assignment.slice.compute_fraction, 32.0 / 132);
    EXPECT_THAT(Reasons(assignment), HasSubstr("kv cache"));
  }
  EXPECT_EQ(Count(plan, StepKind::kEnableMig), 1);
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 3);
  EXPECT_EQ(Count(plan, StepKind::kStartReplica), 3);
  EXPECT_EQ(Count(plan, StepKind::kRoute), 1);
  EXPECT_EQ(plan.steps.back().target, "routes /phi, /mistral, /qwen");
  EXPECT_EQ(plan.machine_fingerprint, machine.fingerprint);
}

TEST(Plan, ProcessIsolationGetsAFractionOfAGpuWithoutMig) {
  const Machine machine = MachineWith({"L40S"});
  Spec spec = SpecOf({Limited("a", {GiB(10), GiB(10)}, 0.3), Limited("b", {GiB(8), GiB(12)}, 0.5),
                      Limited("c", {GiB(4), GiB(4)}, 0)});
  Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(plan.assignments[1].slice.mechanism, Mechanism::kFraction);
  EXPECT_EQ(plan.assignments[1].slice.memory, GiB(12)) << "the limit is reserved";
  EXPECT_EQ(plan.assignments[1].needed, GiB(8));
  EXPECT_THAT(Reasons(plan.assignments[1]), HasSubstr("50% of the GPU's time, 100% at most"));
  EXPECT_THAT(Reasons(plan.assignments[2]), HasSubstr("what others leave"));

  spec.workloads[1].preemptible = true;
  plan = PlanFor(machine, spec);
  EXPECT_EQ(plan.assignments[1].slice.memory, GiB(8)) << "what is above is only lent";
  EXPECT_THAT(Reasons(plan.assignments[1]), HasSubstr("lent"));
}

TEST(Plan, FractionsNeverPromiseMoreThanThereIs) {
  const Machine machine = MachineWith({"L40S"});
  const Spec time =
      SpecOf({Limited("a", {GiB(4), GiB(4)}, 0.6), Limited("b", {GiB(4), GiB(4)}, 0.5)});
  Plan plan = PlanFor(machine, time);
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_THAT(plan.unplaced[0].reason, HasSubstr("40% of its time"));
  EXPECT_THAT(plan.unplaced[0].nearest, HasSubstr("one more L40S"));

  const Spec memory =
      SpecOf({Limited("a", {GiB(20), GiB(30)}, 0), Limited("b", {GiB(10), GiB(20)}, 0)});
  plan = PlanFor(machine, memory);
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_THAT(plan.unplaced[0].nearest, HasSubstr("preemptible: true"));

  // What programs outside the spec were promised counts as well.
  PlanOptions options;
  options.compute_promised[machine.gpus[0].uuid] = 0.5;
  EXPECT_FALSE(
      PlanFor(machine, SpecOf({Limited("a", {GiB(4), GiB(4)}, 0.6)}), {}, options).feasible());
  EXPECT_TRUE(
      PlanFor(machine, SpecOf({Limited("a", {GiB(4), GiB(4)}, 0.5)}), {}, options).feasible());
}

TEST(Plan, AppliedTwiceChangesNothing) {
  const World world = Running(MachineWith({"H100-SXM5-80GB"}), ThreeModels());
  const Plan again = PlanFor(world.machine, ThreeModels(), world.deployment);
  EXPECT_FALSE(again.HasChanges());
  EXPECT_EQ(again.steps.size(), 6u);
  EXPECT_EQ(Count(again, StepKind::kKeepInstance), 3);
  EXPECT_EQ(Count(again, StepKind::kKeepReplica), 3);
}

TEST(Plan, TheSameInputsGiveTheSamePlan) {
  const Machine machine = MachineWith({"H100-SXM5-80GB", "A100-SXM4-80GB", "L40S"});
  const Spec spec =
      SpecOf({Hardware("a", GiB(9), 5), Shared("b", GiB(12), 4), Hardware("c", GiB(30), 2)});
  const Plan plan = PlanFor(machine, spec);
  EXPECT_EQ(PlanFor(machine, spec), plan);
  EXPECT_EQ(plan.id, PlanDigest(plan));
  Machine later = machine;
  later.read_at += std::chrono::hours(1);
  EXPECT_EQ(PlanFor(later, spec).id, plan.id);
}

// ---- what changes, and what stays ----

// Engines for media are taken by instances that stand elsewhere, too.
TEST(Plan, AllMediaEnginesAreFreeBeforeOneInstanceTakesThem) {
  Workload graphics = Hardware("graphics", GiB(20), 4);
  graphics.profile = "1g.24gb+gfx";
  const World world = Running(MachineWith({"RTX-PRO-6000-SERVER"}), SpecOf({graphics}));
  ASSERT_EQ(world.machine.gpus[0].mig_instances.size(), 4u);
  Workload media = Hardware("media", GiB(20));
  media.profile = "1g.24gb+me.all";
  const Plan plan = PlanFor(world.machine, SpecOf({media}), world.deployment);
  ASSERT_TRUE(plan.feasible());
  int destroyed = 0;
  for (const Step& step : plan.steps) {
    if (step.kind == StepKind::kDestroyInstance) ++destroyed;
    if (step.kind == StepKind::kCreateInstance) break;
  }
  EXPECT_EQ(destroyed, 4);
}

TEST(Plan, KeepingFiveOfSevenDestroysExactlyTwo) {
  std::vector<Workload> seven;
  for (const char* name : {"a", "b", "c", "d", "e", "f", "g"})
    seven.push_back(Hardware(name, GiB(9)));
  const World world = Running(MachineWith({"H100-SXM5-80GB"}), SpecOf(seven));
  seven.erase(seven.begin() + 5);
  seven.erase(seven.begin() + 1);
  const Plan plan = PlanFor(world.machine, SpecOf(seven), world.deployment);
  ExpectSound(world.machine, SpecOf(seven), world.deployment, plan);
  EXPECT_EQ(Count(plan, StepKind::kKeepInstance), 5);
  EXPECT_EQ(Count(plan, StepKind::kKeepReplica), 5);
  EXPECT_EQ(Count(plan, StepKind::kDestroyInstance), 2);
  EXPECT_EQ(Count(plan, StepKind::kStopReplica), 2);
  EXPECT_EQ(plan.steps.size(), 14u);
}

TEST(Plan, AChangedSpecRestartsOnlyItsWorkload) {
  Spec spec = SpecOf({Hardware("a", GiB(9), 2), Hardware("b", GiB(9))});
  const World world = Running(MachineWith({"H100-SXM5-80GB"}), spec);
  spec.workloads[0].env["LEVEL"] = "debug";
  const Plan plan = PlanFor(world.machine, spec, world.deployment);
  ExpectSound(world.machine, spec, world.deployment, plan);
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance) + Count(plan, StepKind::kDestroyInstance), 0);
  // Replica by replica: the second is stopped only when the first has started.
  EXPECT_THAT(Lines(plan),
              ElementsAre(HasSubstr("= gpu0"), HasSubstr("= gpu0"), HasSubstr("= gpu0"),
                          "= workload b/0", "~ stop workload a/0", "~ start workload a/0",
                          "~ stop workload a/1", "~ start workload a/1"));
}

TEST(Plan, AWorkloadThatShrinksGetsASmallerSlice) {
  Spec spec = SpecOf({Hardware("a", GiB(30)), Hardware("b", GiB(9))});
  const World world = Running(MachineWith({"H100-SXM5-80GB"}), spec);
  spec.workloads[0].memory = Share<Bytes>{GiB(9), GiB(9)};
  const Plan plan = PlanFor(world.machine, spec, world.deployment);
  ExpectSound(world.machine, spec, world.deployment, plan);
  EXPECT_EQ(plan.FindAssignment("a", 0)->slice.profile, "1g.10gb");
  EXPECT_EQ(Count(plan, StepKind::kKeepReplica), 1);
}

TEST(Plan, TakesOverAnInstanceThatIsFreed) {
  const World world = Running(MachineWith({"H100-SXM5-80GB"}),
                              SpecOf({Hardware("old", GiB(9)), Hardware("b", GiB(30))}));
  const Spec spec = SpecOf({Hardware("new", GiB(8)), Hardware("b", GiB(30))});
  const Plan plan = PlanFor(world.machine, spec, world.deployment);
  ExpectSound(world.machine, spec, world.deployment, plan);
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance) + Count(plan, StepKind::kDestroyInstance), 0);
  EXPECT_EQ(Count(plan, StepKind::kKeepInstance), 2);
}

TEST(Plan, MovesAsFewAsWillDo) {
  // Two small ones stand so that no half of the GPU is free; a third asks for a half.
  Spec spec = SpecOf({Hardware("a", GiB(9)), Hardware("b", GiB(9))});
  Machine machine = MachineWith({"H100-SXM5-80GB"});
  PutInstance(machine, 0, "1g.10gb", 1);
  PutInstance(machine, 0, "1g.10gb", 5);
  Deployment deployment;
  for (const auto& [name, start] : {std::pair{"a", 1}, {"b", 5}}) {
    const Slice slice{"GPU-0",   Mechanism::kMig, "1g.10gb", MigPlacement{start, 1},
                      MiB(9984), 16.0 / 132};
    deployment.instances.push_back({"GPU-0", "1g.10gb", {start, 1}});
    deployment.replicas.push_back(
        {name, 0, WorkloadDigest(spec.workloads[deployment.replicas.size()]), slice});
  }
  spec.workloads.push_back(Hardware("half", GiB(30)));
  const Plan plan = PlanFor(machine, spec, deployment);
  ExpectSound(machine, spec, deployment, plan);
  EXPECT_EQ(Count(plan, StepKind::kKeepReplica), 1);
  EXPECT_EQ(Count(plan, StepKind::kDestroyInstance), 1);
}

TEST(Plan, RunningReplicasAreNotMovedToSaveAGpu) {
  const Machine machine = MachineWith({"H100-SXM5-80GB", "H100-SXM5-80GB"});
  const World world = Running(machine, SpecOf({Hardware("a", GiB(60)), Hardware("b", GiB(9))}));
  const Spec spec = SpecOf({Hardware("b", GiB(9))});
  const Plan plan = PlanFor(world.machine, spec, world.deployment);
  EXPECT_EQ(Count(plan, StepKind::kKeepReplica), 1);
  EXPECT_EQ(Count(plan, StepKind::kStartReplica), 0);
}

TEST(Plan, RestoresWhatAResetTook) {
  World world = Running(MachineWith({"H100-SXM5-80GB"}), ThreeModels());
  world.machine.gpus[0].mig_instances.clear();
  world.machine.gpus[0].mig_mode = MigMode{false, false};
  const Plan plan = PlanFor(world.machine, ThreeModels(), world.deployment);
  EXPECT_EQ(Count(plan, StepKind::kEnableMig), 1);
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 3);
  for (const DeployedReplica& replica : world.deployment.replicas) {
    EXPECT_EQ(plan.FindAssignment(replica.workload, 0)->slice, replica.slice);
  }
}

TEST(Plan, ARemovedWorkloadGoesLastWhenNobodyNeedsItsRoom) {
  const World world = Running(MachineWith({"H100-SXM5-80GB"}),
                              SpecOf({Hardware("old", GiB(30)), Hardware("b", GiB(9))}));
  const Spec spec = SpecOf({Hardware("b", GiB(9)), Hardware("c", GiB(9))});
  const Plan plan = PlanFor(world.machine, spec, world.deployment);
  ExpectSound(world.machine, spec, world.deployment, plan);
  ASSERT_GE(plan.steps.size(), 2u);
  EXPECT_EQ(plan.steps[plan.steps.size() - 2].kind, StepKind::kStopReplica);
  EXPECT_EQ(plan.steps.back().kind, StepKind::kDestroyInstance);
}

TEST(Plan, AStoppedReplicaStaysStopped) {
  World world = Running(MachineWith({"H100-SXM5-80GB"}), SpecOf({Hardware("a", GiB(9))}));
  world.deployment.replicas[0].stopped = true;
  const Plan plan = PlanFor(world.machine, SpecOf({Hardware("a", GiB(9))}), world.deployment);
  EXPECT_FALSE(plan.HasChanges());
}

TEST(Plan, TheLastRouteGoingStopsTheRouter) {
  const World world = Running(MachineWith({"H100-SXM5-80GB"}), ThreeModels());
  const Spec spec = SpecOf({Hardware("batch", GiB(9))});
  const Plan plan = PlanFor(world.machine, spec, world.deployment);
  ExpectSound(world.machine, spec, world.deployment, plan);
  EXPECT_EQ(Count(plan, StepKind::kUnroute), 1);
}

// ---- which slice, which GPU ----

TEST(Plan, GivesEachTheLeastThatSuffices) {
  const Machine machine = MachineWith({"H100-SXM5-80GB"});
  Workload compute = Hardware("compute", GiB(5));
  compute.compute = Share<Fraction>{{0.3}, {0.3}};
  const Spec spec = SpecOf({Hardware("tiny", GiB(2)), Hardware("mid", GiB(15)), compute});
  const Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(plan.FindAssignment("tiny", 0)->slice.profile, "1g.10gb");
  EXPECT_EQ(plan.FindAssignment("mid", 0)->slice.memory, MiB(20096));
  EXPECT_EQ(plan.FindAssignment("compute", 0)->slice.profile, "3g.40gb");
  EXPECT_DOUBLE_EQ(plan.FindAssignment("compute", 0)->slice.compute_fraction, 60.0 / 132);
}

TEST(Plan, UsesTheCheapestGpuThatSuffices) {
  Machine machine = MachineWith({"H100-SXM5-80GB", "A100-SXM4-80GB"});
  Spec spec = SpecOf({Hardware("a", GiB(9), 3)});
  spec.prices = {{"H100-SXM5-80GB", 2.40}, {"A100-SXM4-80GB", 1.05}};
  const Plan plan = PlanFor(machine, spec);
  for (const Assignment& assignment : plan.assignments)
    EXPECT_EQ(assignment.gpu_model, "A100-SXM4-80GB");
  EXPECT_DOUBLE_EQ(*plan.cost_per_hour, 1.05);
  EXPECT_DOUBLE_EQ(*plan.assignments[0].cost_per_hour, 1.05 / 8);
}

// On spot GPUs go those that may be taken away, and nobody else.
TEST(Plan, OnlyThePreemptibleGoOnSpot) {
  Machine machine = MachineWith({"L40S", "L40S", "L40S"});
  for (Gpu& gpu : machine.gpus) {
    gpu.price_per_hour = 2;
    gpu.spot_price_per_hour = 0.5;
  }
  Workload firm = Shared("firm", GiB(40)), spot = Shared("spot", GiB(20), 4);
  spot.preemptible = true;
  for (const int others : {2, 4}) {
    spot.replicas = others;
    const Plan plan = MakePlan(machine, SpecOf({firm, spot}), {}, TestCatalog(), {});
    ASSERT_TRUE(plan.feasible());
    EXPECT_EQ(*plan.cost_per_hour, 2 + 0.5 * (others / 2));
    EXPECT_LE(*plan.cost_lower_bound_per_hour, *plan.cost_per_hour);
    EXPECT_THAT(plan.notes, Contains(HasSubstr("only preemptible workloads")));
  }
  // So many that fleets are planned at once.
  machine = MachineWith(std::vector<std::string>(70, "L40S"));
  for (Gpu& gpu : machine.gpus) {
    gpu.price_per_hour = 2;
    gpu.spot_price_per_hour = 0.5;
  }
  firm.replicas = 10;
  spot.replicas = 100;
  const Plan many =
      MakePlan(machine, SpecOf({firm, spot}), {}, TestCatalog(), {.fleet_steps = 2000});
  ASSERT_TRUE(many.feasible());
  EXPECT_EQ(*many.cost_per_hour, 10 * 2 + 50 * 0.5);
}

TEST(Plan, WhereSomePricesAreKnownTheyDecide) {
  Machine machine = MachineWith({"H100-SXM5-80GB", "L40S"});
  machine.gpus[1].price_per_hour = 1.1;
  const Plan cheap = MakePlan(machine, SpecOf({Shared("a", GiB(10))}), {}, TestCatalog(), {});
  EXPECT_EQ(cheap.assignments.front().gpu_model, "L40S");
  EXPECT_EQ(cheap.cost_per_hour, 1.1);
  EXPECT_THAT(cheap.notes, Contains(HasSubstr("no price for H100-SXM5-80GB")));
  const Plan both = MakePlan(machine, SpecOf({Shared("a", GiB(10)), Shared("b", GiB(60))}), {},
                             TestCatalog(), {});
  ASSERT_TRUE(both.feasible());
  EXPECT_FALSE(both.cost_per_hour);
  EXPECT_THAT(both.notes, Contains(HasSubstr("the cost per hour is not known")));
}

TEST(Plan, WithoutAPriceSaysSoAndUsesFewGpus) {
  const Machine machine = MachineWith({"H100-SXM5-80GB", "A100-SXM4-80GB"});
  const Plan plan = PlanFor(machine, SpecOf({Hardware("a", GiB(9), 7)}));
  EXPECT_FALSE(plan.cost_per_hour);
  EXPECT_THAT(plan.notes, testing::Contains(HasSubstr("no price for")));
  for (const Assignment& a : plan.assignments)
    EXPECT_EQ(a.gpu_index, plan.assignments[0].gpu_index);
}

TEST(Plan, SharesATimeSlicedGpuByMemory) {
  const Machine machine = MachineWith({"L40S", "L40S"});
  const Spec spec = SpecOf({Shared("a", GiB(20), 4)});
  const Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  for (const Assignment& a : plan.assignments)
    EXPECT_EQ(a.slice.mechanism, Mechanism::kTimeSlicing);
  EXPECT_FALSE(PlanFor(machine, SpecOf({Shared("a", GiB(20), 5)})).feasible());
}

TEST(Plan, GivesSeveralWholeGpusOfOneKind) {
  const Machine machine = MachineWith({"L40S", "H100-SXM5-80GB", "H100-SXM5-80GB"});
  Workload train = Hardware("train", GiB(120));
  train.gpus = 2;
  const Spec spec = SpecOf({Hardware("small", GiB(20)), train});
  const Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(plan.FindAssignment("train", 0)->slice.more_gpu_uuids,
            (std::vector<std::string>{"GPU-2"}));
  EXPECT_EQ(plan.FindAssignment("small", 0)->gpu_model, "L40S");
}

TEST(Plan, NeverSpreadsOneReplicaOverMigSlices) {
  Machine machine = MachineWith({"H100-SXM5-80GB", "H100-SXM5-80GB"});
  Workload train = Hardware("train", GiB(20));
  train.gpus = 2;
  train.mechanism = Mechanism::kMig;
  const Plan plan = PlanFor(machine, SpecOf({train}));
  ASSERT_FALSE(plan.feasible());
  EXPECT_THAT(plan.unplaced[0].reason, HasSubstr("no peer access"));
}

TEST(Plan, RestrictionsHold) {
  const Machine machine = MachineWith({"H100-SXM5-80GB", "A100-SXM4-80GB", "L40S"});
  Workload on_l40s = Shared("a", GiB(10));
  on_l40s.gpu = "L40S";
  Workload whole = Shared("b", GiB(10));
  whole.mechanism = Mechanism::kExclusive;
  Workload mig = Shared("c", GiB(10));
  mig.mechanism = Mechanism::kMig;
  const Spec spec = SpecOf({on_l40s, whole, mig});
  ExpectSound(machine, spec, {}, PlanFor(machine, spec));
}

TEST(Plan, LowJitterIsNotTimeSliced) {
  const Machine machine = MachineWith({"L40S"});
  Workload quiet = Shared("quiet", GiB(10));
  quiet.isolation.low_jitter = true;
  const Plan plan = PlanFor(machine, SpecOf({quiet}));
  EXPECT_EQ(plan.assignments.at(0).slice.mechanism, Mechanism::kExclusive);
}

TEST(Plan, UntrustedTeamsNeverShareAFaultDomain) {
  Machine machine = MachineWith({"L40S", "L40S"});
  for (Capability& capability : machine.capabilities) {
    if (capability.mechanism != Mechanism::kMps) continue;
    capability.available = true;
    capability.guarantees = {Guarantee::kCooperative, Guarantee::kCooperative, Guarantee::kNone,
                             Guarantee::kNone};
  }
  const auto tenant = [](const char* name, const char* team, bool trusted) {
    Workload workload = Shared(name, GiB(5));
    workload.isolation = {"process", {Guarantee::kCooperative, Guarantee::kCooperative}, false};
    workload.mechanism = Mechanism::kMps;
    workload.team = team;
    workload.trusted = trusted;
    return workload;
  };
  const auto gpus = [&](std::vector<Workload> workloads) {
    const Plan plan = PlanFor(machine, SpecOf(std::move(workloads)));
    EXPECT_TRUE(plan.feasible());
    std::set<int> used;
    for (const Assignment& assignment : plan.assignments) used.insert(assignment.gpu_index);
    return used.size();
  };
  EXPECT_EQ(gpus({tenant("a", "x", false), tenant("b", "x", false)}), 1u);
  EXPECT_EQ(gpus({tenant("a", "x", false), tenant("b", "y", false)}), 2u);
  EXPECT_EQ(gpus({tenant("a", "x", true), tenant("b", "y", false)}), 2u);
  EXPECT_EQ(gpus({tenant("a", "x", true), tenant("b", "y", true)}), 1u);
}

TEST(Plan, AModelWhoseEngineIsVllmIsToldToFitItsSlice) {
  const Machine machine = MachineWith({"H100-SXM5-80GB"});
  const Spec spec = SpecOf({Model("mistral", "mistral-7b", "int4", 8192, 8, ServingEngine::kVllm)});
  const Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_THAT(plan.assignments[0].engine_flags, testing::Contains("--gpu-memory-utilization"));
  EXPECT_EQ(plan.assignments[0].slice.memory, MiB(20096));
}

// ---- others on the machine ----

TEST(Plan, PlansAroundForeignInstances) {
  Machine machine = MachineWith({"H100-SXM5-80GB"});
  PutInstance(machine, 0, "3g.40gb", 4);
  const Spec spec = SpecOf({Hardware("a", GiB(30))});
  const Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(plan.assignments[0].slice.placement->start, 0);
  EXPECT_THAT(plan.notes, testing::Contains(HasSubstr("is not Tranche's")));
  EXPECT_FALSE(PlanFor(machine, SpecOf({Hardware("a", GiB(60))})).feasible());
}

TEST(Plan, AdoptReplacesWhatIsIdleAndNothingElse) {
  Machine machine = MachineWith({"H100-SXM5-80GB"});
  MigInstance& busy = PutInstance(machine, 0, "1g.10gb", 6);
  const int busy_id = busy.id;
  PutInstance(machine, 0, "3g.40gb", 0);
  PutProcess(machine, 0, 4711, "python train.py", busy_id);
  const Spec spec = SpecOf({Hardware("a", GiB(9), 6)});
  EXPECT_FALSE(PlanFor(machine, spec).feasible());
  const Plan plan = PlanFor(machine, spec, {}, {.adopt = true});
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(Count(plan, StepKind::kDestroyInstance), 1);
  EXPECT_EQ(PlanFor(machine, SpecOf({Hardware("a", GiB(9), 7)}), {}, {.adopt = true}).feasible(),
            false);
}

TEST(Plan, AForeignProcessKeepsMigFromBeingSwitchedOn) {
  Machine machine = MachineWith({"H100-SXM5-80GB"});
  PutProcess(machine, 0, 4711, "python train.py");
  const Plan plan = PlanFor(machine, SpecOf({Hardware("a", GiB(9))}));
  ASSERT_FALSE(plan.feasible());
  EXPECT_THAT(plan.steps, IsEmpty());
  EXPECT_THAT(plan.unplaced[0].reason, HasSubstr("pid 4711 (python train.py, user ana)"));
}

TEST(Plan, OurOwnProcessesAreNotForeign) {
  World world = Running(MachineWith({"L40S"}), SpecOf({Shared("a", GiB(20))}));
  PutProcess(world.machine, 0, 4711, "serve");
  world.deployment.replicas[0].pids = {4711};
  const Spec spec = SpecOf({Shared("a", GiB(20)), Shared("b", GiB(22))});
  EXPECT_TRUE(PlanFor(world.machine, spec, world.deployment).feasible());
  // Of a process that is not ours, what it holds is not there for us.
  PutProcess(world.machine, 0, 4712, "other");
  world.machine.gpus[0].processes.back().memory_used = GiB(10);
  EXPECT_FALSE(PlanFor(world.machine, spec, world.deployment).feasible());
}

TEST(Plan, LeavesOutWhatIsBroken) {
  Machine machine = MachineWith({"H100-SXM5-80GB", "H100-SXM5-80GB", "A100-SXM4-80GB"});
  machine.gpus[0].health.usable = false;
  machine.gpus[0].health.problems = {"it fell off the bus"};
  machine.gpus[2].mig_mode = MigMode{false, true};
  const Spec spec = SpecOf({Hardware("a", GiB(9), 7)});
  const Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  for (const Assignment& assignment : plan.assignments) EXPECT_EQ(assignment.gpu_index, 1);
  EXPECT_THAT(plan.notes, testing::Contains("gpu0 is left out: it fell off the bus"));
  EXPECT_THAT(plan.notes, testing::Contains(HasSubstr("gpu2 is left out: its MIG mode turns on")));
}

// ---- what does not fit ----

TEST(Unplaced, SaysWhatIsNeededWhatIsFreeAndWhatWouldFit) {
  const Machine machine = MachineWith({"H100-SXM5-80GB"});
  const Plan plan = PlanFor(machine, SpecOf({Hardware("a", GiB(30)), Hardware("b", GiB(41))}));
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_EQ(plan.unplaced[0].workload, "b");
  EXPECT_THAT(plan.steps, IsEmpty());
  EXPECT_EQ(
      plan.unplaced[0].reason,
      "needs 41 GiB with hardware isolation; the largest free piece is 3g.40gb on gpu0 (39.5 GiB)");
  EXPECT_EQ(plan.unplaced[0].nearest,
            "1.5 GiB less fits 3g.40gb (39.5 GiB); or one more H100-SXM5-80GB");
}

TEST(Unplaced, NamesASmallerPrecision) {
  const Machine machine = MachineWith({"A100-SXM4-40GB"});
  const Plan plan = PlanFor(machine, SpecOf({Model("llama", "llama-3.1-70b", "bf16", 4096, 1)}));
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_THAT(plan.unplaced[0].reason, HasSubstr("needs 133.67 GiB"));
  EXPECT_THAT(plan.unplaced[0].nearest, HasSubstr("precision int4 needs"));
}

TEST(Unplaced, AMixThatIsLegalByCountButNotByPlaceIsRefused) {
  const Machine machine = MachineWith({"A100-SXM4-40GB"});
  // Four with double memory take all eight slots although three compute slices are left.
  const Plan plan =
      PlanFor(machine, SpecOf({Hardware("double", GiB(9), 4), Hardware("single", GiB(4), 3)}));
  ASSERT_EQ(plan.unplaced.size(), 3u);
  EXPECT_EQ(plan.unplaced[0].workload, "single");
  EXPECT_THAT(plan.unplaced[0].nearest, HasSubstr("one more A100-SXM4-40GB"));
}

TEST(Unplaced, WithoutAnyGpuSaysSo) {
  const Plan plan = PlanFor(MachineWith({}), SpecOf({Hardware("a", GiB(9))}));
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_THAT(plan.unplaced[0].reason, HasSubstr("there is no GPU"));
  EXPECT_THAT(plan.unplaced[0].nearest, HasSubstr("a free GPU such as"));
}

TEST(Unplaced, AQuotaIsKept) {
  const Machine machine = MachineWith({"H100-SXM5-80GB"});
  Workload workload = Hardware("a", GiB(9), 3);
  workload.team = "search";
  Spec spec = SpecOf({workload});
  spec.teams = {{"search", 1, GiB(20), std::nullopt}};
  const Plan plan = PlanFor(machine, spec);
  ASSERT_EQ(plan.unplaced.size(), 1u);
  EXPECT_EQ(plan.unplaced[0].reason,
            "needs 9 GiB, and team search has 2 GiB of its quota of 20 GiB left");
  spec.teams = {{"search", 1, std::nullopt, 0.25}};
  EXPECT_EQ(PlanFor(machine, spec).unplaced.size(), 1u);
}

// ---- down ----

TEST(DownPlan, GoesBackToHowItWas) {
  const Machine before = MachineWith({"H100-SXM5-80GB"});
  World world = Running(before, ThreeModels());
  world.deployment.baselines = {{"GPU-0", false, {}}};
  const Plan plan = MakeDownPlan(world.machine, world.deployment, TestCatalog());
  EXPECT_EQ(plan.steps.front().kind, StepKind::kUnroute);
  EXPECT_EQ(plan.steps.back().kind, StepKind::kDisableMig);
  const World after = Applied(world.machine, world.deployment, plan);
  EXPECT_EQ(MachineFingerprint(after.machine), before.fingerprint);
  EXPECT_THAT(after.deployment.replicas, IsEmpty());
  const Result<Plan> read = PlanFromJson(ToJson(plan));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, plan);
}

TEST(DownPlan, LeavesWhatIsNotOursAndGivesBackWhatWasAdopted) {
  Machine machine = MachineWith({"H100-SXM5-80GB"});
  PutInstance(machine, 0, "1g.10gb", 6);  // foreign
  PutInstance(machine, 0, "2g.20gb", 0);  // ours, where a 1g.10gb was adopted
  Deployment deployment;
  deployment.instances = {{"GPU-0", "2g.20gb", {0, 2}}};
  deployment.baselines = {{"GPU-0", true, {{"GPU-0", "1g.10gb", {0, 1}}}}};
  const Plan plan = MakeDownPlan(machine, deployment, TestCatalog());
  EXPECT_THAT(Lines(plan), ElementsAre("- gpu0 2g.20gb@0", "+ gpu0 1g.10gb@0"));
}

// Of the same price, memory and slices: 400 W and 300 W.
TEST(Planner, OfPlansThatAreAlikeTheOneThatDrawsLess) {
  for (const std::vector<std::string>& gpus :
       {std::vector<std::string>{"A100-SXM4-80GB", "A100-PCIE-80GB"},
        std::vector<std::string>{"A100-PCIE-80GB", "A100-SXM4-80GB"}}) {
    Machine machine = MachineWith(gpus);
    for (Gpu& gpu : machine.gpus) gpu.price_per_hour = 2;
    const Spec spec = SpecOf({Hardware("one", GiB(9))});
    const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), {});
    ASSERT_TRUE(plan.feasible());
    EXPECT_EQ(plan.assignments[0].gpu_model, "A100-PCIE-80GB");
    EXPECT_EQ(plan.peak_power_watts, 300);
    // A price decides before that.
    for (Gpu& gpu : machine.gpus) gpu.price_per_hour = gpu.model == "A100-SXM4-80GB" ? 1.9 : 2;
    const Plan cheaper = MakePlan(machine, spec, {}, TestCatalog(), {});
    EXPECT_EQ(cheaper.assignments[0].gpu_model, "A100-SXM4-80GB");
    EXPECT_EQ(cheaper.peak_power_watts, 400);
  }
  // Likewise where there are so many that they are placed as a fleet.
  std::vector<std::string> many(30, "A100-SXM4-80GB");
  many.insert(many.end(), 20, "A100-PCIE-80GB");
  Machine fleet = MachineWith(many);
  for (Gpu& gpu : fleet.gpus) gpu.price_per_hour = 2;
  const Plan plan =
      MakePlan(fleet, SpecOf({Hardware("one", GiB(9), 7 * 22)}), {}, TestCatalog(), {});
  EXPECT_EQ(plan.peak_power_watts, 20 * 300 + 2 * 400);
}

// Kinds that are not even divided alike: where what is on one goes on the other for the same money.
TEST(Planner, OfKindsThatCostTheSameTheOneThatDrawsLess) {
  for (const bool hot_first : {true, false}) {
    std::vector<std::string> gpus(30, hot_first ? "H100-SXM5-80GB" : "A100-PCIE-80GB");
    gpus.insert(gpus.end(), 30, hot_first ? "A100-PCIE-80GB" : "H100-SXM5-80GB");
    for (const int instances : {7, 7 * 22}) {  // tried one by one, and as a fleet
      Machine machine = MachineWith(gpus);
      for (Gpu& gpu : machine.gpus) gpu.price_per_hour = 2;
      const Spec spec = SpecOf({Hardware("one", GiB(9), instances)});
      const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), {.fleet_steps = 2000});
      ASSERT_TRUE(plan.feasible());
      EXPECT_EQ(plan.cost_per_hour, 2.0 * (instances / 7));
      EXPECT_EQ(plan.cost_lower_bound_per_hour, plan.cost_per_hour);
      EXPECT_EQ(plan.peak_power_watts, instances / 7 * 300);
      // Where MIG is on already nothing has to be set up: that comes before.
      for (Gpu& gpu : machine.gpus) {
        if (gpu.model == "H100-SXM5-80GB") gpu.mig_mode = MigMode{true, true};
      }
      const Plan ready = MakePlan(machine, spec, {}, TestCatalog(), {.fleet_steps = 2000});
      EXPECT_EQ(ready.peak_power_watts, instances / 7 * 700);
      // A price is what decides first.
      for (Gpu& gpu : machine.gpus) {
        if (gpu.model == "H100-SXM5-80GB") gpu.price_per_hour = 2.01;
      }
      EXPECT_EQ(MakePlan(machine, spec, {}, TestCatalog(), {.fleet_steps = 2000}).peak_power_watts,
                instances / 7 * 300);
    }
  }
}

TEST(Planner, PowerThatIsNotKnownIsNotStated) {
  Machine machine = MachineWith({"A100-SXM4-80GB"});
  machine.gpus[0].model.clear();
  const Plan plan = MakePlan(machine, SpecOf({Hardware("one", GiB(9))}), {}, TestCatalog(), {});
  ASSERT_TRUE(plan.feasible());
  EXPECT_FALSE(plan.peak_power_watts);
}

}  // namespace
}  // namespace tranche::planning
