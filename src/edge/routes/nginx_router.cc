#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <mutex>
#include <optional>

#include "base/json.h"
#include "base/port.h"
#include "base/subprocess.h"
#include "edge/routes/http_question.h"
#include "edge/routes/nginx_config.h"
#include "edge/routes/nginx_process.h"
#include "edge/routes/router.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr Duration kTestTimeout = 20s;     // of `nginx -t`
constexpr Duration kStartTimeout = 15s;    // until it answers, or answers with a new configuration
constexpr Duration kQuestionTimeout = 1s;  // one GET /healthz
constexpr Duration kWaitInterval = 10ms;
constexpr Duration kFirstRestart = 1s;  // doubled at every failure, up to kLastRestart
constexpr Duration kLastRestart = 30s;
constexpr Duration kSettled = 60s;  // it ran this long: what went wrong before is forgotten
constexpr int kPortTries = 5;
constexpr uintmax_t kMaxErrorLog = uintmax_t{10} << 20;

Result<std::string> FindProgram(const std::string& wanted) {
  std::vector<std::string> candidates;
  if (!wanted.empty()) {
    candidates = {wanted};
  } else {
    const char* path = getenv("PATH");
    std::string rest = std::string(path ? path : "") + ":/usr/sbin:/usr/local/sbin:";
    for (size_t colon; (colon = rest.find(':')) != std::string::npos; rest.erase(0, colon + 1)) {
      if (colon > 0) candidates.push_back(rest.substr(0, colon) + "/nginx");
    }
  }
  for (const std::string& candidate : candidates) {
    if (access(candidate.c_str(), X_OK) == 0) return candidate;
  }
  return Fail(ErrorCode::kUnavailable, "there is no nginx program to route requests with",
              "install nginx (Debian: apt-get install nginx-light)");
}

Status WriteFile(const std::string& path, const std::string& text) {
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (!file)
    return Fail(ErrorCode::kFailed, fmt::format("cannot write {}: {}", path, strerror(errno)));
  return {};
}

Status Rename(const std::string& from, const std::string& to) {
  if (std::rename(from.c_str(), to.c_str()) == 0) return {};
  return Fail(ErrorCode::kFailed,
              fmt::format("cannot rename {} to {}: {}", from, to, strerror(errno)));
}

std::string ReadAll(const std::string& path) {
  std::ifstream file(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(file), {}};
}

// The last line of what nginx says that is a complaint, without its time stamp.
std::string LastComplaint(const std::string& text) {
  for (const std::string_view level : {"[emerg]", "[alert]", "[crit]", "[error]"}) {
    const size_t at = text.rfind(level);
    if (at == std::string::npos) continue;
    const size_t begin = text.find(' ', at);
    if (begin == std::string::npos) continue;
    return text.substr(begin + 1, text.find('\n', begin) - begin - 1);
  }
  return "it gave no reason";
}

class NginxRouter final : public Router {
 public:
  NginxRouter(RouterOptions options, std::string program, std::shared_ptr<Clock> clock)
      : options_(std::move(options)), program_(std::move(program)), clock_(std::move(clock)) {}

  // Reads what an earlier router of the directory left, and finds its nginx.
  Status Open();

  Status Configure(const std::vector<Route>& routes) override;
  Status Supervise() override;
  RouterStatus GetStatus() override;
  Status Stop(Duration grace) override;

 private:
  std::string File(const char* name) const { return options_.directory + "/" + name; }
  NginxSettings Settings() const { return {options_.directory, port_, geteuid() == 0}; }
  bool Running() const { return master_ && !master_->Ended(); }
  std::string UrlOf(int port) const { return fmt::format("http://127.0.0.1:{}", port); }

  Status Apply(const std::vector<Route>& routes);
  Status Start(const std::vector<Route>& routes);
  Status StartOnPort();
  Status Reload(const std::string& digest);
  void StopRunning(Duration grace);
  Status TestNext() const;
  void ChoosePort();
  Status SaveState() const;
  // Until /healthz answers with `digest`. The error log from `log_begin` on tells why it does not.
  Status WaitFor(const std::string& digest, uintmax_t log_begin);
  uintmax_t ErrorLogSize() const;
  std::string Complaint(uintmax_t log_begin) const;
  std::string CurrentDigest() const;
  void ClearAwayWorkers(Duration grace) const;
  void RotateErrorLog() const;

  const RouterOptions options_;
  const std::string program_;
  const std::shared_ptr<Clock> clock_;

  std::mutex mutex_;  // guards all below
  std::optional<ProcessWatch> master_;
  pid_t last_master_ = 0;                     // its workers may outlive it
  int port_ = 0;                              // 0: not chosen yet
  std::optional<std::vector<Route>> wanted_;  // absent: it should not run
  std::string detail_ = "not started";
  Duration started_at_{0};  // of Clock::Monotonic
  Duration restart_delay_{0};
  std::optional<Duration> restart_at_;
};

Status NginxRouter::Open() {
  std::error_code error;
  fs::create_directories(File("tmp"), error);
  if (error) {
    return Fail(ErrorCode::kFailed,
                fmt::format("cannot make {}: {}", File("tmp"), error.message()));
  }
  // {"preferred_port", "port", "master"}; without it, or with one that is broken, everything is
  // chosen anew.
  if (const auto state = ParseJson(ReadAll(File("router.json")))) {
    JsonReader reader(*state, "router.json");
    const int64_t preferred = reader.Int("preferred_port");
    const int64_t port = reader.Int("port");
    const int64_t master = reader.Int("master");
    if (reader.status() && port > 0 && port <= 65535 && master > 0) {
      last_master_ = static_cast<pid_t>(master);
      if (preferred == options_.port) port_ = static_cast<int>(port);
    }
  }
  const auto found = FindMaster(options_.directory);
  if (!found) return {};
  if (auto watch = ProcessWatch::Open(*found)) {
    master_ = std::move(*watch);
    last_master_ = found->pid;
    detail_.clear();
    started_at_ = clock_->Monotonic();
  }
  return {};
}

Status NginxRouter::Configure(const std::vector<Route>& routes) {
  const std::lock_guard lock(mutex_);
  if (auto checked = CheckRoutes(routes); !checked) return checked;
  const auto before = wanted_;
  wanted_ = routes;
  auto applied = Apply(routes);
  if (!applied) {
    if (Running()) {
      wanted_ = before;
    } else {
      detail_ = applied.error().message;
    }
    return FailedWhile("configuring the router", applied.error());
  }
  detail_.clear();
  return {};
}

Status NginxRouter::Apply(const std::vector<Route>& routes) {
  if (!Running()) return Start(routes);
  if (port_ == 0) {
    // An nginx of ours whose port is not known (its state was lost) or no longer wanted.
    StopRunning(0s);
    return Start(routes);
  }
  const std::string digest = RoutesDigest(Settings(), routes);
  if (CurrentDigest() == digest) return {};
  const std::string previous = ReadAll(File("nginx.conf"));
  if (auto written = WriteFile(File("nginx.conf.next"), NginxConfig(Settings(), routes));
      !written) {
    return written;
  }
  if (auto tested = TestNext(); !tested) return tested;
  if (auto renamed = Rename(File("nginx.conf.next"), File("nginx.conf")); !renamed) return renamed;
  if (auto reloaded = Reload(digest); !reloaded) {
    // nginx goes on with what it has; so that a restart does, too, the file goes back.
    if (WriteFile(File("nginx.conf.next"), previous)) {
      [[maybe_unused]] const auto renamed = Rename(File("nginx.conf.next"), File("nginx.conf"));
    }
    return reloaded;
  }
  return {};
}

Status NginxRouter::TestNext() const {
  SpawnOptions test;
  test.argv = {program_, "-t", "-q", "-p", options_.directory, "-c", File("nginx.conf.next")};
  test.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  const auto result = RunProgram(test, kTestTimeout);
  if (!result) return tl::unexpected(result.error());
  if (result->end.exit_code == 0) return {};
  return Fail(ErrorCode::kFailed,
              "nginx refuses the configuration: " + LastComplaint(result->output),
              "see " + File("nginx.conf.next"));
}

void NginxRouter::ChoosePort() {
  if (port_ != 0 && IsPortFree(port_)) return;
  const auto free = FindFreePort(options_.port);
  port_ = free.value_or(options_.port);
}

Status NginxRouter::SaveState() const {
  Json state = Json::object();
  state["preferred_port"] = options_.port;
  state["port"] = port_;
  state["master"] = last_master_;
  if (auto written = WriteFile(File("router.json.next"), PrintJson(state)); !written)
    return written;
  return Rename(File("router.json.next"), File("router.json"));
}

Status NginxRouter::Start(const std::vector<Route>& routes) {
  // Workers whose master was killed still listen: they may end what they have, but take no more.
  ClearAwayWorkers(kStartTimeout);
  Status last;
  for (int i = 0; i < kPortTries; ++i) {
    ChoosePort();
    const auto written = WriteFile(File("nginx.conf.next"), NginxConfig(Settings(), routes));
    if (!written) return written;
    if (auto tested = TestNext(); !tested) return tested;
    if (auto renamed = Rename(File("nginx.conf.next"), File("nginx.conf")); !renamed)
      return renamed;
    const uintmax_t log_begin = ErrorLogSize();
    last = StartOnPort();
    if (last) last = WaitFor(RoutesDigest(Settings(), routes), log_begin);
    if (last) return last;
    StopRunning(0s);
    if (IsPortFree(port_)) return last;
    // Somebody was quicker: the next port.
  }
  return last;
}

Status NginxRouter::StartOnPort() {
  SpawnOptions spawn;
  spawn.argv = {program_, "-p", options_.directory, "-c", File("nginx.conf")};
  spawn.environment = {"PATH=/usr/sbin:/usr/bin:/sbin:/bin"};
  spawn.working_directory = "/";
  // The port first: should we die now, the next router finds this nginx, and where it listens.
  if (auto saved = SaveState(); !saved) return saved;
  const auto process = Spawn(spawn);
  if (!process) return tl::unexpected(process.error());
  auto watch = ProcessWatch::Open(*process);
  if (!watch) return tl::unexpected(watch.error());
  master_ = std::move(*watch);
  last_master_ = process->pid;
  started_at_ = clock_->Monotonic();
  return SaveState();
}

std::string NginxRouter::CurrentDigest() const {
  const HttpAnswer answer = AskHttp("127.0.0.1", port_, "/healthz", kQuestionTimeout);
  const auto json = ParseJson(answer.body);
  if (answer.status != 200 || !json) return "";
  return JsonReader(*json, "healthz").String("config");
}

uintmax_t NginxRouter::ErrorLogSize() const {
  std::error_code error;
  const uintmax_t size = fs::file_size(File("error.log"), error);
  return error ? 0 : size;
}

std::string NginxRouter::Complaint(uintmax_t log_begin) const {
  const std::string log = ReadAll(File("error.log"));
  return LastComplaint(log.substr(std::min<uintmax_t>(log_begin, log.size())));
}

Status NginxRouter::WaitFor(const std::string& digest, uintmax_t log_begin) {
  const Duration deadline = clock_->Monotonic() + kStartTimeout;
  while (CurrentDigest() != digest) {
    if (master_->Ended()) {
      master_->Reap();
      return Fail(ErrorCode::kFailed, "nginx ended at once: " + Complaint(log_begin),
                  "see " + File("error.log"));
    }
    if (clock_->Monotonic() > deadline) {
      return Fail(ErrorCode::kFailed,
                  fmt::format("nginx does not answer with the new configuration within {}: {}",
                              FormatDuration(kStartTimeout), Complaint(log_begin)),
                  "see " + File("error.log"));
    }
    clock_->Sleep(kWaitInterval);
  }
  return {};
}

Status NginxRouter::Reload(const std::string& digest) {
  const uintmax_t log_begin = ErrorLogSize();
  const std::vector<NginxWorker> old = WorkersOf(master_->id().pid);
  master_->Signal(SIGHUP);
  if (auto answered = WaitFor(digest, log_begin); !answered) return answered;
  // For a moment old and new workers listen side by side. It is done when no old one takes a
  // request.
  const Duration deadline = clock_->Monotonic() + kStartTimeout;
  while (true) {
    const std::vector<NginxWorker> now = WorkersOf(master_->id().pid);
    const bool old_one_listens =
        std::any_of(now.begin(), now.end(), [&](const NginxWorker& worker) {
          return !worker.shutting_down &&
                 std::any_of(old.begin(), old.end(),
                             [&](const NginxWorker& one) { return one.id == worker.id; });
        });
    if (!old_one_listens) return {};
    if (clock_->Monotonic() > deadline) {
      return Fail(ErrorCode::kFailed, "nginx does not let go of the earlier configuration",
                  "see " + File("error.log"));
    }
    clock_->Sleep(kWaitInterval);
  }
}

void NginxRouter::ClearAwayWorkers(Duration grace) const {
  if (last_master_ == 0) return;
  // Workers without a master keep its pid from being given away: who has it now is somebody else.
  const auto holder = ReadProcessStat(last_master_);
  if (holder && holder->state != 'Z') return;
  const auto signal_all = [&](int signal) {
    for (const NginxWorker& worker : WorkersOf(last_master_)) {
      if (const auto watch = ProcessWatch::Open(worker.id)) watch->Signal(signal);
    }
  };
  const auto any_listens = [&] {
    const auto workers = WorkersOf(last_master_);
    return std::any_of(workers.begin(), workers.end(),
                       [](const NginxWorker& worker) { return !worker.shutting_down; });
  };
  signal_all(SIGQUIT);
  const Duration deadline = clock_->Monotonic() + grace;
  while (any_listens() && clock_->Monotonic() < deadline) clock_->Sleep(kWaitInterval);
  if (any_listens()) signal_all(SIGKILL);
}

Status NginxRouter::Supervise() {
  const std::lock_guard lock(mutex_);
  if (!wanted_) return {};
  const Duration now = clock_->Monotonic();
  if (Running()) {
    RotateErrorLog();
    if (now - started_at_ > kSettled) restart_delay_ = 0s;
    return {};
  }
  if (!restart_at_) {
    const auto end = master_ ? master_->Reap() : std::nullopt;
    if (end) detail_ = "nginx died: " + end->Text();
    restart_at_ = now + restart_delay_;
    restart_delay_ = std::clamp<Duration>(restart_delay_ * 2, kFirstRestart, kLastRestart);
  }
  if (now < *restart_at_) return Fail(ErrorCode::kFailed, detail_);
  restart_at_.reset();
  auto started = Start(*wanted_);
  if (!started) {
    detail_ = started.error().message;
    return started;
  }
  detail_.clear();
  return {};
}

void NginxRouter::RotateErrorLog() const {
  std::error_code error;
  if (fs::file_size(File("error.log"), error) <= kMaxErrorLog || error) return;
  if (Rename(File("error.log"), File("error.log.1"))) master_->Signal(SIGUSR1);
}

RouterStatus NginxRouter::GetStatus() {
  const std::lock_guard lock(mutex_);
  RouterStatus status;
  status.running = Running();
  if (port_ != 0) status.url = UrlOf(port_);
  if (!status.running) status.detail = detail_.empty() ? "nginx died" : detail_;
  return status;
}

Status NginxRouter::Stop(Duration grace) {
  const std::lock_guard lock(mutex_);
  wanted_.reset();
  detail_ = "not started";
  restart_at_.reset();
  restart_delay_ = 0s;
  StopRunning(grace);
  return {};
}

void NginxRouter::StopRunning(Duration grace) {
  if (Running()) {
    master_->Signal(SIGQUIT);
    const Duration deadline = clock_->Monotonic() + grace;
    while (!master_->Ended() && clock_->Monotonic() < deadline) clock_->Sleep(kWaitInterval);
    master_->Signal(SIGTERM);
    const Duration kill_at = clock_->Monotonic() + kStartTimeout;
    while (!master_->Ended()) {
      if (clock_->Monotonic() > kill_at) master_->Signal(SIGKILL);
      clock_->Sleep(kWaitInterval);
    }
  }
  if (master_) master_->Reap();
  master_.reset();
  ClearAwayWorkers(0s);
}

}  // namespace

Result<std::unique_ptr<Router>> MakeNginxRouter(RouterOptions options,
                                                std::shared_ptr<Clock> clock) {
  // These would end the quotes around a path in the configuration.
  if (!options.directory.starts_with('/') ||
      options.directory.find_first_of("\"\\$\n\r") != std::string::npos) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("the router cannot work in '{}'", options.directory),
                "give an absolute path without quotes, '\\' and '$'");
  }
  auto program = FindProgram(options.program);
  if (!program) return tl::unexpected(program.error());
  auto router =
      std::make_unique<NginxRouter>(std::move(options), std::move(*program), std::move(clock));
  if (auto opened = router->Open(); !opened) return tl::unexpected(opened.error());
  return router;
}

}  // namespace tranche
