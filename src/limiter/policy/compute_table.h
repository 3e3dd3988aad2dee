#pragma once

#include <stdint.h>

#include "abi/slice_table.h"
#include "limiter/policy/compute_state.h"
#include "limiter/policy/measured_charge.h"

// How the compute state of one GPU lies in shared memory: in TrancheDevice.compute.
namespace tranche::limiter {

// How a process's contexts share a GPU with those of others.
enum class Sharing : uint32_t {
  kNotSaid,    // it has not asked yet
  kTimeSlice,  // by the driver, one context at a time
  kMps         // as a client of MPS: at the same time
};

// What a process of a slot has in flight, so that its death takes nothing of it along.
struct SlotFlight {
  uint32_t line;     // whose they are
  uint32_t sharing;  // a Sharing: how the driver lets this process share the GPU
  uint64_t units;
  uint64_t predicted;  // ns
  uint64_t at_gate;    // threads that wait for the party's turn (abi/gpu_gate.h)
};

// What happened, for metrics; only ever added to.
struct ComputeCounters {
  uint64_t leases;         // granted
  uint64_t waits;          // of these: not at once
  uint64_t waited_ns;      // GPU-bound threads spent waiting for their turn or limit
  uint64_t unenforceable;  // units that ran longer than kOverlapAfter: nothing can interrupt them
  uint64_t longest_unit;   // ns
  uint64_t lock_taken_from_dead;
  uint64_t handovers;    // waiters woken by whoever gave the turn, or room, to them
  uint64_t handover_ns;  // from that until they ran
  uint64_t reserved[8];
};

// The first kernel that ran for longer than kOverlapAfter, for people.
struct UnenforceableKernel {
  static constexpr uint32_t kWriting = 1, kWritten = 2;
  uint32_t told;   // 0: none yet
  char name[124];  // "": there is one, and the driver does not say; ends with a 0
};

struct ComputeTable {
  // Who may change `device`: 0 nobody, else 1 + slot, 1 + kOutside for whoever made the slice;
  // kContended beside it when somebody waits.
  uint32_t lock;
  uint32_t metered;  // not 0: launches are measured and pass the gate
  // Rung for the broker: somebody waits at the party's gate, or has left the GPU to others.
  uint32_t bell;
  // Not 0: all of its processes are clients of MPS, and MpsShares divides the GPU among its lines;
  // else Turns does. Changed with the lock held.
  uint32_t mps;
  uint64_t reserved[6];
  ComputeCounters counters;
  // By tenant: changes when its waiters shall look again.
  uint32_t wake_words[kMostTenants];
  int64_t woken_at[kMostTenants];
  SlotFlight flights[TRANCHE_SLICE_SLOTS];
  MeasuredCharge measured[kMostTenants];
  UnenforceableKernel kernel;
  ComputeDevice device;

  static constexpr uint32_t kOutside = TRANCHE_SLICE_SLOTS;
  static constexpr uint32_t kContended = 0x80000000u;
};

static_assert(sizeof(ComputeTable) <= TRANCHE_SLICE_COMPUTE_BYTES);

// Of the layout and of what it means; the sizes catch what nobody thought of.
inline constexpr uint64_t kComputeVersion =
    uint64_t{3} << 48 | uint64_t{sizeof(TenantLine)} << 32 | sizeof(ComputeTable);
static_assert(alignof(ComputeTable) <= 64);

inline ComputeTable* ComputeOf(TrancheDevice* device) {
  return reinterpret_cast<ComputeTable*>(device->compute);
}

}  // namespace tranche::limiter
