#pragma once

#include <stdint.h>
#include <string.h>

#include "limiter/policy/accounts.h"
#include "limiter/policy/compute_state.h"

// Exclusive turns ordered by virtual time. While one tenant holds the turn, wall time is GPU time,
// so what is charged is what was used, whatever the shape of the kernels.
//
// A unit is whatever its tenant cannot or will not interrupt: a kernel, a graph, or a lease of GPU
// time within which a thread launches as it likes. After any call NextDeadline() may have come
// nearer; somebody must call Tick() then.
namespace tranche::limiter {

enum class WaitReason : uint32_t {
  kNone,
  kLimit,
  kNotItsTurn,
  kTurnEnds,
  kInFlightBound,
  kNoLine  // the slice is not, or no longer, in the table
};

struct Decision {
  bool allow;
  WaitReason reason;
  int64_t until;  // ask again no later than this, even if nobody wakes it
  uint64_t wake;  // tenants, one bit each, that should ask again now
};

// How a completion was found out, which takes its time.
enum class Seen : uint32_t { kByMarker, kByWaiting };

class Turns {
 public:
  explicit Turns(ComputeDevice* device) : d_(device) {}

  int32_t holder() const {
    const uint32_t i = static_cast<uint32_t>(d_->holder_plus_1) - 1;
    return i < kMostTenants && Present(i) ? static_cast<int32_t>(i) : kNobody;
  }

  // The slice's line begins. Limits and weights may change at any time through Adjust().
  void Join(uint32_t i, uint32_t request, uint32_t limit, uint32_t weight, int32_t priority,
            int64_t now) {
    if (i >= kMostTenants) return;
    Settle(now);
    TenantLine& t = d_->tenants[i];
    BeginLine(&t, d_->floor, now);
    d_->present |= Bit(i);
    t.guarantee = request > 0 ? kBucket : 0;
    Adjust(i, request, limit, weight, priority, now);
  }

  void Adjust(uint32_t i, uint32_t request, uint32_t limit, uint32_t weight, int32_t priority,
              int64_t now) {
    if (i >= kMostTenants || !Present(i)) return;
    Settle(now);
    TenantLine& t = d_->tenants[i];
    t.request = request;
    t.limit = limit;
    t.weight = weight;
    t.priority = priority;
    if (request == 0) t.guarantee = 0;
    JudgeLimit(&t);
  }

  // The slice is gone, at any instant; returns whom to wake.
  uint64_t Leave(uint32_t i, int64_t now) {
    if (i >= kMostTenants) return 0;
    Settle(now);
    const bool held = holder() == static_cast<int32_t>(i);
    memset(&d_->tenants[i], 0, sizeof(TenantLine));
    d_->present &= ~Bit(i);
    d_->active &= ~Bit(i);
    return held ? HandOver(now) : 0;
  }

  // May tenant i launch a unit of `predicted` ns? If so, it is in flight from here on. `waited`
  // false: the thread is known not to have waited for the GPU since its last launch, so that a
  // pause was its own.
  Decision Gate(uint32_t i, int64_t predicted, int64_t now, bool waited = true) {
    if (i >= kMostTenants || !Present(i))
      return {false, WaitReason::kNoLine, now + 10 * kMillisecond, 0};
    Settle(Bit(i), now);
    TenantLine& t = d_->tenants[i];
    Return(i, waited, now);
    predicted = Within(predicted, 0, kLongest / 4);
    t.largest_unit = Most(t.largest_unit, predicted);
    t.pending = predicted;
    JudgeLimit(&t);
    uint64_t wake = 0;
    if (t.throttled) {
      Refuse(i);
      // Beside others each return costs two switches, and should be worth them.
      t.reopen_at = LeastOfOthers(i) == kNever ? 0 : TurnLength();
      // A tenant that may not launch must not keep others from it.
      if (Holds(i) && t.units == 0) wake = HandOver(now);
      return {false, WaitReason::kLimit, RefillAt(t, now), wake};
    }
    if (holder() == kNobody) Grant(i, now);
    if (!Holds(i)) wake = DisturbHolder(i, now);
    wake &= ~Bit(i);
    if (Holds(i)) {
      ConsiderEnd(i, predicted, now);
      if (d_->ending) {
        Refuse(i);
        if (t.units == 0) wake |= HandOver(now) & ~Bit(i);
        // Chosen again, it begins a fresh turn; everybody else waits.
        if (d_->ending || !Holds(i)) return {false, WaitReason::kTurnEnds, NextDeadline(now), wake};
      }
      if (t.units > 0 && t.in_flight + predicted > Bound(i, predicted, now)) {
        Refuse(i);
        return {false, WaitReason::kInFlightBound, kNever, wake};
      }
    } else if (!MayOverlap(i, predicted)) {
      Refuse(i);
      return {false, WaitReason::kNotItsTurn, NextDeadline(now), wake};
    }
    Launch(i, predicted, now);
    return {true, WaitReason::kNone, kNever, wake};
  }

  // When somebody who is not in the table last wanted the GPU; 0: never.
  void OutsiderAt(int64_t when) { d_->outsider_at = when; }

  // `units` of tenant i, predicted at `predicted` together, are complete. `solo`: what they take
  // alone, 0 if nobody knows: what was charged beside others then is no guess any more.
  uint64_t Complete(uint32_t i, uint32_t units, int64_t predicted, int64_t now, int64_t solo = 0,
                    Seen seen = Seen::kByMarker) {
    if (i >= kMostTenants || !Present(i)) return 0;
    Settle(Bit(i), now);
    TenantLine& t = d_->tenants[i];
    if (!Holds(i) && solo > 0 && t.overlap_charge > 0) ShareOverlap(i, solo);
    t.overlap_charge = 0;
    t.charge_mark = t.charged;
    if (seen == Seen::kByWaiting && units >= t.units) {
      // That way is shorter than the one that was taken off.
      const int64_t given = t.delta_given - Within(d_->sync_delta, 0, kMillisecond);
      if (given > 0) ChargeLine(&t, given);
      t.delta_credit = 0;
    }
    t.units -= units < t.units ? units : t.units;
    t.in_flight = t.units == 0 ? 0 : Most(0, t.in_flight - Within(predicted, 0, kLongest / 4));
    t.progress_at = now;
    JudgeLimit(&t);
    if (t.units == 0 && !t.waiting) {
      d_->active &= ~Bit(i);
      Pause(i, now);
    }
    if (!Holds(i)) return t.waiting && MayOverlap(i, t.pending) ? Woken(i) : 0;
    if (d_->overlap == static_cast<uint32_t>(Overlap::kUnstoppable)) SetOverlap(Overlap::kNone);
    if (t.units == 0 && (d_->ending || (t.waiting && t.throttled))) return HandOver(now);
    if (t.waiting) {
      if (d_->ending || t.throttled) return 0;
      const int64_t bound = Bound(i, t.pending, now);
      const bool fits =
          t.units == 0 || (t.in_flight <= bound * 6 / 10 && t.in_flight + t.pending <= bound);
      if (!fits) return 0;
      // Should it never come, it loses the turn.
      t.woken_until = now + kWakePatience;
      if (t.units == 0) d_->grace_until = t.woken_until;
      return Woken(i);
    }
    const int32_t best = BestWaiter(i);
    if (t.units == 0 && best != kNobody) d_->grace_until = now + Keeps(t, d_->tenants[best]);
    return 0;
  }

  // Any tenant's helper calls this when NextDeadline() has come, so a holder that died or sleeps
  // keeps nobody waiting.
  uint64_t Tick(int64_t now) {
    uint64_t throttled = 0;
    for (uint64_t left = ActiveOnes(); left != 0; left &= left - 1) {
      const TenantLine& t = d_->tenants[First(left)];
      if (t.waiting && t.throttled) throttled |= Bit(First(left));
    }
    Settle(0, now);
    uint64_t wake = 0;
    for (uint64_t left = throttled & ActiveOnes(); left != 0; left &= left - 1)
      if (!d_->tenants[First(left)].throttled) wake |= Woken(First(left));
    const int32_t h = holder();
    if (h == kNobody) return wake;
    TenantLine& t = d_->tenants[h];
    const int32_t best = BestWaiter(h);
    if (t.units == 0) {
      if (d_->grace_until == 0 || now < d_->grace_until) return wake;
      d_->grace_until = 0;
      if (best != kNobody) wake |= LoseTurn(static_cast<uint32_t>(h), now);
      return wake;
    }
    if (best != kNobody && d_->overlap == 0 && now - t.progress_at >= kOverlapAfter)
      SetOverlap(Overlap::kUnstoppable);
    if (d_->overlap != 0)
      for (uint64_t left = ActiveOnes() & ~Bit(h); left != 0; left &= left - 1) {
        const uint32_t k = First(left);
        const TenantLine& other = d_->tenants[k];
        if (other.waiting && !other.throttled && MayOverlap(k, other.pending)) wake |= Woken(k);
      }
    return wake;
  }

  // When something must happen although nobody launches or completes.
  int64_t NextDeadline(int64_t now) const {
    int64_t at = kNever;
    bool others = false;
    const int32_t h = holder();
    for (uint64_t left = ActiveOnes(); left != 0; left &= left - 1) {
      const uint32_t i = First(left);
      const TenantLine& t = d_->tenants[i];
      if (!t.waiting) continue;
      if (!Believable(t)) return now;
      if (t.throttled) {
        at = Least(at, RefillAt(t, now));
      } else if (static_cast<int32_t>(i) != h) {
        others = true;
      }
    }
    if (h == kNobody || !others) return at;
    const TenantLine& t = d_->tenants[h];
    if (!Believable(t)) return now;
    if (t.units == 0) return d_->grace_until != 0 ? Least(at, d_->grace_until) : at;
    if (d_->overlap == 0) return Least(at, t.progress_at + kOverlapAfter);
    return Least(at, NextOverlap(now));
  }

  // Brings every account up to `now`.
  void Settle(int64_t now) { Settle(d_->present, now); }

  // A sample of what it takes from a launch until its completion is seen, when the work itself is
  // nothing. The mean is wanted, of a host that is not busy: what is far beyond is left out.
  void Calibrate(int64_t round_trip, Seen seen = Seen::kByMarker) {
    int64_t* delta = seen == Seen::kByMarker ? &d_->delta : &d_->sync_delta;
    const int64_t sample = Within(round_trip, 0, kMillisecond);
    const int64_t known = Within(*delta, 0, kMillisecond);
    const int64_t away = sample - known;
    if (known == 0) {
      *delta = sample;
    } else if (sample < 4 * known) {
      // Rounded to the nearest, or small differences would be lost one way.
      *delta = known + (away + (away < 0 ? -16 : 16)) / 32;
    } else {
      *delta = known + known / 64 + 1;
    }
  }

  // What this GPU takes to change contexts, where it was measured: dear switches want long turns.
  void NoteSwitchCost(int64_t ns) { d_->turn_length = ns > kDearSwitch ? 2 * kTurn : 0; }

  // GPU ns in which tenant i was not alone: a measurement during which it grew says nothing of
  // what the kernels take.
  int64_t Shared(uint32_t i) const { return i < kMostTenants ? d_->tenants[i].shared : 0; }

 private:
  // The active ones, and those of `also`. The account of one that is idle only fills a bucket,
  // which can wait until it is back.
  void Settle(uint64_t also, int64_t now) {
    if (__builtin_expect(!Believable(*d_), 0)) {
      d_->turn_from = d_->granted_at = d_->grace_until = d_->settled_at = d_->idle = 0;
      d_->floor = 0;
    }
    const int32_t h = holder();
    if (h != kNobody) also |= Bit(static_cast<uint32_t>(h));
    const uint64_t lines = d_->present & (d_->active | also);
    int64_t busy = 0;
    for (uint64_t left = lines; left != 0; left &= left - 1) {
      TenantLine& t = d_->tenants[First(left)];
      if (__builtin_expect(!Believable(t), 0)) BeginLine(&t, d_->floor, now);
      busy += t.units > 0;
    }
    if (busy == 0 && d_->settled_at != 0) d_->idle += Most(0, now - d_->settled_at);
    d_->settled_at = now;
    int64_t least = kNever;
    for (uint64_t left = lines; left != 0; left &= left - 1) {
      const uint32_t i = First(left);
      TenantLine& t = d_->tenants[i];
      SettleLine(&t, busy, now);
      NoteActivity(i);
      if (Active(t)) least = Least(least, t.virtual_time);
    }
    if (least != kNever && least > d_->floor) d_->floor = least;
    if (__builtin_expect(d_->floor > kUnbelievable / 2, 0)) Rebase();
  }

  uint64_t ActiveOnes() const { return d_->present & d_->active; }
  void NoteActivity(uint32_t i) {
    if (Active(d_->tenants[i])) {
      d_->active |= Bit(i);
    } else {
      d_->active &= ~Bit(i);
    }
  }

  static uint64_t Bit(uint32_t i) { return uint64_t{1} << (i % kMostTenants); }
  static uint32_t First(uint64_t bits) { return static_cast<uint32_t>(__builtin_ctzll(bits)); }
  bool Present(uint32_t i) const { return (d_->present >> i & 1) != 0; }
  bool Holds(uint32_t i) const { return holder() == static_cast<int32_t>(i); }
  void SetOverlap(Overlap overlap) { d_->overlap = static_cast<uint32_t>(overlap); }

  void Refuse(uint32_t i) {
    d_->tenants[i].waiting = d_->tenants[i].asleep = 1;
    d_->active |= Bit(i);
  }
  uint64_t Woken(uint32_t i) {
    d_->tenants[i].asleep = 0;
    return Bit(i);
  }

  void Launch(uint32_t i, int64_t predicted, int64_t now) {
    TenantLine& t = d_->tenants[i];
    if (t.units == 0) {
      t.progress_at = now;
      t.delta_credit = Within(d_->delta, 0, kMillisecond);
      t.delta_given = 0;
      t.flight_largest = t.overlap_charge = 0;
      t.charge_mark = t.charged;
    }
    t.flight_largest = Most(t.flight_largest, predicted);
    // Another of its threads may still sleep.
    t.waiting = t.asleep;
    t.wakeup = 0;
    t.woken_until = 0;
    t.in_flight = Least(t.in_flight + predicted, kLongest);
    ++t.units;
    d_->active |= Bit(i);
    t.active_at = now;
    if (Holds(i)) d_->grace_until = 0;
  }

  // Tenant i has nothing in flight and wants nothing.
  void Pause(uint32_t i, int64_t now) {
    TenantLine& t = d_->tenants[i];
    t.idle_since = now;
    const int64_t burst = Within(t.charged - t.burst_from, 1, kLongest);
    t.burst_mean = t.burst_mean == 0 ? burst : t.burst_mean + (burst - t.burst_mean) / 4;
    const int64_t least = LeastOfOthers(i);
    t.lag_at_idle = least == kNever ? 0 : Most(0, least - t.virtual_time);
  }

  // The end of a pause, if it is one. Debt is kept; lag is kept as it was, and idling earns little.
  void Return(uint32_t i, bool waited, int64_t now) {
    TenantLine& t = d_->tenants[i];
    if (Active(t)) return;
    if (t.idle_since != 0) {
      const int64_t gap = Within(now - t.idle_since, 0, kLongest);
      t.gap_mean = t.gap_mean == 0 ? gap : t.gap_mean + (gap - t.gap_mean) / 4;
    }
    t.burst_from = t.charged;
    const int64_t pause = Within(now - t.active_at, 0, kLongest);
    if (!waited && t.active_at != 0 && pause >= kMillisecond / 2 && pause <= kLongestPause) {
      t.host_pause += (pause - t.host_pause) / 4;
    } else {
      t.host_pause -= t.host_pause / 64;
    }
    // Between two kernels of its own turn it was not away.
    if (Holds(i)) return;
    const int64_t least = LeastOfOthers(i);
    const int64_t reached = least == kNever ? d_->floor : least;
    const int64_t kept = Least(t.lag_at_idle, Virtual(kMostLag, t));
    t.virtual_time = Most(t.virtual_time, reached - Most(Virtual(kIdleCredit, t), kept));
    if (least != kNever) t.wakeup = 1;
  }

  int64_t LeastOfOthers(uint32_t i) const {
    int64_t least = kNever;
    for (uint64_t left = ActiveOnes() & ~Bit(i); left != 0; left &= left - 1) {
      const TenantLine& t = d_->tenants[First(left)];
      if (Active(t)) least = Least(least, t.virtual_time);
    }
    return least;
  }

  int64_t FurthestActive() const {
    int64_t most = -kUnbelievable;
    for (uint64_t left = ActiveOnes(); left != 0; left &= left - 1) {
      const TenantLine& t = d_->tenants[First(left)];
      if (Active(t)) most = Most(most, t.virtual_time);
    }
    return most;
  }

  // Tenant i wants to launch and another holds the turn.
  uint64_t DisturbHolder(uint32_t i, int64_t now) {
    const auto h = static_cast<uint32_t>(holder());
    TenantLine& t = d_->tenants[h];
    if (t.units > 0) {
      if (d_->overlap == 0 && d_->tenants[i].wakeup &&
          t.in_flight - t.flight_largest > kDeepQueue) {
        SetOverlap(Overlap::kDrain);
        d_->ending = 1;
      }
      return 0;
    }
    if (d_->grace_until == 0) {
      const int64_t kept = t.waiting ? 0 : t.idle_since + Keeps(t, d_->tenants[i]);
      d_->grace_until = Most(1, Most(kept, t.woken_until));
    }
    if (now < d_->grace_until) return 0;
    d_->tenants[i].waiting = 1;
    d_->active |= Bit(i);
    return LoseTurn(h, now);
  }

  // How long the turn of an idle holder is kept from a waiter: for one that is behind and about to
  // go on, until it does.
  static int64_t Keeps(const TenantLine& t, const TenantLine& waiter) {
    if (t.burst_mean == 0 || !OrderOf(t).Before(OrderOf(waiter))) return kGrace;
    const int64_t most = Most(kAnticipation, waiter.pending * kPauseOfWaitingUnit / 100);
    // Beside a unit that is many times as long as the pause it would lose far more than that.
    const int64_t part = most > kAnticipation ? kPauseBeforeLongUnit : kPauseOfBurst;
    if (t.gap_mean >= most || t.gap_mean * 100 >= t.burst_mean * part) return kGrace;
    return Most(kGrace, Least(most, t.gap_mean + t.gap_mean / 2 + 30 * kMicrosecond));
  }

  // The holder has nothing in flight and has not come.
  uint64_t LoseTurn(uint32_t h, int64_t now) {
    TenantLine& t = d_->tenants[h];
    if (t.waiting) {
      // Woken in vain: were it still waiting, it could be chosen for ever.
      t.waiting = t.asleep = 0;
      NoteActivity(h);
      const int64_t least = LeastOfOthers(h);
      t.lag_at_idle = least == kNever ? 0 : Most(0, least - t.virtual_time);
    }
    return HandOver(now);
  }

  int64_t TurnLength() const {
    return d_->turn_length == 0 ? kTurn : Within(d_->turn_length, kMillisecond, 100 * kMillisecond);
  }

  // Whether the holder's turn ends before it launches this.
  void ConsiderEnd(uint32_t i, int64_t predicted, int64_t now) {
    const TenantLine& t = d_->tenants[i];
    const int32_t best = BestWaiter(i);
    if (best == kNobody) {
      // Nobody to end it for, unless those that came while it drains are on the GPU.
      if (d_->ending && LeastOfOthers(i) == kNever) {
        d_->ending = 0;
        SetOverlap(Overlap::kNone);
      }
      return;
    }
    if (d_->ending) return;
    const TenantLine& waiter = d_->tenants[best];
    const int64_t used = t.charged - d_->turn_from + t.in_flight;
    if (used + predicted / 2 > TurnLength()) {
      if (OrderOf(waiter).Before(OrderAfterFlight(t))) {
        d_->ending = 1;
        return;
      }
      // Still first: its next turn begins without a bubble.
      d_->turn_from = t.charged;
      d_->granted_at = now;
    }
    if (now - d_->granted_at >= kShortestTurn && Preempts(waiter, t)) d_->ending = 1;
  }

  bool Preempts(const TenantLine& waiter, const TenantLine& t) const {
    const Order a = OrderOf(waiter), b = OrderOf(t);
    // A guarantee that was missed by nanoseconds is worth no switch.
    if (a.level != b.level) return a.level < b.level && waiter.guarantee >= kPreemptLag;
    if (a.priority != b.priority) return a.priority > b.priority;
    if (waiter.wakeup && Actual(b.virtual_time - a.virtual_time, waiter) >= kPreemptLag)
      return true;
    return Short(waiter) && Actual(FurthestActive() - a.virtual_time, waiter) >= kPreemptLag;
  }

  // It does little at a time and then pauses for longer than a turn would be kept for it. What it
  // does now may contradict what it used to do.
  static bool Short(const TenantLine& t) {
    return t.burst_mean > 0 && t.gap_mean > kGrace &&
           Most(t.burst_mean, t.charged - t.burst_from) <= kShortBurst;
  }

  // Whether tenant i may launch although another holds the turn. Only by virtual time, since
  // nobody can say who gets how much of the GPU meanwhile.
  bool MayOverlap(uint32_t i, int64_t predicted) const {
    const int32_t h = holder();
    if (d_->overlap == 0 || h == kNobody) return false;
    const TenantLine& t = d_->tenants[i];
    if (OrderAfterFlight(t).virtual_time > d_->tenants[h].virtual_time) return false;
    // More than a time slice of the driver, or a waiter is charged for waiting.
    return t.units == 0 || t.in_flight + predicted <= kTwoUnits;
  }
  // When the holder will have passed one that waits beside it.
  int64_t NextOverlap(int64_t now) const {
    const TenantLine& t = d_->tenants[holder()];
    int64_t at = kNever;
    for (uint64_t left = ActiveOnes() & ~Bit(static_cast<uint32_t>(holder())); left != 0;
         left &= left - 1) {
      const TenantLine& other = d_->tenants[First(left)];
      if (!other.waiting || other.throttled || other.units > 0) continue;
      const int64_t ahead = Actual(other.virtual_time - t.virtual_time, t);
      at = Least(at, now + Most(ahead, 100 * kMicrosecond));
    }
    return at;
  }

  // What was charged to i since its last completion while others ran too was a guess: it is charged
  // what its work takes, and they bear the difference.
  void ShareOverlap(uint32_t i, int64_t solo) {
    TenantLine& t = d_->tenants[i];
    int64_t others = 0;
    for (uint64_t left = ActiveOnes() & ~Bit(i); left != 0; left &= left - 1)
      others += d_->tenants[First(left)].units > 0;
    if (others == 0) return;
    const int64_t extra = Within(t.charged - t.charge_mark - Within(solo, 0, kLongest),
                                 -t.overlap_charge * others, t.overlap_charge) /
                          others;
    ChargeLine(&t, -extra * others);
    for (uint64_t left = ActiveOnes() & ~Bit(i); left != 0; left &= left - 1)
      if (d_->tenants[First(left)].units > 0) ChargeLine(&d_->tenants[First(left)], extra);
  }

  // What keeps the GPU busy over a pause of the host.
  static int64_t Ahead(const TenantLine& t) {
    return Least(kInFlight + t.host_pause, kInFlightAhead);
  }

  int64_t Bound(uint32_t i, int64_t predicted, int64_t now) const {
    int64_t bound = kInFlightAlone;
    if (d_->outsider_at != 0 && now - d_->outsider_at < kContentionMemory) bound = kInFlight;
    for (uint64_t left = d_->present & ~Bit(i); left != 0; left &= left - 1) {
      const TenantLine& other = d_->tenants[First(left)];
      if (!Believable(other)) continue;
      if (!Active(other) && (other.active_at == 0 || now - other.active_at >= kContentionMemory))
        continue;
      bound = Least(bound, Short(other) ? kInFlight : Ahead(d_->tenants[i]));
    }
    return Most(bound, Least(2 * predicted, kTwoUnits));
  }

  int32_t BestWaiter(int32_t except) const {
    int32_t best = kNobody;
    for (uint64_t left = ActiveOnes(); left != 0; left &= left - 1) {
      const auto k = static_cast<int32_t>(First(left));
      const TenantLine& t = d_->tenants[k];
      if (!t.waiting || k == except || t.throttled) continue;
      if (best == kNobody || OrderOf(t).Before(OrderOf(d_->tenants[best]))) best = k;
    }
    return best;
  }

  void Grant(uint32_t i, int64_t now) {
    d_->holder_plus_1 = static_cast<int32_t>(i) + 1;
    d_->ending = 0;
    SetOverlap(Overlap::kNone);
    ++d_->turn;
    d_->turn_from = d_->tenants[i].charged;
    d_->granted_at = now;
    d_->grace_until = 0;
  }

  // The turn goes to the first of those that want it or are on the GPU already.
  uint64_t HandOver(int64_t now) {
    int32_t best = BestWaiter(kNobody);
    for (uint64_t left = ActiveOnes(); left != 0; left &= left - 1) {
      const auto k = static_cast<int32_t>(First(left));
      const TenantLine& t = d_->tenants[k];
      if (t.units == 0 || t.throttled) continue;
      if (best == kNobody || OrderOf(t).Before(OrderOf(d_->tenants[best]))) best = k;
    }
    if (best == kNobody) {
      d_->holder_plus_1 = 0;
      d_->ending = 0;
      SetOverlap(Overlap::kNone);
      d_->grace_until = 0;
      return 0;
    }
    const auto i = static_cast<uint32_t>(best);
    Grant(i, now);
    TenantLine& t = d_->tenants[i];
    if (!t.waiting) return 0;
    t.woken_until = now + kWakePatience;
    // One that was woken and never launches, because its thread is gone, loses the turn again.
    if (t.units == 0) d_->grace_until = t.woken_until;
    return Woken(i);
  }

  // Virtual times are only ever compared: all move back together before they could overflow.
  void Rebase() {
    const int64_t by = d_->floor;
    d_->floor = 0;
    for (uint64_t left = d_->present; left != 0; left &= left - 1) {
      TenantLine& t = d_->tenants[First(left)];
      // Idle lines have not been looked at.
      if (Believable(t)) t.virtual_time = Most(t.virtual_time - by, -kUnbelievable / 2);
    }
  }

  ComputeDevice* d_;
};

}  // namespace tranche::limiter
