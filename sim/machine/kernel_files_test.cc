#include "sim/machine/kernel_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <iterator>

#include "sim/machine/lifecycle.h"
#include "sim/machine/mig.h"
#include "sim/test/scratch.h"

namespace tranche::sim {
namespace {

using testing::HasSubstr;
using testing::Not;

class KernelFilesTest : public testing::Test {
 protected:
  void SetUp() override {
    spec_ = SpecOf("H100-SXM5-80GB", 2);
    ASSERT_TRUE(Machine::Create(dir_, spec_));
    auto opened = Machine::Open(dir_, clock_.options());
    ASSERT_TRUE(opened) << opened.error().message;
    machine_ = std::move(*opened);
  }
  void Show() {
    ASSERT_EQ(mkdir((dir_ + "/root").c_str(), 0755), 0);
    EXPECT_EQ(machine_->Update([&](MachineState& state) {
      WriteKernelFiles(dir_, spec_, state);
      return Rc::kOk;
    }),
              Rc::kOk);
  }
  std::string Text(const std::string& file) {
    std::ifstream in(dir_ + "/root" + file);
    return {std::istreambuf_iterator<char>(in), {}};
  }
  bool Exists(const std::string& file) {
    struct stat info;
    return stat((dir_ + "/root" + file).c_str(), &info) == 0;
  }

  ScratchDir scratch_;
  std::string dir_ = scratch_.path() + "/machine";
  TestClock clock_;
  MachineSpec spec_;
  std::unique_ptr<Machine> machine_;
};

TEST_F(KernelFilesTest, MinorsOfCapabilitiesAreTheDriversOwn) {
  EXPECT_EQ(CapabilityMinor(0, 0), 3u);
  EXPECT_EQ(CapabilityMinor(0, 1), 12u);
  EXPECT_EQ(CapabilityMinor(0, 1, 0), 13u);
  EXPECT_EQ(CapabilityMinor(1, 0), 138u);
  Show();
  EXPECT_THAT(Text("/proc/driver/nvidia-caps/mig-minors"),
              HasSubstr("config 1\nmonitor 2\ngpu0/gi0/access 3\ngpu0/gi0/ci0/access 4\n"));
  EXPECT_THAT(Text("/proc/driver/nvidia-caps/mig-minors"), HasSubstr("\ngpu1/gi0/access 138\n"));
}

TEST_F(KernelFilesTest, AGpuIsAPciDevice) {
  Show();
  const std::string device = "/sys/devices/pci0000:00/" + PciAddress(spec_.gpus[0]);
  EXPECT_EQ(Text(device + "/vendor"), "0x10de\n");
  EXPECT_EQ(Text(device + "/device"), "0x2330\n");
  EXPECT_EQ(Text(device + "/class"), "0x030200\n");
  EXPECT_EQ(Text(device + "/config").size(), 256u);
  EXPECT_TRUE(Exists(device + "/driver")) << "the link leads somewhere";
  EXPECT_THAT(Text("/proc/driver/nvidia/gpus/" + PciAddress(spec_.gpus[1]) + "/information"),
              HasSubstr(spec_.gpus[1].uuid));
}

TEST_F(KernelFilesTest, InstancesComeAndGo) {
  Show();
  const std::string gi = "/proc/driver/nvidia/capabilities/gpu0/mig/gi2";
  uint64_t serial = 0, ci = 0;
  ASSERT_EQ(machine_->Update([&](MachineState& state) {
    Rc activation;
    EXPECT_EQ(SetMigMode(spec_, &state, 0, 1, &activation), Rc::kOk);
    const Rc rc = CreateGpuInstance(spec_.gpus[0], &state, 0, 9, 4, &serial);
    return rc != Rc::kOk ? rc : CreateComputeInstance(spec_.gpus[0], &state, 0, serial, 2, -1, &ci);
  }),
            Rc::kOk);
  EXPECT_EQ(Text(gi + "/access"),
            "DeviceFileMinor: 21\nDeviceFileMode: 292\nDeviceFileModify: 1\n");
  EXPECT_TRUE(Exists("/dev/nvidia-caps/nvidia-cap21"));
  EXPECT_TRUE(Exists("/dev/nvidia-caps/nvidia-cap22"));
  ASSERT_EQ(
      machine_->Update([&](MachineState& state) { return DestroyComputeInstance(&state, 0, ci); }),
      Rc::kOk);
  EXPECT_FALSE(Exists(gi + "/ci0"));
  EXPECT_FALSE(Exists("/dev/nvidia-caps/nvidia-cap22"));
  EXPECT_TRUE(Exists(gi + "/access"));
  // What is not kept leaves no trace.
  EXPECT_EQ(machine_->Update([&](MachineState& state) {
    EXPECT_EQ(DestroyGpuInstance(&state, 0, serial), Rc::kOk);
    return Rc::kInvalid;
  }),
            Rc::kInvalid);
  EXPECT_TRUE(Exists(gi + "/access"));
}

TEST_F(KernelFilesTest, WithoutItsModuleTheDriverIsNotThere) {
  Show();
  EXPECT_THAT(Text("/proc/modules"), HasSubstr("\nnvidia 104165376 3 "));
  const auto unload = [&](const char* name) {
    return machine_->Update([&](MachineState& state) { return UnloadModule(spec_, &state, name); });
  };
  EXPECT_EQ(unload("nvidia"), Rc::kInUse) << "others stand on it";
  for (const char* name : {"nvidia_drm", "nvidia_modeset", "nvidia_uvm", "nvidia"})
    EXPECT_EQ(unload(name), Rc::kOk) << name;
  EXPECT_EQ(unload("i915"), Rc::kNotFound);
  EXPECT_FALSE(Exists("/proc/driver/nvidia"));
  EXPECT_FALSE(Exists("/sys/module/nvidia"));
  EXPECT_THAT(Text("/proc/modules"), Not(HasSubstr("nvidia")));
  EXPECT_FALSE(IsDriverLoaded(spec_, *machine_->Snapshot()));

  EXPECT_EQ(machine_->Update([&](MachineState& state) {
    state.gpus[1].time_slice = kLongSlice;
    return LoadModule(spec_, &state, "nvidia_drm", 0);
  }),
            Rc::kOk);
  const auto state = machine_->Snapshot();
  EXPECT_TRUE(IsDriverLoaded(spec_, *state));
  EXPECT_EQ(state->gpus[1].time_slice, kDefaultSlice) << "lost with the driver";
  EXPECT_EQ(state->modules_absent, 1u << kUvm) << "only what it stands on came with it";
  EXPECT_TRUE(Exists("/proc/driver/nvidia/version"));
}

TEST_F(KernelFilesTest, ATimeSliceIsOneOfFour) {
  const auto set = [&](uint32_t gpu, uint32_t value) {
    return machine_->Update(
        [&](MachineState& state) { return SetTimeSlice(spec_, &state, gpu, value); });
  };
  EXPECT_EQ(set(1, kShortSlice), Rc::kOk);
  EXPECT_EQ(set(1, 4), Rc::kInvalid);
  EXPECT_EQ(set(2, 1), Rc::kInvalid);
  const auto state = machine_->Snapshot();
  EXPECT_EQ(state->gpus[0].time_slice, kDefaultSlice);
  EXPECT_EQ(state->gpus[1].time_slice, kShortSlice);
}

}  // namespace
}  // namespace tranche::sim
