#include "edge/broker/foreground.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

namespace tranche {
namespace {

std::vector<char*> Pointers(const std::vector<std::string>& words) {
  std::vector<char*> out;
  for (const std::string& word : words) out.push_back(const_cast<char*>(word.c_str()));
  out.push_back(nullptr);
  return out;
}

// Puts the caller into the cgroup of that list. Returns 0 or an errno; async-signal-safe.
int Enter(const char* members) {
  const int fd = open(members, O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  const int wrong = write(fd, "0", 1) == 1 ? 0 : errno;
  close(fd);
  return wrong;
}

// Those that ask a program for something; a stop of the terminal's stops both of us by itself.
sigset_t PassedOn() {
  sigset_t set;
  sigemptyset(&set);
  for (const int signal :
       {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGUSR1, SIGUSR2, SIGALRM, SIGWINCH, SIGCHLD})
    sigaddset(&set, signal);
  return set;
}

}  // namespace

Result<ProcessEnd> RunInForeground(const std::string& file, const std::vector<std::string>& argv,
                                   const std::vector<std::string>& environment,
                                   const std::string& cgroup, Duration interval,
                                   const std::function<void()>& tick) {
  const std::string members = cgroup.empty() ? "" : cgroup + "/cgroup.procs";
  const std::vector<char*> arguments = Pointers(argv), variables = Pointers(environment);
  const sigset_t set = PassedOn();
  sigset_t before;
  int failure[2];
  if (pipe2(failure, O_CLOEXEC) != 0) return Fail(ErrorCode::kFailed, "cannot make a pipe");
  // Before the fork, so that none is lost or kills us first.
  sigprocmask(SIG_BLOCK, &set, &before);
  const pid_t child = fork();
  if (child == 0) {
    sigprocmask(SIG_SETMASK, &before, nullptr);
    int why = members.empty() ? 0 : Enter(members.c_str());
    if (why == 0) {
      execve(file.c_str(), arguments.data(), variables.data());
      why = errno;
    }
    const ssize_t told = write(failure[1], &why, sizeof(why));
    _exit(told == sizeof(why) ? 127 : 126);
  }
  const int forked = errno;
  close(failure[1]);
  int why = 0;
  const bool failed = child < 0 || read(failure[0], &why, sizeof(why)) == sizeof(why);
  close(failure[0]);
  if (failed) {
    if (child > 0) waitpid(child, nullptr, 0);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    if (child < 0) why = forked;
    return Fail(why == ENOENT ? ErrorCode::kNotFound : ErrorCode::kPermission,
                "cannot execute " + file + ": " + std::strerror(why));
  }
  int status = 0;
  const timespec pause = {static_cast<time_t>(interval.count() / 1000000000),
                          static_cast<long>(interval.count() % 1000000000)};
  while (waitpid(child, &status, WNOHANG) == 0) {
    siginfo_t info;
    const int signal = sigtimedwait(&set, &info, &pause);
    // The terminal sends to the whole group, the kernel in its name.
    if (signal > 0 && signal != SIGCHLD && info.si_code != SI_KERNEL) kill(child, signal);
    tick();
  }
  sigprocmask(SIG_SETMASK, &before, nullptr);
  ProcessEnd end;
  if (WIFSIGNALED(status))
    end.signal = WTERMSIG(status);
  else
    end.exit_code = WEXITSTATUS(status);
  return end;
}

}  // namespace tranche
