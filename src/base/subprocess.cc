#include "base/subprocess.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <linux/close_range.h>
#include <poll.h>
#include <pwd.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "base/descriptor.h"

namespace tranche {
namespace {

enum class Stage : int { kSession, kDescriptors, kPrepare, kCredentials, kDirectory, kExec };

// What a child that could not become its program tells its parent.
struct Failure {
  Stage stage = Stage::kExec;
  int error = 0;
};

struct Pipe {
  Descriptor read, write;

  static Result<Pipe> Make() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) {
      return Fail(ErrorCode::kFailed, fmt::format("cannot make a pipe: {}", strerror(errno)));
    }
    return Pipe{Descriptor(ends[0]), Descriptor(ends[1])};
  }
};

// The C arrays that execve wants. Pointers into strings that must stay.
std::vector<char*> Pointers(const std::vector<std::string>& strings) {
  std::vector<char*> pointers;
  for (const std::string& text : strings) pointers.push_back(const_cast<char*>(text.c_str()));
  pointers.push_back(nullptr);
  return pointers;
}

std::vector<std::string> CandidatesOf(const std::string& program, const std::string& path) {
  if (program.find('/') != std::string::npos) return {program};
  std::vector<std::string> candidates;
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find(':', at), path.size());
    // An empty entry means the working directory to a shell: not to us, nobody wants that.
    if (end > at) candidates.push_back(path.substr(at, end - at) + "/" + program);
    at = end + 1;
  }
  return candidates;
}

void ResetSignals() {
  struct sigaction action = {};
  action.sa_handler = SIG_DFL;
  for (int signal = 1; signal < NSIG; ++signal) sigaction(signal, &action, nullptr);
  sigset_t none;
  sigemptyset(&none);
  sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Puts `from` (or /dev/null) on 0, 1 and 2. All are first moved out of the way of the targets.
int PlaceDescriptors(const std::array<int, 3>& from) {
  std::array<int, 3> moved;
  for (int i = 0; i < 3; ++i) {
    int fd = from[i];
    if (fd < 0) fd = open("/dev/null", O_RDWR | O_CLOEXEC);
    moved[i] = fd < 0 ? -1 : fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (moved[i] < 0) return errno;
  }
  for (int i = 0; i < 3; ++i) {
    if (dup2(moved[i], i) < 0) return errno;
  }
  return 0;
}

[[noreturn]] void Report(int fd, Stage stage, int error) {
  const Failure failure = {stage, error};
  [[maybe_unused]] const ssize_t written = write(fd, &failure, sizeof failure);
  _exit(127);
}

// Everything a child does, allocated before the fork: afterwards only async-signal-safe calls are
// allowed.
struct ChildPlan {
  std::vector<std::string> candidates;
  std::vector<char*> candidate_pointers, argv, environment;
  std::array<int, 3> descriptors;
};

[[noreturn]] void RunChild(const SpawnOptions& options, const ChildPlan& plan, int report) {
  if (options.own_session && setsid() < 0) Report(report, Stage::kSession, errno);
  ResetSignals();
  if (const int error = PlaceDescriptors(plan.descriptors))
    Report(report, Stage::kDescriptors, error);
  if (options.prepare) {
    if (const int error = options.prepare()) Report(report, Stage::kPrepare, error);
  }
  if (options.credentials) {
    if (const int error = TakeOn(*options.credentials)) Report(report, Stage::kCredentials, error);
  }
  umask(022);
  if (!options.working_directory.empty() && chdir(options.working_directory.c_str()) != 0) {
    Report(report, Stage::kDirectory, errno);
  }
  syscall(SYS_close_range, 3U, ~0U, CLOSE_RANGE_CLOEXEC);
  int error = ENOENT;
  for (char* const* program = plan.candidate_pointers.data(); *program; ++program) {
    execve(*program, plan.argv.data(), plan.environment.data());
    // As shells do: go on to the next directory, but remember one that was there and could not be
    // run.
    if (errno != ENOENT && errno != ENOTDIR) {
      error = errno;
      if (errno != EACCES) break;
    }
  }
  Report(report, Stage::kExec, error);
}

bool Exists(const std::string& path) {
  struct stat ignored;
  return stat(path.c_str(), &ignored) == 0;
}

tl::unexpected<Error> ExplainExec(const SpawnOptions& options, int error) {
  const std::string& program = options.argv[0];
  if (error == ENOENT && program.find('/') == std::string::npos) {
    return Fail(
        ErrorCode::kNotFound,
        fmt::format("cannot run '{}': there is no such program in {}", program, options.path),
        "give the full path of the program, or extend PATH");
  }
  if (error == ENOENT) {
    const std::string full =
        program.starts_with('/') ? program : options.working_directory + "/" + program;
    if (Exists(full)) {
      return Fail(ErrorCode::kPermission,
                  fmt::format("cannot run {}: the interpreter that it names does not exist", full),
                  "check its first line (#!), or whether it was built for another system");
    }
    return Fail(ErrorCode::kNotFound, fmt::format("cannot run {}: no such file", full));
  }
  if (error == EACCES) {
    return Fail(ErrorCode::kPermission, fmt::format("cannot run '{}': permission denied", program),
                "the file must be executable, and reachable, for the user it runs as");
  }
  if (error == ENOEXEC) {
    return Fail(ErrorCode::kPermission, fmt::format("cannot run '{}': not a program", program),
                "a script needs a first line such as #!/bin/sh");
  }
  return Fail(ErrorCode::kFailed, fmt::format("cannot run '{}': {}", program, strerror(error)));
}

tl::unexpected<Error> Explain(const SpawnOptions& options, const Failure& failure) {
  const char* reason = strerror(failure.error);
  switch (failure.stage) {
    case Stage::kExec:
      return ExplainExec(options, failure.error);
    case Stage::kDirectory:
      return Fail(failure.error == EACCES ? ErrorCode::kPermission : ErrorCode::kNotFound,
                  fmt::format("cannot enter the working directory {}: {}",
                              options.working_directory, reason));
    case Stage::kCredentials:
      return Fail(ErrorCode::kPermission,
                  fmt::format("cannot run '{}' as uid {} and gid {}: {}", options.argv[0],
                              options.credentials->uid, options.credentials->gid, reason),
                  "only root starts programs for other users");
    case Stage::kPrepare:
      return Fail(ErrorCode::kFailed,
                  fmt::format("cannot prepare the process for '{}': {}", options.argv[0], reason));
    case Stage::kSession:
    case Stage::kDescriptors:
      break;
  }
  return Fail(ErrorCode::kFailed, fmt::format("cannot start '{}': {}", options.argv[0], reason));
}

bool HasNul(const std::vector<std::string>& texts) {
  return std::any_of(texts.begin(), texts.end(),
                     [](const std::string& text) { return text.find('\0') != std::string::npos; });
}

}  // namespace

Credentials Credentials::Own() {
  Credentials own = {geteuid(), getegid(), {}};
  own.groups.resize(static_cast<size_t>(std::max(getgroups(0, nullptr), 0)));
  const int count = getgroups(static_cast<int>(own.groups.size()), own.groups.data());
  own.groups.resize(static_cast<size_t>(std::max(count, 0)));
  return own;
}

Result<Credentials> Credentials::Of(uint32_t uid, uint32_t gid) {
  std::vector<char> buffer(16384);
  passwd entry = {};
  passwd* found = nullptr;
  int error;
  while ((error = getpwuid_r(uid, &entry, buffer.data(), buffer.size(), &found)) == ERANGE) {
    buffer.resize(buffer.size() * 2);
  }
  if (!found) return Credentials{uid, gid, {gid}};
  std::vector<gid_t> groups(64);
  int count = static_cast<int>(groups.size());
  while (getgrouplist(entry.pw_name, gid, groups.data(), &count) < 0) {
    groups.resize(groups.size() * 2);
    count = static_cast<int>(groups.size());
  }
  groups.resize(static_cast<size_t>(count));
  return Credentials{uid, gid, std::move(groups)};
}

int TakeOn(const Credentials& credentials) {
  const bool same = geteuid() == credentials.uid && getuid() == credentials.uid &&
                    getegid() == credentials.gid && getgid() == credentials.gid;
  // An ordinary user may not set groups, and has the right ones.
  if (same && credentials.uid != 0) return 0;
  // System calls, as the functions of the C library would try to change other threads, too.
  if (syscall(SYS_setgroups, credentials.groups.size(), credentials.groups.data()) != 0)
    return errno;
  if (syscall(SYS_setresgid, credentials.gid, credentials.gid, credentials.gid) != 0) return errno;
  if (syscall(SYS_setresuid, credentials.uid, credentials.uid, credentials.uid) != 0) return errno;
  return 0;
}

Result<ProcessId> Spawn(const SpawnOptions& options) {
  if (options.argv.empty() || options.argv[0].empty()) {
    return Fail(ErrorCode::kInvalid, "cannot run an empty command");
  }
  if (HasNul(options.argv) || HasNul(options.environment) || HasNul({options.working_directory})) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("cannot run '{}': an argument or variable holds a NUL byte",
                            options.argv[0].c_str()));
  }
  auto report = Pipe::Make();
  if (!report) return tl::unexpected(report.error());

  ChildPlan plan;
  plan.candidates = CandidatesOf(options.argv[0], options.path);
  plan.candidate_pointers = Pointers(plan.candidates);
  plan.argv = Pointers(options.argv);
  plan.environment = Pointers(options.environment);
  plan.descriptors = {options.standard_input, options.standard_output, options.standard_error};

  // Blocked across the fork, so that a signal meant for us never runs our handler in the child.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  const pid_t pid = fork();
  if (pid == 0) RunChild(options, plan, report->write.get());
  const int fork_error = errno;
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (pid < 0) {
    return Fail(ErrorCode::kFailed,
                fmt::format("cannot start '{}': {}", options.argv[0], strerror(fork_error)));
  }
  report->write.Close();
  Failure failure;
  ssize_t got;
  while ((got = read(report->read.get(), &failure, sizeof failure)) < 0 && errno == EINTR) {
  }
  if (got == sizeof failure) {
    while (waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return Explain(options, failure);
  }
  // Not reaped yet, so it is there even if it has ended meanwhile.
  const auto stat = ReadProcessStat(pid);
  if (!stat) {
    return Fail(ErrorCode::kFailed,
                fmt::format("cannot read /proc/{}/stat of '{}'", pid, options.argv[0]),
                "is /proc mounted, and is SIGCHLD not ignored?");
  }
  return stat->id;
}

Result<ProgramResult> RunProgram(SpawnOptions options, Duration timeout) {
  using std::chrono::steady_clock;
  constexpr size_t kMaxOutput = size_t{1} << 20;
  auto pipe = Pipe::Make();
  if (!pipe) return tl::unexpected(pipe.error());
  options.standard_output = options.standard_error = pipe->write.get();
  options.own_session = true;
  const auto process = Spawn(options);
  if (!process) return tl::unexpected(process.error());
  pipe->write.Close();
  auto watch = ProcessWatch::Open(*process);
  if (!watch) return tl::unexpected(watch.error());

  ProgramResult result;
  const auto deadline = steady_clock::now() + timeout;
  bool open = true, timed_out = false;
  while (true) {
    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now());
    if (left.count() <= 0) timed_out = true;
    if (timed_out) break;
    pollfd wait[2] = {{watch->fd(), POLLIN, 0}, {open ? pipe->read.get() : -1, POLLIN, 0}};
    poll(wait, 2, static_cast<int>(std::min<int64_t>(left.count(), 60000)));
    if (wait[1].revents != 0) {
      char buffer[4096];
      const ssize_t got = read(pipe->read.get(), buffer, sizeof buffer);
      if (got == 0 || (got < 0 && errno != EINTR)) open = false;
      if (got > 0 && result.output.size() < kMaxOutput) {
        result.output.append(buffer, static_cast<size_t>(got));
      }
    } else if (wait[0].revents != 0) {
      break;  // ended, and nothing more to read: what it left running may keep the pipe open
    }
  }
  // Still unreaped, so the group is still its own.
  kill(-process->pid, SIGKILL);
  if (timed_out) {
    pollfd wait = {watch->fd(), POLLIN, 0};
    poll(&wait, 1, 1000);
  }
  const auto end = watch->Reap();
  if (timed_out) {
    return Fail(ErrorCode::kFailed, fmt::format("'{}' did not end within {}", options.argv[0],
                                                FormatDuration(timeout)));
  }
  result.end = end.value_or(ProcessEnd{});
  return result;
}

}  // namespace tranche
