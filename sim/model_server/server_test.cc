#include <arpa/inet.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <chrono>
#include <fstream>
#include <functional>
#include <iterator>
#include <memory>
#include <thread>
#include <vector>

#include "base/json.h"
#include "base/port.h"
#include "base/subprocess.h"
#include "sim/machine/lifecycle.h"
#include "sim/machine/mig.h"
#include "sim/machine/usage.h"
#include "sim/test/scratch.h"

// The program, on the simulated libcuda.so.1.
namespace tranche::sim {
namespace {

using testing::HasSubstr;
using testing::StartsWith;
using namespace std::chrono_literals;

constexpr auto kPatience = 60s;

bool Eventually(const std::function<bool()>& condition) {
  const auto deadline = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > deadline) return false;
    std::this_thread::yield();
  }
  return true;
}

// One connection to a server; a blocking client of a few lines.
class Client {
 public:
  explicit Client(int port) : fd_(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    sockaddr_in where = {};
    where.sin_family = AF_INET;
    where.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    where.sin_port = htons(static_cast<uint16_t>(port));
    connected_ = connect(fd_, reinterpret_cast<sockaddr*>(&where), sizeof where) == 0;
    const timeval timeout = {60, 0};
    setsockopt(fd_, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
  }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;
  ~Client() { Close(); }

  bool connected() const { return connected_; }
  void Close() {
    if (fd_ >= 0) close(fd_);
    fd_ = -1;
  }
  void Send(const std::string& text) { send(fd_, text.data(), text.size(), MSG_NOSIGNAL); }
  // All that comes until the server closes, or until it holds `end`.
  std::string Receive(const std::string& end = "") {
    std::string text;
    char buffer[4096];
    while (end.empty() || text.find(end) == std::string::npos) {
      const ssize_t got = recv(fd_, buffer, sizeof buffer, 0);
      if (got <= 0) break;
      text.append(buffer, static_cast<size_t>(got));
    }
    return text;
  }

 private:
  int fd_;
  bool connected_ = false;
};

std::string Get(const std::string& path) {
  return "GET " + path + " HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
}

std::string Post(const std::string& path, const std::string& body, bool keep = false) {
  return "POST " + path + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) +
         (keep ? "" : "\r\nConnection: close") + "\r\n\r\n" + body;
}

int StatusOf(const std::string& answer) {
  return answer.size() < 12 ? 0 : std::stoi(answer.substr(9, 3));
}

Json BodyOf(const std::string& answer) {
  const size_t at = answer.find("\r\n\r\n");
  const auto json = ParseJson(at == std::string::npos ? "" : answer.substr(at + 4));
  EXPECT_TRUE(json) << answer;
  return json.value_or(Json());
}

class ModelServerTest : public testing::Test {
 protected:
  void SetUp() override {
    dir_ = scratch_.path() + "/machine";
    ASSERT_TRUE(Machine::Create(dir_, SpecOf("H100-SXM5-80GB")));
    auto machine = Machine::Open(dir_);
    ASSERT_TRUE(machine);
    machine_ = std::move(*machine);
    port_ = FindFreePort(25000 + getpid() % 700 * 10).value();
  }
  void TearDown() override {
    if (!server_) return;
    server_->Signal(SIGKILL);
    WaitForEnd();
  }

  // A 2g.20gb; the UUID of its MIG device.
  std::string MakeSlice() {
    std::string uuid;
    EXPECT_EQ(machine_->Update([&](MachineState& state) {
      Rc activation;
      uint64_t gi = 0, ci = 0;
      Rc rc = SetMigMode(machine_->spec(), &state, 0, 1, &activation);
      if (rc == Rc::kOk) rc = CreateGpuInstance(machine_->spec().gpus[0], &state, 0, 14, -1, &gi);
      if (rc == Rc::kOk)
        rc = CreateComputeInstance(machine_->spec().gpus[0], &state, 0, gi, 1, -1, &ci);
      if (rc == Rc::kOk) uuid = FindCi(state.gpus[0], ci)->uuid;
      return rc;
    }),
              Rc::kOk);
    return uuid;
  }

  // Starts the program without waiting for it to serve.
  void Launch(std::vector<std::string> arguments, const std::string& visible = "0") {
    SpawnOptions spawn;
    spawn.argv = {TRANCHE_MODEL_SERVER, "--port", std::to_string(port_)};
    spawn.argv.insert(spawn.argv.end(), arguments.begin(), arguments.end());
    spawn.environment = {"LD_LIBRARY_PATH=" TRANCHE_SIM_LIBRARIES, "TRANCHE_SIM_DIR=" + dir_,
                         "CUDA_VISIBLE_DEVICES=" + visible};
    FILE* log = fopen((scratch_.path() + "/log").c_str(), "a");
    spawn.standard_output = spawn.standard_error = fileno(log);
    const auto process = Spawn(spawn);
    fclose(log);
    ASSERT_TRUE(process) << process.error().message;
    auto watch = ProcessWatch::Open(*process);
    ASSERT_TRUE(watch);
    server_ = std::make_unique<ProcessWatch>(std::move(*watch));
  }
  void Start(std::vector<std::string> arguments, const std::string& visible = "0") {
    Launch(std::move(arguments), visible);
    ASSERT_TRUE(Eventually([&] { return server_->Ended() || Client(port_).connected(); }));
    ASSERT_FALSE(server_->Ended()) << Log();
  }
  // Quick: a token takes 30 microseconds.
  void StartQuick() {
    Start({"--model", "phi-4", "--memory", "2GiB", "--weights", "100000000", "--context", "1000",
           "--concurrency", "2"});
  }
  // A token takes three milliseconds, so an answer of a thousand tokens is there to be met.
  void StartSlow(const std::string& concurrency) {
    Start({"--model", "phi-4", "--memory", "12GiB", "--weights", "10000000000", "--context",
           "100000", "--concurrency", concurrency});
  }
  static std::string Long(int tokens, bool stream = false) {
    return std::string(R"({"prompt":"x","ignore_eos":true,"max_tokens":)") +
           std::to_string(tokens) + (stream ? R"(,"stream":true})" : "}");
  }

  std::string Ask(const std::string& request) {
    Client client(port_);
    client.Send(request);
    return client.Receive();
  }
  // A figure of /metrics.
  int Metric(const std::string& name) {
    const std::string text = Ask(Get("/metrics"));
    const size_t at = text.find("\ntranche_model_server_" + name + " ");
    return at == std::string::npos ? -1 : std::stoi(text.substr(text.find(' ', at)));
  }
  ProcessEnd WaitForEnd() {
    EXPECT_TRUE(Eventually([&] { return server_->Ended(); }));
    const auto end = server_->Reap();
    server_.reset();
    return end.value_or(ProcessEnd{});
  }
  std::string Log() {
    std::ifstream file(scratch_.path() + "/log");
    return {std::istreambuf_iterator<char>(file), {}};
  }
  Load LoadNow() { return LoadOfGpu(machine_->spec(), *machine_->Snapshot(), 0); }
  uint64_t MemoryNow(const Target& target = {0, 0}) {
    MemoryInfo memory;
    EXPECT_EQ(machine_->GetMemory(target, &memory), Rc::kOk);
    return memory.used;
  }

  ScratchDir scratch_;
  std::string dir_;
  std::unique_ptr<Machine> machine_;
  int port_ = 0;
  std::unique_ptr<ProcessWatch> server_;
};

TEST_F(ModelServerTest, ItAnswersAsOpenAiDoes) {
  StartQuick();
  EXPECT_EQ(StatusOf(Ask(Get("/health"))), 200);
  EXPECT_EQ(BodyOf(Ask(Get("/v1/models")))["data"][0]["id"], "phi-4");
  const Json text =
      BodyOf(Ask(Post("/v1/completions", R"({"model":"phi-4","prompt":"x","max_tokens":5})")));
  EXPECT_THAT(text["choices"][0]["text"].get<std::string>(), StartsWith("This is phi-4:"));
  EXPECT_EQ(text["usage"]["completion_tokens"], 5);
  const Json chat = BodyOf(Ask(Post(
      "/v1/chat/completions", R"({"messages":[{"role":"user","content":"x"}],"max_tokens":3})")));
  EXPECT_EQ(chat["choices"][0]["message"]["content"], "This is phi-4:");
}

TEST_F(ModelServerTest, AStreamIsEventsAndSaysTheSame) {
  StartQuick();
  const std::string body = R"({"messages":[{"role":"user","content":"x"}],"max_tokens":20)";
  const std::string whole =
      BodyOf(Ask(Post("/v1/chat/completions", body + "}")))["choices"][0]["message"]["content"];
  // Without chunks it is easier to read; an HTTP/1.0 client gets it so.
  std::string request = Post("/v1/chat/completions", body + R"(,"stream":true})");
  request.replace(request.find("HTTP/1.1"), 8, "HTTP/1.0");
  const std::string answer = Ask(request);
  EXPECT_THAT(answer, HasSubstr("Content-Type: text/event-stream"));
  EXPECT_TRUE(answer.ends_with("data: [DONE]\n\n"));
  std::string streamed, reason;
  for (size_t at = answer.find("data: {"); at != std::string::npos;
       at = answer.find("data: {", at + 1)) {
    const auto event = ParseJson(answer.substr(at + 6, answer.find("\n\n", at) - at - 6));
    ASSERT_TRUE(event);
    const Json& choice = (*event)["choices"][0];
    streamed += choice["delta"].value("content", "");
    if (choice["finish_reason"].is_string()) reason = choice["finish_reason"];
  }
  EXPECT_EQ(streamed, whole);
  EXPECT_EQ(reason, "length");
}

TEST_F(ModelServerTest, AConnectionServesManyRequests) {
  StartQuick();
  Client client(port_);
  const std::string stream = R"({"prompt":"x","max_tokens":2,"stream":true})";
  for (int i = 0; i < 3; ++i) {
    client.Send(Post("/v1/completions", R"({"prompt":"x","max_tokens":2})", true));
    EXPECT_THAT(client.Receive("\"usage\""), HasSubstr("200 OK"));
    client.Send(Post("/v1/completions", stream, true));
    EXPECT_THAT(client.Receive("\r\n0\r\n\r\n"), HasSubstr("data: [DONE]"));
  }
}

TEST_F(ModelServerTest, WhatIsWrongIsSaidAsOpenAiSaysIt) {
  StartQuick();
  const auto error = [&](const std::string& request) {
    const std::string answer = Ask(request);
    return std::to_string(StatusOf(answer)) + " " +
           BodyOf(answer)["error"]["type"].get<std::string>();
  };
  EXPECT_EQ(error(Post("/v1/completions", "{")), "400 invalid_request_error");
  EXPECT_EQ(error(Post("/v1/completions", Long(1000))), "400 invalid_request_error");
  EXPECT_EQ(error(Post("/v1/completions", R"({"model":"qwen","prompt":"x"})")),
            "404 not_found_error");
  EXPECT_EQ(error(Get("/v1/completions")), "405 invalid_request_error");
  EXPECT_EQ(error(Post("/health", "")), "405 invalid_request_error");
  EXPECT_EQ(error(Get("/nothing")), "404 not_found_error");
  EXPECT_EQ(error("nonsense\r\n\r\n"), "400 invalid_request_error");
  EXPECT_EQ(error("POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999\r\n\r\n"),
            "413 invalid_request_error");
  EXPECT_EQ(StatusOf(Ask(Get("/health"))), 200) << "it is none the worse for it";
}

TEST_F(ModelServerTest, ItHoldsWhatItWasToldInItsSlice) {
  const std::string uuid = MakeSlice();
  Start({"--model", "phi-4", "--memory", "10GiB", "--weights", "5GiB"}, uuid);
  const auto state = machine_->Snapshot();
  const Target slice = {0, ListCis(state->gpus[0]).at(0)->serial};
  EXPECT_GT(MemoryNow(slice), GiB(9).value);
  EXPECT_LE(MemoryNow(slice), GiB(10).value);
  EXPECT_THAT(Log(), HasSubstr("MIG 2g.20gb"));
  server_->Signal(SIGTERM);
  EXPECT_EQ(WaitForEnd().exit_code, 0);
  EXPECT_EQ(MemoryNow(slice), 0u);
}

TEST_F(ModelServerTest, WhatDoesNotFitDoesNotStart) {
  const std::string uuid = MakeSlice();
  Launch({"--model", "phi-4", "--memory", "30GiB", "--weights", "25GiB"}, uuid);
  EXPECT_EQ(WaitForEnd().exit_code, ExitCodeOf(ErrorCode::kDoesNotFit));
  EXPECT_THAT(
      Log(), HasSubstr("phi-4 needs 30 GiB and does not fit on NVIDIA H100 80GB HBM3 MIG 2g.20gb"));
  EXPECT_EQ(MemoryNow(), 0u);
}

TEST_F(ModelServerTest, WithoutADeviceItSaysSo) {
  Launch({"--model", "phi-4", "--memory", "3GiB", "--weights", "1GiB"}, "");
  EXPECT_EQ(WaitForEnd().exit_code, ExitCodeOf(ErrorCode::kUnavailable));
  EXPECT_THAT(Log(), HasSubstr("CUDA_VISIBLE_DEVICES"));
}

TEST_F(ModelServerTest, BadOptionsAreUsageErrors) {
  for (const std::vector<std::string>& arguments :
       {std::vector<std::string>{},
        {"--model", "x", "--memory", "1GiB", "--weights", "1GiB"},
        {"--model", "x", "--memory", "much", "--weights", "1"},
        {"--model", "x", "--memory", "3GiB", "--weights", "1", "--port", "0"},
        {"--model", "x", "--memory", "3GiB", "--weights", "1", "--no-such"}}) {
    Launch(arguments);
    EXPECT_EQ(WaitForEnd().exit_code, ExitCodeOf(ErrorCode::kInvalid));
  }
}

TEST_F(ModelServerTest, APortThatIsTakenIsNamed) {
  StartQuick();
  const auto first = std::move(server_);
  Launch({"--model", "x", "--memory", "3GiB", "--weights", "1"});
  EXPECT_EQ(WaitForEnd().exit_code, 1);
  EXPECT_THAT(Log(), HasSubstr("cannot listen on 127.0.0.1:" + std::to_string(port_)));
  first->Signal(SIGKILL);
  EXPECT_TRUE(Eventually([&] { return first->Ended(); }));
  first->Reap();
}

TEST_F(ModelServerTest, ItsWorkShowsAsLoadAndMoreThanFitWait) {
  StartSlow("2");
  EXPECT_EQ(LoadNow().memory, 0);
  Client a(port_), b(port_), c(port_);
  for (Client* client : {&a, &b, &c}) client->Send(Post("/v1/completions", Long(90000)));
  EXPECT_TRUE(Eventually([&] { return Metric("running") == 2 && Metric("waiting") == 1; }));
  EXPECT_TRUE(Eventually([&] { return LoadNow().sm == 1 && LoadNow().memory == 1; }));
  // Those who hang up make room.
  a.Close();
  EXPECT_TRUE(Eventually([&] { return Metric("running") == 2 && Metric("waiting") == 0; }));
  b.Close();
  c.Close();
  EXPECT_TRUE(Eventually([&] { return Metric("running") == 0; }));
  EXPECT_TRUE(Eventually([&] { return LoadNow().sm == 0; }));
}

TEST_F(ModelServerTest, AStreamThatNobodyReadsAnyMoreEnds) {
  StartSlow("1");
  {
    Client client(port_);
    client.Send(Post("/v1/completions", Long(90000, true)));
    client.Receive("This");
  }
  EXPECT_TRUE(Eventually([&] { return Metric("running") == 0; }));
}

TEST_F(ModelServerTest, SigtermLetsAnswersEndAndTakesNoMore) {
  StartSlow("4");
  Client whole(port_), stream(port_), idle(port_);
  whole.Send(Post("/v1/completions", Long(600)));
  stream.Send(Post("/v1/completions", Long(600, true)));
  ASSERT_TRUE(Eventually([&] { return Metric("running") == 2; }));
  server_->Signal(SIGTERM);
  EXPECT_TRUE(Eventually([&] { return !Client(port_).connected(); }));
  EXPECT_EQ(BodyOf(whole.Receive())["usage"]["completion_tokens"], 600);
  EXPECT_THAT(stream.Receive(), HasSubstr("data: [DONE]"));
  EXPECT_EQ(idle.Receive(), "") << "it had nothing to wait for";
  EXPECT_EQ(WaitForEnd().exit_code, 0);
}

TEST_F(ModelServerTest, ASecondSigtermIsMeant) {
  StartSlow("1");
  Client client(port_);
  client.Send(Post("/v1/completions", Long(90000)));
  ASSERT_TRUE(Eventually([&] { return Metric("running") == 1; }));
  server_->Signal(SIGTERM);
  ASSERT_TRUE(Eventually([&] { return !Client(port_).connected(); }));
  server_->Signal(SIGTERM);
  EXPECT_EQ(WaitForEnd().exit_code, 0);
}

TEST_F(ModelServerTest, WhenItsDeviceFailsItEnds) {
  StartQuick();
  EXPECT_EQ(machine_->Update([&](MachineState& state) {
    return RaiseXid(machine_->spec(), &state, 0, 48, kNoId, kNoId, machine_->WallNs());
  }),
            Rc::kOk);
  EXPECT_EQ(WaitForEnd().exit_code, 1);
  EXPECT_THAT(Log(), HasSubstr("uncorrectable ECC error"));
}

}  // namespace
}  // namespace tranche::sim
