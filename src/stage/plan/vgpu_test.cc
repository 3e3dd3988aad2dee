#include "stage/plan/vgpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <random>

#include "catalog/vgpu_catalog.h"
#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// A machine whose GPUs are under a vGPU host driver.
Machine HostWith(const std::vector<std::string>& gpus, bool functions = true) {
  Machine machine = MachineWith(gpus);
  for (Gpu& gpu : machine.gpus) {
    GpuVgpu vgpu;
    vgpu.functions = functions ? 32 : 0;
    vgpu.mixed = false;
    vgpu.scheduler = VgpuScheduler::kBestEffort;
    std::vector<VgpuOffer> named;
    if (gpu.model == "A40") named.push_back({"A40-8Q", VgpuSeries::kQ, GiB(8), {}, 0, "", 1, 0});
    vgpu.offers =
        BuiltInVgpuCatalog().OffersOf(gpu.model, gpu.memory_total, gpu.mig_profiles, named);
    gpu.vgpu = std::move(vgpu);
    Capability capability;
    capability.gpu_uuid = gpu.uuid;
    capability.mechanism = Mechanism::kVgpu;
    capability.available = true;
    capability.guarantees = TestCatalog().FindMechanism(Mechanism::kVgpu).floor;
    machine.capabilities.push_back(capability);
  }
  machine.fingerprint = MachineFingerprint(machine);
  return machine;
}

Workload Vm(const std::string& name, Bytes memory, int replicas = 1) {
  Workload workload = Shared(name, memory, replicas);
  workload.mechanism = Mechanism::kVgpu;
  return workload;
}
Workload VmOf(const std::string& name, const std::string& type, int replicas = 1) {
  Workload workload = Vm(name, GiB(1), replicas);
  workload.memory.reset();
  workload.profile = type;
  return workload;
}
Workload Mixed(Workload workload) {
  workload.vgpu = VgpuAsk{VgpuSeries::kC, std::nullopt, true};
  return workload;
}

Plan PlanFor(const Machine& machine, const Spec& spec, const Deployment& deployment = {}) {
  return MakePlan(machine, spec, deployment, TestCatalog(), {});
}
Plan SoundPlan(const Machine& machine, const Spec& spec, const Deployment& deployment = {}) {
  Plan plan = PlanFor(machine, spec, deployment);
  for (const Unplaced& one : plan.unplaced)
    ADD_FAILURE() << one.workload << ": " << one.reason << " / " << one.nearest;
  ExpectSound(machine, spec, deployment, plan);
  return plan;
}
std::vector<std::string> Types(const Plan& plan) {
  std::vector<std::string> types;
  for (const Assignment& one : plan.assignments) types.push_back(one.slice.vgpu_type);
  return types;
}
std::string AllOf(const std::vector<std::string>& texts) {
  std::string all;
  for (const std::string& text : texts) all += text + "\n";
  return all;
}

TEST(VgpuPlan, TheSmallestTypeThatLeavesTheMachineEnough) {
  const Machine machine = HostWith({"A40"});
  // 8 GiB of framebuffer leave less than that to the guest.
  const Plan plan = SoundPlan(machine, SpecOf({Vm("db", GiB(6)), Vm("ml", GiB(8))}));
  // One size on a GPU: both get the larger.
  EXPECT_THAT(Types(plan), ElementsAre("A40-12C", "A40-12C"));
  EXPECT_THAT(Types(SoundPlan(machine, SpecOf({Vm("db", GiB(6))}))), ElementsAre("A40-8C"));
  const Assignment& db = plan.assignments[0];
  ASSERT_TRUE(db.vgpu);
  EXPECT_EQ(db.slice.memory, GiB(12));
  EXPECT_EQ(db.vgpu->framebuffer, GiB(12));
  EXPECT_LT(db.vgpu->guest_memory, GiB(11));
  EXPECT_GE(db.vgpu->guest_memory, GiB(10));
  EXPECT_EQ(db.vgpu->series, VgpuSeries::kC);
  EXPECT_EQ(db.vgpu->scheduler, VgpuScheduler::kBestEffort);
  EXPECT_EQ(db.guarantee.compute, Guarantee::kNone);
  EXPECT_EQ(db.guarantee.memory, Guarantee::kKernel);
  EXPECT_THAT(AllOf(db.reasons), HasSubstr("nothing for sure"));
  EXPECT_THAT(AllOf(db.reasons), HasSubstr("holds 4 of it and no other size; one other is"));
  EXPECT_THAT(Lines(plan), ElementsAre("+ gpu0 A40-12C for db/0", "+ gpu0 A40-12C for ml/0"));
}

TEST(VgpuPlan, OneSizeOnAGpuAndNoMoreThanItHolds) {
  const Machine two = HostWith({"A40", "A40"});
  const Plan plan = SoundPlan(two, SpecOf({VmOf("a", "A40-8C", 6), VmOf("b", "A40-16C", 3)}));
  for (const Assignment& one : plan.assignments) {
    for (const Assignment& other : plan.assignments) {
      EXPECT_TRUE(one.gpu_index != other.gpu_index || one.slice.vgpu_type == other.slice.vgpu_type);
    }
  }
  const Plan over = PlanFor(HostWith({"A40"}), SpecOf({VmOf("a", "A40-8C", 7)}));
  ASSERT_EQ(over.unplaced.size(), 1u);
  EXPECT_THAT(over.unplaced[0].nearest, HasSubstr("one more A40"));
  const Plan other =
      PlanFor(HostWith({"A40"}), SpecOf({VmOf("a", "A40-8C"), VmOf("b", "A40-16C")}));
  ASSERT_EQ(other.unplaced.size(), 1u);
}

TEST(VgpuPlan, ComputingGetsSeriesCAndOthersAreAsked) {
  const Machine machine = HostWith({"A40"});
  Workload desk = Vm("desk", GiB(6));
  desk.vgpu = VgpuAsk{VgpuSeries::kQ, std::nullopt, false};
  const Plan plan = SoundPlan(machine, SpecOf({desk, VmOf("db", "A40-8C")}));
  EXPECT_THAT(Types(plan), ElementsAre("A40-8Q", "A40-8C")) << "series share a GPU, sizes do not";
  EXPECT_EQ(plan.assignments[0].vgpu->licence, "NVIDIA RTX Virtual Workstation");
  desk.vgpu->series = VgpuSeries::kB;
  const Plan none = PlanFor(machine, SpecOf({desk}));
  ASSERT_EQ(none.unplaced.size(), 1u);
  EXPECT_THAT(none.unplaced[0].reason, HasSubstr("no type of series B"));
  const Plan typo = PlanFor(machine, SpecOf({VmOf("db", "A40-9C")}));
  EXPECT_THAT(typo.unplaced.at(0).reason, HasSubstr("offers no A40-9C"));
}

TEST(VgpuPlan, LicencesArePricedOrSaidToBeUnknown) {
  const Machine machine = HostWith({"A40"});
  Spec spec = SpecOf({VmOf("a", "A40-8C", 2)});
  spec.prices["A40"] = 0.5;
  const Plan plan = SoundPlan(machine, spec);
  const double licence = *BuiltInVgpuCatalog().LicenceOf(VgpuSeries::kC).price_per_hour;
  EXPECT_DOUBLE_EQ(*plan.licence_cost_per_hour, licence) << "one for the GPU";
  EXPECT_DOUBLE_EQ(*plan.assignments[0].vgpu->licence_cost_per_hour, licence / 2);
  EXPECT_DOUBLE_EQ(*plan.cost_per_hour, 0.5) << "the GPUs are priced as ever";
  EXPECT_THAT(AllOf(plan.notes), HasSubstr("confidence"));
  Spec desks = SpecOf({VmOf("a", "A40-8Q", 2)});
  const double desk = *BuiltInVgpuCatalog().LicenceOf(VgpuSeries::kQ).price_per_hour;
  EXPECT_DOUBLE_EQ(*SoundPlan(machine, desks).licence_cost_per_hour, 2 * desk) << "one for each";
  spec.currency = "EUR";
  const Plan unknown = SoundPlan(machine, spec);
  EXPECT_EQ(unknown.licence_cost_per_hour, std::nullopt) << "unknown is not 0";
  EXPECT_EQ(unknown.assignments[0].vgpu->licence_cost_per_hour, std::nullopt);
  EXPECT_THAT(AllOf(unknown.notes), HasSubstr("not known"));
}

TEST(VgpuPlan, TheSchedulerIsWhatIsolationNeedsOrWhatIsAsked) {
  const Machine machine = HostWith({"A40", "A40"});
  Workload safe = VmOf("safe", "A40-8C");
  safe.isolation = {"process", *IsolationWordAxes("process"), false};
  const Plan plan = SoundPlan(machine, SpecOf({safe}));
  EXPECT_EQ(plan.assignments[0].vgpu->scheduler, VgpuScheduler::kEqualShare);
  EXPECT_EQ(plan.assignments[0].guarantee.compute, Guarantee::kKernel);
  EXPECT_NEAR(plan.assignments[0].slice.compute_fraction, 1.0 / 6, 1e-9);
  EXPECT_THAT(Lines(plan),
              ElementsAre("+ gpu0 virtual functions, equal-share", "+ gpu0 A40-8C for safe/0"));
  ASSERT_EQ(plan.steps[0].kind, StepKind::kSetVgpuHost);
  EXPECT_EQ(plan.steps[0].vgpu_host_before->scheduler, VgpuScheduler::kBestEffort);
  // Others take turns otherwise, so they go elsewhere.
  Workload fixed = VmOf("fixed", "A40-8C");
  fixed.vgpu = VgpuAsk{VgpuSeries::kC, VgpuScheduler::kFixedShare, false};
  const Plan both = SoundPlan(machine, SpecOf({safe, fixed}));
  EXPECT_NE(both.assignments[0].gpu_index, both.assignments[1].gpu_index);
  // Time that is not there for sure is not promised.
  Workload half = safe;
  half.compute = Share<Fraction>{{0.5}, {0.5}};
  const Plan much = PlanFor(machine, SpecOf({half}));
  EXPECT_THAT(much.unplaced.at(0).reason, HasSubstr("of its time for sure"));
  half.profile = "A40-24C";
  SoundPlan(machine, SpecOf({half}));
  // Hardware isolation is for those that MIG backs.
  Workload hard = VmOf("hard", "A40-8C");
  hard.isolation = {"hardware", *IsolationWordAxes("hardware"), false};
  EXPECT_THAT(PlanFor(machine, SpecOf({hard})).unplaced.at(0).reason,
              HasSubstr("does not give hardware isolation"));
}

TEST(VgpuPlan, FunctionsAreMadeBeforeTheInstancesThatTheyDestroy) {
  const Machine machine = HostWith({"A100-SXM4-80GB"}, false);
  Workload vm = VmOf("vm", "A100DX-1-10C", 2);
  vm.isolation = {"hardware", *IsolationWordAxes("hardware"), false};
  const Plan plan = SoundPlan(machine, SpecOf({vm}));
  EXPECT_THAT(Lines(plan),
              ElementsAre("~ mig on gpu0", "+ gpu0 virtual functions", "+ gpu0 1g.10gb@4",
                          "+ gpu0 1g.10gb@4 A100DX-1-10C for vm/0", "+ gpu0 1g.10gb@5",
                          "+ gpu0 1g.10gb@5 A100DX-1-10C for vm/1"));
  EXPECT_EQ(plan.assignments[0].guarantee.fault, Guarantee::kHardware);
  EXPECT_EQ(plan.assignments[0].vgpu->scheduler, std::nullopt) << "it takes no turns";
  // Instances that are there already would be lost.
  Machine divided = HostWith({"A100-SXM4-80GB"}, false);
  PutInstance(divided, 0, "1g.10gb", 0);
  EXPECT_THAT(PlanFor(divided, SpecOf({vm})).unplaced.at(0).reason,
              HasSubstr("making them destroys the MIG instances"));
  // The driver chooses the instance, so other tenants have none there.
  Workload process = Hardware("process", GiB(9));
  const Plan beside = PlanFor(machine, SpecOf({vm, process}));
  EXPECT_EQ(beside.unplaced.size(), 1u);
  SoundPlan(HostWith({"A100-SXM4-80GB", "A100-SXM4-80GB"}, false), SpecOf({vm, process}));
}

TEST(VgpuPlan, MigBackedHoldAsManyAsTheGeometry) {
  const Machine machine = HostWith({"A100-SXM4-80GB"});
  Machine on = machine;
  on.gpus[0].mig_mode = MigMode{true, true};
  const Plan plan =
      SoundPlan(on, SpecOf({VmOf("big", "A100DX-3-40C"), VmOf("small", "A100DX-1-10C", 3)}));
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 4);
  EXPECT_EQ(PlanFor(on, SpecOf({VmOf("big", "A100DX-3-40C", 3)})).unplaced.size(), 1u);
  // MIG mode goes on only before the virtual functions.
  EXPECT_THAT(PlanFor(machine, SpecOf({VmOf("big", "A100DX-3-40C")})).unplaced.at(0).reason,
              HasSubstr("only before its virtual functions"));
}

// A board whose MIG instances several vGPUs share by time, all of one size.
const std::string kDc = "RTX Pro 6000 Blackwell DC-";

TEST(VgpuPlan, SeveralOfOneSizeShareAnInstance) {
  const Machine machine = HostWith({"RTX-PRO-6000-SERVER"}, false);
  const Spec spec = SpecOf({VmOf("vm", kDc + "1-12C", 3)});
  const Plan plan = SoundPlan(machine, spec);
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 2);
  // All of an instance before the next one is made: the driver chooses where one goes.
  std::vector<StepKind> kinds;
  for (const Step& step : plan.steps) kinds.push_back(step.kind);
  EXPECT_EQ(kinds[0], StepKind::kEnableMig);
  EXPECT_EQ(kinds[1], StepKind::kSetVgpuHost);
  EXPECT_EQ(kinds[2], StepKind::kCreateInstance);
  EXPECT_EQ(std::count(kinds.begin() + 3, kinds.end(), StepKind::kCreateInstance), 1);
  EXPECT_EQ(kinds.back(), StepKind::kCreateVgpu);
  std::map<MigPlacement, int> in;
  for (const Assignment& one : plan.assignments) {
    EXPECT_EQ(one.slice.profile, "1g.24gb+gfx");
    EXPECT_EQ(one.slice.memory, GiB(12));
    ++in[*one.slice.placement];
    // Hardware keeps the instance apart, and nothing those in it.
    EXPECT_EQ(one.guarantee.compute, Guarantee::kNone);
    EXPECT_EQ(one.guarantee.fault, Guarantee::kNone);
    EXPECT_THAT(AllOf(one.reasons), HasSubstr("a 1g.24gb+gfx holds 2 of it and no other size"));
    EXPECT_THAT(AllOf(one.reasons), HasSubstr("nothing for sure"));
  }
  ASSERT_EQ(in.size(), 2u);
  EXPECT_EQ(in.begin()->second + in.rbegin()->second, 3);
  // What an instance has is divided: half of a quarter.
  EXPECT_NEAR(plan.assignments[0].slice.compute_fraction, 46.0 / 188 / 2, 1e-9);
  // As many as fit, and no more.
  SoundPlan(machine, SpecOf({VmOf("vm", kDc + "1-12C", 8)}));
  EXPECT_EQ(PlanFor(machine, SpecOf({VmOf("vm", kDc + "1-12C", 9)})).unplaced.size(), 1u);
  SoundPlan(machine, SpecOf({VmOf("vm", kDc + "1-8C", 12)}));
  EXPECT_EQ(PlanFor(machine, SpecOf({VmOf("vm", kDc + "1-8C", 13)})).unplaced.size(), 1u);
}

TEST(VgpuPlan, OneInstanceHasOneSizeAndOnesThatHaveTheirOwnStayAlone) {
  const Machine machine = HostWith({"RTX-PRO-6000-SERVER"}, false);
  const Plan plan =
      SoundPlan(machine, SpecOf({VmOf("half", kDc + "1-12C", 2), VmOf("third", kDc + "1-8C", 3),
                                 VmOf("whole", kDc + "1-24C", 2)}));
  EXPECT_EQ(Count(plan, StepKind::kCreateInstance), 4);
  EXPECT_EQ(plan.FindAssignment("whole", 0)->guarantee.fault, Guarantee::kHardware);
  EXPECT_EQ(PlanFor(machine, SpecOf({VmOf("half", kDc + "1-12C", 2), VmOf("third", kDc + "1-8C", 3),
                                     VmOf("whole", kDc + "1-24C", 3)}))
                .unplaced.size(),
            1u);
  // Larger instances are shared, too.
  const Plan large =
      SoundPlan(machine, SpecOf({VmOf("a", kDc + "2-16C", 3), VmOf("b", kDc + "2-12C", 4)}));
  EXPECT_EQ(Count(large, StepKind::kCreateInstance), 2);
}

TEST(VgpuPlan, WhatAnInstanceThatIsSharedDoesNotGiveIsNotPromised) {
  const Machine machine = HostWith({"RTX-PRO-6000-SERVER"}, false);
  Workload hard = VmOf("hard", kDc + "1-12C");
  hard.isolation = {"hardware", *IsolationWordAxes("hardware"), false};
  EXPECT_THAT(PlanFor(machine, SpecOf({hard})).unplaced.at(0).reason,
              HasSubstr("does not give hardware isolation among those in its MIG instance"));
  // Not named, it gets an instance of its own.
  hard.profile.clear();
  hard.memory = Share<Bytes>{GiB(8), GiB(8)};
  EXPECT_THAT(Types(SoundPlan(machine, SpecOf({hard}))), ElementsAre(kDc + "1-24C"));
  Workload fair = VmOf("fair", kDc + "1-12C");
  fair.vgpu = VgpuAsk{VgpuSeries::kC, VgpuScheduler::kFixedShare, false};
  EXPECT_THAT(PlanFor(machine, SpecOf({fair})).unplaced.at(0).reason, HasSubstr("cannot be set"));
  Workload much = VmOf("much", kDc + "1-12C");
  much.compute = Share<Fraction>{{0.2}, {0.2}};
  EXPECT_THAT(PlanFor(machine, SpecOf({much})).unplaced.at(0).reason, HasSubstr("of the SMs"));
}

TEST(VgpuPlan, AnotherOneJoinsTheInstanceThatHasRoom) {
  const Machine machine = HostWith({"RTX-PRO-6000-SERVER"}, false);
  const Spec one = SpecOf({VmOf("a", kDc + "1-12C")});
  const World now = Applied(machine, {}, SoundPlan(machine, one));
  EXPECT_FALSE(SoundPlan(now.machine, one, now.deployment).HasChanges());
  const Spec two = SpecOf({VmOf("a", kDc + "1-12C"), VmOf("b", kDc + "1-12C")});
  const Plan joined = SoundPlan(now.machine, two, now.deployment);
  EXPECT_EQ(Count(joined, StepKind::kCreateInstance), 0);
  EXPECT_EQ(Count(joined, StepKind::kCreateVgpu), 1);
  EXPECT_EQ(joined.assignments[0].slice.placement, joined.assignments[1].slice.placement);
  // One goes, and its instance stays for the other.
  const World both = Applied(now.machine, now.deployment, joined);
  const Plan less = SoundPlan(both.machine, one, both.deployment);
  EXPECT_EQ(Count(less, StepKind::kDestroyVgpu), 1);
  EXPECT_EQ(Count(less, StepKind::kDestroyInstance), 0);
  const Plan down = MakeDownPlan(both.machine, both.deployment, TestCatalog());
  EXPECT_EQ(Count(down, StepKind::kDestroyVgpu), 2);
  EXPECT_EQ(Count(down, StepKind::kDestroyInstance), 1);
}

// What can be planned of the two, the second over what the first made.
void ExpectSoundOneAfterTheOther(const Machine& machine, const Spec& first, const Spec& second) {
  const Plan plan = PlanFor(machine, first);
  if (!plan.feasible()) return;
  ExpectSound(machine, first, {}, plan);
  const World now = Applied(machine, {}, plan);
  const Plan next = PlanFor(now.machine, second, now.deployment);
  if (next.feasible()) ExpectSound(now.machine, second, now.deployment, next);
}

TEST(VgpuPlan, RandomSpecsShareInstancesByTheRules) {
  std::mt19937 random(5);
  const std::vector<std::string> types = {"4-24C", "2-48C", "2-24C", "2-16C",
                                          "1-24C", "1-12C", "1-8C"};
  for (int round = 0; round < 40; ++round) {
    const Machine machine = HostWith({"RTX-PRO-6000-SERVER", "RTX-PRO-6000-SERVER"}, false);
    const auto draw = [&] {
      std::vector<Workload> workloads;
      const int count = 1 + static_cast<int>(random() % 4);
      for (int i = 0; i < count; ++i) {
        workloads.push_back(VmOf("w" + std::to_string(i), kDc + types[random() % types.size()],
                                 1 + static_cast<int>(random() % 4)));
        if (random() % 2 == 0) workloads.back().team = "other";
      }
      return SpecOf(workloads);
    };
    const Spec first = draw(), second = draw();
    ExpectSoundOneAfterTheOther(machine, first, second);
  }
}

TEST(VgpuPlan, SizesAreMixedWhereThatIsAsked) {
  const Machine machine = HostWith({"A40"});
  const Spec spec = SpecOf({Mixed(VmOf("small", "A40-8C", 2)), Mixed(VmOf("big", "A40-24C"))});
  const Plan plan = SoundPlan(machine, spec);
  EXPECT_THAT(Lines(plan),
              ElementsAre("+ gpu0 virtual functions, mixed sizes", "+ gpu0 A40-24C for big/0",
                          "+ gpu0 A40-8C for small/0", "+ gpu0 A40-8C for small/1"));
  const auto place = [&](const std::string& workload, int replica) {
    const AssignedVgpu& vgpu = *plan.FindAssignment(workload, replica)->vgpu;
    return std::pair(*vgpu.part, *vgpu.parts);
  };
  EXPECT_EQ(place("big", 0), std::pair(1, 2));
  EXPECT_EQ(place("small", 0), std::pair(3, 4));
  EXPECT_EQ(place("small", 1), std::pair(4, 4));
  // Four of a size instead of six.
  EXPECT_EQ(PlanFor(machine, SpecOf({Mixed(VmOf("a", "A40-8C", 5))})).unplaced.size(), 1u);
  // Those that are there and another's keep the GPU as it is.
  Machine used = machine;
  VgpuThere there;
  there.id = there.function = "0000:41:00.4";
  there.type = "A40-8C";
  there.framebuffer = GiB(8);
  used.gpus[0].vgpu->there.push_back(there);
  EXPECT_THAT(PlanFor(used, spec).unplaced.at(0).reason, HasSubstr("changes only while it has no"));
}

TEST(VgpuPlan, WhatSomebodyElseMadeStaysAndIsPlannedAround) {
  Machine machine = HostWith({"A40"});
  VgpuThere there;
  there.id = there.function = "0000:41:00.4";
  there.type = "A40-8C";
  there.framebuffer = GiB(8);
  machine.gpus[0].vgpu->there.push_back(there);
  SoundPlan(machine, SpecOf({VmOf("a", "A40-8C", 5)}));
  EXPECT_EQ(PlanFor(machine, SpecOf({VmOf("a", "A40-8C", 6)})).unplaced.size(), 1u);
  EXPECT_EQ(PlanFor(machine, SpecOf({VmOf("a", "A40-16C")})).unplaced.size(), 1u);
  // Nothing but vGPUs goes there.
  const Plan process = PlanFor(machine, SpecOf({Shared("p", GiB(4))}));
  EXPECT_THAT(process.unplaced.at(0).reason, HasSubstr("0000:41:00.4"));
}

TEST(VgpuPlan, WhatRunsStaysAndAChangeIsMadeInOrder) {
  const Machine machine = HostWith({"A40", "A40"}, false);
  const Spec before = SpecOf({VmOf("a", "A40-8C", 2), VmOf("b", "A40-24C")});
  const World now = Applied(machine, {}, SoundPlan(machine, before));
  EXPECT_FALSE(SoundPlan(now.machine, before, now.deployment).HasChanges());
  // Another team, the same device: nothing is taken from its machine.
  Spec renamed = before;
  renamed.workloads[1].team = "search";
  EXPECT_FALSE(SoundPlan(now.machine, renamed, now.deployment).HasChanges());
  // Larger ones on the same GPU: the smaller go first.
  const Spec larger = SpecOf({VmOf("a", "A40-16C", 2), VmOf("b", "A40-24C")});
  const Plan change = SoundPlan(now.machine, larger, now.deployment);
  EXPECT_EQ(Count(change, StepKind::kDestroyVgpu), 2);
  EXPECT_EQ(Count(change, StepKind::kCreateVgpu), 2);
  EXPECT_EQ(Count(change, StepKind::kKeepReplica), 1);
  // Mixed sizes want the GPU empty in between.
  Spec mixed = before;
  for (Workload& workload : mixed.workloads) workload = Mixed(workload);
  const Plan remade = SoundPlan(now.machine, mixed, now.deployment);
  EXPECT_GT(Count(remade, StepKind::kSetVgpuHost), 0);
  // Gone: made again.
  Machine lost = now.machine;
  for (Gpu& gpu : lost.gpus) gpu.vgpu->there.clear();
  EXPECT_EQ(Count(PlanFor(lost, before, now.deployment), StepKind::kCreateVgpu), 3);
  // And all back.
  const Plan down = MakeDownPlan(now.machine, now.deployment, TestCatalog());
  EXPECT_EQ(Count(down, StepKind::kDestroyVgpu), 3);
  EXPECT_EQ(Count(down, StepKind::kSetVgpuHost), 2);
  for (const Step& step : down.steps) {
    EXPECT_TRUE(step.kind != StepKind::kSetVgpuHost || !step.vgpu_host->functions);
  }
  // But for what others have made of it since.
  Machine shared = now.machine;
  VgpuThere theirs;
  theirs.id = theirs.function = "0000:41:00.9";
  theirs.type = "A40-8C";
  theirs.framebuffer = GiB(8);
  for (Gpu& gpu : shared.gpus) gpu.vgpu->there.push_back(theirs);
  for (const Step& step : MakeDownPlan(shared, now.deployment, TestCatalog()).steps) {
    EXPECT_TRUE(step.kind != StepKind::kSetVgpuHost || step.vgpu_host->functions);
  }
  const Plan less = SoundPlan(now.machine, SpecOf({VmOf("a", "A40-8C", 2)}), now.deployment);
  EXPECT_EQ(Count(less, StepKind::kSetVgpuHost), 1) << "the other GPU is as it was";
}

TEST(VgpuPlan, AFleetIsPlannedFromTheCatalog) {
  Spec spec = SpecOf({VmOf("a", "L40S-8C", 7)});
  spec.fleet = {{"L40S", 2, 0.9, std::nullopt}};
  // Written by hand in tests of the stage that makes them.
  const Machine machine = HostWith({"L40S", "L40S"}, false);
  const Plan plan = SoundPlan(machine, spec);
  EXPECT_EQ(plan.assignments.size(), 7u);
}

// Whatever is asked: what a plan says fits keeps the rules, step by step.
TEST(VgpuPlan, RandomSpecsKeepTheRules) {
  std::mt19937 random(11);
  const std::vector<std::string> types = {"A40-48C", "A40-24C", "A40-16C", "A40-12C",
                                          "A40-8C",  "A40-6C",  "A40-4C",  "A40-8Q"};
  for (int round = 0; round < 60; ++round) {
    const Machine machine = HostWith({"A40", "A40", "A40"}, random() % 2 == 0);
    const auto draw = [&] {
      std::vector<Workload> workloads;
      const int count = 1 + static_cast<int>(random() % 6);
      for (int i = 0; i < count; ++i) {
        Workload workload =
            VmOf("w" + std::to_string(i), types[random() % types.size()], 1 + random() % 2);
        if (random() % 3 == 0) workload = Mixed(workload);
        if (random() % 4 == 0) {
          if (!workload.vgpu) workload.vgpu.emplace();
          workload.vgpu->scheduler = kAllVgpuSchedulers[random() % 3];
        }
        workloads.push_back(workload);
      }
      return SpecOf(workloads);
    };
    const Spec first = draw(), second = draw();
    ExpectSoundOneAfterTheOther(machine, first, second);
  }
}

}  // namespace
}  // namespace tranche::planning
