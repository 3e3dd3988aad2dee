#include "edge/driver/mps/mps_control.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
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

constexpr const char* kProgram = "nvidia-cuda-mps-control";
constexpr const char* kPidFile = "nvidia-cuda-mps-control.pid";
// In the environment of those that Tranche started.
constexpr const char* kMark = "TRANCHE_MPS_DEVICE";
// Daemons of a simulated machine are of that one alone.
constexpr const char* kSimulated = "TRANCHE_SIM_DIR";
// As the kernel keeps it: 15 characters.
constexpr const char* kCommand = "nvidia-cuda-mps";
constexpr int kFirstWithPartitions = 13010;
constexpr Duration kAnswersWithin = std::chrono::seconds(10);

std::optional<int> Number(const std::string& text) {
  int number = 0;
  const char* end = text.data() + text.size();
  const auto [at, error] = std::from_chars(text.data(), end, number);
  return error == std::errc() && at == end && number > 0 ? std::optional(number) : std::nullopt;
}

std::vector<std::string> Lines(const std::string& text) {
  std::vector<std::string> lines;
  std::istringstream stream(text);
  for (std::string line; std::getline(stream, line);) {
    while (!line.empty() && (line.back() == ' ' || line.back() == '\r')) line.pop_back();
    if (!line.empty()) lines.push_back(line);
  }
  return lines;
}

std::string FirstLine(const std::string& text) {
  const std::vector<std::string> lines = Lines(text);
  return lines.empty() ? "it says nothing" : lines.front();
}

bool IsControl(int pid, const std::string& root) {
  const auto stat = ReadProcessStat(pid, root);
  if (!stat || stat->state == 'Z' || stat->command != kCommand) return false;
  std::ifstream file(fmt::format("{}/proc/{}/cmdline", root, pid));
  std::string command;
  std::getline(file, command, '\0');
  // The server of another daemon has the same first 15 characters.
  return command.size() >= std::string(kProgram).size() &&
         command.compare(command.size() - std::string(kProgram).size(), std::string::npos,
                         kProgram) == 0;
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
                                    bool ours, bool partitioned) const {
  if (partitioned) {
    const auto version = Version();
    if (!version) return tl::unexpected(version.error());
    if (*version < kFirstWithPartitions) {
      return Fail(ErrorCode::kUnsupported,
                  fmt::format("{} of CUDA {}.{} has no static partitions", kProgram,
                              *version / 1000, *version % 1000 / 10),
                  "they come with CUDA 13.1");
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
  if (partitioned) options.argv.push_back("-S");
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

Result<std::optional<int>> MpsControl::Server(const MpsDaemonFiles& files) const {
  const auto answer = Ask(files, "get_server_list\n");
  if (!answer) return tl::unexpected<Error>(answer.error());
  const std::vector<std::string> lines = Lines(*answer);
  if (lines.empty()) return std::optional<int>();
  // One user's server at a time is active; an older one may still be ending.
  const auto pid = Number(lines.back());
  if (pid) return std::optional(pid);
  return Fail(ErrorCode::kFailed, "the list of MPS servers is not understood: " + lines.back());
}

Result<std::vector<int>> MpsControl::Clients(const MpsDaemonFiles& files, int server) const {
  const auto answer = Ask(files, fmt::format("get_client_list {}\n", server));
  if (!answer) return tl::unexpected<Error>(answer.error());
  std::vector<int> clients;
  for (const std::string& line : Lines(*answer)) {
    const auto pid = Number(line);
    if (!pid) return Fail(ErrorCode::kFailed, "the list of MPS clients is not understood: " + line);
    clients.push_back(*pid);
  }
  return clients;
}

Result<MpsPartitions> MpsControl::Partitions(const MpsDaemonFiles& files) const {
  const auto answer = Ask(files, "lspart\n");
  if (!answer) return tl::unexpected<Error>(answer.error());
  MpsPartitions partitions;
  for (const std::string& line : Lines(*answer)) {
    // GPU, partition ("-": the GPU itself), chunks free and used, SMs free and used, in use.
    std::istringstream text(line);
    std::string gpu, partition;
    int free_chunks = -1, used_chunks = -1, free_sms = -1, used_sms = -1;
    text >> gpu >> partition >> free_chunks >> used_chunks >> free_sms >> used_sms;
    if (gpu.rfind("GPU-", 0) != 0) continue;  // what the columns are
    if (!text || free_chunks < 0 || used_chunks < 0 || free_sms < 0 || used_sms < 0)
      return Fail(ErrorCode::kFailed, "the list of MPS partitions is not understood: " + line);
    if (partition == "-") {
      partitions.chunks = free_chunks + used_chunks;
      partitions.sms = free_sms + used_sms;
    } else {
      const bool whole = partition.rfind(gpu + "/", 0) == 0;
      partitions.list.push_back({whole ? partition : gpu + "/" + partition, used_chunks});
    }
  }
  if (partitions.chunks > 0) return partitions;
  return Fail(ErrorCode::kUnsupported,
              "the MPS daemon has no static partitions: " + FirstLine(*answer));
}

Result<std::string> MpsControl::AddPartition(const MpsDaemonFiles& files,
                                             const std::string& gpu_uuid, int chunks) const {
  const auto answer = Ask(files, fmt::format("sm_partition add {} {}\n", gpu_uuid, chunks));
  if (!answer) return tl::unexpected<Error>(answer.error());
  // "Partition <uuid>/<name> created"; the name may have slashes itself.
  std::istringstream text(*answer);
  std::string what, name, made;
  text >> what >> name >> made;
  if (what == "Partition" && made == "created" && name.rfind(gpu_uuid + "/", 0) == 0) return name;
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
  const auto answer = Ask(files, fmt::format("get_server_status {}\n", server));
  if (!answer) return tl::unexpected<Error>(answer.error());
  return answer->find("FAULT") != std::string::npos;
}

Status MpsControl::TerminateClient(const MpsDaemonFiles& files, int server, int client) const {
  const auto answer = Ask(files, fmt::format("terminate_client {} {}\n", server, client));
  if (!answer) return tl::unexpected<Error>(answer.error());
  if (Lines(*answer).empty()) return {};
  return Fail(ErrorCode::kNotFound, fmt::format("client {} of the MPS server {}: {}", client,
                                                server, FirstLine(*answer)));
}

Status MpsControl::Quit(const MpsDaemonFiles& files) const {
  const auto daemon = Daemon(files.pipe_directory);
  if (!daemon) return {};
  const auto server = Server(files);
  if (!server) return tl::unexpected<Error>(server.error());
  if (*server) {
    const auto clients = Clients(files, **server);
    if (!clients) return tl::unexpected<Error>(clients.error());
    if (!clients->empty()) {
      return Fail(ErrorCode::kBusy,
                  fmt::format("{} programs use the MPS daemon of {}", clients->size(),
                              files.pipe_directory),
                  "stop them first");
    }
  }
  if (const auto answer = Ask(files, "quit\n"); !answer)
    return tl::unexpected<Error>(answer.error());
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
