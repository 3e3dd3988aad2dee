#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <random>

#include "engine/test_world.h"
#include "engine/vgpu_book.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Pair;

const std::string kGpu = TestGpuUuid(0);

Workload Vm(const std::string& name, const std::string& type, int replicas = 1) {
  Workload workload;
  workload.name = name;
  workload.mechanism = Mechanism::kVgpu;
  workload.isolation = {"none", {}, false};
  workload.profile = type;
  workload.replicas = replicas;
  return workload;
}
Workload Mixed(Workload workload) {
  workload.vgpu = VgpuAsk{VgpuSeries::kC, std::nullopt, true};
  return workload;
}

std::vector<uint32_t> Made(const World& world) {
  std::vector<uint32_t> types;
  for (const auto& [place, type] : world.vgpus->made()) types.push_back(type);
  std::sort(types.begin(), types.end());
  return types;
}

TEST(VgpusTest, AreMadeReadBackChangedAndTakenDown) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.Open();
  const Receipt receipt = world.Apply(SpecOf({Vm("a", "H100XM-20C", 2)}));
  ASSERT_EQ(receipt.outcome, ApplyOutcome::kDone) << (receipt.error ? receipt.error->message : "");
  EXPECT_TRUE(world.vgpus->enabled());
  EXPECT_THAT(Made(world), ElementsAre(803, 803));
  EXPECT_THAT(receipt.steps.back().detail, HasSubstr("tranche vgpu xml 0000:10:00"));
  EXPECT_FALSE(world.MakePlan(SpecOf({Vm("a", "H100XM-20C", 2)})).HasChanges());

  const Machine machine = *world.engine().Inventory();
  ASSERT_TRUE(machine.gpus[0].vgpu);
  ASSERT_EQ(machine.gpus[0].vgpu->there.size(), 2u);
  EXPECT_TRUE(machine.gpus[0].vgpu->there[0].ours);
  EXPECT_EQ(machine.gpus[0].vgpu->there[0].workload, "a");
  EXPECT_EQ(*machine.gpus[0].vgpu->scheduler, VgpuScheduler::kBestEffort);
  const ReplicaStatus status = world.Replica("a", 1);
  EXPECT_EQ(status.state, ReplicaState::kHealthy);
  EXPECT_THAT(status.detail, HasSubstr("no machine has it open"));
  EXPECT_FALSE(status.memory_used);

  // Larger ones, and turns that are promised.
  Workload larger = Vm("a", "H100XM-40C", 2);
  larger.vgpu = VgpuAsk{VgpuSeries::kC, VgpuScheduler::kFixedShare, false};
  ASSERT_EQ(world.Apply(SpecOf({larger})).outcome, ApplyOutcome::kDone);
  EXPECT_THAT(Made(world), ElementsAre(802, 802));
  EXPECT_EQ(world.vgpus->scheduler, "Fixed Share");

  ASSERT_EQ(world.engine().Down(world.Options(), nullptr)->outcome, ApplyOutcome::kDone);
  EXPECT_THAT(Made(world), IsEmpty());
  EXPECT_FALSE(world.vgpus->enabled()) << "as it was before";
  EXPECT_EQ(*world.engine().GetDeployment(), Deployment());
}

TEST(VgpusTest, BackedByMigInTheRightOrder) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.Open();
  const Spec spec = SpecOf({Vm("big", "H100XM-3-40C"), Vm("small", "H100XM-1-10C", 3)});
  const Receipt receipt = world.Apply(spec);
  ASSERT_EQ(receipt.outcome, ApplyOutcome::kDone) << (receipt.error ? receipt.error->message : "");
  EXPECT_THAT(Made(world), ElementsAre(811, 812, 812, 812));
  const Gpu gpu = world.driver->machine().gpus[0];
  EXPECT_TRUE(gpu.mig_mode->current);
  EXPECT_EQ(gpu.mig_instances.size(), 4u);
  // Each is in the instance that the plan gave it.
  const Machine machine = *world.engine().Inventory();
  const Deployment deployment = *world.engine().GetDeployment();
  for (const VgpuThere& there : machine.gpus[0].vgpu->there) {
    const DeployedReplica* replica = deployment.FindReplica(there.workload, there.replica);
    ASSERT_NE(replica, nullptr);
    EXPECT_EQ(gpu.FindInstance(*replica->slice.placement)->id, *there.gpu_instance);
  }
  // One goes, the others stay where they are.
  ASSERT_EQ(world.Apply(SpecOf({Vm("small", "H100XM-1-10C", 3)})).outcome, ApplyOutcome::kDone);
  EXPECT_THAT(Made(world), ElementsAre(812, 812, 812));
  ASSERT_EQ(world.engine().Down(world.Options(), nullptr)->outcome, ApplyOutcome::kDone);
  EXPECT_FALSE(world.driver->machine().gpus[0].mig_mode->current);
  EXPECT_FALSE(world.vgpus->enabled());
}

// A board whose MIG instances several vGPUs share.
Gpu TestProServer() {
  const auto catalog = *Catalog::Load();
  const CatalogGpu& known = **catalog->FindGpu("RTX-PRO-6000-SERVER");
  Gpu gpu = TestH100(0, false);
  gpu.name = "NVIDIA RTX PRO 6000 Blackwell Server Edition";
  gpu.model = known.key;
  gpu.sm_count = *known.sm_count;
  gpu.memory_total = *known.memory;
  gpu.mig_profiles = known.mig_profiles;
  gpu.memory_slots = known.mig_memory_slots;
  return gpu;
}

TEST(VgpusTest, SeveralShareAnInstanceWhereTheDriverPutsThem) {
  const std::string dc = "RTX Pro 6000 Blackwell DC-";
  World world(TestMachine({TestProServer()}));
  world.AddVgpuHost(96, {{901, "NVIDIA " + dc + "1-24C", 24, 1, 4, 0, 1, 47},
                         {902, "NVIDIA " + dc + "1-12C", 12, 1, 8, 0, 2, 47},
                         {903, "NVIDIA " + dc + "1-8C", 8, 1, 12, 0, 3, 47}});
  world.Open();
  const Spec spec =
      SpecOf({Vm("half", dc + "1-12C", 3), Vm("third", dc + "1-8C", 3), Vm("whole", dc + "1-24C")});
  const Receipt receipt = world.Apply(spec);
  ASSERT_EQ(receipt.outcome, ApplyOutcome::kDone) << (receipt.error ? receipt.error->message : "");
  EXPECT_THAT(Made(world), ElementsAre(901, 902, 902, 902, 903, 903, 903));
  EXPECT_EQ(world.driver->machine().gpus[0].mig_instances.size(), 4u);
  EXPECT_FALSE(world.MakePlan(spec).HasChanges());
  // Each is where its plan says.
  const Machine machine = *world.engine().Inventory();
  const Gpu& gpu = machine.gpus[0];
  for (const VgpuThere& there : gpu.vgpu->there) {
    const Deployment deployment = *world.engine().GetDeployment();
    const DeployedReplica* replica = deployment.FindReplica(there.workload, there.replica);
    ASSERT_NE(replica, nullptr);
    EXPECT_EQ(gpu.FindInstance(*replica->slice.placement)->id, *there.gpu_instance);
  }
  // One more joins the instance with room; none is made for it.
  const Spec four =
      SpecOf({Vm("half", dc + "1-12C", 4), Vm("third", dc + "1-8C", 3), Vm("whole", dc + "1-24C")});
  ASSERT_EQ(world.Apply(four).outcome, ApplyOutcome::kDone);
  EXPECT_EQ(world.driver->machine().gpus[0].mig_instances.size(), 4u);
  // An instance goes with the last in it.
  ASSERT_EQ(world.Apply(SpecOf({Vm("third", dc + "1-8C", 2)})).outcome, ApplyOutcome::kDone);
  EXPECT_THAT(Made(world), ElementsAre(903, 903));
  EXPECT_EQ(world.driver->machine().gpus[0].mig_instances.size(), 1u);
  ASSERT_EQ(world.engine().Down(world.Options(), nullptr)->outcome, ApplyOutcome::kDone);
  EXPECT_THAT(Made(world), IsEmpty());
}

// One spec after the other: what fits is made, each where its plan says, though the driver chooses.
TEST(VgpusTest, WhateverIsAskedNextIsWhereItsPlanSays) {
  const std::string dc = "RTX Pro 6000 Blackwell DC-";
  const std::vector<std::string> types = {"1-24C", "1-12C", "1-8C", "2-24C"};
  std::mt19937 random(17);
  World world(TestMachine({TestProServer()}));
  world.AddVgpuHost(96, {{901, "NVIDIA " + dc + "1-24C", 24, 1, 4, 0, 1, 47},
                         {902, "NVIDIA " + dc + "1-12C", 12, 1, 8, 0, 2, 47},
                         {903, "NVIDIA " + dc + "1-8C", 8, 1, 12, 0, 3, 47},
                         {904, "NVIDIA " + dc + "2-24C", 24, 2, 4, 0, 2, 35}});
  world.Open();
  int made = 0;
  for (int round = 0; round < 40; ++round) {
    std::vector<Workload> workloads;
    const int count = 1 + static_cast<int>(random() % 3);
    for (int i = 0; i < count; ++i) {
      workloads.push_back(Vm("w" + std::to_string(i), dc + types[random() % types.size()],
                             1 + static_cast<int>(random() % 4)));
    }
    const Spec spec = SpecOf(workloads);
    const auto plan = world.engine().MakePlan(spec, {});
    ASSERT_TRUE(plan);
    if (!plan->feasible()) continue;
    ++made;
    const Receipt receipt = world.Apply(spec);
    ASSERT_EQ(receipt.outcome, ApplyOutcome::kDone)
        << "round " << round << ": " << (receipt.error ? receipt.error->message : "");
    EXPECT_FALSE(world.MakePlan(spec).HasChanges());
  }
  EXPECT_GT(made, 15);
}

TEST(VgpusTest, MixedSizesHaveTheirPlaces) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.Open();
  const Spec spec = SpecOf({Mixed(Vm("small", "H100XM-10C", 2)), Mixed(Vm("half", "H100XM-40C")),
                            Mixed(Vm("quarter", "H100XM-20C"))});
  const Plan plan = world.MakePlan(spec);
  const auto receipt = world.TryApply(plan);
  ASSERT_TRUE(receipt);
  ASSERT_EQ(receipt->outcome, ApplyOutcome::kDone)
      << (receipt->error ? receipt->error->message : "");
  EXPECT_TRUE(world.vgpus->mixed);
  EXPECT_THAT(Made(world), ElementsAre(802, 803, 805, 805));
  // The driver's places are those that the plan said.
  const Machine machine = *world.engine().Inventory();
  for (const VgpuThere& there : machine.gpus[0].vgpu->there) {
    const AssignedVgpu& said = *plan.FindAssignment(there.workload, there.replica)->vgpu;
    ASSERT_TRUE(there.placement_id);
    EXPECT_EQ(*there.placement_id, 128 / *said.parts * (*said.part - 1)) << there.type;
  }
  // Back to one size: all are made anew, since the GPU must be empty for that.
  ASSERT_EQ(world.Apply(SpecOf({Vm("small", "H100XM-10C", 2)})).outcome, ApplyOutcome::kDone);
  EXPECT_FALSE(world.vgpus->mixed);
  EXPECT_THAT(Made(world), ElementsAre(805, 805));
}

TEST(VgpusTest, WhatAMachineHasOpenIsNotTaken) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.Open();
  ASSERT_EQ(world.Apply(SpecOf({Vm("a", "H100XM-20C"), Vm("b", "H100XM-20C")})).outcome,
            ApplyOutcome::kDone);
  const std::string device = "/dev/vfio/devices/vfio4";
  world.vgpus->holders[device] = {4242};
  EXPECT_THAT(world.Replica("a").detail, HasSubstr("pid 4242"));
  for (const Spec& spec : {SpecOf({Vm("b", "H100XM-20C")}), SpecOf({Vm("a", "H100XM-40C")})}) {
    const Plan plan = world.MakePlan(spec);
    const auto refused = world.TryApply(plan);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
    EXPECT_THAT(refused.error().message, HasSubstr("4242"));
  }
  EXPECT_EQ(world.engine().Down(world.Options(), nullptr).error().code, ErrorCode::kBusy);
  EXPECT_THAT(Made(world), ElementsAre(803, 803)) << "nothing was done before it was looked at";
  // The other one may go.
  EXPECT_EQ(world.Apply(SpecOf({Vm("a", "H100XM-20C")})).outcome, ApplyOutcome::kDone);
  // And nobody stops a machine that is not ours.
  const Status stopped = world.engine().Stop("a", std::nullopt);
  ASSERT_FALSE(stopped);
  EXPECT_THAT(stopped.error().message, HasSubstr("yours to stop"));
  EXPECT_FALSE(world.engine().Restart("a", std::nullopt));
  world.vgpus->holders.clear();
}

TEST(VgpusTest, AFailureHalfWayGoesBack) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.Open();
  ASSERT_EQ(world.Apply(SpecOf({Vm("a", "H100XM-20C")})).outcome, ApplyOutcome::kDone);
  // The place of the second one is broken.
  world.vgpus->write_fails.insert("/sys/bus/pci/devices/" + world.vgpus->FunctionAt(1) +
                                  "/nvidia/current_vgpu_type");
  const Receipt receipt = world.Apply(SpecOf({Vm("b", "H100XM-40C", 2)}));
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  EXPECT_THAT(Made(world), ElementsAre(803));
  EXPECT_NE(world.engine().GetDeployment()->FindReplica("a", 0), nullptr);
  world.vgpus->write_fails.clear();
  // Turns that cannot be set are told, with how else they are.
  world.vgpus->holders["/dev/vfio/devices/vfio9"] = {1};
  Workload fixed = Vm("a", "H100XM-20C");
  fixed.vgpu = VgpuAsk{VgpuSeries::kC, VgpuScheduler::kFixedShare, false};
  const Receipt refused = world.Apply(SpecOf({fixed}));
  EXPECT_EQ(refused.outcome, ApplyOutcome::kRolledBack);
  EXPECT_THAT(refused.error->hint, HasSubstr("RmPVMRL=0x11"));
  EXPECT_THAT(Made(world), ElementsAre(803));
}

TEST(VgpusTest, AHalfWrittenSysfsIsNoPlanToApply) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.vgpus->EnableFunctions();
  world.vgpus->read_fails.insert("/sys/bus/pci/devices/" + world.vgpus->FunctionAt(2) +
                                 "/nvidia/creatable_vgpu_types");
  world.Open();
  const auto plan = world.engine().MakePlan(SpecOf({Vm("a", "H100XM-20C")}), {});
  ASSERT_TRUE(plan);
  ASSERT_FALSE(plan->feasible());
  EXPECT_THAT(plan->unplaced[0].reason, HasSubstr("EIO"));
  EXPECT_THAT(Made(world), IsEmpty());
}

// That files are missing is no sign of a GPU without vGPUs, on which another plan might be made.
TEST(VgpusTest, AFileThatIsMissingIsNoHostWithoutVgpus) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.Open();
  const Spec spec = SpecOf({Vm("a", "H100XM-20C")});
  ASSERT_EQ(world.Apply(spec).outcome, ApplyOutcome::kDone);
  for (const char* file : {"/nvidia/creatable_vgpu_types", "/nvidia/current_vgpu_type"}) {
    const std::string path = "/sys/bus/pci/devices/" + world.vgpus->FunctionAt(1) + file;
    world.vgpus->instead[path] = std::nullopt;
    const auto plan = world.engine().MakePlan(spec, {});
    ASSERT_TRUE(plan);
    ASSERT_FALSE(plan->feasible()) << file;
    EXPECT_THAT(plan->unplaced[0].reason, HasSubstr(file));
    world.vgpus->instead.clear();
  }
  EXPECT_FALSE(world.MakePlan(spec).HasChanges());
  EXPECT_THAT(Made(world), ElementsAre(803));
}

// Capacity that shrinks between the plan and its steps: all goes back.
TEST(VgpusTest, WhatDoesNotFitAnyMoreGoesBack) {
  // Outlives the world, which passes boundaries as it ends.
  bool come = false;
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.vgpus->EnableFunctions();
  const std::string theirs =
      "/sys/bus/pci/devices/" + world.vgpus->FunctionAt(9) + "/nvidia/current_vgpu_type";
  world.boundary = [&](const std::string& where) {
    if (come || where.find("before writing") == std::string::npos) return;
    come = true;
    ASSERT_TRUE(world.vgpus->Write(theirs, "803"));
  };
  world.Open();
  const Receipt receipt = world.Apply(SpecOf({Vm("a", "H100XM-20C", 4)}));
  EXPECT_TRUE(come);
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  EXPECT_EQ(receipt.error->code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(world.vgpus->made(), ElementsAre(Pair(world.vgpus->FunctionAt(9), 803)))
      << "only what is theirs";
}

TEST(VgpusTest, ComeBackAfterAReboot) {
  for (const bool mig : {false, true}) {
    World world(TestMachine({TestH100(0, false)}));
    world.AddVgpuHost();
    world.Open();
    Workload vm = Vm("a", mig ? "H100XM-1-10C" : "H100XM-20C", 2);
    if (!mig) vm.vgpu = VgpuAsk{VgpuSeries::kC, VgpuScheduler::kEqualShare, false};
    ASSERT_EQ(world.Apply(SpecOf({vm})).outcome, ApplyOutcome::kDone);
    world.Close();
    world.vgpus->Reboot();
    world.driver->Edit([](Machine& machine) { machine.gpus[0].mig_instances.clear(); });
    world.Open();
    ASSERT_TRUE(world.TickUntil([&] { return world.vgpus->made().size() == 2; }));
    EXPECT_TRUE(world.vgpus->enabled());
    EXPECT_EQ(world.vgpus->scheduler, mig ? "Best Effort" : "Equal Share");
    EXPECT_EQ(world.Replica("a", 1).state, ReplicaState::kHealthy);
  }
}

// A virtual function has no name of its own: what is there after a start of the machine is not what
// was there before it, however alike.
TEST(VgpusTest, WhatIsAtTheSamePlaceAfterARebootIsNotOurs) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.Open();
  ASSERT_EQ(world.Apply(SpecOf({Vm("a", "H100XM-20C")})).outcome, ApplyOutcome::kDone);
  const std::string place = world.vgpus->made().begin()->first;
  world.Close();
  world.vgpus->Reboot();
  world.vgpus->EnableFunctions();
  ASSERT_TRUE(
      world.vgpus->Write("/sys/bus/pci/devices/" + place + "/nvidia/current_vgpu_type", "803"));
  world.Open();
  ASSERT_TRUE(world.TickUntil([&] { return world.vgpus->made().size() == 2; }));
  EXPECT_EQ(world.Replica("a", 0).state, ReplicaState::kHealthy);
  ASSERT_TRUE(world.engine().Down(world.Options(), nullptr));
  EXPECT_THAT(world.vgpus->made(), ElementsAre(Pair(place, 803))) << "it is theirs";
}

// A crash while one held a place: whoever makes or takes away the replica's takes it away, too.
TEST(VgpuBook, WhatHoldsAPlaceGoesWithItsReplica) {
  char folder[] = "/tmp/tranche-vgpu-book.XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  auto* files =
      new FakeVgpuSysfs(VgpuInterface::kVendorVfio, 48, 8, {{559, "NVIDIA A40-8C", 8, 0, 6, 4}});
  VgpuHost host(std::unique_ptr<Sysfs>(files),
                [&](const std::vector<std::string>& argv) { return files->Run(argv); });
  SystemClock clock;
  files->EnableFunctions();
  VgpuBook book(folder, host, clock);
  ASSERT_TRUE(book.CreateFor(FakeVgpuSysfs::kGpu, "A40-8C", "a", 0));
  ASSERT_TRUE(book.HoldPlace("a", 0));
  EXPECT_TRUE(book.HoldsPlaces("a", 0));
  EXPECT_FALSE(book.FindFor("a", 0)) << "it is none of the replica's";
  ASSERT_TRUE(book.CreateFor(FakeVgpuSysfs::kGpu, "A40-8C", "a", 0));
  EXPECT_EQ(files->made().size(), 2u);
  // As the next start of Tranche sees it.
  VgpuBook again(folder, host, clock);
  EXPECT_TRUE(again.HoldsPlaces("a", 0));
  ASSERT_TRUE(again.ReleasePlaces("a", 0));
  EXPECT_EQ(files->made().size(), 1u);
  EXPECT_TRUE(again.FindFor("a", 0));
  ASSERT_TRUE(again.HoldPlace("a", 0));
  ASSERT_TRUE(again.CreateFor(FakeVgpuSysfs::kGpu, "A40-8C", "a", 0));
  ASSERT_TRUE(again.DestroyFor("a", 0));
  EXPECT_THAT(files->made(), IsEmpty());
  std::filesystem::remove_all(folder);
}

TEST(VgpusTest, MediatedDevicesAreMadeAndTakenDown) {
  for (const int functions : {0, 16}) {
    World world(TestMachine({TestH100(0, false)}));
    world.AddVgpuHost(
        80, {{802, "NVIDIA H100XM-40C", 40, 0, 2, 2}, {803, "NVIDIA H100XM-20C", 20, 0, 4, 4}},
        VgpuInterface::kMdev, functions);
    world.Open();
    const Spec spec = SpecOf({Vm("a", "H100XM-20C", 2)});
    const Receipt receipt = world.Apply(spec);
    ASSERT_EQ(receipt.outcome, ApplyOutcome::kDone)
        << (receipt.error ? receipt.error->message : "");
    EXPECT_THAT(Made(world), ElementsAre(803, 803));
    EXPECT_EQ(world.vgpus->made().begin()->first.size(), 36u) << "a UUID";
    EXPECT_FALSE(world.MakePlan(spec).HasChanges());
    // The daemon starts anew and knows them.
    world.Close();
    world.Open();
    EXPECT_FALSE(world.MakePlan(spec).HasChanges());
    ASSERT_EQ(world.Apply(SpecOf({Vm("a", "H100XM-40C")})).outcome, ApplyOutcome::kDone);
    EXPECT_THAT(Made(world), ElementsAre(802));
    ASSERT_EQ(world.engine().Down(world.Options(), nullptr)->outcome, ApplyOutcome::kDone);
    EXPECT_THAT(Made(world), IsEmpty());
    EXPECT_FALSE(world.vgpus->enabled());
    EXPECT_EQ(*world.engine().GetDeployment(), Deployment());
  }
}

TEST(VgpusTest, AnothersIsPlannedAround) {
  World world(TestMachine({TestH100(0, false)}));
  world.AddVgpuHost();
  world.vgpus->EnableFunctions();
  ASSERT_TRUE(world.vgpus->Write(
      "/sys/bus/pci/devices/" + world.vgpus->FunctionAt(0) + "/nvidia/current_vgpu_type", "803"));
  world.Open();
  ASSERT_EQ(world.Apply(SpecOf({Vm("a", "H100XM-20C", 3)})).outcome, ApplyOutcome::kDone);
  EXPECT_EQ(world.vgpus->made().size(), 4u);
  ASSERT_TRUE(world.engine().Down(world.Options(), nullptr));
  EXPECT_THAT(world.vgpus->made(), ElementsAre(Pair(world.vgpus->FunctionAt(0), 803)));
}

}  // namespace
}  // namespace tranche
