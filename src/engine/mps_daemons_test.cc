#include "engine/mps_daemons.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "edge/driver/mps/simulated_machine.h"

namespace tranche {
namespace {

using testing::HasSubstr;
using testing::UnorderedElementsAre;

const uint32_t kUser = geteuid();

MpsTenant Tenant(const std::string& lease, int percentage, Bytes memory) {
  return {lease, kUser, {percentage, memory, false}};
}

// Daemons of a simulated machine whose control program is the one on the path.
class MpsDaemonsTest : public testing::Test {
 protected:
  void MakeMachine(const std::string& driver) {
    sim_.Make(driver);
    setenv("TRANCHE_SIM_DIR", sim_.machine().c_str(), 1);
    gpu_ = sim_.UuidOfGpu(0);
  }
  void SetUp() override {
    path_ = getenv("PATH");
    setenv("PATH", (std::string(TRANCHE_SIM_PROGRAMS) + ":" + path_).c_str(), 1);
  }
  void TearDown() override {
    if (const auto daemon = MpsControl::Daemon(Files().pipe_directory)) kill(daemon->pid, SIGKILL);
    setenv("PATH", path_.c_str(), 1);
    unsetenv("TRANCHE_SIM_DIR");
  }
  MpsDaemonFiles Files() const {
    const std::string folder = sim_.folder() + "/mps/" + gpu_.substr(0, 12);
    return {folder, folder + "/log"};
  }
  std::vector<std::string> Namespaces() const {
    std::vector<std::string> names;
    const std::string server = "uid_" + std::to_string(kUser);
    const auto all = FindMpsControl()->Namespaces(Files(), server);
    EXPECT_TRUE(all) << all.error().message;
    for (const MpsNamespace& one : *all) names.push_back(one.name);
    return names;
  }
  int Ceiling() { return daemons().CeilingsOn(gpu_)->most.thread_percentage.value_or(-1); }
  MpsDaemons& daemons() {
    if (!daemons_) daemons_.emplace(sim_.folder());
    return *daemons_;
  }

  SimulatedMachine sim_;
  std::string path_, gpu_;
  std::optional<MpsDaemons> daemons_;
};

TEST(MpsNamespace, IsShortPlainAndNobodyElses) {
  const std::string one = MpsNamespaceOf("My-Model.large@0");
  EXPECT_THAT(one, testing::MatchesRegex("tr_[a-z0-9_]*"));
  EXPECT_EQ(one.size(), std::string("tr_").size() + 8 + 9);
  EXPECT_NE(one, MpsNamespaceOf("my-model.large@0"));
  EXPECT_NE(MpsNamespaceOf("a@1"), MpsNamespaceOf("a@2"));
  EXPECT_EQ(one, MpsNamespaceOf("My-Model.large@0"));
}

TEST_F(MpsDaemonsTest, TheCeilingIsThatOfTheLargestWhoIsThere) {
  MakeMachine("580");
  const auto place = daemons().Ensure(gpu_, Tenant("a@0", 30, GiB(10)));
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_FALSE(place->apart);
  EXPECT_EQ(Ceiling(), 30);
  // It has no lease yet, and is not forgotten for that.
  daemons().Settle(gpu_, {});
  ASSERT_TRUE(daemons().Ensure(gpu_, Tenant("b@0", 20, GiB(20))));
  EXPECT_EQ(Ceiling(), 30);
  EXPECT_EQ(daemons().CeilingsOn(gpu_)->most.memory, GiB(20));
  daemons().Settle(gpu_, {Tenant("a@0", 30, GiB(10)), Tenant("b@0", 20, GiB(20))});
  EXPECT_EQ(Ceiling(), 30);
  daemons().Settle(gpu_, {Tenant("b@0", 20, GiB(20))});
  EXPECT_EQ(Ceiling(), 20);
  // Nor is it thought to come for ever: it had its lease, and none any more.
  ASSERT_TRUE(daemons().Ensure(gpu_, Tenant("d@0", 70, GiB(1))));
  daemons().Arrive(gpu_, "d@0");
  daemons().Settle(gpu_, {Tenant("b@0", 20, GiB(20))});
  EXPECT_EQ(Ceiling(), 20);
  // One that came to nothing needs no room.
  ASSERT_TRUE(daemons().Ensure(gpu_, Tenant("c@0", 90, GiB(1))));
  EXPECT_EQ(Ceiling(), 90);
  daemons().Leave(gpu_, "c@0");
  daemons().Settle(gpu_, {Tenant("b@0", 20, GiB(20))});
  EXPECT_EQ(Ceiling(), 20);
}

TEST_F(MpsDaemonsTest, ANewDaemonOfOursFindsWhoIsThere) {
  MakeMachine("580");
  ASSERT_TRUE(daemons().Ensure(gpu_, Tenant("a@0", 60, GiB(10))));
  daemons_.emplace(sim_.folder());
  daemons().Settle(gpu_, {Tenant("b@0", 20, GiB(20))});
  EXPECT_EQ(Ceiling(), 20) << "the one of 60 % has gone meanwhile";
}

TEST_F(MpsDaemonsTest, EachHasANamespaceThatGoesWithIt) {
  MakeMachine("615");
  const auto one = daemons().Ensure(gpu_, Tenant("one@0", 30, GiB(10)));
  ASSERT_TRUE(one) << one.error().message;
  EXPECT_TRUE(one->apart);
  EXPECT_THAT(one->files.pipe_directory, HasSubstr(MpsNamespaceOf("one@0")));
  ASSERT_TRUE(daemons().Ensure(gpu_, Tenant("two@0", 100, GiB(10))));
  // Made by somebody's hand: not ours to take away.
  const std::string server = "uid_" + std::to_string(kUser);
  ASSERT_TRUE(FindMpsControl()->SetNamespace(Files(), server, "by_hand", {5, GiB(1), false}));
  daemons().Settle(gpu_, {Tenant("one@0", 30, GiB(10)), Tenant("two@0", 100, GiB(10))});
  EXPECT_THAT(Namespaces(), UnorderedElementsAre("default", "by_hand", MpsNamespaceOf("one@0"),
                                                 MpsNamespaceOf("two@0")));
  // While its programs are there it stays.
  const pid_t client = sim_.StartClient(one->files.pipe_directory);
  const auto has_client = [&] {
    const auto running = FindMpsControl()->Server(Files());
    const auto clients = FindMpsControl()->Clients(Files(), **running);
    return clients && !clients->empty();
  };
  ASSERT_TRUE(SimulatedMachine::Eventually(has_client));
  daemons().Settle(gpu_, {});
  EXPECT_THAT(Namespaces(), UnorderedElementsAre("default", "by_hand", MpsNamespaceOf("one@0")));
  sim_.End(client);
  EXPECT_TRUE(SimulatedMachine::Eventually([&] {
    daemons().Settle(gpu_, {});
    return Namespaces().size() == 2;
  }));
}

TEST_F(MpsDaemonsTest, AServerThatDiesBeforeAnybodyLookedIsMissed) {
  MakeMachine("615");
  ASSERT_TRUE(daemons().Ensure(gpu_, Tenant("one@0", 30, GiB(10))));
  const int server = **FindMpsControl()->Server(Files());
  kill(server, SIGKILL);
  ASSERT_TRUE(SimulatedMachine::Eventually([&] { return !ReadProcessStat(server); }));
  const auto troubles = daemons().Look({gpu_});
  ASSERT_EQ(troubles.size(), 1u);
  EXPECT_EQ(troubles[0].device_uuid, gpu_);
  EXPECT_THAT(troubles[0].what, HasSubstr("(pid " + std::to_string(server) + ") died"));
  EXPECT_TRUE(daemons().Look({gpu_}).empty()) << "it is said once";
}

TEST_F(MpsDaemonsTest, AnOlderProtocolInUseIsLeftAsItIs) {
  MakeMachine("615");
  const auto control = FindMpsControl();
  ASSERT_TRUE(control->Start(Files(), gpu_));
  const pid_t client = sim_.StartClient(Files().pipe_directory);
  ASSERT_TRUE(SimulatedMachine::Eventually([&] {
    const auto server = control->Server(Files());
    if (!server || !*server) return false;
    const auto clients = control->Clients(Files(), **server);
    return clients && !clients->empty();
  }));
  const auto place = daemons().Ensure(gpu_, Tenant("one@0", 30, GiB(10)));
  ASSERT_TRUE(place) << place.error().message;
  EXPECT_FALSE(place->apart);
  EXPECT_EQ(Ceiling(), 30);
  // Dividing the SMs for good is another thing: it would leave the client without any.
  const auto divided = daemons().Ensure(gpu_, Tenant("two@0", 30, GiB(10)), true);
  ASSERT_FALSE(divided);
  EXPECT_EQ(divided.error().code, ErrorCode::kBusy);
  sim_.End(client);
  EXPECT_TRUE(SimulatedMachine::Eventually(
      [&] { return bool(daemons().Ensure(gpu_, Tenant("two@0", 30, GiB(10)), true)); }));
  EXPECT_TRUE(daemons().CeilingsOn(gpu_)->partitioned);
}

}  // namespace
}  // namespace tranche
