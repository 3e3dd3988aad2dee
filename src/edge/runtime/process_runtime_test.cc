#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "edge/runtime/runtime.h"

namespace tranche {
namespace {

using testing::HasSubstr;
using testing::Not;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

constexpr uint32_t kNobody = 65534;
constexpr auto kPatience = 30s;  // how long a test waits before it calls a thing broken

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

class ProcessRuntimeTest : public testing::Test {
 protected:
  void SetUp() override {
    deployment_ = "test-" + std::to_string(getpid());
    directory_ = testing::TempDir() + "process_runtime_test." + std::to_string(getpid());
    fs::create_directories(directory_);
    fs::permissions(directory_, fs::perms(0777));
    clock_ = std::make_shared<SystemClock>();
    runtime_ = Make();
  }
  void TearDown() override {
    const auto rest = Make()->FindOrphans(deployment_);
    EXPECT_TRUE(rest && runtime_->StopOrphans(*rest, 0s));
    fs::remove_all(directory_);
  }

  std::unique_ptr<Runtime> Make(const std::string& root = "/") {
    return MakeProcessRuntime(
        {root, {{"PATH", "/usr/local/bin:/usr/bin:/bin"}, {"SECRET", "of the daemon"}}}, clock_);
  }

  ReplicaLaunch Shell(const std::string& script) {
    ReplicaLaunch launch;
    launch.mark = {deployment_, "phi", 0, ++generation_};
    launch.argv = {"sh", "-c", script};
    launch.uid = geteuid();
    launch.gid = getegid();
    launch.allow_root = true;
    launch.log_path = directory_ + "/log";
    return launch;
  }

  ReplicaStart Start(const ReplicaLaunch& launch) {
    const auto started = runtime_->Start(launch);
    EXPECT_TRUE(started) << started.error().message;
    return started.value_or(ReplicaStart{});
  }

  ReplicaPoll WaitForEnd(ProcessId process) { return WaitForEnd(*runtime_, process); }
  static ReplicaPoll WaitForEnd(Runtime& runtime, ProcessId process) {
    ReplicaPoll last;
    EXPECT_TRUE(Eventually([&] {
      const auto polled = runtime.Poll(process);
      EXPECT_TRUE(polled);
      if (polled) last = *polled;
      return !polled || polled->state == ReplicaPoll::State::kEnded;
    }));
    return last;
  }

  // What the replica printed, once it has ended.
  std::string OutputOf(const ReplicaLaunch& launch) {
    const auto started = Start(launch);
    EXPECT_EQ(WaitForEnd(started.process).end.Text(), "exit code 0");
    return Log();
  }
  std::string Log() { return Read(directory_ + "/log"); }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }
  // A pid that a script wrote into a file below directory_.
  pid_t WaitForPid(const std::string& name) {
    pid_t pid = 0;
    EXPECT_TRUE(Eventually([&] {
      const std::string text = Read(directory_ + "/" + name);
      if (!text.ends_with('\n')) return false;
      pid = std::stoi(text);
      return true;
    })) << name;
    return pid;
  }
  static bool Runs(pid_t pid) {
    const auto stat = ReadProcessStat(pid);
    return stat && stat->state != 'Z';
  }

  // Runs `body` in a process of its own, which dies without a word, as a daemon under kill -9 does.
  static void InAnotherProcess(const std::function<void()>& body) {
    const pid_t child = fork();
    if (child == 0) {
      body();
      kill(getpid(), SIGKILL);
    }
    int status = 0;
    waitpid(child, &status, 0);
    ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL) << status;
  }

  std::string deployment_, directory_;
  std::shared_ptr<Clock> clock_;
  std::unique_ptr<Runtime> runtime_;
  uint64_t generation_ = 0;
};

TEST_F(ProcessRuntimeTest, AReplicaRunsAndEndsWithItsExitCode) {
  const auto started = Start(Shell("echo hello; echo oops >&2; exit 4"));
  const auto end = WaitForEnd(started.process);
  EXPECT_EQ(end.end, (ProcessEnd{.exit_code = 4, .signal = {}}));
  EXPECT_FALSE(end.killed);
  EXPECT_EQ(Log(), "hello\noops\n");
  EXPECT_EQ(runtime_->Poll(started.process).error().code, ErrorCode::kNotFound);
}

TEST_F(ProcessRuntimeTest, AReplicaKilledBySomebodyElseSaysSo) {
  const auto started = Start(Shell("exec sleep 1000"));
  EXPECT_EQ(runtime_->Poll(started.process)->state, ReplicaPoll::State::kRunning);
  kill(started.process.pid, SIGSEGV);
  const auto end = WaitForEnd(started.process);
  EXPECT_EQ(end.end.signal, SIGSEGV);
  EXPECT_FALSE(end.killed);
}

TEST_F(ProcessRuntimeTest, ItHasACleanEnvironmentAndItsOwnSession) {
  auto launch = Shell("env | sort; cat; ls /proc/self/fd | wc -l; pwd");
  launch.env = {{"MY_URL", "http://127.0.0.1:${PORT}"}};
  launch.port = 8123;
  launch.device_uuid = "MIG-abc";
  launch.working_directory = directory_;
  const auto started = Start(launch);
  const auto stat = ReadProcessStat(started.process.pid);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->session, started.process.pid);
  WaitForEnd(started.process);
  const std::string log = Log();
  EXPECT_THAT(log, HasSubstr("MY_URL=http://127.0.0.1:8123\n"));
  EXPECT_THAT(log, HasSubstr("CUDA_VISIBLE_DEVICES=MIG-abc\n"));
  EXPECT_THAT(log, HasSubstr("TRANCHE_REPLICA=" + launch.mark.Text() + "\n"));
  EXPECT_THAT(log, Not(HasSubstr("SECRET")));
  EXPECT_THAT(log, HasSubstr("\n4\n" + directory_ + "\n"));
}

TEST_F(ProcessRuntimeTest, ItRunsAsItsUserAndTheLogIsHis) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  auto launch = Shell("id -u; id -g; echo $HOME; grep -E 'CapEff|Groups' /proc/self/status");
  launch.uid = launch.gid = kNobody;
  launch.allow_root = false;
  const std::string log = OutputOf(launch);
  EXPECT_THAT(
      log, HasSubstr("65534\n65534\n/nonexistent\nGroups:\t65534 \nCapEff:\t0000000000000000\n"));
  struct stat info;
  ASSERT_EQ(stat(launch.log_path.c_str(), &info), 0);
  EXPECT_EQ(info.st_uid, kNobody);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

TEST_F(ProcessRuntimeTest, RootIsRefusedUnlessAllowed) {
  auto launch = Shell("true");
  launch.uid = 0;
  launch.allow_root = false;
  const auto started = runtime_->Start(launch);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::kPermission);
  EXPECT_THAT(started.error().hint, HasSubstr("allow_root"));
}

TEST_F(ProcessRuntimeTest, AMissingProgramIsToldAndLeavesNothing) {
  auto launch = Shell("");
  launch.argv = {"no-such-server", "--port", "1"};
  const auto started = runtime_->Start(launch);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(started.error().message, HasSubstr("phi/0"));
  EXPECT_THAT(started.error().message, HasSubstr("no-such-server"));
  EXPECT_TRUE(runtime_->FindOrphans(deployment_)->empty());
}

TEST_F(ProcessRuntimeTest, AProgramThatIsNotExecutableIsPermission) {
  auto launch = Shell("");
  std::ofstream(directory_ + "/data") << "x";
  launch.argv = {directory_ + "/data"};
  const auto started = runtime_->Start(launch);
  ASSERT_FALSE(started);
  EXPECT_EQ(started.error().code, ErrorCode::kPermission);
}

TEST_F(ProcessRuntimeTest, SecretsAreReadAsTheUser) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  const std::string path = directory_ + "/secrets.env";
  std::ofstream(path) << "TOKEN=hunter2\n";
  auto launch = Shell("test \"$TOKEN\" = hunter2 && echo equal");
  launch.env_from = path;
  launch.uid = launch.gid = kNobody;
  chmod(path.c_str(), 0600);
  const auto refused = runtime_->Start(launch);
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code, ErrorCode::kPermission);
  EXPECT_THAT(refused.error().message, HasSubstr(path));
  ASSERT_EQ(chown(path.c_str(), kNobody, kNobody), 0);
  EXPECT_EQ(OutputOf(launch), "equal\n");
}

TEST_F(ProcessRuntimeTest, SecretsThatAreNoFileAreRefused) {
  const std::string path = directory_ + "/fifo";
  ASSERT_EQ(mkfifo(path.c_str(), 0600), 0);
  auto launch = Shell("true");
  launch.env_from = path;
  const auto fifo = runtime_->Start(launch);
  ASSERT_FALSE(fifo);
  EXPECT_THAT(fifo.error().message, HasSubstr("not a regular file"));
  launch.env_from = directory_ + "/none";
  EXPECT_EQ(runtime_->Start(launch).error().code, ErrorCode::kNotFound);
  launch.env_from = directory_ + "/large";
  std::ofstream(launch.env_from) << std::string(size_t{1} << 21, 'A');
  EXPECT_THAT(runtime_->Start(launch).error().message, HasSubstr("larger than"));
}

TEST_F(ProcessRuntimeTest, ALogThatIsALinkIsRefused) {
  auto launch = Shell("echo overwritten");
  std::ofstream(directory_ + "/precious") << "precious";
  fs::create_symlink(directory_ + "/precious", launch.log_path);
  EXPECT_FALSE(runtime_->Start(launch));
  fs::remove(launch.log_path);
  fs::create_hard_link(directory_ + "/precious", launch.log_path);
  EXPECT_FALSE(runtime_->Start(launch));
  EXPECT_EQ(Read(directory_ + "/precious"), "precious");
}

TEST_F(ProcessRuntimeTest, StoppingIsGracefulFirst) {
  const auto started =
      Start(Shell("trap 'echo bye; exit 0' TERM; echo ready; while :; do sleep 0.05; done"));
  ASSERT_TRUE(Eventually([&] { return Log() == "ready\n"; }));
  const auto end = runtime_->StopAndWait(started.process, 30s);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->end.exit_code, 0);
  EXPECT_FALSE(end->killed);
  EXPECT_THAT(Log(), HasSubstr("bye\n"));
}

TEST_F(ProcessRuntimeTest, WhoDoesNotStopIsKilled) {
  const auto started = Start(Shell("trap '' TERM; echo ready; while :; do sleep 0.05; done"));
  ASSERT_TRUE(Eventually([&] { return Log() == "ready\n"; }));
  ASSERT_TRUE(runtime_->Stop(started.process, 1h));
  EXPECT_EQ(runtime_->Poll(started.process)->state, ReplicaPoll::State::kStopping);
  // Asking again can only shorten it.
  ASSERT_TRUE(runtime_->Stop(started.process, 2h));
  ASSERT_TRUE(runtime_->Stop(started.process, 0s));
  const auto end = WaitForEnd(started.process);
  EXPECT_EQ(end.end.signal, SIGKILL);
  EXPECT_TRUE(end.killed);
}

TEST_F(ProcessRuntimeTest, WhatItStartedGoesWithIt) {
  const auto started =
      Start(Shell("sleep 1000 & echo $! > " + directory_ + "/child; setsid sh -c 'echo $$ > " +
                  directory_ + "/escaped; exec sleep 1000' & wait"));
  const pid_t child = WaitForPid("child"), escaped = WaitForPid("escaped");
  ASSERT_TRUE(Runs(child) && Runs(escaped));
  ASSERT_TRUE(runtime_->StopAndWait(started.process, 30s));
  EXPECT_FALSE(Runs(child));
  EXPECT_FALSE(Runs(escaped)) << "a session of its own does not help: it carries the mark";
}

TEST_F(ProcessRuntimeTest, WhenItDiesNothingIsLeftOnTheDevice) {
  const auto started =
      Start(Shell("trap '' TERM; sleep 1000 & echo $! > " + directory_ + "/child; exit 9"));
  const pid_t child = WaitForPid("child");
  EXPECT_EQ(WaitForEnd(started.process).end.exit_code, 9);
  EXPECT_FALSE(Runs(child));
}

TEST_F(ProcessRuntimeTest, ItsChildrenGetTheSameGrace) {
  // The shell dies of SIGTERM at once; the server behind it needs a moment, and gets it.
  const auto started =
      Start(Shell("sh -c 'trap \"sleep 0.3; echo saved; exit\" TERM; echo ready; "
                  "while :; do sleep 0.05; done' & wait"));
  ASSERT_TRUE(Eventually([&] { return Log() == "ready\n"; }));
  const auto end = runtime_->StopAndWait(started.process, 30s);
  ASSERT_TRUE(end);
  EXPECT_EQ(end->end.signal, SIGTERM);
  EXPECT_FALSE(end->killed);
  EXPECT_THAT(Log(), HasSubstr("saved\n"));
}

TEST_F(ProcessRuntimeTest, NoZombieIsLeft) {
  const auto started = Start(Shell("exit 0"));
  WaitForEnd(started.process);
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST_F(ProcessRuntimeTest, AReplicaOutlivesTheDaemonAndIsAdopted) {
  // $$ in the file says that the trap is set.
  const auto launch =
      Shell("trap 'exit 5' TERM; echo $$ > " + directory_ + "/ready; while :; do sleep 0.05; done");
  const std::string journal = directory_ + "/journal";
  InAnotherProcess([&] {
    const auto started = Make()->Start(launch);
    if (started)
      std::ofstream(journal) << started->process.pid << ' ' << started->process.start_ticks;
  });
  ProcessId process;
  std::ifstream(journal) >> process.pid >> process.start_ticks;
  ASSERT_TRUE(IsAlive(process));
  WaitForPid("ready");

  const auto orphans = runtime_->FindOrphans(deployment_);
  ASSERT_TRUE(orphans);
  ASSERT_FALSE(orphans->empty());
  EXPECT_EQ(orphans->front().process, process);
  EXPECT_EQ(orphans->front().mark, launch.mark);
  EXPECT_TRUE(orphans->front().leader);

  auto wrong = launch.mark;
  wrong.workload = "qwen";
  EXPECT_EQ(runtime_->Adopt(process, wrong).error().code, ErrorCode::kNotFound);
  auto reused = process;
  ++reused.start_ticks;
  EXPECT_EQ(runtime_->Adopt(reused, launch.mark).error().code, ErrorCode::kNotFound);

  ASSERT_TRUE(runtime_->Adopt(process, launch.mark));
  ASSERT_TRUE(runtime_->Adopt(process, launch.mark)) << "twice is once";
  EXPECT_TRUE(runtime_->FindOrphans(deployment_)->empty());
  EXPECT_EQ(runtime_->Poll(process)->state, ReplicaPoll::State::kRunning);
  const auto end = runtime_->StopAndWait(process, 30s);
  ASSERT_TRUE(end);
  // Kernels since 6.15 tell how somebody else's child ended; older ones do not.
  if (end->end.exit_code) {
    EXPECT_EQ(*end->end.exit_code, 5);
  } else {
    EXPECT_EQ(end->end.Text(), "ended; how is not known");
  }
  EXPECT_FALSE(IsAlive(process));
}

TEST_F(ProcessRuntimeTest, AnAdoptedReplicaTakesItsChildrenAlong) {
  const auto launch = Shell("sleep 1000 & echo $! > " + directory_ + "/child; sleep 1000");
  ProcessId process;
  InAnotherProcess([&] { Make()->Start(launch).value(); });
  const pid_t child = WaitForPid("child");
  const auto orphans = runtime_->FindOrphans(deployment_);
  ASSERT_TRUE(orphans && !orphans->empty());
  process = orphans->front().process;
  ASSERT_TRUE(runtime_->Adopt(process, launch.mark));
  kill(process.pid, SIGKILL);
  EXPECT_EQ(WaitForEnd(process).state, ReplicaPoll::State::kEnded);
  EXPECT_FALSE(Runs(child));
}

TEST_F(ProcessRuntimeTest, OrphansThatNobodyWantsAreStopped) {
  const auto launch = Shell("trap '' TERM; while :; do sleep 0.05; done");
  InAnotherProcess([&] {
    auto runtime = Make();
    runtime->Start(launch).value();
  });
  const auto orphans = runtime_->FindOrphans(deployment_);
  ASSERT_TRUE(orphans && !orphans->empty());
  EXPECT_TRUE(runtime_->StopOrphans(*orphans, 100ms));
  EXPECT_TRUE(Eventually([&] { return runtime_->FindOrphans(deployment_)->empty(); }));
}

TEST_F(ProcessRuntimeTest, AnotherDeploymentsProcessesAreNoOrphansOfOurs) {
  const auto started = Start(Shell("exec sleep 1000"));
  EXPECT_TRUE(Make()->FindOrphans(deployment_ + "-other")->empty());
  EXPECT_FALSE(Make()->FindOrphans(deployment_)->empty());
  EXPECT_TRUE(runtime_->StopAndWait(started.process, 30s));
}

TEST_F(ProcessRuntimeTest, ManyAtOnceFromSeveralThreads) {
  std::vector<ReplicaLaunch> launches;
  for (int i = 0; i < 12; ++i) {
    launches.push_back(Shell("exit " + std::to_string(i)));
    launches.back().mark.replica = i;
    launches.back().log_path += std::to_string(i);
  }
  std::vector<std::optional<int>> codes(launches.size());
  std::vector<std::thread> threads;
  for (size_t i = 0; i < launches.size(); ++i) {
    threads.emplace_back([&, i] {
      const auto started = runtime_->Start(launches[i]);
      if (started) codes[i] = WaitForEnd(*runtime_, started->process).end.exit_code;
    });
  }
  for (auto& thread : threads) thread.join();
  for (size_t i = 0; i < codes.size(); ++i) EXPECT_EQ(codes[i], static_cast<int>(i));
}

// A machine whose /dev and /proc/driver/nvidia are below a directory.
class DeviceNodesTest : public ProcessRuntimeTest {
 protected:
  void SetUp() override {
    ProcessRuntimeTest::SetUp();
    if (geteuid() != 0) GTEST_SKIP() << "needs root";
    root_ = directory_ + "/root";
    fs::create_directories(root_ + "/dev/nvidia-caps");
    for (const char* name :
         {"nvidiactl", "nvidia-uvm", "nvidia0", "nvidia1", "nvidia-caps/nvidia-cap12",
          "nvidia-caps/nvidia-cap13", "nvidia-caps/nvidia-cap21"}) {
      // The null device under another name: it can be opened.
      const std::string path = root_ + "/dev/" + name;
      if (mknod(path.c_str(), S_IFCHR, makedev(1, 3)) != 0 || chmod(path.c_str(), 0666) != 0) {
        GTEST_SKIP() << "device nodes cannot be made here";
      }
    }
    Capability("gi1", 12);
    Capability("gi1/ci0", 13);
    Capability("gi2", 21);
  }
  void Capability(const std::string& instance, int minor) {
    const std::string directory = root_ + "/proc/driver/nvidia/capabilities/gpu0/mig/" + instance;
    fs::create_directories(directory);
    std::ofstream(directory + "/access")
        << "DeviceFileMinor: " << minor << "\nDeviceFileMode: 292\n";
  }

  std::string root_;
};

TEST_F(DeviceNodesTest, AReplicaSeesOnlyItsOwnNodes) {
  runtime_ = Make(root_);
  auto launch =
      Shell("cd /dev; ls -d nvidia*; ls nvidia-caps; echo x > null; echo y > nvidia0; ls fd/0");
  launch.uid = launch.gid = kNobody;
  launch.devices = {{0, 1, 0}};
  const auto started = Start(launch);
  EXPECT_EQ(started.access, Guarantee::kKernel);
  EXPECT_THAT(started.access_reason, HasSubstr("nvidia0"));
  EXPECT_EQ(WaitForEnd(started.process).end.Text(), "exit code 0") << Log();
  EXPECT_EQ(Log(),
            "nvidia-caps\nnvidia-uvm\nnvidia0\nnvidiactl\nnvidia-cap12\nnvidia-cap13\nfd/0\n");
  EXPECT_FALSE(fs::exists("/dev/nvidia-caps/nvidia-cap12"))
      << "the machine's own /dev must not change";
}

TEST_F(DeviceNodesTest, RootCannotBeHeldSoThePromiseIsWeaker) {
  runtime_ = Make(root_);
  auto launch = Shell("true");
  launch.devices = {{0, {}, {}}};
  EXPECT_EQ(Start(launch).access, Guarantee::kCooperative);
}

TEST_F(DeviceNodesTest, AnInstanceWhoseNodeIsNotKnownWeakensThePromise) {
  runtime_ = Make(root_);
  auto launch = Shell("true");
  launch.uid = launch.gid = kNobody;
  launch.devices = {{0, 5, 0}};
  const auto started = Start(launch);
  EXPECT_EQ(started.access, Guarantee::kCooperative);
  EXPECT_THAT(started.access_reason, HasSubstr("gi5"));
}

TEST_F(DeviceNodesTest, WithoutNodesThereIsNothingToHide) {
  fs::create_directories(directory_ + "/bare/dev");
  runtime_ = Make(directory_ + "/bare");
  const auto started = Start(Shell("true"));
  EXPECT_EQ(started.access, Guarantee::kCooperative);
  EXPECT_THAT(started.access_reason, HasSubstr("no NVIDIA device nodes"));
}

}  // namespace
}  // namespace tranche
