#pragma once

#include <stdint.h>

#include "abi/slice_table.h"

// The slice's shared memory, as one process of the slice or whoever made it sees it.
namespace tranche::limiter {

class SliceFile {
 public:
  // Maps the table after checking that it is one. nullptr when it is missing, is not ours, is of
  // another version, or all slots are taken; `slot` is then untouched. The slot stays this
  // process's until it ends or calls exec: no descriptor is left open, and the mapping, which holds
  // the lock, does not pass to a forked child.
  static TrancheSlice* Join(const char* path, uint32_t* slot);
  // Empties the slots of dead processes; how many. `path` is opened again for it.
  static uint32_t Reap(const char* path, TrancheSlice* slice);
  // For whoever made the slice: shares of the GPU's time, as Turnstile takes them. False when the
  // file cannot be opened.
  static bool SetShares(const char* path, TrancheSlice* slice, uint32_t device, uint32_t line,
                        uint32_t request, uint32_t limit, uint32_t weight, int32_t priority);
  // A line of a GPU's table for a new slice; kMostTenants when there is none.
  static uint32_t FreeLine(const char* path, TrancheSlice* gpu);
  static void RemoveLine(const char* path, TrancheSlice* gpu, uint32_t line);
  // Keeps others of the slice from measuring until Unlock() or the caller's death; waits for them
  // until an instant of libc::Now(). Negative: not locked.
  static int LockToMeasure(const char* path, int64_t until);
  static void Unlock(int lock);
  // Whether nobody lives in the slot. Not to be asked of one's own.
  static bool IsDead(const char* path, uint32_t slot);
};

}  // namespace tranche::limiter
