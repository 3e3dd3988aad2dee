#include "sim/cuda/timeline.h"

#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cerrno>
#include <climits>
#include <cstdlib>

#include "sim/clock/virtual_clock.h"

namespace tranche::sim::cuda {

namespace {

VirtualClock* Clock() {
  static VirtualClock* const clock = ClockOfProcess(std::getenv("TRANCHE_SIM_DIR"));
  return clock;
}

}  // namespace

bool IsVirtual() { return Clock() != nullptr; }

void TakePart() {
  if (Clock() != nullptr) Clock()->Join();
}

void BeginWork() {
  if (__builtin_expect(Clock() != nullptr, 0)) Clock()->Begin();
}

void Spend(uint64_t ns) {
  if (__builtin_expect(Clock() != nullptr, 0)) Clock()->Spend(static_cast<int64_t>(ns));
}

uint64_t TimelineNow() {
  if (__builtin_expect(Clock() != nullptr, 0)) return static_cast<uint64_t>(Clock()->Now());
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

void SleepUntil(uint64_t time_ns) {
  if (Clock() != nullptr) return Clock()->SleepUntil(static_cast<int64_t>(time_ns));
  // The kernel wakes a sleeper up to this much late; a driver spins, and is not.
  constexpr uint64_t kSlack = 100000;
  if (TimelineNow() + kSlack >= time_ns) {
    while (TimelineNow() < time_ns) sched_yield();
    return;
  }
  const uint64_t sleep_until = time_ns - kSlack;
  const timespec until{static_cast<time_t>(sleep_until / 1000000000u),
                       static_cast<long>(sleep_until % 1000000000u)};
  while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, nullptr) == EINTR) {
  }
  while (TimelineNow() < time_ns) sched_yield();
}

void Bell::Ring() {
  word_.fetch_add(1, std::memory_order_release);
  if (Clock() != nullptr) {
    Clock()->Wake(reinterpret_cast<const uint32_t*>(&word_), INT_MAX, false);
    return;
  }
  syscall(SYS_futex, &word_, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

void Bell::WaitUntil(uint32_t seen, uint64_t time_ns) {
  if (Clock() != nullptr) {
    const int64_t until =
        time_ns == UINT64_MAX ? VirtualClock::kNever : static_cast<int64_t>(time_ns);
    Clock()->Wait(reinterpret_cast<const uint32_t*>(&word_), seen, until, false);
    return;
  }
  const timespec until{static_cast<time_t>(time_ns / 1000000000u),
                       static_cast<long>(time_ns % 1000000000u)};
  syscall(SYS_futex, &word_, FUTEX_WAIT_BITSET | FUTEX_PRIVATE_FLAG, seen,
          time_ns == UINT64_MAX ? nullptr : &until, nullptr, FUTEX_BITSET_MATCH_ANY);
}

}  // namespace tranche::sim::cuda
