#include "edge/driver/fake/fake_driver.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "edge/driver/fake/test_machine.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using Call = FakeDriver::Call;

const std::string kGpu = TestGpuUuid(0);

TEST(FakeDriver, CreatesReadsBackAndDestroys) {
  FakeDriver driver(TestMachine());
  const auto made = driver.CreateInstance(kGpu, "2g.20gb", {2, 2});
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_EQ(made->memory, MiB(20096));
  ASSERT_EQ(made->compute_instances.size(), 1u);
  const auto machine = driver.Read();
  ASSERT_TRUE(machine);
  EXPECT_THAT(machine->gpus[0].mig_instances, ElementsAre(*made));
  EXPECT_TRUE(driver.DestroyInstance(kGpu, {2, 2}));
  EXPECT_THAT(driver.Read()->gpus[0].mig_instances, IsEmpty());
  EXPECT_EQ(driver.DestroyInstance(kGpu, {2, 2}).error().code, ErrorCode::kNotFound);
}

TEST(FakeDriver, EveryCreationHasANewUuid) {
  FakeDriver driver(TestMachine());
  const auto first = driver.CreateInstance(kGpu, "1g.10gb", {0, 1});
  ASSERT_TRUE(driver.DestroyInstance(kGpu, {0, 1}));
  const auto second = driver.CreateInstance(kGpu, "1g.10gb", {0, 1});
  EXPECT_NE(first->compute_instances[0].uuid, second->compute_instances[0].uuid);
}

TEST(FakeDriver, RefusesWhatTheGeometryRefuses) {
  FakeDriver driver(TestMachine());
  ASSERT_TRUE(driver.CreateInstance(kGpu, "3g.40gb", {0, 4}));
  EXPECT_EQ(driver.CreateInstance(kGpu, "2g.20gb", {2, 2}).error().code, ErrorCode::kDoesNotFit);
  EXPECT_EQ(driver.CreateInstance(kGpu, "2g.20gb", {3, 2}).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(driver.CreateInstance(kGpu, "9g.1gb", {0, 1}).error().code, ErrorCode::kNotFound);
  ASSERT_TRUE(driver.CreateInstance(kGpu, "1g.10gb+me", {4, 1}));
  EXPECT_EQ(driver.CreateInstance(kGpu, "1g.10gb+me", {5, 1}).error().code, ErrorCode::kDoesNotFit);
}

TEST(FakeDriver, RefusesInstancesWithoutMigMode) {
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  EXPECT_EQ(driver.CreateInstance(kGpu, "1g.10gb", {0, 1}).error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(driver.SetMigMode(kGpu, true), (MigMode{true, true}));
  EXPECT_TRUE(driver.CreateInstance(kGpu, "1g.10gb", {0, 1}));
  EXPECT_EQ(driver.SetMigMode(kGpu, false).error().code, ErrorCode::kBusy);
}

TEST(FakeDriver, AResetMakesPendingCurrentAndInstancesVanish) {
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  driver.RequireResetForMig(kGpu);
  EXPECT_EQ(driver.SetMigMode(kGpu, true), (MigMode{false, true}));
  driver.ResetGpu(kGpu);
  EXPECT_EQ(*driver.machine().gpus[0].mig_mode, (MigMode{true, true}));
  ASSERT_TRUE(driver.CreateInstance(kGpu, "1g.10gb", {0, 1}));
  driver.Reboot();
  EXPECT_THAT(driver.machine().gpus[0].mig_instances, IsEmpty());
  EXPECT_EQ(*driver.machine().gpus[0].mig_mode, (MigMode{}));
}

TEST(FakeDriver, NamesWhoIsInTheWay) {
  FakeDriver driver(TestMachine());
  const auto made = driver.CreateInstance(kGpu, "1g.10gb", {0, 1});
  GpuProcess process;
  process.pid = 4242;
  process.command = "python3 train.py";
  process.user = "alice";
  process.gpu_instance = made->id;
  driver.AttachProcess(kGpu, process);
  const Status refused = driver.DestroyInstance(kGpu, {0, 1});
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr("pid 4242 (python3 train.py, user alice)"));
  driver.DetachProcess(4242);
  EXPECT_TRUE(driver.DestroyInstance(kGpu, {0, 1}));
}

TEST(FakeDriver, FailsTheCallThatTheScriptNames) {
  FakeDriver driver(TestMachine());
  driver.FailNth(Call::kCreateInstance, 2, {ErrorCode::kBusy, "scripted"});
  EXPECT_TRUE(driver.CreateInstance(kGpu, "1g.10gb", {0, 1}));
  EXPECT_EQ(driver.CreateInstance(kGpu, "1g.10gb", {1, 1}).error().message, "scripted");
  EXPECT_TRUE(driver.CreateInstance(kGpu, "1g.10gb", {1, 1}));
  driver.FailAlways(Call::kDestroyInstance, {ErrorCode::kFailed, "broken"});
  EXPECT_FALSE(driver.DestroyInstance(kGpu, {0, 1}));
  EXPECT_FALSE(driver.DestroyInstance(kGpu, {0, 1}));
  driver.Heal();
  EXPECT_TRUE(driver.DestroyInstance(kGpu, {0, 1}));
  EXPECT_THAT(driver.calls(), ElementsAre("CreateInstance " + kGpu + " 1g.10gb 0:1 -> ok",
                                          "CreateInstance " + kGpu + " 1g.10gb 1:1 -> busy",
                                          "CreateInstance " + kGpu + " 1g.10gb 1:1 -> ok",
                                          "DestroyInstance " + kGpu + " 0:1 -> failed",
                                          "DestroyInstance " + kGpu + " 0:1 -> failed",
                                          "DestroyInstance " + kGpu + " 0:1 -> ok"));
}

TEST(FakeDriver, HandsOutInjectedEventsOnce) {
  FakeDriver driver(TestMachine());
  DriverEvent event;
  event.gpu_uuid = kGpu;
  event.xid = 79;
  driver.Inject(event);
  const auto events = driver.WaitForEvents(std::chrono::seconds(5));
  ASSERT_TRUE(events);
  ASSERT_EQ(events->size(), 1u);
  EXPECT_EQ((*events)[0].xid, 79u);
  EXPECT_THAT(*driver.WaitForEvents(Duration{0}), IsEmpty());
}

}  // namespace
}  // namespace tranche
