#include "limiter/turnstile.h"

#include "limiter/libc.h"
#include "limiter/policy/mps_shares.h"
#include "limiter/policy/sharing.h"
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

uint64_t Turnstile::ChoosePolicy(int64_t now) {
  const bool mps = AllUnderMps(*table_);
  if (mps == (table_->mps != 0)) return 0;
  if (table_->mps != 0)
    MpsShares(&table_->device).Settle(now);
  else
    Turns(&table_->device).Settle(now);
  return ChangePolicy(table_, mps, now);
}

void Turnstile::Say(Sharing sharing) {
  uint64_t wake = 0;
  {
    const TableLock lock(table_, path_, slot_);
    table_->flights[slot_].line = line_;
    table_->flights[slot_].sharing = static_cast<uint32_t>(sharing);
    wake = ChoosePolicy(libc::Now());
  }
  Wake(wake);
}

bool Turnstile::AloneSince(const Admission& admission) {
  const TenantLine& line = table_->device.tenants[line_];
  if (!mps()) return __atomic_load_n(&line.shared, __ATOMIC_RELAXED) == admission.shared;
  const TableLock lock(table_, path_, slot_);
  MpsShares shares(&table_->device);
  shares.Settle(libc::Now());
  // Other processes of the slice are on the GPU at the same time, too.
  return shares.Shared(line_) == admission.shared && line.units == table_->flights[slot_].units;
}

bool Turnstile::Contended() const {
  // Where all run at once a copy keeps nobody from the GPU.
  if (mps()) return false;
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

Turnstile::Answer Turnstile::Ask(const Unit& unit, int64_t now) {
  SlotFlight& own = table_->flights[slot_];
  TenantLine& line = table_->device.tenants[line_];
  Answer answer = {};
  if (table_->mps != 0) {
    MpsShares shares(&table_->device);
    const bool alone = line.units == own.units;
    const MpsDecision decision =
        shares.Gate(line_, unit.predicted, unit.demand, unit.measured, now);
    answer = {decision.allow,
              decision.allow ? kNever : shares.NextDeadline(now),
              decision.wake,
              {MpsShares::Cost(unit.predicted, unit.demand), alone ? shares.Shared(line_) : -1}};
  } else {
    Turns turns(&table_->device);
    turns.OutsiderAt(gate_.WantedAt());
    const Decision decision = turns.Gate(line_, unit.predicted, now, unit.waited);
    answer = {decision.allow, decision.until, decision.wake, {unit.predicted, turns.Shared(line_)}};
  }
  if (!answer.allow) return answer;
  own.line = line_;
  Add(&own.units, 1);
  Add(&own.predicted, static_cast<uint64_t>(answer.admission.admitted));
  return answer;
}

uint64_t Turnstile::TickPolicy(int64_t now) {
  return table_->mps != 0 ? MpsShares(&table_->device).Tick(now) : Turns(&table_->device).Tick(now);
}

Admission Turnstile::Enter(const Unit& unit) {
  uint32_t* word = &table_->wake_words[line_];
  int64_t waiting_since = 0;
  Admission admission;
  for (;;) {
    gate_.Await();
    // Read before the question, so that an answer that changes at once is not slept through.
    const uint32_t seen = __atomic_load_n(word, __ATOMIC_ACQUIRE);
    Answer decision;
    uint64_t due = 0;
    int64_t now = libc::Now();
    {
      const TableLock lock(table_, path_, slot_);
      // Whoever had it meanwhile has moved the books on, whose time never goes back.
      const ComputeDevice& books = table_->device;
      if (now < books.settled_at || now < books.tenants[line_].settled_at) now = libc::Now();
      if (waiting_since != 0) due = TickPolicy(now);
      decision = Ask(unit, now);
      admission = decision.admission;
    }
    Wake((due | decision.wake) & ~(uint64_t{1} << line_));
    if (decision.allow && gate_.StillOpen()) break;
    if (waiting_since == 0) waiting_since = now;
    if (decision.allow) {
      Leave({admission.admitted, -1, 0, Seen::kByMarker, 0});
      continue;
    }
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
  if (waiting_since == 0) return admission;
  Add(&table_->counters.waits, 1);
  Add(&table_->counters.waited_ns, static_cast<uint64_t>(libc::Now() - waiting_since));
  return admission;
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
    __atomic_fetch_sub(&own.predicted, static_cast<uint64_t>(completion.admitted),
                       __ATOMIC_RELAXED);
    if (table_->mps != 0) {
      const int64_t used = completion.used >= 0 ? completion.used : completion.admitted;
      wake = MpsShares(&table_->device).Complete(line_, 1, completion.admitted, used, libc::Now());
    } else {
      wake = Turns(&table_->device)
                 .Complete(line_, 1, completion.admitted, libc::Now(), completion.solo,
                           completion.seen);
      // Nothing here may be calibrated (Turns::Calibrate): the time stamps are exact already, and
      // the round trip would be taken off twice.
      CorrectCharge(&line, &table_->measured[line_], completion.took, alone);
    }
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
    const int64_t now = libc::Now();
    wake = TickPolicy(now);
    next = table_->mps != 0 ? MpsShares(&table_->device).NextDeadline(now)
                            : Turns(&table_->device).NextDeadline(now);
  }
  Wake(wake);
  return next;
}

// Whatever instant it was killed at, its line then has what the living have in flight, no more.
void Turnstile::Forget() {
  uint64_t wake = 0;
  {
    const TableLock lock(table_, path_, slot_);
    const uint32_t of = table_->flights[slot_].line;
    table_->flights[slot_] = {};
    const int64_t now = libc::Now();
    wake = ChoosePolicy(now) | EndOfDead(of, now);
  }
  Wake(wake);
}

uint64_t Turnstile::EndOfDead(uint32_t of, int64_t now) {
  if (of >= kMostTenants) return 0;
  SlotFlight living = {};
  for (const SlotFlight& flight : table_->flights) {
    if (flight.line != of) continue;
    living.units += flight.units;
    living.predicted += flight.predicted;
  }
  const TenantLine& line = table_->device.tenants[of];
  const auto units =
      static_cast<uint32_t>(line.units > living.units ? line.units - living.units : 0);
  const int64_t admitted = Most(0, line.in_flight - static_cast<int64_t>(living.predicted));
  if (units == 0) return 0;
  return table_->mps != 0 ? MpsShares(&table_->device).Complete(of, units, admitted, admitted, now)
                          : Turns(&table_->device).Complete(of, units, admitted, now);
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
    wake = table_->mps != 0 ? MpsShares(&table_->device).Leave(line_, libc::Now())
                            : Turns(&table_->device).Leave(line_, libc::Now());
    table_->measured[line_] = {};
  }
  Wake(wake);
}

void Turnstile::SetShares(uint32_t request, uint32_t limit, uint32_t weight, int32_t priority) {
  {
    const TableLock lock(table_, path_, slot_);
    const auto set = [&](auto policy) {
      if ((table_->device.present >> line_ & 1) == 0) {
        policy.Join(line_, request, limit, weight, priority, libc::Now());
      } else {
        policy.Adjust(line_, request, limit, weight, priority, libc::Now());
      }
    };
    if (table_->mps != 0)
      set(MpsShares(&table_->device));
    else
      set(Turns(&table_->device));
    __atomic_store_n(&table_->metered, 1, __ATOMIC_RELEASE);
  }
  // Whoever waits for the old limit asks again.
  Wake(uint64_t{1} << line_);
}

int64_t Turnstile::Charged() {
  const TableLock lock(table_, path_, slot_);
  if (table_->mps != 0)
    MpsShares(&table_->device).Settle(libc::Now());
  else
    Turns(&table_->device).Settle(libc::Now());
  return table_->device.tenants[line_].charged;
}

}  // namespace tranche::limiter
