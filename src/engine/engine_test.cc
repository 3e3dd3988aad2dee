#include "engine/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <set>
#include <thread>

#include "engine/test_world.h"

namespace tranche {
namespace {

using testing::Contains;
using testing::HasSubstr;
using testing::IsEmpty;

const std::string kGpu = TestGpuUuid(0);

Spec ThreeSleepers() {
  return SpecOf({Sleeper("phi", GiB(15)), Sleeper("mistral", GiB(9)), Sleeper("qwen", GiB(9))});
}

GpuProcess ForeignProcess(int pid) {
  GpuProcess process;
  process.pid = pid;
  process.command = "python3 train.py";
  process.user = "alice";
  process.uid = 1000u;
  return process;
}

int BackendsUp(World& world) {
  const std::lock_guard lock(world.router->mutex);
  int up = 0;
  for (const Route& route : world.router->routes) {
    for (const RouteBackend& backend : route.backends) up += backend.up ? 1 : 0;
  }
  return up;
}

// ---- Applying ----

TEST(EngineTest, AppliesFromNothingAndGoesBackToIt) {
  World world(TestMachine({TestH100(0, false)}));
  world.Open();
  const std::string before = LayoutText(world.driver->machine());
  const Receipt receipt = world.Apply(ThreeSleepers());
  ASSERT_EQ(receipt.outcome, ApplyOutcome::kDone) << receipt.error->message;
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 3; }));

  const Machine machine = world.driver->machine();
  std::set<std::string> devices;
  for (const MigInstance& instance : machine.gpus[0].mig_instances) {
    devices.insert(instance.compute_instances.at(0).uuid);
  }
  EXPECT_EQ(devices.size(), 3u);
  for (const char* name : {"phi", "mistral", "qwen"}) {
    const ReplicaStatus replica = world.Replica(name);
    EXPECT_EQ(replica.state, ReplicaState::kHealthy) << name;
    EXPECT_EQ(world.Variable(name, 0, "CUDA_VISIBLE_DEVICES"), replica.device_uuid);
    EXPECT_EQ(world.Variable(name, 0, "PORT"), std::to_string(replica.port.value_or(0)));
    EXPECT_EQ(devices.erase(replica.device_uuid), 1u) << name;
  }

  const Result<Receipt> down = world.engine().Down(world.Options(), nullptr);
  ASSERT_TRUE(down) << down.error().message;
  EXPECT_EQ(down->outcome, ApplyOutcome::kDone);
  EXPECT_EQ(LayoutText(world.driver->machine()), before);
  EXPECT_THAT(world.engine().GetStatus()->replicas, IsEmpty());
  EXPECT_FALSE(world.router->running);
  EXPECT_EQ(*world.engine().GetDeployment(), Deployment());
}

// The daemon's timer turns while a plan runs; it once started the router again that `down` had just
// ended.
TEST(EngineTest, ATurnOfSupervisionDuringDownBringsNoRouteBack) {
  World world(TestMachine());
  world.Open();
  Spec spec = SpecOf({Sleeper("phi", GiB(9))});
  spec.workloads[0].route = "/phi";
  world.Apply(spec);
  ASSERT_TRUE(world.router->running);
  const Result<Receipt> down = world.engine().Down(world.Options(), [&](const StepReceipt&) {
    std::thread([&] { world.engine().Tick(); }).join();
  });
  ASSERT_TRUE(down) << down.error().message;
  EXPECT_EQ(down->outcome, ApplyOutcome::kDone);
  EXPECT_FALSE(world.router->running);
}

TEST(EngineTest, TheSameSpecAgainChangesNothing) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  const std::optional<int> pid = world.Replica("phi").pid;
  world.driver->ClearCalls();
  const Plan plan = world.MakePlan(ThreeSleepers());
  EXPECT_FALSE(plan.HasChanges());
  ASSERT_TRUE(world.TryApply(plan));
  EXPECT_THAT(world.driver->calls(), IsEmpty());
  EXPECT_EQ(world.Replica("phi").pid, pid);
}

TEST(EngineTest, AChangedSpecRestartsOnlyWhatItTouches) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  const std::optional<int> phi = world.Replica("phi").pid, qwen = world.Replica("qwen").pid;
  const std::optional<int> mistral = world.Replica("mistral").pid;
  world.driver->ClearCalls();
  Spec changed = ThreeSleepers();
  changed.workloads[1].env["VERSION"] = "2";
  ASSERT_EQ(world.Apply(changed).outcome, ApplyOutcome::kDone);
  EXPECT_THAT(world.driver->calls(), IsEmpty());
  EXPECT_EQ(world.Replica("phi").pid, phi);
  EXPECT_EQ(world.Replica("qwen").pid, qwen);
  EXPECT_NE(world.Replica("mistral").pid, mistral);
  EXPECT_EQ(world.Variable("mistral", 0, "VERSION"), "2");
}

TEST(EngineTest, ReplicasAreReplacedOneByOneAndTheOldOneStaysWhenTheNewOneIsNotWell) {
  World world(TestMachine());
  world.Open();
  Spec spec = SpecOf({Sleeper("phi", GiB(9))});
  spec.workloads[0].replicas = 2;
  ASSERT_EQ(world.Apply(spec).outcome, ApplyOutcome::kDone);
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 2; }));
  const std::optional<int> second = world.Replica("phi", 1).pid;

  world.health->verdicts["phi/0"] = HealthState::Verdict::kDown;
  Spec changed = spec;
  changed.workloads[0].env["VERSION"] = "2";
  changed.workloads[0].startup_grace = std::chrono::seconds(20);
  const Receipt receipt = world.Apply(changed);
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  ASSERT_TRUE(receipt.error);
  EXPECT_THAT(receipt.error->message, HasSubstr("phi/0"));
  EXPECT_EQ(world.Replica("phi", 1).pid, second);
  EXPECT_EQ(world.Variable("phi", 0, "VERSION"), "1");

  world.health->verdicts.clear();
  ASSERT_EQ(world.Apply(changed).outcome, ApplyOutcome::kDone);
  EXPECT_EQ(world.Variable("phi", 0, "VERSION"), "2");
  EXPECT_EQ(world.Variable("phi", 1, "VERSION"), "2");
}

TEST(EngineTest, WhateverCallFailsTheWorldIsAsBefore) {
  World world(TestMachine({TestH100(0), TestH100(1, false)}));
  world.Open();
  const Spec old =
      SpecOf({Sleeper("keeper", GiB(9)), Sleeper("leaver", GiB(9)), Sleeper("changer", GiB(9))});
  const Spec wanted = SpecOf({Sleeper("keeper", GiB(9)), Sleeper("changer", GiB(9), "2"),
                              Sleeper("a", GiB(35)), Sleeper("b", GiB(35)), Sleeper("c", GiB(15))});
  int failures = 0;
  for (const FakeDriver::Call call :
       {FakeDriver::Call::kSetMigMode, FakeDriver::Call::kCreateInstance,
        FakeDriver::Call::kDestroyInstance}) {
    for (int n = 1;; ++n) {
      ASSERT_EQ(world.Apply(old).outcome, ApplyOutcome::kDone);
      const std::string before = LayoutText(world.driver->machine());
      const Deployment deployed = *world.engine().GetDeployment();
      const std::optional<int> keeper = world.Replica("keeper").pid;

      const Plan plan = world.MakePlan(wanted);
      world.driver->FailNth(call, n, {ErrorCode::kFailed, "injected"});
      const Result<Receipt> receipt = world.TryApply(plan);
      world.driver->Heal();
      ASSERT_TRUE(receipt) << receipt.error().message;
      if (receipt->outcome == ApplyOutcome::kDone) break;  // that call is made less than n times
      ++failures;
      EXPECT_EQ(receipt->outcome, ApplyOutcome::kRolledBack);
      EXPECT_THAT(receipt->error->message, HasSubstr("injected"));
      EXPECT_EQ(LayoutText(world.driver->machine()), before) << "failing call " << n;
      EXPECT_TRUE(*world.engine().GetDeployment() == deployed);
      EXPECT_EQ(world.Replica("keeper").pid, keeper);
      EXPECT_EQ(world.Variable("changer", 0, "VERSION"), "1");
      EXPECT_EQ(world.Variable("leaver", 0, "VERSION"), "1");
      EXPECT_EQ(world.engine().GetStatus()->replicas.size(), 3u);
    }
  }
  EXPECT_GE(failures, 5);
}

TEST(EngineTest, ACommandThatCannotRunUndoesEverything) {
  World world(TestMachine({TestH100(0, false)}));
  world.Open();
  const std::string before = LayoutText(world.driver->machine());
  Spec spec = ThreeSleepers();
  spec.workloads[2].command = {"no-such-program-anywhere"};
  const Receipt receipt = world.Apply(spec);
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  EXPECT_THAT(receipt.error->message, HasSubstr("no-such-program-anywhere"));
  EXPECT_EQ(LayoutText(world.driver->machine()), before);
  EXPECT_THAT(world.engine().GetStatus()->replicas, IsEmpty());
  EXPECT_FALSE(world.router->running);
}

TEST(EngineTest, WhatAnUndoneApplyStartedCanStillBeRead) {
  World world(TestMachine());
  world.Open();
  Spec spec = ThreeSleepers();
  spec.workloads[0].command = {"sh", "-c", "echo no such model; exec sleep 1000"};
  spec.workloads[2].command = {"no-such-program-anywhere"};
  ASSERT_EQ(world.Apply(spec).outcome, ApplyOutcome::kRolledBack);
  const Result<Engine::LogPart> log =
      world.engine().Logs(spec.workloads[0].name, 0, 10, std::nullopt);
  ASSERT_TRUE(log);
  EXPECT_EQ(log->text, "no such model\n");
  const Result<Engine::LogPart> outside = world.engine().Logs("../state/x", 0, 10, std::nullopt);
  ASSERT_FALSE(outside);
  EXPECT_EQ(outside.error().code, ErrorCode::kNotFound);
}

TEST(EngineTest, ARouterThatRefusesUndoesEverything) {
  World world(TestMachine());
  world.Open();
  world.router->failure = Error{ErrorCode::kFailed, "nginx: bad configuration"};
  const Receipt receipt = world.Apply(ThreeSleepers());
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  EXPECT_THAT(receipt.error->message, HasSubstr("bad configuration"));
  EXPECT_THAT(world.driver->machine().gpus[0].mig_instances, IsEmpty());
}

TEST(EngineTest, UndoingThatFailsIsPartialAndWhatIsLeftStaysOurs) {
  World world(TestMachine());
  world.Open();
  Spec spec = ThreeSleepers();
  spec.workloads[2].command = {"no-such-program-anywhere"};
  const Plan plan = world.MakePlan(spec);
  world.driver->FailAlways(FakeDriver::Call::kDestroyInstance, {ErrorCode::kFailed, "stuck"});
  const Result<Receipt> receipt = world.TryApply(plan);
  ASSERT_TRUE(receipt);
  EXPECT_EQ(receipt->outcome, ApplyOutcome::kPartial);
  EXPECT_EQ(receipt->error->code, ErrorCode::kPartial);
  EXPECT_THAT(receipt->error->message, HasSubstr("stuck"));
  EXPECT_EQ(world.engine().GetDeployment()->instances.size(),
            world.driver->machine().gpus[0].mig_instances.size());
  EXPECT_THAT(world.engine().GetStatus()->warnings, Contains(HasSubstr("part-way")));
  world.driver->Heal();
  ASSERT_TRUE(world.engine().Down(world.Options(), nullptr));
  EXPECT_THAT(world.driver->machine().gpus[0].mig_instances, IsEmpty());
}

TEST(EngineTest, AResetThatIsNeededIsSaidWithTheCommand) {
  World world(TestMachine({TestH100(0, false)}));
  world.Open();
  world.driver->RequireResetForMig(kGpu);
  const Receipt receipt = world.Apply(ThreeSleepers());
  EXPECT_EQ(receipt.outcome, ApplyOutcome::kRolledBack);
  EXPECT_THAT(receipt.error->message, HasSubstr("reset"));
  EXPECT_THAT(receipt.error->hint, HasSubstr("--gpu-reset"));
  EXPECT_FALSE(world.driver->machine().gpus[0].mig_mode->pending);
}

// ---- Refusing ----

TEST(EngineTest, AStalePlanSaysWhatMoved) {
  World world(TestMachine());
  world.Open();
  const Plan plan = world.MakePlan(ThreeSleepers());
  ASSERT_TRUE(world.driver->CreateInstance(kGpu, "1g.10gb", {0, 1}));
  world.driver->ClearCalls();
  const Result<Receipt> receipt = world.TryApply(plan);
  ASSERT_FALSE(receipt);
  EXPECT_EQ(receipt.error().code, ErrorCode::kStale);
  EXPECT_THAT(receipt.error().message, HasSubstr("1g.10gb"));
  EXPECT_THAT(world.driver->calls(), IsEmpty());
}

TEST(EngineTest, APlanForAnotherDeploymentIsStale) {
  World world(TestMachine({TestH100(0), TestH100(1)}));
  world.Open();
  ASSERT_EQ(world.Apply(SpecOf({Sleeper("phi", GiB(9))})).outcome, ApplyOutcome::kDone);
  Spec changed = SpecOf({Sleeper("phi", GiB(9), "2")});
  const Plan plan = world.MakePlan(changed);
  ASSERT_EQ(world.Apply(SpecOf({Sleeper("phi", GiB(9), "3")})).outcome, ApplyOutcome::kDone);
  // Same layout, other replicas: applying it twice is refused the second time only by what is
  // deployed.
  ASSERT_TRUE(world.TryApply(plan));
  const Plan adds = world.MakePlan(SpecOf({Sleeper("phi", GiB(9), "2"), Sleeper("a", GiB(9))}));
  ASSERT_TRUE(world.TryApply(adds));
  const Result<Receipt> again = world.TryApply(adds);
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kStale);
  EXPECT_THAT(again.error().message, HasSubstr("a/0"));
}

TEST(EngineTest, WhoIsInTheWayIsNamedBeforeTheFirstStep) {
  World world(TestMachine());
  world.Open();
  ASSERT_EQ(world.Apply(SpecOf({Sleeper("phi", GiB(9)), Sleeper("qwen", GiB(9))})).outcome,
            ApplyOutcome::kDone);
  const Plan plan = world.MakePlan(SpecOf({Sleeper("phi", GiB(9))}));
  const Machine machine = world.driver->machine();
  GpuProcess process = ForeignProcess(4242);
  for (const MigInstance& instance : machine.gpus[0].mig_instances) {
    if (world.Replica("qwen").slice.placement == instance.placement) {
      process.gpu_instance = instance.id;
    }
  }
  world.driver->AttachProcess(kGpu, process);
  world.driver->ClearCalls();
  const Result<Receipt> receipt = world.TryApply(plan);
  ASSERT_FALSE(receipt);
  EXPECT_EQ(receipt.error().code, ErrorCode::kBusy);
  EXPECT_THAT(receipt.error().message, HasSubstr("4242"));
  EXPECT_THAT(world.driver->calls(), IsEmpty());
  EXPECT_TRUE(world.Replica("qwen").pid);
}

TEST(EngineTest, RootNeedsToBeAllowed) {
  World world(TestMachine());
  world.Open();
  Spec spec = SpecOf({Sleeper("phi", GiB(9))});
  spec.workloads[0].allow_root = false;
  ApplyOptions options;
  options.caller = {0, 0};
  const Result<Receipt> receipt = world.engine().Apply(world.MakePlan(spec), options, nullptr);
  ASSERT_FALSE(receipt);
  EXPECT_EQ(receipt.error().code, ErrorCode::kPermission);
  EXPECT_THAT(world.driver->calls(), IsEmpty());
}

TEST(EngineTest, TheStateHasOneOwner) {
  World world(TestMachine());
  world.Open();
  const Result<std::unique_ptr<Engine>> second = world.TryOpen();
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_THAT(second.error().message, HasSubstr(std::to_string(getpid())));
}

// ---- Living on ----

TEST(EngineTest, WorkloadsAreAdoptedWhenTheDaemonComesBack) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 3; }));
  const ReplicaStatus before = world.Replica("phi");
  world.Close();
  world.health->verdicts["phi"] = HealthState::Verdict::kUnknown;  // nobody has asked yet
  world.Open();
  world.engine().Tick();
  const ReplicaStatus after = world.Replica("phi");
  EXPECT_EQ(after.pid, before.pid);
  EXPECT_EQ(after.port, before.port);
  EXPECT_EQ(after.restarts, 0);
  EXPECT_EQ(after.state, ReplicaState::kHealthy);
  EXPECT_EQ(BackendsUp(world), 3);
}

TEST(EngineTest, AWorkloadThatDiesRestartsAndTheOthersDoNot) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  const ReplicaStatus phi = world.Replica("phi"), qwen = world.Replica("qwen");
  ASSERT_EQ(kill(*phi.pid, SIGKILL), 0);
  ASSERT_TRUE(world.TickUntil([&] { return world.Replica("phi").restarts == 1; }));
  ASSERT_TRUE(
      world.TickUntil([&] { return world.Replica("phi").state == ReplicaState::kHealthy; }));
  EXPECT_NE(world.Replica("phi").pid, phi.pid);
  EXPECT_EQ(world.Replica("phi").port, phi.port);
  EXPECT_EQ(world.Replica("qwen").pid, qwen.pid);
}

TEST(EngineTest, OneThatKeepsDyingIsReportedAndTheOthersStayUp) {
  World world(TestMachine());
  world.Open();
  Spec spec = ThreeSleepers();
  // It runs long enough to be started, then fails whenever it runs.
  spec.workloads[0].command = {"sh", "-c", "sleep 0.2; exit 7"};
  ASSERT_EQ(world.Apply(spec).outcome, ApplyOutcome::kDone);
  ASSERT_TRUE(
      world.TickUntil([&] { return world.Replica("phi").state == ReplicaState::kFailing; }));
  EXPECT_THAT(world.Replica("phi").detail, HasSubstr("exit code 7"));
  EXPECT_EQ(world.Replica("qwen").state, ReplicaState::kHealthy);
  EXPECT_EQ(BackendsUp(world), 2);
}

TEST(EngineTest, AJobThatFinishesIsNotRunAgain) {
  World world(TestMachine());
  world.Open();
  Workload job = Sleeper("job", GiB(9));
  job.kind = WorkloadKind::kBatch;
  job.route = "";
  job.command = {"sh", "-c", "echo once"};
  ASSERT_EQ(world.Apply(SpecOf({job})).outcome, ApplyOutcome::kDone);
  ASSERT_TRUE(world.TickUntil([&] { return world.Replica("job").state == ReplicaState::kEnded; }));
  world.Close();
  world.Open();
  for (int i = 0; i < 10; ++i) world.engine().Tick();
  EXPECT_EQ(world.Replica("job").state, ReplicaState::kEnded);
  EXPECT_EQ(world.engine().Logs("job", 0, 10, std::nullopt)->text, "once\n");
}

TEST(EngineTest, ALeaseEnds) {
  World world(TestMachine());
  world.Open();
  Spec spec = SpecOf({Sleeper("phi", GiB(9))});
  spec.workloads[0].lease = std::chrono::hours(1);
  ASSERT_EQ(world.Apply(spec).outcome, ApplyOutcome::kDone);
  ASSERT_TRUE(world.Replica("phi").lease_ends_at);
  world.clock->Advance(std::chrono::hours(1));
  ASSERT_TRUE(world.TickUntil([&] { return !world.Replica("phi").pid; }));
  EXPECT_EQ(world.Replica("phi").state, ReplicaState::kEnded);
  EXPECT_THAT(world.Replica("phi").detail, HasSubstr("lease"));
}

TEST(EngineTest, StoppedStaysStoppedUntilRestarted) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  ASSERT_TRUE(world.engine().Stop("phi", std::nullopt));
  ASSERT_TRUE(world.TickUntil([&] { return !world.Replica("phi").pid; }));
  world.Close();
  world.Open();
  world.engine().Tick();
  EXPECT_EQ(world.Replica("phi").state, ReplicaState::kStopped);
  EXPECT_FALSE(world.MakePlan(ThreeSleepers()).HasChanges());
  ASSERT_TRUE(world.engine().Restart("phi", 0));
  EXPECT_TRUE(world.Replica("phi").pid);
  const Status wrong = world.engine().Stop("pih", std::nullopt);
  ASSERT_FALSE(wrong);
  EXPECT_EQ(wrong.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(wrong.error().hint, HasSubstr("phi"));
}

TEST(EngineTest, AnUnhealthyBackendLeavesTheRouteAndComesBack) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 3; }));
  world.health->verdicts["phi"] = HealthState::Verdict::kDown;
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 2; }));
  EXPECT_EQ(world.Replica("phi").state, ReplicaState::kUnhealthy);
  world.health->verdicts.clear();
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 3; }));
  EXPECT_EQ(world.Replica("phi").restarts, 0);
}

TEST(EngineTest, SupervisionAndQuestionsGoOnWhileAPlanIsApplied) {
  World world(TestMachine());
  world.Open();
  std::atomic<bool> done = false;
  std::atomic<int> answers = 0;
  std::thread ticker([&] {
    while (!done) world.engine().Tick();
  });
  std::thread asker([&] {
    while (!done) answers += world.engine().GetStatus().has_value() ? 1 : 0;
  });
  for (int round = 0; round < 3; ++round) {
    EXPECT_EQ(world.Apply(ThreeSleepers()).outcome, ApplyOutcome::kDone);
    EXPECT_TRUE(world.engine().Restart("phi", 0));
    const Result<Receipt> down = world.engine().Down(world.Options(), nullptr);
    EXPECT_TRUE(down && down->outcome == ApplyOutcome::kDone);
  }
  done = true;
  ticker.join();
  asker.join();
  EXPECT_GT(answers, 0);
  EXPECT_THAT(world.driver->machine().gpus[0].mig_instances, IsEmpty());
}

// ---- What hardware does ----

DriverEvent Xid(uint64_t xid, std::optional<int> gpu_instance = std::nullopt) {
  DriverEvent event;
  event.gpu_uuid = kGpu;
  event.xid = xid;
  event.gpu_instance = gpu_instance;
  return event;
}

TEST(EngineTest, AHardwareXidTakesItsSliceOutOfTheRouteAndAnApplicationsDoesNot) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 3; }));
  const ReplicaStatus phi = world.Replica("phi");
  int instance = -1;
  const Machine machine = world.driver->machine();
  for (const MigInstance& one : machine.gpus[0].mig_instances) {
    if (one.placement == phi.slice.placement) instance = one.id;
  }
  for (const uint64_t xid : {13, 31, 43, 45, 68, 63}) world.driver->Inject(Xid(xid, instance));
  for (int i = 0; i < 10; ++i) world.engine().Tick();
  EXPECT_EQ(BackendsUp(world), 3);

  world.driver->Inject(Xid(94, instance));
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 2; }));
  EXPECT_EQ(world.Replica("phi").state, ReplicaState::kFaulted);
  EXPECT_THAT(world.Replica("phi").detail, HasSubstr("XID 94"));
  EXPECT_EQ(world.Replica("qwen").state, ReplicaState::kHealthy);

  ASSERT_TRUE(world.engine().Restart("phi", std::nullopt));
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 3; }));
}

TEST(EngineTest, AHardwareXidOfNobodyInParticularIsEverybodysOnThatGpu) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 3; }));
  world.driver->Inject(Xid(79));
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 0; }));
}

void ExpectReestablished(World& world, const std::function<void()>& disaster) {
  world.Apply(ThreeSleepers());
  ASSERT_TRUE(world.TickUntil([&] { return BackendsUp(world) == 3; }));
  const std::string before = LayoutText(world.driver->machine());
  const std::string device = world.Replica("phi").device_uuid;
  disaster();
  ASSERT_NE(LayoutText(world.driver->machine()), before);
  ASSERT_TRUE(world.TickUntil([&] {
    return LayoutText(world.driver->machine()) == before && BackendsUp(world) == 3 &&
           world.Replica("phi").device_uuid != device;
  }));
  EXPECT_EQ(world.Variable("phi", 0, "CUDA_VISIBLE_DEVICES"), world.Replica("phi").device_uuid);
  EXPECT_THAT(world.engine().GetStatus()->warnings, IsEmpty());
}

TEST(EngineTest, AfterAResetThePlanIsEstablishedAgain) {
  World world(TestMachine());
  world.Open();
  ExpectReestablished(world, [&] { world.driver->ResetGpu(kGpu); });
}

TEST(EngineTest, AfterARebootThatTakesMigModeThePlanIsEstablishedAgain) {
  World world(TestMachine());
  world.Open();
  ExpectReestablished(world, [&] {
    for (const char* name : {"phi", "mistral", "qwen"}) kill(*world.Replica(name).pid, SIGKILL);
    world.Close();
    world.driver->Reboot();
    world.Open();
  });
}

TEST(EngineTest, WhatCannotBeEstablishedAgainIsExplained) {
  World world(TestMachine());
  world.Open();
  world.Apply(ThreeSleepers());
  const MigPlacement place = *world.Replica("phi").slice.placement;
  world.driver->ResetGpu(kGpu);
  const Machine machine = world.driver->machine();
  ASSERT_TRUE(world.driver->CreateInstance(kGpu, "1g.10gb", {place.start, 1}));
  ASSERT_TRUE(world.TickUntil([&] { return !world.engine().GetStatus()->warnings.empty(); }));
  EXPECT_THAT(world.engine().GetStatus()->warnings, Contains(HasSubstr("cannot be made again")));
  ASSERT_TRUE(
      world.TickUntil([&] { return world.Replica("qwen").state == ReplicaState::kHealthy; }));
  // The stranger's instance is still there; once it goes, ours comes back.
  EXPECT_NE(world.driver->machine().gpus[0].FindInstance({place.start, 1}), nullptr);
  ASSERT_TRUE(world.driver->DestroyInstance(kGpu, {place.start, 1}));
  ASSERT_TRUE(
      world.TickUntil([&] { return world.Replica("phi").state == ReplicaState::kHealthy; }));
  EXPECT_THAT(world.engine().GetStatus()->warnings, IsEmpty());
}

}  // namespace
}  // namespace tranche
