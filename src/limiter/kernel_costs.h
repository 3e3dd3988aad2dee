#pragma once

#include <stdint.h>

#include "limiter/policy/compute_constants.h"

namespace tranche::limiter {

// What is launched as one: a kernel in one shape, or a graph.
struct KernelKey {
  const void* what = nullptr;
  uint64_t blocks = 1;
  uint32_t threads = 1;  // of a block
  uint32_t shared = 0;   // bytes
};

// What each takes, as measured. Zeros are a table that knows nothing.
class KernelCosts {
 public:
  struct Cost {
    uint64_t key;      // 0: free
    int64_t mean;      // ns
    uint32_t batches;  // measured; 0: `mean` means nothing
    uint32_t trying;   // an unmeasured one is in flight
  };

  // Without a lock. An entry may later become another kernel's: its numbers are then wrong for one
  // launch, which debt evens out.
  Cost* Find(const KernelKey& key) {
    const uint64_t hash = Hash(key);
    for (uint32_t i = 0; i < kProbes; ++i) {
      Cost& cost = costs_[(hash + i) % kCosts];
      uint64_t there = __atomic_load_n(&cost.key, __ATOMIC_ACQUIRE);
      if (there == hash) return &cost;
      if (there == 0 && __atomic_compare_exchange_n(&cost.key, &there, hash, false,
                                                    __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE))
        return &cost;
      if (there == hash) return &cost;
    }
    Cost& home = costs_[hash % kCosts];
    __atomic_store_n(&home.batches, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&home.trying, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&home.key, hash, __ATOMIC_RELEASE);
    return &home;
  }

  // One batch in which it took `each` ns. The first is taken as it is; later ones move the mean, so
  // that it follows a kernel whose work changes.
  static void Learn(Cost* cost, int64_t each) {
    const uint32_t batches = __atomic_load_n(&cost->batches, __ATOMIC_RELAXED);
    const int64_t mean = __atomic_load_n(&cost->mean, __ATOMIC_RELAXED);
    const int64_t part = batches + 1 < kSlowest ? batches + 1 : kSlowest;
    const int64_t next = batches == 0 ? each : mean + (each - mean) / part;
    __atomic_store_n(&cost->mean, next < kLeast ? kLeast : next, __ATOMIC_RELAXED);
    __atomic_store_n(&cost->trying, 0, __ATOMIC_RELAXED);
    __atomic_store_n(&cost->batches, batches == UINT32_MAX ? batches : batches + 1,
                     __ATOMIC_RELEASE);
  }

 private:
  static constexpr uint32_t kCosts = 4096;
  static constexpr uint32_t kProbes = 8;
  static constexpr int64_t kSlowest = 10;
  // No kernel of a GPU is shorter.
  static constexpr int64_t kLeast = 500;

  static uint64_t Hash(const KernelKey& key) {
    uint64_t x = reinterpret_cast<uint64_t>(key.what);
    x = (x ^ (x >> 30) ^ key.blocks << 20) * UINT64_C(0xbf58476d1ce4e5b9);
    x = (x ^ (x >> 27) ^ key.threads ^ uint64_t{key.shared >> 10} << 32) *
        UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return x == 0 ? 1 : x;
  }

  Cost costs_[kCosts];
};

}  // namespace tranche::limiter
