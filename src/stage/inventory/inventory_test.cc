#include "stage/inventory/inventory.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "base/json.h"
#include "edge/driver/fake/fake_driver.h"
#include "edge/driver/fake/test_machine.h"
#include "stage/inventory/capabilities.h"
#include "stage/inventory/health.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const Catalog& TheCatalog() {
  static const auto catalog = Catalog::Load();
  if (!catalog) ADD_FAILURE() << catalog.error().message;
  return **catalog;
}

// A root directory with what a test puts there.
class FakeRoot {
 public:
  FakeRoot() {
    path_ = testing::TempDir() + "tranche_root_XXXXXX";
    if (mkdtemp(path_.data()) == nullptr) ADD_FAILURE() << path_;
  }
  ~FakeRoot() {
    std::error_code ignored;
    std::filesystem::remove_all(path_, ignored);
  }
  void Write(const std::string& name, const std::string& content) const {
    const std::filesystem::path file = path_ + "/" + name;
    std::filesystem::create_directories(file.parent_path());
    std::ofstream(file, std::ios::binary) << content;
  }
  void BeAdministrator() const {
    Write("proc/self/status", "Name:\ttranched\nCapEff:\t000001ffffffffff\n");
  }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

const Capability& Find(const Machine& machine, const std::string& gpu_uuid, Mechanism mechanism) {
  for (const Capability& capability : machine.capabilities) {
    if (capability.gpu_uuid == gpu_uuid && capability.mechanism == mechanism) return capability;
  }
  static const Capability none;
  ADD_FAILURE() << gpu_uuid << " has no entry for " << MechanismName(mechanism);
  return none;
}

Machine Take(FakeDriver& driver, const FakeRoot& root) {
  ManualClock clock;
  auto machine = TakeInventory(driver, TheCatalog(), clock, root.path());
  if (!machine) ADD_FAILURE() << machine.error().message;
  return machine.value_or(Machine{});
}

GpuProcess Process(int pid, const std::string& command) {
  GpuProcess process;
  process.pid = pid;
  process.command = command;
  process.uid = Reading<uint32_t>::Absent("the driver does not say");
  return process;
}

TEST(Inventory, NamesTheMachineAndStampsIt) {
  FakeRoot root;
  root.Write("proc/sys/kernel/hostname", "node\x1b-7\n");
  FakeDriver driver(TestMachine({TestH100(0), TestT4(1)}));
  driver.Edit([](Machine& machine) {
    for (Gpu& gpu : machine.gpus) gpu.model = "";
  });
  ManualClock clock(Time(std::chrono::seconds(1000)));
  const auto machine = TakeInventory(driver, TheCatalog(), clock, root.path());
  ASSERT_TRUE(machine);
  EXPECT_EQ(machine->hostname, "node\\x1b-7");
  EXPECT_EQ(machine->read_at, Time(std::chrono::seconds(1000)));
  EXPECT_EQ(machine->gpus[0].model, "H100-SXM5-80GB");
  EXPECT_EQ(machine->gpus[1].model, "T4");
  EXPECT_EQ(machine->fingerprint, MachineFingerprint(*machine));
  EXPECT_THAT(machine->capabilities, SizeIs(2 * kAllMechanisms.size()));
  EXPECT_FALSE(machine->simulated_fleet);
}

TEST(Inventory, AGpuThatTheCatalogDoesNotKnowHasNoModel) {
  FakeRoot root;
  FakeDriver driver(TestMachine());
  driver.Edit([](Machine& machine) {
    machine.gpus[0].name = "NVIDIA X9000";
    machine.gpus[0].pci_device_id = "0xFFFF10DE";
  });
  EXPECT_EQ(Take(driver, root).gpus[0].model, "");
}

TEST(Inventory, SaysWhoAProcessIs) {
  FakeRoot root;
  root.Write("etc/passwd", "root:x:0:0::/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n");
  using std::string_literals::operator""s;
  root.Write("proc/100/cmdline", "python3\0-m\0vllm\0"s);
  root.Write("proc/100/status", "Name:\tpython3\nUid:\t1000\t1000\t1000\t1000\n");
  root.Write("proc/100/cgroup", "0::/system.slice/docker-" + std::string(64, 'a') + ".scope\n");
  root.Write("proc/101/cmdline", "");
  root.Write("proc/101/comm", "nvidia-modeset\n");
  root.Write("proc/101/status", "Uid:\t4321\t0\t0\t0\n");
  FakeDriver driver(TestMachine());
  driver.AttachProcess(TestGpuUuid(0), Process(100, "python3"));
  driver.AttachProcess(TestGpuUuid(0), Process(101, "modeset"));
  driver.AttachProcess(TestGpuUuid(0), Process(102, "gone\n"));
  const Machine machine = Take(driver, root);
  const std::vector<GpuProcess>& processes = machine.gpus[0].processes;
  ASSERT_THAT(processes, SizeIs(3));
  EXPECT_EQ(processes[0].command, "python3 -m vllm");
  EXPECT_EQ(processes[0].uid, 1000u);
  EXPECT_EQ(processes[0].user, "alice");
  EXPECT_EQ(processes[0].container, "aaaaaaaaaaaa");
  EXPECT_EQ(processes[1].command, "[nvidia-modeset]");
  EXPECT_EQ(processes[1].user, "4321");
  EXPECT_EQ(processes[1].container, "");
  EXPECT_EQ(processes[2].command, "gone\\n");
  EXPECT_FALSE(processes[2].uid);
  EXPECT_THAT(processes[2].uid.reason(), HasSubstr("ended"));
  EXPECT_EQ(processes[2].user, "");
}

TEST(Inventory, PassesOnThatThereIsNoDriver) {
  FakeRoot root;
  FakeDriver driver(TestMachine());
  driver.FailNth(FakeDriver::Call::kRead, 1, {ErrorCode::kUnavailable, "no driver", "install one"});
  ManualClock clock;
  const auto machine = TakeInventory(driver, TheCatalog(), clock, root.path());
  ASSERT_FALSE(machine);
  EXPECT_EQ(machine.error().code, ErrorCode::kUnavailable);
  EXPECT_EQ(machine.error().hint, "install one");
}

TEST(Capabilities, OfAnH100ForRootWithDeviceNodes) {
  FakeRoot root;
  root.BeAdministrator();
  root.Write("dev/nvidiactl", "");
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  const Machine machine = Take(driver, root);
  const std::string gpu = TestGpuUuid(0);
  const Capability& mig = Find(machine, gpu, Mechanism::kMig);
  EXPECT_TRUE(mig.available);
  EXPECT_EQ(mig.reason, "MIG mode must be switched on first");
  EXPECT_EQ(mig.guarantees, (Guarantees{Guarantee::kHardware, Guarantee::kHardware,
                                        Guarantee::kHardware, Guarantee::kKernel}));
  EXPECT_TRUE(Find(machine, gpu, Mechanism::kExclusive).available);
  EXPECT_EQ(Find(machine, gpu, Mechanism::kExclusive).guarantees.access, Guarantee::kKernel);
  EXPECT_TRUE(Find(machine, gpu, Mechanism::kTimeSlicing).available);
  EXPECT_EQ(Find(machine, gpu, Mechanism::kTimeSlicing).guarantees.memory, Guarantee::kNone);
  const Capability& fraction = Find(machine, gpu, Mechanism::kFraction);
  EXPECT_TRUE(fraction.available);
  EXPECT_EQ(fraction.guarantees, (Guarantees{Guarantee::kCooperative, Guarantee::kCooperative,
                                             Guarantee::kNone, Guarantee::kKernel}));
  for (const Mechanism mechanism : {Mechanism::kMps, Mechanism::kVgpu}) {
    const Capability& capability = Find(machine, gpu, mechanism);
    EXPECT_FALSE(capability.available);
    EXPECT_NE(capability.reason, "");
    EXPECT_EQ(capability.guarantees, Guarantees{});
  }
}

TEST(Capabilities, MemoryIsTheKernelsToHoldWhereDriverAndCgroupsLetIt) {
  FakeRoot root;
  root.BeAdministrator();
  root.Write("proc/self/mountinfo", "31 24 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n");
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  const std::string gpu = TestGpuUuid(0);
  driver.SupportMemoryLimits();
  EXPECT_EQ(Find(Take(driver, root), gpu, Mechanism::kFraction).guarantees.memory,
            Guarantee::kCooperative)
      << "nobody may make groups there";
  root.Write("sys/fs/cgroup/cgroup.procs", "");
  const Capability fraction = Find(Take(driver, root), gpu, Mechanism::kFraction);
  EXPECT_EQ(fraction.guarantees.memory, Guarantee::kKernel);
  EXPECT_EQ(fraction.guarantees.compute, Guarantee::kCooperative);
  EXPECT_THAT(fraction.reason, HasSubstr("managed"));
  EXPECT_EQ(Find(Take(driver, root), gpu, Mechanism::kTimeSlicing).guarantees.memory,
            Guarantee::kNone);
  FakeDriver old(TestMachine({TestH100(0, false)}));
  EXPECT_EQ(Find(Take(old, root), gpu, Mechanism::kFraction).guarantees.memory,
            Guarantee::kCooperative);
}

TEST(Capabilities, WithoutADeviceCgroupOrRootAccessIsCooperative) {
  FakeRoot root;
  root.Write("dev/nvidiactl", "");
  FakeDriver driver(TestMachine());
  const Machine machine = Take(driver, root);
  const Capability& mig = Find(machine, TestGpuUuid(0), Mechanism::kMig);
  EXPECT_TRUE(mig.available);
  EXPECT_THAT(mig.reason, HasSubstr("needs root"));
  EXPECT_EQ(mig.guarantees.access, Guarantee::kCooperative);
  FakeRoot no_nodes;
  no_nodes.BeAdministrator();
  EXPECT_EQ(Find(Take(driver, no_nodes), TestGpuUuid(0), Mechanism::kMig).guarantees.access,
            Guarantee::kCooperative);
}

TEST(Capabilities, OfAT4NameWhatItLacks) {
  FakeRoot root;
  FakeDriver driver(TestMachine({TestT4(0)}));
  const Machine machine = Take(driver, root);
  EXPECT_EQ(Find(machine, TestGpuUuid(0), Mechanism::kMig).reason, "this GPU has no MIG");
  EXPECT_TRUE(Find(machine, TestGpuUuid(0), Mechanism::kExclusive).available);
  EXPECT_TRUE(Find(machine, TestGpuUuid(0), Mechanism::kTimeSlicing).available);
}

TEST(Capabilities, FollowTheModesOfTheGpu) {
  FakeRoot root;
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  const std::string gpu = TestGpuUuid(0);
  driver.Edit(
      [](Machine& machine) { machine.gpus[0].compute_mode = ComputeMode::kExclusiveProcess; });
  EXPECT_THAT(Find(Take(driver, root), gpu, Mechanism::kTimeSlicing).reason,
              HasSubstr("exclusive_process"));
  driver.Edit([](Machine& machine) { machine.gpus[0].compute_mode = ComputeMode::kProhibited; });
  EXPECT_FALSE(Find(Take(driver, root), gpu, Mechanism::kExclusive).available);
  driver.Edit([](Machine& machine) {
    machine.gpus[0].compute_mode = ComputeMode::kDefault;
    for (MigProfile& profile : machine.gpus[0].mig_profiles) profile.placements.clear();
  });
  EXPECT_FALSE(Find(Take(driver, root), gpu, Mechanism::kMig).available);
}

TEST(Capabilities, WhatIsSetForMpsKeepsNobodyElseFromThePlan) {
  FakeRoot root;
  root.BeAdministrator();
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  const std::string gpu = TestGpuUuid(0);
  const auto take = [&](const std::set<std::string>& ours) {
    ManualClock clock;
    return *TakeInventory(driver, TheCatalog(), clock, root.path(), ours);
  };
  driver.Edit(
      [](Machine& machine) { machine.gpus[0].compute_mode = ComputeMode::kExclusiveProcess; });
  for (const Mechanism mechanism : {Mechanism::kTimeSlicing, Mechanism::kFraction}) {
    EXPECT_FALSE(Find(take({}), gpu, mechanism).available);
    EXPECT_TRUE(Find(take({gpu}), gpu, mechanism).available);
  }
  driver.Edit([](Machine& machine) { machine.gpus[0].compute_mode = ComputeMode::kProhibited; });
  EXPECT_FALSE(Find(take({gpu}), gpu, Mechanism::kFraction).available) << "that is not ours";
}

TEST(Capabilities, OfMpsSayWhetherItCanFailClosedAndBeDivided) {
  Machine machine = TestMachine({TestH100(0, false)});
  const auto mps = [&](bool administrator, std::optional<int> version) {
    HostAbilities host;
    host.administrator = administrator;
    host.no_mps.clear();
    host.mps_version = version;
    machine.capabilities = JudgeCapabilities(machine, TheCatalog(), host);
    return Find(machine, TestGpuUuid(0), Mechanism::kMps);
  };
  EXPECT_EQ(mps(true, std::nullopt).fails_open, "");
  EXPECT_EQ(mps(false, std::nullopt).fails_open, "its compute mode is root's to set");
  EXPECT_EQ(mps(true, std::nullopt).partition_sms, 0) << "nobody has asked the control program";
  EXPECT_EQ(mps(true, 13000).partition_sms, 0);
  EXPECT_EQ(mps(true, 13010).partition_sms, 8);
  machine.gpus[0].compute_capability = std::string("8.9");
  EXPECT_EQ(mps(true, 13010).partition_sms, 4);
  machine.gpus[0].compute_capability = std::string("7.5");
  EXPECT_EQ(mps(true, 13010).partition_sms, 0);
  machine.gpus[0].compute_mode = Reading<ComputeMode>::Absent("not supported on this GPU");
  EXPECT_THAT(mps(true, 13010).fails_open, HasSubstr("cannot be read"));
  machine.gpus[0].compute_mode = ComputeMode::kExclusiveProcess;
  EXPECT_EQ(mps(false, 13010).fails_open, "") << "it does so already";
}

TEST(Capabilities, AnOldDriverIsNamedWithTheOneThatIsNeeded) {
  FakeRoot root;
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  driver.Edit([](Machine& machine) {
    machine.driver_version = std::string("470.57.02");
    machine.gpus[0].mig_mode = Reading<MigMode>::Absent("not supported on this GPU");
    machine.gpus[0].mig_profiles.clear();
  });
  const Machine machine = Take(driver, root);
  EXPECT_THAT(Find(machine, TestGpuUuid(0), Mechanism::kMig).reason,
              HasSubstr("needs driver 525.85.12 or newer; this is 470.57.02"));
}

TEST(Capabilities, OfAGpuThatIsNotUsableAreNone) {
  FakeRoot root;
  root.BeAdministrator();
  FakeDriver driver(TestMachine());
  driver.Edit([](Machine& machine) {
    machine.gpus[0].health.usable = false;
    machine.gpus[0].health.problems = {"fallen off the bus"};
  });
  for (const Capability& capability : Take(driver, root).capabilities) {
    EXPECT_FALSE(capability.available);
    EXPECT_EQ(capability.reason, "the GPU is not usable: fallen off the bus");
  }
}

TEST(DriverVersions, CompareByNumber) {
  EXPECT_TRUE(DriverAtLeast("580.95.05", "525.85.12"));
  EXPECT_TRUE(DriverAtLeast("525.85.12", "525.85.12"));
  EXPECT_TRUE(DriverAtLeast("525.105.1", "525.85.12"));
  EXPECT_FALSE(DriverAtLeast("525.85.5", "525.85.12"));
  EXPECT_FALSE(DriverAtLeast("525", "525.85.12"));
  EXPECT_FALSE(DriverAtLeast("", "1"));
  EXPECT_TRUE(DriverAtLeast("575.64", ""));
}

TEST(Health, IsToldInSentences) {
  Gpu gpu = TestH100();
  JudgeHealth(&gpu);
  EXPECT_TRUE(gpu.health.usable);
  EXPECT_THAT(gpu.health.problems, IsEmpty());
  gpu.health.remapped_rows = RemappedRows{1, 2, true, true};
  gpu.health.uncorrectable_ecc_errors = uint64_t{3};
  gpu.mig_mode = MigMode{false, true};
  gpu.health.recovery_action = std::string("drain_p2p");
  JudgeHealth(&gpu);
  EXPECT_TRUE(gpu.health.usable);
  EXPECT_THAT(gpu.health.problems,
              ElementsAre(HasSubstr("several GPUs"), HasSubstr("waits to be replaced"),
                          HasSubstr("can no longer be replaced"),
                          HasSubstr("3 uncorrectable memory errors"),
                          HasSubstr("MIG mode will be switched on")));
  for (const char* action : {"gpu_reset", "node_reboot", "drain_and_reset"}) {
    Gpu sick = TestH100();
    sick.health.recovery_action = std::string(action);
    JudgeHealth(&sick);
    EXPECT_FALSE(sick.health.usable) << action;
    EXPECT_THAT(sick.health.problems, SizeIs(1)) << action;
  }
}

TEST(Fleet, IsMadeFromTheCatalog) {
  Spec spec;
  spec.fleet = {{"H100-SXM5-80GB", 2, 2.40, std::nullopt},
                {"L40S", 1, std::nullopt, std::nullopt},
                {"H100-SXM5-80GB", 1, 2.00, 0.90},
                {"NO-SUCH-GPU", 1, std::nullopt, std::nullopt}};
  const Machine machine = MachineFromFleet(spec, TheCatalog());
  EXPECT_TRUE(machine.simulated_fleet);
  ASSERT_THAT(machine.gpus, SizeIs(5));
  EXPECT_EQ(machine.gpus[0].uuid, "fleet-H100-SXM5-80GB-0");
  EXPECT_EQ(machine.gpus[1].uuid, "fleet-H100-SXM5-80GB-1");
  EXPECT_EQ(machine.gpus[2].uuid, "fleet-L40S-0");
  EXPECT_EQ(machine.gpus[3].uuid, "fleet-H100-SXM5-80GB-2");
  EXPECT_EQ(machine.gpus[3].index, 3);
  EXPECT_EQ(machine.gpus[3].spot_price_per_hour, 0.90);
  EXPECT_EQ(machine.gpus[0].price_per_hour, 2.40);
  EXPECT_EQ(machine.gpus[2].price_per_hour, std::nullopt);
  EXPECT_EQ(machine.gpus[0].memory_slots, 8);
  EXPECT_THAT(machine.gpus[0].mig_profiles, SizeIs(7));
  EXPECT_FALSE(machine.gpus[2].mig_mode);
  EXPECT_FALSE(machine.gpus[4].health.usable);
  EXPECT_TRUE(Find(machine, "fleet-H100-SXM5-80GB-0", Mechanism::kMig).available);
  EXPECT_FALSE(Find(machine, "fleet-L40S-0", Mechanism::kMig).available);
  EXPECT_TRUE(Find(machine, "fleet-L40S-0", Mechanism::kExclusive).available);
  EXPECT_FALSE(Find(machine, "fleet-NO-SUCH-GPU-0", Mechanism::kExclusive).available);
  const auto back = MachineFromJson(ToJson(machine));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, machine);
}

TEST(Fleet, OfEveryGpuInTheCatalogReadsBack) {
  Spec spec;
  for (const CatalogGpu& gpu : TheCatalog().gpus()) {
    spec.fleet.push_back({gpu.key, 1, std::nullopt, std::nullopt});
  }
  const Machine machine = MachineFromFleet(spec, TheCatalog());
  const auto back = MachineFromJson(ToJson(machine));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, machine);
}

}  // namespace
}  // namespace tranche
