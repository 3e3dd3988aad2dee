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
};

}  // namespace tranche::limiter
