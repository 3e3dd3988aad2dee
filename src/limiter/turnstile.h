#pragma once

#include <stdint.h>

#include "limiter/gpu_gate.h"
#include "limiter/policy/compute_table.h"
#include "limiter/policy/turns.h"

namespace tranche::limiter {

// A unit that is about to be launched.
struct Unit {
  int64_t predicted;  // ns
  // As in Turns::Gate.
  bool waited = true;
  // Under MPS: the part of the GPU that it fills, ppm; and whether it was ever measured.
  uint32_t demand = static_cast<uint32_t>(kWhole);
  bool measured = true;
};

// What a unit was let in for; to be given back.
struct Admission {
  int64_t admitted = 0;
  // ns in which others were on the GPU too, by then; negative: they are now.
  int64_t shared = 0;
};

// A unit that is complete.
struct Completion {
  int64_t admitted;
  // For how long the GPU worked for this process since the last one was, by its own time stamps;
  // negative: not known, and the clock's word holds.
  int64_t took = -1;
  int64_t solo = 0;  // what it takes alone, as measured; 0: not known
  Seen seen = Seen::kByMarker;
  // Under MPS: what it is charged; negative: what it was let in for.
  int64_t used = -1;
};

// The gate to one GPU's time, as the processes of a slice, and of all slices that share the table,
// pass it together: the policy (sharing.h) over that table, with waiting and waking. Any thread.
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

  // How this process shares the GPU; to be said before it first enters.
  void Say(Sharing sharing);
  // Whether all are clients of MPS, so that nobody takes turns.
  bool mps() const { return __atomic_load_n(&table_->mps, __ATOMIC_RELAXED) != 0; }

  // Waits until that unit may be launched; it is in flight from then on. Holds no lock while it
  // waits.
  Admission Enter(const Unit& unit);
  Admission Enter(int64_t predicted, bool waited = true) { return Enter(Unit{predicted, waited}); }
  // That unit is complete.
  void Leave(const Completion& completion);
  // Whether nobody else was on the GPU since; else a measurement says nothing.
  bool AloneSince(const Admission& admission);
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
  // With the table's lock held.
  struct Answer {
    bool allow;
    int64_t until;  // ask again no later than this
    uint64_t wake;
    Admission admission;
  };
  Answer Ask(const Unit& unit, int64_t now);
  uint64_t TickPolicy(int64_t now);
  // Changes the policy when those who live say so; returns whom to wake.
  uint64_t ChoosePolicy(int64_t now);
  // What the dead of that line left in flight is over.
  uint64_t EndOfDead(uint32_t of, int64_t now);

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
