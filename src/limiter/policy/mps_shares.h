#pragma once

#include <stdint.h>
#include <string.h>

#include "limiter/policy/accounts.h"
#include "limiter/policy/compute_state.h"

// Shares of a GPU whose contexts run at the same time (MPS). Turns would waste what one tenant
// leaves free, and wall time says nothing of who used what; so each unit is charged what it takes
// alone times the part of the GPU that it fills, and tenants are served in the order of these
// accounts: start-time fair queueing. Nobody is held back while all demands fit on the GPU
// together, nor for the sake of one who gets all that it can use.
//
// The same state as for turns; a device is under one policy at a time.
namespace tranche::limiter {

struct MpsDecision {
  bool allow;
  uint64_t wake;  // tenants, one bit each, that should ask again now
};

class MpsShares {
 public:
  explicit MpsShares(ComputeDevice* device) : d_(device) {}

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
    memset(&d_->tenants[i], 0, sizeof(TenantLine));
    d_->present &= ~Bit(i);
    if (d_->solo_plus_1 == i + 1) EndSolo();
    return WakeAll();
  }

  // May tenant i launch a unit that takes `solo` ns alone? `demand`: the part of the GPU, in ppm,
  // that its running units fill together with this one. A unit that was never measured
  // (`measured` false) is let in when nobody else is on the GPU, and nobody else while it runs.
  MpsDecision Gate(uint32_t i, int64_t solo, uint32_t demand, bool measured, int64_t now) {
    if (i >= kMostTenants || !Present(i)) return {false, 0};
    Settle(now);
    TenantLine& t = d_->tenants[i];
    Return(i);
    t.demand = static_cast<uint32_t>(Within(demand, 1, kWhole));
    const int64_t cost = Cost(solo, t.demand);
    t.pending = cost;
    t.largest_unit = Most(t.largest_unit, cost);
    JudgeLimit(&t);
    if (t.throttled) return Refuse(i, now);
    if (!measured && d_->solo_plus_1 == 0) {
      d_->solo_plus_1 = i + 1;
      d_->solo_runs = 0;
      // Should it never come back, the others go on.
      d_->grace_until = now + kSoloPatience;
    }
    // Nor may its own other units join it: it would never end.
    if (d_->solo_plus_1 != 0 && (d_->solo_plus_1 != i + 1 || measured)) return Refuse(i, now);
    if (!measured && (OthersRun(i) || t.units > 0)) return Refuse(i, now);
    if (t.units > 0 && t.in_flight + cost > Most(kInFlight, Least(2 * cost, kTwoUnits)))
      return Refuse(i, now);
    if (measured && !InOrder(i, now)) return Refuse(i, now);
    if (!measured) d_->solo_runs = 1;
    t.waiting = t.asleep;
    t.in_flight = Least(t.in_flight + cost, kLongest);
    ++t.units;
    t.active_at = t.progress_at = now;
    return {true, 0};
  }

  // `units` of tenant i are complete, let in at `admitted` GPU ns together (the sum of solo times
  // demand); `used` is what they are charged, the same unless something better is known.
  uint64_t Complete(uint32_t i, uint32_t units, int64_t admitted, int64_t used, int64_t now) {
    if (i >= kMostTenants || !Present(i)) return 0;
    Settle(now);
    TenantLine& t = d_->tenants[i];
    t.units -= units < t.units ? units : t.units;
    t.in_flight = t.units == 0 ? 0 : Most(0, t.in_flight - Within(admitted, 0, kLongest / 4));
    ChargeLine(&t, Within(used, 0, kLongest / 4));
    JudgeLimit(&t);
    t.progress_at = now;
    if (t.units == 0 && !t.waiting) t.lag_at_idle = Most(0, LeastOfOthers(i) - t.virtual_time);
    if (d_->solo_plus_1 == i + 1 && d_->solo_runs != 0 && t.units == 0) EndSolo();
    Advance();
    return WakeReady(now);
  }

  uint64_t Tick(int64_t now) {
    Settle(now);
    const uint32_t solo = d_->solo_plus_1;
    if (solo != 0 && now >= d_->grace_until &&
        (solo > kMostTenants || d_->solo_runs == 0 || d_->tenants[solo - 1].units == 0))
      EndSolo();
    return WakeReady(now);
  }

  int64_t NextDeadline(int64_t now) const {
    int64_t at = kNever;
    bool waits = false;
    for (uint64_t left = d_->present; left != 0; left &= left - 1) {
      const TenantLine& t = d_->tenants[First(left)];
      if (!t.waiting) continue;
      if (!Believable(t)) return now;
      if (t.throttled) {
        at = Least(at, RefillAt(t, now));
      } else {
        waits = true;
      }
    }
    if (waits && d_->solo_plus_1 != 0) at = Least(at, Most(now + kGrace, d_->grace_until));
    // Whoever holds back for another must see when that one no longer wants more.
    return waits ? Least(at, now + kLimitedMemory) : at;
  }

  // Fills the buckets up to `now`.
  void Settle(int64_t now) {
    if (__builtin_expect(!Believable(*d_), 0))
      d_->turn_from = d_->granted_at = d_->grace_until = d_->settled_at = d_->idle = d_->floor = 0;
    int64_t busy = 0;
    for (uint64_t left = d_->present; left != 0; left &= left - 1)
      busy += d_->tenants[First(left)].units > 0;
    for (uint64_t left = d_->present; left != 0; left &= left - 1) {
      TenantLine& t = d_->tenants[First(left)];
      if (__builtin_expect(!Believable(t), 0)) BeginLine(&t, d_->floor, now);
      const int64_t passed = PassedFor(&t, now);
      if (passed == 0) continue;
      if (busy > 1 && t.units > 0) t.shared += passed;
      if (t.limit < kWhole) {
        t.tokens = Fill(t.tokens, t.limit, passed, 0, Depth(t), &t.tokens_rest);
        JudgeLimit(&t);
      }
      if (t.request > 0)
        t.guarantee = Fill(t.guarantee, t.request, passed, 0, Depth(t), &t.guarantee_rest);
    }
  }

  // Ns in which tenant i was not alone on the GPU: a measurement during which it grew says nothing
  // of what the kernels take.
  int64_t Shared(uint32_t i) const { return i < kMostTenants ? d_->tenants[i].shared : 0; }

  static int64_t Cost(int64_t solo, uint32_t demand) {
    const int64_t ns = Within(solo, 0, kLongest / 4);
    return ns / kWhole * demand + ns % kWhole * demand / kWhole;
  }

 private:
  // Whoever was not kept from launching for so long wants no more than it gets.
  static constexpr int64_t kLimitedMemory = 5 * kMillisecond;
  static constexpr uint32_t kWholeGpu = 900000;
  static constexpr int64_t kSoloPatience = 20 * kMillisecond;
  // How far ahead of the others one may be, so that the GPU never runs dry of it.
  static constexpr int64_t kAhead = kMillisecond;

  static uint64_t Bit(uint32_t i) { return uint64_t{1} << (i % kMostTenants); }
  static uint32_t First(uint64_t bits) { return static_cast<uint32_t>(__builtin_ctzll(bits)); }
  bool Present(uint32_t i) const { return (d_->present >> i & 1) != 0; }

  MpsDecision Refuse(uint32_t i, int64_t now) {
    TenantLine& t = d_->tenants[i];
    t.waiting = t.asleep = 1;
    t.limited_at = now;
    return {false, 0};
  }

  void EndSolo() { d_->solo_plus_1 = d_->solo_runs = 0; }

  bool OthersRun(uint32_t i) const {
    for (uint64_t left = d_->present & ~Bit(i); left != 0; left &= left - 1)
      if (d_->tenants[First(left)].units > 0) return true;
    return false;
  }

  // One that does what it likes restrains nobody, however far behind it is, unless it fills the
  // GPU while it runs: then the others lose no more by waiting than it does by their running.
  bool WantsMore(const TenantLine& t, int64_t now) const {
    if (!Active(t) || t.throttled) return false;
    return (t.limited_at != 0 && now - t.limited_at < kLimitedMemory) || t.demand >= kWholeGpu;
  }

  // Those of the tenants who get less than they could use: demands are filled by weight, least
  // needs first.
  uint64_t Unsatisfied(uint64_t of) const {
    int64_t room = kWhole;
    for (;;) {
      int64_t weights = 0;
      for (uint64_t left = of; left != 0; left &= left - 1)
        weights += WeightOf(d_->tenants[First(left)]);
      uint64_t satisfied = 0;
      int64_t taken = 0;
      for (uint64_t left = of; left != 0; left &= left - 1) {
        const TenantLine& t = d_->tenants[First(left)];
        const int64_t demand = Within(t.demand, 1, kWhole);
        if (demand * weights > Most(room, 0) * WeightOf(t)) continue;
        satisfied |= Bit(First(left));
        taken += demand;
      }
      if (satisfied == 0) return of;
      of &= ~satisfied;
      if (of == 0) return 0;
      room -= taken;
    }
  }

  bool InOrder(uint32_t i, int64_t now) const {
    uint64_t active = Bit(i);
    for (uint64_t left = d_->present; left != 0; left &= left - 1)
      if (Active(d_->tenants[First(left)])) active |= Bit(First(left));
    if (active == Bit(i)) return true;
    const uint64_t short_of = Unsatisfied(active);
    if ((short_of & Bit(i)) == 0) return true;
    const TenantLine& t = d_->tenants[i];
    const Order mine = OrderAfterFlight(t);
    for (uint64_t left = short_of & ~Bit(i); left != 0; left &= left - 1) {
      const TenantLine& other = d_->tenants[First(left)];
      if (!WantsMore(other, now)) continue;
      const Order its = OrderAfterFlight(other);
      if (its.level != mine.level) {
        if (its.level < mine.level && t.units > 0) return false;
        continue;
      }
      if (its.priority != mine.priority) {
        if (its.priority > mine.priority && t.units > 0) return false;
        continue;
      }
      if (mine.virtual_time > its.virtual_time + Virtual(kAhead, t)) return false;
    }
    return true;
  }

  int64_t LeastOfOthers(uint32_t i) const {
    int64_t least = kNever;
    for (uint64_t left = d_->present & ~Bit(i); left != 0; left &= left - 1) {
      const TenantLine& t = d_->tenants[First(left)];
      if (Active(t)) least = Least(least, t.virtual_time);
    }
    return least == kNever ? d_->floor : least;
  }

  void Return(uint32_t i) {
    TenantLine& t = d_->tenants[i];
    if (Active(t)) return;
    const int64_t kept = Least(t.lag_at_idle, Virtual(kMostLag, t));
    t.virtual_time = Most(t.virtual_time, LeastOfOthers(i) - Most(Virtual(kIdleCredit, t), kept));
  }

  void Advance() {
    const int64_t least = LeastOfOthers(kMostTenants - 1);
    if (least > d_->floor) d_->floor = least;
    if (d_->floor < kUnbelievable / 2) return;
    const int64_t by = d_->floor;
    d_->floor = 0;
    for (uint64_t left = d_->present; left != 0; left &= left - 1) {
      TenantLine& t = d_->tenants[First(left)];
      t.virtual_time = Most(t.virtual_time - by, -kUnbelievable / 2);
    }
  }

  uint64_t WakeAll() {
    uint64_t wake = 0;
    for (uint64_t left = d_->present; left != 0; left &= left - 1) {
      TenantLine& t = d_->tenants[First(left)];
      if (!t.waiting || t.throttled) continue;
      t.asleep = 0;
      wake |= Bit(First(left));
    }
    return wake;
  }

  // Those that sleep and would be let in.
  uint64_t WakeReady(int64_t now) {
    uint64_t wake = 0;
    const uint32_t solo = d_->solo_plus_1;
    for (uint64_t left = d_->present; left != 0; left &= left - 1) {
      const uint32_t i = First(left);
      TenantLine& t = d_->tenants[i];
      if (!t.waiting || !t.asleep || t.throttled) continue;
      if (solo == i + 1) {
        if (OthersRun(i) || t.units > 0) continue;
      } else if (solo != 0) {
        continue;
      } else {
        const int64_t bound = Most(kInFlight, Least(2 * t.pending, kTwoUnits));
        if (t.units > 0 && (t.in_flight > bound * 6 / 10 || t.in_flight + t.pending > bound))
          continue;
        if (!InOrder(i, now)) continue;
      }
      t.asleep = 0;
      wake |= Bit(i);
    }
    return wake;
  }

  ComputeDevice* d_;
};

}  // namespace tranche::limiter
