#include "sim/cuda/timeline.h"

#include <sched.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

namespace tranche::sim::cuda {

uint64_t TimelineNow() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * 1000000000u + static_cast<uint64_t>(now.tv_nsec);
}

uint64_t Submit(Engine* engine, const Work& work) {
  const uint64_t earliest = std::max(TimelineNow(), work.not_before);
  uint64_t free_at = engine->queue->free_at.load(std::memory_order_relaxed);
  uint64_t end = 0;
  do {
    end = std::max(earliest, free_at) + work.cost_ns;
  } while (!engine->queue->free_at.compare_exchange_weak(free_at, end, std::memory_order_acq_rel));
  engine->total_ns.fetch_add(work.cost_ns, std::memory_order_relaxed);
  return end;
}

void SleepUntil(uint64_t time_ns) {
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

}  // namespace tranche::sim::cuda
