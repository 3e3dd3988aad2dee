#include "sim/cuda/visible_devices.h"

#include <gtest/gtest.h>

#include <memory>

#include "sim/machine/lifecycle.h"
#include "sim/machine/mig.h"
#include "sim/test/scratch.h"

namespace tranche::sim::cuda {
namespace {

// Three H100. On the last, MIG is on, with two 2g.20gb.
class VisibleDevicesTest : public testing::Test {
 protected:
  VisibleDevicesTest()
      : spec_(SpecOf("H100-SXM5-80GB", 3)), state_(std::make_unique<MachineState>()) {
    InitialState(spec_, state_.get());
    Rc activation;
    EXPECT_EQ(SetMigMode(spec_, state_.get(), 2, 1, &activation), Rc::kOk);
  }
  void MakeInstances() {
    constexpr uint32_t k2g = 14;
    for (int i = 0; i < 2; ++i) {
      uint64_t gi = 0, ci = 0;
      ASSERT_EQ(CreateGpuInstance(spec_.gpus[2], state_.get(), 2, k2g, -1, &gi), Rc::kOk);
      ASSERT_EQ(CreateComputeInstance(spec_.gpus[2], state_.get(), 2, gi, 1, -1, &ci), Rc::kOk);
    }
  }
  const ComputeInstance& Instance(size_t i) { return *ListCis(state_->gpus[2]).at(i); }
  // What is seen, as "0 1" or "2:0" (an instance of GPU 2).
  std::string See(const std::optional<std::string>& list) {
    std::string seen;
    for (const Target& target : VisibleDevices(spec_, *state_, list)) {
      if (!seen.empty()) seen += " ";
      seen += std::to_string(target.gpu);
      const auto cis = ListCis(state_->gpus[target.gpu]);
      for (size_t i = 0; i < cis.size(); ++i) {
        if (cis[i]->serial == target.ci) seen += ":" + std::to_string(i);
      }
    }
    return seen;
  }
  std::string Uuid(int gpu) { return spec_.gpus[gpu].uuid; }

  MachineSpec spec_;
  std::unique_ptr<MachineState> state_;
};

TEST_F(VisibleDevicesTest, WithoutAListAllGpusButThoseInPieces) { EXPECT_EQ(See({}), "0 1"); }

TEST_F(VisibleDevicesTest, WithAnInstanceItIsAllThereIs) {
  MakeInstances();
  EXPECT_EQ(See({}), "2:0");
}

TEST_F(VisibleDevicesTest, ByIndex) {
  EXPECT_EQ(See("1"), "1");
  EXPECT_EQ(See("1,0"), "1 0");
  EXPECT_EQ(See(" 1 , 0 "), "1 0");
  EXPECT_EQ(See("2"), "") << "MIG is on, and there is no instance";
}

TEST_F(VisibleDevicesTest, TheListEndsBeforeWhatNamesNothing) {
  EXPECT_EQ(See("0,7,1"), "0");
  EXPECT_EQ(See("-1,0"), "");
  EXPECT_EQ(See("0,,1"), "0");
  EXPECT_EQ(See("0x,1"), "");
  EXPECT_EQ(See("NoDevFiles"), "");
  EXPECT_EQ(See(""), "");
  EXPECT_EQ(See("1,0,1"), "1 0") << "nothing is seen twice";
}

TEST_F(VisibleDevicesTest, ByUuidOrItsBeginning) {
  EXPECT_EQ(See(Uuid(1)), "1");
  EXPECT_EQ(See(Uuid(1).substr(0, 20)), "1");
  EXPECT_EQ(See(Uuid(1) + "," + Uuid(0)), "1 0");
  EXPECT_EQ(See("GPU-"), "") << "which?";
  EXPECT_EQ(See("GPU-ffff"), "");
}

TEST_F(VisibleDevicesTest, ABeginningThatTwoHaveNamesNeither) {
  // Two UUIDs that differ in their last digit only.
  std::string twin = Uuid(0);
  twin.back() = twin.back() == '0' ? '1' : '0';
  std::copy(twin.begin(), twin.end(), spec_.gpus[1].uuid);
  EXPECT_EQ(See(twin.substr(0, 20)), "");
  EXPECT_EQ(See(twin), "1");
}

TEST_F(VisibleDevicesTest, AMigDevice) {
  MakeInstances();
  EXPECT_EQ(See(Instance(1).uuid), "2:1");
  EXPECT_EQ(See(std::string(Instance(1).uuid) + "," + Instance(0).uuid), "2:1")
      << "one per process";
  EXPECT_EQ(See("0," + std::string(Instance(1).uuid)), "2:1") << "and then no whole GPU";
  EXPECT_EQ(See("2"), "2:0");
  EXPECT_EQ(See(Uuid(2)), "2:0");
  const GpuInstance* gi = FindGi(state_->gpus[2], Instance(1).gi);
  EXPECT_EQ(See("MIG-" + Uuid(2) + "/" + std::to_string(gi->id) + "/0"), "2:1");
  EXPECT_EQ(See("MIG-00000000-0000-0000-0000-000000000000"), "");
}

TEST_F(VisibleDevicesTest, WhatCannotBeOpenedIsNotSeen) {
  state_->gpus[0].lost = 1;
  EXPECT_EQ(See({}), "1");
  EXPECT_EQ(See("0,1"), "");
  state_->gpus[1].no_permission = 1;
  EXPECT_EQ(See({}), "");
  EXPECT_EQ(See(Uuid(1)), "");
}

}  // namespace
}  // namespace tranche::sim::cuda
