#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

Machine RandomMachine() {
  const auto gpus = *rc::gen::container<std::vector<std::string>>(
      *rc::gen::inRange<size_t>(1, 4), rc::gen::elementOf(std::vector<std::string>{
                                           "H100-SXM5-80GB", "A100-SXM4-40GB", "A30", "L40S"}));
  Machine machine = MachineWith(gpus);
  if (*rc::gen::inRange(0, 3) > 0) OfferMps(&machine);
  if (*rc::gen::inRange(0, 3) == 0) {
    for (Gpu& gpu : machine.gpus) gpu.price_per_hour = *rc::gen::inRange(1, 4);
  }
  for (size_t g = 0; g < machine.gpus.size(); ++g) {
    Gpu& gpu = machine.gpus[g];
    const int luck = *rc::gen::inRange(0, 10);
    if (luck == 0) {
      gpu.health.usable = false;
      gpu.health.problems = {"broken"};
    }
    if (luck == 1) PutProcess(machine, g, 4000 + static_cast<int>(g), "foreign");
    if (gpu.mig_profiles.empty()) continue;
    if (luck == 2) PutInstance(machine, g, gpu.mig_profiles.front().name, 1);
    if (luck == 3) gpu.mig_mode = MigMode{true, true};
  }
  machine.fingerprint = MachineFingerprint(machine);
  return machine;
}

Workload RandomWorkload(const std::string& name) {
  const Bytes memory = MiB(static_cast<uint64_t>(*rc::gen::inRange(500, 45000)));
  const int replicas = *rc::gen::inRange(1, 4);
  const int kind = *rc::gen::inRange(0, 3);
  Workload workload = kind == 0   ? Hardware(name, memory, replicas)
                      : kind == 1 ? Shared(name, memory, replicas)
                                  : Limited(name, {memory, memory + GiB(2)},
                                            *rc::gen::inRange(0, 8) * 0.1, replicas);
  workload.trusted = *rc::gen::arbitrary<bool>();
  workload.team = *rc::gen::arbitrary<bool>() ? "ml" : "web";
  if (kind == 2) workload.preemptible = *rc::gen::arbitrary<bool>();
  if (*rc::gen::inRange(0, 5) == 0) workload.compute = Share<Fraction>{{0.2}, {0.5}};
  if (kind != 0 && *rc::gen::inRange(0, 2) == 0) {
    // Small ones, of which several share a GPU or an instance.
    workload.mechanism = Mechanism::kMps;
    const Bytes small = MiB(static_cast<uint64_t>(*rc::gen::inRange(500, 12000)));
    workload.memory = Share<Bytes>{small, small};
    workload.replicas = *rc::gen::inRange(1, 7);
  }
  if (*rc::gen::inRange(0, 8) == 0) {
    workload.profile = *rc::gen::elementOf(
        std::vector<std::string>{"1g.10gb", "2g.20gb", "3g.40gb", "1g.5gb", "1g.10gb+me"});
  }
  if (*rc::gen::inRange(0, 4) == 0) workload.route = "/" + name;
  if (*rc::gen::inRange(0, 8) == 0) workload.env["X"] = "1";
  return workload;
}

Spec RandomSpec() {
  Spec spec;
  const int workloads = *rc::gen::inRange(0, 5);
  for (int i = 0; i < workloads; ++i) {
    // Few names, so that one spec keeps, changes and drops workloads of another.
    const std::string name(1, static_cast<char>('a' + i + *rc::gen::inRange(0, 2)));
    if (std::any_of(spec.workloads.begin(), spec.workloads.end(),
                    [&](const Workload& w) { return w.name == name; })) {
      continue;
    }
    spec.workloads.push_back(RandomWorkload(name));
  }
  return spec;
}

void ExpectHonest(const Machine& machine, const Spec& spec, const Deployment& deployment,
                  const Plan& plan) {
  if (plan.feasible()) {
    ExpectSound(machine, spec, deployment, plan);
    return;
  }
  EXPECT_TRUE(plan.steps.empty());
  for (const Unplaced& unplaced : plan.unplaced) {
    EXPECT_FALSE(unplaced.reason.empty());
    EXPECT_FALSE(unplaced.nearest.empty());
  }
}

RC_GTEST_PROP(PlanProperty, IsSoundOrSaysWhyNot, ()) {
  const Machine machine = RandomMachine();
  const Spec spec = RandomSpec();
  const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), {});
  ExpectHonest(machine, spec, {}, plan);
  RC_ASSERT(MakePlan(machine, spec, {}, TestCatalog(), {}) == plan);
  RC_ASSERT(!testing::Test::HasFailure());
}

// One spec after another on the same machine: every plan starts from what the last one left.
RC_GTEST_PROP(PlanProperty, StaysSoundFromSpecToSpec, ()) {
  World world{RandomMachine(), {}};
  for (int round = 0; round < 4; ++round) {
    const Spec spec = RandomSpec();
    const Plan plan = MakePlan(world.machine, spec, world.deployment, TestCatalog(), {});
    ExpectHonest(world.machine, spec, world.deployment, plan);
    RC_ASSERT(!testing::Test::HasFailure());
    if (!plan.feasible()) continue;
    world = Applied(world.machine, world.deployment, plan);
    const Plan again = MakePlan(world.machine, spec, world.deployment, TestCatalog(), {});
    RC_ASSERT(again.feasible());
    RC_ASSERT(!again.HasChanges());
  }
}

// What is there may go, one workload at a time, without any other being touched.
RC_GTEST_PROP(PlanProperty, RemovingAWorkloadTouchesNoOther, ()) {
  const Machine machine = RandomMachine();
  Spec spec = RandomSpec();
  const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), {});
  if (!plan.feasible() || spec.workloads.empty()) return;
  const World world = Applied(machine, {}, plan);
  const std::string gone = spec.workloads.front().name;
  spec.workloads.erase(spec.workloads.begin());
  const Plan less = MakePlan(world.machine, spec, world.deployment, TestCatalog(), {});
  RC_ASSERT(less.feasible());
  for (const Step& step : less.steps) {
    if (step.change == Change::kKeep || step.workload == gone || step.workload.empty()) continue;
    RC_FAIL(step.target);
  }
}

}  // namespace
}  // namespace tranche::planning
