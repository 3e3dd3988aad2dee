#pragma once

#include <cstdint>
#include <map>
#include <string>

#include "sim/machine/state.h"

namespace tranche::sim::mps {

// The nvidia-cuda-mps-server processes of a control daemon.
class Processes {
 public:
  explicit Processes(std::string machine_dir);
  ~Processes();
  Processes(const Processes&) = delete;
  Processes& operator=(const Processes&) = delete;

  // Starts the process of that server (its serial), which says in the log what becomes of it, and
  // is that user's; pid 0 when that fails. It has its contexts some time later, or ends.
  Watched Start(uint64_t server, uint32_t uid, const std::string& log_file);
  // Waits until it has them. False: it has ended, and is no process any more.
  bool Await(uint32_t pid);
  // Kills it, and waits for that.
  void End(uint32_t pid);
  // It was seen to have ended.
  void Forget(uint32_t pid);

 private:
  const std::string machine_dir_;
  // However the daemon ends, that closes the one end that nobody else has, and they see it.
  int alive_[2] = {-1, -1};
  std::map<uint32_t, int> starting_;  // by pid: what it writes to once it has its contexts
};

// What such a process does: it has contexts on the GPUs of that server's entry until the daemon
// ends, which closes `daemon`. Its exit code.
int BeServer(const std::string& machine_dir, uint64_t server, int ready, int daemon,
             const std::string& log_file);

}  // namespace tranche::sim::mps
