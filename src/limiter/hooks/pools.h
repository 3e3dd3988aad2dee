#pragma once

#include "limiter/hooks/metered.h"

// Pools grow and shrink as the driver likes; what they hold of the device is charged, not what is
// taken out of them.
namespace tranche::limiter {

// Before a call that may grow a pool, and after it. For the memory of graphs, likewise.
class PoolCall {
 public:
  // nullptr where nothing is metered, or the pool is not on a device of the slice.
  static Pool* Find(uint64_t handle, CUdevice ordinal, bool graph);

  explicit PoolCall(Pool* pool) : pool_(pool) {}
  // Where the pool lacks the bytes needed it grows by `growth`. False: refused; there is nothing to
  // finish then.
  bool Begin(uint64_t needed, uint64_t growth);
  // Charges what the pool holds now. False: it grew by more than the limit allows.
  bool Finish();
  // Instead of Finish(): what was reserved stays charged until SettlePools(true), or is given back.
  void Keep();
  void Abandon();

 private:
  Pool* pool_;
  uint64_t reserved_ = 0;
};

// Looks at all pools again, after something that may have shrunk them. `idle`: nothing runs any
// more, so that also the memory of graphs is what the driver says.
void SettlePools(bool idle = false);

}  // namespace tranche::limiter
