#include "limiter/policy/turns.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <deque>
#include <memory>
#include <optional>
#include <queue>
#include <random>
#include <vector>

#include "sim/gpu_time/time_slices.h"

namespace tranche::limiter {
namespace {

// Host costs as in the study: assumed, not measured.
constexpr int64_t kLaunch = 3000, kVisible = 4000, kSyncReturn = 5000, kMarkerCost = 1000;
constexpr size_t kQueueDepth = 1024;

struct App {
  int64_t kernel;           // ns
  bool sync = false;        // waits for every kernel
  uint32_t weight = 0;      // ppm
  uint32_t limit = kWhole;  // ppm
  int64_t dies_at = kNever;
};

// One thread per tenant launches through the gate onto one GPU under time slices.
class World {
 public:
  World(std::vector<App> apps, uint32_t seed, int64_t wake_from = 8000, int64_t wake_to = 30000)
      : apps_(std::move(apps)),
        gpu_(static_cast<uint32_t>(apps_.size()), {}),
        random_(seed),
        wake_from_(wake_from),
        wake_to_(wake_to),
        state_(apps_.size()) {
    device_.reset(new ComputeDevice{});
    device_->delta = 6000;
    for (uint32_t i = 0; i < apps_.size(); ++i) {
      Turns(device_.get()).Join(i, 0, apps_[i].limit, apps_[i].weight, 0, 0);
      At(i * 1000, Event::kStep, i);
      if (apps_[i].dies_at != kNever) At(apps_[i].dies_at, Event::kDeath, i);
    }
  }

  void RunUntil(int64_t end) {
    for (;;) {
      const std::optional<int64_t> gpu = gpu_.Next();
      const int64_t event_at = events_.empty() ? kNever : events_.top().at;
      if (std::min(gpu.value_or(kNever), event_at) > end) break;
      if (gpu && *gpu <= event_at) {
        now_ = *gpu;
        if (const auto done = gpu_.AdvanceTo(now_)) Finished(done->context);
        continue;
      }
      const Event event = events_.top();
      events_.pop();
      now_ = event.at;
      if (const auto done = gpu_.AdvanceTo(now_)) Finished(done->context);
      Handle(event);
    }
    now_ = end;
    if (const auto done = gpu_.AdvanceTo(now_)) Finished(done->context);
    Turns(device_.get()).Settle(now_);
  }

  int64_t work(uint32_t i) const { return state_[i].work; }
  int64_t charged(uint32_t i) const { return device_->tenants[i].charged; }

 private:
  struct Event {
    enum Kind { kStep, kVisibleWork, kMarker, kTick, kDeath };
    int64_t at;
    uint64_t order;
    Kind kind;
    uint32_t tenant;
    uint32_t units;
    bool operator<(const Event& other) const {
      return at != other.at ? at > other.at : order > other.order;
    }
  };
  struct Unit {
    int64_t duration;
    bool marker;
  };
  struct Tenant {
    std::deque<Unit> queued;  // launched, not complete
    size_t visible = 0;       // of those, to the GPU
    int64_t work = 0;
    int64_t unmarked = 0;
    uint32_t units = 0;  // complete on the GPU since the last marker
    bool asleep = false, full = false, syncing = false, dead = false;
  };

  void At(int64_t at, Event::Kind kind, uint32_t tenant, uint32_t units = 0) {
    events_.push({at, ++order_, kind, tenant, units});
  }
  int64_t Random(int64_t from, int64_t to) {
    return std::uniform_int_distribution<int64_t>(from, to)(random_);
  }
  void Wake(uint64_t who) {
    for (uint32_t i = 0; i < apps_.size(); ++i) {
      if (!(who >> i & 1) || !state_[i].asleep) continue;
      state_[i].asleep = false;
      At(now_ + Random(wake_from_, wake_to_), Event::kStep, i);
    }
  }
  void Arm() {
    const int64_t at = Turns(device_.get()).NextDeadline(now_);
    if (at != kNever && at != armed_) At(armed_ = std::max(at, now_), Event::kTick, 0);
  }
  void Finished(uint32_t i) {
    Tenant& t = state_[i];
    const Unit unit = t.queued.front();
    t.queued.pop_front();
    --t.visible;
    t.work += unit.duration;
    t.units += unit.duration > 0;
    if (unit.marker) {
      At(now_ + Random(1000, 5000), Event::kMarker, i, t.units);
      t.units = 0;
    }
    if (t.full || (t.syncing && t.queued.empty())) {
      t.full = t.syncing = false;
      At(now_ + kSyncReturn, Event::kStep, i);
    }
  }
  void Handle(const Event& event) {
    const uint32_t i = event.tenant;
    Tenant& t = state_[i];
    Turns turns(device_.get());
    switch (event.kind) {
      case Event::kStep:
        Step(i);
        break;
      case Event::kVisibleWork: {
        const Unit& unit = t.queued[t.visible++];
        gpu_.Submit(i, 0, unit.duration + (unit.marker ? kMarkerCost : 0));
        break;
      }
      case Event::kMarker:
        if (!t.dead) Wake(turns.Complete(i, event.units, event.units * apps_[i].kernel, now_));
        break;
      case Event::kTick:
        armed_ = 0;
        Wake(turns.Tick(now_));
        break;
      case Event::kDeath:
        t.dead = true;
        Wake(turns.Leave(i, now_));
        break;
    }
    Arm();
  }
  void Step(uint32_t i) {
    Tenant& t = state_[i];
    if (t.dead) return;
    if (t.queued.size() >= kQueueDepth) {
      t.full = true;
      return;
    }
    const App& app = apps_[i];
    const Decision decision = Turns(device_.get()).Gate(i, app.kernel, now_);
    Wake(decision.wake);
    if (!decision.allow) {
      t.asleep = true;
      if (t.unmarked > 0) {
        // Before blocking, so that what is already launched is seen complete.
        t.unmarked = 0;
        t.queued.push_back({0, true});
        At(now_ + kVisible, Event::kVisibleWork, i);
      }
      return;
    }
    const double jitter = 1 + 0.03 * std::normal_distribution<double>()(random_);
    const auto duration = std::max<int64_t>(1, std::llround(double(app.kernel) * jitter));
    t.unmarked += app.kernel;
    const bool marker = app.sync || t.unmarked >= kMarkerEvery;
    if (marker) t.unmarked = 0;
    t.queued.push_back({duration, marker});
    At(now_ + kVisible, Event::kVisibleWork, i);
    if (app.sync)
      t.syncing = true;
    else
      At(now_ + kLaunch, Event::kStep, i);
  }

  std::vector<App> apps_;
  sim::TimeSlices gpu_;
  std::mt19937 random_;
  int64_t wake_from_, wake_to_;
  std::vector<Tenant> state_;
  std::unique_ptr<ComputeDevice> device_;
  std::priority_queue<Event> events_;
  uint64_t order_ = 0;
  int64_t now_ = 0, armed_ = 0;
};

constexpr int64_t kSecond = 1000 * kMillisecond;

// Points by which tenant 0's part of all work differs from its weight, over 5 s.
double RatioError(World& world, double wanted) {
  world.RunUntil(kSecond);
  const int64_t a = world.work(0), b = world.work(1);
  world.RunUntil(6 * kSecond);
  const double mine = double(world.work(0) - a), other = double(world.work(1) - b);
  EXPECT_GT(mine, 0);
  return std::abs(100 * mine / (mine + other) - wanted);
}

TEST(Turns, LongKernelsShare30To70) {
  World world({{kMillisecond, false, 300000}, {kMillisecond, false, 700000}}, 1);
  EXPECT_LE(RatioError(world, 30), 0.5);
  EXPECT_GE(double(world.work(0) + world.work(1)) / (6.0 * kSecond), 0.98);
}

TEST(Turns, ShortKernelsShare5To95) {
  World world({{50000, false, 50000}, {50000, false, 950000}}, 2);
  EXPECT_LE(RatioError(world, 5), 0.5);
  EXPECT_GE(double(world.work(0) + world.work(1)) / (6.0 * kSecond), 0.98);
}

TEST(Turns, TinyKernelsShare30To70) {
  World world({{5000, false, 300000}, {5000, false, 700000}}, 9);
  EXPECT_LE(RatioError(world, 30), 0.5);
}

TEST(Turns, UnlikeKernelsShare30To70) {
  World world({{50000, false, 300000}, {kMillisecond, true, 700000}}, 3);
  EXPECT_LE(RatioError(world, 30), 0.5);
}

TEST(Turns, LoneTenantIsHeldToItsLimit) {
  for (const uint32_t limit : {100000u, 250000u, 500000u, 750000u}) {
    World world({{kMillisecond, false, 1000000, limit}}, 4);
    world.RunUntil(kSecond);
    const int64_t before = world.work(0);
    world.RunUntil(6 * kSecond);
    EXPECT_NEAR(100 * double(world.work(0) - before) / (5.0 * kSecond), limit / 1e4, 0.5);
  }
}

TEST(Turns, SpareTimeOfACappedTenantGoesToTheOther) {
  World world({{kMillisecond, false, 500000, 200000}, {kMillisecond, false, 500000}}, 5);
  world.RunUntil(kSecond);
  const int64_t mine = world.work(0), other = world.work(1);
  world.RunUntil(6 * kSecond);
  EXPECT_NEAR(100 * double(world.work(0) - mine) / (5.0 * kSecond), 20, 0.5);
  EXPECT_GE(double(world.work(0) - mine + world.work(1) - other) / (5.0 * kSecond), 0.98);
}

TEST(Turns, SlowWakesDoNotChangeTheRatio) {
  World world({{kMillisecond, false, 300000}, {kMillisecond, false, 700000}}, 6, 50000, 300000);
  EXPECT_LE(RatioError(world, 30), 0.5);
}

TEST(Turns, TheOtherGoesOnWhenOneDies) {
  for (int64_t at = 2 * kSecond; at < 2 * kSecond + 12 * kMillisecond; at += 700 * kMicrosecond) {
    World world({{kMillisecond, false, 700000, kWhole, at}, {kMillisecond, false, 300000}}, 7);
    world.RunUntil(at + 20 * kMillisecond);
    const int64_t before = world.work(1);
    world.RunUntil(at + 520 * kMillisecond);
    EXPECT_GE(world.work(1) - before, 490 * kMillisecond);
  }
}

TEST(Turns, ChargesAddUpToTheWall) {
  World world({{kMillisecond, false, 300000}, {50000, false, 700000}}, 8);
  world.RunUntil(5 * kSecond);
  EXPECT_LE(world.charged(0) + world.charged(1), 5 * kSecond);
  EXPECT_NEAR(double(world.charged(0)) / double(world.charged(0) + world.charged(1)), 0.3, 0.005);
}

}  // namespace
}  // namespace tranche::limiter
