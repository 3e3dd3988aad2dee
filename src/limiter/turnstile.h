#pragma once

#include <stdint.h>

#include "limiter/policy/compute_table.h"

namespace tranche::limiter {

// The gate to one GPU's time, as the processes of one slice pass it together: the policy (turns.h)
// over the table that they share, with waiting and waking. Any thread.
class Turnstile {
 public:
  // The slice's own line in a table that is only its own.
  static constexpr uint32_t kLine = 0;

  // `path`: of the slice's file; outlives this. `slot`: of the process that calls.
  Turnstile(TrancheSlice* slice, uint32_t device, uint32_t slot, const char* path)
      : slice_(slice), table_(ComputeOf(&slice->devices[device])), slot_(slot), path_(path) {}

  bool metered() const {
    return slice_->compute_version == kComputeVersion &&
           __atomic_load_n(&table_->metered, __ATOMIC_RELAXED) != 0;
  }

  // Waits until one unit of `predicted` ns may be launched; it is in flight from then on. Holds no
  // lock while it waits.
  void Enter(int64_t predicted);
  // That unit is complete. `took`: for how long the GPU worked for this process since the last one
  // was, by its own time stamps; negative: not known, and the clock's word holds.
  void Leave(int64_t predicted, int64_t took);
  // Does what is due by now; when to call again, kNever when nothing will be.
  int64_t Tick();

  // What an earlier, dead process of the slot left in flight is over.
  void Forget();

  // For whoever made the slice. Shares in ppm; a limit of kWhole is none. Measuring begins with the
  // first call and goes on from then.
  void SetShares(uint32_t request, uint32_t limit, uint32_t weight, int32_t priority);

  ComputeCounters* counters() { return &table_->counters; }
  // GPU ns charged to the slice since it began.
  int64_t Charged();

 private:
  void Wake(uint64_t lines);

  TrancheSlice* slice_;
  ComputeTable* table_;
  uint32_t slot_;
  const char* path_;
};

}  // namespace tranche::limiter
