#pragma once

#include <stdint.h>

#include "abi/slice_table.h"
#include "limiter/policy/compute_state.h"
#include "limiter/policy/measured_charge.h"

// How the compute state of one GPU lies in shared memory: in TrancheDevice.compute.
namespace tranche::limiter {

// What a process of a slot has in flight, so that its death takes nothing of it along.
struct SlotFlight {
  uint64_t line;  // whose they are
  uint64_t units;
  uint64_t predicted;  // ns
};

// What happened, for metrics; only ever added to.
struct ComputeCounters {
  uint64_t leases;         // granted
  uint64_t waits;          // of these: not at once
  uint64_t waited_ns;      // GPU-bound threads spent waiting for their turn or limit
  uint64_t unenforceable;  // units that ran longer than kOverlapAfter: nothing can interrupt them
  uint64_t longest_unit;   // ns
  uint64_t lock_taken_from_dead;
  uint64_t reserved[10];
};

struct ComputeTable {
  // Who may change `device`: 0 nobody, else 1 + slot, 1 + kOutside for whoever made the slice;
  // kContended beside it when somebody waits.
  uint32_t lock;
  uint32_t metered;  // not 0: launches are measured and pass the gate
  uint64_t reserved[7];
  ComputeCounters counters;
  // By tenant: changes when its waiters shall look again.
  uint32_t wake_words[kMostTenants];
  SlotFlight flights[TRANCHE_SLICE_SLOTS];
  MeasuredCharge measured[kMostTenants];
  ComputeDevice device;

  static constexpr uint32_t kOutside = TRANCHE_SLICE_SLOTS;
  static constexpr uint32_t kContended = 0x80000000u;
};

static_assert(sizeof(ComputeTable) <= TRANCHE_SLICE_COMPUTE_BYTES);

// Of the layout and of what it means; the sizes catch what nobody thought of.
inline constexpr uint64_t kComputeVersion =
    uint64_t{2} << 48 | uint64_t{sizeof(TenantLine)} << 32 | sizeof(ComputeTable);
static_assert(alignof(ComputeTable) <= 64);

inline ComputeTable* ComputeOf(TrancheDevice* device) {
  return reinterpret_cast<ComputeTable*>(device->compute);
}

}  // namespace tranche::limiter
