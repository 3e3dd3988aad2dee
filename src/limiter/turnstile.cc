#include "limiter/turnstile.h"

#include "limiter/libc.h"
#include "limiter/policy/turns.h"
#include "limiter/table_lock.h"

namespace tranche::limiter {
namespace {

void Add(uint64_t* counter, uint64_t value) {
  __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

}  // namespace

void Turnstile::Wake(uint64_t lines) {
  for (; lines != 0; lines &= lines - 1) {
    uint32_t* word = &table_->wake_words[__builtin_ctzll(lines)];
    __atomic_fetch_add(word, 1, __ATOMIC_RELEASE);
    libc::SharedFutexWake(word, INT32_MAX);
  }
}

void Turnstile::Enter(int64_t predicted) {
  uint32_t* word = &table_->wake_words[kLine];
  int64_t waiting_since = 0;
  for (;;) {
    // Read before the question, so that an answer that changes at once is not slept through.
    const uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    Decision decision;
    uint64_t due = 0;
    const int64_t now = libc::Now();
    {
      const TableLock lock(table_, path_, slot_);
      Turns turns(&table_->device);
      if (waiting_since != 0) due = turns.Tick(now);
      decision = turns.Gate(kLine, predicted, now);
      if (decision.allow) {
        SlotFlight& own = table_->flights[slot_];
        Add(&own.units, 1);
        Add(&own.predicted, static_cast<uint64_t>(predicted));
      }
    }
    Wake((due | decision.wake) & ~(uint64_t{1} << kLine));
    if (decision.allow) break;
    if (waiting_since == 0) waiting_since = now;
    libc::SharedFutexWait(word, seen, decision.until);
  }
  Add(&table_->counters.leases, 1);
  if (waiting_since == 0) return;
  Add(&table_->counters.waits, 1);
  Add(&table_->counters.waited_ns, static_cast<uint64_t>(libc::Now() - waiting_since));
}

void Turnstile::Leave(int64_t predicted, int64_t took) {
  uint64_t wake = 0;
  {
    const TableLock lock(table_, path_, slot_);
    TenantLine& line = table_->device.tenants[kLine];
    SlotFlight& own = table_->flights[slot_];
    const bool alone = line.units == own.units;
    __atomic_fetch_sub(&own.units, 1, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&own.predicted, static_cast<uint64_t>(predicted), __ATOMIC_RELAXED);
    wake = Turns(&table_->device).Complete(kLine, 1, predicted, libc::Now());
    CorrectCharge(&line, &table_->measured, took, alone);
  }
  Wake(wake);
}

int64_t Turnstile::Tick() {
  uint64_t wake = 0;
  int64_t next = kNever;
  {
    const TableLock lock(table_, path_, slot_);
    Turns turns(&table_->device);
    const int64_t now = libc::Now();
    wake = turns.Tick(now);
    next = turns.NextDeadline(now);
  }
  Wake(wake);
  return next;
}

// Whatever instant it was killed at, the line then has what the living have in flight, no more.
void Turnstile::Forget() {
  uint64_t wake = 0;
  {
    const TableLock lock(table_, path_, slot_);
    table_->flights[slot_] = {};
    SlotFlight living = {};
    for (const SlotFlight& flight : table_->flights) {
      living.units += flight.units;
      living.predicted += flight.predicted;
    }
    const TenantLine& line = table_->device.tenants[kLine];
    const uint64_t units = line.units > living.units ? line.units - living.units : 0;
    const int64_t predicted = line.in_flight - static_cast<int64_t>(living.predicted);
    if (units == 0) return;
    wake = Turns(&table_->device)
               .Complete(kLine, static_cast<uint32_t>(units), Most(0, predicted), libc::Now());
  }
  Wake(wake);
}

void Turnstile::SetShares(uint32_t request, uint32_t limit, uint32_t weight, int32_t priority) {
  {
    const TableLock lock(table_, path_, slot_);
    Turns turns(&table_->device);
    if (table_->device.tenants[kLine].used == 0) {
      turns.Join(kLine, request, limit, weight, priority, libc::Now());
    } else {
      turns.Adjust(kLine, request, limit, weight, priority, libc::Now());
    }
    __atomic_store_n(&table_->metered, 1, __ATOMIC_RELEASE);
  }
  // Whoever waits for the old limit asks again.
  Wake(uint64_t{1} << kLine);
}

int64_t Turnstile::Charged() {
  const TableLock lock(table_, path_, slot_);
  Turns(&table_->device).Settle(libc::Now());
  return table_->device.tenants[kLine].charged;
}

}  // namespace tranche::limiter
