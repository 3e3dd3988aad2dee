#pragma once

#include <stdint.h>

#include "limiter/gpu_gate.h"
#include "limiter/policy/compute_table.h"
#include "limiter/policy/turns.h"

namespace tranche::limiter {

// A unit that is complete.
struct Completion {
  int64_t predicted;
  // For how long the GPU worked for this process since the last one was, by its own time stamps;
  // negative: not known, and the clock's word holds.
  int64_t took = -1;
  int64_t solo = 0;  // what it takes alone, as measured; 0: not known
  Seen seen = Seen::kByMarker;
};

// The gate to one GPU's time, as the processes of a slice, and of all slices that share the table,
// pass it together: the policy (turns.h) over that table, with waiting and waking. Any thread.
class Turnstile {
 public:
  // The slice's line in a table that is its own alone.
  static constexpr uint32_t kOwnLine = 0;

  // `slice`: the table, of a slice or of a GPU; `path`: its file, outlives this. `slot`: in that
  // table, of the process that calls. `line`: of the slice. `gate`: of its party; nullptr where all
  // on the GPU are of one.
  Turnstile(TrancheSlice* slice, uint32_t device, uint32_t slot, const char* path,
            uint32_t line = kOwnLine, const TrancheGate* gate = nullptr)
      : slice_(slice),
        table_(ComputeOf(&slice->devices[device])),
        slot_(slot),
        line_(line < kMostTenants ? line : 0),
        path_(path),
        gate_(gate, table_, slot) {}

  bool metered() const {
    return slice_->compute_version == kComputeVersion &&
           __atomic_load_n(&table_->metered, __ATOMIC_RELAXED) != 0;
  }

  // Waits until one unit of `predicted` ns may be launched; it is in flight from then on. Holds no
  // lock while it waits. `waited` as in Turns::Gate. Returns Shared().
  int64_t Enter(int64_t predicted, bool waited = true);
  // That unit is complete.
  void Leave(const Completion& completion);
  // ns in which others were on the GPU too: a measurement during which it grew says nothing.
  int64_t Shared() const {
    return __atomic_load_n(&table_->device.tenants[line_].shared, __ATOMIC_RELAXED);
  }
  // Whether others want the GPU as well.
  bool Contended() const;
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
  // Whether anything of the party's is in flight. With the table's lock held.
  bool IsIdle() const;

  TrancheSlice* slice_;
  ComputeTable* table_;
  uint32_t slot_;
  uint32_t line_;
  const char* path_;
  GpuGate gate_;
};

}  // namespace tranche::limiter
