#pragma once

#include <sys/types.h>

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/process.h"
#include "base/result.h"
#include "base/units.h"

namespace tranche {

// Whose rights a process has.
struct Credentials {
  uint32_t uid = 0;
  uint32_t gid = 0;
  std::vector<gid_t> groups;  // supplementary

  // Those of the calling process.
  static Credentials Own();
  // `uid` with `gid` and the supplementary groups of its entry in the user database; a uid without
  // an entry has `gid` alone.
  static Result<Credentials> Of(uint32_t uid, uint32_t gid);
};

// Takes on these credentials for good and for the calling thread; meant for a child between fork
// and exec, hence async-signal-safe. Returns 0 or an errno. Nothing is done when they are those of
// the caller already.
int TakeOn(const Credentials& credentials);

struct SpawnOptions {
  // The program is looked for in `path` (a list as in PATH) when it has no slash.
  std::vector<std::string> argv;
  std::vector<std::string> environment;  // "NAME=value", all of it
  std::string path;
  std::string working_directory;  // "" = as it is
  std::optional<Credentials> credentials;
  bool own_session =
      true;  // and process group, so that it survives us and can be signalled as a whole
  // Descriptors to become 0, 1 and 2; -1 = /dev/null. All others are closed.
  int standard_input = -1, standard_output = -1, standard_error = -1;
  // Runs in the child before it takes on `credentials`. Must be async-signal-safe; not 0 is an
  // errno that makes the spawn fail.
  std::function<int()> prepare;
};

// Starts a program and returns when it runs. When it cannot be executed there is no process, and
// the error is the one that a shell would report: kNotFound (its 127), kPermission (126), kFailed;
// the message names the file and the reason. The child's signals are all unblocked and at their
// defaults, its umask is 022. The caller reaps the child (ProcessWatch); SIGCHLD must not be
// ignored.
Result<ProcessId> Spawn(const SpawnOptions& options);

struct ProgramResult {
  ProcessEnd end;
  std::string output;  // stdout and stderr as they came
};

// Runs a short-lived program to its end; it is killed with its whole group, and the result is
// kFailed, when that takes longer than `timeout`. Output beyond 1 MiB is read and dropped.
Result<ProgramResult> RunProgram(SpawnOptions options, Duration timeout);

}  // namespace tranche
