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
  // The pool may grow by `growth` in what follows. False: that would not fit; there is nothing to
  // finish then.
  bool Begin(uint64_t growth);
  // It will not grow.
  void BeginWithin();
  // Charges what the pool holds now. False: it grew by more than the limit allows. *grew: by how
  // much it grew for this call; 0 if that cannot be told from what others did.
  bool Finish(uint64_t* grew);
  // Instead of Finish(): what was reserved stays charged until SettlePools(true), or is given back.
  void Keep();
  void Abandon();

 private:
  Pool* pool_;
  uint64_t reserved_ = 0;
  uint64_t epoch_ = 0;
};

// Has the pools of that device give back what they hold and nobody uses. `idle`: nothing runs, so
// that this goes for the memory of graphs as well.
void TrimPools(int32_t device, bool idle);
// What the driver says that a pool holds, or of that is in use.
bool ReadPool(const Pool& pool, bool used, uint64_t* bytes);

// Gives back memory that came out of a pool or from cuMemAlloc: the driver takes either in any call
// that frees.
CUresult FreeAny(CUdeviceptr pointer, CUresult (*free)(const void*), const void* arguments);
template <typename Call>
CUresult Free(CUdeviceptr pointer, const Call& free) {
  return FreeAny(
      pointer, [](const void* it) { return (*static_cast<const Call*>(it))(); }, &free);
}

// Looks at all pools again, after something that may have shrunk them. `idle`: nothing runs any
// more, so that also the memory of graphs is what the driver says.
void SettlePools(bool idle = false);

}  // namespace tranche::limiter
