#include "edge/driver/mps/mps_control.h"

#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <thread>

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The control program of a simulated machine of its own.
class MpsControlTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "tranche_mps_XXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    folder_ = pattern;
    files_ = {folder_ + "/run/pipe", folder_ + "/run/log"};
    MakeMachine("580");
  }
  void MakeMachine(const std::string& driver) {
    machine_ = folder_ + "/m" + driver;
    const std::string command = "'" TRANCHE_SIM "' create '" + machine_ +
                                "' --gpu H100-SXM5-80GB:2 --driver " + driver + " >/dev/null";
    ASSERT_EQ(system(command.c_str()), 0);
    auto control = MpsControl::Find(TRANCHE_SIM_PROGRAMS,
                                    {"TRANCHE_SIM_DIR=" + machine_, "CUDA_VISIBLE_DEVICES=none",
                                     "CUDA_MPS_PIPE_DIRECTORY=/elsewhere"});
    ASSERT_TRUE(control) << control.error().message;
    control_.emplace(std::move(*control));
  }
  void TearDown() override {
    for (const pid_t client : clients_) End(client);
    if (const auto daemon = MpsControl::Daemon(files_.pipe_directory)) kill(daemon->pid, SIGKILL);
    std::error_code ignored;
    std::filesystem::remove_all(folder_, ignored);
  }

  std::string UuidOfGpu(int index) {
    const std::string command = "'" TRANCHE_SIM "' show '" + machine_ + "' -o json";
    std::string text;
    FILE* pipe = popen(command.c_str(), "r");
    for (char some[4096]; pipe != nullptr && fgets(some, sizeof(some), pipe) != nullptr;)
      text += some;
    if (pipe != nullptr) pclose(pipe);
    size_t at = 0;
    for (int i = 0; i <= index; ++i) at = text.find("\"GPU-", at + 1);
    return text.substr(at + 1, text.find('"', at + 1) - at - 1);
  }

  // A program that uses the GPU until it is ended.
  pid_t StartClient() {
    const pid_t child = fork();
    if (child == 0) {
      setenv("CUDA_MPS_PIPE_DIRECTORY", files_.pipe_directory.c_str(), 1);
      freopen("/dev/null", "w", stdout);
      freopen("/dev/null", "w", stderr);
      execl(TRANCHE_SIM, "tranche-sim", "exec", machine_.c_str(), "--", TRANCHE_GPU_SHARER, "sync",
            "1000", "132", "60000", nullptr);
      _exit(127);
    }
    clients_.push_back(child);
    return child;
  }
  void End(pid_t client) {
    kill(client, SIGKILL);
    waitpid(client, nullptr, 0);
    std::erase(clients_, client);
  }
  static bool Eventually(const std::function<bool()>& done) {
    for (int i = 0; i < 500; ++i) {
      if (done()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
    }
    return false;
  }
  int ServerOnceThere() {
    int pid = 0;
    EXPECT_TRUE(Eventually([&] {
      const auto server = control_->Server(files_);
      if (!server || !*server) return false;
      pid = **server;
      const auto clients = control_->Clients(files_, pid);
      return clients && !clients->empty();
    }));
    return pid;
  }

  std::string folder_, machine_;
  MpsDaemonFiles files_;
  std::optional<MpsControl> control_;
  std::vector<pid_t> clients_;
};

TEST_F(MpsControlTest, IsFoundOnThePath) {
  EXPECT_EQ(control_->program(), std::string(TRANCHE_SIM_PROGRAMS) + "/nvidia-cuda-mps-control");
  const auto version = control_->Version();
  ASSERT_TRUE(version) << version.error().message;
  EXPECT_EQ(*version, 13000);
  const auto none = MpsControl::Find("/nowhere:" + folder_, {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kUnsupported);
}

TEST_F(MpsControlTest, ADaemonLivesUntilItIsToldToQuit) {
  EXPECT_FALSE(MpsControl::Daemon(files_.pipe_directory));
  EXPECT_TRUE(control_->Quit(files_)) << "there is nothing to end";
  const auto silent = control_->Server(files_);
  ASSERT_FALSE(silent);
  EXPECT_EQ(silent.error().code, ErrorCode::kUnavailable);

  const auto daemon = control_->Start(files_, "0");
  ASSERT_TRUE(daemon) << daemon.error().message;
  EXPECT_EQ(MpsControl::Daemon(files_.pipe_directory), *daemon);
  const auto again = control_->Start(files_, "0");
  ASSERT_FALSE(again);
  EXPECT_EQ(again.error().code, ErrorCode::kBusy);
  ASSERT_TRUE(control_->Server(files_));
  EXPECT_FALSE(control_->Server(files_)->has_value()) << "no client came yet";
  ASSERT_TRUE(control_->Quit(files_));
  EXPECT_FALSE(IsAlive(*daemon));
  EXPECT_FALSE(MpsControl::Daemon(files_.pipe_directory));
}

TEST_F(MpsControlTest, IsNotToldToQuitWhileProgramsUseIt) {
  ASSERT_TRUE(control_->Start(files_, "0"));
  ASSERT_TRUE(control_->SetDefaults(files_, {50, GiB(10), true}));
  const pid_t client = StartClient();
  const int server = ServerOnceThere();
  EXPECT_THAT(*control_->Clients(files_, server), ElementsAre(client));
  EXPECT_FALSE(*control_->IsFaulted(files_, server));
  const Status quit = control_->Quit(files_);
  ASSERT_FALSE(quit);
  EXPECT_EQ(quit.error().code, ErrorCode::kBusy);
  EXPECT_TRUE(MpsControl::Daemon(files_.pipe_directory));
  EXPECT_FALSE(control_->TerminateClient(files_, server, 1));
  EXPECT_TRUE(control_->TerminateClient(files_, server, client));
  EXPECT_TRUE(Eventually([&] { return waitpid(client, nullptr, WNOHANG) == client; }))
      << "it is told, and ends";
  std::erase(clients_, client);
  EXPECT_TRUE(control_->Quit(files_));
}

TEST_F(MpsControlTest, NonsenseIsNotTakenForALimit) {
  ASSERT_TRUE(control_->Start(files_, "0"));
  const Status set = control_->SetDefaults(files_, {150, std::nullopt, false});
  ASSERT_FALSE(set);
  EXPECT_THAT(set.error().message, HasSubstr("did not take"));
}

TEST_F(MpsControlTest, LimitsOfARunningServerAreForWhoComesNext) {
  ASSERT_TRUE(control_->Start(files_, "0"));
  StartClient();
  const int server = ServerOnceThere();
  EXPECT_TRUE(control_->SetLimits(files_, server, {40, GiB(10), false}));
  EXPECT_TRUE(control_->SetLimits(files_, server, {std::nullopt, GiB(10), false}));
  EXPECT_FALSE(control_->SetLimits(files_, 1, {std::nullopt, GiB(10), false}));
  const Status nonsense = control_->SetLimits(files_, server, {150, std::nullopt, false});
  ASSERT_FALSE(nonsense);
  EXPECT_THAT(nonsense.error().message, HasSubstr("did not take its limits"));
  const Status gone = control_->SetLimits(files_, 1, {40, std::nullopt, false});
  ASSERT_FALSE(gone);
  EXPECT_THAT(gone.error().message, HasSubstr("Server not found"));
}

TEST_F(MpsControlTest, PartitionsAreMadeListedAndRemoved) {
  MakeMachine("615");
  const std::string uuid = UuidOfGpu(0);
  ASSERT_TRUE(control_->Start(files_, uuid, true, true));
  const auto empty = control_->Partitions(files_);
  ASSERT_TRUE(empty) << empty.error().message;
  EXPECT_EQ(empty->chunks, 16);
  EXPECT_EQ(empty->sms, 128);
  EXPECT_TRUE(empty->list.empty());
  const auto first = control_->AddPartition(files_, uuid, 5);
  ASSERT_TRUE(first) << first.error().message;
  EXPECT_THAT(*first, testing::StartsWith(uuid + "/"));
  const auto second = control_->AddPartition(files_, uuid, 11);
  ASSERT_TRUE(second);
  EXPECT_EQ(control_->AddPartition(files_, uuid, 1).error().code, ErrorCode::kDoesNotFit);
  const auto both = control_->Partitions(files_);
  ASSERT_EQ(both->list.size(), 2u);
  EXPECT_EQ(both->list[0].name, *first);
  EXPECT_EQ(both->list[0].chunks, 5);
  EXPECT_EQ(both->chunks, 16);
  EXPECT_TRUE(control_->RemovePartition(files_, *first));
  EXPECT_FALSE(control_->RemovePartition(files_, *first));
  EXPECT_FALSE(control_->RemovePartition(files_, "nonsense"));
  EXPECT_TRUE(control_->AddPartition(files_, uuid, 5));
}

TEST_F(MpsControlTest, WithoutPartitionsItSaysSo) {
  const auto old = control_->Start(files_, "0", true, true);
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(old.error().message, HasSubstr("CUDA 13.0 has no static partitions"));
  ASSERT_TRUE(control_->Start(files_, "0"));
  EXPECT_EQ(control_->Partitions(files_).error().code, ErrorCode::kUnsupported);
}

TEST_F(MpsControlTest, AStrangersPidFileIsNoDaemon) {
  std::filesystem::create_directories(files_.pipe_directory);
  std::ofstream(files_.pipe_directory + "/nvidia-cuda-mps-control.pid") << getpid() << "\n";
  EXPECT_FALSE(MpsControl::Daemon(files_.pipe_directory));
  std::ofstream(files_.pipe_directory + "/nvidia-cuda-mps-control.pid") << "nonsense\n";
  EXPECT_FALSE(MpsControl::Daemon(files_.pipe_directory));
}

TEST_F(MpsControlTest, DaemonsOfTheMachineAreFound) {
  const auto daemon = control_->Start(files_, "1");
  ASSERT_TRUE(daemon);
  StartClient();
  ServerOnceThere();
  EXPECT_THAT(FindMpsDaemons(),
              testing::Not(testing::Contains(testing::Field(&FoundMpsDaemon::pid, daemon->pid))))
      << "it is of another machine";
  setenv("TRANCHE_SIM_DIR", machine_.c_str(), 1);
  const FoundMpsDaemon expected = {daemon->pid, true, files_.pipe_directory, "1"};
  EXPECT_THAT(FindMpsDaemons(), ElementsAre(expected));
  for (const FoundMpsDaemon& found : FindMpsDaemons()) {
    EXPECT_NE(found.pid, **control_->Server(files_)) << "its server is no daemon";
  }
  unsetenv("TRANCHE_SIM_DIR");
}

TEST_F(MpsControlTest, ADaemonThatEndsIsNeverTakenForAnotherMachines) {
  // This process is of no simulated machine.
  const std::vector<FoundMpsDaemon> others = FindMpsDaemons();
  std::atomic<bool> over{false};
  int started = 0;
  std::thread starter([&] {
    for (int i = 0; i < 20; ++i) {
      if (const auto daemon = control_->Start(files_, "0")) ++started, kill(daemon->pid, SIGKILL);
      while (MpsControl::Daemon(files_.pipe_directory)) std::this_thread::yield();
    }
    over = true;
  });
  while (!over) EXPECT_EQ(FindMpsDaemons(), others);
  starter.join();
  EXPECT_EQ(started, 20);
}

}  // namespace
}  // namespace tranche
