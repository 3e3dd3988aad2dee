#include "edge/routes/health.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <thread>

#include "edge/routes/test_server.h"

namespace tranche {
namespace {

using testing::HasSubstr;
using Verdict = HealthState::Verdict;
using namespace std::chrono_literals;

// The verdicts after each of these answers: '+' good, '-' bad; U(p), D(own), '?'.
std::string Verdicts(const std::string& answers, const HealthThresholds& thresholds = {}) {
  HealthState state;
  std::string verdicts;
  for (const char answer : answers) {
    state = NextHealth(state, answer == '+', thresholds);
    verdicts += state.verdict == Verdict::kUp ? 'U' : state.verdict == Verdict::kDown ? 'D' : '?';
  }
  return verdicts;
}

TEST(HealthTest, TheFirstGoodAnswerIsEnough) { EXPECT_EQ(Verdicts("+"), "U"); }

TEST(HealthTest, AStartTakesTime) { EXPECT_EQ(Verdicts("------+"), "??DDDDU"); }

TEST(HealthTest, OneBadAnswerIsForgiven) { EXPECT_EQ(Verdicts("+--+--+"), "UUUUUUU"); }

TEST(HealthTest, ThreeTakeItOutAndTwoPutItBack) { EXPECT_EQ(Verdicts("+---+-++"), "UUUDDDDU"); }

TEST(HealthTest, ThresholdsAreTheCallers) {
  EXPECT_EQ(Verdicts("++-+++", {.up_first = 2, .up = 3, .down = 1}), "?UDDDU");
}

TEST(HealthTest, CountsAnswersInARow) {
  HealthState state;
  for (const bool good : {true, true, false}) state = NextHealth(state, good, {});
  EXPECT_EQ(state.good, 0);
  EXPECT_EQ(state.bad, 1);
}

class HealthCheckerTest : public testing::Test {
 protected:
  HealthCheckerTest() : checker_(MakeHealthChecker({20ms, 500ms, {}})) {}

  void Watch(int port, const HealthProbe& probe) {
    checker_->SetTargets({{"phi/0", "127.0.0.1", port, probe}});
  }
  // Waits until the only target has this verdict; returns the detail.
  std::string WaitFor(Verdict verdict) {
    const auto deadline = std::chrono::steady_clock::now() + 30s;
    while (true) {
      const auto reports = checker_->Reports();
      EXPECT_EQ(reports.size(), 1u);
      if (reports.at(0).state.verdict == verdict) return reports[0].detail;
      if (std::chrono::steady_clock::now() > deadline) {
        ADD_FAILURE() << "not so in time; the last answer: " << reports[0].detail;
        return reports[0].detail;
      }
      std::this_thread::yield();
    }
  }

  const HealthProbe engine_ = ProbeFor(ServingEngine::kVllm);
  const HealthProbe command_ = ProbeFor(ServingEngine::kCommand);
  std::unique_ptr<HealthChecker> checker_;
};

TEST_F(HealthCheckerTest, AnEngineIsWellWhenItSaysSo) {
  TestServer server([](const std::string& head) {
    return TestServer::Http(head.starts_with("GET /health ") ? 200 : 404, "{}");
  });
  Watch(server.port(), engine_);
  EXPECT_EQ(WaitFor(Verdict::kUp), "GET /health: 200");
}

TEST_F(HealthCheckerTest, WithoutAHealthPageTheModelsWillDo) {
  TestServer server([](const std::string& head) {
    return TestServer::Http(head.starts_with("GET /v1/models ") ? 200 : 404, "{}");
  });
  Watch(server.port(), engine_);
  EXPECT_EQ(WaitFor(Verdict::kUp), "GET /v1/models: 200");
}

TEST_F(HealthCheckerTest, AnEngineThatKnowsNeitherIsNotWell) {
  TestServer server([](const std::string&) { return TestServer::Http(404, ""); });
  Watch(server.port(), engine_);
  EXPECT_EQ(WaitFor(Verdict::kDown), "GET /v1/models: 404");
}

TEST_F(HealthCheckerTest, ACommandThatKnowsNeitherIs) {
  TestServer server([](const std::string&) { return TestServer::Http(404, ""); });
  Watch(server.port(), command_);
  WaitFor(Verdict::kUp);
}

TEST_F(HealthCheckerTest, ACommandThatSpeaksNoHttpIsWellWhenItAccepts) {
  TestServer server([](const std::string&) { return "SSH-2.0-something\r\n"; });
  Watch(server.port(), command_);
  WaitFor(Verdict::kUp);
  Watch(server.port(), engine_);
  EXPECT_THAT(WaitFor(Verdict::kDown), HasSubstr("does not answer in HTTP"));
}

TEST_F(HealthCheckerTest, AServerErrorIsANo) {
  TestServer server([](const std::string&) { return TestServer::Http(503, ""); });
  Watch(server.port(), command_);
  EXPECT_EQ(WaitFor(Verdict::kDown), "GET /health: 503");
}

TEST_F(HealthCheckerTest, NobodyThere) {
  int port;
  {
    TestServer server([](const std::string&) { return ""; });
    port = server.port();
  }
  Watch(port, command_);
  EXPECT_THAT(WaitFor(Verdict::kDown), HasSubstr("Connection refused"));
}

TEST_F(HealthCheckerTest, AServerThatHangsIsTakenOutAndPutBack) {
  std::atomic<bool> hang = false, stop = false;
  TestServer server([&](const std::string&) {
    while (hang && !stop) std::this_thread::yield();
    return TestServer::Http(200, "");
  });
  // A command, too: it has spoken HTTP before.
  Watch(server.port(), command_);
  WaitFor(Verdict::kUp);
  hang = true;
  EXPECT_THAT(WaitFor(Verdict::kDown), HasSubstr("no answer in time"));
  hang = false;
  WaitFor(Verdict::kUp);
  stop = true;
}

TEST_F(HealthCheckerTest, OneThatHangsDoesNotHoldUpTheOthers) {
  std::atomic<bool> stop = false;
  TestServer slow([&](const std::string&) {
    while (!stop) std::this_thread::yield();
    return "";
  });
  TestServer good([](const std::string&) { return TestServer::Http(200, ""); });
  const auto checker = MakeHealthChecker({5ms, 1h, {}});
  checker->SetTargets(
      {{"slow", "127.0.0.1", slow.port(), engine_}, {"good", "127.0.0.1", good.port(), engine_}});
  const auto deadline = std::chrono::steady_clock::now() + 30s;
  while (checker->Reports().at(1).state.good < 5) {
    ASSERT_LT(std::chrono::steady_clock::now(), deadline);
    std::this_thread::yield();
  }
  EXPECT_EQ(checker->Reports()[0].state.verdict, Verdict::kUnknown);
  stop = true;
}

TEST_F(HealthCheckerTest, WhatIsKnownOfATargetThatStaysIsKept) {
  TestServer server([](const std::string&) { return TestServer::Http(200, ""); });
  Watch(server.port(), engine_);
  WaitFor(Verdict::kUp);
  checker_->SetTargets(
      {{"qwen/0", "127.0.0.1", 1, engine_}, {"phi/0", "127.0.0.1", server.port(), engine_}});
  const auto reports = checker_->Reports();
  ASSERT_EQ(reports.size(), 2u);
  EXPECT_EQ(reports[0].key, "qwen/0");
  EXPECT_EQ(reports[1].state.verdict, Verdict::kUp);
  checker_->SetTargets({});
  EXPECT_TRUE(checker_->Reports().empty());
}

}  // namespace
}  // namespace tranche
