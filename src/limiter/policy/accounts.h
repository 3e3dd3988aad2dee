#pragma once

#include <stdint.h>
#include <string.h>

#include "limiter/policy/compute_state.h"

// The books of one tenant: what it has used, what it may still use, and who comes before whom.
namespace tranche::limiter {

inline int64_t Least(int64_t a, int64_t b) { return a < b ? a : b; }
inline int64_t Most(int64_t a, int64_t b) { return a > b ? a : b; }
inline int64_t Within(int64_t value, int64_t least, int64_t most) {
  return Least(Most(value, least), most);
}

inline int64_t WeightOf(const TenantLine& t) { return Within(t.weight, kLeastWeight, kMostWeight); }
// GPU ns as virtual time, and a difference of virtual times as GPU ns.
inline int64_t Virtual(int64_t ns, const TenantLine& t) {
  return Least(ns, kLongest) * kWhole / WeightOf(t);
}
inline int64_t Actual(int64_t virtual_ns, const TenantLine& t) {
  return Within(virtual_ns, -kLongest / 4, kLongest / 4) / 1000 * WeightOf(t) / 1000;
}

inline bool Active(const TenantLine& t) { return t.units > 0 || t.waiting != 0; }

inline int64_t Size(int64_t x) { return x ^ (x >> 63); }

inline bool Believable(const ComputeDevice& d) {
  return (Size(d.turn_from) | Size(d.granted_at) | Size(d.grace_until) | Size(d.floor) |
          Size(d.settled_at) | Size(d.idle)) < kUnbelievable;
}
// Whether every number is one that this policy can have written. One pass without branches, since
// it stands before each settlement.
inline bool Believable(const TenantLine& t) {
  const int64_t times = Size(t.virtual_time) | Size(t.settled_at) | Size(t.charged) |
                        Size(t.shared) | Size(t.active_at) | Size(t.progress_at) |
                        Size(t.woken_until) | Size(t.lag_at_idle) | Size(t.idle_since) |
                        Size(t.burst_from) | Size(t.charge_mark) | Size(t.limited_at);
  const int64_t spans = Size(t.tokens) | Size(t.guarantee) | Size(t.in_flight) |
                        Size(t.largest_unit) | Size(t.flight_largest) | Size(t.delta_credit) |
                        Size(t.pending) | Size(t.reopen_at) | Size(t.gap_mean) |
                        Size(t.host_pause) | Size(t.burst_mean) | Size(t.overlap_charge) |
                        Size(t.delta_given) | Size(t.tokens_rest) | Size(t.guarantee_rest);
  return times < kUnbelievable && spans <= kLongest;
}

// What was written by somebody else is forgotten; the slice goes on as if it had just begun.
inline void BeginLine(TenantLine* t, int64_t floor, int64_t now) {
  const TenantLine old = *t;
  memset(t, 0, sizeof(*t));
  t->request = old.request;
  t->limit = old.limit;
  t->weight = old.weight;
  t->priority = old.priority;
  t->used = 1;
  t->settled_at = now;
  t->virtual_time = floor;
  t->tokens = kBucket;
}

// A bucket holds a whole unit and a bit, or a tenant of long units could never pay for one.
inline int64_t Depth(const TenantLine& t) {
  return Most(kBucket, t.largest_unit + t.largest_unit / 5);
}

// `rest` keeps what a ppm of a nanosecond would lose at every settlement.
inline int64_t Fill(int64_t level, uint32_t rate, int64_t passed, int64_t charge, int64_t depth,
                    int64_t* rest) {
  // In two steps, so that a pause of hours overflows nothing.
  const int64_t ppm = Least(rate, kWhole);
  const int64_t fine = passed % kWhole * ppm + *rest;
  *rest = fine % kWhole;
  return Within(level + passed / kWhole * ppm + fine / kWhole - charge, -kLongest, depth);
}

// Opened late and shut early, so that a throttled tenant gets a worthwhile run.
inline int64_t ReopensAt(const TenantLine& t) {
  return Within(t.reopen_at, kThrottleHysteresis, kBucket / 2);
}
inline void JudgeLimit(TenantLine* t) {
  if (t->limit >= kWhole) {
    t->throttled = 0;
  } else {
    t->throttled = t->tokens - t->in_flight < (t->throttled ? ReopensAt(*t) : 1);
  }
}

// When a throttled tenant may launch again, as if nothing in flight came back earlier.
inline int64_t RefillAt(const TenantLine& t, int64_t now) {
  if (t.limit == 0) return kNever;
  const int64_t missing = Most(0, ReopensAt(t) - t.tokens + t.in_flight);
  return now + Least(missing / t.limit, kLongest) * kWhole +
         (missing % t.limit * kWhole) / t.limit + 1;
}

// Ns since a line's books were last moved on, which they are from now on. A process with another
// clock (of another time namespace) may have moved them on to what is the future here; they go on
// from now then, or nothing would be charged until this clock has caught up.
inline int64_t PassedFor(TenantLine* t, int64_t now) {
  const int64_t passed = Within(now - t->settled_at, 0, kLongest);
  t->settled_at = now;
  return passed;
}

// Moves one tenant's books to `now`. `busy`: how many have work in flight.
inline void SettleLine(TenantLine* t, int64_t busy, int64_t now) {
  const int64_t passed = PassedFor(t, now);
  if (passed == 0) return;
  int64_t charge = 0;
  if (t->units > 0) {
    charge = busy > 1 ? passed / busy : passed;
    const int64_t credit = Least(charge, t->delta_credit);
    t->delta_credit -= credit;
    t->delta_given += credit;
    charge -= credit;
    t->charged += charge;
    t->virtual_time += Virtual(charge, *t);
    if (busy > 1) {
      t->shared += passed;
      t->overlap_charge = Least(t->overlap_charge + charge, kLongest);
    }
  }
  if (t->limit < kWhole) {
    t->tokens = Fill(t->tokens, t->limit, passed, charge, Depth(*t), &t->tokens_rest);
    JudgeLimit(t);
  } else {
    t->throttled = 0;
  }
  if (t->request > 0)
    t->guarantee = Fill(t->guarantee, t->request, passed, charge, Depth(*t), &t->guarantee_rest);
}

// Charges what no time that passed has; negative: gives it back.
inline void ChargeLine(TenantLine* t, int64_t ns) {
  t->charged += ns;
  t->virtual_time += ns >= 0 ? Virtual(ns, *t) : -Virtual(-ns, *t);
  if (t->limit < kWhole) t->tokens = Within(t->tokens - ns, -kLongest, Depth(*t));
  if (t->request > 0) t->guarantee = Within(t->guarantee - ns, -kLongest, Depth(*t));
}

// Who comes first: whoever has not had its request, then by priority, then by virtual time.
struct Order {
  uint32_t level;
  int32_t priority;
  int64_t virtual_time;

  bool Before(const Order& other) const {
    if (level != other.level) return level < other.level;
    if (priority != other.priority) return priority > other.priority;
    return virtual_time < other.virtual_time;
  }
};
inline Order OrderOf(const TenantLine& t) {
  return {t.guarantee > 0 ? 0u : 1u, t.priority, t.virtual_time};
}
// As it will be when what is in flight is paid for.
inline Order OrderAfterFlight(const TenantLine& t) {
  return {t.guarantee - t.in_flight > 0 ? 0u : 1u, t.priority,
          t.virtual_time + Virtual(t.in_flight, t)};
}

}  // namespace tranche::limiter
