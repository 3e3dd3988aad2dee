#include "base/process.h"

#include <fmt/format.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <fstream>
#include <sstream>
#include <utility>
#include <vector>

namespace tranche {
namespace {

// ioctl PIDFD_GET_INFO of Linux 6.13, with the exit code since 6.15; newer than Debian 12's
// headers.
struct PidfdInfo {
  uint64_t mask;
  uint64_t cgroup_id;
  uint32_t ids[11];  // pid, tgid, ppid, and the uids and gids
  int32_t exit_code;
};
static_assert(sizeof(PidfdInfo) == 64);
constexpr unsigned long kPidfdGetInfo = _IOWR(0xFF, 11, PidfdInfo);
constexpr uint64_t kPidfdInfoExit = 1 << 3;

std::string ReadWholeFile(const std::string& path) {
  // Not through streambuf iterators: they throw where read(2) fails, as it does (ESRCH) on files of
  // a process that ends between opening and reading.
  std::ostringstream text;
  text << std::ifstream(path, std::ios::binary).rdbuf();
  return text.str();
}

std::string ProcPath(const std::string& root, pid_t pid, const char* file) {
  return fmt::format("{}{}proc/{}/{}", root, root.ends_with('/') ? "" : "/", pid, file);
}

template <typename T>
bool ParseNumber(std::string_view text, T* number) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), *number);
  return error == std::errc() && end == text.data() + text.size();
}

ProcessEnd EndOfWaitStatus(int status) {
  if (WIFSIGNALED(status)) return {.exit_code = {}, .signal = WTERMSIG(status)};
  return {.exit_code = WEXITSTATUS(status), .signal = {}};
}

}  // namespace

std::optional<ProcessStat> ReadProcessStat(pid_t pid, const std::string& root) {
  const std::string text = ReadWholeFile(ProcPath(root, pid, "stat"));
  // "PID (COMMAND) STATE PPID PGRP SESSION ...": the command may hold spaces and parentheses of its
  // own.
  const size_t open = text.find('('), close = text.rfind(')');
  if (open == std::string::npos || close == std::string::npos || close < open) return {};
  std::vector<std::string_view> fields;  // from the state on: field 3 of proc(5) is fields[0]
  for (size_t at = close + 1; at < text.size();) {
    const size_t begin = text.find_first_not_of(" \n", at);
    if (begin == std::string::npos) break;
    at = std::min(text.find_first_of(" \n", begin), text.size());
    fields.push_back(std::string_view(text).substr(begin, at - begin));
  }
  ProcessStat stat;
  stat.id.pid = pid;
  stat.command = text.substr(open + 1, close - open - 1);
  if (fields.size() < 20 || fields[0].size() != 1 || !ParseNumber(fields[1], &stat.parent) ||
      !ParseNumber(fields[2], &stat.group) || !ParseNumber(fields[3], &stat.session) ||
      !ParseNumber(fields[19], &stat.id.start_ticks)) {
    return {};
  }
  stat.state = fields[0][0];
  if (fields.size() >= 50) ParseNumber(fields[49], &stat.exit_status);
  return stat;
}

bool IsAlive(ProcessId id, const std::string& root) {
  const auto stat = ReadProcessStat(id.pid, root);
  return stat && stat->id == id && stat->state != 'Z' && stat->state != 'X';
}

std::optional<std::string> ReadProcessVariable(pid_t pid, const std::string& name,
                                               const std::string& root) {
  const std::string text = ReadWholeFile(ProcPath(root, pid, "environ"));
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\0', at), text.size());
    const std::string_view entry = std::string_view(text).substr(at, end - at);
    if (entry.size() > name.size() && entry.starts_with(name) && entry[name.size()] == '=') {
      return std::string(entry.substr(name.size() + 1));
    }
    at = end + 1;
  }
  return {};
}

std::string ProcessEnd::Text() const {
  if (exit_code) return fmt::format("exit code {}", *exit_code);
  if (!signal) return "ended; how is not known";
  const char* description = sigdescr_np(*signal);
  return fmt::format("killed by signal {} ({})", *signal, description ? description : "unknown");
}

Result<ProcessWatch> ProcessWatch::Open(ProcessId id) {
  const int fd = static_cast<int>(syscall(SYS_pidfd_open, id.pid, 0));
  if (fd < 0 && errno != ESRCH && errno != EINVAL) {
    return Fail(ErrorCode::kFailed,
                fmt::format("cannot watch process {}: {}", id.pid, strerror(errno)));
  }
  // Only now is the pid pinned, so only now does the time it started at mean something.
  const auto stat = ReadProcessStat(id.pid);
  if (fd < 0 || !stat || stat->id != id) {
    if (fd >= 0) close(fd);
    return Fail(ErrorCode::kNotFound,
                stat ? fmt::format("process {} is another one now ({})", id.pid, stat->command)
                     : fmt::format("process {} has ended", id.pid));
  }
  return ProcessWatch(id, fd);
}

ProcessWatch::ProcessWatch(ProcessWatch&& other) noexcept
    : id_(other.id_), fd_(std::exchange(other.fd_, -1)) {}

ProcessWatch& ProcessWatch::operator=(ProcessWatch&& other) noexcept {
  std::swap(id_, other.id_);
  std::swap(fd_, other.fd_);
  return *this;
}

ProcessWatch::~ProcessWatch() {
  if (fd_ >= 0) close(fd_);
}

bool ProcessWatch::Ended() const {
  pollfd ask = {fd_, POLLIN, 0};
  return poll(&ask, 1, 0) == 1;
}

std::optional<ProcessEnd> ProcessWatch::Reap() {
  // Of a process that is not our child, only the kernel can tell.
  const auto ask_kernel = [this]() -> std::optional<ProcessEnd> {
    PidfdInfo info = {};
    info.mask = kPidfdInfoExit;
    if (ioctl(fd_, kPidfdGetInfo, &info) == 0 && (info.mask & kPidfdInfoExit)) {
      return EndOfWaitStatus(info.exit_code);
    }
    // Or, while its parent does not reap it, its zombie; to a user who may not look that says 0.
    const auto stat = ReadProcessStat(id_.pid);
    if (!stat || stat->id != id_) return ProcessEnd{};
    const bool known = stat->state == 'Z' && (stat->exit_status != 0 || geteuid() == 0);
    return known ? std::optional(EndOfWaitStatus(stat->exit_status)) : std::nullopt;
  };
  siginfo_t info = {};
  if (waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(fd_), &info, WEXITED | WNOHANG) !=
      0) {
    return ask_kernel();
  }
  if (info.si_pid == 0) return {};
  if (info.si_code == CLD_EXITED) return ProcessEnd{.exit_code = info.si_status, .signal = {}};
  return ProcessEnd{.exit_code = {}, .signal = info.si_status};
}

void ProcessWatch::Signal(int signal) const {
  syscall(SYS_pidfd_send_signal, fd_, signal, nullptr, 0);
}

}  // namespace tranche
