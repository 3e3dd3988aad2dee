#pragma once

#include <atomic>
#include <cstdint>

#include "sim/cuda/gpu_queue.h"

// When work that a GPU is given is done. The one place to ask, so that arbitration between
// processes can take the place of a GPU that each process has for itself.
namespace tranche::sim::cuda {

// What the kernels of one context run on. Lives as long as the process.
struct Engine {
  GpuQueue* queue = nullptr;
  // All that was ever submitted.
  std::atomic<uint64_t> total_ns{0};
};

struct Work {
  uint64_t not_before = 0;  // what it is ordered behind is done then
  uint64_t cost_ns = 0;     // with the whole device for itself; more than 0
  uint64_t blocks = 0;
};

// Nanoseconds of a clock that all processes share and that never goes back.
uint64_t TimelineNow();
// When the work is done. No lock, no system call but the clock's.
uint64_t Submit(Engine* engine, const Work& work);
// Sleeps, without the library's lock.
void SleepUntil(uint64_t time_ns);

// Raises a time that others raise, too.
inline void RaiseTo(std::atomic<uint64_t>* time, uint64_t value) {
  uint64_t now = time->load(std::memory_order_relaxed);
  while (now < value && !time->compare_exchange_weak(now, value, std::memory_order_acq_rel)) {
  }
}

}  // namespace tranche::sim::cuda
