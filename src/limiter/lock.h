#pragma once

#include <stdint.h>

#include "limiter/libc.h"

namespace tranche::limiter {

// A mutex of this process alone; all zeros is unlocked, which is how a forked child finds it. Never
// held over a call into the driver.
class Lock {
 public:
  void Acquire() {
    uint32_t free = 0;
    if (__atomic_compare_exchange_n(&word_, &free, 1, false, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED))
      return;
    while (__atomic_exchange_n(&word_, 2, __ATOMIC_ACQUIRE) != 0) libc::FutexWait(&word_, 2);
  }
  void Free() {
    if (__atomic_exchange_n(&word_, 0, __ATOMIC_RELEASE) == 2) libc::FutexWake(&word_);
  }

 private:
  uint32_t word_;  // 0 free, 1 held, 2 held and waited for
};

class Guard {
 public:
  explicit Guard(Lock& lock) : lock_(lock) { lock_.Acquire(); }
  ~Guard() { lock_.Free(); }
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;

 private:
  Lock& lock_;
};

}  // namespace tranche::limiter
