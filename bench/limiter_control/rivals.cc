#include "bench/limiter_control/rivals.h"

#include <algorithm>
#include <cmath>

namespace tranche::limiter_control {
namespace {

constexpr int64_t kMs = 1'000'000;
constexpr int64_t kSecond = 1000 * kMs;
constexpr uint64_t kWatch = 0;  // a timer's tag; above it 1 + tenant that sleeps

}  // namespace

void Utilisation::Sample(int64_t now, double served) {
  points_.push_back({now, served});
  while (points_.size() > 2 && points_[1].at <= now - kSecond) points_.pop_front();
}

double Utilisation::LastSecond() const {
  if (points_.size() < 2) return 0;
  const double ns = points_.back().served - points_.front().served;
  return 100 * ns / static_cast<double>(std::max(kSecond, points_.back().at - points_.front().at));
}

void HamiController::Start(sim::World& world) {
  world_ = &world;
  world_->TimerAt(120 * kMs, kWatch);
}

bool HamiController::Covered(uint32_t i, const sim::Op& op) {
  return op.graph || tenants_[i].limit >= 100 || tenants_[i].pool >= 0;
}

bool HamiController::Ask(uint32_t i, const sim::Op& op) {
  if (Covered(i, op)) return true;
  world_->TimerAt(world_->now() + 10 * kMs, 1 + i);
  return false;
}

void HamiController::Launched(uint32_t i, const sim::Op& op, int64_t) {
  if (!op.graph) tenants_[i].pool -= op.blocks;
}

void HamiController::Timer(uint64_t tag) {
  if (tag != kWatch) return world_->Wake(static_cast<uint32_t>(tag - 1));
  for (uint32_t i = 0; i < tenants_.size(); ++i) {
    Tenant& t = tenants_[i];
    t.utilisation.Sample(world_->now(), world_->gpu().served(i));
    const double used = t.utilisation.LastSecond();
    const double away = std::max(5.0, std::abs(t.limit - used));
    double step = kSms * kSms * kThreads * away / 2560;
    if (away > t.limit / 2) step *= away * 2 / (t.limit + 1);
    t.share = used < t.limit ? std::min(t.total, t.share + step) : std::max(0.0, t.share - step);
    if (t.share == t.total && t.pool < 0) {
      t.total *= 2;
      t.share = t.total;
    }
    t.pool = std::min(t.total, t.pool + t.share);
  }
  world_->TimerAt(world_->now() + 120 * kMs, kWatch);
}

void PidController::Start(sim::World& world) {
  world_ = &world;
  world_->TimerAt(100 * kMs, kWatch);
}

bool PidController::Covered(uint32_t i, const sim::Op& op) {
  return op.graph || tenants_[i].limit >= 100 || tenants_[i].tokens > 0;
}

bool PidController::Ask(uint32_t i, const sim::Op& op) {
  if (Covered(i, op)) return true;
  world_->TimerAt(world_->now() + 10 * kMs, 1 + i);
  return false;
}

void PidController::Launched(uint32_t i, const sim::Op& op, int64_t) {
  if (!op.graph) tenants_[i].tokens -= op.blocks;
}

void PidController::Refill(Tenant* t) {
  const int64_t passed = world_->now() - t->refilled_at;
  t->refilled_at = world_->now();
  t->tokens = std::min(2 * t->rate, t->tokens + t->rate * static_cast<double>(passed) / kSecond);
}

void PidController::Timer(uint64_t tag) {
  if (tag != kWatch) {
    Refill(&tenants_[tag - 1]);
    return world_->Wake(static_cast<uint32_t>(tag - 1));
  }
  for (uint32_t i = 0; i < tenants_.size(); ++i) {
    Tenant& t = tenants_[i];
    Refill(&t);
    t.utilisation.Sample(world_->now(), world_->gpu().served(i));
    t.average += 0.3 * (t.utilisation.LastSecond() - t.average);
    const double error = (t.limit - t.average) / 100;
    t.integral = std::clamp(t.integral + error * 0.1, -1.0, 1.0);
    const double change = 0.5 * error + 0.1 * t.integral + 0.05 * (error - t.last) / 0.1;
    t.last = error;
    t.rate = std::clamp(t.rate * (1 + change), 10.0, 1e10);
  }
  world_->TimerAt(world_->now() + 100 * kMs, kWatch);
}

}  // namespace tranche::limiter_control
