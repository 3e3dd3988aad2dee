#include "limiter/small_memory.h"

#include <errno.h>
#include <limits.h>
#include <string.h>
#include <sys/mman.h>

#include "limiter/libc.h"

namespace tranche::limiter {

void Granule::Mark(uint64_t address, uint64_t bytes, bool is_taken) {
  const uint64_t first = address % kGranule / kStep;
  uint64_t end = (address % kGranule + bytes + kStep - 1) / kStep;
  if (end > kGranule / kStep) end = kGranule / kStep;
  for (uint64_t at = first; at < end;) {
    const uint64_t bit = at % 64;
    const uint64_t count = end - at < 64 - bit ? end - at : 64 - bit;
    const uint64_t mask = (count == 64 ? ~uint64_t{0} : (uint64_t{1} << count) - 1) << bit;
    if (is_taken)
      __atomic_fetch_or(&taken[at / 64], mask, __ATOMIC_RELAXED);
    else
      __atomic_fetch_and(&taken[at / 64], ~mask, __ATOMIC_RELAXED);
    at += count;
  }
}

bool Granule::HasRoom(uint64_t bytes) const {
  const uint64_t needed = (bytes + kStep - 1) / kStep;
  uint64_t run = 0;
  for (uint64_t at = 0; at < kGranule / kStep && run < needed; ++at) {
    const uint64_t word = __atomic_load_n(&taken[at / 64], __ATOMIC_RELAXED);
    run = (word >> (at % 64) & 1) != 0 ? 0 : run + 1;
  }
  return run >= needed;
}

Granule* GranuleStore::Take(uint64_t number, uint64_t context) {
  const Guard guard(lock_);
  if (free_ == nullptr) {
    const int before = errno;
    void* memory =
        mmap(nullptr, sizeof(Chunk), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    errno = before;
    if (memory == MAP_FAILED) return nullptr;
    auto* chunk = static_cast<Chunk*>(memory);
    chunk->next = chunks_;
    chunks_ = chunk;
    for (Granule& granule : chunk->granules) {
      granule.next_free = free_;
      free_ = &granule;
    }
  }
  Granule* granule = free_;
  free_ = granule->next_free;
  memset(granule->taken, 0, sizeof(granule->taken));
  granule->number = number;
  granule->context = context;
  return granule;
}

void GranuleStore::Give(Granule* granule) {
  const Guard guard(lock_);
  granule->context = 0;
  granule->next_free = free_;
  free_ = granule;
}

bool GranuleStore::HasRoom(uint64_t context, uint64_t bytes) {
  const Guard guard(lock_);
  for (const Chunk* chunk = chunks_; chunk != nullptr; chunk = chunk->next) {
    for (const Granule& granule : chunk->granules) {
      if (granule.context == context && granule.HasRoom(bytes)) return true;
    }
  }
  return false;
}

void SmallGate::Enter() {
  for (;;) {
    // First inside, then a look whether somebody wants to be alone, who does it the other way
    // around: one of the two sees the other.
    __atomic_fetch_add(&inside_, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&alone_, __ATOMIC_SEQ_CST) == 0) return;
    Leave();
    libc::FutexWait(&alone_, 1);
  }
}

void SmallGate::Leave() {
  if (__atomic_fetch_sub(&inside_, 1, __ATOMIC_SEQ_CST) == 1 &&
      __atomic_load_n(&alone_, __ATOMIC_SEQ_CST) != 0)
    libc::FutexWake(&inside_, INT_MAX);
}

bool SmallGate::EnterAlone(int64_t until) {
  uint32_t open = 0;
  while (
      !__atomic_compare_exchange_n(&alone_, &open, 1, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
    if (!libc::FutexWaitUntil(&alone_, 1, until)) return false;
    open = 0;
  }
  for (;;) {
    const uint32_t inside = __atomic_load_n(&inside_, __ATOMIC_SEQ_CST);
    if (inside == 0) return true;
    if (libc::FutexWaitUntil(&inside_, inside, until)) continue;
    LeaveAlone();
    return false;
  }
}

void SmallGate::LeaveAlone() {
  __atomic_store_n(&alone_, 0, __ATOMIC_SEQ_CST);
  libc::FutexWake(&alone_, INT_MAX);
}

}  // namespace tranche::limiter
