#include "edge/driver/kernel_limits.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

#include "edge/driver/fake/fake_cgroup_tree.h"
#include "edge/driver/fake/fake_driver.h"
#include "edge/driver/fake/test_machine.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kRegion = "nvidia/00000000:10:00.0/vidmem";

class KernelLimitsTest : public testing::Test {
 protected:
  KernelLimits& Open(std::map<std::string, uint64_t> regions = {}) {
    auto tree = std::make_unique<FakeCgroupTree>(std::move(regions));
    tree_ = tree.get();
    limits_.emplace(driver_, std::unique_ptr<CgroupTree>(std::move(tree)), "me-");
    return *limits_;
  }

  FakeDriver driver_{TestMachine({TestH100(0, false)})};
  const Gpu gpu_ = driver_.machine().gpus[0];
  FakeCgroupTree* tree_ = nullptr;
  std::optional<KernelLimits> limits_;
};

TEST_F(KernelLimitsTest, TheDriverHoldsAGroupWhereItCan) {
  driver_.SupportMemoryLimits();
  KernelLimits& limits = Open();
  EXPECT_TRUE(limits.CanHold(gpu_));
  const auto group = limits.Make("run-1", gpu_, GiB(4));
  ASSERT_TRUE(group) << group.error().message;
  EXPECT_EQ(group->folder, "/sys/fs/cgroup/tranche/me-run-1");
  EXPECT_EQ(group->region, "") << "without the controller the driver keeps it";
  EXPECT_EQ(*limits.Most(*group), GiB(4));
  EXPECT_TRUE(limits.SetMost(*group, GiB(2)));
  EXPECT_EQ(*limits.Most(*group), GiB(2));
  EXPECT_EQ(driver_.GetMemoryLimits(gpu_.uuid, group->folder)->limits.soft, Bytes{0})
      << "nothing is kept for it: the plan sees to that";
}

TEST_F(KernelLimitsTest, TheKernelsControllerHoldsItWhereTheDriverCannot) {
  KernelLimits& limits = Open({{kRegion, GiB(80).value}, {"drm/0000:00:02.0/stolen", 1}});
  EXPECT_TRUE(limits.CanHold(gpu_));
  const auto group = limits.Make("run-1", gpu_, GiB(4));
  ASSERT_TRUE(group) << group.error().message;
  EXPECT_EQ(group->region, kRegion);
  EXPECT_EQ(*limits.Most(*group), GiB(4));
  EXPECT_EQ(*tree_->Read("tranche/me-run-1", "dmem.max"),
            fmt::format("drm/0000:00:02.0/stolen max\n{} {}\n", kRegion, GiB(4).value));
  const Status odd = limits.SetMost(*group, Bytes{GiB(4).value + 1});
  ASSERT_FALSE(odd) << "what is read back is not what was set";
  EXPECT_THAT(odd.error().message, HasSubstr("took"));
}

TEST_F(KernelLimitsTest, AGroupGoesWhenItIsEmptyAndTakesItsLimitAlong) {
  driver_.SupportMemoryLimits();
  KernelLimits& limits = Open({{kRegion, GiB(80).value}});
  const auto group = limits.Make("run-1", gpu_, GiB(4));
  ASSERT_TRUE(group);
  ASSERT_TRUE(limits.Enter(*group, 4711));
  EXPECT_THAT(tree_->Members("tranche/me-run-1"), ElementsAre(4711));
  EXPECT_EQ(limits.Remove(*group).error().code, ErrorCode::kBusy);
  EXPECT_EQ(*limits.Most(*group), GiB(4)) << "as long as somebody is in it";
  tree_->Forget(4711);
  EXPECT_TRUE(limits.Remove(*group));
  EXPECT_THAT(limits.Folders(), IsEmpty());
  EXPECT_EQ(*limits.Most(*group), std::nullopt);
  EXPECT_TRUE(limits.Remove(*group)) << "asking twice does no harm";
}

TEST_F(KernelLimitsTest, OnlyItsOwnGroupsAreFoundAgain) {
  driver_.SupportMemoryLimits();
  KernelLimits& limits = Open();
  ASSERT_TRUE(limits.Make("run-1", gpu_, GiB(4)));
  ASSERT_TRUE(tree_->MakeGroup("tranche/you-run-1"));
  ASSERT_TRUE(tree_->MakeGroup("system.slice"));
  EXPECT_THAT(limits.Folders(), ElementsAre("/sys/fs/cgroup/tranche/me-run-1"));
}

TEST_F(KernelLimitsTest, SaysWhyItCannot) {
  KernelLimits& limits = Open();
  EXPECT_EQ(limits.CanHold(gpu_).error().code, ErrorCode::kUnsupported);
  EXPECT_FALSE(limits.Make("run-1", gpu_, GiB(4)));
  tree_->ForbidWriting();
  EXPECT_EQ(limits.CanHold(gpu_).error().code, ErrorCode::kPermission);
  KernelLimits none(driver_, Fail(ErrorCode::kUnsupported, "no tree"), "me-");
  EXPECT_EQ(none.CanHold(gpu_).error().message, "no tree");
  EXPECT_EQ(none.Make("run-1", gpu_, GiB(4)).error().message, "no tree");
  EXPECT_THAT(none.Folders(), IsEmpty());
  driver_.SupportMemoryLimits();
  driver_.Edit([](Machine& machine) { machine.gpus[0].mig_mode = MigMode{true, true}; });
  EXPECT_FALSE(Open().CanHold(gpu_)) << "instances have memory of their own";
}

TEST_F(KernelLimitsTest, LeavesNothingBehindWhenTheLimitCannotBeSet) {
  driver_.SupportMemoryLimits();
  driver_.FailNth(FakeDriver::Call::kSetMemoryLimits, 1, {ErrorCode::kFailed, "RM says no", ""});
  KernelLimits& limits = Open();
  const auto group = limits.Make("run-1", gpu_, GiB(4));
  ASSERT_FALSE(group);
  EXPECT_EQ(group.error().message, "RM says no");
  EXPECT_THAT(limits.Folders(), IsEmpty());
}

TEST_F(KernelLimitsTest, AControllerThatItsParentMayNotShareIsNoWay) {
  KernelLimits& limits = Open({{kRegion, GiB(80).value}});
  ASSERT_TRUE(tree_->MakeGroup("tranche"));
  // Somebody put a process where groups are.
  ASSERT_TRUE(tree_->Write("tranche", kGroupMembers, "4711"));
  const auto group = limits.Make("run-1", gpu_, GiB(4));
  ASSERT_FALSE(group);
  EXPECT_EQ(group.error().code, ErrorCode::kBusy);
  // The driver keeps its limits without the controller.
  driver_.SupportMemoryLimits();
  EXPECT_TRUE(limits.Make("run-1", gpu_, GiB(4)));
}

TEST(KernelGroupPrefixTest, TellsDirectoriesApart) {
  EXPECT_EQ(KernelGroupPrefix("/var/lib/tranche"), KernelGroupPrefix("/var/lib/tranche"));
  EXPECT_NE(KernelGroupPrefix("/var/lib/tranche"), KernelGroupPrefix("/var/lib/tranche2"));
  EXPECT_EQ(KernelGroupPrefix("").size(), 9u);
}

// A tree of plain files: where it is looked for, and what becomes of files and folders.
TEST(MountedCgroupTree, IsFoundByTheMountTable) {
  namespace fs = std::filesystem;
  const std::string root = testing::TempDir() + "cgroup_tree." + std::to_string(getpid());
  fs::create_directories(root + "/proc/self");
  EXPECT_EQ(OpenCgroupTree(root).error().code, ErrorCode::kUnsupported);
  std::ofstream(root + "/proc/self/mountinfo")
      << "24 30 0:21 / /sys rw,nosuid - sysfs sysfs rw\n"
         "31 24 0:26 / /sys/fs/cgroup ro,nosuid shared:9 - tmpfs tmpfs ro,mode=755\n"
         "32 31 0:27 / /sys/fs/cgroup/unified rw,nosuid shared:10 - cgroup2 cgroup2 rw\n"
         "33 31 0:28 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n";
  const auto tree = OpenCgroupTree(root);
  ASSERT_TRUE(tree) << tree.error().message;
  EXPECT_EQ((*tree)->mount(), "/sys/fs/cgroup/unified");
  EXPECT_FALSE((*tree)->CheckWritable());
  const std::string at = root + "/sys/fs/cgroup/unified";
  fs::create_directories(at);
  EXPECT_TRUE((*tree)->CheckWritable());
  EXPECT_TRUE((*tree)->MakeGroup("tranche"));
  EXPECT_TRUE((*tree)->MakeGroup("tranche")) << "it is there";
  EXPECT_EQ((*tree)->MakeGroup("other/one").error().code, ErrorCode::kNotFound);
  std::ofstream(at + "/tranche/" + kGroupMembers) << "1\n2\n";
  EXPECT_EQ(*(*tree)->Read("tranche", kGroupMembers), "1\n2\n");
  EXPECT_EQ((*tree)->Read("tranche", "dmem.max").error().code, ErrorCode::kNotFound);
  EXPECT_TRUE((*tree)->Write("tranche", kGroupMembers, "3"));
  EXPECT_EQ((*tree)->Write("tranche", "dmem.max", "3").error().code, ErrorCode::kNotFound);
  EXPECT_THAT((*tree)->GroupsIn(""), ElementsAre("tranche"));
  EXPECT_EQ((*tree)->RemoveGroup("tranche").error().code, ErrorCode::kBusy);
  fs::remove(at + "/tranche/" + kGroupMembers);
  EXPECT_TRUE((*tree)->RemoveGroup("tranche"));
  EXPECT_TRUE((*tree)->RemoveGroup("tranche")) << "it is gone";
  fs::remove_all(root);
}

}  // namespace
}  // namespace tranche
