#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

#include "base/port.h"
#include "edge/routes/http_question.h"
#include "edge/routes/nginx_process.h"
#include "edge/routes/router.h"
#include "edge/routes/test_server.h"

namespace tranche {
namespace {

using testing::HasSubstr;
using namespace std::chrono_literals;
namespace fs = std::filesystem;

// Real nginx in front of servers of this process.
class NginxRouterTest : public testing::Test {
 protected:
  void SetUp() override {
    // Workers run as another user; they must be able to reach it.
    directory_ = testing::TempDir() + "nginx_router_test." + std::to_string(getpid());
    fs::create_directories(directory_);
    clock_ = std::make_shared<SystemClock>();
    // Apart from each other, as ctest runs these tests side by side, and below the ports that the
    // kernel gives to clients.
    first_port_ = FindFreePort(18000 + getpid() % 700 * 10).value();
    router_ = Make();
  }
  void TearDown() override {
    EXPECT_TRUE(router_ && router_->Stop(0s));
    fs::remove_all(directory_);
  }

  std::unique_ptr<Router> Make() {
    auto router = MakeNginxRouter({directory_ + "/nginx", first_port_, ""}, clock_);
    EXPECT_TRUE(router) << router.error().message;
    return router ? std::move(*router) : nullptr;
  }

  int Port() {
    const std::string url = router_->GetStatus().url;
    return std::stoi(url.substr(url.rfind(':') + 1));
  }
  HttpAnswer Get(const std::string& path) { return AskHttp("127.0.0.1", Port(), path, 30s); }
  std::optional<ProcessId> Master() { return FindMaster(directory_ + "/nginx"); }
  static std::string FirstLine(const std::string& head) {
    return head.substr(0, head.find("\r\n"));
  }
  // A backend that tells its name and what it was asked.
  static TestServer::Answer Echo(const std::string& name) {
    return [name](const std::string& head) {
      return TestServer::Http(200, name + " " + FirstLine(head));
    };
  }

  std::string directory_;
  std::shared_ptr<Clock> clock_;
  int first_port_ = 0;
  std::unique_ptr<Router> router_;
};

TEST_F(NginxRouterTest, APathReachesItsWorkloadWithoutThePath) {
  TestServer phi(Echo("phi")), qwen(Echo("qwen"));
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {{"127.0.0.1", phi.port(), true}}},
                                  {"/team/qwen", "qwen", {{"127.0.0.1", qwen.port(), true}}}}));
  EXPECT_EQ(Get("/phi/v1/models?a=b").body, "phi GET /v1/models?a=b HTTP/1.1");
  EXPECT_EQ(Get("/team/qwen/health").body, "qwen GET /health HTTP/1.1");
  EXPECT_EQ(Get("/phi").body, "phi GET / HTTP/1.1");
  EXPECT_EQ(Get("/philosophy").status, 404);
  EXPECT_EQ(Get("/team").status, 404);
  EXPECT_THAT(Get("/").body, HasSubstr("no_route"));
  EXPECT_EQ(Get("/healthz").status, 200);
  EXPECT_TRUE(router_->GetStatus().running);
}

TEST_F(NginxRouterTest, ABackendMayNotBeReachedAround) {
  TestServer phi(Echo("phi"));
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {{"127.0.0.1", phi.port(), true}}}}));
  EXPECT_EQ(Get("/phi/../phi/x").body, "phi GET /x HTTP/1.1");
  EXPECT_EQ(Get("/phi/../secret").status, 404);
  EXPECT_EQ(Get("/phi/../../etc/passwd").status, 400);
}

TEST_F(NginxRouterTest, WithNothingUpItSaysWhoseTurnItIs) {
  int dead_port;
  {
    TestServer dead(Echo("dead"));
    dead_port = dead.port();
  }
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {{"127.0.0.1", dead_port, false}}},
                                  {"/qwen", "qwen", {}},
                                  {"/dead", "dead", {{"127.0.0.1", dead_port, true}}}}));
  for (const char* name : {"phi", "qwen", "dead"}) {
    const auto answer = Get(std::string("/") + name + "/v1/models");
    EXPECT_EQ(answer.status, 503);
    EXPECT_THAT(answer.body, HasSubstr(std::string("no replica of workload ") + name + " is up"));
    EXPECT_THAT(answer.body, HasSubstr("\"error\""));
  }
}

TEST_F(NginxRouterTest, AnUnhealthyBackendIsTakenOutAndPutBack) {
  TestServer a(Echo("a")), b(Echo("b"));
  const auto configure = [&](bool a_up) {
    return router_->Configure(
        {{"/phi", "phi", {{"127.0.0.1", a.port(), a_up}, {"127.0.0.1", b.port(), true}}}});
  };
  const auto seen = [&] {
    std::string names;
    for (int i = 0; i < 20; ++i) names += Get("/phi/x").body.substr(0, 1);
    return std::pair(names.find('a') != std::string::npos, names.find('b') != std::string::npos);
  };
  ASSERT_TRUE(configure(true));
  EXPECT_EQ(seen(), std::pair(true, true)) << "both take their share";
  ASSERT_TRUE(configure(false));
  EXPECT_EQ(seen(), std::pair(false, true));
  ASSERT_TRUE(configure(true));
  EXPECT_EQ(seen(), std::pair(true, true));
}

TEST_F(NginxRouterTest, NoRequestIsDroppedWhileItReloads) {
  constexpr int kReloads = 20, kClients = 4;
  TestServer a(Echo("a")), b(Echo("b"));
  const auto routes = [&](int i) {
    return std::vector<Route>{
        {"/phi", "phi", {{"127.0.0.1", a.port(), i % 2 == 0}, {"127.0.0.1", b.port(), true}}}};
  };
  ASSERT_TRUE(router_->Configure(routes(0)));
  const auto master = Master();
  const int port = Port();
  std::atomic<bool> stop = false;
  std::atomic<int> good = 0, bad = 0;
  std::vector<std::thread> clients;
  for (int i = 0; i < kClients; ++i) {
    clients.emplace_back([&] {
      while (!stop) (AskHttp("127.0.0.1", port, "/phi/x", 30s).status == 200 ? good : bad)++;
    });
  }
  for (int i = 1; i <= kReloads; ++i) EXPECT_TRUE(router_->Configure(routes(i)));
  stop = true;
  for (auto& client : clients) client.join();
  EXPECT_EQ(bad, 0);
  EXPECT_GT(good, kReloads);
  EXPECT_EQ(Master(), master) << "it was reloaded, not restarted";
}

TEST_F(NginxRouterTest, ARequestUnderWaySurvivesAReload) {
  std::atomic<bool> asked = false, go_on = false;
  TestServer slow([&](const std::string&) {
    asked = true;
    while (!go_on) std::this_thread::yield();
    return TestServer::Http(200, "late");
  });
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {{"127.0.0.1", slow.port(), true}}}}));
  HttpAnswer answer;
  std::thread client([&] { answer = Get("/phi/x"); });
  while (!asked) std::this_thread::yield();
  EXPECT_TRUE(router_->Configure({{"/other", "other", {}}}));
  go_on = true;
  client.join();
  EXPECT_EQ(answer.body, "late");
}

TEST_F(NginxRouterTest, WhatIsStreamedArrivesAsItComes) {
  // The server sends its second half only after the client has seen the first.
  std::atomic<bool> first_seen = false;
  const int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  sockaddr_in where = {};
  where.sin_family = AF_INET;
  where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  ASSERT_EQ(bind(listener, reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  ASSERT_EQ(listen(listener, 1), 0);
  socklen_t size = sizeof where;
  getsockname(listener, reinterpret_cast<sockaddr*>(&where), &size);
  std::thread server([&] {
    const int fd = accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
    const auto say = [&](const std::string& text) {
      send(fd, text.data(), text.size(), MSG_NOSIGNAL);
    };
    say("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\ndata: "
        "one\n\n");
    while (!first_seen) std::this_thread::yield();
    say("data: two\n\n");
    close(fd);
  });
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {{"127.0.0.1", ntohs(where.sin_port), true}}}}));
  const int client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  where.sin_port = htons(static_cast<uint16_t>(Port()));
  ASSERT_EQ(connect(client, reinterpret_cast<sockaddr*>(&where), sizeof where), 0);
  const std::string ask = "GET /phi/stream HTTP/1.1\r\nHost: x\r\n\r\n";
  ASSERT_EQ(send(client, ask.data(), ask.size(), 0), static_cast<ssize_t>(ask.size()));
  std::string got;
  char buffer[4096];
  ssize_t n;
  while ((n = recv(client, buffer, sizeof buffer, 0)) > 0) {
    got.append(buffer, static_cast<size_t>(n));
    if (got.find("data: one") != std::string::npos) first_seen = true;
  }
  first_seen = true;
  server.join();
  close(client);
  close(listener);
  EXPECT_THAT(got, HasSubstr("data: two"));
}

TEST_F(NginxRouterTest, TheSameRoutesAgainCostNothing) {
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {}}}));
  const auto workers = WorkersOf(Master()->pid);
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {}}}));
  const auto after = WorkersOf(Master()->pid);
  ASSERT_EQ(after.size(), workers.size());
  for (size_t i = 0; i < workers.size(); ++i) EXPECT_EQ(after[i].id, workers[i].id);
}

TEST_F(NginxRouterTest, BadRoutesChangeNothing) {
  TestServer phi(Echo("phi"));
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {{"127.0.0.1", phi.port(), true}}}}));
  EXPECT_FALSE(router_->Configure({{"/phi;", "phi", {}}}));
  EXPECT_EQ(Get("/phi/x").status, 200);
}

TEST_F(NginxRouterTest, AConfigurationThatNginxRefusesNeverBecomesActive) {
  TestServer phi(Echo("phi"));
  const std::vector<Route> routes = {{"/phi", "phi", {{"127.0.0.1", phi.port(), true}}}};
  ASSERT_TRUE(router_->Configure(routes));
  std::ifstream file(directory_ + "/nginx/nginx.conf");
  const std::string before{std::istreambuf_iterator<char>(file), {}};
  std::vector<Route> many = routes;
  fs::remove_all(directory_ + "/nginx/tmp");
  std::ofstream(directory_ + "/nginx/tmp") << "a file where nginx wants a directory";
  many.push_back({"/qwen", "qwen", {}});
  const auto refused = router_->Configure(many);
  ASSERT_FALSE(refused);
  EXPECT_THAT(refused.error().message, HasSubstr("nginx refuses the configuration"));
  std::ifstream again(directory_ + "/nginx/nginx.conf");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(again), {}), before);
  EXPECT_EQ(Get("/phi/x").status, 200);
}

TEST_F(NginxRouterTest, ItTakesTheNextPortWhenItsOwnIsTaken) {
  TestServer squatter(Echo("squatter"), first_port_);
  ASSERT_TRUE(squatter.listening());
  ASSERT_TRUE(router_->Configure({}));
  EXPECT_GT(Port(), first_port_);
  EXPECT_EQ(Get("/healthz").status, 200);
}

TEST_F(NginxRouterTest, ItOutlivesTheDaemonAndIsFoundAgain) {
  const int phi_port = FindFreePort(first_port_ + 5).value();
  const std::vector<Route> routes = {{"/phi", "phi", {{"127.0.0.1", phi_port, true}}}};
  // Before there are threads: their locks, such as a sanitizer's allocator's, stay held in a child.
  const pid_t child = fork();
  if (child == 0) {
    // A daemon under kill -9.
    kill(getpid(), Make()->Configure(routes) ? SIGKILL : SIGTERM);
  }
  int status = 0;
  waitpid(child, &status, 0);
  ASSERT_TRUE(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
  TestServer phi(Echo("phi"), phi_port);
  ASSERT_TRUE(phi.listening());
  const auto master = Master();
  ASSERT_TRUE(master);
  router_ = Make();
  EXPECT_TRUE(router_->GetStatus().running);
  EXPECT_EQ(Get("/phi/x").status, 200);
  ASSERT_TRUE(router_->Configure(routes));
  EXPECT_EQ(Master(), master);
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {}}}));
  EXPECT_EQ(Get("/phi/x").status, 503);
  EXPECT_EQ(Master(), master);
}

TEST_F(NginxRouterTest, ItIsStartedAgainWhenItDies) {
  TestServer phi(Echo("phi"));
  ASSERT_TRUE(router_->Configure({{"/phi", "phi", {{"127.0.0.1", phi.port(), true}}}}));
  const int port = Port();
  const auto master = Master();
  ASSERT_TRUE(master);
  // Only the master: its workers go on listening, without anybody to lead them.
  kill(master->pid, SIGKILL);
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (Master() == master) ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  // One that is just dying may pass for alive once more.
  while (!router_->Supervise() || !Master()) ASSERT_LT(std::chrono::steady_clock::now(), deadline);
  EXPECT_EQ(Port(), port);
  EXPECT_NE(Master(), master);
  EXPECT_EQ(Get("/phi/x").status, 200);
}

TEST_F(NginxRouterTest, StoppedItStaysStopped) {
  ASSERT_TRUE(router_->Configure({}));
  const int port = Port();
  EXPECT_TRUE(router_->Stop(5s));
  EXPECT_TRUE(router_->Supervise());
  EXPECT_FALSE(Master());
  EXPECT_FALSE(router_->GetStatus().running);
  EXPECT_TRUE(IsPortFree(port));
  EXPECT_TRUE(router_->Stop(5s)) << "twice is once";
}

TEST(MakeNginxRouterTest, ADirectoryThatWouldEndTheQuotesIsRefused) {
  for (const char* directory : {"relative", "/a\"b", "/a\\b", "/a$b", "/a\nb"}) {
    EXPECT_FALSE(MakeNginxRouter({directory, 8080, ""}, std::make_shared<SystemClock>()))
        << directory;
  }
}

TEST(MakeNginxRouterTest, WithoutNginxItSaysWhatToInstall) {
  const auto router = MakeNginxRouter({testing::TempDir() + "none", 8080, "/no/nginx"},
                                      std::make_shared<SystemClock>());
  ASSERT_FALSE(router);
  EXPECT_EQ(router.error().code, ErrorCode::kUnavailable);
  EXPECT_THAT(router.error().hint, HasSubstr("nginx-light"));
}

}  // namespace
}  // namespace tranche
