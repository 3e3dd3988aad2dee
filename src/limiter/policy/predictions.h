#pragma once

#include <stdint.h>

#include "limiter/policy/compute_constants.h"

// What each kernel or graph of this process takes on the GPU, learnt from what was measured while
// nobody else was on it. A table of fixed size that never allocates; all zeros knows nothing.
//
// Any thread, without a lock: every word is atomic by itself. An entry may become another key's at
// any moment; its numbers are then wrong for one launch, which the debt of the accounts evens out.
namespace tranche::limiter {

struct Prediction {
  uint64_t key;       // 0: free
  int64_t mean;       // ns
  int64_t deviation;  // mean distance from it, ns
  uint32_t batches;   // measured; 0: `mean` says nothing
  uint32_t trying;    // an unmeasured one is in flight
};

// A part of what was measured as one: `launches` of one key, predicted at `predicted` together.
struct PredictedPart {
  Prediction* what;
  int64_t predicted;
  uint32_t launches;
};

class Predictions {
 public:
  static constexpr uint32_t kEntries = 4096;
  // No kernel is shorter, none is believed to be longer.
  static constexpr int64_t kShortest = 500;

  // `key`: any hash of what is launched and in which shape. Never nullptr; when all places for the
  // key are taken by others, the one least known makes room.
  Prediction* Find(uint64_t key) {
    if (key == 0) key = 1;
    Prediction* victim = nullptr;
    for (uint32_t probe = 0; probe < kProbes; ++probe) {
      Prediction& entry = entries_[(key + probe) % kEntries];
      uint64_t there = __atomic_load_n(&entry.key, __ATOMIC_ACQUIRE);
      if (there == key) return &entry;
      if (there == 0) {
        if (__atomic_compare_exchange_n(&entry.key, &there, key, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
          return &entry;
        if (there == key) return &entry;
      }
      if (victim == nullptr || Load(entry.batches) < Load(victim->batches)) victim = &entry;
    }
    Store(&victim->batches, 0u);
    Store(&victim->trying, 0u);
    __atomic_store_n(&victim->key, key, __ATOMIC_RELEASE);
    return victim;
  }

  static bool Measured(const Prediction* p) { return Load(p->batches) > 0; }
  static int64_t Expected(const Prediction* p) {
    return Measured(p) ? Load(p->mean) : kUnmeasuredUnit;
  }
  // So uncertain that each launch deserves a marker of its own.
  static bool Erratic(const Prediction* p) {
    return Measured(p) && Load(p->deviation) > Load(p->mean);
  }

  // How much less than predicted a part may well take. Of one that was measured once or twice
  // nothing is known of that.
  static int64_t Doubt(const PredictedPart& part) {
    const int64_t mean = Load(part.what->mean), deviation = Load(part.what->deviation);
    if (Load(part.what->batches) < kFirstSamples || 2 * deviation >= mean) return part.predicted;
    return static_cast<int64_t>(static_cast<double>(part.predicted) * 2 *
                                static_cast<double>(deviation) / static_cast<double>(mean));
  }

  // Where only a run alone on the GPU measures: whether the `launch`-th launch of a key should be
  // such a run. The first few are, and where kernels of one key differ, one in 16 goes on being.
  // Of all others now and then one, `since` ns after the thread's last: what a kernel does may
  // change, and what was on the GPU unseen during the first ones would be charged for ever. Not
  // more often, since the GPU has to be empty for it.
  static bool DeservesSample(const Prediction* p, uint64_t launch, int64_t since) {
    return Load(p->batches) < kFirstSamples || since >= kSampleEvery ||
           (IsUnsteady(p) && launch % 16 == 0);
  }
  // Such a run took so long. Of one that was always the same and now is not, what is known was of
  // other work, or of others' as well; it is learnt anew.
  static void Sampled(Prediction* p, int64_t observed) {
    const int64_t mean = Load(p->mean), away = observed > mean ? observed - mean : mean - observed;
    if (Load(p->batches) >= kFirstSamples && !IsUnsteady(p) && away > mean / 4)
      Store(&p->batches, 0u);
  }

  // At most one unmeasured instance of a key may be in flight: a queue of them could hold the GPU
  // for any time. True: go on, and Learn() or GiveUp() when it is over.
  static bool Try(Prediction* p) {
    uint32_t none = 0;
    return __atomic_compare_exchange_n(&p->trying, &none, 1u, false, __ATOMIC_ACQ_REL,
                                       __ATOMIC_RELAXED);
  }
  static void GiveUp(Prediction* p) { __atomic_store_n(&p->trying, 0u, __ATOMIC_RELEASE); }

  // A batch of one or several keys took `observed` ns, with nobody else on the GPU.
  static void Learn(const PredictedPart* parts, uint32_t count, int64_t observed) {
    int64_t predicted = 0;
    for (uint32_t i = 0; i < count; ++i)
      predicted += parts[i].predicted > 0 ? parts[i].predicted : 1;
    if (observed < 0) observed = 0;
    if (observed > kLongest) observed = kLongest;
    for (uint32_t i = 0; i < count; ++i) {
      if (parts[i].launches == 0) continue;
      // Divided by how long each was thought to take: nothing better is known.
      const double part = static_cast<double>(parts[i].predicted > 0 ? parts[i].predicted : 1) /
                          static_cast<double>(predicted);
      const auto mine = static_cast<int64_t>(static_cast<double>(observed) * part);
      LearnOne(parts[i].what, mine / parts[i].launches);
    }
  }

 private:
  static constexpr uint32_t kProbes = 8;
  static constexpr uint32_t kFirstSamples = 3;
  static constexpr int64_t kSampleEvery = 5000 * kMillisecond;
  // A mean follows a kernel whose work changes at least so fast: a tenth of each difference.
  static constexpr int64_t kSlowest = 10;

  template <typename T>
  static T Load(const T& word) {
    return __atomic_load_n(&word, __ATOMIC_RELAXED);
  }
  template <typename T>
  static void Store(T* word, T value) {
    __atomic_store_n(word, value, __ATOMIC_RELAXED);
  }

  static bool IsUnsteady(const Prediction* p) { return Load(p->deviation) > Load(p->mean) / 4; }

  static void LearnOne(Prediction* p, int64_t each) {
    if (each < kShortest) each = kShortest;
    const uint32_t batches = Load(p->batches);
    const int64_t mean = Load(p->mean);
    if (batches == 0 || mean < kShortest || mean > kLongest) {
      Store(&p->mean, each);
      Store(&p->deviation, int64_t{0});
    } else {
      const int64_t part = batches + 1 < kSlowest ? batches + 1 : kSlowest;
      const int64_t away = each > mean ? each - mean : mean - each;
      Store(&p->mean, mean + (each - mean) / part);
      Store(&p->deviation, Load(p->deviation) + (away - Load(p->deviation)) / part);
    }
    __atomic_store_n(&p->batches, batches == UINT32_MAX ? batches : batches + 1, __ATOMIC_RELEASE);
    GiveUp(p);
  }

  Prediction entries_[kEntries];
};

}  // namespace tranche::limiter
