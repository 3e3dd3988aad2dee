#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "edge/driver/vgpu/fake_sysfs.h"
#include "edge/driver/vgpu/vgpu_host.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kGpu = FakeVgpuSysfs::kGpu;

const std::vector<FakeVgpuSysfs::Type> kA40 = {{557, "NVIDIA A40-48C", 48, 0, 1, 1},
                                               {558, "NVIDIA A40-24C", 24, 0, 2, 2},
                                               {559, "NVIDIA A40-8C", 8, 0, 6, 4},
                                               {563, "NVIDIA A40-8Q", 8, 0, 6, 4}};
const std::vector<FakeVgpuSysfs::Type> kA100 = {{468, "GRID A100D-80C", 80, 0, 1},
                                                {473, "GRID A100D-3-40C", 40, 3, 2},
                                                {475, "GRID A100D-1-10C", 10, 1, 7}};

struct Host {
  Host(VgpuInterface interface, int gib, int functions, std::vector<FakeVgpuSysfs::Type> types)
      : files(new FakeVgpuSysfs(interface, gib, functions, std::move(types))),
        host(std::unique_ptr<Sysfs>(files), [this](const std::vector<std::string>& argv) {
          ran.push_back(argv);
          if (enable_fails) return Result<std::string>(Fail(ErrorCode::kFailed, "cannot bind"));
          return files->Run(argv);
        }) {}

  std::vector<std::string> Creatable() {
    std::vector<std::string> names;
    const auto gpu = host.Read(kGpu);
    for (const VgpuFunction& function : gpu->functions) {
      for (const VgpuType& type : function.creatable) {
        if (std::find(names.begin(), names.end(), type.name) == names.end())
          names.push_back(type.name);
      }
    }
    return names;
  }

  FakeVgpuSysfs* files;
  bool enable_fails = false;
  std::vector<std::vector<std::string>> ran;
  VgpuHost host;
};

TEST(VgpuType, IsWhatItsNameSays) {
  struct Row {
    const char* name;
    VgpuSeries series;
    int gib, slices;
  };
  const Row rows[] = {{"NVIDIA A40-8C", VgpuSeries::kC, 8, 0},
                      {"GRID A100-10C", VgpuSeries::kC, 10, 0},
                      {"GRID A100-1-5C", VgpuSeries::kC, 5, 1},
                      {"NVIDIA A30-2-12CME", VgpuSeries::kC, 12, 2},
                      {"NVIDIA H200X-1-18C", VgpuSeries::kC, 18, 1},
                      {"NVIDIA RTX6000-Ada-48Q", VgpuSeries::kQ, 48, 0},
                      {"GRID T4-2B4", VgpuSeries::kB, 2, 0},
                      {"GRID T4-16A", VgpuSeries::kA, 16, 0},
                      {"NVIDIA RTX Pro 6000 Blackwell DC-4-96Q", VgpuSeries::kQ, 96, 4}};
  for (const Row& row : rows) {
    const auto type = ParseVgpuTypeName(1, row.name);
    ASSERT_TRUE(type) << row.name;
    EXPECT_EQ(type->series, row.series) << row.name;
    EXPECT_EQ(type->framebuffer, GiB(row.gib)) << row.name;
    EXPECT_EQ(type->mig_slices, row.slices) << row.name;
  }
  for (const char* name :
       {"", "A40", "A40-", "A40-C", "A40-8", "A40-8X", "-8C", "A40-0C", "A40-99999C", "A40-8CXX"})
    EXPECT_FALSE(ParseVgpuTypeName(1, name)) << name;
}

TEST(VgpuType, ListIsReadWithAndWithoutItsHeader) {
  const auto with =
      ParseCreatableTypes("ID    : vGPU Name\n558   : NVIDIA A40-24C\n559 : NVIDIA A40-8C\n");
  ASSERT_TRUE(with);
  ASSERT_EQ(with->size(), 2u);
  EXPECT_EQ(with->at(0).id, 558u);
  EXPECT_EQ(with->at(1).name, "NVIDIA A40-8C");
  EXPECT_EQ(*ParseCreatableTypes("558   : NVIDIA A40-24C\n559 : NVIDIA A40-8C"), *with);
  EXPECT_THAT(*ParseCreatableTypes(""), IsEmpty());
  EXPECT_THAT(*ParseCreatableTypes("ID    : vGPU Name\n"), IsEmpty());
  EXPECT_THAT(*ParseCreatableTypes("700 : NVIDIA Something Else\n"), IsEmpty()) << "none of ours";
  // What is no list says nothing, which is not that there is none.
  for (const char* garbage : {"garbage", "ID : vGPU Name\n559 NVIDIA A40-8C", "\x7f\x45LF", "0 : x",
                              "559 : NVIDIA A40-8C\n-1 : NVIDIA A40-8C\n"}) {
    const auto none = ParseCreatableTypes(garbage);
    ASSERT_FALSE(none) << garbage;
    EXPECT_THAT(none.error().message, HasSubstr("is no type")) << garbage;
  }
  std::mt19937 random(3);
  for (int i = 0; i < 2000; ++i) {
    std::string text = "558   : NVIDIA A40-24C\n559 : NVIDIA A40-8C\n";
    for (int k = 0; k < 4; ++k) text[random() % text.size()] = static_cast<char>(random() % 256);
    for (const VgpuType& type : ParseCreatableTypes(text).value_or(std::vector<VgpuType>()))
      EXPECT_GT(type.framebuffer.value, 0u);
  }
}

TEST(VgpuType, SupportedOnesAreReadInFullAndInShort) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  // Before there are any functions.
  const auto types = a40.host.Supported(kGpu);
  ASSERT_EQ(types.size(), 4u);
  EXPECT_EQ(types[2].name, "NVIDIA A40-8C");
  EXPECT_EQ(types[2].most, 6);
  EXPECT_EQ(types[3].series, VgpuSeries::kQ);
  const auto in_short =
      ParseSupportedTypes("GPU 0000:41:00.0\n    NVIDIA A40-8C\n    GRID T4-2B4\n");
  ASSERT_EQ(in_short.size(), 2u);
  EXPECT_EQ(in_short[1].framebuffer, GiB(2));
  EXPECT_EQ(types[2].most_per_instance, 0) << "not said";
  EXPECT_EQ(types[2].instance_profile, std::nullopt);
  const auto backed = ParseSupportedTypes(
      "GPU 00000000:8C:00.0\n    vGPU Type ID                          : 0x60a\n"
      "        Name                              : NVIDIA RTX Pro 6000 Blackwell DC-1-2Q\n"
      "        Class                             : Quadro\n"
      "        GPU Instance Profile ID           : 47\n"
      "        Max Instances                     : 48\n"
      "        Max Instances Per VM              : 1\n"
      "        Max Instances Per GI              : 12\n"
      "        FB Memory                         : 2048 MiB\n");
  ASSERT_EQ(backed.size(), 1u);
  EXPECT_EQ(backed[0].most, 48);
  EXPECT_EQ(backed[0].most_per_instance, 12);
  EXPECT_EQ(backed[0].instance_profile, 47);
  EXPECT_EQ(backed[0].mig_slices, 1);
  EXPECT_THAT(ParseSupportedTypes("No vGPU types found\nName : none\n"), IsEmpty());
  a40.files->smi = false;
  EXPECT_THAT(a40.host.Supported(kGpu), IsEmpty());
}

TEST(VgpuHost, SaysWhatIsMissing) {
  Host plain(VgpuInterface::kVendorVfio, 48, 8, kA40);
  plain.files->host_driver = false;
  const auto read = plain.host.Read(kGpu);
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(read.error().message, HasSubstr("sriov-manage"));
  EXPECT_EQ(plain.host.Read("0000:99:00.0").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(plain.host.Read("nonsense").error().code, ErrorCode::kNotFound);
}

TEST(VgpuHost, FunctionsComeFirstAndOnce) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  const auto before = a40.host.Create(kGpu, "A40-8C");
  ASSERT_FALSE(before);
  EXPECT_THAT(before.error().message, HasSubstr("no virtual functions yet"));
  // As NVML writes it.
  ASSERT_TRUE(a40.host.EnableFunctions("00000000:41:00.0"));
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  EXPECT_THAT(a40.ran, ElementsAre(ElementsAre("/usr/lib/nvidia/sriov-manage", "-e", kGpu)));
  EXPECT_EQ(a40.host.Read(kGpu)->functions.size(), 8u);
  EXPECT_THAT(a40.host.Gpus(), ElementsAre(kGpu)) << "its functions are no GPUs";
  Host broken(VgpuInterface::kVendorVfio, 48, 8, kA40);
  broken.enable_fails = true;
  EXPECT_FALSE(broken.host.EnableFunctions(kGpu));
}

TEST(VgpuHost, WhatCanBeMadeShrinksAndComesBack) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  EXPECT_EQ(a40.Creatable().size(), 4u);
  const auto first = a40.host.Create(kGpu, "A40-24C");
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->id, a40.files->FunctionAt(0));
  EXPECT_EQ(first->type.framebuffer, GiB(24));
  EXPECT_EQ(first->gpu_instance, std::nullopt);
  EXPECT_THAT(a40.Creatable(), ElementsAre("NVIDIA A40-24C")) << "sizes are not mixed";
  const auto other = a40.host.Create(kGpu, "NVIDIA A40-8C");
  ASSERT_FALSE(other);
  EXPECT_EQ(other.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(other.error().hint, HasSubstr("A40-24C"));
  const auto second = a40.host.Create(kGpu, "a40-24c");
  EXPECT_FALSE(second) << "names are names";
  ASSERT_TRUE(a40.host.Create(kGpu, "A40-24C"));
  EXPECT_THAT(a40.host.Create(kGpu, "A40-24C").error().hint, HasSubstr("full"));
  ASSERT_TRUE(a40.host.Remove(*first, VgpuInterface::kVendorVfio));
  EXPECT_THAT(a40.Creatable(), ElementsAre("NVIDIA A40-24C"));
  a40.files->mixed = true;
  ASSERT_TRUE(a40.host.Create(kGpu, "A40-8C"));
  EXPECT_EQ(a40.host.Read(kGpu)->devices.size(), 2u);
}

TEST(VgpuHost, MigInstancesAreMadeAfterTheFunctions) {
  Host a100(VgpuInterface::kVendorVfio, 80, 20, kA100);
  a100.files->instances = {{3, 3}, {1, 1}};
  ASSERT_TRUE(a100.host.EnableFunctions(kGpu));
  EXPECT_THAT(a100.files->instances, IsEmpty()) << "enabling destroys them";
  EXPECT_FALSE(a100.host.Create(kGpu, "A100D-3-40C"));
  a100.files->instances = {{3, 3}, {1, 1}};
  const auto made = a100.host.Create(kGpu, "A100D-3-40C");
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->gpu_instance, 3);
  EXPECT_FALSE(a100.host.Create(kGpu, "A100D-3-40C")) << "one instance, one of them";
  EXPECT_FALSE(a100.host.Create(kGpu, "A100D-80C")) << "not beside those on MIG";
  EXPECT_TRUE(a100.host.Create(kGpu, "A100D-1-10C"));
}

TEST(VgpuHost, SeveralOfOneSizeInAnInstance) {
  Host dc(VgpuInterface::kVendorVfio, 96, 20,
          {{1560, "NVIDIA RTX Pro 6000 Blackwell DC-1-24C", 24, 1, 4, 0, 1, 47},
           {1561, "NVIDIA RTX Pro 6000 Blackwell DC-1-12C", 12, 1, 8, 0, 2, 47},
           {1562, "NVIDIA RTX Pro 6000 Blackwell DC-1-12Q", 12, 1, 8, 0, 2, 47},
           {1563, "NVIDIA RTX Pro 6000 Blackwell DC-1-8C", 8, 1, 12, 0, 3, 47}});
  ASSERT_TRUE(dc.host.EnableFunctions(kGpu));
  dc.files->instances = {{3, 1, 14}};
  EXPECT_THAT(dc.Creatable(), IsEmpty()) << "an instance without graphics is none for them";
  EXPECT_THAT(dc.host.Create(kGpu, "RTX Pro 6000 Blackwell DC-1-12C").error().hint,
              HasSubstr("want an instance of their size first"))
      << "it is not full";
  dc.files->instances = {{3, 1, 47}};
  const auto first = dc.host.Create(kGpu, "RTX Pro 6000 Blackwell DC-1-12C");
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->gpu_instance, 3);
  EXPECT_FALSE(dc.host.Create(kGpu, "RTX Pro 6000 Blackwell DC-1-8C")) << "one size";
  const auto second = dc.host.Create(kGpu, "RTX Pro 6000 Blackwell DC-1-12Q");
  ASSERT_TRUE(second) << "of any series: " << second.error().message;
  EXPECT_EQ(second->gpu_instance, 3);
  EXPECT_THAT(dc.host.Create(kGpu, "RTX Pro 6000 Blackwell DC-1-12C").error().hint,
              HasSubstr("full"));
}

TEST(VgpuHost, AHalfWrittenSysfsIsNoHostWithoutVgpus) {
  const auto broken = [](VgpuInterface interface, const std::string& file,
                         std::optional<std::string> content) {
    Host a40(interface, 48, 4, kA40);
    EXPECT_TRUE(a40.host.EnableFunctions(kGpu));
    a40.files->instead["/sys/bus/pci/devices/" + a40.files->FunctionAt(0) + file] = content;
    const auto read = a40.host.Read(kGpu);
    EXPECT_FALSE(read) << file;
    return read ? Error{} : read.error();
  };
  // kNotFound and kUnsupported would say that this is no vGPU host at all.
  for (const char* file : {"/nvidia/creatable_vgpu_types", "/nvidia/current_vgpu_type"}) {
    const Error missing = broken(VgpuInterface::kVendorVfio, file, std::nullopt);
    EXPECT_EQ(missing.code, ErrorCode::kFailed) << file;
    EXPECT_THAT(missing.message, HasSubstr(file));
    const Error garbage = broken(VgpuInterface::kVendorVfio, file, "\x01garbage");
    EXPECT_EQ(garbage.code, ErrorCode::kFailed) << file;
    EXPECT_THAT(garbage.message, HasSubstr(file));
    EXPECT_FALSE(garbage.hint.empty());
  }
  for (const char* file : {"/name", "/available_instances"}) {
    const std::string path = std::string("/mdev_supported_types/nvidia-559") + file;
    const Error missing = broken(VgpuInterface::kMdev, path, std::nullopt);
    EXPECT_EQ(missing.code, ErrorCode::kFailed) << file;
    EXPECT_THAT(missing.message, HasSubstr(path));
  }
  EXPECT_EQ(
      broken(VgpuInterface::kMdev, "/mdev_supported_types/nvidia-559/available_instances", "?")
          .code,
      ErrorCode::kFailed);
}

TEST(VgpuHost, FunctionsOfAnotherDriverAreNoPlaces) {
  Host a40(VgpuInterface::kVendorVfio, 48, 4, kA40);
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  const auto take = [&](int i) {
    a40.files->instead["/sys/bus/pci/devices/" + a40.files->FunctionAt(i) + "/nvidia"] =
        std::nullopt;
  };
  take(0);
  const auto some = a40.host.Read(kGpu);
  ASSERT_TRUE(some) << some.error().message;
  EXPECT_EQ(some->functions.size(), 3u);
  EXPECT_EQ(a40.host.Create(kGpu, "A40-8C")->id, a40.files->FunctionAt(1));
  for (int i = 1; i < 4; ++i) take(i);
  const auto none = a40.host.Read(kGpu);
  ASSERT_FALSE(none) << "they are there, so nothing has to make them";
  EXPECT_EQ(none.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(none.error().hint, HasSubstr("vfio-pci"));
}

TEST(VgpuHost, MediatedDevicesLikewise) {
  for (const int functions : {0, 8}) {
    Host a40(VgpuInterface::kMdev, 48, functions, kA40);
    ASSERT_TRUE(a40.host.EnableFunctions(kGpu)) << "nothing to do without any";
    const auto made = a40.host.Create(kGpu, "A40-8C");
    ASSERT_TRUE(made) << made.error().message;
    EXPECT_EQ(made->id.size(), 36u);
    EXPECT_EQ(made->device, "/dev/vfio/7" + made->id.substr(35));
    const auto gpu = a40.host.Read(kGpu);
    ASSERT_EQ(gpu->devices.size(), 1u);
    EXPECT_EQ(gpu->devices[0].type.name, "NVIDIA A40-8C");
    EXPECT_EQ(gpu->types.size(), 4u) << "those that do not fit any more are named, too";
    EXPECT_EQ(gpu->devices[0].type.most, 6);
    EXPECT_THAT(LibvirtDevice(*made, gpu->interface), HasSubstr("type='mdev'"));
    EXPECT_THAT(LibvirtDevice(*made, gpu->interface), HasSubstr(made->id));
    for (int i = 1; i < 6; ++i) EXPECT_TRUE(a40.host.Create(kGpu, "A40-8C")) << i;
    EXPECT_FALSE(a40.host.Create(kGpu, "A40-8C"));
    ASSERT_TRUE(a40.host.Remove(*made, gpu->interface));
    EXPECT_EQ(a40.host.Read(kGpu)->devices.size(), 5u);
    EXPECT_EQ(a40.host.Remove(*made, gpu->interface).error().code, ErrorCode::kNotFound);
  }
}

TEST(VgpuHost, OneInUseIsLeftAlone) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  const auto made = a40.host.Create(kGpu, "A40-8C");
  ASSERT_TRUE(made);
  EXPECT_THAT(LibvirtDevice(*made, VgpuInterface::kVendorVfio),
              HasSubstr("managed='no'>\n  <source>\n    <address domain='0x0000' bus='0x41' "
                        "slot='0x00' function='0x4'/>"));
  a40.files->holders[made->device] = {4242};
  const Status gone = a40.host.Remove(*made, VgpuInterface::kVendorVfio);
  ASSERT_FALSE(gone);
  EXPECT_EQ(gone.error().code, ErrorCode::kBusy);
  EXPECT_THAT(gone.error().message, HasSubstr("pid 4242"));
  EXPECT_EQ(a40.files->made().size(), 1u);
}

TEST(VgpuHost, AnothersAtTheSamePlaceIsNotRemoved) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  const auto made = a40.host.Create(kGpu, "A40-8C");
  ASSERT_TRUE(a40.host.Remove(*made, VgpuInterface::kVendorVfio));
  ASSERT_TRUE(a40.host.Create(kGpu, "A40-24C"));
  EXPECT_EQ(a40.host.Remove(*made, VgpuInterface::kVendorVfio).error().code, ErrorCode::kNotFound);
  EXPECT_EQ(a40.files->made().size(), 1u);
}

TEST(VgpuHost, NothingHalfMadeIsLeft) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  a40.files->forgets = true;
  EXPECT_FALSE(a40.host.Create(kGpu, "A40-8C"));
  EXPECT_THAT(a40.files->made(), IsEmpty());
  a40.files->forgets = false;
  const std::string file =
      "/sys/bus/pci/devices/" + a40.files->FunctionAt(0) + "/nvidia/current_vgpu_type";
  a40.files->write_fails.insert(file);
  const auto busy = a40.host.Create(kGpu, "A40-8C");
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, ErrorCode::kBusy);
  EXPECT_THAT(a40.files->made(), IsEmpty());
  a40.files->read_fails.insert(file);
  EXPECT_FALSE(a40.host.Read(kGpu)) << "half a file is no answer";
}

TEST(VgpuHost, SizesAreMixedOnlyWhileTheGpuIsEmpty) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  EXPECT_EQ(*a40.host.Mixed(kGpu), false);
  const auto made = a40.host.Create(kGpu, "A40-8C");
  const Status busy = a40.host.SetMixed(kGpu, true);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, ErrorCode::kBusy);
  EXPECT_THAT(busy.error().message, HasSubstr(made->id));
  ASSERT_TRUE(a40.host.Remove(*made, VgpuInterface::kVendorVfio));
  ASSERT_TRUE(a40.host.SetMixed(kGpu, true));
  EXPECT_EQ(*a40.host.Mixed(kGpu), true);
  // A half and two quarters, each at a place of its own.
  std::vector<int> places;
  for (const char* type : {"A40-24C", "A40-8C", "A40-8Q"}) {
    const auto one = a40.host.Create(kGpu, type);
    ASSERT_TRUE(one) << type;
    places.push_back(one->placement.value_or(-1));
  }
  EXPECT_THAT(places, ElementsAre(0, 64, 96));
  EXPECT_FALSE(a40.host.Create(kGpu, "A40-8C")) << "six alone, four mixed";
  // The driver forgets it with its functions, as it does MIG instances.
  const auto full = a40.host.Read(kGpu);
  for (const VgpuDevice& device : full->devices)
    ASSERT_TRUE(a40.host.Remove(device, VgpuInterface::kVendorVfio));
  ASSERT_TRUE(a40.host.DisableFunctions(kGpu));
  EXPECT_THAT(a40.host.Read(kGpu)->functions, IsEmpty());
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  EXPECT_EQ(*a40.host.Mixed(kGpu), false);
  a40.files->smi = false;
  EXPECT_FALSE(a40.host.Mixed(kGpu)) << "unknown is not no";
  EXPECT_FALSE(a40.host.SetMixed(kGpu, true));
}

TEST(VgpuHost, FunctionsStayWhileTheyAreUsed) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  ASSERT_TRUE(a40.host.Create(kGpu, "A40-8C"));
  EXPECT_EQ(a40.host.DisableFunctions(kGpu).error().code, ErrorCode::kBusy);
  EXPECT_TRUE(a40.files->enabled());
}

TEST(VgpuHost, SchedulerIsReadAndSet) {
  Host a40(VgpuInterface::kVendorVfio, 48, 8, kA40);
  ASSERT_TRUE(a40.host.EnableFunctions(kGpu));
  EXPECT_EQ(*a40.host.Scheduler(kGpu), VgpuScheduler::kBestEffort);
  for (const VgpuScheduler scheduler : kAllVgpuSchedulers) {
    ASSERT_TRUE(a40.host.SetScheduler(kGpu, scheduler));
    EXPECT_EQ(*a40.host.Scheduler(kGpu), scheduler);
  }
  // Not under a machine that runs; how else it is set is said.
  a40.files->holders["/dev/vfio/devices/vfio4"] = {4242};
  const Status refused = a40.host.SetScheduler(kGpu, VgpuScheduler::kEqualShare);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().hint, HasSubstr("pci=0000:41:00.0;RmPVMRL=0x01"));
  // Without nvidia-smi what the driver was loaded with is known.
  a40.files->smi = false;
  EXPECT_EQ(a40.host.Scheduler(kGpu).error().code, ErrorCode::kUnsupported);
  const std::pair<const char*, VgpuScheduler> loaded[] = {
      {"RegistryDwords: \"RmPVMRL=0x01\"\nRegistryDwordsPerDevice: \"\"",
       VgpuScheduler::kEqualShare},
      {"RegistryDwords: \"RmPVMRL=0x00030011\"", VgpuScheduler::kFixedShare},
      {"RegistryDwords: \"RmPVMRL=0x11\"\n"
       "RegistryDwordsPerDevice: \"pci=0000:41:00.0;RmPVMRL=0x00;pci=0000:42:00.0;RmPVMRL=0x01\"",
       VgpuScheduler::kBestEffort}};
  for (const auto& [params, scheduler] : loaded) {
    a40.files->params = params;
    ASSERT_TRUE(a40.host.Scheduler(kGpu)) << params;
    EXPECT_EQ(*a40.host.Scheduler(kGpu), scheduler) << params;
  }
  a40.files->params = "RegistryDwords: \"RmPVMRL=0x77\"";
  EXPECT_FALSE(a40.host.Scheduler(kGpu));
}

// Of real files, with what the kernel makes of errors.
TEST(Sysfs, IsBelowItsRoot) {
  char folder[] = "/tmp/tranche-sysfs.XXXXXX";
  ASSERT_NE(mkdtemp(folder), nullptr);
  const std::string root = folder;
  std::filesystem::create_directories(root + "/sys/bus/pci/devices/0000:41:00.0");
  std::filesystem::create_directories(root + "/proc/" + std::to_string(getpid()) + "/fd");
  std::ofstream(root + "/sys/bus/pci/devices/0000:41:00.0/sriov_totalvfs") << "16\n";
  std::filesystem::create_symlink("../0000:41:00.4",
                                  root + "/sys/bus/pci/devices/0000:41:00.0/virtfn0");
  std::filesystem::create_symlink("/dev/vfio/devices/vfio3",
                                  root + "/proc/" + std::to_string(getpid()) + "/fd/7");
  const auto files = OpenSysfs(root + "/");
  const std::string gpu = "/sys/bus/pci/devices/0000:41:00.0";
  EXPECT_EQ(*files->Read(gpu + "/sriov_totalvfs"), "16");
  EXPECT_EQ(files->Read(gpu + "/nothing").error().code, ErrorCode::kNotFound);
  EXPECT_EQ(files->LinkName(gpu + "/virtfn0"), "0000:41:00.4");
  EXPECT_THAT(files->List(gpu), ElementsAre("sriov_totalvfs", "virtfn0"));
  EXPECT_TRUE(files->Write(gpu + "/sriov_totalvfs", "8"));
  EXPECT_EQ(files->Write(gpu + "/nothing/at/all", "8").error().code, ErrorCode::kNotFound);
  EXPECT_THAT(files->Holders("/dev/vfio/devices/vfio3"), ElementsAre(getpid()));
  EXPECT_THAT(files->Holders("/dev/vfio/devices/vfio4"), IsEmpty());
  std::filesystem::remove_all(root);
  // The kernel answers EIO for its first page, which is nobody's.
  const auto broken = OpenSysfs("/")->Read("/proc/self/mem");
  ASSERT_FALSE(broken);
  EXPECT_EQ(broken.error().code, ErrorCode::kFailed) << "it lacks no room: it cannot be read";
  // And ENOSPC for whatever is written there.
  EXPECT_EQ(OpenSysfs("/")->Write("/dev/full", "8").error().code, ErrorCode::kDoesNotFit);
}

}  // namespace
}  // namespace tranche
