#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "base/json.h"
#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

using testing::AllOf;
using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;

Machine WithMps(const std::vector<std::string>& gpus) {
  Machine machine = MachineWith(gpus);
  OfferMps(&machine);
  for (Gpu& gpu : machine.gpus) gpu.price_per_hour = 2;
  return machine;
}

Plan PlanOf(const Machine& machine, const Spec& spec, const Deployment& deployment = {}) {
  return MakePlan(machine, spec, deployment, TestCatalog(), {.fleet_steps = 2000});
}

Workload ByMps(const std::string& name, Bytes memory, int replicas) {
  Workload workload = Limited(name, {memory, memory}, 0, replicas);
  workload.mechanism = Mechanism::kMps;
  return workload;
}

// The instances in which somebody is by MPS, "GPU-0 3g.40gb@4".
std::set<std::string> SharedInstances(const Plan& plan) {
  std::set<std::string> shared;
  for (const Assignment& assignment : plan.assignments) {
    const Slice& slice = assignment.slice;
    if (slice.mechanism != Mechanism::kMps || !slice.placement) continue;
    shared.insert(slice.gpu_uuid + " " + slice.profile + "@" +
                  std::to_string(slice.placement->start));
  }
  return shared;
}

TEST(SharedInstance, SitsBesideATenantThatNeedsHardwareIsolation) {
  const Machine machine = WithMps({"H100-SXM5-80GB", "H100-SXM5-80GB"});
  const Spec spec = SpecOf({Hardware("bank", GiB(39)), ByMps("note", GiB(4), 6)});
  const Plan plan = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(plan.cost_per_hour, 2);
  EXPECT_EQ(plan.cost_lower_bound_per_hour, 2);
  EXPECT_EQ(SharedInstances(plan).size(), 1u);
  const Assignment& note = *plan.FindAssignment("note", 0);
  EXPECT_EQ(note.slice.memory, GiB(4));
  EXPECT_EQ(note.guarantee.memory, Guarantee::kCooperative);
  EXPECT_EQ(note.guarantee.fault, Guarantee::kNone);
  EXPECT_EQ(plan.FindAssignment("bank", 0)->guarantee.fault, Guarantee::kHardware);
  EXPECT_THAT(note.reasons, Contains(AllOf(HasSubstr("it shares"), HasSubstr("with 5 others"))));
  EXPECT_THAT(note.reasons, Contains(HasSubstr("kept apart in hardware")));
  // Of an H100's 48 clients, three sevenths.
  EXPECT_THAT(note.reasons, Contains(HasSubstr("MPS serves 20 client processes there at most, and "
                                               "6 replicas are planned")));
  // One instance for six, and one for the bank.
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 2);
  EXPECT_THAT(Lines(plan), Contains("+ start workload note/5"));
  EXPECT_THAT(plan.steps.back().slice->profile, note.slice.profile);
}

TEST(SharedInstance, IsNotMadeWhereItIsNoCheaper) {
  const Machine machine = WithMps({"H100-SXM5-80GB"});
  const Plan plan = PlanOf(machine, SpecOf({ByMps("note", GiB(4), 6)}));
  ASSERT_TRUE(plan.feasible());
  EXPECT_TRUE(SharedInstances(plan).empty());
  EXPECT_EQ(Count(plan, StepKind::kEnableMig), 0);
  // Nor where small slices of their own hold everybody.
  const Spec small = SpecOf({Hardware("bank", GiB(9)), Limited("note", {GiB(4), GiB(4)}, 0, 3)});
  const Plan by_mig = PlanOf(machine, small);
  ExpectSound(machine, small, {}, by_mig);
  EXPECT_TRUE(SharedInstances(by_mig).empty());
}

TEST(SharedInstance, KeepsTeamsApartThatDoNotTrustEachOther) {
  const Machine machine = WithMps({"H100-SXM5-80GB"});
  Workload red = ByMps("red", GiB(4), 5), blue = ByMps("blue", GiB(4), 5);
  red.team = "red";
  blue.team = "blue";
  Spec spec = SpecOf({red, blue});
  const Plan apart = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, apart);
  EXPECT_EQ(SharedInstances(apart).size(), 2u);
  // On the whole GPU they may be together as soon as both are trusted.
  for (Workload& workload : spec.workloads) workload.trusted = true;
  const Plan together = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, together);
  EXPECT_TRUE(SharedInstances(together).empty());
}

TEST(SharedInstance, TakesNobodyWhoAsksForMore) {
  const Machine machine = WithMps({"H100-SXM5-80GB"});
  Workload calm = ByMps("calm", GiB(4), 2);
  calm.isolation.low_jitter = true;
  const Plan plan = PlanOf(machine, SpecOf({Hardware("bank", GiB(39)), calm}));
  EXPECT_FALSE(plan.feasible());
  Workload kernel = ByMps("kernel", GiB(4), 2);
  kernel.isolation.axes.memory = Guarantee::kKernel;
  EXPECT_FALSE(PlanOf(machine, SpecOf({Hardware("bank", GiB(39)), kernel})).feasible());
}

TEST(SharedInstance, HoldsNoMoreClientsThanItsPartOfTheServers) {
  // 48 clients in all; a 1g has a seventh of the slices, so six.
  Machine machine = WithMps({"H100-SXM5-80GB"});
  Workload tiny = ByMps("tiny", MiB(64), 7);
  tiny.profile = "1g.10gb";
  const Spec spec = SpecOf({tiny});
  const Plan plan = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_EQ(SharedInstances(plan).size(), 2u);
  // 60 from CUDA 13.1 on: eight.
  machine.cuda_version = std::string("13.1");
  const Plan newer = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, newer);
  EXPECT_EQ(SharedInstances(newer).size(), 1u);
}

TEST(SharedInstance, AnUndividedGpuServesOnlySoMany) {
  const Machine machine = WithMps({"H100-SXM5-80GB", "H100-SXM5-80GB"});
  for (const int replicas : {48, 49}) {
    const Plan plan = PlanOf(machine, SpecOf({ByMps("tiny", MiB(64), replicas)}));
    ASSERT_TRUE(plan.feasible());
    EXPECT_EQ(plan.cost_per_hour, replicas == 48 ? 2 : 4);
  }
  // Likewise where there are so many that they are placed as a fleet.
  const Plan many = PlanOf(WithMps(std::vector<std::string>(4, "H100-SXM5-80GB")),
                           SpecOf({ByMps("tiny", MiB(64), 4 * 48 + 1)}));
  EXPECT_EQ(many.unplaced.size(), 1u);
}

TEST(SharedInstance, StaysAsItIsAndTakesInOneMore) {
  const Machine machine = WithMps({"H100-SXM5-80GB"});
  Spec spec = SpecOf({Hardware("bank", GiB(39)), ByMps("note", GiB(3), 4)});
  const Plan first = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, first);
  World world = Applied(machine, {}, first);
  const Plan again = PlanOf(world.machine, spec, world.deployment);
  EXPECT_FALSE(again.HasChanges());
  ExpectSound(world.machine, spec, world.deployment, again);
  // One more joins; nobody moves.
  spec.workloads[1].replicas = 5;
  const Plan more = PlanOf(world.machine, spec, world.deployment);
  ExpectSound(world.machine, spec, world.deployment, more);
  EXPECT_EQ(Count(more, StepKind::kStartReplica), 1);
  EXPECT_EQ(Count(more, StepKind::kStopReplica), 0);
  EXPECT_EQ(Count(more, StepKind::kCreateInstance), 0);
  EXPECT_EQ(more.FindAssignment("note", 4)->slice.placement,
            more.FindAssignment("note", 0)->slice.placement);
  // When all leave, the instance goes; not before.
  world = Applied(world.machine, world.deployment, more);
  spec.workloads[1].replicas = 1;
  const Plan fewer = PlanOf(world.machine, spec, world.deployment);
  EXPECT_EQ(Count(fewer, StepKind::kDestroyInstance), 0);
  spec.workloads.pop_back();
  const Plan gone = PlanOf(world.machine, spec, world.deployment);
  ExpectSound(world.machine, spec, world.deployment, gone);
  EXPECT_EQ(Count(gone, StepKind::kDestroyInstance), 1);
}

TEST(SharedInstance, ComesBackWhenItIsGone) {
  const Machine machine = WithMps({"H100-SXM5-80GB"});
  const Spec spec = SpecOf({Hardware("bank", GiB(39)), ByMps("note", GiB(4), 2)});
  World world = Applied(machine, {}, PlanOf(machine, spec));
  world.machine.gpus[0].mig_instances.clear();
  const Plan plan = PlanOf(world.machine, spec, world.deployment);
  ASSERT_TRUE(plan.feasible());
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 2);
  EXPECT_EQ(Count(plan, StepKind::kStartReplica), 3);
}

TEST(SharedInstance, IsPlannedForFleets) {
  const Machine machine = WithMps(std::vector<std::string>(40, "A100-SXM4-80GB"));
  Workload bank = Hardware("bank", GiB(35), 30);
  bank.compute = Share<Fraction>{{0.5}, {0.5}};  // a 4g, so one on each GPU
  const Spec spec = SpecOf({bank, ByMps("note", GiB(5), 150)});
  const Plan plan = PlanOf(machine, spec);
  ExpectSound(machine, spec, {}, plan);
  EXPECT_FALSE(SharedInstances(plan).empty());
  // Beside each there is room for seven who share a 3g. Without that, ten more GPUs.
  EXPECT_LE(*plan.cost_per_hour, 2 * 33);
  const World world = Applied(machine, {}, plan);
  EXPECT_FALSE(PlanOf(world.machine, spec, world.deployment).HasChanges());
  EXPECT_EQ(plan.cost_lower_bound_per_hour, 2 * 30);
}

}  // namespace
}  // namespace tranche::planning
