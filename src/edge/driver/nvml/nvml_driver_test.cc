// The NVML driver against the simulated libnvidia-ml.so.1, which is a program of its own that
// follows the recorded behaviour of real drivers.
#include "edge/driver/nvml/nvml_driver.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "base/json.h"
#include "edge/driver/nvml/sim_machine.h"

namespace tranche {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;
using testing::SizeIs;
using testing::StartsWith;
using testing::UnorderedElementsAre;

constexpr const char* kH100Mig = "--gpu H100-SXM5-80GB --mig";

std::unique_ptr<Driver> Open(const SimMachine& machine) {
  auto driver = OpenNvmlDriver(machine.library());
  if (!driver) {
    ADD_FAILURE() << driver.error().message;
    std::abort();
  }
  return std::move(*driver);
}

Machine ReadOrFail(Driver& driver) {
  auto machine = driver.Read();
  if (!machine) ADD_FAILURE() << machine.error().message;
  return machine.value_or(Machine{});
}

Gpu FirstGpu(Driver& driver) {
  const Machine machine = ReadOrFail(driver);
  if (machine.gpus.empty()) {
    ADD_FAILURE() << "no GPU";
    return {};
  }
  return machine.gpus[0];
}

std::vector<std::string> ProfileNames(const Gpu& gpu) {
  std::vector<std::string> names;
  for (const MigProfile& profile : gpu.mig_profiles) names.push_back(profile.name);
  return names;
}

// Waits until `done`; processes come and go in their own time.
template <typename Done>
bool Eventually(const Done& done) {
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (std::chrono::steady_clock::now() < deadline) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(5));
  }
  return false;
}

// ---- Opening ----

TEST(NvmlOpen, AMissingLibraryIsATypedErrorWithAHint) {
  const auto driver = OpenNvmlDriver("libnvidia-ml-that-is-not-there.so.1");
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(driver.error().message, HasSubstr("libnvidia-ml-that-is-not-there.so.1"));
  EXPECT_THAT(driver.error().hint, HasSubstr("install the NVIDIA driver"));
}

TEST(NvmlOpen, ALibraryThatIsNotNvmlIsRefused) {
  const auto driver = OpenNvmlDriver("libm.so.6");
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(driver.error().message, HasSubstr("no NVML"));
}

TEST(NvmlOpen, NoDriverBehindTheLibrary) {
  const SimMachine machine("--machine broken-no-driver");
  const auto driver = OpenNvmlDriver(machine.library());
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(driver.error().message, HasSubstr("not loaded"));
  EXPECT_THAT(driver.error().hint, HasSubstr("modprobe nvidia"));
}

TEST(NvmlOpen, LibraryAndKernelModuleOfDifferentVersions) {
  const SimMachine machine("--machine broken-mismatch");
  const auto driver = OpenNvmlDriver(machine.library());
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(driver.error().hint, HasSubstr("reboot"));
}

// ---- Reading ----

TEST(NvmlRead, AnH100WithEverything) {
  const SimMachine machine("--gpu H100-SXM5-80GB --driver 580.95.05");
  const auto driver = Open(machine);
  const Machine read = ReadOrFail(*driver);
  EXPECT_EQ(read.driver_version, std::string("580.95.05"));
  EXPECT_EQ(read.cuda_version, std::string("13.0"));
  ASSERT_THAT(read.gpus, SizeIs(1));
  const Gpu& gpu = read.gpus[0];
  EXPECT_THAT(gpu.uuid, StartsWith("GPU-"));
  EXPECT_EQ(gpu.name, "NVIDIA H100 80GB HBM3");
  EXPECT_EQ(gpu.pci_device_id, "0x233010DE");
  EXPECT_THAT(gpu.pci_bus_id, HasSubstr(":"));
  EXPECT_EQ(gpu.architecture, "hopper");
  EXPECT_EQ(gpu.compute_capability, std::string("9.0"));
  EXPECT_EQ(gpu.sm_count, 132);
  EXPECT_EQ(gpu.memory_total, MiB(81559));
  EXPECT_TRUE(gpu.memory_used) << gpu.memory_used.reason();
  EXPECT_TRUE(gpu.utilization) << gpu.utilization.reason();
  EXPECT_EQ(gpu.compute_mode, ComputeMode::kDefault);
  EXPECT_TRUE(gpu.persistence_mode) << gpu.persistence_mode.reason();
  EXPECT_TRUE(gpu.minor_number) << gpu.minor_number.reason();
  EXPECT_EQ(gpu.mig_mode, (MigMode{false, false}));
  EXPECT_EQ(gpu.memory_slots, 8);
  EXPECT_THAT(ProfileNames(gpu), UnorderedElementsAre("1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb",
                                                      "3g.40gb", "4g.40gb", "7g.80gb"));
  EXPECT_TRUE(gpu.health.usable);
  EXPECT_THAT(gpu.health.problems, IsEmpty());
  EXPECT_EQ(gpu.health.recovery_action, std::string("none"));
  EXPECT_TRUE(gpu.health.remapped_rows) << gpu.health.remapped_rows.reason();
  EXPECT_TRUE(gpu.health.uncorrectable_ecc_errors);
  const MigProfile* twice = gpu.FindProfile("1g.20gb");
  ASSERT_NE(twice, nullptr);
  EXPECT_EQ(twice->id, 15);
  EXPECT_EQ(twice->sm_count, 26);
  EXPECT_EQ(twice->memory, MiB(20096));
  EXPECT_EQ(twice->max_instances, 4);
  EXPECT_THAT(twice->placements, ElementsAre(MigPlacement{0, 2}, MigPlacement{2, 2},
                                             MigPlacement{4, 2}, MigPlacement{6, 2}));
  EXPECT_EQ(gpu.FindProfile("1g.10gb+me")->variant, MigVariant::kMedia);
}

TEST(NvmlRead, ADocumentOfItReadsBack) {
  const SimMachine machine("--gpu H100-SXM5-80GB --gpu T4 --gpu A30");
  const auto driver = Open(machine);
  const Machine read = ReadOrFail(*driver);
  const auto back = MachineFromJson(ToJson(read));
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, read);
}

TEST(NvmlRead, AT4HasNoMigAndSaysSo) {
  const SimMachine machine("--gpu T4");
  const auto driver = Open(machine);
  const Gpu gpu = FirstGpu(*driver);
  EXPECT_EQ(gpu.architecture, "turing");
  EXPECT_EQ(gpu.sm_count, 40);
  EXPECT_FALSE(gpu.mig_mode);
  EXPECT_EQ(gpu.mig_mode.reason(), "not supported on this GPU");
  EXPECT_EQ(gpu.health.remapped_rows.reason(), "not supported on this GPU");
  EXPECT_THAT(gpu.mig_profiles, IsEmpty());
  EXPECT_EQ(gpu.memory_slots, 0);
  EXPECT_TRUE(gpu.health.usable);
  EXPECT_EQ(driver->SetMigMode(gpu.uuid, true).error().code, ErrorCode::kUnsupported);
}

TEST(NvmlRead, EightGpusByIndexWithUuidsOfTheirOwn) {
  const SimMachine machine("--gpu H100-SXM5-80GB:8");
  const auto driver = Open(machine);
  const Machine read = ReadOrFail(*driver);
  ASSERT_THAT(read.gpus, SizeIs(8));
  std::set<std::string> uuids;
  for (int i = 0; i < 8; ++i) {
    EXPECT_EQ(read.gpus[i].index, i);
    uuids.insert(read.gpus[i].uuid);
  }
  EXPECT_THAT(uuids, SizeIs(8));
}

TEST(NvmlRead, ProcessesWithTheirInstance) {
  SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  const auto made = driver->CreateInstance(uuid, "2g.20gb", {2, 2});
  ASSERT_TRUE(made) << made.error().message;
  const int pid = machine.Attach("--gpu 0:0 --memory 3GiB");
  const Gpu gpu = FirstGpu(*driver);
  ASSERT_THAT(gpu.processes, SizeIs(1));
  EXPECT_EQ(gpu.processes[0].pid, pid);
  EXPECT_EQ(gpu.processes[0].gpu_instance, made->id);
  EXPECT_EQ(gpu.processes[0].compute_instance, 0);
  ASSERT_TRUE(gpu.processes[0].memory_used) << gpu.processes[0].memory_used.reason();
  EXPECT_GE(*gpu.processes[0].memory_used, GiB(3));
  ASSERT_THAT(gpu.mig_instances, SizeIs(1));
  ASSERT_TRUE(gpu.mig_instances[0].memory_used);
  EXPECT_GE(*gpu.mig_instances[0].memory_used, GiB(3));
  EXPECT_EQ(gpu.utilization.reason(), "not supported while MIG is on");
}

TEST(NvmlRead, MoreProcessesThanTheFirstBufferHolds) {
  SimMachine machine("--gpu H200-SXM5-141GB");
  const auto driver = Open(machine);
  for (int i = 0; i < 70; ++i) machine.Attach("--gpu 0 --memory 1MiB");
  EXPECT_THAT(FirstGpu(*driver).processes, SizeIs(70));
}

struct Version {
  const char* driver;
  const char* gpu;
  std::vector<std::string> profiles;
};

class NvmlVersions : public testing::TestWithParam<Version> {};

TEST_P(NvmlVersions, NamesComeFromTheDriver) {
  const SimMachine machine(fmt::format("--gpu {} --driver {}", GetParam().gpu, GetParam().driver));
  const auto driver = Open(machine);
  const Machine read = ReadOrFail(*driver);
  EXPECT_THAT(read.driver_version.value_or(""), StartsWith(GetParam().driver));
  EXPECT_THAT(ProfileNames(read.gpus[0]), testing::UnorderedElementsAreArray(GetParam().profiles));
  for (const MigProfile& profile : read.gpus[0].mig_profiles) {
    EXPECT_THAT(profile.placements, Not(IsEmpty())) << profile.name;
    EXPECT_GT(profile.sm_count, 0);
  }
}

// 1g.10gb (REV2) came with R525; 535 named the 3g of an A100-80 after its true size; before R510
// there is no versioned profile call, so names are built from numbers.
INSTANTIATE_TEST_SUITE_P(
    Drivers, NvmlVersions,
    testing::Values(
        Version{"470",
                "A100-SXM4-40GB",
                {"1g.5gb", "1g.5gb+me", "2g.10gb", "3g.20gb", "4g.20gb", "7g.40gb"}},
        Version{"535",
                "A100-SXM4-80GB",
                {"1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.39gb", "4g.40gb", "7g.80gb"}},
        Version{"580",
                "A100-SXM4-80GB",
                {"1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb", "3g.40gb", "4g.40gb", "7g.80gb"}}));

TEST(NvmlRead, EveryKindOfGpuThatTheSimulatorKnows) {
  const SimMachine machine(
      "--gpu V100-SXM2-16GB --gpu A10 --gpu L4 --gpu RTX4090 --gpu A30 --gpu H100-NVL-94GB --gpu "
      "B200-180GB "
      "--gpu RTX-PRO-6000-SERVER");
  const auto driver = Open(machine);
  for (const Gpu& gpu : ReadOrFail(*driver).gpus) {
    EXPECT_TRUE(gpu.sm_count) << gpu.name << ": " << gpu.sm_count.reason();
    EXPECT_FALSE(gpu.architecture.empty()) << gpu.name;
    EXPECT_GT(gpu.memory_total, GiB(1)) << gpu.name;
    EXPECT_EQ(gpu.mig_mode ? !gpu.mig_profiles.empty() : gpu.mig_profiles.empty(), true)
        << gpu.name;
  }
}

// ---- Missing symbols ----

TEST(NvmlSymbols, EachMissingOneSwitchesOneCapabilityOff) {
  const SimMachine machine(kH100Mig);
  machine.TakeSymbols({"nvmlDeviceGetUtilizationRates", "nvmlDeviceGetRemappedRows",
                       "nvmlDeviceGetFieldValues", "nvmlDeviceCreateGpuInstanceWithPlacement"});
  const auto driver = Open(machine);
  const Gpu gpu = FirstGpu(*driver);
  EXPECT_EQ(gpu.utilization.reason(), "this driver version cannot tell");
  EXPECT_FALSE(gpu.health.remapped_rows);
  EXPECT_FALSE(gpu.health.recovery_action);
  EXPECT_TRUE(gpu.memory_used);
  EXPECT_TRUE(gpu.health.usable);
  const auto made = driver->CreateInstance(gpu.uuid, "1g.10gb", {0, 1});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(made.error().hint, HasSubstr("newer NVIDIA driver"));
}

TEST(NvmlSymbols, OlderCallsStandInForNewerOnes) {
  SimMachine machine(kH100Mig);
  machine.TakeSymbols({"nvmlDeviceGetMemoryInfo_v2", "nvmlDeviceGetComputeRunningProcesses_v3",
                       "nvmlDeviceGetComputeRunningProcesses_v2",
                       "nvmlDeviceGetGpuInstanceProfileInfoV", "nvmlDeviceGetCount_v2",
                       "nvmlDeviceGetHandleByIndex_v2", "nvmlInit_v2",
                       "nvmlSystemGetCudaDriverVersion_v2", "nvmlDeviceGetArchitecture"});
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  const auto made = driver->CreateInstance(uuid, "3g.40gb", {4, 4});
  ASSERT_TRUE(made) << made.error().message;
  const int pid = machine.Attach("--gpu 0:0 --memory 1GiB");
  const Machine read = ReadOrFail(*driver);
  EXPECT_EQ(read.cuda_version, std::string("13.0"));
  const Gpu& gpu = read.gpus[0];
  EXPECT_EQ(gpu.architecture, "hopper");
  EXPECT_EQ(gpu.memory_total, MiB(81559));
  ASSERT_THAT(gpu.processes, SizeIs(1));
  EXPECT_EQ(gpu.processes[0].pid, pid);
  EXPECT_THAT(ProfileNames(gpu), UnorderedElementsAre("1g.10gb", "1g.10gb+me", "1g.20gb", "2g.20gb",
                                                      "3g.40gb", "4g.40gb", "7g.80gb"));
  const Status refused = driver->DestroyInstance(uuid, {4, 4});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
}

TEST(NvmlSymbols, WithoutTheSumOfThemThereIsNoDriver) {
  const SimMachine machine("--gpu T4");
  machine.TakeSymbols({"nvmlDeviceGetUUID"});
  const auto driver = OpenNvmlDriver(machine.library());
  ASSERT_FALSE(driver);
  EXPECT_EQ(driver.error().code, ErrorCode::kUnavailable);
}

// ---- Instances ----

TEST(NvmlInstances, AreMadeWherePlacedAndReadBack) {
  const SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  const auto second = driver->CreateInstance(uuid, "2g.20gb", {4, 2});
  const auto first = driver->CreateInstance(uuid, "3g.40gb", {0, 4});
  ASSERT_TRUE(first) << first.error().message;
  ASSERT_TRUE(second) << second.error().message;
  EXPECT_EQ(first->placement, (MigPlacement{0, 4}));
  EXPECT_EQ(first->memory, MiB(40448));
  ASSERT_THAT(first->compute_instances, SizeIs(1));
  EXPECT_THAT(first->compute_instances[0].uuid, StartsWith("MIG-"));
  EXPECT_EQ(first->compute_instances[0].compute_slices, 3);
  EXPECT_EQ(first->compute_instances[0].placement, (MigPlacement{0, 3}));
  const Gpu gpu = FirstGpu(*driver);
  ASSERT_THAT(gpu.mig_instances, SizeIs(2));
  EXPECT_EQ(gpu.mig_instances[0].profile, "3g.40gb");
  EXPECT_EQ(gpu.mig_instances[1].profile, "2g.20gb");
  EXPECT_TRUE(driver->DestroyInstance(uuid, {0, 4}));
  EXPECT_THAT(FirstGpu(*driver).mig_instances, SizeIs(1));
  EXPECT_EQ(driver->DestroyInstance(uuid, {0, 4}).error().code, ErrorCode::kNotFound);
}

TEST(NvmlInstances, OfEveryProfileAtEveryPlacement) {
  const SimMachine machine("--gpu H100-SXM5-80GB --gpu A30 --gpu RTX-PRO-6000-SERVER --mig");
  const auto driver = Open(machine);
  for (const Gpu& gpu : ReadOrFail(*driver).gpus) {
    for (const MigProfile& profile : gpu.mig_profiles) {
      for (const MigPlacement placement : profile.placements) {
        const auto made = driver->CreateInstance(gpu.uuid, profile.name, placement);
        ASSERT_TRUE(made) << gpu.name << " " << profile.name << " " << placement.start << ": "
                          << made.error().message;
        EXPECT_EQ(made->placement, placement);
        EXPECT_EQ(made->profile, profile.name);
        EXPECT_EQ(made->compute_instances.at(0).compute_slices, profile.compute_slices);
        EXPECT_TRUE(driver->DestroyInstance(gpu.uuid, placement));
      }
    }
  }
}

TEST(NvmlInstances, MirroredIdsDoNotMislead) {
  const SimMachine machine(std::string(kH100Mig) + " --mirrored");
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  for (int start = 0; start < 7; ++start) {
    ASSERT_TRUE(driver->CreateInstance(uuid, "1g.10gb", {start, 1}));
  }
  const Gpu gpu = FirstGpu(*driver);
  ASSERT_THAT(gpu.mig_instances, SizeIs(7));
  bool canonical = true;
  for (int start = 0; start < 7; ++start) {
    EXPECT_EQ(gpu.mig_instances[start].placement, (MigPlacement{start, 1}));
    canonical = canonical && gpu.mig_instances[start].id == 7 + start;
  }
  EXPECT_FALSE(canonical) << "the board is not mirrored, so this test shows nothing";
  ASSERT_TRUE(driver->DestroyInstance(uuid, {5, 1}));
  EXPECT_EQ(FirstGpu(*driver).FindInstance({5, 1}), nullptr);
}

TEST(NvmlInstances, RefusalsSayWhatIsInTheWay) {
  const SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  ASSERT_TRUE(driver->CreateInstance(uuid, "3g.40gb", {0, 4}));
  const auto taken = driver->CreateInstance(uuid, "2g.20gb", {2, 2});
  ASSERT_FALSE(taken);
  EXPECT_EQ(taken.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(taken.error().message, HasSubstr("taken by 3g.40gb at slots 0-3"));
  const auto illegal = driver->CreateInstance(uuid, "2g.20gb", {3, 2});
  EXPECT_EQ(illegal.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(illegal.error().hint, HasSubstr("slots 0-1"));
  const auto unknown = driver->CreateInstance(uuid, "2g.20bg", {4, 2});
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(unknown.error().hint, HasSubstr("2g.20gb"));
  EXPECT_EQ(driver->CreateInstance("GPU-0", "2g.20gb", {4, 2}).error().code, ErrorCode::kNotFound);
  EXPECT_THAT(FirstGpu(*driver).mig_instances, SizeIs(1));
}

TEST(NvmlInstances, AreRefusedWhileMigIsOff) {
  const SimMachine machine("--gpu H100-SXM5-80GB");
  const auto driver = Open(machine);
  const auto made = driver->CreateInstance(FirstGpu(*driver).uuid, "2g.20gb", {0, 2});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(made.error().message, HasSubstr("MIG mode is off"));
}

TEST(NvmlMemoryLimits, AreSetAndReadBackFromDriver615On) {
  SimMachine machine("--gpu H100-SXM5-80GB --driver 615");
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  const std::string cgroup = "/sys/fs/cgroup/tranche/phi";
  EXPECT_EQ(driver->GetMemoryLimits(uuid, cgroup)->limits, MemoryLimits{});
  const MemoryLimits limits{GiB(1), GiB(4)};
  ASSERT_TRUE(driver->SetMemoryLimits(uuid, cgroup, limits));
  setenv("TRANCHE_SIM_CGROUP", "/tranche/phi", 1);
  machine.Attach("--gpu 0 --memory 3GiB");
  unsetenv("TRANCHE_SIM_CGROUP");
  const auto read = driver->GetMemoryLimits(uuid, cgroup);
  ASSERT_TRUE(read);
  EXPECT_EQ(read->limits, limits);
  EXPECT_EQ(read->used, GiB(3));
  ASSERT_TRUE(driver->SetMemoryLimits(uuid, cgroup, {}));
  EXPECT_EQ(driver->GetMemoryLimits(uuid, cgroup)->limits, MemoryLimits{});
}

TEST(NvmlMemoryLimits, WhereThereAreNoneItSaysWhy) {
  {
    const SimMachine old("--gpu H100-SXM5-80GB --driver 580");
    const auto driver = Open(old);
    const Status set = driver->SetMemoryLimits(FirstGpu(*driver).uuid, "/sys/fs/cgroup/a", {});
    ASSERT_FALSE(set);
    EXPECT_EQ(set.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(set.error().message, HasSubstr("615"));
  }
  {
    const SimMachine mig("--gpu H100-SXM5-80GB --mig --driver 615");
    const auto driver = Open(mig);
    const auto read = driver->GetMemoryLimits(FirstGpu(*driver).uuid, "/sys/fs/cgroup/a");
    ASSERT_FALSE(read);
    EXPECT_EQ(read.error().code, ErrorCode::kUnsupported);
    EXPECT_THAT(read.error().message, HasSubstr("MIG"));
  }
  const SimMachine plain("--gpu H100-SXM5-80GB --driver 615");
  plain.BecomeUser(4242);
  const auto user = Open(plain);
  const Status refused =
      user->SetMemoryLimits(FirstGpu(*user).uuid, "/sys/fs/cgroup/a", {{}, GiB(1)});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kPermission);
}

TEST(NvmlInstances, ABusyOneIsNotTouched) {
  SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  ASSERT_TRUE(driver->CreateInstance(uuid, "1g.10gb", {0, 1}));
  const int pid = machine.Attach("--gpu 0:0 --memory 1GiB");
  const Gpu before = FirstGpu(*driver);
  const Status refused = driver->DestroyInstance(uuid, {0, 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr(fmt::format("pid {}", pid)));
  EXPECT_EQ(FirstGpu(*driver).mig_instances, before.mig_instances);
  machine.Detach(pid);
  EXPECT_TRUE(Eventually([&] { return driver->DestroyInstance(uuid, {0, 1}).has_value(); }));
}

// Whoever is hidden from the caller is still in the way: the driver says IN_USE half-way, and what
// was destroyed is made again.
TEST(NvmlInstances, AUserWhoCannotBeSeenIsStillInTheWay) {
  SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  ASSERT_TRUE(driver->CreateInstance(uuid, "1g.10gb", {0, 1}));
  machine.Attach("--gpu 0:0 --memory 1GiB");
  for (const char* list :
       {"nvmlDeviceGetComputeRunningProcesses", "nvmlDeviceGetComputeRunningProcesses_v2",
        "nvmlDeviceGetComputeRunningProcesses_v3"}) {
    machine.Run("fault", fmt::format("--missing-symbol {}", list));
  }
  const auto blind = Open(machine);
  const Gpu before = FirstGpu(*blind);
  ASSERT_THAT(before.processes, IsEmpty());
  EXPECT_THAT(before.health.problems, Contains(HasSubstr("who uses it cannot be read")));
  const Status refused = blind->DestroyInstance(uuid, {0, 1});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_THAT(FirstGpu(*blind).mig_instances, SizeIs(1));
  EXPECT_THAT(FirstGpu(*blind).mig_instances[0].compute_instances, SizeIs(1));
}

TEST(NvmlInstances, AFailedComputeInstanceTakesTheGpuInstanceAway) {
  const SimMachine machine(kH100Mig);
  machine.TakeSymbols({"nvmlGpuInstanceCreateComputeInstance"});
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  const auto made = driver->CreateInstance(uuid, "2g.20gb", {0, 2});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(FirstGpu(*driver).mig_instances, IsEmpty());
}

TEST(NvmlInstances, WhatCannotBeUndoneIsSaid) {
  const SimMachine machine(kH100Mig);
  machine.TakeSymbols({"nvmlGpuInstanceCreateComputeInstance", "nvmlGpuInstanceDestroy"});
  const auto driver = Open(machine);
  const auto made = driver->CreateInstance(FirstGpu(*driver).uuid, "2g.20gb", {0, 2});
  ASSERT_FALSE(made);
  EXPECT_EQ(made.error().code, ErrorCode::kPartial);
  EXPECT_THAT(made.error().message, HasSubstr("undoing it failed too"));
}

TEST(NvmlInstances, DestroyingInVainRestoresTheComputeInstances) {
  const SimMachine machine(kH100Mig);
  const auto maker = Open(machine);
  const std::string uuid = FirstGpu(*maker).uuid;
  ASSERT_TRUE(maker->CreateInstance(uuid, "3g.40gb", {4, 4}));
  machine.TakeSymbols({"nvmlGpuInstanceDestroy"});
  const auto driver = Open(machine);
  const Status refused = driver->DestroyInstance(uuid, {4, 4});
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kUnsupported);
  const Gpu gpu = FirstGpu(*driver);
  ASSERT_THAT(gpu.mig_instances, SizeIs(1));
  ASSERT_THAT(gpu.mig_instances[0].compute_instances, SizeIs(1));
  EXPECT_EQ(gpu.mig_instances[0].compute_instances[0].placement, (MigPlacement{0, 3}));
}

// ---- compute mode ----

TEST(NvmlComputeMode, IsSetAndReadBack) {
  const SimMachine machine("--gpu L40S");
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  for (const ComputeMode mode :
       {ComputeMode::kExclusiveProcess, ComputeMode::kProhibited, ComputeMode::kDefault}) {
    ASSERT_TRUE(driver->SetComputeMode(uuid, mode));
    EXPECT_EQ(FirstGpu(*driver).compute_mode, mode);
  }
  EXPECT_EQ(driver->SetComputeMode("GPU-none", ComputeMode::kDefault).error().code,
            ErrorCode::kNotFound);
}

TEST(NvmlComputeMode, IsNotOfAGpuInMigMode) {
  const SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const Status set = driver->SetComputeMode(FirstGpu(*driver).uuid, ComputeMode::kExclusiveProcess);
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(FirstGpu(*driver).compute_mode, ComputeMode::kDefault);
}

TEST(NvmlComputeMode, IsRootsToSet) {
  const SimMachine machine("--gpu L40S");
  setenv("TRANCHE_SIM_UID", "1234", 1);
  const auto driver = Open(machine);
  const Status set = driver->SetComputeMode(FirstGpu(*driver).uuid, ComputeMode::kExclusiveProcess);
  unsetenv("TRANCHE_SIM_UID");
  ASSERT_FALSE(set);
  EXPECT_EQ(set.error().code, ErrorCode::kPermission);
}

// ---- MIG mode ----

TEST(NvmlMigMode, IsImmediateOnHopper) {
  const SimMachine machine("--gpu H100-SXM5-80GB");
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  EXPECT_EQ(driver->SetMigMode(uuid, true), (MigMode{true, true}));
  EXPECT_EQ(driver->SetMigMode(uuid, true), (MigMode{true, true}));
  EXPECT_EQ(driver->SetMigMode(uuid, false), (MigMode{false, false}));
}

TEST(NvmlMigMode, OnABusyA100IsRefusedAndNothingStaysPending) {
  SimMachine machine("--gpu A100-SXM4-40GB");
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  const int pid = machine.Attach("--gpu 0 --memory 1GiB");
  const auto refused = driver->SetMigMode(uuid, true);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr(fmt::format("pid {}", pid)));
  EXPECT_EQ(FirstGpu(*driver).mig_mode, (MigMode{false, false}));
  machine.Detach(pid);
  EXPECT_TRUE(Eventually([&] { return driver->SetMigMode(uuid, true).has_value(); }));
  EXPECT_EQ(FirstGpu(*driver).mig_mode, (MigMode{true, true}));
}

TEST(NvmlMigMode, IsNotSwitchedOffUnderInstances) {
  const SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  ASSERT_TRUE(driver->CreateInstance(uuid, "2g.20gb", {0, 2}));
  const auto refused = driver->SetMigMode(uuid, false);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr("2g.20gb at slots 0-1"));
  EXPECT_EQ(FirstGpu(*driver).mig_mode, (MigMode{true, true}));
}

// ---- Permissions ----

TEST(NvmlPermission, AnOrdinaryUserSeesEverythingAndChangesNothing) {
  const SimMachine machine("--gpu H100-SXM5-80GB --root-only");
  machine.BecomeUser(1000);
  const auto driver = Open(machine);
  const auto refused = driver->SetMigMode(FirstGpu(*driver).uuid, true);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kPermission);
  EXPECT_THAT(refused.error().hint, HasSubstr("root"));
  const Gpu gpu = FirstGpu(*driver);
  EXPECT_TRUE(gpu.health.usable);
  EXPECT_THAT(gpu.health.problems, IsEmpty());
  EXPECT_EQ(gpu.mig_mode, (MigMode{false, false}));
}

TEST(NvmlPermission, AGpuWithHiddenInstancesIsNotTakenForAnEmptyOne) {
  const SimMachine machine(std::string(kH100Mig) + " --root-only");
  {
    const auto root = Open(machine);
    ASSERT_TRUE(root->CreateInstance(FirstGpu(*root).uuid, "7g.80gb", {0, 8}));
  }
  machine.BecomeUser(1000);
  {
    const auto driver = Open(machine);
    EXPECT_THAT(FirstGpu(*driver).mig_instances, SizeIs(1));
    EXPECT_EQ(driver->CreateInstance(FirstGpu(*driver).uuid, "7g.80gb", {0, 8}).error().code,
              ErrorCode::kPermission);
  }
  machine.HideMigFromUsers();
  const auto driver = Open(machine);
  const Gpu gpu = FirstGpu(*driver);
  EXPECT_FALSE(gpu.health.usable);
  EXPECT_THAT(gpu.health.problems, Contains(HasSubstr("MIG instances cannot be read")));
}

TEST(NvmlPermission, AGpuWhoseNodeMayNotBeOpenedIsThereButNotUsable) {
  const SimMachine machine("--gpu H100-SXM5-80GB:2");
  machine.Run("fault", "--gpu 1 --no-permission");
  const auto driver = Open(machine);
  const Machine read = ReadOrFail(*driver);
  ASSERT_THAT(read.gpus, SizeIs(2));
  EXPECT_TRUE(read.gpus[0].health.usable);
  EXPECT_FALSE(read.gpus[1].health.usable);
  EXPECT_FALSE(read.gpus[1].uuid.empty());
  EXPECT_THAT(read.gpus[1].health.problems, Contains(HasSubstr("no permission")));
}

// ---- Faults ----

TEST(NvmlFaults, ALostGpuKeepsItsNameAndTheOthersGoOn) {
  const SimMachine machine("--gpu H100-SXM5-80GB:3 --mig");
  const auto driver = Open(machine);
  const Machine before = ReadOrFail(*driver);
  machine.Run("fault", "--gpu 1 --lost");
  for (int i = 0; i < 2; ++i) {
    const Machine after = ReadOrFail(*driver);
    ASSERT_THAT(after.gpus, SizeIs(3));
    EXPECT_FALSE(after.gpus[1].health.usable);
    EXPECT_EQ(after.gpus[1].uuid, before.gpus[1].uuid);
    EXPECT_EQ(after.gpus[1].name, before.gpus[1].name);
    EXPECT_THAT(after.gpus[1].health.problems, Contains(HasSubstr("fallen off the bus")));
    EXPECT_TRUE(after.gpus[0].health.usable);
    EXPECT_EQ(after.gpus[2], before.gpus[2]);
  }
  EXPECT_TRUE(driver->CreateInstance(before.gpus[2].uuid, "1g.10gb", {0, 1}));
  const auto made = driver->CreateInstance(before.gpus[1].uuid, "1g.10gb", {0, 1});
  ASSERT_FALSE(made);
  EXPECT_THAT(made.error().hint, HasSubstr("reset"));
  machine.Run("fault", "--clear");
  EXPECT_TRUE(ReadOrFail(*driver).gpus[1].health.usable);
}

TEST(NvmlFaults, AGpuLostFromTheStartHasAPlaceholderForAName) {
  const SimMachine machine("--machine broken-lost-gpu");
  const auto driver = Open(machine);
  const Machine read = ReadOrFail(*driver);
  std::set<std::string> uuids;
  bool lost = false;
  for (const Gpu& gpu : read.gpus) {
    uuids.insert(gpu.uuid);
    lost = lost || !gpu.health.usable;
  }
  EXPECT_TRUE(lost);
  EXPECT_EQ(uuids.size(), read.gpus.size());
  EXPECT_TRUE(MachineFromJson(ToJson(read)));
}

TEST(NvmlFaults, ADriverReloadIsSurvived) {
  const SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const Gpu before = FirstGpu(*driver);
  ASSERT_TRUE(driver->CreateInstance(before.uuid, "2g.20gb", {0, 2}));
  machine.Run("reload");
  const Gpu after = FirstGpu(*driver);
  EXPECT_EQ(after.uuid, before.uuid);
  EXPECT_THAT(after.mig_instances, IsEmpty());
  ASSERT_TRUE(driver->SetMigMode(before.uuid, true));
  EXPECT_TRUE(driver->CreateInstance(before.uuid, "2g.20gb", {0, 2}));
}

TEST(NvmlFaults, AResetTakesInstancesAway) {
  const SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const Gpu before = FirstGpu(*driver);
  ASSERT_TRUE(driver->CreateInstance(before.uuid, "2g.20gb", {0, 2}));
  machine.Run("reset", "--gpu 0");
  EXPECT_THAT(FirstGpu(*driver).mig_instances, IsEmpty());
}

TEST(NvmlFaults, ReadingWhileFaultsComeAndGoIsAlwaysWhole) {
  SimMachine machine("--gpu H100-SXM5-80GB:2 --mig");
  const auto driver = Open(machine);
  const Machine before = ReadOrFail(*driver);
  ASSERT_TRUE(driver->CreateInstance(before.gpus[0].uuid, "2g.20gb", {0, 2}));
  std::atomic<bool> stop = false;
  std::thread breaker([&] {
    for (int i = 0; i < 12; ++i) {
      machine.Run("fault", "--gpu 1 --lost");
      machine.Run("fault", "--gpu 0 --xid 31");
      machine.Run("fault", "--clear");
      if (i % 4 == 3) machine.Run("reset", "--gpu 1");
    }
    stop = true;
  });
  int reads = 0;
  do {
    const auto read = driver->Read();
    ASSERT_TRUE(read) << read.error().message;
    ASSERT_THAT(read->gpus, SizeIs(2));
    EXPECT_EQ(read->gpus[0].uuid, before.gpus[0].uuid);
    EXPECT_EQ(read->gpus[1].uuid, before.gpus[1].uuid);
    EXPECT_EQ(read->gpus[0].mig_instances.size(), 1u);
    EXPECT_TRUE(MachineFromJson(ToJson(*read)));
    ++reads;
  } while (!stop);
  breaker.join();
  EXPECT_GT(reads, 1);
}

// ---- Events ----

TEST(NvmlEvents, AnXidWithItsInstance) {
  const SimMachine machine(kH100Mig);
  const auto driver = Open(machine);
  const std::string uuid = FirstGpu(*driver).uuid;
  const auto made = driver->CreateInstance(uuid, "2g.20gb", {2, 2});
  ASSERT_TRUE(made);
  ASSERT_TRUE(driver->WaitForEvents(Duration{0}));  // listens from here on
  machine.Run("fault", fmt::format("--gpu 0 --xid 94 --gi {} --ci 0", made->id));
  machine.Run("fault", "--gpu 0 --xid 79");
  std::vector<DriverEvent> events;
  EXPECT_TRUE(Eventually([&] {
    const auto more = driver->WaitForEvents(std::chrono::milliseconds(100));
    if (more) events.insert(events.end(), more->begin(), more->end());
    return std::count_if(events.begin(), events.end(), [](const DriverEvent& event) {
             return event.kind == DriverEvent::Kind::kXid;
           }) >= 2;
  }));
  std::erase_if(events,
                [](const DriverEvent& event) { return event.kind != DriverEvent::Kind::kXid; });
  ASSERT_THAT(events, SizeIs(2));
  EXPECT_EQ(events[0].gpu_uuid, uuid);
  EXPECT_EQ(events[0].xid, 94u);
  EXPECT_EQ(events[0].gpu_instance, made->id);
  EXPECT_EQ(events[0].compute_instance, 0);
  EXPECT_EQ(events[1].xid, 79u);
  EXPECT_EQ(events[1].gpu_instance, std::nullopt);
}

TEST(NvmlEvents, ALostGpuIsReportedOnceAndTheOthersAreStillHeard) {
  const SimMachine machine("--gpu H100-SXM5-80GB:2");
  const auto driver = Open(machine);
  const Machine before = ReadOrFail(*driver);
  ASSERT_TRUE(driver->WaitForEvents(Duration{0}));
  machine.Run("fault", "--gpu 1 --lost");
  std::vector<DriverEvent> events;
  EXPECT_TRUE(Eventually([&] {
    const auto more = driver->WaitForEvents(std::chrono::milliseconds(50));
    if (more) events.insert(events.end(), more->begin(), more->end());
    return std::any_of(events.begin(), events.end(), [](const DriverEvent& event) {
      return event.kind == DriverEvent::Kind::kGpuLost;
    });
  }));
  ASSERT_TRUE(driver->WaitForEvents(Duration{0}));
  machine.Run("fault", "--gpu 0 --xid 43");
  EXPECT_TRUE(Eventually([&] {
    const auto more = driver->WaitForEvents(std::chrono::milliseconds(50));
    if (more) events.insert(events.end(), more->begin(), more->end());
    return !events.empty() && events.back().xid == 43;
  }));
  EXPECT_EQ(std::count_if(events.begin(), events.end(),
                          [&](const DriverEvent& event) {
                            return event.kind == DriverEvent::Kind::kGpuLost &&
                                   event.gpu_uuid == before.gpus[1].uuid;
                          }),
            1);
}

TEST(NvmlEvents, OneThreadMayWaitWhileAnotherReadsThroughReloads) {
  const SimMachine machine("--gpu H100-SXM5-80GB:2");
  const auto driver = Open(machine);
  std::atomic<bool> stop = false;
  std::thread waiter([&] {
    while (!stop) {
      const auto events = driver->WaitForEvents(std::chrono::milliseconds(20));
      if (!events) {
        EXPECT_EQ(events.error().code, ErrorCode::kUnavailable);
      }
    }
  });
  for (int i = 0; i < 5; ++i) {
    machine.Run("fault", "--gpu 1 --lost");
    EXPECT_FALSE(ReadOrFail(*driver).gpus[1].health.usable);
    machine.Run("fault", "--clear");
    machine.Run("reload");
    EXPECT_TRUE(ReadOrFail(*driver).gpus[1].health.usable);
  }
  stop = true;
  waiter.join();
}

}  // namespace
}  // namespace tranche
