#pragma once

#include <stdint.h>

namespace tranche::limiter {

// Which device a context lies on, by CUDA's ordinal, so that no allocation has to ask the driver
// for it. Context and ordinal share one word, so any thread reads it without a lock. A cache: what
// it lacks is asked again. All zeros is empty.
class ContextCache {
 public:
  // Negative: not known.
  int32_t Find(uint64_t context) const {
    for (const uint64_t& word : SetOf(context)->words) {
      const uint64_t seen = __atomic_load_n(&word, __ATOMIC_RELAXED);
      if ((seen & kAddress) == context && seen != 0) return static_cast<int32_t>(seen >> kBits) - 1;
    }
    return -1;
  }
  void Put(uint64_t context, int32_t ordinal) {
    if (context == 0 || (context & ~kAddress) != 0 || ordinal < 0 || ordinal >= kMost) return;
    const uint64_t value = context | (static_cast<uint64_t>(ordinal) + 1) << kBits;
    Set* set = SetOf(context);
    uint64_t* place = &set->words[(context >> 20) % kWays];
    for (uint64_t& word : set->words) {
      const uint64_t seen = __atomic_load_n(&word, __ATOMIC_RELAXED);
      if ((seen & kAddress) == context) {
        place = &word;
        break;
      }
      if (seen == 0) place = &word;
    }
    __atomic_store_n(place, value, __ATOMIC_RELAXED);
  }
  // The context is gone: its handle may come to mean another one.
  void Drop(uint64_t context) {
    for (uint64_t& word : SetOf(context)->words) {
      if ((__atomic_load_n(&word, __ATOMIC_RELAXED) & kAddress) == context)
        __atomic_store_n(&word, 0, __ATOMIC_RELAXED);
    }
  }

 private:
  // Addresses of user space fit into 48 bits.
  static constexpr uint32_t kBits = 48;
  static constexpr uint64_t kAddress = (uint64_t{1} << kBits) - 1;
  static constexpr int32_t kMost = 64;
  static constexpr uint32_t kSets = 64, kWays = 4;
  struct Set {
    uint64_t words[kWays];
  };
  const Set* SetOf(uint64_t context) const { return &sets_[Index(context)]; }
  Set* SetOf(uint64_t context) { return &sets_[Index(context)]; }
  static uint64_t Index(uint64_t context) {
    return (context * UINT64_C(0x9e3779b97f4a7c15)) >> (64 - 6);
  }
  static_assert(kSets == 1 << 6);

  Set sets_[kSets];
};

}  // namespace tranche::limiter
