#include "limiter/table_lock.h"

#include "limiter/libc.h"
#include "limiter/policy/label.h"
#include "limiter/slice_file.h"

namespace tranche::limiter {
namespace {

constexpr int64_t kLook = 5 * kMillisecond;  // how often a waiter asks whether the holder lives
constexpr int kPatience = 20;                // such looks at one and the same holder
constexpr int kSpins = 200;                  // the lock is held for well under a microsecond

bool Exchange(uint32_t* word, uint32_t* expected, uint32_t value) {
  return __atomic_compare_exchange_n(word, expected, value, false, __ATOMIC_ACQUIRE,
                                     __ATOMIC_RELAXED);
}

}  // namespace

TableLock::TableLock(ComputeTable* table, const char* path, uint32_t slot)
    : table_(table), own_(slot + 1) {
  Take(path);
  TRANCHE_LABEL(kTableLocked);
}

void TableLock::Take(const char* path) {
  uint32_t* word = &table_->lock;
  uint32_t seen = 0;
  if (Exchange(word, &seen, own_)) return;
  for (int i = 0; i < kSpins; ++i) {
    seen = 0;
    if (Exchange(word, &seen, own_)) return;
    __builtin_ia32_pause();
  }
  uint32_t before = 0;
  int looks = 0;
  for (;;) {
    seen = __atomic_load_n(word, __ATOMIC_RELAXED);
    // Others may wait, too, and nobody counts them: it stays contended.
    if (seen == 0) {
      if (Exchange(word, &seen, own_ | ComputeTable::kContended)) return;
      continue;
    }
    if ((seen & ComputeTable::kContended) == 0 &&
        !Exchange(word, &seen, seen | ComputeTable::kContended))
      continue;
    seen |= ComputeTable::kContended;
    if (libc::SharedFutexWait(word, seen, libc::Now() + kLook)) continue;
    looks = seen == before ? looks + 1 : 0;
    before = seen;
    const uint32_t holder = (seen & ~ComputeTable::kContended) - 1;
    const bool dead = holder > ComputeTable::kOutside || SliceFile::IsDead(path, holder);
    if ((dead || looks >= kPatience) && Exchange(word, &seen, own_ | ComputeTable::kContended)) {
      __atomic_fetch_add(&table_->counters.lock_taken_from_dead, 1, __ATOMIC_RELAXED);
      return;
    }
  }
}

// Unless it was taken from us meanwhile.
TableLock::~TableLock() {
  Break(table_, own_ - 1);
  TRANCHE_LABEL(kTableUnlocked);
}

void TableLock::Break(ComputeTable* table, uint32_t slot) {
  uint32_t seen = slot + 1;
  if (__atomic_compare_exchange_n(&table->lock, &seen, 0, false, __ATOMIC_RELEASE,
                                  __ATOMIC_RELAXED))
    return;
  seen = (slot + 1) | ComputeTable::kContended;
  if (__atomic_compare_exchange_n(&table->lock, &seen, 0, false, __ATOMIC_RELEASE,
                                  __ATOMIC_RELAXED))
    libc::SharedFutexWake(&table->lock, 1);
}

}  // namespace tranche::limiter
