#pragma once

#include <stdint.h>
#include <string.h>

#include "abi/slice_table.h"
#include "limiter/policy/label.h"

// Who of a slice holds how much memory of one device, exact over all its processes at once, without
// a lock and without anything that a process killed between two instructions could leave behind.
//
// Each process has one word for what it holds and one for what it asks for; the truth is the sum.
// To reserve is to write the wish down first and only then to look at the sum of all: of any
// processes that were granted something, the one that wrote last has seen what all others wrote
// before it, so the sum of what is granted never passes the limit. The wish is its own intent log:
// killed anywhere, a process leaves words that say at least what it holds, in a slot that its death
// empties whole.
//
// Two that ask at the same moment could refuse each other although one of them fits. So a refusal
// counts only if it does not rest on another's wish: the one with the higher slot steps back and
// asks again, the lower one stays and looks again.
//
// All operations are safe between processes. Within one process, Reserve() for one device must be
// serialised by the caller (slots, not threads, take turns); the others need nothing. Most calls
// need no more than ReserveAtOnce().
namespace tranche::limiter {

enum class Verdict {
  kGranted,
  kOverLimit,  // does not fit beside what is held
  kContended,  // others kept asking until patience ran out
};

class MemoryLedger {
 public:
  static constexpr uint32_t kNoSlot = UINT32_MAX;

  MemoryLedger(TrancheSlice* slice, uint32_t device)
      : slice_(slice), device_(&slice->devices[device]) {}

  uint64_t limit() const { return Load(&device_->memory_limit); }
  void SetLimit(uint64_t bytes) { Store(&device_->memory_limit, bytes); }
  // What all processes hold, settled or not.
  uint64_t Used() const { return Sum(&TrancheDevice::held); }
  uint64_t HeldBy(uint32_t slot) const { return Load(&device_->held[slot]); }

  // Grants `bytes` or leaves everything as it was. `wait` is called between attempts where another
  // process is in the way, with its slot and the number of the attempt, and says whether to go on.
  template <typename Wait>
  Verdict Reserve(uint32_t slot, uint64_t bytes, const Wait& wait) {
    if (bytes > kMost) return Verdict::kOverLimit;
    uint64_t* asking = &device_->asking[slot];
    for (uint32_t attempt = 0;; ++attempt) {
      Add(asking, bytes);
      TRANCHE_LABEL(kAsked);
      uint32_t lower = kNoSlot, other = kNoSlot;
      for (;; ++attempt) {
        const View view = Look(slot);
        const uint64_t most = limit();
        if (view.held <= most && view.asking <= most - view.held) {
          // First held, then no longer asked for: in between it counts twice, never not at all.
          Add(&device_->held[slot], bytes);
          TRANCHE_LABEL(kAskedAndHeld);
          Subtract(asking, bytes);
          TRANCHE_LABEL(kHeld);
          return Verdict::kGranted;
        }
        if (view.held > most || bytes > most - view.held) {
          TRANCHE_LABEL(kRefusing);
          Subtract(asking, bytes);
          return Verdict::kOverLimit;
        }
        lower = view.lower, other = view.other;
        if (lower != kNoSlot || other == kNoSlot) break;
        if (!wait(other, attempt)) {
          Subtract(asking, bytes);
          return Verdict::kContended;
        }
      }
      Subtract(asking, bytes);
      // With none to be seen the others were done before we looked for them, or are threads of
      // ours.
      const uint32_t whom = lower != kNoSlot ? lower : other != kNoSlot ? other : slot;
      if (!wait(whom, attempt)) return Verdict::kContended;
    }
  }

  // The same from any thread at any time, where nothing is in the way; false says nothing.
  bool ReserveAtOnce(uint32_t slot, uint64_t bytes) {
    if (bytes > kMost) return false;
    uint64_t* asking = &device_->asking[slot];
    Add(asking, bytes);
    TRANCHE_LABEL(kAsked);
    const View view = Look(slot);
    const uint64_t most = limit();
    const bool fits = view.held <= most && view.asking <= most - view.held;
    if (fits) Add(&device_->held[slot], bytes);
    TRANCHE_LABEL(kAskedAndHeld);
    Subtract(asking, bytes);
    TRANCHE_LABEL(kHeld);
    return fits;
  }

  // What a call turned out to cost more than was reserved and cannot be undone: true is true.
  void Overdraw(uint32_t slot, uint64_t bytes) { Add(&device_->held[slot], bytes); }
  // Gives back what was granted, or a part of it. Never below nothing, whatever is asked.
  void Release(uint32_t slot, uint64_t bytes) {
    uint64_t* held = &device_->held[slot];
    uint64_t now = Load(held);
    while (!__atomic_compare_exchange_n(held, &now, now > bytes ? now - bytes : 0, false,
                                        __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    }
    TRANCHE_LABEL(kReleased);
  }
  // Everything of a slot whose process is dead.
  void Empty(uint32_t slot) {
    Store(&device_->asking[slot], 0);
    Store(&device_->held[slot], 0);
  }

  static uint64_t Load(const uint64_t* word) { return __atomic_load_n(word, __ATOMIC_SEQ_CST); }
  static void Store(uint64_t* word, uint64_t value) {
    __atomic_store_n(word, value, __ATOMIC_SEQ_CST);
  }
  static void Add(uint64_t* word, uint64_t value) {
    __atomic_fetch_add(word, value, __ATOMIC_SEQ_CST);
  }

 private:
  // More than any GPU has; sums of 2 * 256 such stay within 64 bits.
  static constexpr uint64_t kMost = uint64_t{1} << 54;

  struct View {
    uint64_t held = 0;         // by all
    uint64_t asking = 0;       // by all
    uint32_t lower = kNoSlot;  // the lowest that asks, if below the one that looks
    uint32_t other = kNoSlot;  // any other that asks
  };

  static void Subtract(uint64_t* word, uint64_t value) {
    __atomic_fetch_sub(word, value, __ATOMIC_SEQ_CST);
  }
  // The shared memory is not ours alone: what is in it is checked before it is used.
  static uint64_t Sane(uint64_t bytes) { return bytes > kMost ? kMost : bytes; }
  uint32_t slots() const {
    const uint64_t used = Load(&slice_->slots_used);
    return used > TRANCHE_SLICE_SLOTS ? TRANCHE_SLICE_SLOTS : static_cast<uint32_t>(used);
  }
  View Look(uint32_t slot) const {
    View view;
    const uint32_t count = slots();
    for (uint32_t i = 0; i < count; ++i) {
      // In this order: what moves from asking to held meanwhile is seen at least once.
      const uint64_t asking = Sane(Load(&device_->asking[i]));
      view.asking += asking;
      view.held += Sane(Load(&device_->held[i]));
      if (asking == 0 || i == slot) continue;
      view.other = i;
      if (i < slot && view.lower == kNoSlot) view.lower = i;
    }
    return view;
  }
  uint64_t Sum(uint64_t (TrancheDevice::*words)[TRANCHE_SLICE_SLOTS]) const {
    uint64_t sum = 0;
    const uint32_t count = slots();
    for (uint32_t i = 0; i < count; ++i) sum += Sane(Load(&(device_->*words)[i]));
    return sum;
  }

  TrancheSlice* slice_;
  TrancheDevice* device_;
};

}  // namespace tranche::limiter
