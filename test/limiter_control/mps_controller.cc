#include "test/limiter_control/mps_controller.h"

#include <algorithm>
#include <utility>

namespace tranche::limiter_control {

using limiter::kNever;
using limiter::Prediction;
using limiter::Predictions;

MpsController::MpsController(std::vector<Share> shares, uint32_t sms)
    : shares_(std::move(shares)),
      sms_(sms),
      device_(new limiter::ComputeDevice{}),
      policy_(device_.get()),
      tenants_(shares_.size()) {}

void MpsController::Start(sim::World& world) {
  world_ = &world;
  for (uint32_t i = 0; i < shares_.size(); ++i) {
    const Share& s = shares_[i];
    policy_.Join(i, s.request, s.limit, s.weight, s.priority, 0);
    tenants_[i].predictions.reset(new Predictions{});
  }
}

uint32_t MpsController::DemandOf(const sim::Op& op) const {
  return static_cast<uint32_t>(std::min<uint64_t>(1000000, uint64_t{1000000} * op.blocks / sms_));
}

bool MpsController::Ask(uint32_t i, const sim::Op& op) {
  Tenant& t = tenants_[i];
  const int64_t now = world_->now();
  Prediction* p = t.predictions->Find(KeyOf(op));
  const bool measured = !Predictions::DeservesSample(p, t.launches, now - t.sampled_at);
  const int64_t expected = Predictions::Expected(p);
  if (!measured) Close(i, now);
  const limiter::MpsDecision decision = policy_.Gate(i, expected, DemandOf(op), measured, now);
  Wake(decision.wake);
  if (!decision.allow) {
    Close(i, now);
    Arm();
    return false;
  }
  if (!measured) t.sampled_at = now;
  Batch& b = t.open;
  if (b.units == 0) {
    b.first_launch = now;
    b.shared = policy_.Shared(i);
    b.alone = t.flights.empty();
  }
  ++b.units;
  b.demand = DemandOf(op);
  b.admitted += limiter::MpsShares::Cost(expected, b.demand);
  b.expected += expected;
  b.stream = op.stream;
  b.unmeasured = !measured;
  if (b.parts.empty() || b.parts.back().what != p) b.parts.push_back({p, 0, 0});
  b.parts.back().predicted += expected;
  ++b.parts.back().launches;
  return true;
}

void MpsController::Launched(uint32_t i, const sim::Op& op, int64_t at) {
  Tenant& t = tenants_[i];
  t.last_launch = at;
  ++t.launches;
  if (t.open.unmeasured || t.open.expected >= limiter::kMarkerEvery) {
    Close(i, at);
  } else if (!t.tail_armed) {
    t.tail_armed = true;
    world_->TimerAt(at + limiter::kTailDelay, 1 + i);
  }
  (void)op;
}

void MpsController::Close(uint32_t i, int64_t at) {
  Tenant& t = tenants_[i];
  if (t.open.units == 0) return;
  const uint64_t id = ++batches_;
  Batch& b = t.flights[id] = std::exchange(t.open, Batch{});
  world_->PutMarker(i, b.stream, id, at);
}

void MpsController::MarkerSeen(uint32_t i, uint64_t marker) {
  Tenant& t = tenants_[i];
  const auto found = t.flights.find(marker);
  const Batch b = found->second;
  t.flights.erase(found);
  const sim::HostTiming& host = world_->host();
  const int64_t now = world_->now();
  // Brings what was shared up to date.
  policy_.Settle(now);
  int64_t used = b.admitted;
  if (policy_.Shared(i) == b.shared) {
    int64_t observed = now - std::max(b.first_launch, t.last_seen);
    // What an empty marker takes comes off.
    if (b.alone)
      observed -= host.visible + host.marker + (host.marker_seen_from + host.marker_seen_to) / 2;
    if (b.unmeasured) Predictions::Sampled(b.parts.front().what, observed);
    Predictions::Learn(b.parts.data(), static_cast<uint32_t>(b.parts.size()), observed);
    if (b.unmeasured) used = limiter::MpsShares::Cost(observed, b.demand);
  }
  t.last_seen = now;
  Wake(policy_.Complete(i, b.units, b.admitted, used, now));
  Arm();
}

void MpsController::Timer(uint64_t tag) {
  const int64_t now = world_->now();
  if (tag == 0) {
    if (armed_ <= now) armed_ = kNever;
    Wake(policy_.Tick(now));
    return Arm();
  }
  const auto i = static_cast<uint32_t>(tag - 1);
  Tenant& t = tenants_[i];
  t.tail_armed = false;
  if (t.open.units == 0) return;
  if (t.last_launch + limiter::kTailDelay <= now) return Close(i, now);
  t.tail_armed = true;
  world_->TimerAt(t.last_launch + limiter::kTailDelay, tag);
}

void MpsController::Wake(uint64_t who) {
  for (; who != 0; who &= who - 1) world_->Wake(static_cast<uint32_t>(__builtin_ctzll(who)));
}

void MpsController::Arm() {
  const int64_t at = policy_.NextDeadline(world_->now());
  if (at >= armed_) return;
  armed_ = std::max(at, world_->now());
  world_->TimerAt(armed_, 0);
}

}  // namespace tranche::limiter_control
