#include "sim/gpu_time/world.h"

#include <algorithm>
#include <cmath>
#include <utility>

namespace tranche::sim {
namespace {

// How far a thread may be ahead of the events.
constexpr int64_t kAhead = 200'000;
// Of a Work's id: the launch that began a request, or a marker of the controller.
constexpr uint64_t kRequest = 1;

}  // namespace

World::World(std::vector<Program> programs, GpuTiming gpu, HostTiming host, uint32_t seed,
             Controller* controller)
    : gpu_(static_cast<uint32_t>(programs.size()), gpu),
      host_(host),
      random_(seed),
      controller_(controller) {
  for (uint32_t i = 0; i < programs.size(); ++i) {
    tenants_.emplace_back();
    tenants_[i].program = std::move(programs[i]);
    tenants_[i].random.seed(seed * 1000 + i);
    At(i * 1000, Event::kStep, i);
  }
  controller_->Start(*this);
}

void World::At(int64_t at, Event::Kind kind, uint32_t tenant, uint64_t tag) {
  events_.push({at, ++order_, kind, tenant, tag});
}

int64_t World::Random(int64_t from, int64_t to) {
  return from + static_cast<int64_t>(random_() % static_cast<uint64_t>(to - from + 1));
}

void World::TimerAt(int64_t at, uint64_t tag) { At(std::max(at, now_), Event::kTimer, 0, tag); }
void World::KillAt(uint32_t tenant, int64_t at) { At(at, Event::kDeath, tenant); }

void World::Wake(uint32_t tenant) {
  if (!tenants_[tenant].asleep) return;
  tenants_[tenant].asleep = false;
  ++wakes_;
  At(now_ + Random(host_.wake_from, host_.wake_to), Event::kStep, tenant);
}

void World::PutMarker(uint32_t tenant, uint32_t stream, uint64_t marker, int64_t at) {
  ++tenants_[tenant].outstanding;
  ++markers_;
  gpu_.Submit({tenant, stream, marker, host_.marker, 1, Engine::kMarker, at + host_.visible});
}

void World::RunUntil(int64_t end) {
  for (;;) {
    const int64_t event_at = events_.empty() ? kNothing : events_.top().at;
    const int64_t at = std::min(gpu_.Next(), event_at);
    if (at > end) break;
    now_ = at;
    gpu_.AdvanceTo(now_, &done_);
    Finished();
    if (event_at != at) continue;
    const Event event = events_.top();
    events_.pop();
    Handle(event);
  }
  now_ = end;
  gpu_.AdvanceTo(now_, &done_);
  Finished();
}

void World::Finished() {
  for (const TimedGpu::Done& done : done_) {
    const uint32_t i = done.work.context;
    Tenant& t = tenants_[i];
    --t.outstanding;
    if (done.work.engine == Engine::kMarker) {
      At(now_ + Random(host_.marker_seen_from, host_.marker_seen_to), Event::kMarker, i,
         done.work.id);
    } else if (done.work.id == kRequest && t.wished_at >= 0) {
      t.starts.push_back(done.started_at - t.wished_at);
    }
    if (t.full || (t.syncing && t.outstanding == 0)) {
      if (t.syncing && t.wished_at >= 0) {
        t.ends.push_back(now_ - t.wished_at);
        t.wished_at = -1;
      }
      t.synced = t.syncing;
      t.full = t.syncing = false;
      At(now_ + host_.sync_return, Event::kStep, i);
    }
  }
  done_.clear();
}

void World::Handle(const Event& event) {
  switch (event.kind) {
    case Event::kStep:
      Step(event.tenant);
      break;
    case Event::kMarker:
      if (!tenants_[event.tenant].dead) controller_->MarkerSeen(event.tenant, event.tag);
      break;
    case Event::kTimer:
      controller_->Timer(event.tag);
      break;
    case Event::kDeath:
      tenants_[event.tenant].dead = true;
      controller_->Died(event.tenant);
      break;
  }
}

int64_t World::Duration(Tenant& tenant, const Op& op) {
  std::normal_distribution<double> normal;
  const double z = normal(tenant.random);
  const double factor = op.spread == Spread::kLognormal ? std::exp(z - 0.5) : 1 + 0.03 * z;
  return std::max<int64_t>(100, std::llround(static_cast<double>(op.duration) * factor));
}

void World::Launch(uint32_t i, const Op& op, int64_t at) {
  Tenant& t = tenants_[i];
  ++t.outstanding;
  ++t.launches;
  gpu_.Submit({i, op.stream, op.request ? kRequest : 0, Duration(t, op), op.blocks, Engine::kSms,
               at + host_.visible});
}

void World::Step(uint32_t i) {
  Tenant& t = tenants_[i];
  if (t.dead || t.asleep || t.full || t.syncing) return;
  if (t.synced) {
    t.synced = false;
    controller_->AfterSync(i);
  }
  int64_t at = now_;
  const auto later = [&] { At(at, Event::kStep, i); };
  for (;;) {
    const Op& op = t.program.script[t.next];
    const auto advance = [&] { t.next = (t.next + 1) % t.program.script.size(); };
    if (op.act == Act::kLaunch) {
      if (op.request && t.wished_at < 0) {
        if (at > now_) return later();
        t.wished_at = now_;
      }
      if (t.outstanding >= host_.queue_depth) {
        if (at > now_) return later();
        t.full = true;
        return;
      }
      if (at - now_ > kAhead) return later();
      if (!controller_->Covered(i, op)) {
        if (at > now_) return later();
        t.asleep = true;  // so that a wake during the question is not lost
        if (!controller_->Ask(i, op)) return;
        t.asleep = false;
      }
      Launch(i, op, at);
      controller_->Launched(i, op, at);
      at += op.graph ? host_.graph_launch : host_.launch;
      advance();
      continue;
    }
    // Everything else happens in order with the events.
    if (at > now_) return later();
    advance();
    switch (op.act) {
      case Act::kCopy:
        ++t.outstanding;
        gpu_.Submit({i, op.stream, 0, Duration(t, op), 1, Engine::kCopy, at + host_.visible});
        controller_->Copied(i, op, at);
        at += host_.launch;
        break;
      case Act::kSync:
        if (t.outstanding == 0) break;
        t.syncing = true;
        controller_->BeforeSync(i);
        return;
      case Act::kCpu:
        at += Duration(t, op);
        return later();
      case Act::kIdle: {
        std::exponential_distribution<double> wait(1.0 / static_cast<double>(op.duration));
        at += std::llround(wait(t.random));
        return later();
      }
      case Act::kArrival:
        t.arrival += op.duration;
        t.wished_at = t.arrival;
        at = std::max(at, t.arrival);
        return later();
      case Act::kLaunch:
        break;
    }
  }
}

}  // namespace tranche::sim
