#include "face/http/server.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>
#include <future>
#include <thread>

#include "agent/fake_engine.h"
#include "agent/listen.h"
#include "client/client.h"

namespace tranche {
namespace {

// A daemon's face in a thread, with an engine that does as it is told.
class ServerTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/server.XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
    socket_ = directory_ + "/s";
    const auto listening = ListenOnSocket(socket_, std::nullopt);
    ASSERT_TRUE(listening);
    limits_.body_bytes = 100000;
    server_.emplace(api_, *listening, limits_);
    thread_ = std::thread([this] { server_->Run(); });
    engine_.machine.hostname = "here";
    Step& step = engine_.steps.emplace_back();
    step.id = 1;
    step.kind = StepKind::kRoute;
    step.change = Change::kCreate;
    step.target = "routes";
    step.why = "so";
  }
  void TearDown() override {
    Stop();
    std::filesystem::remove_all(directory_);
  }
  void Stop() {
    if (!thread_.joinable()) return;
    server_->Stop();
    thread_.join();
  }

  // What comes back for some bytes, until the server closes.
  std::string Raw(const std::string& bytes) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, socket_.data(), socket_.size());
    const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
    EXPECT_EQ(connect(fd, reinterpret_cast<const sockaddr*>(&address), sizeof address), 0);
    (void)!send(fd, bytes.data(), bytes.size(), MSG_NOSIGNAL);
    shutdown(fd, SHUT_WR);
    std::string got;
    char buffer[4096];
    for (ssize_t n; (n = read(fd, buffer, sizeof buffer)) > 0;)
      got.append(buffer, static_cast<size_t>(n));
    close(fd);
    return got;
  }

  static Plan SomePlan() {
    Plan plan;
    plan.id = "p1:1";
    plan.machine_fingerprint = "m1:1";
    plan.spec.directory = "/";
    Workload workload;
    workload.name = "phi";
    workload.memory = Share<Bytes>{GiB(1), GiB(1)};
    plan.spec.workloads = {workload};
    return plan;
  }

  std::string directory_;
  std::string socket_;
  FakeEngine engine_;
  ServerLimits limits_;
  Api api_{{engine_, std::make_shared<const Catalog>(), Access(geteuid(), std::nullopt), "1.2.3",
            [](const std::string&) {}}};
  std::optional<Server> server_;
  std::thread thread_;
};

TEST_F(ServerTest, DocumentsCrossTheSocketUnchanged) {
  Client client(socket_);
  EXPECT_EQ(*client.Version(), "1.2.3");
  const auto machine = client.Inventory();
  ASSERT_TRUE(machine) << machine.error().message;
  EXPECT_EQ(machine->hostname, "here");
  EXPECT_TRUE(client.GetDeployment());
  EXPECT_TRUE(client.GetStatus());
  const auto plan = client.MakePlan(SomePlan().spec, true);
  ASSERT_TRUE(plan) << plan.error().message;
  EXPECT_TRUE(plan->adopts);
  EXPECT_EQ(plan->spec, SomePlan().spec);
  const auto logs = client.Logs("phi", 3, 7, 32);
  ASSERT_TRUE(logs);
  EXPECT_EQ(logs->text, "replica 3, 7 lines\n");
  EXPECT_EQ(logs->next, 42u);
}

TEST_F(ServerTest, ErrorsKeepTheirCodeAndHint) {
  Client client(socket_);
  const Status restart = client.Restart("phi", std::nullopt);
  ASSERT_FALSE(restart);
  EXPECT_EQ(restart.error(), (Error{ErrorCode::kBusy, "it is being applied", "wait"}));
  EXPECT_EQ(client.Logs("../../etc", 0, 1, std::nullopt).error().code, ErrorCode::kNotFound);
}

TEST_F(ServerTest, ApplyStreamsItsStepsAndEndsWithTheReceipt) {
  Client client(socket_);
  std::vector<StepOutcome> seen;
  const auto receipt = client.Apply(SomePlan(), {true, false},
                                    [&](const StepReceipt& step) { seen.push_back(step.outcome); });
  ASSERT_TRUE(receipt) << receipt.error().message;
  EXPECT_EQ(receipt->plan_id, "p1:1");
  EXPECT_EQ(receipt->steps.size(), 1u);
  EXPECT_EQ(seen, (std::vector<StepOutcome>{StepOutcome::kNotRun, StepOutcome::kDone}));
  ASSERT_EQ(engine_.applied.size(), 1u);
  EXPECT_EQ(engine_.applied[0].caller.uid, geteuid());
  EXPECT_TRUE(engine_.applied[0].allow_root);
  EXPECT_TRUE(client.Down({}, [](const StepReceipt&) {}));
}

TEST_F(ServerTest, ARefusedApplyIsItsError) {
  engine_.refuse_apply = Error{ErrorCode::kStale, "gpu0 moved", "plan again"};
  Client client(socket_);
  const auto receipt = client.Apply(SomePlan(), {}, [](const StepReceipt&) {});
  ASSERT_FALSE(receipt);
  EXPECT_EQ(receipt.error(), *engine_.refuse_apply);
}

TEST_F(ServerTest, AnApplyOutlivesTheClientThatAskedForIt) {
  std::promise<void> begun;
  std::promise<void> may_end;
  engine_.during_apply = [&, end = may_end.get_future().share()] {
    begun.set_value();
    end.wait();
  };
  Client client(socket_);
  std::shared_future<void> started = begun.get_future().share();
  const auto receipt = client.Apply(
      SomePlan(), {}, [](const StepReceipt&) {},
      [&] { return started.wait_for(std::chrono::seconds(0)) == std::future_status::ready; });
  ASSERT_FALSE(receipt);
  EXPECT_EQ(receipt.error().code, ErrorCode::kInterrupted);
  EXPECT_EQ(engine_.finished, 0);
  // Others are answered meanwhile.
  EXPECT_TRUE(client.GetStatus());
  may_end.set_value();
  // Stopping waits for what is being changed.
  Stop();
  EXPECT_EQ(engine_.finished, 1);
}

TEST_F(ServerTest, RefusesWhatIsTooLargeOrNoHttp) {
  EXPECT_NE(
      Raw("POST /v1/plans HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n").find(" 413 "),
      std::string::npos);
  EXPECT_NE(Raw("POST /v1/plans HTTP/1.1\r\nHost: x\r\nX: " + std::string(100000, 'x') + "\r\n\r\n")
                .find(" 413 "),
            std::string::npos);
  EXPECT_NE(Raw("\x16\x03\x01 what is this\r\n\r\n").find(" 400 "), std::string::npos);
  EXPECT_NE(Raw("GET /v1/sta").find(" 400 "), std::string::npos);
  EXPECT_EQ(Raw(""), "");
  EXPECT_EQ(*Client(socket_).Version(), "1.2.3");
}

TEST_F(ServerTest, ServesManyAtOnce) {
  std::vector<std::thread> threads;
  std::atomic<int> good = 0;
  for (int i = 0; i < 16; ++i) {
    threads.emplace_back([&] {
      Client client(socket_);
      for (int k = 0; k < 20; ++k) good += client.GetStatus().has_value();
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(good, 320);
}

TEST_F(ServerTest, RefusesAnotherUserEvenThroughAnOpenSocket) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can become somebody else";
  // As if an administrator had opened the socket to everybody.
  ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
  const auto code_as_nobody = [&](mode_t mode) {
    EXPECT_EQ(chmod(socket_.c_str(), mode), 0);
    int code = -1;
    // The kernel's credentials belong to a thread; only glibc's wrappers change all of them.
    std::thread nobody([&] {
      ASSERT_EQ(syscall(SYS_setgroups, 0, nullptr), 0);
      ASSERT_EQ(syscall(SYS_setresgid, 65534, 65534, 65534), 0);
      ASSERT_EQ(syscall(SYS_setresuid, 65534, 65534, 65534), 0);
      const auto status = Client(socket_).GetStatus();
      code = status ? 0 : ExitCodeOf(status.error().code);
    });
    nobody.join();
    return code;
  };
  EXPECT_EQ(code_as_nobody(0666), 77);
  EXPECT_EQ(code_as_nobody(0660), 77);
}

TEST(Client, SaysThatThereIsNoDaemon) {
  const auto status = Client("/tmp/no-such-daemon.sock").GetStatus();
  ASSERT_FALSE(status);
  EXPECT_EQ(status.error().code, ErrorCode::kUnavailable);
  EXPECT_NE(status.error().hint.find("tranched"), std::string::npos);
  EXPECT_EQ(Client("/tmp/" + std::string(200, 'x')).Version().error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace tranche
