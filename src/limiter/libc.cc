#include "limiter/libc.h"

#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
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

void FutexWake(uint32_t* word, int most) {
  const int before = errno;
  syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, most, nullptr, nullptr, 0);
  errno = before;
}

namespace {

// FUTEX_WAIT_BITSET is the one with an absolute time.
bool WaitUntil(uint32_t* word, uint32_t expected, int64_t until, int flags) {
  const int before = errno;
  const timespec time = {static_cast<time_t>(until / 1000000000),
                         static_cast<long>(until % 1000000000)};
  const long answer =
      syscall(SYS_futex, word, FUTEX_WAIT_BITSET | flags, expected,
              until == INT64_MAX ? nullptr : &time, nullptr, FUTEX_BITSET_MATCH_ANY);
  const bool came = answer < 0 && errno == ETIMEDOUT;
  errno = before;
  return !came;
}

}  // namespace

bool SharedFutexWait(uint32_t* word, uint32_t expected, int64_t until) {
  return WaitUntil(word, expected, until, 0);
}

bool FutexWaitUntil(uint32_t* word, uint32_t expected, int64_t until) {
  return WaitUntil(word, expected, until, FUTEX_PRIVATE_FLAG);
}

void SharedFutexWake(uint32_t* word, int most) {
  const int before = errno;
  syscall(SYS_futex, word, FUTEX_WAKE, most, nullptr, nullptr, 0);
  errno = before;
}

void Yield() {
  const int before = errno;
  sched_yield();
  errno = before;
}

int64_t Now() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
}

int64_t ThreadTime() {
  timespec now;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<int64_t>(now.tv_sec) * 1000000000 + now.tv_nsec;
}

}  // namespace tranche::limiter::libc
