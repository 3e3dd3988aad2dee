#pragma once

#include <stdint.h>
#include <string.h>

#include "limiter/policy/compute_state.h"

// Exclusive turns ordered by virtual time. While one tenant holds the turn, wall time is GPU time,
// so what is charged is what was used, whatever the shape of the kernels.
namespace tranche::limiter {

enum class WaitReason : uint32_t { kNone, kLimit, kNotItsTurn, kTurnEnds, kInFlightBound };

struct Decision {
  bool allow;
  WaitReason reason;
  int64_t until;  // ask again no later than this, even if nobody wakes it
  uint64_t wake;  // tenants, one bit each, that should ask again now
};

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t Most(int64_t a, int64_t b) { return a > b ? a : b; }

class Turns {
 public:
  explicit Turns(ComputeDevice* device) : d_(device) {}

  int32_t holder() const { return d_->holder_plus_1 - 1; }

  // The slice's line begins. Limits and weights may change at any time through Adjust().
  void Join(uint32_t i, uint32_t request, uint32_t limit, uint32_t weight, int32_t priority,
            int64_t now) {
    TenantLine& t = d_->tenants[i];
    memset(&t, 0, sizeof(t));
    t.used = 1;
    t.settled_at = now;
    t.tokens = t.guarantee = kBucket;
    Adjust(i, request, limit, weight, priority, now);
  }

  void Adjust(uint32_t i, uint32_t request, uint32_t limit, uint32_t weight, int32_t priority,
              int64_t now) {
    Settle(now);
    TenantLine& t = d_->tenants[i];
    t.request = request;
    t.limit = limit;
    t.weight = static_cast<uint32_t>(Most(weight, kLeastWeight));
    t.priority = priority;
  }

  // The slice is gone, at any instant; returns whom to wake.
  uint64_t Leave(uint32_t i, int64_t now) {
    Settle(now);
    memset(&d_->tenants[i], 0, sizeof(TenantLine));
    return holder() == static_cast<int32_t>(i) ? HandOver(now) : 0;
  }

  // May tenant i launch a unit of `predicted` ns? If so, it is in flight from here on.
  Decision Gate(uint32_t i, int64_t predicted, int64_t now) {
    Settle(now);
    TenantLine& t = d_->tenants[i];
    Activate(i, now);
    t.largest_unit = Most(t.largest_unit, predicted);
    t.pending = predicted;
    uint64_t wake = 0;
    if (Throttled(t)) {
      t.waiting = 1;
      // A tenant that may not launch must not keep others from it.
      if (holder() == static_cast<int32_t>(i) && t.units == 0) wake = HandOver(now);
      return {false, WaitReason::kLimit, RefillAt(t, now), wake};
    }
    if (holder() == kNobody) Grant(i, now);
    if (holder() != static_cast<int32_t>(i)) {
      t.waiting = 1;
      const TenantLine& h = d_->tenants[holder()];
      if (h.units == 0 && d_->grace_until == 0) d_->grace_until = Most(now + kGrace, h.woken_until);
      return {false, WaitReason::kNotItsTurn, NextDeadline(now), 0};
    }
    const int32_t best = BestWaiter(i);
    if (best != kNobody) {
      const int64_t used = t.charged - d_->turn_from + t.in_flight;
      if (!d_->ending && used + predicted / 2 > kTurn) {
        if (Before(d_->tenants[best], t)) {
          d_->ending = 1;
        } else {
          d_->turn_from = t.charged;  // still first: its next turn begins without a bubble
          d_->granted_at = now;
        }
      }
      if (!d_->ending && now - d_->granted_at >= kShortestTurn && Preempts(d_->tenants[best], t))
        d_->ending = 1;
      if (d_->ending) {
        t.waiting = 1;
        if (t.units == 0) wake = HandOver(now);
        // Chosen again, it begins a fresh turn below; everybody else waits.
        if (d_->ending || holder() != static_cast<int32_t>(i))
          return {false, WaitReason::kTurnEnds, NextDeadline(now), wake};
      }
    }
    if (t.units > 0 && t.in_flight + predicted > Bound(i, predicted, now)) {
      t.waiting = 1;
      return {false, WaitReason::kInFlightBound, kNever, 0};
    }
    if (t.units == 0) {
      t.progress_at = now;
      t.delta_credit = d_->delta;
    }
    t.waiting = 0;
    t.wakeup = 0;
    t.woken_until = 0;
    t.in_flight += predicted;
    ++t.units;
    d_->grace_until = 0;
    return {true, WaitReason::kNone, kNever, 0};
  }

  // A marker of tenant i was seen: `units` of it, predicted at `predicted` together, are complete.
  uint64_t Complete(uint32_t i, uint32_t units, int64_t predicted, int64_t now) {
    Settle(now);
    TenantLine& t = d_->tenants[i];
    t.units -= units < t.units ? units : t.units;
    t.in_flight = t.units == 0 ? 0 : Most(0, t.in_flight - predicted);
    t.progress_at = now;
    if (t.units == 0 && !t.waiting) t.lag_at_idle = Most(0, FurthestActive() - t.virtual_time);
    if (holder() != static_cast<int32_t>(i)) return 0;
    if (t.units == 0 && (d_->ending || (t.waiting && Throttled(t)))) return HandOver(now);
    if (t.waiting) {
      const int64_t bound = Bound(i, t.pending, now);
      const bool fits =
          t.units == 0 || (t.in_flight <= bound * 6 / 10 && t.in_flight + t.pending <= bound);
      return fits && !d_->ending ? Bit(i) : 0;
    }
    if (t.units == 0 && BestWaiter(i) != kNobody) d_->grace_until = now + kGrace;
    return 0;
  }

  // Any tenant's helper calls this when NextDeadline() has come, so a holder that died or sleeps
  // keeps nobody waiting.
  uint64_t Tick(int64_t now) {
    Settle(now);
    uint64_t wake = 0;
    for (uint32_t i = 0; i < kMostTenants; ++i) {
      TenantLine& t = d_->tenants[i];
      if (t.used && t.waiting && t.throttled && !Throttled(t)) wake |= Bit(i);
    }
    const int32_t h = holder();
    if (h != kNobody && d_->grace_until != 0 && now >= d_->grace_until) {
      d_->grace_until = 0;
      TenantLine& t = d_->tenants[h];
      if (t.units == 0 && BestWaiter(h) != kNobody) {
        // Woken in vain: were it still waiting, it could be chosen for ever.
        t.lag_at_idle = Most(0, FurthestActive() - t.virtual_time);
        t.waiting = 0;
        wake |= HandOver(now);
      }
    }
    return wake;
  }

  // When something must happen although nobody launches or completes.
  int64_t NextDeadline(int64_t now) const {
    int64_t at = d_->grace_until != 0 ? d_->grace_until : kNever;
    for (const TenantLine& t : d_->tenants)
      if (t.used && t.waiting && t.throttled) at = Least(at, RefillAt(t, now));
    return at;
  }

  // Brings every account up to `now`.
  void Settle(int64_t now) {
    int64_t busy = 0;
    for (const TenantLine& t : d_->tenants) busy += t.used && t.units > 0;
    for (TenantLine& t : d_->tenants) {
      if (!t.used || now <= t.settled_at) continue;
      const int64_t passed = now - t.settled_at;
      t.settled_at = now;
      int64_t charge = t.units > 0 ? passed / busy : 0;
      const int64_t credit = Least(charge, t.delta_credit);
      t.delta_credit -= credit;
      charge -= credit;
      t.charged += charge;
      t.virtual_time += charge * kWhole / t.weight;
      t.tokens = Fill(t.tokens, t.limit, passed, charge, Depth(t), &t.tokens_rest);
      t.guarantee = Fill(t.guarantee, t.request, passed, charge, Depth(t), &t.guarantee_rest);
    }
  }

 private:
  static uint64_t Bit(uint32_t i) { return uint64_t{1} << i; }
  static int64_t Depth(const TenantLine& t) {
    return Most(kBucket, t.largest_unit + t.largest_unit / 5);
  }
  // `rest` keeps what a ppm of a nanosecond would lose at every settlement.
  static int64_t Fill(int64_t level, int64_t rate, int64_t passed, int64_t charge, int64_t depth,
                      int64_t* rest) {
    // In two steps, so that a pause of hours overflows nothing.
    const int64_t fine = passed % kWhole * rate + *rest;
    *rest = fine % kWhole;
    return Least(depth, level + passed / kWhole * rate + fine / kWhole - charge);
  }
  static bool Throttled(TenantLine& t) {
    if (t.limit >= kWhole) {
      t.throttled = 0;
    } else if (t.throttled) {
      t.throttled = t.tokens - t.in_flight < kThrottleHysteresis;
    } else {
      t.throttled = t.tokens - t.in_flight <= 0;
    }
    return t.throttled != 0;
  }
  // As if nothing in flight would come back earlier; a settlement only brings it nearer.
  static int64_t RefillAt(const TenantLine& t, int64_t now) {
    if (t.limit == 0) return kNever;
    const int64_t missing = Most(0, kThrottleHysteresis - t.tokens + t.in_flight);
    return now + missing / t.limit * kWhole + (missing % t.limit * kWhole) / t.limit + 1;
  }
  static int64_t Level(const TenantLine& t) { return t.guarantee > 0 ? 0 : 1; }
  static bool Before(const TenantLine& a, const TenantLine& b) {
    if (Level(a) != Level(b)) return Level(a) < Level(b);
    if (a.priority != b.priority) return a.priority > b.priority;
    return a.virtual_time < b.virtual_time;
  }
  static bool Preempts(const TenantLine& a, const TenantLine& b) {
    if (Level(a) != Level(b)) return Level(a) < Level(b);
    if (a.priority != b.priority) return a.priority > b.priority;
    return a.wakeup && (b.virtual_time - a.virtual_time) / 1000 * a.weight >= kPreemptLag * 1000;
  }
  static bool Active(const TenantLine& t) { return t.used && (t.units > 0 || t.waiting); }

  int64_t FurthestActive() const {
    int64_t most = INT64_MIN;
    for (const TenantLine& t : d_->tenants)
      if (Active(t)) most = Most(most, t.virtual_time);
    return most == INT64_MIN ? 0 : most;
  }

  void Activate(uint32_t i, int64_t now) {
    TenantLine& t = d_->tenants[i];
    if (!Active(t) && t.woken_until <= now) {
      int64_t least = kNever;
      for (const TenantLine& other : d_->tenants)
        if (Active(other)) least = Least(least, other.virtual_time);
      if (least != kNever) {
        const int64_t kept = Least(t.lag_at_idle, kMostLag * kWhole / t.weight);
        const int64_t credit = Most(kIdleCredit * kWhole / t.weight, kept);
        t.virtual_time = Most(t.virtual_time, least - credit);
        t.wakeup = 1;
      }
    }
    t.active_at = now;
  }

  int64_t Bound(uint32_t i, int64_t predicted, int64_t now) const {
    for (uint32_t k = 0; k < kMostTenants; ++k) {
      const TenantLine& other = d_->tenants[k];
      if (k == i || !other.used || other.active_at == 0) continue;
      if (Active(other) || now - other.active_at < kContentionMemory)
        return Most(kInFlight, Least(2 * predicted, kTwoUnits));
    }
    return kInFlightAlone;
  }

  int32_t BestWaiter(int32_t except) {
    int32_t best = kNobody;
    for (uint32_t k = 0; k < kMostTenants; ++k) {
      TenantLine& t = d_->tenants[k];
      if (!t.used || !t.waiting || static_cast<int32_t>(k) == except || Throttled(t)) continue;
      if (best == kNobody || Before(t, d_->tenants[best])) best = static_cast<int32_t>(k);
    }
    return best;
  }

  void Grant(uint32_t i, int64_t now) {
    d_->holder_plus_1 = static_cast<int32_t>(i) + 1;
    d_->ending = 0;
    ++d_->turn;
    d_->turn_from = d_->tenants[i].charged;
    d_->granted_at = now;
    d_->grace_until = 0;
  }

  uint64_t HandOver(int64_t now) {
    const int32_t best = BestWaiter(kNobody);
    if (best == kNobody) {
      d_->holder_plus_1 = 0;
      d_->ending = 0;
      d_->grace_until = 0;
      return 0;
    }
    const auto i = static_cast<uint32_t>(best);
    Grant(i, now);
    d_->tenants[i].woken_until = now + kWakePatience;
    // One that was woken and never launches, because its thread is gone, loses the turn again.
    d_->grace_until = d_->tenants[i].woken_until;
    return Bit(i);
  }

  ComputeDevice* d_;
};

}  // namespace tranche::limiter
