#pragma once

#include <string>

#include "base/result.h"

namespace tranche {

// Holds a state directory for one process: an flock on DIRECTORY/lock, which names the holder's
// pid. The kernel lets go of it when the holder dies, however it dies. Movable; not inherited by
// children.
class StateLock {
 public:
  // Makes the directory when it is missing. kBusy, naming who holds it; kPermission.
  static Result<StateLock> Acquire(const std::string& directory);
  StateLock(StateLock&& other) noexcept;
  StateLock& operator=(StateLock&& other) noexcept;
  ~StateLock();

 private:
  explicit StateLock(int fd) : fd_(fd) {}
  int fd_ = -1;
};

}  // namespace tranche
