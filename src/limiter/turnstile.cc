#include "limiter/turnstile.h"

#include "limiter/libc.h"
#include "limiter/slice_file.h"
#include "limiter/table_lock.h"

namespace tranche::limiter {
namespace {

// How long a waiter sleeps at most before it looks whether those it waits for live.
constexpr int64_t kLookForDead = 30 * kMillisecond;

void Add(uint64_t* counter, uint64_t value) {
  __atomic_fetch_add(counter, value, __ATOMIC_RELAXED);
}

}  // namespace

void Turnstile::Wake(uint64_t lines) {
  for (; lines != 0; lines &= lines - 1) {
    const int line = __builtin_ctzll(lines);
    uint32_t* word = &table_->wake_words[line];
    __atomic_store_n(&table_->woken_at[line], libc::Now(), __ATOMIC_RELAXED);
    __atomic_fetch_add(word, 1, __ATOMIC_RELEASE);
    libc::SharedFutexWake(word, INT32_MAX);
  }
}

bool Turnstile::Contended() const {
  const uint64_t own = uint64_t{1} << line_;
  if ((__atomic_load_n(&table_->device.active, __ATOMIC_RELAXED) & ~own) != 0) return true;
  const int64_t wanted = gate_.WantedAt();
  return wanted != 0 && libc::Now() - wanted < kContentionMemory;
}

bool Turnstile::IsIdle() const {
  for (const TenantLine& line : table_->device.tenants) {
    if (line.units != 0) return false;
  }
  return true;
}

int64_t Turnstile::Enter(int64_t predicted, bool waited) {
  uint32_t* word = &table_->wake_words[line_];
  int64_t waiting_since = 0, shared = 0;
  for (;;) {
    gate_.Await();
    // Read before the question, so that an answer that changes at once is not slept through.
    const uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    Decision decision;
    uint64_t due = 0;
    const int64_t now = libc::Now();
    {
      const TableLock lock(table_, path_, slot_);
      Turns turns(&table_->device);
      turns.OutsiderAt(gate_.WantedAt());
      if (waiting_since != 0) due = turns.Tick(now);
      decision = turns.Gate(line_, predicted, now, waited);
      if (decision.allow) {
        shared = turns.Shared(line_);
        SlotFlight& own = table_->flights[slot_];
        own.line = line_;
        Add(&own.units, 1);
        Add(&own.predicted, static_cast<uint64_t>(predicted));
      }
    }
    Wake((due | decision.wake) & ~(uint64_t{1} << line_));
    if (decision.allow) break;
    if (waiting_since == 0) waiting_since = now;
    // Whoever it waits for may have died.
    const int64_t look = now + kLookForDead;
    if (!libc::SharedFutexWait(word, seen, decision.until < look ? decision.until : look)) {
      if (decision.until >= look) SliceFile::Reap(path_, slice_);
    } else if (__atomic_load_n(word, __ATOMIC_ACQUIRE) != seen) {
      const int64_t woken = __atomic_load_n(&table_->woken_at[line_], __ATOMIC_RELAXED);
      const int64_t took = libc::Now() - woken;
      // What another process wrote there may be anything.
      if (took >= 0 && took < kLookForDead) {
        Add(&table_->counters.handovers, 1);
        Add(&table_->counters.handover_ns, static_cast<uint64_t>(took));
      }
    }
  }
  Add(&table_->counters.leases, 1);
  if (waiting_since == 0) return shared;
  Add(&table_->counters.waits, 1);
  Add(&table_->counters.waited_ns, static_cast<uint64_t>(libc::Now() - waiting_since));
  return shared;
}

void Turnstile::Leave(const Completion& completion) {
  uint64_t wake = 0;
  bool idle = false;
  {
    const TableLock lock(table_, path_, slot_);
    TenantLine& line = table_->device.tenants[line_];
    SlotFlight& own = table_->flights[slot_];
    const bool alone = line.units == own.units;
    __atomic_fetch_sub(&own.units, 1, __ATOMIC_RELAXED);
    __atomic_fetch_sub(&own.predicted, static_cast<uint64_t>(completion.predicted),
                       __ATOMIC_RELAXED);
    wake = Turns(&table_->device)
               .Complete(line_, 1, completion.predicted, libc::Now(), completion.solo,
                         completion.seen);
    // Nothing here may be calibrated (Turns::Calibrate): the time stamps are exact already, and the
    // round trip would be taken off twice.
    CorrectCharge(&line, &table_->measured[line_], completion.took, alone);
    idle = IsIdle();
  }
  Wake(wake);
  gate_.Left(idle);
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

// Whatever instant it was killed at, its line then has what the living have in flight, no more.
void Turnstile::Forget() {
  uint64_t wake = 0;
  {
    const TableLock lock(table_, path_, slot_);
    const auto of = static_cast<uint32_t>(table_->flights[slot_].line);
    table_->flights[slot_] = {};
    if (of >= kMostTenants) return;
    SlotFlight living = {};
    for (const SlotFlight& flight : table_->flights) {
      if (flight.line != of) continue;
      living.units += flight.units;
      living.predicted += flight.predicted;
    }
    const TenantLine& line = table_->device.tenants[of];
    const uint64_t units = line.units > living.units ? line.units - living.units : 0;
    const int64_t predicted = line.in_flight - static_cast<int64_t>(living.predicted);
    if (units == 0) return;
    wake = Turns(&table_->device)
               .Complete(of, static_cast<uint32_t>(units), Most(0, predicted), libc::Now());
  }
  Wake(wake);
}

uint32_t Turnstile::FreeLine() const {
  const TableLock lock(table_, path_, slot_);
  uint32_t line = 0;
  while (line < kMostTenants && (table_->device.present >> line & 1) != 0) ++line;
  return line;
}

void Turnstile::RemoveLine() {
  uint64_t wake = 0;
  {
    const TableLock lock(table_, path_, slot_);
    wake = Turns(&table_->device).Leave(line_, libc::Now());
    table_->measured[line_] = {};
  }
  Wake(wake);
}

void Turnstile::SetShares(uint32_t request, uint32_t limit, uint32_t weight, int32_t priority) {
  {
    const TableLock lock(table_, path_, slot_);
    Turns turns(&table_->device);
    if ((table_->device.present >> line_ & 1) == 0) {
      turns.Join(line_, request, limit, weight, priority, libc::Now());
    } else {
      turns.Adjust(line_, request, limit, weight, priority, libc::Now());
    }
    __atomic_store_n(&table_->metered, 1, __ATOMIC_RELEASE);
  }
  // Whoever waits for the old limit asks again.
  Wake(uint64_t{1} << line_);
}

int64_t Turnstile::Charged() {
  const TableLock lock(table_, path_, slot_);
  Turns(&table_->device).Settle(libc::Now());
  return table_->device.tenants[line_].charged;
}

}  // namespace tranche::limiter
