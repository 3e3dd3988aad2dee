#include "engine/supervise.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/launch_command.h"
#include "engine/xid_table.h"

namespace tranche {
namespace {

using std::chrono::milliseconds;
using std::chrono::minutes;
using std::chrono::seconds;
using testing::ElementsAre;
using testing::HasSubstr;
using Process = ReplicaObservation::Process;
using Verdict = HealthState::Verdict;

// One replica, driven by hand on a clock of its own.
class Replica {
 public:
  explicit Replica(WorkloadKind kind = WorkloadKind::kInference, bool probed = true) {
    policy_.kind = kind;
    policy_.probed = probed;
    policy_.startup_grace = seconds(30);
  }

  SuperviseAction See(ReplicaObservation seen) {
    seen.now = clock_.Monotonic();
    const SuperviseDecision decision = Supervise(state, seen, policy_);
    state = decision.next;
    return decision.action;
  }
  SuperviseAction Absent() { return See({}); }
  SuperviseAction Runs(Verdict health) {
    ReplicaObservation seen;
    seen.process = Process::kRunning;
    seen.health = health;
    seen.health_detail = "GET /health: 503";
    return See(seen);
  }
  SuperviseAction Ends(int exit_code) {
    ReplicaObservation seen;
    seen.process = Process::kEnded;
    seen.end.exit_code = exit_code;
    return See(seen);
  }
  SuperviseAction LosesItsPort() {
    ReplicaObservation seen;
    seen.process = Process::kEnded;
    seen.end.exit_code = 1;
    seen.port_taken = true;
    return See(seen);
  }
  void Pass(Duration time) { clock_.Advance(time); }
  // Waits for the next start, and how long that takes.
  Duration UntilStart() {
    const Duration from = clock_.Monotonic();
    while (Absent() != SuperviseAction::kStart) Pass(milliseconds(100));
    return clock_.Monotonic() - from;
  }

  Supervision state;

 private:
  SupervisionPolicy policy_;
  ManualClock clock_;
};

TEST(Supervise, StartsAtOnceAndIsHealthyWhenItSaysSo) {
  Replica replica;
  EXPECT_EQ(replica.Absent(), SuperviseAction::kStart);
  EXPECT_EQ(replica.Runs(Verdict::kUnknown), SuperviseAction::kNone);
  EXPECT_EQ(replica.state.state, ReplicaState::kStarting);
  EXPECT_EQ(replica.Runs(Verdict::kUp), SuperviseAction::kNone);
  EXPECT_EQ(replica.state.state, ReplicaState::kHealthy);
  EXPECT_EQ(replica.state.restarts, 0);
}

TEST(Supervise, BadAnswersWithinTheGraceAreWaitedOut) {
  Replica replica;
  replica.Absent();
  replica.Pass(seconds(29));
  EXPECT_EQ(replica.Runs(Verdict::kDown), SuperviseAction::kNone);
  EXPECT_EQ(replica.state.state, ReplicaState::kStarting);
  replica.Pass(seconds(1));
  EXPECT_EQ(replica.Runs(Verdict::kDown), SuperviseAction::kStop);
  EXPECT_EQ(replica.state.state, ReplicaState::kUnhealthy);
  EXPECT_THAT(replica.state.detail, HasSubstr("start-up grace"));
  replica.Ends(0);  // as told
  EXPECT_EQ(replica.state.state, ReplicaState::kBackoff);
  EXPECT_THAT(replica.state.detail, HasSubstr("start-up grace"));
  replica.UntilStart();
  EXPECT_EQ(replica.state.restarts, 1);
}

TEST(Supervise, UnhealthyComesBackOrIsRestartedAfterAsLongAsItsGrace) {
  Replica replica;
  replica.Absent();
  replica.Runs(Verdict::kUp);
  replica.Runs(Verdict::kDown);
  EXPECT_EQ(replica.state.state, ReplicaState::kUnhealthy);
  replica.Pass(seconds(29));
  EXPECT_EQ(replica.Runs(Verdict::kDown), SuperviseAction::kNone);
  replica.Runs(Verdict::kUp);
  EXPECT_EQ(replica.state.state, ReplicaState::kHealthy);
  replica.Runs(Verdict::kDown);
  replica.Pass(seconds(30));
  EXPECT_EQ(replica.Runs(Verdict::kDown), SuperviseAction::kStop);
}

TEST(Supervise, WhoLosesItsPortToAnotherProgramIsGivenTheNextAtOnceAndBlamedForNothing) {
  Replica replica;
  replica.Absent();
  EXPECT_EQ(replica.LosesItsPort(), SuperviseAction::kStart);
  EXPECT_EQ(replica.state.deaths, 0);
  EXPECT_EQ(replica.state.restarts, 0);
  EXPECT_EQ(replica.Runs(Verdict::kUp), SuperviseAction::kNone);
  // Once it served, the port was its own.
  EXPECT_EQ(replica.LosesItsPort(), SuperviseAction::kNone);
  EXPECT_EQ(replica.state.deaths, 1);
}

TEST(Supervise, DelaysDoubleUpToTheLongestAndItIsCalledFailing) {
  Replica replica;
  replica.Absent();
  std::vector<Duration> delays;
  for (int death = 0; death < 9; ++death) {
    replica.Runs(Verdict::kUnknown);
    replica.Ends(1);
    EXPECT_EQ(replica.state.state, death < 4 ? ReplicaState::kBackoff : ReplicaState::kFailing);
    EXPECT_THAT(replica.state.detail, HasSubstr("exit code 1"));
    delays.push_back(replica.UntilStart());
  }
  EXPECT_THAT(delays, ElementsAre(seconds(1), seconds(2), seconds(4), seconds(8), seconds(16),
                                  seconds(32), minutes(1), minutes(1), minutes(1)));
  EXPECT_EQ(replica.state.restarts, 9);
}

TEST(Supervise, AStableRunForgetsEarlierDeaths) {
  Replica replica;
  replica.Absent();
  for (int death = 0; death < 6; ++death) {
    replica.Ends(1);
    replica.UntilStart();
  }
  replica.Pass(minutes(1));
  replica.Runs(Verdict::kUp);
  replica.Ends(1);
  EXPECT_EQ(replica.state.state, ReplicaState::kBackoff);
  EXPECT_EQ(replica.UntilStart(), seconds(1));
}

TEST(Supervise, AJobEndsAndAServerThatEndsIsRestarted) {
  Replica job(WorkloadKind::kBatch, false);
  job.Absent();
  job.Runs(Verdict::kUnknown);
  EXPECT_EQ(job.state.state, ReplicaState::kHealthy);
  job.Ends(0);
  EXPECT_EQ(job.state.state, ReplicaState::kEnded);
  EXPECT_EQ(job.Absent(), SuperviseAction::kNone);

  Replica failed(WorkloadKind::kBatch, false);
  failed.Absent();
  failed.Ends(3);
  EXPECT_EQ(failed.state.state, ReplicaState::kBackoff);

  Replica server;
  server.Absent();
  server.Ends(0);
  EXPECT_EQ(server.state.state, ReplicaState::kBackoff);
}

TEST(Supervise, AJobThatEndedUnseenIsNotRunAgainBehindItsOwnersBack) {
  Replica job(WorkloadKind::kTraining, false);
  job.Absent();
  job.Runs(Verdict::kUnknown);
  ReplicaObservation seen;
  seen.process = Process::kEnded;
  seen.seen_to_end = false;
  job.See(seen);
  EXPECT_EQ(job.state.state, ReplicaState::kEnded);
  EXPECT_THAT(job.state.detail, HasSubstr("how is not known"));
}

TEST(Supervise, WithoutItsSliceItWaitsAndNoDeathIsCounted) {
  Replica replica;
  ReplicaObservation seen;
  seen.device_ready = false;
  seen.device_reason = "its slice gpu0 2g.20gb@0 is not there";
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(replica.See(seen), SuperviseAction::kNone);
    replica.Pass(minutes(1));
  }
  EXPECT_EQ(replica.state.deaths, 0);
  EXPECT_THAT(replica.state.detail, HasSubstr("is not there"));
  EXPECT_EQ(replica.Absent(), SuperviseAction::kStart);
}

TEST(Supervise, FaultedIsLeftAloneWhateverItsProcessDoes) {
  Replica replica;
  replica.Absent();
  replica.Runs(Verdict::kUp);
  replica.state.state = ReplicaState::kFaulted;
  EXPECT_EQ(replica.Runs(Verdict::kUp), SuperviseAction::kNone);
  EXPECT_EQ(replica.Ends(1), SuperviseAction::kNone);
  replica.Pass(minutes(10));
  EXPECT_EQ(replica.Absent(), SuperviseAction::kNone);
  EXPECT_EQ(replica.state.state, ReplicaState::kFaulted);
}

TEST(Supervise, ALeaseEndsWhateverItDoes) {
  ReplicaObservation over;
  over.lease_over = true;
  Replica waiting;
  EXPECT_EQ(waiting.See(over), SuperviseAction::kNone);
  EXPECT_EQ(waiting.state.state, ReplicaState::kEnded);
  Replica running;
  running.Absent();
  running.Runs(Verdict::kUp);
  over.process = Process::kRunning;
  EXPECT_EQ(running.See(over), SuperviseAction::kStop);
  EXPECT_EQ(running.state.state, ReplicaState::kEnded);
}

TEST(Supervise, StoppedIsStoppedUntilItIsGone) {
  Replica replica;
  replica.state.state = ReplicaState::kStopped;
  EXPECT_EQ(replica.Runs(Verdict::kUp), SuperviseAction::kStop);
  EXPECT_EQ(replica.Ends(1), SuperviseAction::kNone);
  EXPECT_EQ(replica.Absent(), SuperviseAction::kNone);
  EXPECT_EQ(replica.state.state, ReplicaState::kStopped);
}

// ---- XIDs ----

TEST(XidTable, BlamesWhomTheDriverBlames) {
  for (const uint64_t xid : {13, 31, 43, 45, 68, 109}) {
    EXPECT_EQ(MeaningOfXid(xid).blame, XidBlame::kApplication) << xid;
  }
  for (const uint64_t xid : {48, 64, 74, 79, 92, 94, 95, 119, 120}) {
    EXPECT_EQ(MeaningOfXid(xid).blame, XidBlame::kHardware) << xid;
  }
  EXPECT_EQ(MeaningOfXid(63).blame, XidBlame::kNotice);
  EXPECT_EQ(MeaningOfXid(9999).blame, XidBlame::kHardware);
  EXPECT_EQ(MeaningOfXid(9999).xid, 9999u);
}

// ---- What is run ----

TEST(LaunchCommand, EachEngineIsToldItsModelAndPortAndTheUserHasTheLastWord) {
  const std::shared_ptr<const Catalog> catalog = *Catalog::Load();
  Launch launch;
  launch.workload.name = "phi";
  launch.workload.model.emplace().name = "phi-4";
  launch.engine_flags = {"--memory", "19GiB"};
  launch.workload.args = {"--memory", "18GiB"};

  launch.workload.engine = ServingEngine::kModelServer;
  EXPECT_THAT(*CommandOf(launch, *catalog, "/opt/tranche/bin"),
              ElementsAre("/opt/tranche/bin/tranche-model-server", "--model", "phi-4", "--port",
                          "${PORT}", "--memory", "19GiB", "--memory", "18GiB"));
  EXPECT_EQ(CommandOf(launch, *catalog, "")->front(), "tranche-model-server");

  launch.workload.engine = ServingEngine::kVllm;
  const std::vector<std::string> vllm = *CommandOf(launch, *catalog, "");
  EXPECT_EQ(vllm[0], "vllm");
  EXPECT_EQ(vllm[1], "serve");
  EXPECT_THAT(vllm[2], HasSubstr("/")) << "a published name";

  launch.workload.engine = ServingEngine::kCommand;
  EXPECT_FALSE(CommandOf(launch, *catalog, ""));
  launch.workload.command = {"python3", "serve.py"};
  EXPECT_EQ(CommandOf(launch, *catalog, "")->front(), "python3");
}

TEST(LaunchCommand, AnImageIsAContainersWhoseCommandIsItsEntrypoint) {
  Workload workload;
  std::vector<std::string> argv = {"python3", "serve.py"};
  EXPECT_FALSE(ContainerOf(workload, &argv)) << "no image, no container";
  workload.image = "example/a:1";
  workload.command = argv;
  const auto container = ContainerOf(workload, &argv);
  ASSERT_TRUE(container);
  EXPECT_EQ(container->image, "example/a:1");
  EXPECT_EQ(container->entrypoint, "python3");
  EXPECT_THAT(argv, ElementsAre("serve.py"));

  // Without a command the image says what is run, and `args` are its arguments.
  const std::shared_ptr<const Catalog> catalog = *Catalog::Load();
  Launch launch;
  launch.workload.image = "example/a:1";
  launch.workload.args = {"--verbose"};
  argv = *CommandOf(launch, *catalog, "");
  const auto own = ContainerOf(launch.workload, &argv);
  ASSERT_TRUE(own);
  EXPECT_FALSE(own->entrypoint);
  EXPECT_THAT(argv, ElementsAre("--verbose"));
}

TEST(LaunchCommand, APortIsGivenToWhatServes) {
  Workload workload;
  workload.command = {"python3", "train.py"};
  EXPECT_FALSE(NeedsPort(workload));
  workload.command.push_back("--port=${PORT}");
  EXPECT_TRUE(NeedsPort(workload));
  workload.command.pop_back();
  workload.route = "/x";
  EXPECT_TRUE(NeedsPort(workload));
  Workload engine;
  engine.engine = ServingEngine::kVllm;
  EXPECT_TRUE(NeedsPort(engine));
}

}  // namespace
}  // namespace tranche
