#include "edge/driver/mps/mps_control.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fmt/ranges.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <thread>

#include "base/subprocess.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;
using mps::FirstLine;
using mps::Lines;
using mps::Number;

constexpr const char* kProgram = "nvidia-cuda-mps-control";
constexpr const char* kProtocolVariable = "CUDA_MPS_PROTOCOL_VERSION";
constexpr const char* kForPrograms = "--format=csv,noheader";
constexpr const char* kPidFile = "nvidia-cuda-mps-control.pid";
// In the environment of those that Tranche started.
constexpr const char* kMark = "TRANCHE_MPS_DEVICE";
// Daemons of a simulated machine are of that one alone.
constexpr const char* kSimulated = "TRANCHE_SIM_DIR";
// As the kernel keeps it: 15 characters.
constexpr const char* kCommand = "nvidia-cuda-mps";
constexpr Duration kAnswersWithin = std::chrono::seconds(10);

std::vector<std::string> CommandLine(int pid, const std::string& root) {
  std::ifstream file(fmt::format("{}/proc/{}/cmdline", root, pid));
  std::vector<std::string> words;
  for (std::string word; std::getline(file, word, '\0');) words.push_back(word);
  return words;
}

bool IsControl(int pid, const std::string& root) {
  const auto stat = ReadProcessStat(pid, root);
  if (!stat || stat->state == 'Z' || stat->command != kCommand) return false;
  const std::vector<std::string> words = CommandLine(pid, root);
  // The server of another daemon has the same first 15 characters.
  if (words.empty() || fs::path(words.front()).filename() != kProgram) return false;
  // Who only talks to one has no such option.
  return std::any_of(words.begin() + 1, words.end(), [](const std::string& word) {
    return word == "-d" || word == "--daemon" || word == "-f" || word == "--foreground";
  });
}

bool IsNamed(const MpsDaemonFiles& files) {
  const auto kind = MpsControl::KindOf(files.pipe_directory);
  return kind && kind->protocol == MpsProtocol::kNamed;
}

}  // namespace

MpsControl::MpsControl(std::string program, std::vector<std::string> environment)
    : program_(std::move(program)), environment_(std::move(environment)) {
  // What is said of MPS is said here.
  std::erase_if(environment_, [](const std::string& entry) {
    return entry.rfind("CUDA_MPS_", 0) == 0 || entry.rfind("CUDA_VISIBLE_DEVICES=", 0) == 0;
  });
}

Result<MpsControl> MpsControl::Find(const std::string& path, std::vector<std::string> environment) {
  std::istringstream folders(path);
  for (std::string folder; std::getline(folders, folder, ':');) {
    const std::string program = folder + "/" + kProgram;
    if (!folder.empty() && access(program.c_str(), X_OK) == 0)
      return MpsControl(program, std::move(environment));
  }
  return Fail(ErrorCode::kUnsupported, fmt::format("{} is not installed", kProgram),
              "it comes with the driver (Debian: nvidia-cuda-mps)");
}

std::vector<std::string> MpsControl::EnvironmentFor(const MpsDaemonFiles& files) const {
  std::vector<std::string> environment = environment_;
  environment.push_back("CUDA_MPS_PIPE_DIRECTORY=" + files.pipe_directory);
  environment.push_back("CUDA_MPS_LOG_DIRECTORY=" + files.log_directory);
  return environment;
}

Result<int> MpsControl::Version() const {
  SpawnOptions options;
  options.argv = {program_, "-v"};
  options.environment = environment_;
  const auto said = RunProgram(options, kAnswersWithin);
  if (!said) return tl::unexpected<Error>(said.error());
  // "CUDA MPS Version 13010": the last word.
  const std::string line = FirstLine(said->output);
  const auto version = Number(line.substr(line.rfind(' ') + 1));
  if (version) return *version;
  return Fail(ErrorCode::kUnsupported,
              fmt::format("{} -v is not understood: {}", kProgram, FirstLine(said->output)));
}

Result<ProcessId> MpsControl::Start(const MpsDaemonFiles& files, const std::string& device,
                                    const MpsDaemonKind& kind, bool ours) const {
  const bool named = kind.protocol == MpsProtocol::kNamed;
  if (const int first = named              ? kFirstMpsWithNames
                        : kind.partitioned ? kFirstMpsWithPartitions
                                           : 0) {
    const auto version = Version();
    if (!version) return tl::unexpected(version.error());
    if (*version < first) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("{} of CUDA {}.{} has no {}", kProgram, *version / 1000,
                              *version % 1000 / 10, named ? "namespaces" : "static partitions"),
                  fmt::format("they come with CUDA {}.{}", first / 1000, first % 1000 / 10));
    }
  }
  if (const auto there = Daemon(files.pipe_directory)) {
    return Fail(ErrorCode::kBusy, fmt::format("an MPS daemon (pid {}) has {} already", there->pid,
                                              files.pipe_directory));
  }
  std::error_code error;
  for (const std::string& folder : {files.pipe_directory, files.log_directory}) {
    fs::create_directories(folder, error);
    if (error)
      return Fail(ErrorCode::kFailed, fmt::format("cannot make {}: {}", folder, error.message()));
  }
  SpawnOptions options;
  options.argv = {program_, "-d"};
  if (named) options.argv.insert(options.argv.end(), {"-p", "3"});
  if (kind.partitioned && !named) options.argv.push_back("-S");
  options.environment = EnvironmentFor(files);
  options.environment.push_back("CUDA_VISIBLE_DEVICES=" + device);
  if (ours) options.environment.push_back(fmt::format("{}={}", kMark, device));
  const auto said = RunProgram(options, kAnswersWithin);
  if (!said) return FailedWhile(fmt::format("starting {}", kProgram), said.error());
  if (said->end.exit_code != 0) {
    return Fail(ErrorCode::kFailed,
                fmt::format("{} -d: {}: {}", kProgram, said->end.Text(), FirstLine(said->output)),
                fmt::format("its log is in {}", files.log_directory));
  }
  // Its file is written by the process in the background.
  const auto until = std::chrono::steady_clock::now() + kAnswersWithin;
  while (std::chrono::steady_clock::now() < until) {
    if (const auto daemon = Daemon(files.pipe_directory)) return *daemon;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return Fail(
      ErrorCode::kFailed,
      fmt::format("{} -d has ended, but no daemon is behind {}", kProgram, files.pipe_directory),
      fmt::format("its log is in {}", files.log_directory));
}

std::optional<ProcessId> MpsControl::Daemon(const std::string& pipe_directory,
                                            const std::string& root) {
  std::ifstream file(root + "/" + pipe_directory + "/" + kPidFile);
  std::string text;
  std::getline(file, text);
  const auto pid = Number(text);
  if (!pid || !IsControl(*pid, root)) return std::nullopt;
  return ReadProcessStat(*pid, root)->id;
}

std::optional<MpsDaemonKind> MpsControl::KindOf(const std::string& pipe_directory,
                                                const std::string& root) {
  const auto daemon = Daemon(pipe_directory, root);
  if (!daemon) return std::nullopt;
  const std::vector<std::string> words = CommandLine(daemon->pid, root);
  MpsDaemonKind kind;
  bool named = false;
  for (size_t i = 1; i < words.size(); ++i) {
    const std::string& word = words[i];
    const bool next = (word == "-p" || word == "--protocol") && i + 1 < words.size();
    named = named || word == "-p3" || word == "--protocol=3" || (next && words[i + 1] == "3");
    kind.partitioned = kind.partitioned || word == "-S" || word == "--static-partitioning";
  }
  // The variable wins over the option.
  if (const auto told = ReadProcessVariable(daemon->pid, kProtocolVariable, root))
    named = *told == "3" || (named && *told != "2");
  if (named) kind = {MpsProtocol::kNamed, false};
  return kind;
}

Result<std::string> MpsControl::Ask(const MpsDaemonFiles& files, const std::string& lines) const {
  int in[2];
  if (pipe2(in, O_CLOEXEC) != 0) return Fail(ErrorCode::kFailed, "out of descriptors");
  // A pipe holds far more than any question.
  const bool written =
      write(in[1], lines.data(), lines.size()) == static_cast<ssize_t>(lines.size());
  close(in[1]);
  SpawnOptions options;
  options.argv = {program_};
  options.environment = EnvironmentFor(files);
  options.standard_input = in[0];
  const auto said = RunProgram(options, kAnswersWithin);
  close(in[0]);
  if (!said || !written)
    return said ? Fail(ErrorCode::kFailed, "cannot ask") : tl::unexpected<Error>(said.error());
  if (said->end.exit_code == 0) return said->output;
  return Fail(ErrorCode::kUnavailable, fmt::format("no MPS daemon answers behind {}: {}",
                                                   files.pipe_directory, FirstLine(said->output)));
}

Result<std::string> MpsControl::Do(const MpsDaemonFiles& files,
                                   std::vector<std::string> command) const {
  SpawnOptions options;
  options.argv = {program_};
  options.argv.insert(options.argv.end(), command.begin(), command.end());
  options.environment = EnvironmentFor(files);
  options.environment.push_back(fmt::format("{}=3", kProtocolVariable));
  const auto said = RunProgram(options, kAnswersWithin);
  if (!said) return tl::unexpected<Error>(said.error());
  if (said->end.exit_code == 0) return said->output;
  return Fail(ErrorCode::kFailed,
              fmt::format("{} {}: {}", kProgram, fmt::join(command, " "), FirstLine(said->output)));
}

Status MpsControl::SetDefaults(const MpsDaemonFiles& files, const MpsDefaults& defaults) const {
  std::string lines;
  // The daemon has one device, which is its first.
  if (defaults.thread_percentage)
    lines += fmt::format("set_default_active_thread_percentage {}\n", *defaults.thread_percentage);
  if (defaults.memory) {
    lines +=
        fmt::format("set_default_device_pinned_mem_limit 0 {}M\n", defaults.memory->value >> 20);
  }
  lines += fmt::format("set_default_client_priority {}\n", defaults.below_normal_priority ? 1 : 0);
  // It says nothing of what it did not take, so it is asked.
  lines += "get_default_active_thread_percentage\nget_default_client_priority\n";
  const auto answer = Ask(files, lines);
  if (!answer) return tl::unexpected<Error>(answer.error());
  const std::vector<std::string> said = Lines(*answer);
  const std::string percentage = fmt::format("{}.0", defaults.thread_percentage.value_or(100));
  const bool took =
      said.size() >= 2 && (!defaults.thread_percentage || said[said.size() - 2] == percentage);
  if (took) return {};
  return Fail(ErrorCode::kFailed,
              fmt::format("the MPS daemon did not take its limits: {}", FirstLine(*answer)));
}

Status MpsControl::SetLimits(const MpsDaemonFiles& files, int server,
                             const MpsDefaults& limits) const {
  std::string lines;
  if (limits.memory) {
    lines +=
        fmt::format("set_device_pinned_mem_limit {} 0 {}M\n", server, limits.memory->value >> 20);
  }
  if (limits.thread_percentage) {
    lines += fmt::format("set_active_thread_percentage {0} {1}\nget_active_thread_percentage {0}\n",
                         server, *limits.thread_percentage);
  }
  if (lines.empty()) return {};
  const auto answer = Ask(files, lines);
  if (!answer) return tl::unexpected<Error>(answer.error());
  // It is silent about memory that it takes, and says a percentage twice.
  const std::vector<std::string> said = Lines(*answer);
  const bool took =
      limits.thread_percentage
          ? !said.empty() && said.back() == fmt::format("{}.0", *limits.thread_percentage)
          : said.empty();
  if (took) return {};
  return Fail(ErrorCode::kFailed, fmt::format("the MPS server (pid {}) did not take its limits: {}",
                                              server, FirstLine(*answer)));
}

Result<std::vector<MpsServer>> MpsControl::Servers(const MpsDaemonFiles& files) const {
  if (IsNamed(files)) {
    const auto list = Do(files, {"server", "list", kForPrograms});
    if (!list) return tl::unexpected<Error>(list.error());
    return mps::ReadNamedServers(*list);
  }
  const auto answer = Ask(files, "get_server_list\n");
  if (!answer) return tl::unexpected<Error>(answer.error());
  return mps::ReadServers(*answer);
}

Result<std::optional<int>> MpsControl::Server(const MpsDaemonFiles& files) const {
  const auto servers = Servers(files);
  if (!servers) return tl::unexpected<Error>(servers.error());
  // Of text, one user's server at a time is active; an older one may still be ending.
  return servers->empty() ? std::optional<int>() : std::optional(servers->back().pid);
}

Result<std::vector<int>> MpsControl::Clients(const MpsDaemonFiles& files, int server) const {
  if (!IsNamed(files)) {
    const auto answer = Ask(files, fmt::format("get_client_list {}\n", server));
    if (!answer) return tl::unexpected<Error>(answer.error());
    return mps::ReadClients(*answer);
  }
  const auto servers = Servers(files);
  if (!servers) return tl::unexpected<Error>(servers.error());
  for (const MpsServer& one : *servers) {
    if (one.pid != server) continue;
    const auto list = Do(files, {"client", "list", "--server=" + one.name, kForPrograms});
    if (!list) return tl::unexpected<Error>(list.error());
    return mps::ReadNamedClients(*list);
  }
  return Fail(ErrorCode::kNotFound,
              fmt::format("no MPS server (pid {}) is behind {}", server, files.pipe_directory));
}

Result<MpsPartitions> MpsControl::Partitions(const MpsDaemonFiles& files,
                                             const std::string& gpu_uuid) const {
  const auto answer = Ask(files, "lspart\n");
  if (!answer) return tl::unexpected<Error>(answer.error());
  return mps::ReadPartitions(*answer, gpu_uuid);
}

Result<std::string> MpsControl::AddPartition(const MpsDaemonFiles& files,
                                             const std::string& gpu_uuid, int chunks) const {
  const auto answer = Ask(files, fmt::format("sm_partition add {} {}\n", gpu_uuid, chunks));
  if (!answer) return tl::unexpected<Error>(answer.error());
  if (const auto name = mps::ReadNewPartition(*answer, gpu_uuid)) return *name;
  return Fail(ErrorCode::kDoesNotFit,
              fmt::format("no MPS partition of {} chunks of SMs can be made: {}", chunks,
                          FirstLine(*answer)));
}

Status MpsControl::RemovePartition(const MpsDaemonFiles& files, const std::string& name) const {
  const size_t slash = name.find('/');
  if (slash == std::string::npos)
    return Fail(ErrorCode::kInvalid, "'" + name + "' is no MPS partition");
  const auto answer = Ask(
      files, fmt::format("sm_partition rm {} {}\n", name.substr(0, slash), name.substr(slash + 1)));
  if (!answer) return tl::unexpected<Error>(answer.error());
  if (answer->find("removed") != std::string::npos || Lines(*answer).empty()) return {};
  return Fail(ErrorCode::kFailed,
              fmt::format("the MPS partition {} is not removed: {}", name, FirstLine(*answer)));
}

Result<bool> MpsControl::IsFaulted(const MpsDaemonFiles& files, int server) const {
  if (IsNamed(files)) {
    const auto servers = Servers(files);
    if (!servers) return tl::unexpected<Error>(servers.error());
    return std::any_of(servers->begin(), servers->end(),
                       [&](const MpsServer& one) { return one.pid == server && one.faulted; });
  }
  const auto answer = Ask(files, fmt::format("get_server_status {}\n", server));
  if (!answer) return tl::unexpected<Error>(answer.error());
  return answer->find("FAULT") != std::string::npos;
}

Status MpsControl::TerminateClient(const MpsDaemonFiles& files, int server, int client) const {
  std::string why_not;
  if (IsNamed(files)) {
    const auto ended = Do(files, {"client", "terminate", std::to_string(client)});
    if (!ended) why_not = ended.error().message;
  } else {
    const auto answer = Ask(files, fmt::format("terminate_client {} {}\n", server, client));
    if (!answer) return tl::unexpected<Error>(answer.error());
    if (!Lines(*answer).empty()) why_not = FirstLine(*answer);
  }
  if (why_not.empty()) return {};
  return Fail(ErrorCode::kNotFound,
              fmt::format("client {} of the MPS server {}: {}", client, server, why_not));
}

Status MpsControl::Quit(const MpsDaemonFiles& files) const {
  const auto daemon = Daemon(files.pipe_directory);
  if (!daemon) return {};
  const auto servers = Servers(files);
  if (!servers) return tl::unexpected<Error>(servers.error());
  size_t users = 0;
  for (const MpsServer& server : *servers) {
    const auto clients = Clients(files, server.pid);
    if (!clients) return tl::unexpected<Error>(clients.error());
    users += clients->size();
  }
  if (users > 0) {
    return Fail(ErrorCode::kBusy,
                fmt::format("{} programs use the MPS daemon of {}", users, files.pipe_directory),
                "stop them first");
  }
  const auto told = IsNamed(files) ? Do(files, {"-q"}) : Ask(files, "quit\n");
  if (!told) return tl::unexpected<Error>(told.error());
  const auto watch = ProcessWatch::Open(*daemon);
  if (!watch) return {};
  constexpr auto kMost = std::chrono::duration_cast<std::chrono::milliseconds>(kAnswersWithin);
  pollfd ended = {watch->fd(), POLLIN, 0};
  if (poll(&ended, 1, static_cast<int>(kMost.count())) == 1) return {};
  return Fail(ErrorCode::kFailed,
              fmt::format("the MPS daemon (pid {}) was told to quit and goes on", daemon->pid));
}

std::vector<FoundMpsDaemon> FindMpsDaemons(const std::string& root) {
  std::vector<FoundMpsDaemon> found;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(root + "/proc", error)) {
    const auto pid = Number(entry.path().filename().string());
    if (!pid || !IsControl(*pid, root)) continue;
    const char* simulated = std::getenv(kSimulated);
    if (ReadProcessVariable(*pid, kSimulated, root).value_or("") !=
        (simulated != nullptr ? simulated : ""))
      continue;
    FoundMpsDaemon daemon;
    daemon.pid = *pid;
    daemon.ours = ReadProcessVariable(*pid, kMark, root).has_value();
    daemon.pipe_directory = ReadProcessVariable(*pid, "CUDA_MPS_PIPE_DIRECTORY", root).value_or("");
    daemon.visible_devices = ReadProcessVariable(*pid, "CUDA_VISIBLE_DEVICES", root).value_or("");
    // One that was ending meanwhile has told nothing of itself.
    if (!IsControl(*pid, root)) continue;
    found.push_back(std::move(daemon));
  }
  std::sort(found.begin(), found.end(), [](const auto& a, const auto& b) { return a.pid < b.pid; });
  return found;
}

}  // namespace tranche
