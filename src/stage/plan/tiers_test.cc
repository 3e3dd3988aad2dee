#include "stage/plan/tiers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "stage/plan/by_hand.h"
#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const char* const kH100 = "H100-SXM5-80GB";

Plan PlanFor(const Machine& machine, const Spec& spec, const Deployment& deployment = {}) {
  return MakePlan(machine, spec, deployment, TestCatalog(), {});
}

Tier TierOf(const std::string& name, std::optional<Mechanism> mechanism,
            std::vector<GpuSelector> gpus) {
  Tier tier;
  tier.name = name;
  tier.mechanism = mechanism;
  tier.gpus = std::move(gpus);
  return tier;
}

GpuSelector Model(const std::string& gpu, std::optional<int> count = std::nullopt) {
  GpuSelector selector;
  selector.gpu = gpu;
  selector.count = count;
  return selector;
}

GpuSelector Index(int index) {
  GpuSelector selector;
  selector.index = index;
  return selector;
}

Workload In(Workload workload, const std::string& tier) {
  workload.tier = tier;
  return workload;
}

Workload Turns(const std::string& name, Bytes memory, int replicas = 1,
               std::optional<TimeSlice> time_slice = std::nullopt) {
  Workload workload = Shared(name, memory, replicas);
  workload.mechanism = Mechanism::kTimeSlicing;
  workload.time_slice = time_slice;
  return workload;
}

std::set<int> GpusOf(const Plan& plan, const std::string& workload) {
  std::set<int> gpus;
  for (const Assignment& assignment : plan.assignments) {
    if (assignment.workload == workload) gpus.insert(assignment.gpu_index);
  }
  return gpus;
}

// ---- which GPUs ----

TEST(Tiers, NamedGpusComeBeforeCountedOnesAndThoseBeforeTheRest) {
  const Machine machine = MachineWith({kH100, kH100, kH100, kH100, "L40S"});
  Spec spec;
  spec.tiers = {TierOf("rest", {}, {Model(kH100)}), TierOf("two", {}, {Model(kH100, 2)}),
                TierOf("first", {}, {Index(0)})};
  const TierGpus tiers = ResolveTiers(machine, spec);
  EXPECT_THAT(tiers.tier_of, ElementsAre("first", "two", "two", "rest", ""));
  EXPECT_THAT(tiers.problems, IsEmpty());
}

TEST(Tiers, SelectorsThatSelectTooLittleAreTold) {
  const Machine machine = MachineWith({kH100});
  Spec spec;
  spec.tiers = {TierOf("a", {}, {Model(kH100, 2)}), TierOf("b", {}, {Index(7)}),
                TierOf("c", {}, {Index(0)})};
  const TierGpus tiers = ResolveTiers(machine, spec);
  EXPECT_THAT(tiers.tier_of, ElementsAre("c"));
  EXPECT_THAT(tiers.problems, ElementsAre("tier 'b': no GPU here is index 7",
                                          std::string("tier 'a': no GPU here is ") + kH100));
}

// ---- how much ----

TierCapacity CapacityOf(Tier tier, const std::vector<std::string>& gpus) {
  Spec spec;
  tier.name = "t";
  spec.tiers = {tier};
  return TierCapacities(MachineWith(gpus), spec, {}, TestCatalog()).at(0);
}

TEST(Tiers, EightAtFourSlicesAreEightAndSixteenOnlyWithThreeBesides) {
  const std::vector<std::string> eight(8, kH100);
  Tier tier = TierOf("t", Mechanism::kMig, {Model(kH100)});
  tier.profiles = {"4g.40gb"};
  TierCapacity capacity = CapacityOf(tier, eight);
  EXPECT_EQ(capacity.slices, 8);
  EXPECT_THAT(capacity.notes, ElementsAre(HasSubstr("16 slices only as 4g.40gb and 3g.40gb")));
  tier.profiles = {"4g.40gb", "3g.40gb"};
  capacity = CapacityOf(tier, eight);
  EXPECT_EQ(capacity.slices, 16);
  EXPECT_EQ(capacity.how, "8 GPUs, 4g.40gb and 3g.40gb on each");
  tier.profiles = {"1g.10gb"};
  EXPECT_EQ(CapacityOf(tier, eight).slices, 56);
  tier.profiles.clear();
  EXPECT_FALSE(CapacityOf(tier, eight).slices) << "nobody can say";
}

TEST(Tiers, OversubscriptionMultiplies) {
  Tier tier = TierOf("t", Mechanism::kTimeSlicing, {Model("L40S")});
  EXPECT_FALSE(CapacityOf(tier, {"L40S", "L40S"}).slices);
  tier.oversubscription = 4;
  const TierCapacity capacity = CapacityOf(tier, {"L40S", "L40S", kH100});
  EXPECT_EQ(capacity.slices, 8);
  EXPECT_THAT(capacity.notes, ElementsAre(HasSubstr("neither memory nor")));
  tier.mechanism = Mechanism::kExclusive;
  EXPECT_EQ(CapacityOf(tier, {"L40S", "L40S"}).slices, 2);
}

TEST(Tiers, AProfileThatAGpuCannotHaveIsNotCounted) {
  Tier tier = TierOf("t", Mechanism::kMig, {Model("L40S"), Model(kH100)});
  tier.profiles = {"3g.40gb", "3g.40gb", "1g.10gb"};
  const TierCapacity capacity = CapacityOf(tier, {"L40S", kH100});
  EXPECT_EQ(capacity.slices, 0);
  EXPECT_EQ(capacity.notes.size(), 2u);
}

// ---- where to ----

TEST(Tiers, WorkloadsStayOnTheirTiersGpus) {
  const Machine machine = MachineWith({kH100, "L40S", "L40S"});
  Spec spec = SpecOf({In(Hardware("prod", GiB(15), 2), "production"),
                      In(Shared("dev", GiB(2), 2), "development"), Shared("none", GiB(2))});
  spec.tiers = {TierOf("production", Mechanism::kMig, {Model(kH100)}),
                TierOf("development", Mechanism::kTimeSlicing, {Index(1)})};
  const Plan plan = PlanFor(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(GpusOf(plan, "prod"), std::set<int>{0});
  EXPECT_EQ(GpusOf(plan, "dev"), std::set<int>{1});
  EXPECT_EQ(GpusOf(plan, "none"), std::set<int>{2});
  EXPECT_EQ(plan.tiers.at(0).used, 2);

  spec.workloads[0].replicas = 20;
  const Plan full = PlanFor(machine, spec);
  EXPECT_FALSE(full.feasible());
  for (const Assignment& assignment : full.assignments) {
    EXPECT_TRUE(assignment.workload != "prod" || assignment.gpu_index == 0);
  }
}

TEST(Tiers, AnOversubscribedGpuTakesSoManyAndNoMore) {
  const Machine machine = MachineWith({kH100, kH100});
  Spec spec = SpecOf({In(Turns("dev", GiB(1), 6), "development")});
  spec.tiers = {TierOf("development", Mechanism::kTimeSlicing, {Model(kH100)})};
  spec.tiers[0].oversubscription = 3;
  const Plan plan = PlanFor(machine, spec);
  ASSERT_TRUE(plan.feasible());
  EXPECT_EQ(GpusOf(plan, "dev"), (std::set<int>{0, 1}));
  spec.workloads[0].replicas = 7;
  EXPECT_EQ(PlanFor(machine, spec).unplaced.size(), 1u);
}

TEST(Tiers, AFixedLayoutIsMadeAsAWholeAndStays) {
  const Machine machine = MachineWith({kH100});
  Spec spec = SpecOf({In(Hardware("small", GiB(5)), "production")});
  spec.tiers = {TierOf("production", Mechanism::kMig, {Model(kH100)})};
  spec.tiers[0].profiles = {"4g.40gb", "3g.40gb"};
  const Plan plan = PlanFor(machine, spec);
  ASSERT_TRUE(plan.feasible());
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 2);
  EXPECT_THAT(Lines(plan), testing::IsSupersetOf({"+ gpu0 4g.40gb@0", "+ gpu0 3g.40gb@4"}));
  const World world = Applied(machine, {}, plan);
  EXPECT_FALSE(PlanFor(world.machine, spec, world.deployment).HasChanges());

  // With nobody on it, too.
  spec.workloads = {Shared("other", GiB(1))};
  spec.workloads[0].tier = "production";
  spec.workloads[0].mechanism = Mechanism::kMig;
  spec.workloads[0].replicas = 2;
  const Plan both = PlanFor(world.machine, spec, world.deployment);
  EXPECT_EQ(Count(both, StepKind::kDestroyInstance), 0);
  EXPECT_EQ(Count(both, StepKind::kCreateInstance), 0);
  EXPECT_TRUE(both.feasible());
}

TEST(Tiers, WhoNeedsLittleTakesTheLeastOfALayoutsSlices) {
  const Machine machine = MachineWith({kH100});
  Spec spec = SpecOf({In(Hardware("small", GiB(20)), "t")});
  spec.tiers = {TierOf("t", Mechanism::kMig, {Model(kH100)})};
  for (const std::vector<std::string>& profiles :
       {std::vector<std::string>{"4g.40gb", "3g.40gb"}, {"3g.40gb", "4g.40gb"}}) {
    spec.tiers[0].profiles = profiles;
    const Plan plan = PlanFor(machine, spec);
    ASSERT_EQ(plan.assignments.size(), 1u);
    EXPECT_EQ(plan.assignments[0].slice.profile, "3g.40gb");
  }
}

TEST(Tiers, AForeignInstanceInTheWayOfALayoutIsTold) {
  Machine machine = MachineWith({kH100});
  PutInstance(machine, 0, "1g.10gb", 0);
  machine.fingerprint = MachineFingerprint(machine);
  Spec spec = SpecOf({In(Hardware("a", GiB(5)), "production")});
  spec.tiers = {TierOf("production", Mechanism::kMig, {Model(kH100)})};
  spec.tiers[0].profiles = {"4g.40gb"};
  const Plan plan = PlanFor(machine, spec);
  ASSERT_FALSE(plan.feasible());
  EXPECT_THAT(plan.unplaced[0].reason, HasSubstr("is in its way"));
  EXPECT_THAT(plan.tiers[0].notes, ElementsAre(HasSubstr("is not counted")));
}

// ---- time slices ----

TEST(TimeSlices, ClassesShareNoGpu) {
  const Machine machine = MachineWith({"L40S", "L40S"});
  const Spec spec =
      SpecOf({Turns("a", GiB(2), 3, TimeSlice::kShort), Turns("b", GiB(2), 3, TimeSlice::kLong)});
  const Plan plan = PlanFor(machine, spec);
  ASSERT_TRUE(plan.feasible());
  EXPECT_EQ(GpusOf(plan, "a").size(), 1u);
  EXPECT_EQ(GpusOf(plan, "b").size(), 1u);
  EXPECT_NE(GpusOf(plan, "a"), GpusOf(plan, "b"));
  EXPECT_EQ(Count(plan, StepKind::kSetTimeSlice), 2);
  EXPECT_FALSE(PlanFor(MachineWith({"L40S"}), spec).feasible());
}

TEST(TimeSlices, AreSetBeforeAnyoneStartsAndPutBackAfterTheLastHasGone) {
  Machine machine = MachineWith({"L40S"});
  machine.gpus[0].time_slice = TimeSlice::kMedium;
  Spec spec = SpecOf({Turns("a", GiB(2), 2, TimeSlice::kShort)});
  const Plan plan = PlanFor(machine, spec);
  EXPECT_THAT(Lines(plan), ElementsAre("+ gpu0 time slice short", "+ start workload a/0",
                                       "+ start workload a/1"));
  EXPECT_EQ(plan.steps[0].time_slice_before, TimeSlice::kMedium);
  World world = Applied(machine, {}, plan);
  world.deployment.baselines = {{machine.gpus[0].uuid, false, {}, TimeSlice::kMedium}};
  EXPECT_FALSE(PlanFor(world.machine, spec, world.deployment).HasChanges());

  spec.workloads = {Turns("b", GiB(2))};
  const Plan gone = PlanFor(world.machine, spec, world.deployment);
  EXPECT_EQ(gone.steps.back().kind, StepKind::kSetTimeSlice);
  EXPECT_EQ(gone.steps.back().time_slice, TimeSlice::kMedium);
  EXPECT_EQ(MakeDownPlan(world.machine, world.deployment, TestCatalog()).steps.back().time_slice,
            TimeSlice::kMedium);
}

TEST(TimeSlices, AMemoryCapIsWorthAGuarantee) {
  Machine machine = MachineWith({"L40S"});
  Spec spec = SpecOf({Turns("a", GiB(2))});
  spec.workloads[0].isolation.axes.memory = Guarantee::kCooperative;
  spec.workloads[0].isolation.word = "axes";
  EXPECT_FALSE(PlanFor(machine, spec).feasible());
  spec.workloads[0].memory_cap = true;
  const Plan plan = PlanFor(machine, spec);
  ASSERT_TRUE(plan.feasible());
  EXPECT_EQ(plan.assignments[0].guarantee.memory, Guarantee::kCooperative);
}

// ---- drained GPUs, and room made by hand ----

TEST(Drained, NothingIsPlacedThereAndWhatIsThereMoves) {
  const Machine machine = MachineWith({kH100, kH100});
  const Spec spec = SpecOf({Hardware("a", GiB(15))});
  World world = Applied(machine, {}, PlanFor(machine, spec));
  world.deployment.drained = {world.deployment.replicas.at(0).slice.gpu_uuid};
  const Plan plan = PlanFor(world.machine, spec, world.deployment);
  ASSERT_TRUE(plan.feasible());
  EXPECT_NE(plan.assignments[0].slice.gpu_uuid, world.deployment.drained[0]);
  EXPECT_EQ(Count(plan, StepKind::kDestroyInstance), 1) << "and the GPU is free";
  world.deployment.drained.push_back(plan.assignments[0].slice.gpu_uuid);
  const Plan none = PlanFor(world.machine, spec, world.deployment);
  ASSERT_FALSE(none.feasible());
  EXPECT_THAT(none.unplaced[0].reason, HasSubstr("it is drained; `tranche undrain"));
}

TEST(Defrag, SaysWhoRestartsSoThatALargerSliceFits) {
  Machine machine = MachineWith({kH100});
  // One small slice in each half: no 4g fits, though there is room enough.
  Spec spec = SpecOf({Hardware("a", GiB(5)), Hardware("b", GiB(5))});
  World world{machine, {}};
  int replica = 0;
  for (const int start : {0, 4}) {
    PutInstance(world.machine, 0, "1g.10gb", start);
    const std::string uuid = machine.gpus[0].uuid;
    world.deployment.instances.push_back({uuid, "1g.10gb", {start, 1}});
    DeployedReplica deployed;
    deployed.workload = replica++ == 0 ? "a" : "b";
    deployed.digest = WorkloadDigest(spec.workloads[static_cast<size_t>(replica - 1)]);
    deployed.slice = {uuid,
                      Mechanism::kMig,
                      "1g.10gb",
                      MigPlacement{start, 1},
                      world.machine.gpus[0].mig_instances.back().memory,
                      16.0 / 132};
    deployed.route = "";
    world.deployment.replicas.push_back(deployed);
  }
  world.machine.fingerprint = MachineFingerprint(world.machine);
  const RoomAsk ask{"4g.40gb", "", ""};
  const auto plan =
      MakeDefragPlan(PlanFor(world.machine, WithRoomFor(spec, ask), world.deployment), spec, ask);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_THAT(plan->notes.at(0), HasSubstr("costs one restart: a/0 to gpu0 1g.10gb@"));
  EXPECT_EQ(Count(*plan, StepKind::kStartReplica), 1);
  EXPECT_EQ(plan->spec, spec);
  const World after = Applied(world.machine, world.deployment, *plan);
  const auto now =
      MakeDefragPlan(PlanFor(after.machine, WithRoomFor(spec, ask), after.deployment), spec, ask);
  ASSERT_TRUE(now);
  EXPECT_FALSE(now->HasChanges());
  EXPECT_THAT(now->notes.at(0), HasSubstr("has room for a 4g.40gb at slots 0-3 as it is"));

  const RoomAsk whole{"7g.80gb", "", ""};
  const auto never = MakeDefragPlan(
      PlanFor(world.machine, WithRoomFor(spec, whole), world.deployment), spec, whole);
  ASSERT_FALSE(never);
  EXPECT_EQ(never.error().code, ErrorCode::kDoesNotFit);
}

TEST(ByHand, MakesAndUnmakesAroundWhatIsDeployed) {
  const Machine machine = MachineWith({kH100});
  const Spec spec = SpecOf({Hardware("a", GiB(15))});
  const World world = Applied(machine, {}, PlanFor(machine, spec));
  const Plan now = PlanFor(world.machine, spec, world.deployment);
  const MigPlacement held = *world.deployment.replicas.at(0).slice.placement;
  HandChange change;
  change.gpu_uuid = machine.gpus[0].uuid;
  change.create = {{"3g.40gb", std::nullopt}, {"1g.10gb", std::nullopt}};
  const auto plan = MakeHandPlan(world.machine, world.deployment, now, change);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_EQ(Count(*plan, StepKind::kCreateInstance), 2);
  for (const Step& step : plan->steps) {
    EXPECT_EQ(step.by_hand, step.kind == StepKind::kCreateInstance);
  }

  change.create = {{"7g.80gb", std::nullopt}};
  EXPECT_EQ(MakeHandPlan(world.machine, world.deployment, now, change).error().code,
            ErrorCode::kDoesNotFit);
  change.create = {{"3g.4gb", std::nullopt}};
  EXPECT_EQ(MakeHandPlan(world.machine, world.deployment, now, change).error().hint,
            "did you mean '3g.40gb'?");
  change.create = {{"1g.10gb", held.start}};
  EXPECT_EQ(MakeHandPlan(world.machine, world.deployment, now, change).error().code,
            ErrorCode::kDoesNotFit);
  change.create.clear();
  change.destroy = {held.start};
  const auto ours = MakeHandPlan(world.machine, world.deployment, now, change);
  EXPECT_EQ(ours.error().code, ErrorCode::kBusy);
  EXPECT_THAT(ours.error().message, HasSubstr("belongs to workload a/0"));
}

}  // namespace
}  // namespace tranche::planning
