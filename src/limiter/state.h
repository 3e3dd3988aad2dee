#pragma once

#include <stdint.h>

#include "abi/cuda.h"
#include "abi/slice_table.h"
#include "limiter/context_cache.h"
#include "limiter/free_ranges.h"
#include "limiter/handle_map.h"
#include "limiter/lock.h"
#include "limiter/metering.h"
#include "limiter/small_memory.h"
#include "limiter/symbols.h"
#include "limiter/turnstile.h"

namespace tranche::limiter {

constexpr uint32_t kMaxOrdinals = 64;
constexpr uint32_t kMaxPools = 256;
constexpr uint32_t kMaxPath = 4096;

// What a pool of the driver holds of the device's memory. The driver grows and shrinks it as it
// likes; our charge follows.
struct Pool {
  uint64_t handle;   // 0: this entry is free
  int32_t device;    // in the slice table
  int32_t ordinal;   // as CUDA counts
  bool graph;        // not a pool but the memory of graphs on that device; handle is made up
  uint64_t charged;  // bytes, by now
  uint32_t busy;     // operations between their start and their settling
  uint64_t epoch;    // counts operations, so that a stale reading is recognised
  bool doomed;       // destroyed by the program; the driver's goes with the last of its memory
  FreeRanges
      free;  // what was taken out of it and given back, as far as it certainly still holds it
};

// Arrays that may share a granule, with each other and with small linear memory, without showing
// where they lie (hooks/small_arrays.h).
struct SmallArrays {
  uint32_t live;    // each charged for a granule
  uint32_t spared;  // granules of those charges that were given back, since they are not there
  uint32_t known;   // whether `unseen` is
  int64_t unseen;   // what the process held beyond its charges before the first of them
};

// Everything that changes in this process. It lies in memory that a fork empties, so that a child
// begins as if it had just started: with a slot of its own, knowing nothing of its parent's memory.
struct State {
  enum Attached : uint32_t {
    kNotYet = 0,
    kNoSlice,  // nobody asked for limits: everything passes
    kInSlice,  // limits hold
    kRefused,  // limits were asked for and cannot be enforced: nothing is granted
  };

  // Looked at by every launch, so they lie together. Words of the slice's table that are both 0
  // while nothing is to be measured; words of our own where the table has none, or too many to
  // look at. nullptr before it is joined.
  const uint32_t* metered_word;
  const uint64_t* line_word;
  uint32_t attached;
  // Of all graphs that live here, how many hold memory of their own.
  uint32_t graphs_with_memory;

  Lock attach_lock;
  uint32_t slot;
  TrancheSlice* slice;
  // By CUDA's ordinal: the index in the slice table plus 1, or kForeign; 0 = not looked up yet.
  static constexpr uint32_t kForeign = UINT32_MAX;
  uint32_t device_of[kMaxOrdinals];
  Lock reserve_locks[TRANCHE_SLICE_DEVICES];
  ContextCache contexts;

  HandleMap handles;
  GranuleStore granules;
  SmallGate small_gate;
  Lock arrays_lock;
  SmallArrays small_arrays[TRANCHE_SLICE_DEVICES];
  uint32_t managed;         // pieces of managed memory
  uint32_t array_mappings;  // of physical memory to sparse arrays
  Lock pools_lock;
  uint32_t pool_count;  // of those below that were ever used
  Pool pools[kMaxPools];
  uint32_t doomed_pools;
  SmallGate pool_gate;   // around calls that take out of pools
  uint64_t graph_epoch;  // counts the moments at which what graphs hold was read anew
  // Contexts of this process's own making, and users of the primary ones by ordinal.
  Lock contexts_lock;
  uint32_t primary_users[kMaxOrdinals];
  uint32_t primary_charged[kMaxOrdinals];  // 1: its context's memory is on our account
  uint32_t primary_busy[kMaxOrdinals];     // calls that may make it
  uint64_t primary_epoch[kMaxOrdinals];    // counts them, so that a stale reading is recognised
  uint64_t primary_contexts[kMaxOrdinals];
  // One call at a time whose cost shows only in what is held before and after it.
  SmallGate measure_gate;
  SmallGate call_gate;  // around calls between their charge and their effect (see InCall)
  uint32_t measuring;   // such calls
  // What the process held beyond its charges when that was last measured, with measure_gate closed;
  // and whether nobody says.
  struct OwnUse {
    uint32_t unsaid, known;
    int64_t unseen;
  } own_use[TRANCHE_SLICE_DEVICES];

  // By device of the slice: the table that holds its share of time, once joined (turns_joined).
  TrancheSlice* turns[TRANCHE_SLICE_DEVICES];
  // And the gate of its party; nullptr where there is none.
  const TrancheGate* gates[TRANCHE_SLICE_DEVICES];
  uint32_t turns_slot[TRANCHE_SLICE_DEVICES];
  uint32_t turns_joined[TRANCHE_SLICE_DEVICES];
  // Likewise, of the whole GPU as far as the slice knows; as the driver tells a client of MPS else.
  uint32_t sms[TRANCHE_SLICE_DEVICES];
  // Those that a client of MPS may use, as the driver tells it; 0: not known.
  uint32_t usable_sms[TRANCHE_SLICE_DEVICES];
  uint32_t sharing_said[TRANCHE_SLICE_DEVICES];  // that the process is a client of MPS, or is none
  Lock turns_lock;
  char turns_path[TRANCHE_SLICE_DEVICES][kMaxPath];

  // As device_of, when this process sees one device only.
  uint32_t only_device;
  Metering metering;
};

// Makes it, and joins the slice.
State& JoinedState();
extern TRANCHE_HIDDEN State* g_state;
// The one State of this process, joined to its slice if there is one. Any thread; constant after
// the first call.
inline State& TheState() {
  State* state = __atomic_load_n(&g_state, __ATOMIC_ACQUIRE);
  const bool joined = __builtin_expect(state != nullptr, 1) &&
                      __atomic_load_n(&state->attached, __ATOMIC_ACQUIRE) != State::kNotYet;
  return __builtin_expect(joined, 1) ? *state : JoinedState();
}

// Whether launches of this process may be measured at all.
bool IsMetered();
// True only if they are not, without a call and in a nanosecond.
inline bool IsUnmetered() {
  const State* state = __atomic_load_n(&g_state, __ATOMIC_ACQUIRE);
  if (__builtin_expect(state == nullptr, 0)) return false;
  // Written after the other.
  const uint64_t* line = __atomic_load_n(&state->line_word, __ATOMIC_ACQUIRE);
  if (__builtin_expect(line == nullptr, 0)) return false;
  return (__atomic_load_n(state->metered_word, __ATOMIC_RELAXED) |
          __atomic_load_n(line, __ATOMIC_RELAXED)) == 0;
}
// The index in the slice's table of the device that the calling thread works on; negative: none.
int32_t CurrentDevice(State& state);

// The gate to that device's time. When the table that holds the slice's share cannot be joined, the
// slice's own stands in: what was asked for is then not enforced across slices, which is counted.
Turnstile GateOf(State& state, int32_t device);

// The slice's file; "" when nobody asked for limits.
const char* SlicePath();

// The calling thread's context and the device that it lies on; 0 and negative where there is none.
struct Place {
  uint64_t context = 0;
  CUdevice ordinal = -1;
};
Place CurrentPlace(State& state);

// A device of the slice, as one call sees it.
class Account {
 public:
  // Of a device, by CUDA's ordinal, or of the calling thread's current context.
  static Account Of(CUdevice ordinal);
  static Account Current();
  // By the index in the slice table, as a Charge has it.
  static Account OfSlice(int32_t device);

  // Whether anything is counted at all.
  bool metered() const { return state_.attached != State::kNoSlice; }
  int32_t device() const { return device_; }
  // Of Current(): the calling thread's context; else 0.
  uint64_t context() const { return context_; }
  // Metered, but no device: there is no current context, or no such GPU, and the driver says so
  // better than we could.
  bool pointless() const { return metered() && device_ == kNone && state_.slice != nullptr; }
  uint64_t limit() const;
  uint64_t used() const;
  uint64_t context_bytes() const;

  // All answer as if all were well where nothing is metered.
  // False: refused, and counted as such.
  bool Reserve(uint64_t bytes) { return ReserveIf(bytes, true); }
  // The same where the caller knows another way, so that it is no refusal yet.
  bool TryReserve(uint64_t bytes) { return ReserveIf(bytes, false); }
  void Release(uint64_t bytes);
  // Makes `reserved` into what the call turned out to take. False when that is more and the rest is
  // refused; `reserved` is still held, and the caller undoes the call.
  bool Settle(uint64_t reserved, uint64_t taken);
  // For what cannot be undone.
  void Overdraw(uint64_t bytes);

  void Count(uint64_t TrancheCounters::*counter);

 private:
  Account(State& state, int32_t device, uint64_t context = 0)
      : state_(state), device_(device), context_(context) {}
  bool ReserveIf(uint64_t bytes, bool count);

  State& state_;
  // kNone: no device at all; kForeign: one of which the slice has no part. Nothing is granted
  // there.
  static constexpr int32_t kNone = -2;
  static constexpr int32_t kForeign = -1;
  int32_t device_;
  uint64_t context_;
};

// Of what belongs to no device: on the slice's first.
void CountEvent(uint64_t TrancheCounters::*counter);

}  // namespace tranche::limiter
