#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/process.h"

namespace tranche {

// What /proc says of the nginx of one directory. A master leads a session of its own, and its title
// holds its arguments, hence the directory; no pid file can be as fresh. A worker is in its
// master's session.

// The running master that was started with -c `directory`/nginx.conf.
std::optional<ProcessId> FindMaster(const std::string& directory);

struct NginxWorker {
  ProcessId id;
  bool shutting_down = false;  // takes no new requests, ends those it has
};

// The workers of a master that runs, or of one that is gone and left them.
std::vector<NginxWorker> WorkersOf(pid_t master);

}  // namespace tranche
