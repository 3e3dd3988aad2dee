#include "limiter/libc.h"

#include <errno.h>
#include <linux/futex.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

namespace tranche::limiter::libc {

bool FileSize(int fd, uint64_t* bytes) {
  const int before = errno;
  const off_t end = lseek(fd, 0, SEEK_END);
  errno = before;
  if (end < 0) return false;
  *bytes = static_cast<uint64_t>(end);
  return true;
}

void FutexWait(uint32_t* word, uint32_t expected) {
  const int before = errno;
  syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, expected, nullptr, nullptr, 0);
  errno = before;
}

void FutexWake(uint32_t* word) {
  const int before = errno;
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, 1, nullptr, nullptr, 0);
  errno = before;
}

}  // namespace tranche::limiter::libc
