#pragma once

#include <atomic>
#include <cstdint>

// The time that a machine's processes live in: the host's clock, or the machine's own.
namespace tranche::sim::cuda {

// Nanoseconds of a clock that all processes share and that never goes back.
uint64_t TimelineNow();
// Sleeps, without the library's lock.
void SleepUntil(uint64_t time_ns);
// On a machine with a clock of its own the calling thread's computing takes that long; elsewhere it
// takes what it takes. Without the library's lock.
void Spend(uint64_t ns);
// Whether it is the machine's own.
bool IsVirtual();
// The process uses a GPU from now on: on a machine with a clock of its own it takes part in that.
void TakePart();
// ... and will give it work: it has loaded code.
void BeginWork();

// Assumed, not measured (see gpu_time), ns: of a call that launches a kernel, or a graph; of one
// that asks; from the end of work until whoever waited for it goes on.
inline constexpr uint64_t kLaunchTakes = 3000, kGraphLaunchTakes = 8000, kAskingTakes = 1000,
                          kReturnTakes = 5000;

// Wakes those who wait for something to change. Any thread.
class Bell {
 public:
  // To be read before the look that a wait follows.
  uint32_t Seen() const { return word_.load(std::memory_order_acquire); }
  void Ring();
  // Waits for a ring after `seen`, at most until `time_ns`; may return early.
  void WaitUntil(uint32_t seen, uint64_t time_ns);

 private:
  std::atomic<uint32_t> word_{0};
};

// Raises a number that others raise, too.
inline void RaiseTo(std::atomic<uint64_t>* number, uint64_t value) {
  uint64_t now = number->load(std::memory_order_relaxed);
  while (now < value && !number->compare_exchange_weak(now, value, std::memory_order_acq_rel)) {
  }
}

}  // namespace tranche::sim::cuda
