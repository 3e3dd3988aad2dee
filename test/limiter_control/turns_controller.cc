#include "test/limiter_control/turns_controller.h"

#include <algorithm>
#include <utility>

namespace tranche::limiter_control {
namespace {

using limiter::kNever;
using limiter::Prediction;
using limiter::Predictions;

constexpr uint64_t kTick = 0;           // a timer's tag; above it 1 + tenant: a tail
constexpr uint64_t kCopy = 1ull << 63;  // of a marker's number

}  // namespace

uint64_t KeyOf(const sim::Op& op) {
  return (uint64_t{op.key} + 1) * 0x9e3779b97f4a7c15 ^ (uint64_t{op.blocks} << 1 | op.graph);
}

TurnsController::TurnsController(std::vector<Share> shares, TurnsOptions options)
    : shares_(std::move(shares)),
      options_(options),
      device_(new limiter::ComputeDevice{}),
      tenants_(shares_.size()) {}

void TurnsController::Start(sim::World& world) {
  world_ = &world;
  const sim::HostTiming& host = world.host();
  if (options_.calibrate)
    for (int sample = 0; sample < 256; ++sample) {
      const int64_t work = host.visible + host.marker;
      turns().Calibrate(work + world.Random(host.marker_seen_from, host.marker_seen_to));
      turns().Calibrate(work + host.sync_return, limiter::Seen::kByWaiting);
    }
  turns().NoteSwitchCost(options_.switch_cost);
  for (uint32_t i = 0; i < shares_.size(); ++i) {
    const Share& s = shares_[i];
    turns().Join(i, s.request, s.limit, s.weight, s.priority, 0);
    tenants_[i].predictions.reset(new Predictions{});
  }
}

Prediction* TurnsController::Predicted(uint32_t i, const sim::Op& op) {
  return tenants_[i].predictions->Find(KeyOf(op));
}

// Whole kernels of the kind that asks, so that nothing is left over.
int64_t TurnsController::LeaseFor(int64_t expected) const {
  return expected >= options_.lease ? expected : options_.lease / expected * expected;
}

bool TurnsController::Covered(uint32_t i, const sim::Op& op) {
  const Tenant& t = tenants_[i];
  const Prediction* p = Predicted(i, op);
  return t.copies == 0 && Predictions::Measured(p) && t.open.left >= Predictions::Expected(p);
}

bool TurnsController::Ask(uint32_t i, const sim::Op& op) {
  Tenant& t = tenants_[i];
  const int64_t now = world_->now();
  Prediction* p = Predicted(i, op);
  const bool measured = Predictions::Measured(p);
  if (t.copies > 0 || (!measured && p->trying)) {
    Close(i, now);
    t.waits_for_marker = true;
    return false;
  }
  const int64_t expected = Predictions::Expected(p);
  if (options_.lease > 0 || !measured) Close(i, now);
  const int64_t wanted = measured ? LeaseFor(expected) : expected;
  const limiter::Decision decision = turns().Gate(i, wanted, now, t.waited);
  Wake(decision.wake & ~(uint64_t{1} << i));
  if (!decision.allow) Close(i, now);
  Arm();
  if (!decision.allow) return false;
  if (t.open.units == 0) {
    t.open.first_launch = now;
    t.open.shared = turns().Shared(i);
    t.open.alone = t.flights.empty();
  }
  ++t.open.units;
  t.open.predicted += wanted;
  t.open.left += wanted;
  if (!measured) t.open.unmeasured = Predictions::Try(p);
  return true;
}

void TurnsController::Launched(uint32_t i, const sim::Op& op, int64_t at) {
  Tenant& t = tenants_[i];
  Batch& b = t.open;
  Prediction* p = Predicted(i, op);
  const int64_t expected = Predictions::Expected(p);
  b.left -= expected;
  b.launched += expected;
  if (b.parts.empty() || b.parts.back().what != p) b.parts.push_back({p, 0, 0});
  b.parts.back().predicted += expected;
  ++b.parts.back().launches;
  if (std::find(b.streams.begin(), b.streams.end(), op.stream) == b.streams.end())
    b.streams.push_back(op.stream);
  t.last_launch = at;
  t.waited = false;
  const int64_t full = options_.lease > 0 ? b.predicted : limiter::kMarkerEvery;
  if (b.unmeasured || b.launched >= full || Predictions::Erratic(p)) return Close(i, at);
  if (t.tail_armed) return;
  t.tail_armed = true;
  world_->TimerAt(at + limiter::kTailDelay, 1 + i);
}

void TurnsController::Copied(uint32_t i, const sim::Op& op, int64_t at) {
  if (!options_.wait_for_copies) return;
  ++tenants_[i].copies;
  world_->PutMarker(i, op.stream, kCopy, at);
}

void TurnsController::BeforeSync(uint32_t i) { Close(i, world_->now()); }

void TurnsController::Close(uint32_t i, int64_t at) {
  Tenant& t = tenants_[i];
  if (t.open.units == 0) return;
  const uint64_t id = ++batches_;
  Batch& b = t.flights[id] = std::exchange(t.open, Batch{});
  b.markers = static_cast<uint32_t>(b.streams.size());
  for (const uint32_t stream : b.streams) world_->PutMarker(i, stream, id, at);
}

void TurnsController::MarkerSeen(uint32_t i, uint64_t marker) {
  Tenant& t = tenants_[i];
  if (marker == kCopy) {
    --t.copies;
  } else {
    const auto found = t.flights.find(marker);
    // Whoever waited may have seen it first.
    if (found == t.flights.end() || --found->second.markers > 0) return;
    Reached(i, marker, limiter::Seen::kByMarker);
  }
  if (std::exchange(t.waits_for_marker, false)) world_->Wake(i);
  Arm();
}

void TurnsController::AfterSync(uint32_t i) {
  Tenant& t = tenants_[i];
  t.waited = true;
  while (!t.flights.empty()) Reached(i, t.flights.begin()->first, limiter::Seen::kByWaiting);
  Arm();
}

void TurnsController::Reached(uint32_t i, uint64_t batch, limiter::Seen seen) {
  Tenant& t = tenants_[i];
  const int64_t now = world_->now();
  const Batch b = std::move(t.flights[batch]);
  t.flights.erase(batch);
  Wake(turns().Complete(i, b.units, b.predicted, now, b.unmeasured ? 0 : b.launched, seen));
  int64_t observed = now - std::max(b.first_launch, t.last_seen);
  if (b.alone) observed -= seen == limiter::Seen::kByMarker ? device_->delta : device_->sync_delta;
  if (turns().Shared(i) == b.shared) {
    Predictions::Learn(b.parts.data(), static_cast<uint32_t>(b.parts.size()), observed);
  } else if (b.unmeasured) {
    Predictions::GiveUp(b.parts[0].what);
  }
  t.last_seen = now;
}

void TurnsController::Timer(uint64_t tag) {
  const int64_t now = world_->now();
  if (tag == kTick) {
    if (armed_ <= now) armed_ = kNever;
    Wake(turns().Tick(now));
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

void TurnsController::Died(uint32_t i) {
  Wake(turns().Leave(i, world_->now()));
  Arm();
}

void TurnsController::Wake(uint64_t who) {
  for (; who != 0; who &= who - 1) world_->Wake(static_cast<uint32_t>(__builtin_ctzll(who)));
}

void TurnsController::Arm() {
  const int64_t at = turns().NextDeadline(world_->now());
  if (at >= armed_) return;
  armed_ = std::max(at, world_->now());
  world_->TimerAt(armed_, kTick);
}

}  // namespace tranche::limiter_control
