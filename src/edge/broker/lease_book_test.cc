#include "edge/broker/lease_book.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <optional>
#include <set>

#include "edge/broker/test_tables.h"
#include "edge/driver/fake/fake_cgroup_tree.h"
#include "edge/driver/fake/fake_driver.h"
#include "edge/driver/fake/test_machine.h"
#include "limiter/open_table.h"

namespace tranche {
namespace {

Gpu SomeGpu() {
  Gpu gpu;
  gpu.index = 3;
  gpu.uuid = "GPU-96727658-d5ec-4029-bed1-fba0cd5f30cf";
  gpu.memory_total = GiB(80);
  return gpu;
}

LeaseRequest Wish() {
  LeaseRequest request;
  request.program = "train.py";
  request.memory = GiB(10);
  request.compute = Share<Fraction>{{0.3}, {0.6}};
  request.context_bytes = MiB(500);
  return request;
}

class LeaseBookTest : public testing::Test {
 protected:
  static ProcessId Self() { return ReadProcessStat(getpid())->id; }
  // One that lives until the test ends it.
  static ProcessId Child() {
    pid_t child = 0;
    char sleep[] = "sleep", ever[] = "infinity";
    char* argv[] = {sleep, ever, nullptr};
    EXPECT_EQ(posix_spawnp(&child, sleep, nullptr, nullptr, argv, nullptr), 0);
    return ReadProcessStat(child)->id;
  }
  static void Kill(ProcessId id) {
    kill(id.pid, SIGKILL);
    waitpid(id.pid, nullptr, 0);
  }

  std::shared_ptr<Clock> clock_ = std::make_shared<SystemClock>();
  TestTables tables_;
};

TEST_F(LeaseBookTest, GrantsAndTellsWhatItGranted) {
  LeaseBook book(tables_.folder(), *tables_, clock_);
  const auto lease = book.Grant(Wish(), SomeGpu(), geteuid(), Self());
  ASSERT_TRUE(lease) << lease.error().message;
  EXPECT_TRUE(std::filesystem::exists(lease->slice_file));
  const auto listed = book.List();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].memory, GiB(10));
  EXPECT_EQ(listed[0].gpu_index, 3);
  EXPECT_EQ(listed[0].compute_used, Duration(0));
  EXPECT_EQ(listed[0].guarantee().memory, Guarantee::kCooperative);
  EXPECT_EQ(listed[0].slice_file, "") << "for its owner only";
}

TEST_F(LeaseBookTest, EndsWithWhoeverHoldsIt) {
  LeaseBook book(tables_.folder(), *tables_, clock_);
  const ProcessId runner = Child();
  const auto lease = book.Grant(Wish(), SomeGpu(), geteuid(), runner);
  ASSERT_TRUE(lease);
  book.Tick();
  EXPECT_EQ(book.List().size(), 1u);
  Kill(runner);
  book.Tick();
  EXPECT_TRUE(book.List().empty());
  EXPECT_FALSE(std::filesystem::exists(lease->slice_file));
}

TEST_F(LeaseBookTest, OutlivesTheDaemon) {
  const ProcessId runner = Child();
  std::string file;
  {
    LeaseBook book(tables_.folder(), *tables_, clock_);
    const auto lease = book.Grant(Wish(), SomeGpu(), geteuid(), runner);
    ASSERT_TRUE(lease);
    file = lease->slice_file;
  }
  EXPECT_TRUE(std::filesystem::exists(file));
  tables_.NextDaemon();
  LeaseBook next(tables_.folder(), *tables_, clock_);
  EXPECT_TRUE(next.Open().empty());
  ASSERT_EQ(next.List().size(), 1u);
  EXPECT_EQ(next.List()[0].program, "train.py");
  Kill(runner);
  next.Tick();
  EXPECT_TRUE(next.List().empty());
}

TEST_F(LeaseBookTest, WithoutDaemonAndBrokerTheTablesAreLostAndThatIsSaid) {
  const ProcessId runner = Child();
  {
    LeaseBook book(tables_.folder(), *tables_, clock_);
    ASSERT_TRUE(book.Grant(Wish(), SomeGpu(), geteuid(), runner));
  }
  ASSERT_EQ(tables_.Brokers().size(), 1u);
  tables_.EndDaemon();
  kill(tables_.Brokers()[0], SIGKILL);
  tables_.NextDaemon();
  LeaseBook next(tables_.folder(), *tables_, clock_);
  const auto troubles = next.Open();
  ASSERT_EQ(troubles.size(), 1u);
  EXPECT_NE(troubles[0].find("cannot be taken over"), std::string::npos) << troubles[0];
  EXPECT_TRUE(next.List().empty());
  EXPECT_TRUE(next.Grant(Wish(), SomeGpu(), geteuid(), runner)) << "and all can begin anew";
  Kill(runner);
}

TEST_F(LeaseBookTest, ChangesWhileItRuns) {
  LeaseBook book(tables_.folder(), *tables_, clock_);
  ASSERT_TRUE(book.Grant(Wish(), SomeGpu(), geteuid(), Self()));
  ASSERT_TRUE(book.Change("run-1", {GiB(5), Share<Fraction>{{0.2}, {0.2}}}));
  const auto lease = book.Find("run-1");
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->memory, GiB(5));
  EXPECT_EQ(lease->compute->limit, Fraction{0.2});
  EXPECT_EQ(book.Change("run-2", {GiB(5), {}}).error().code, ErrorCode::kNotFound);
  EXPECT_NE(book.Find("run-2").error().hint.find("run-1"), std::string::npos);
}

TEST_F(LeaseBookTest, WhoAsksForNoTimeHasWhatIsSpareAndMayAskLater) {
  LeaseBook book(tables_.folder(), *tables_, clock_);
  LeaseRequest wish = Wish();
  wish.compute.reset();
  ASSERT_TRUE(book.Grant(wish, SomeGpu(), geteuid(), Self()));
  EXPECT_EQ(book.List()[0].compute, std::nullopt);
  EXPECT_EQ(book.List()[0].compute_used, Duration(0)) << "it is measured, to disturb nobody";
  ASSERT_TRUE(book.Change("run-1", {{}, Share<Fraction>{{0.2}, {0.2}}}));
  EXPECT_EQ(book.List()[0].compute, (Share<Fraction>{{0.2}, {0.2}}));
}

TEST_F(LeaseBookTest, UsersAndTeamsHaveTablesOfTheirOwn) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give tables to others";
  LeaseBook book(tables_.folder(), *tables_, clock_);
  const auto alice = book.Grant(Wish(), SomeGpu(), 1000, Self());
  const auto bob = book.Grant(Wish(), SomeGpu(), 1001, Self());
  const auto web = book.GrantToReplica("web", "phi", 0, Wish(), SomeGpu(), 1001);
  ASSERT_TRUE(alice && bob && web);
  std::set<std::string> folders;
  for (const auto& lease : {alice, bob, web}) {
    const std::filesystem::path folder = std::filesystem::path(lease->slice_file).parent_path();
    folders.insert(folder);
    const std::string gpu = folder / "gpu-96727658d5ec4029bed1fba0cd5f30cf";
    for (const std::string& path : {lease->slice_file, gpu + ".turns", gpu + ".gate"}) {
      struct stat table {};
      ASSERT_EQ(stat(path.c_str(), &table), 0);
      EXPECT_EQ(table.st_uid, lease->uid);
      EXPECT_EQ(table.st_mode & 0777, 0600u) << "nobody else may look into its accounts";
    }
    const Descriptor turns(limiter::OpenTable((gpu + ".turns").c_str(), true));
    EXPECT_EQ(fcntl(turns.get(), F_GETFL) & O_ACCMODE, O_RDWR);
    const Descriptor gate(limiter::OpenTable((gpu + ".gate").c_str(), true));
    EXPECT_EQ(fcntl(gate.get(), F_GETFL) & O_ACCMODE, O_RDONLY)
        << "it reads whether it is its turn, and does not write it";
  }
  EXPECT_EQ(folders.size(), 3u);
  book.End("run-2");
  const std::string gone = std::filesystem::path(bob->slice_file).parent_path();
  EXPECT_FALSE(std::filesystem::exists(gone + "/gpu-96727658d5ec4029bed1fba0cd5f30cf.turns"));
  EXPECT_FALSE(std::filesystem::exists(gone + "/gpu-96727658d5ec4029bed1fba0cd5f30cf.gate"));
}

TEST_F(LeaseBookTest, AReplicaHasASliceForEachOfItsStarts) {
  LeaseBook book(tables_.folder(), *tables_, clock_);
  const auto first = book.GrantToReplica("", "phi", 1, Wish(), SomeGpu(), geteuid());
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_EQ(first->id, "phi@1");
  book.Tick();
  EXPECT_EQ(book.List().size(), 1u) << "it is about to be started";
  const ProcessId process = Child();
  book.SetRunner("phi@1", process);
  const auto second = book.GrantToReplica("", "phi", 1, Wish(), SomeGpu(), geteuid());
  ASSERT_TRUE(second);
  EXPECT_FALSE(std::filesystem::exists(first->slice_file));
  EXPECT_EQ(book.List().size(), 1u);
  EXPECT_EQ(book.IdOfSliceFile(second->slice_file), "phi@1");
  book.SetRunner("phi@1", process);
  {
    LeaseBook next(tables_.folder(), *tables_, clock_);
    EXPECT_TRUE(next.Open().empty());
    ASSERT_EQ(next.List().size(), 1u);
    EXPECT_EQ(next.List()[0].workload, "phi");
    EXPECT_EQ(next.List()[0].replica, 1);
    EXPECT_EQ(next.List()[0].pid, process.pid);
  }
  Kill(process);
  book.Tick();
  EXPECT_TRUE(book.List().empty());
}

TEST_F(LeaseBookTest, TheTimeOfAGpuHasSixtyFourHolders) {
  LeaseBook book(tables_.folder(), *tables_, clock_);
  for (int i = 0; i < 64; ++i) ASSERT_TRUE(book.Grant(Wish(), SomeGpu(), geteuid(), Self())) << i;
  EXPECT_EQ(book.Grant(Wish(), SomeGpu(), geteuid(), Self()).error().code, ErrorCode::kDoesNotFit);
  EXPECT_EQ(book.List().size(), 64u);
  book.End("run-7");
  EXPECT_TRUE(book.Grant(Wish(), SomeGpu(), geteuid(), Self()));
}

TEST_F(LeaseBookTest, LeavesOutWhatCannotBeRead) {
  std::filesystem::create_directories(tables_.folder());
  std::ofstream(tables_.folder() + "/run-1.json") << "{";
  LeaseBook book(tables_.folder(), *tables_, clock_);
  EXPECT_EQ(book.Open().size(), 1u);
  EXPECT_TRUE(book.List().empty());
}

// A machine whose kernel holds what a lease may have, as far as its driver and its cgroups go.
class LeasesHeldByTheKernel : public LeaseBookTest {
 protected:
  LeasesHeldByTheKernel() {
    driver_.SupportMemoryLimits();
    auto tree = std::make_unique<FakeCgroupTree>();
    tree_ = tree.get();
    kernel_.emplace(driver_, std::unique_ptr<CgroupTree>(std::move(tree)), "me-");
  }
  std::optional<Bytes> Most(const std::string& cgroup) {
    return driver_.GetMemoryLimits(gpu_.uuid, cgroup)->limits.hard;
  }
  std::set<int> MembersOf(const std::string& cgroup) {
    return tree_->Members(cgroup.substr(tree_->mount().size() + 1));
  }

  FakeDriver driver_{TestMachine({TestH100(0, false)})};
  const Gpu gpu_ = driver_.machine().gpus[0];
  FakeCgroupTree* tree_ = nullptr;
  std::optional<KernelLimits> kernel_;
};

TEST_F(LeasesHeldByTheKernel, FromTheGrantToTheEnd) {
  LeaseBook book(tables_.folder(), *tables_, clock_, &*kernel_);
  const ProcessId runner = Child();
  const auto lease = book.Grant(Wish(), gpu_, geteuid(), runner);
  ASSERT_TRUE(lease) << lease.error().message;
  EXPECT_EQ(lease->guarantee().memory, Guarantee::kKernel);
  EXPECT_EQ(lease->guarantee().compute, Guarantee::kCooperative);
  EXPECT_EQ(Most(lease->cgroup), GiB(10));
  EXPECT_EQ(MembersOf(lease->cgroup), std::set<int>{runner.pid});
  LeaseChange change;
  change.memory = GiB(12);
  ASSERT_TRUE(book.Change(lease->id, change));
  EXPECT_EQ(Most(lease->cgroup), GiB(12));
  book.End(lease->id);
  EXPECT_EQ(Most(lease->cgroup), GiB(12)) << "whoever held it is still in the group";
  Kill(runner);
  tree_->Forget(runner.pid);
  book.Tick();
  EXPECT_EQ(Most(lease->cgroup), std::nullopt);
  EXPECT_TRUE(kernel_->Folders().empty());
}

TEST_F(LeasesHeldByTheKernel, OneWithoutMemoryHasNoGroup) {
  LeaseBook book(tables_.folder(), *tables_, clock_, &*kernel_);
  LeaseRequest request = Wish();
  request.memory.reset();
  const auto lease = book.Grant(request, gpu_, geteuid(), Self());
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->cgroup, "");
  EXPECT_EQ(lease->guarantee().memory, Guarantee::kNone);
}

TEST_F(LeasesHeldByTheKernel, AReplicaEntersByItselfAndALoanMovesTheLimit) {
  LeaseBook book(tables_.folder(), *tables_, clock_, &*kernel_);
  const auto lease = book.GrantToReplica("team", "a", 0, Wish(), gpu_, geteuid());
  ASSERT_TRUE(lease);
  EXPECT_EQ(MembersOf(lease->cgroup), std::set<int>{});
  book.SetLoans({{lease->id, GiB(14)}});
  EXPECT_EQ(Most(lease->cgroup), GiB(14));
  book.SetLoans({});
  EXPECT_EQ(Most(lease->cgroup), GiB(10));
  const auto again = book.GrantToReplica("team", "a", 0, Wish(), gpu_, geteuid());
  ASSERT_TRUE(again);
  EXPECT_NE(again->cgroup, lease->cgroup) << "what the last start left behind is not in its group";
  EXPECT_EQ(kernel_->Folders(), std::vector<std::string>{again->cgroup});
}

TEST_F(LeasesHeldByTheKernel, ALimitThatCannotBeSetIsToldOf) {
  driver_.FailAlways(FakeDriver::Call::kSetMemoryLimits, {ErrorCode::kFailed, "RM says no", ""});
  LeaseBook book(tables_.folder(), *tables_, clock_, &*kernel_);
  const auto lease = book.Grant(Wish(), gpu_, geteuid(), Self());
  ASSERT_TRUE(lease) << "the limiter holds it";
  EXPECT_EQ(lease->guarantee().memory, Guarantee::kCooperative);
  EXPECT_NE(lease->detail.find("RM says no"), std::string::npos) << lease->detail;
  EXPECT_EQ(lease->why_not_harder, lease->detail);
  EXPECT_TRUE(kernel_->Folders().empty());
}

TEST_F(LeasesHeldByTheKernel, WhereThereAreNoLimitsNothingIsWrong) {
  FakeDriver old(TestMachine({TestH100(0, false)}));
  KernelLimits none(old, std::unique_ptr<CgroupTree>(std::make_unique<FakeCgroupTree>()), "me-");
  LeaseBook book(tables_.folder(), *tables_, clock_, &none);
  const auto lease = book.Grant(Wish(), gpu_, geteuid(), Self());
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->detail, "");
  EXPECT_NE(lease->why_not_harder.find("no memory limits"), std::string::npos);
  Lease would = *lease;
  would.why_not_harder.clear();
  book.ForeseeGuarantee(gpu_, &would);
  EXPECT_EQ(would.guarantee().memory, Guarantee::kCooperative);
  EXPECT_EQ(would.why_not_harder, lease->why_not_harder);
}

TEST_F(LeasesHeldByTheKernel, AreFoundAgainByTheNextDaemon) {
  std::string cgroup, lost;
  {
    LeaseBook book(tables_.folder(), *tables_, clock_, &*kernel_);
    cgroup = book.GrantToReplica("team", "a", 0, Wish(), gpu_, geteuid())->cgroup;
    lost = book.GrantToReplica("team", "b", 0, Wish(), gpu_, geteuid())->cgroup;
  }
  ASSERT_TRUE(tree_->MakeGroup("tranche/me-nobody's"));
  ASSERT_TRUE(tree_->MakeGroup("tranche/you-run-1"));
  tables_.NextDaemon();
  // A driver that was loaded anew knows none of them.
  ASSERT_TRUE(driver_.SetMemoryLimits(gpu_.uuid, lost, {}));
  LeaseBook next(tables_.folder(), *tables_, clock_, &*kernel_);
  EXPECT_TRUE(next.Open().empty());
  EXPECT_EQ(Most(cgroup), GiB(10));
  EXPECT_EQ(Most(lost), GiB(10)) << "set again";
  EXPECT_EQ(kernel_->Folders().size(), 2u) << "what belongs to no lease is gone";
  EXPECT_FALSE(tree_->GroupsIn("tranche").empty());
  for (const Lease& lease : next.List()) EXPECT_EQ(lease.guarantee().memory, Guarantee::kKernel);
}

TEST_F(LeasesHeldByTheKernel, WhatIsLostAndCannotBeSetAgainIsToldOf) {
  std::string cgroup;
  {
    LeaseBook book(tables_.folder(), *tables_, clock_, &*kernel_);
    cgroup = book.GrantToReplica("team", "a", 0, Wish(), gpu_, geteuid())->cgroup;
  }
  ASSERT_TRUE(driver_.SetMemoryLimits(gpu_.uuid, cgroup, {}));
  driver_.FailAlways(FakeDriver::Call::kSetMemoryLimits, {ErrorCode::kFailed, "RM says no", ""});
  LeaseBook next(tables_.folder(), *tables_, clock_, &*kernel_);
  const auto troubles = next.Open();
  ASSERT_EQ(troubles.size(), 1u);
  EXPECT_NE(troubles[0].find("RM says no"), std::string::npos);
  const auto listed = next.List();
  ASSERT_EQ(listed.size(), 1u);
  EXPECT_EQ(listed[0].guarantee().memory, Guarantee::kCooperative);
  EXPECT_NE(listed[0].detail, "");
}

}  // namespace
}  // namespace tranche
