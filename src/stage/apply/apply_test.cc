#include "stage/apply/apply.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <optional>
#include <set>

#include "edge/driver/fake/fake_driver.h"
#include "edge/driver/fake/test_machine.h"
#include "stage/apply/mig_steps.h"
#include "stage/apply/next_installation.h"
#include "stage/apply/precheck.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kGpu = TestGpuUuid(0);

// Thrown where a test lets the process die: nothing of what follows runs.
struct Died {};

// What is there, as a set of step ids whose effect holds; an executor over it that can fail at, or
// die before or after, any of its calls.
class WorldExecutor final : public Executor {
 public:
  std::set<int> world;
  std::set<int> cannot_do, cannot_undo, without_effect;
  std::optional<int> dies_at_call;  // 2n: before the n-th change, 2n+1: after it
  std::vector<std::string> log;

  Result<std::string> Do(const Step& step) override {
    if (cannot_do.count(step.id) != 0) {
      return Fail(ErrorCode::kBusy, fmt::format("step {} is stuck", step.id), "free it");
    }
    Change([&] {
      if (without_effect.count(step.id) == 0) world.insert(step.id);
      log.push_back(fmt::format("do {}", step.id));
    });
    return fmt::format("made {}", step.id);
  }
  Result<bool> Holds(const Step& step) override { return world.count(step.id) != 0; }
  Status Undo(const Step& step, const std::string& made) override {
    if (cannot_undo.count(step.id) != 0) return Fail(ErrorCode::kFailed, "cannot go back");
    EXPECT_TRUE(made.empty() || made == fmt::format("made {}", step.id)) << made;
    Change([&] {
      world.erase(step.id);
      log.push_back(fmt::format("undo {}", step.id));
    });
    return {};
  }

 private:
  template <typename Effect>
  void Change(Effect effect) {
    if (dies_at_call && calls_++ == *dies_at_call) throw Died();
    effect();
    if (dies_at_call && calls_++ == *dies_at_call) throw Died();
  }
  int calls_ = 0;
};

// The journal as a disk keeps it: what Put has returned from is there for ever.
class MemoryJournal final : public Journal {
 public:
  std::map<int, StepRecord> records;
  bool full = false;
  Status Put(const StepRecord& step) override {
    if (full) return Fail(ErrorCode::kFailed, "the disk is full");
    records[step.step_id] = step;
    return {};
  }
  std::vector<StepRecord> steps() const {
    std::vector<StepRecord> list;
    for (const auto& [id, record] : records) list.push_back(record);
    return list;
  }
};

Step StepOf(int id, StepKind kind) {
  Step step;
  step.id = id;
  step.kind = kind;
  step.target = fmt::format("step {}", id);
  step.gpu_uuid = kGpu;
  return step;
}

Plan PlanOf(const std::vector<StepKind>& kinds) {
  Plan plan;
  plan.id = "p1";
  for (const StepKind kind : kinds) {
    plan.steps.push_back(StepOf(static_cast<int>(plan.steps.size()) + 1, kind));
  }
  return plan;
}

Plan TestPlan() {
  return PlanOf({StepKind::kKeepInstance, StepKind::kStopReplica, StepKind::kDestroyInstance,
                 StepKind::kCreateInstance, StepKind::kStartReplica, StepKind::kRoute});
}

class ApplyTest : public testing::Test {
 protected:
  Receipt Run(const Plan& plan) { return RunPlan(plan, {executor_, journal_, clock_, progress_}); }
  Receipt RecoverFrom(const Plan& plan) {
    ApplyRecord apply;
    apply.plan = plan;
    apply.steps = journal_.steps();
    return Recover(apply, {executor_, journal_, clock_, progress_});
  }

  WorldExecutor executor_;
  MemoryJournal journal_;
  ManualClock clock_;
  ApplyProgress progress_;
};

TEST_F(ApplyTest, RunsTheStepsInOrderAndSkipsWhatIsKept) {
  std::vector<std::string> seen;
  progress_ = [&](const StepReceipt& step) {
    seen.push_back(fmt::format("{} {}", step.step.id, StepOutcomeName(step.outcome)));
  };
  const Receipt receipt =
      Run(PlanOf({StepKind::kKeepInstance, StepKind::kCreateInstance, StepKind::kStartReplica}));
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kDone);
  EXPECT_FALSE(receipt.error);
  EXPECT_THAT(executor_.log, ElementsAre("do 2", "do 3"));
  EXPECT_THAT(seen, ElementsAre("1 skipped", "2 not_run", "2 done", "3 not_run", "3 done"));
  EXPECT_EQ(receipt.steps[1].detail, "made 2");
  EXPECT_EQ(journal_.records[3].phase, StepPhase::kDone);
}

TEST_F(ApplyTest, AFailureAtAnyStepUndoesAllInReverse) {
  const Plan plan = TestPlan();
  for (int failing = 2; failing <= 6; ++failing) {
    executor_ = WorldExecutor();
    journal_ = MemoryJournal();
    executor_.cannot_do = {failing};
    const Receipt receipt = Run(plan);
    EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack) << failing;
    EXPECT_EQ(receipt.error->code, ErrorCode::kBusy);
    EXPECT_THAT(executor_.world, IsEmpty());
    EXPECT_EQ(receipt.steps[static_cast<size_t>(failing) - 1].outcome, StepOutcome::kFailed);
    std::vector<std::string> expected;
    for (int id = 2; id < failing; ++id) expected.push_back(fmt::format("do {}", id));
    for (int id = failing; id >= 2; --id) expected.push_back(fmt::format("undo {}", id));
    EXPECT_EQ(executor_.log, expected);
    for (size_t i = static_cast<size_t>(failing); i < plan.steps.size(); ++i) {
      EXPECT_EQ(receipt.steps[i].outcome, StepOutcome::kNotRun);
    }
  }
}

TEST_F(ApplyTest, ACallThatSucceedsWithoutEffectIsAFailure) {
  executor_.without_effect = {4};
  const Receipt receipt = Run(TestPlan());
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  EXPECT_THAT(receipt.error->message, HasSubstr("no effect"));
  EXPECT_THAT(executor_.world, IsEmpty());
}

TEST_F(ApplyTest, WhatCannotBeJournalledIsNotDone) {
  journal_.full = true;
  const Receipt receipt = Run(TestPlan());
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  EXPECT_THAT(receipt.error->message, HasSubstr("disk is full"));
  EXPECT_THAT(executor_.log, Not(testing::Contains(testing::StartsWith("do "))))
      << "undoing is harmless";
}

TEST_F(ApplyTest, UndoingGoesOnAfterOneThatFails) {
  executor_.cannot_do = {5};
  executor_.cannot_undo = {4};
  const Receipt receipt = Run(TestPlan());
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kPartial);
  EXPECT_EQ(receipt.error->code, ErrorCode::kPartial);
  EXPECT_THAT(receipt.error->message, HasSubstr("step 5 is stuck"));
  EXPECT_THAT(receipt.error->message, HasSubstr("cannot go back"));
  EXPECT_THAT(executor_.world, ElementsAre(4));
  EXPECT_EQ(receipt.steps[3].outcome, StepOutcome::kUndoFailed);
  EXPECT_EQ(receipt.steps[2].outcome, StepOutcome::kUndone);
}

TEST_F(ApplyTest, NothingBeforeAStepThatCannotBeUndoneIsTaken) {
  Plan plan = TestPlan();
  plan.steps[4].reversible = false;
  executor_.cannot_do = {6};
  const Receipt receipt = Run(plan);
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kPartial);
  EXPECT_THAT(executor_.world, ElementsAre(2, 3, 4, 5));
}

// ---- Recovery ----

TEST_F(ApplyTest, ADeathAnywhereEndsInTheOldStateOrTheNewOneEvenWhenRecoveryDiesAsWell) {
  const std::set<int> before, after = {2, 3, 4, 5, 6};
  for (int death = 0; death < 12; ++death) {
    for (int second = -1; second < 10; ++second) {
      executor_ = WorldExecutor();
      journal_ = MemoryJournal();
      executor_.dies_at_call = death;
      bool died = false;
      try {
        Run(TestPlan());
      } catch (const Died&) {
        died = true;
      }
      EXPECT_EQ(died, death < 10);
      for (const int next : {second, -1}) {
        WorldExecutor fresh;
        fresh.world = executor_.world;
        if (next >= 0) fresh.dies_at_call = next;
        executor_ = fresh;
        try {
          const Receipt receipt = RecoverFrom(TestPlan());
          EXPECT_NE(receipt.outcome, ApplyOutcome::kPartial);
          const auto& expected = receipt.outcome == ApplyOutcome::kDone ? after : before;
          EXPECT_EQ(executor_.world, expected) << "death at " << death << ", then at " << second;
        } catch (const Died&) {
        }
      }
    }
  }
}

TEST(DecideRecovery, UndoesUnlessOnlyRoutesAreLeftOrThereIsNoWayBack) {
  Plan plan = TestPlan();
  const auto upto = [](int last, StepPhase phase) {
    std::vector<StepRecord> records;
    for (int id = 2; id <= last; ++id) {
      StepRecord record;
      record.step_id = id;
      record.phase = id == last ? phase : StepPhase::kDone;
      records.push_back(record);
    }
    return records;
  };
  EXPECT_EQ(DecideRecovery(plan, {}), Recovery::kUndo);
  EXPECT_EQ(DecideRecovery(plan, upto(4, StepPhase::kDone)), Recovery::kUndo);
  EXPECT_EQ(DecideRecovery(plan, upto(5, StepPhase::kIntended)), Recovery::kUndo);
  EXPECT_EQ(DecideRecovery(plan, upto(5, StepPhase::kDone)), Recovery::kFinish);
  EXPECT_EQ(DecideRecovery(plan, upto(6, StepPhase::kIntended)), Recovery::kFinish);
  EXPECT_EQ(DecideRecovery(plan, upto(6, StepPhase::kDone)), Recovery::kFinish);
  EXPECT_EQ(DecideRecovery(plan, upto(6, StepPhase::kFailed)), Recovery::kUndo);
  EXPECT_EQ(DecideRecovery(plan, upto(6, StepPhase::kUndoIntended)), Recovery::kUndo);
  plan.steps[2].reversible = false;
  EXPECT_EQ(DecideRecovery(plan, upto(2, StepPhase::kDone)), Recovery::kUndo);
  EXPECT_EQ(DecideRecovery(plan, upto(3, StepPhase::kIntended)), Recovery::kFinish);
}

// ---- MIG steps ----

Step InstanceStep(StepKind kind, const std::string& profile, MigPlacement placement) {
  Step step = StepOf(1, kind);
  step.slice = Slice{kGpu, Mechanism::kMig, profile, placement, GiB(10), 0.1};
  return step;
}

TEST(MigSteps, UndoOfACreationLeavesWhatSomebodyElseMadeMeanwhile) {
  FakeDriver driver(TestMachine());
  MigSteps steps(driver);
  const Step create = InstanceStep(StepKind::kCreateInstance, "1g.10gb", {0, 1});
  const Result<std::string> made = steps.Do(create);
  ASSERT_TRUE(made);
  EXPECT_TRUE(*steps.Holds(create));
  ASSERT_TRUE(driver.DestroyInstance(kGpu, {0, 1}));
  EXPECT_TRUE(steps.Undo(create, *made)) << "already gone";
  ASSERT_TRUE(driver.CreateInstance(kGpu, "1g.10gb", {0, 1}));
  EXPECT_TRUE(steps.Undo(create, *made));
  EXPECT_EQ(driver.machine().gpus[0].mig_instances.size(), 1u);
}

TEST(MigSteps, HalfAnInstanceIsNoneAndIsUndoneEitherWay) {
  FakeDriver driver(TestMachine());
  MigSteps steps(driver);
  const auto halve = [&] {
    driver.Edit(
        [](Machine& machine) { machine.gpus[0].mig_instances.at(0).compute_instances.clear(); });
  };
  const Step create = InstanceStep(StepKind::kCreateInstance, "1g.10gb", {0, 1});
  ASSERT_TRUE(steps.Do(create));
  halve();
  EXPECT_FALSE(*steps.Holds(create));
  EXPECT_TRUE(steps.Undo(create, ""));
  EXPECT_THAT(driver.machine().gpus[0].mig_instances, IsEmpty());

  const Step destroy = InstanceStep(StepKind::kDestroyInstance, "1g.10gb", {0, 1});
  ASSERT_TRUE(steps.Do(create));
  halve();
  EXPECT_FALSE(*steps.Holds(destroy));
  EXPECT_TRUE(steps.Undo(destroy, ""));
  EXPECT_TRUE(*steps.Holds(create));
}

TEST(MigSteps, UndoOfADestructionTurnsMigModeOnAgainAfterAReboot) {
  FakeDriver driver(TestMachine());
  MigSteps steps(driver);
  ASSERT_TRUE(steps.Do(InstanceStep(StepKind::kCreateInstance, "1g.10gb", {0, 1})));
  const Step destroy = InstanceStep(StepKind::kDestroyInstance, "1g.10gb", {0, 1});
  ASSERT_TRUE(steps.Do(destroy));
  driver.Reboot();
  ASSERT_TRUE(steps.Undo(destroy, ""));
  EXPECT_TRUE(driver.machine().gpus[0].mig_mode->current);
  EXPECT_FALSE(*steps.Holds(destroy));
}

// ---- What is installed afterwards ----

TEST(NextInstallation, TheFirstChangeOfAGpuIsRememberedAndAdoptedInstancesAreTheirs) {
  FakeDriver driver(TestMachine());
  ASSERT_TRUE(driver.CreateInstance(kGpu, "1g.10gb", {6, 1}));
  Plan plan = PlanOf({});
  plan.adopts = true;
  plan.steps = {InstanceStep(StepKind::kDestroyInstance, "1g.10gb", {6, 1}),
                InstanceStep(StepKind::kCreateInstance, "2g.20gb", {4, 2})};
  const Installation after = NextInstallation({}, plan, driver.machine(), Owner{1000, 1000, false});
  ASSERT_EQ(after.deployment.baselines.size(), 1u);
  EXPECT_TRUE(after.deployment.baselines[0].mig_enabled);
  EXPECT_THAT(after.deployment.baselines[0].instances,
              ElementsAre(OwnedInstance{kGpu, "1g.10gb", {6, 1}}));
  EXPECT_THAT(after.deployment.instances, ElementsAre(OwnedInstance{kGpu, "2g.20gb", {4, 2}}));

  // Later changes do not touch the baseline.
  plan.steps = {InstanceStep(StepKind::kDestroyInstance, "2g.20gb", {4, 2})};
  const Installation later =
      NextInstallation(after, plan, driver.machine(), Owner{1000, 1000, false});
  EXPECT_EQ(later.deployment.baselines, after.deployment.baselines);
  EXPECT_THAT(later.deployment.instances, IsEmpty());
}

TEST(NextInstallation, AKeptReplicaStaysItsOwners) {
  Workload workload;
  workload.name = "phi";
  workload.command = {"sleep", "1"};
  Plan plan = PlanOf({StepKind::kStartReplica});
  plan.steps[0].workload = "phi";
  plan.spec.workloads = {workload};
  Assignment assignment;
  assignment.workload = "phi";
  plan.assignments = {assignment};
  const Installation first = NextInstallation({}, plan, TestMachine(), Owner{1000, 1001, false});
  EXPECT_EQ(first.launches.at(0).uid, 1000u);
  plan.steps[0].kind = StepKind::kKeepReplica;
  const Installation second = NextInstallation(first, plan, TestMachine(), Owner{0, 0, true});
  EXPECT_EQ(second.launches.at(0).uid, 1000u);
  EXPECT_EQ(second.launches.at(0).gid, 1001u);
  EXPECT_FALSE(second.launches.at(0).allow_root);
}

TEST(PartialInstallation, ForgetsNothingThatMayBeThere) {
  Installation before, after;
  before.deployment.instances = {{kGpu, "1g.10gb", {0, 1}}};
  after.deployment.instances = {{kGpu, "1g.10gb", {1, 1}}, {kGpu, "1g.10gb", {2, 1}}};
  FakeDriver driver(TestMachine());
  ASSERT_TRUE(driver.CreateInstance(kGpu, "1g.10gb", {2, 1}));
  const Machine machine = driver.machine();
  EXPECT_THAT(
      PartialInstallation(before, after, &machine).deployment.instances,
      ElementsAre(OwnedInstance{kGpu, "1g.10gb", {0, 1}}, OwnedInstance{kGpu, "1g.10gb", {2, 1}}));
  EXPECT_EQ(PartialInstallation(before, after, nullptr).deployment.instances.size(), 3u);
}

Step ModeStep(ComputeMode before, ComputeMode now, Change change) {
  Step step = StepOf(1, StepKind::kSetComputeMode);
  step.change = change;
  step.compute_mode_before = before;
  step.compute_mode = now;
  return step;
}
constexpr ComputeMode kOpen = ComputeMode::kDefault;
constexpr ComputeMode kExclusive = ComputeMode::kExclusiveProcess;

TEST(NextInstallation, AComputeModeIsOursUntilItIsPutBack) {
  Plan plan = PlanOf({});
  plan.steps = {ModeStep(kOpen, kExclusive, Change::kCreate)};
  const Owner owner{0, 0, true};
  const Installation set = NextInstallation({}, plan, TestMachine(), owner);
  EXPECT_THAT(set.deployment.compute_modes, ElementsAre(SetComputeMode{kGpu, kExclusive}));
  EXPECT_EQ(set.deployment.baselines.at(0).compute_mode, kOpen);
  plan.steps = {ModeStep(kExclusive, kOpen, Change::kDestroy)};
  EXPECT_THAT(NextInstallation(set, plan, TestMachine(), owner).deployment.compute_modes,
              IsEmpty());
}

TEST(PartialInstallation, KnowsAComputeModeThatIsLeft) {
  Installation before, after;
  after.deployment.compute_modes = {{kGpu, kExclusive}};
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  const auto left = [&](const Installation& from, const Installation& to) {
    const Machine machine = driver.machine();
    return PartialInstallation(from, to, &machine).deployment.compute_modes.size();
  };
  EXPECT_EQ(left(before, after), 0u);
  EXPECT_EQ(PartialInstallation(before, after, nullptr).deployment.compute_modes.size(), 1u);
  ASSERT_TRUE(driver.SetComputeMode(kGpu, kExclusive));
  EXPECT_EQ(left(before, after), 1u);
  EXPECT_EQ(left(after, before), 1u);
}

// ---- Prechecks ----

TEST(Precheck, WhoWouldBeLockedOutIsInTheWay) {
  FakeDriver driver(TestMachine({TestH100(0, false)}));
  GpuProcess process;
  process.pid = 77;
  process.command = "python train.py";
  driver.AttachProcess(kGpu, process);
  Plan plan = PlanOf({});
  plan.steps = {ModeStep(kOpen, kExclusive, Change::kCreate)};
  Deployment deployment;
  deployment.replicas.resize(1);
  deployment.replicas[0].workload = "phi";
  deployment.replicas[0].slice.gpu_uuid = kGpu;
  deployment.replicas[0].slice.mechanism = Mechanism::kMps;
  const auto check = [&](std::optional<ReplicaKey> owner) {
    return CheckNobodyInTheWay(plan, driver.machine(), deployment, [=](int) { return owner; });
  };
  const Status busy = check(std::nullopt);
  ASSERT_FALSE(busy);
  EXPECT_EQ(busy.error().code, ErrorCode::kBusy);
  EXPECT_THAT(busy.error().message, HasSubstr("77"));
  const ReplicaKey phi{"phi", 0};
  EXPECT_TRUE(check(phi)) << "a client of the server";
  deployment.replicas[0].slice.mechanism = Mechanism::kFraction;
  EXPECT_FALSE(check(phi));
  // Letting all in again is in nobody's way.
  plan.steps = {ModeStep(kExclusive, kOpen, Change::kDestroy)};
  EXPECT_TRUE(check(std::nullopt));
}

TEST(Precheck, SomebodyElsesInstanceNeedsAnAdoptingPlan) {
  FakeDriver driver(TestMachine());
  ASSERT_TRUE(driver.CreateInstance(kGpu, "1g.10gb", {6, 1}));
  Plan plan = PlanOf({});
  plan.steps = {InstanceStep(StepKind::kDestroyInstance, "1g.10gb", {6, 1})};
  const auto nobody = [](int) { return std::optional<ReplicaKey>(); };
  const Status refused = CheckNobodyInTheWay(plan, driver.machine(), {}, nobody);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kBusy);
  EXPECT_THAT(refused.error().message, HasSubstr("1g.10gb@6"));
  EXPECT_THAT(refused.error().hint, HasSubstr("--adopt"));
  plan.adopts = true;
  EXPECT_TRUE(CheckNobodyInTheWay(plan, driver.machine(), {}, nobody));
  plan.adopts = false;
  plan.steps = {StepOf(1, StepKind::kDisableMig)};
  EXPECT_FALSE(CheckNobodyInTheWay(plan, driver.machine(), {}, nobody));
}

TEST(Precheck, OurOwnProcessIsInTheWayOnlyUntilThePlanStopsIt) {
  FakeDriver driver(TestMachine());
  GpuProcess process;
  process.pid = 77;
  process.command = "vllm serve";
  driver.AttachProcess(kGpu, process);
  const auto ours = [](int) { return std::optional<ReplicaKey>(ReplicaKey{"phi", 0}); };
  Plan plan = PlanOf({StepKind::kDisableMig});
  const Status busy = CheckNobodyInTheWay(plan, driver.machine(), {}, ours);
  ASSERT_FALSE(busy);
  EXPECT_THAT(busy.error().message, HasSubstr("77"));
  plan = PlanOf({StepKind::kStopReplica, StepKind::kDisableMig});
  plan.steps[0].workload = "phi";
  EXPECT_TRUE(CheckNobodyInTheWay(plan, driver.machine(), {}, ours));
}

TEST(Precheck, APlanOfAFleetOrWithSomethingLeftOutIsNotApplied) {
  Plan plan = PlanOf({});
  plan.simulated_fleet = true;
  EXPECT_EQ(CheckPlanFits(plan, TestMachine(), {}).error().code, ErrorCode::kInvalid);
  plan.simulated_fleet = false;
  plan.unplaced = {{"phi", 0, "needs 90 GiB", "an H200"}};
  const Status unplaced = CheckPlanFits(plan, TestMachine(), {});
  EXPECT_EQ(unplaced.error().code, ErrorCode::kDoesNotFit);
  EXPECT_EQ(unplaced.error().hint, "an H200");
}

}  // namespace
}  // namespace tranche
