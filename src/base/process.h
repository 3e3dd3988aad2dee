#pragma once

#include <sys/types.h>

#include <cstdint>
#include <optional>
#include <string>

#include "base/result.h"

namespace tranche {

// A process for good: a pid alone is reused, a pid with the time it started at is not.
struct ProcessId {
  pid_t pid = 0;
  uint64_t start_ticks = 0;  // since boot, field 22 of /proc/PID/stat

  bool operator==(const ProcessId&) const = default;
};

// What the kernel says of a process.
struct ProcessStat {
  ProcessId id;
  std::string command;  // at most 15 characters, as the kernel keeps it
  char state = '?';     // 'Z': a zombie, which nobody has reaped
  pid_t parent = 0;
  pid_t group = 0;
  pid_t session = 0;
  int exit_status = 0;  // of a zombie, as wait(2) has it; 0 also when we may not know
};

// Absent when there is no such process (any more).
std::optional<ProcessStat> ReadProcessStat(pid_t pid, const std::string& root = "/");

// Whether that very process still runs; a zombie does not.
bool IsAlive(ProcessId id, const std::string& root = "/");

// One variable of the environment a process was started with; absent when it has none of that name,
// or when its environment may not be read. A process may overwrite its own (to change its title),
// so absence proves nothing.
std::optional<std::string> ReadProcessVariable(pid_t pid, const std::string& name,
                                               const std::string& root = "/");

// How a process ended.
struct ProcessEnd {
  std::optional<int> exit_code;  // it exited
  std::optional<int> signal;     // a signal killed it
  // Both absent: it was not our child, and the kernel is too old to tell (before 6.15).

  bool operator==(const ProcessEnd&) const = default;
  // "exit code 3", "killed by signal 9 (Killed)", "ended; how is not known".
  std::string Text() const;
};

// Holds on to one process, a child or not, through a pidfd, so that a pid given away meanwhile is
// never taken for it. Movable; not thread-safe.
class ProcessWatch {
 public:
  // kNotFound when that very process does not run any more.
  static Result<ProcessWatch> Open(ProcessId id);
  ProcessWatch(ProcessWatch&& other) noexcept;
  ProcessWatch& operator=(ProcessWatch&& other) noexcept;
  ~ProcessWatch();

  ProcessId id() const { return id_; }
  // Readable once the process has ended; for poll(2).
  int fd() const { return fd_; }
  // Whether it has ended; takes no time and reaps nothing.
  bool Ended() const;
  // After Ended(): how. Reaps the process when it is our child. Absent while somebody else's child
  // has not been reaped by its parent, who may tell the kernel how it ended; ask again, and give up
  // in the end.
  std::optional<ProcessEnd> Reap();
  // Sends a signal to the process alone. Nothing happens when it has ended.
  void Signal(int signal) const;

 private:
  ProcessWatch(ProcessId id, int fd) : id_(id), fd_(fd) {}

  ProcessId id_;
  int fd_ = -1;
};

}  // namespace tranche
