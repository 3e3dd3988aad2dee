#include "sim/machine/mps.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>

#include "sim/machine/process_table.h"
#include "sim/machine/sm_partitions.h"
#include "sim/test/scratch.h"

namespace tranche::sim {
namespace {

// A daemon of protocol 3, which is this process, and servers that are children of it.
class MpsTest : public testing::Test {
 protected:
  void SetUp() override {
    const std::string dir = scratch_.path() + "/machine";
    ASSERT_TRUE(Machine::Create(dir, SpecOf("H100-SXM5-80GB")));
    auto machine = Machine::Open(dir);
    ASSERT_TRUE(machine) << machine.error().message;
    machine_ = std::move(*machine);
    daemon_ = AddDaemon(Self(), "/pipe", 3);
  }
  void TearDown() override {
    while (!children_.empty()) End(children_.back());
  }

  static Watched Self() { return Watch(getpid()); }
  static Watched Watch(pid_t pid) {
    Process process;
    EXPECT_TRUE(DescribeProcess(static_cast<uint32_t>(pid), &process));
    return {process.pid, process.start_ticks};
  }
  pid_t Child() {
    const pid_t child = fork();
    if (child == 0) {
      pause();
      _exit(0);
    }
    children_.push_back(child);
    return child;
  }
  void End(pid_t child) {
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
    std::erase(children_, child);
  }
  uint64_t AddDaemon(Watched process, const std::string& pipe, uint32_t protocol) {
    MpsDaemon wanted;
    wanted.process = process;
    wanted.protocol = protocol;
    pipe.copy(wanted.pipe_directory, pipe.size());
    uint64_t serial = 0;
    EXPECT_EQ(machine_->Update(
                  [&](MachineState& state) { return StartMpsDaemon(&state, wanted, &serial); }),
              Rc::kOk);
    return serial;
  }
  Rc TryServer(const std::string& name, pid_t process, uint64_t* serial) {
    MpsServer wanted;
    wanted.daemon = daemon_;
    wanted.process = process == 0 ? Watched{} : Watch(process);
    wanted.ready = process == 0 ? 0 : 1;
    wanted.gpus = 1;
    const std::string pipe = "/pipe/" + name;
    name.copy(wanted.name, name.size());
    pipe.copy(wanted.pipe_directory, pipe.size());
    return machine_->Update([&](MachineState& state) {
      return StartMpsServer(machine_->spec(), &state, wanted, serial);
    });
  }
  uint64_t AddServer(const std::string& name, pid_t process) {
    uint64_t serial = 0;
    EXPECT_EQ(TryServer(name, process, &serial), Rc::kOk) << name;
    return serial;
  }
  MpsRoute Route(const std::string& pipe, uint32_t uid = 1000) {
    MpsRoute route;
    machine_->Read([&](const MachineState& state) {
      route = RouteMpsClient(state, pipe, uid);
      return Rc::kOk;
    });
    return route;
  }

  ScratchDir scratch_;
  std::unique_ptr<Machine> machine_;
  uint64_t daemon_ = 0;
  std::vector<pid_t> children_;
};

TEST_F(MpsTest, ADirectoryIsADaemonsAServersOrANamespaces) {
  const uint64_t server = AddServer("training", Child());
  machine_->Update([&](MachineState& state) { return AddMpsNamespace(&state, server, "batch"); });
  for (const char* pipe : {"/pipe/training", "/pipe/training/", "/pipe/training/default"}) {
    EXPECT_EQ(Route(pipe).server, server) << pipe;
    EXPECT_TRUE(Route(pipe).up);
    EXPECT_EQ(Route(pipe).name_space, Route("/pipe/training").name_space);
  }
  EXPECT_EQ(Route("/pipe/training/batch").server, server);
  EXPECT_NE(Route("/pipe/training/batch").name_space, Route("/pipe/training").name_space);
  for (const char* pipe :
       {"/pipe/training/none", "/pipe/none", "/none", "/pipe/training/batch/x", "x"}) {
    EXPECT_EQ(Route(pipe).server, 0u) << pipe;
    EXPECT_EQ(Route(pipe).daemon, 0u) << pipe;
  }
}

TEST_F(MpsTest, ADaemonSendsProgramsToTheServerOfTheirUser) {
  EXPECT_EQ(Route("/pipe").daemon, daemon_);
  EXPECT_EQ(Route("/pipe").server, 0u) << "which may be made";
  const uint64_t server = AddServer("uid_1000", Child());
  EXPECT_EQ(Route("/pipe").server, server);
  EXPECT_EQ(Route("/pipe", 1001).server, 0u);
  machine_->Update([&](MachineState& state) {
    state.mps_daemons[0].any_user = 1;
    return Rc::kOk;
  });
  EXPECT_EQ(Route("/pipe").server, 0u) << "for everybody there is root's";
}

TEST_F(MpsTest, AServerThatIsStartedIsNotUpYet) {
  const uint64_t server = AddServer("training", 0);
  EXPECT_EQ(Route("/pipe/training").server, server);
  EXPECT_FALSE(Route("/pipe/training").up);
}

TEST_F(MpsTest, WhatDiesIsForgottenWithAllThatIsItsOwn) {
  const pid_t process = Child();
  const uint64_t server = AddServer("training", process), other = AddServer("other", Child());
  SmPartition partition;
  partition.server = server;
  partition.chunks = 4;
  partition.protocol = 3;
  EXPECT_EQ(machine_->Update([&](MachineState& state) {
    return AddSmPartition(machine_->spec(), &state, partition, nullptr);
  }),
            Rc::kOk);
  End(process);
  machine_->Read([&](const MachineState& state) {
    EXPECT_EQ(FindMpsServer(state, server), nullptr);
    EXPECT_TRUE(MpsNamespacesOf(state, server).empty());
    EXPECT_EQ(UsedChunks(state, server, 0), 0u);
    EXPECT_EQ(MpsNamespacesOf(state, other).size(), 1u);
    return Rc::kOk;
  });
  EXPECT_EQ(Route("/pipe/training").server, 0u);

  // And a daemon that dies takes its servers along.
  const pid_t second = Child();
  daemon_ = AddDaemon(Watch(second), "/pipe/second", 3);
  const uint64_t left = AddServer("left", Child());
  End(second);
  machine_->Read([&](const MachineState& state) {
    EXPECT_EQ(FindMpsServer(state, left), nullptr);
    EXPECT_NE(FindMpsServer(state, other), nullptr);
    return Rc::kOk;
  });
}

TEST_F(MpsTest, ADirectoryHasOneOwner) {
  AddServer("training", Child());
  uint64_t serial = 0;
  EXPECT_EQ(TryServer("training", 0, &serial), Rc::kInvalid);
  MpsDaemon daemon;
  daemon.process = Self();
  for (const char* pipe : {"/pipe", "/pipe/training", ""}) {
    std::strcpy(daemon.pipe_directory, pipe);
    EXPECT_EQ(machine_->Update(
                  [&](MachineState& state) { return StartMpsDaemon(&state, daemon, &serial); }),
              Rc::kInvalid)
        << pipe;
  }
}

TEST_F(MpsTest, ThereAreOnlySoManyServersAndNamespaces) {
  const pid_t process = Child();
  const uint64_t first = AddServer("server_1", process);
  machine_->Update([&](MachineState& state) {
    for (uint32_t i = 1; i < kMaxMpsNamespacesOfServer; ++i)
      EXPECT_EQ(AddMpsNamespace(&state, first, "n" + std::to_string(i)), Rc::kOk);
    EXPECT_EQ(AddMpsNamespace(&state, first, "n1"), Rc::kInvalid);
    EXPECT_EQ(AddMpsNamespace(&state, first, "one_more"), Rc::kInsufficientResources);
    return Rc::kOk;
  });
  for (uint32_t i = 2; i <= kMaxMpsServers; ++i) AddServer("server_" + std::to_string(i), process);
  uint64_t serial = 0;
  EXPECT_EQ(TryServer("one_more", process, &serial), Rc::kInsufficientResources);
  EXPECT_EQ(Route("/pipe/one_more").server, 0u);
}

}  // namespace
}  // namespace tranche::sim
