#include <fmt/format.h>
#include <gtest/gtest.h>

#include <random>
#include <set>

#include "stage/plan/fleet_search.h"
#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

// Plans of more replicas than are tried one by one.
namespace tranche::planning {
namespace {

// What is held here does not take all the improving that there is time for.
const PlanOptions kQuick{.fleet_steps = 1000};

Machine Fleet() {
  std::vector<std::string> gpus;
  for (int i = 0; i < 14; ++i) {
    gpus.insert(gpus.end(), {"H100-SXM5-80GB", "A100-SXM4-40GB", "L40S"});
  }
  Machine machine = MachineWith(gpus);
  for (Gpu& gpu : machine.gpus) gpu.price_per_hour = gpu.model == "L40S" ? 1.1 : 2.4;
  return machine;
}

Spec ManyWorkloads(uint64_t seed) {
  std::mt19937_64 random(seed);
  const auto upto = [&](uint64_t n) { return random() % n; };
  std::vector<Workload> workloads;
  for (int i = 0; i < 40; ++i) {
    const std::string name = fmt::format("w{}", i);
    const Bytes memory = MiB(500 + 250 * upto(48));
    const int replicas = 2 + static_cast<int>(upto(3));
    const uint64_t kind = upto(4);
    workloads.push_back(kind < 2 ? Hardware(name, memory, replicas)
                        : kind == 2
                            ? Shared(name, memory, replicas)
                            : Limited(name, {memory, memory}, 0.05 * double(upto(6)), replicas));
    workloads.back().team = upto(2) == 0 ? "ml" : "web";
    workloads.back().trusted = upto(2) == 0;
  }
  return SpecOf(std::move(workloads));
}

TEST(FleetPlan, IsSoundAndKeptWhenAskedAgain) {
  for (const uint64_t seed : {1, 2, 3}) {
    const Machine machine = Fleet();
    Spec spec = ManyWorkloads(seed);
    const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), kQuick);
    ASSERT_TRUE(plan.feasible()) << plan.unplaced.front().reason;
    ASSERT_GT(plan.assignments.size(), kMostForSearch);
    ExpectSound(machine, spec, {}, plan);
    EXPECT_EQ(MakePlan(machine, spec, {}, TestCatalog(), kQuick), plan);
    ASSERT_TRUE(plan.cost_lower_bound_per_hour);
    EXPECT_LE(*plan.cost_lower_bound_per_hour, *plan.cost_per_hour);
    EXPECT_GE(*plan.cost_lower_bound_per_hour, 0.85 * *plan.cost_per_hour);

    const World world = Applied(machine, {}, plan);
    EXPECT_FALSE(
        MakePlan(world.machine, spec, world.deployment, TestCatalog(), kQuick).HasChanges());
    // More of one, and none of another: nothing else is touched.
    spec.workloads.erase(spec.workloads.begin() + 5);
    spec.workloads.push_back(Hardware("another", GiB(9), 3));
    const Plan next = MakePlan(world.machine, spec, world.deployment, TestCatalog(), kQuick);
    ASSERT_TRUE(next.feasible());
    ExpectSound(world.machine, spec, world.deployment, next);
    for (const Step& step : next.steps) {
      if (step.change == Change::kKeep || step.workload.empty()) continue;
      EXPECT_TRUE(step.workload == "w5" || step.workload == "another") << step.target;
    }
  }
}

// What MPS would do as well needs no server.
TEST(FleetPlan, MpsIsForWhoAsksForIt) {
  Machine machine = MachineWith(std::vector<std::string>(40, "L40S"));
  OfferMps(&machine);
  Workload asks = Limited("asks", {GiB(6), GiB(6)}, 0, 60);
  asks.mechanism = Mechanism::kMps;
  const Spec spec = SpecOf({Limited("open", {GiB(7), GiB(7)}, 0, 60), asks});
  const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), kQuick);
  ExpectSound(machine, spec, {}, plan);
  for (const Assignment& assignment : plan.assignments) {
    std::set<std::string> together;
    for (const Assignment& other : plan.assignments) {
      if (other.slice.gpu_uuid == assignment.slice.gpu_uuid) together.insert(other.workload);
    }
    if (together.count("asks") > 0 || together.size() > 1) continue;
    EXPECT_NE(assignment.slice.mechanism, Mechanism::kMps) << assignment.workload;
  }
}

TEST(FleetPlan, WhatDoesNotFitIsSaidWithWhatWould) {
  const Machine machine = MachineWith({"H100-SXM5-80GB", "H100-SXM5-80GB"});
  Spec spec = SpecOf({Hardware("many", GiB(9), 120)});
  const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), kQuick);
  EXPECT_EQ(plan.assignments.size(), 14u);
  ASSERT_EQ(plan.unplaced.size(), 106u);
  EXPECT_FALSE(plan.unplaced.front().reason.empty());
  EXPECT_FALSE(plan.unplaced.front().nearest.empty());
}

// What stands is used again where that costs nothing: no GPU is divided anew.
TEST(FleetPlan, TakesOverWhatIsLeftOver) {
  const Machine machine = Fleet();
  Spec spec =
      SpecOf({Hardware("a", GiB(9), 50), Hardware("b", GiB(30), 10), Shared("c", GiB(5), 50)});
  World world = Applied(machine, {}, MakePlan(machine, spec, {}, TestCatalog(), kQuick));
  for (Workload& workload : spec.workloads) workload.name += "-new";
  const Plan plan = MakePlan(world.machine, spec, world.deployment, TestCatalog(), kQuick);
  ASSERT_TRUE(plan.feasible());
  ExpectSound(world.machine, spec, world.deployment, plan);
  EXPECT_EQ(Count(plan, StepKind::kDestroyInstance), 0);
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 0);
}

}  // namespace
}  // namespace tranche::planning
