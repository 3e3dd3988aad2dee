#include "base/subprocess.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>
#include <fstream>
#include <thread>

namespace tranche {
namespace {

using testing::HasSubstr;

constexpr const char* kPath = "/usr/local/bin:/usr/bin:/bin";

SpawnOptions Command(std::vector<std::string> argv) {
  SpawnOptions options;
  options.argv = std::move(argv);
  options.path = kPath;
  options.environment = {std::string("PATH=") + kPath};
  return options;
}

SpawnOptions Shell(const std::string& script) { return Command({"sh", "-c", script}); }

class SubprocessTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "subprocess_test." + std::to_string(getpid());
    std::filesystem::create_directories(directory_);
    std::filesystem::permissions(directory_, std::filesystem::perms(0755));
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string Write(const std::string& name, const std::string& text, int mode) {
    const std::string path = directory_ + "/" + name;
    std::ofstream(path) << text;
    chmod(path.c_str(), static_cast<mode_t>(mode));
    return path;
  }

  std::string directory_;
};

TEST_F(SubprocessTest, RunReturnsOutputAndExitCode) {
  const auto result = RunProgram(Shell("echo out; echo err >&2; exit 3"), std::chrono::seconds(20));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "out\nerr\n");
  EXPECT_EQ(result->end.Text(), "exit code 3");
}

TEST_F(SubprocessTest, RunReportsTheSignal) {
  const auto result = RunProgram(Shell("kill -9 $$"), std::chrono::seconds(20));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->end.signal, SIGKILL);
  EXPECT_EQ(result->end.Text(), "killed by signal 9 (Killed)");
}

TEST_F(SubprocessTest, RunKillsTheWholeGroupAfterTheTimeout) {
  const std::string file = directory_ + "/pid";
  const auto result = RunProgram(Shell("sleep 1000 & echo $! > " + file + "; wait"),
                                 std::chrono::milliseconds(500));
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("did not end within 500ms"));
  pid_t child = 0;
  std::ifstream(file) >> child;
  ASSERT_GT(child, 0);
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (true) {
    const auto stat = ReadProcessStat(child);
    if (!stat || stat->state == 'Z') break;
    ASSERT_LT(std::chrono::steady_clock::now(), deadline) << "the grandchild lives on";
    std::this_thread::yield();
  }
}

TEST_F(SubprocessTest, RunDoesNotWaitForWhatTheProgramLeftBehind) {
  const auto result = RunProgram(Shell("echo done; sleep 1000 & exit 0"), std::chrono::seconds(30));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "done\n");
}

TEST_F(SubprocessTest, AMissingProgramIsNotFoundAndNamed) {
  const auto result = Spawn(Command({"no-such-program-anywhere"}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(result.error().message, HasSubstr("no-such-program-anywhere"));
  EXPECT_THAT(result.error().message, HasSubstr(kPath));
}

TEST_F(SubprocessTest, AFileThatIsNotExecutableIsPermission) {
  const auto result = Spawn(Command({Write("data", "hello", 0644)}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kPermission);
}

TEST_F(SubprocessTest, AMissingInterpreterIsNotAMissingFile) {
  const auto result = Spawn(Command({Write("script", "#!/no/such/interpreter\n", 0755)}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kPermission);
  EXPECT_THAT(result.error().message, HasSubstr("interpreter"));
}

TEST_F(SubprocessTest, AFileThatIsNoProgramSaysSo) {
  const auto result = Spawn(Command({Write("text", "just text", 0755)}));
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().hint, HasSubstr("#!/bin/sh"));
}

TEST_F(SubprocessTest, AMissingWorkingDirectoryIsNamed) {
  auto options = Shell("true");
  options.working_directory = directory_ + "/none";
  const auto result = Spawn(options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(result.error().message, HasSubstr(directory_ + "/none"));
}

TEST_F(SubprocessTest, ARelativeProgramStartsAtTheWorkingDirectory) {
  Write("tool", "#!/bin/sh\necho here\n", 0755);
  auto options = Command({"./tool"});
  options.working_directory = directory_;
  const auto result = RunProgram(options, std::chrono::seconds(20));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "here\n");
}

TEST_F(SubprocessTest, NulBytesAreRefused) {
  const auto result = Spawn(Command({"sh", std::string("a\0b", 3)}));
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kInvalid);
}

TEST_F(SubprocessTest, TheChildHasOnlyTheDescriptorsItWasGiven) {
  const int leaked = open("/dev/null", O_RDONLY);  // on purpose without O_CLOEXEC
  ASSERT_GE(leaked, 3);
  const auto result = RunProgram(Command({"ls", "/proc/self/fd"}), std::chrono::seconds(20));
  close(leaked);
  ASSERT_TRUE(result);
  // 3 is the directory that ls itself reads.
  EXPECT_EQ(result->output, "0\n1\n2\n3\n");
}

TEST_F(SubprocessTest, TheChildsSignalsAreAtTheirDefaults) {
  const auto before = signal(SIGPIPE, SIG_IGN);
  const auto result = RunProgram(Command({"grep", "-E", "SigIgn|SigBlk", "/proc/self/status"}),
                                 std::chrono::seconds(20));
  signal(SIGPIPE, before);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->output, "SigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_F(SubprocessTest, TheChildLeadsASessionOfItsOwn) {
  const auto process = Spawn(Command({"sleep", "1000"}));
  ASSERT_TRUE(process);
  const auto stat = ReadProcessStat(process->pid);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->session, process->pid);
  EXPECT_EQ(stat->group, process->pid);
  auto watch = ProcessWatch::Open(*process);
  ASSERT_TRUE(watch);
  EXPECT_FALSE(watch->Ended());
  watch->Signal(SIGTERM);
  while (!watch->Ended()) std::this_thread::yield();
  EXPECT_EQ(watch->Reap(), (ProcessEnd{.exit_code = {}, .signal = SIGTERM}));
  EXPECT_FALSE(IsAlive(*process));
}

TEST_F(SubprocessTest, TheChildTakesOnCredentials) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  auto options = Shell("id -u; id -g; id -G; umask; grep CapEff /proc/self/status");
  options.credentials = Credentials{65534, 65534, {65534, 12}};
  const auto result = RunProgram(options, std::chrono::seconds(20));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->output, "65534\n65534\n65534 12\n0022\nCapEff:\t0000000000000000\n");
}

TEST_F(SubprocessTest, AFileThatTheUserMayNotRunIsPermission) {
  if (geteuid() != 0) GTEST_SKIP() << "needs root";
  auto options = Command({Write("mine", "#!/bin/sh\n", 0700)});
  options.credentials = Credentials{65534, 65534, {65534}};
  const auto result = Spawn(options);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, ErrorCode::kPermission);
}

TEST_F(SubprocessTest, AFailingPreparationLeavesNoProcess) {
  auto options = Shell("exit 0");
  options.prepare = [] { return ENOSPC; };
  const auto result = Spawn(options);
  ASSERT_FALSE(result);
  EXPECT_THAT(result.error().message, HasSubstr("No space left"));
  EXPECT_EQ(waitpid(-1, nullptr, WNOHANG), -1) << "a child is left";
}

TEST(ProcessTest, APidWithAnotherStartIsAnotherProcess) {
  auto self = ReadProcessStat(getpid());
  ASSERT_TRUE(self);
  EXPECT_TRUE(IsAlive(self->id));
  ProcessId other = self->id;
  ++other.start_ticks;
  EXPECT_FALSE(IsAlive(other));
  const auto watch = ProcessWatch::Open(other);
  ASSERT_FALSE(watch);
  EXPECT_EQ(watch.error().code, ErrorCode::kNotFound);
}

TEST(ProcessTest, AZombieIsNotAlive) {
  const auto process = Spawn(Shell("exit 7"));
  ASSERT_TRUE(process);
  auto watch = ProcessWatch::Open(*process);
  ASSERT_TRUE(watch);
  while (!watch->Ended()) std::this_thread::yield();
  EXPECT_FALSE(IsAlive(*process));
  EXPECT_TRUE(ReadProcessStat(process->pid)) << "it is not reaped yet";
  EXPECT_EQ(watch->Reap(), (ProcessEnd{.exit_code = 7, .signal = {}}));
  EXPECT_FALSE(ReadProcessStat(process->pid));
}

TEST(ProcessTest, TheEnvironmentOfAProcessCanBeRead) {
  auto options = Command({"sleep", "1000"});
  options.environment = {"AB=wrong", "A=right=1", "EMPTY="};
  const auto process = Spawn(options);
  ASSERT_TRUE(process);
  EXPECT_EQ(ReadProcessVariable(process->pid, "A"), "right=1");
  EXPECT_EQ(ReadProcessVariable(process->pid, "EMPTY"), "");
  EXPECT_EQ(ReadProcessVariable(process->pid, "B"), std::nullopt);
  kill(process->pid, SIGKILL);
  waitpid(process->pid, nullptr, 0);
}

TEST(ProcessTest, ACommandMayHoldParentheses) {
  const std::string root = testing::TempDir() + "process_test_root." + std::to_string(getpid());
  std::filesystem::create_directories(root + "/proc/42");
  std::ofstream(root + "/proc/42/stat")
      << "42 (a) R (b c) S 7 8 9 0 -1 0 0 0 0 0 0 0 0 0 20 0 1 0 1234 0 0\n";
  const auto stat = ReadProcessStat(42, root);
  std::ofstream(root + "/proc/42/stat") << "42 (a";
  const auto broken = ReadProcessStat(42, root);
  std::filesystem::remove_all(root);
  ASSERT_TRUE(stat);
  EXPECT_EQ(stat->command, "a) R (b c");
  EXPECT_EQ(stat->state, 'S');
  EXPECT_EQ(stat->parent, 7);
  EXPECT_EQ(stat->group, 8);
  EXPECT_EQ(stat->session, 9);
  EXPECT_EQ(stat->id.start_ticks, 1234u);
  EXPECT_FALSE(broken);
}

}  // namespace
}  // namespace tranche
