#pragma once

#include <stdint.h>

#include "limiter/policy/compute_table.h"

namespace tranche::limiter {

// The lock over the compute state of one GPU, between processes. Its word names the slot that holds
// it; a slot's life is told by its byte lock on the slice's file, which the kernel ends with the
// process. So whoever waits for a dead one takes the lock from it: what is half written are
// accounts of nanoseconds, which the next settlement goes on from.
//
// One that is alive but does not run (stopped, or frozen) loses it as well, after kPatience: then
// two may write, and again only accounts suffer.
class TableLock {
 public:
  // `path`: of the slice's file. `slot`: of the caller, or ComputeTable::kOutside.
  TableLock(ComputeTable* table, const char* path, uint32_t slot);
  ~TableLock();
  TableLock(const TableLock&) = delete;
  TableLock& operator=(const TableLock&) = delete;

  // Ends what a dead process held by that slot. The caller has the slot's byte locked.
  static void Break(ComputeTable* table, uint32_t slot);

 private:
  void Take(const char* path);

  ComputeTable* table_;
  uint32_t own_;
};

}  // namespace tranche::limiter
