#pragma once

#include <stdint.h>

#include "limiter/policy/compute_table.h"

namespace tranche::limiter {

// The gate to one GPU's time, as the processes of a slice, and of all slices that share the table,
// pass it together: the policy (turns.h) over that table, with waiting and waking. Any thread.
class Turnstile {
 public:
  // The slice's line in a table that is its own alone.
  static constexpr uint32_t kOwnLine = 0;

  // `slice`: the table, of a slice or of a GPU; `path`: its file, outlives this. `slot`: in that
  // table, of the process that calls. `line`: of the slice.
  Turnstile(TrancheSlice* slice, uint32_t device, uint32_t slot, const char* path,
            uint32_t line = kOwnLine)
      : slice_(slice),
        table_(ComputeOf(&slice->devices[device])),
        slot_(slot),
        line_(line < kMostTenants ? line : 0),
        path_(path) {}

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

  // For whoever made the table: a line that no slice has; kMostTenants when all are taken.
  uint32_t FreeLine() const;
  // The slice is gone.
  void RemoveLine();
  // Shares in ppm; a limit of kWhole is none. Measuring begins with the
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
  uint32_t line_;
  const char* path_;
};

}  // namespace tranche::limiter
