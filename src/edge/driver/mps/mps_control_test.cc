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

#include "edge/driver/mps/simulated_machine.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

// The control program of a simulated machine of its own.
class MpsControlTest : public testing::Test {
 protected:
  void SetUp() override {
    files_ = {sim_.folder() + "/run/pipe", sim_.folder() + "/run/log"};
    MakeMachine("580");
  }
  void MakeMachine(const std::string& driver) {
    sim_.Make(driver);
    auto control = MpsControl::Find(
        TRANCHE_SIM_PROGRAMS, {"TRANCHE_SIM_DIR=" + sim_.machine(), "CUDA_VISIBLE_DEVICES=none",
                               "CUDA_MPS_PIPE_DIRECTORY=/elsewhere"});
    ASSERT_TRUE(control) << control.error().message;
    control_.emplace(std::move(*control));
  }
  void TearDown() override {
    if (const auto daemon = MpsControl::Daemon(files_.pipe_directory)) kill(daemon->pid, SIGKILL);
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
  static bool Eventually(const std::function<bool()>& done) {
    return SimulatedMachine::Eventually(done);
  }

  SimulatedMachine sim_;
  MpsDaemonFiles files_;
  std::optional<MpsControl> control_;
};

TEST_F(MpsControlTest, IsFoundOnThePath) {
  EXPECT_EQ(control_->program(), std::string(TRANCHE_SIM_PROGRAMS) + "/nvidia-cuda-mps-control");
  const auto version = control_->Version();
  ASSERT_TRUE(version) << version.error().message;
  EXPECT_EQ(*version, 13000);
  const auto none = MpsControl::Find("/nowhere:" + sim_.folder(), {});
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
  const pid_t client = sim_.StartClient(files_.pipe_directory);
  const int server = ServerOnceThere();
  EXPECT_THAT(*control_->Clients(files_, server), ElementsAre(client));
  EXPECT_FALSE(*control_->IsFaulted(files_, server));
  const Status quit = control_->Quit(files_);
  ASSERT_FALSE(quit);
  EXPECT_EQ(quit.error().code, ErrorCode::kBusy);
  EXPECT_TRUE(MpsControl::Daemon(files_.pipe_directory));
  EXPECT_FALSE(control_->TerminateClient(files_, server, 1));
  EXPECT_TRUE(control_->TerminateClient(files_, server, client));
  EXPECT_TRUE(Eventually([&] { return sim_.HasEnded(client); })) << "it is told, and ends";
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
  sim_.StartClient(files_.pipe_directory);
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
  const std::string uuid = sim_.UuidOfGpu(0);
  ASSERT_TRUE(control_->Start(files_, uuid, {MpsProtocol::kText, true}));
  const auto empty = control_->Partitions(files_, uuid);
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
  const auto both = control_->Partitions(files_, uuid);
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
  const auto old = control_->Start(files_, "0", {MpsProtocol::kText, true});
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(old.error().message, HasSubstr("CUDA 13.0 has no static partitions"));
  ASSERT_TRUE(control_->Start(files_, "0"));
  EXPECT_EQ(control_->Partitions(files_, sim_.UuidOfGpu(0)).error().code, ErrorCode::kUnsupported);
}

TEST_F(MpsControlTest, NamespacesComeWithANewerProgram) {
  const auto old = control_->Start(files_, "0", {MpsProtocol::kNamed, false});
  ASSERT_FALSE(old);
  EXPECT_EQ(old.error().code, ErrorCode::kUnsupported);
  EXPECT_EQ(old.error().message, "nvidia-cuda-mps-control of CUDA 13.0 has no namespaces");
  EXPECT_THAT(old.error().hint, HasSubstr("CUDA 13.4"));
  EXPECT_FALSE(MpsControl::KindOf(files_.pipe_directory));
}

class MpsNamespacesTest : public MpsControlTest {
 protected:
  void SetUp() override {
    MpsControlTest::SetUp();
    MakeMachine("615");
    ASSERT_TRUE(control_->Start(files_, sim_.UuidOfGpu(0), {MpsProtocol::kNamed, false}));
  }
  const std::string server_ = "uid_" + std::to_string(geteuid());
};

TEST_F(MpsNamespacesTest, ADaemonIsKnownByWhatItWasStartedAs) {
  EXPECT_EQ(MpsControl::KindOf(files_.pipe_directory), (MpsDaemonKind{MpsProtocol::kNamed, false}));
  const MpsDaemonFiles other = {sim_.folder() + "/other", sim_.folder() + "/other/log"};
  ASSERT_TRUE(control_->Start(other, sim_.UuidOfGpu(1), {MpsProtocol::kText, true}));
  EXPECT_EQ(MpsControl::KindOf(other.pipe_directory), (MpsDaemonKind{MpsProtocol::kText, true}));
  EXPECT_TRUE(control_->Quit(other));
  EXPECT_TRUE(control_->Quit(files_));
  EXPECT_FALSE(MpsControl::Daemon(files_.pipe_directory));
}

TEST_F(MpsNamespacesTest, TheServerOfAUserIsMadeOnce) {
  EXPECT_TRUE(control_->Servers(files_)->empty());
  ASSERT_EQ(*control_->EnsureServer(files_, geteuid()), server_);
  const auto servers = control_->Servers(files_);
  ASSERT_TRUE(servers) << servers.error().message;
  ASSERT_EQ(servers->size(), 1u);
  EXPECT_EQ(servers->front().name, server_);
  EXPECT_EQ(**control_->Server(files_), servers->front().pid);
  ASSERT_TRUE(control_->EnsureServer(files_, geteuid()));
  EXPECT_EQ(*control_->Servers(files_), *servers);
  EXPECT_TRUE(control_->RemoveServer(files_, server_));
  EXPECT_TRUE(control_->Servers(files_)->empty());
  EXPECT_TRUE(control_->RemoveServer(files_, server_)) << "it is gone, as was asked";
}

TEST_F(MpsNamespacesTest, LimitsAreTakenAndReadBack) {
  ASSERT_TRUE(control_->EnsureServer(files_, geteuid()));
  const auto folder = control_->SetNamespace(files_, server_, "tr_one", {30, GiB(8), true});
  ASSERT_TRUE(folder) << folder.error().message;
  EXPECT_EQ(*folder, files_.pipe_directory + "/" + server_ + "/tr_one");
  ASSERT_TRUE(control_->SetNamespace(files_, server_, "default", {1, MiB(1), false}));
  ASSERT_TRUE(control_->SetNamespace(files_, server_, "tr_one", {40, GiB(8), false}));
  const auto all = control_->Namespaces(files_, server_);
  ASSERT_TRUE(all) << all.error().message;
  EXPECT_THAT(*all, testing::UnorderedElementsAre(
                        MpsNamespace{"tr_one", GiB(8), 40.0, *folder},
                        MpsNamespace{"default", MiB(1), 1.0,
                                     files_.pipe_directory + "/" + server_ + "/default"}));
  const auto nonsense = control_->SetNamespace(files_, server_, "tr_one", {150, GiB(8), false});
  ASSERT_FALSE(nonsense);
  EXPECT_THAT(nonsense.error().message, HasSubstr("namespace set tr_one"));
  EXPECT_FALSE(control_->SetNamespace(files_, server_, "Not-A-Name", {40, GiB(8), false}));
  EXPECT_FALSE(control_->SetNamespace(files_, "nobody", "tr_one", {40, GiB(8), false}));
  EXPECT_TRUE(control_->RemoveNamespace(files_, server_, "tr_one"));
  EXPECT_FALSE(control_->RemoveNamespace(files_, server_, "tr_one"));
}

TEST_F(MpsNamespacesTest, ClientsKeepTheirNamespaceTheirServerAndTheDaemon) {
  ASSERT_TRUE(control_->EnsureServer(files_, geteuid()));
  const auto folder = control_->SetNamespace(files_, server_, "tr_one", {30, GiB(8), false});
  ASSERT_TRUE(folder);
  const pid_t client = sim_.StartClient(*folder);
  const int server = ServerOnceThere();
  EXPECT_THAT(*control_->Clients(files_, server), ElementsAre(client));
  EXPECT_FALSE(*control_->IsFaulted(files_, server));
  EXPECT_FALSE(control_->Clients(files_, 1));
  EXPECT_FALSE(control_->RemoveNamespace(files_, server_, "tr_one"));
  EXPECT_EQ(control_->RemoveServer(files_, server_).error().code, ErrorCode::kBusy);
  EXPECT_EQ(control_->Quit(files_).error().code, ErrorCode::kBusy);
  EXPECT_FALSE(control_->TerminateClient(files_, server, 1));
  ASSERT_TRUE(control_->TerminateClient(files_, server, client));
  EXPECT_TRUE(Eventually([&] { return sim_.HasEnded(client); }));
  EXPECT_TRUE(
      Eventually([&] { return bool(control_->RemoveNamespace(files_, server_, "tr_one")); }));
  EXPECT_TRUE(control_->Quit(files_));
}

TEST_F(MpsNamespacesTest, AServerThatEndsAtOnceIsNoServer) {
  // Its GPU is for one process, and there is one.
  const MpsDaemonFiles other = {sim_.folder() + "/other", sim_.folder() + "/other/log"};
  ASSERT_TRUE(control_->Start(other, sim_.UuidOfGpu(0), {MpsProtocol::kNamed, false}));
  ASSERT_TRUE(control_->EnsureServer(other, geteuid()));
  const std::string exclusive =
      "'" TRANCHE_SIM "' exec '" + sim_.machine() + "' -- nvidia-smi -i 0 -c 3 >/dev/null";
  ASSERT_EQ(system(exclusive.c_str()), 0);
  const auto refused = control_->EnsureServer(files_, geteuid());
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("is not ready"));
  EXPECT_THAT(refused.error().hint, HasSubstr(files_.log_directory + "/" + server_));
  EXPECT_TRUE(control_->Quit(other));
}

TEST_F(MpsControlTest, WhoTalksToADaemonIsNone) {
  ASSERT_TRUE(control_->Start(files_, "0"));
  int in[2];
  ASSERT_EQ(pipe(in), 0);
  const pid_t talker = fork();
  if (talker == 0) {
    dup2(in[0], 0);
    close(in[1]);
    setenv("TRANCHE_SIM_DIR", sim_.machine().c_str(), 1);
    execl(control_->program().c_str(), "nvidia-cuda-mps-control", nullptr);
    _exit(127);
  }
  setenv("TRANCHE_SIM_DIR", sim_.machine().c_str(), 1);
  EXPECT_TRUE(Eventually([&] {
    const auto stat = ReadProcessStat(talker);
    return stat && stat->command == "nvidia-cuda-mps";
  }));
  EXPECT_THAT(FindMpsDaemons(),
              testing::Not(testing::Contains(testing::Field(&FoundMpsDaemon::pid, talker))));
  EXPECT_EQ(FindMpsDaemons().size(), 1u);
  unsetenv("TRANCHE_SIM_DIR");
  close(in[0]);
  close(in[1]);
  waitpid(talker, nullptr, 0);
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
  sim_.StartClient(files_.pipe_directory);
  ServerOnceThere();
  EXPECT_THAT(FindMpsDaemons(),
              testing::Not(testing::Contains(testing::Field(&FoundMpsDaemon::pid, daemon->pid))))
      << "it is of another machine";
  setenv("TRANCHE_SIM_DIR", sim_.machine().c_str(), 1);
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
