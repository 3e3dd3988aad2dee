#include "sim/gpu_time/arbiter.h"

#include <algorithm>
#include <cmath>

namespace tranche::sim {
namespace {

// What is left of a piece of work by rounding.
constexpr double kDone = 1e-3;

}  // namespace

void Arbiter::Clear(uint32_t context) {
  ContextState& c = s_.context[context];
  for (uint32_t i = 0; i < c.streams; ++i) {
    c.stream[i].done = c.stream[i].given;
    c.stream[i].rate = 0;
  }
  c.queued = 0;
  c.sm_part = 1;
  c.partition = c.below_normal = 0;
  c.served = 0;
  c.group = context;
  s_.contexts = std::max(s_.contexts, context + 1);
}

uint64_t Arbiter::Submit(uint32_t context, uint32_t stream, const WorkItem& item,
                         std::vector<Done>* done) {
  ContextState& c = s_.context[context];
  c.streams = std::max(c.streams, stream + 1);
  StreamState& s = c.stream[stream];
  const uint64_t number = ++s.given;
  ItemAt(context, stream, number) = item;
  ++c.queued;
  // Behind another, it changes nothing yet.
  if (s.done + 1 == number) {
    s.left = static_cast<double>(item.duration);
    s.started_at = -1;
    Update(done);
  }
  return number;
}

bool Arbiter::MayRun(uint32_t context) const {
  if (!Sliced()) return true;
  return s_.context[context].group == s_.context[s_.current].group && s_.switching_until <= s_.now;
}

bool Arbiter::HasWork(uint32_t context) const {
  const ContextState& c = s_.context[context];
  if (c.queued == 0) return false;
  for (uint32_t i = 0; i < c.streams; ++i) {
    if (c.stream[i].given == c.stream[i].done) continue;
    const WorkItem& item = Head(context, i);
    const bool of_sms = item.engine == Engine::kSms || item.engine == Engine::kMarker;
    if (of_sms && item.visible_at <= s_.now) return true;
  }
  return false;
}

// The next with work of another group than the current one's.
uint32_t Arbiter::NextContext() const {
  uint32_t i = s_.current;
  for (uint32_t step = 1; step < s_.contexts; ++step) {
    if (++i == s_.contexts) i = 0;
    if (s_.context[i].group != s_.context[s_.current].group && HasWork(i)) return i;
  }
  return s_.current;
}

void Arbiter::ChooseContext() {
  if (s_.switching_until > s_.now) return;
  bool dry = true;
  for (uint32_t i = 0; i < s_.contexts && dry; ++i)
    dry = s_.context[i].group != s_.context[s_.current].group || !HasWork(i);
  if (!dry && s_.slice_end > s_.now) return;
  const uint32_t next = NextContext();
  if (next == s_.current) {
    if (!dry) s_.slice_end = s_.now + s_.timing.quantum;
    return;
  }
  s_.current = next;
  s_.switching_until = s_.now + (dry ? s_.timing.dry_switch : s_.timing.preempting_switch);
  s_.slice_end = s_.switching_until + s_.timing.quantum;
}

void Arbiter::Pop(uint32_t context, uint32_t stream, std::vector<Done>* done) {
  ContextState& c = s_.context[context];
  StreamState& s = c.stream[stream];
  const int64_t started_at = s.started_at < 0 ? s_.now : s.started_at;
  const uint64_t number = s.done + 1;
  done->push_back({context, stream, number, ItemAt(context, stream, number), started_at, s_.now});
  --c.queued;
  s.done = number;
  s.rate = 0;
  s.started_at = -1;
  if (s.given > s.done) s.left = static_cast<double>(Head(context, stream).duration);
}

bool Arbiter::PopWhatTakesNoTime(std::vector<Done>* done) {
  bool any = false;
  for (uint32_t i = 0; i < s_.contexts; ++i) {
    const ContextState& c = s_.context[i];
    for (uint32_t k = 0; k < c.streams && c.queued > 0; ++k) {
      while (c.stream[k].given > c.stream[k].done) {
        const WorkItem& item = Head(i, k);
        bool free = false;
        if (item.engine == Engine::kWait) {
          free = s_.context[item.blocks >> 16].stream[item.blocks & 0xffff].done >= item.id;
        } else if (item.engine != Engine::kSms && item.duration == 0) {
          free = item.visible_at <= s_.now && (item.engine == Engine::kCopy || MayRun(i));
        }
        if (!free) break;
        Pop(i, k, done);
        any = true;
      }
    }
  }
  return any;
}

void Arbiter::Run(uint32_t context) {
  ContextState& c = s_.context[context];
  const bool sms = MayRun(context);
  for (uint32_t i = 0; i < c.streams; ++i) {
    StreamState& s = c.stream[i];
    s.rate = 0;
    if (s.given == s.done) continue;
    const WorkItem& item = Head(context, i);
    if (item.visible_at > s_.now || item.engine == Engine::kWait) continue;
    if (item.engine != Engine::kCopy && !sms) continue;
    if (s.started_at < 0) s.started_at = s_.now;
    if (item.engine != Engine::kSms) {
      s.rate = 1;
      continue;
    }
    const double blocks = std::max<uint32_t>(item.blocks, 1);
    const double demand = std::min(1.0, blocks / s_.timing.sms);
    const double weight = std::min<double>(blocks, s_.timing.sms * s_.timing.resident_blocks);
    scratch_.running.push_back({&s, context, weight, demand, 0, false});
  }
}

// Water filling: shares grow in proportion to weights; whoever can use no more, or whose context
// may not, stays where it is.
void Arbiter::DealSms() {
  std::vector<Running>& running = scratch_.running;
  if (running.size() == 1 && s_.context[running[0].context].sm_part >= 1) {
    running[0].stream->rate = 1;
    return;
  }
  double room = 1;
  std::vector<double>& pool_room = scratch_.room;
  std::vector<double>& pool_weight = scratch_.weight;
  std::vector<uint32_t>& pool = scratch_.pool;
  pool_room.clear();
  pool.clear();
  for (uint32_t i = 0; i < s_.contexts; ++i) {
    const ContextState& c = s_.context[i];
    pool_room.push_back(c.sm_part);
    uint32_t first = i;
    for (uint32_t k = 0; c.partition != 0 && k < i; ++k) {
      const ContextState& other = s_.context[k];
      if (other.partition != c.partition || (Sliced() && other.group != c.group)) continue;
      first = k;
      break;
    }
    pool.push_back(first);
  }
  for (const uint32_t below_normal : {0u, 1u}) {
    const auto grows = [&](const Running& r) {
      return !r.full && s_.context[r.context].below_normal == below_normal;
    };
    while (room > 1e-9) {
      pool_weight.assign(s_.contexts, 0);
      double weight = 0;
      for (const Running& r : running) {
        if (!grows(r)) continue;
        weight += r.weight;
        pool_weight[pool[r.context]] += r.weight;
      }
      if (weight == 0) break;
      double step = room / weight;
      for (const Running& r : running)
        if (grows(r)) step = std::min(step, (r.demand - r.share) / r.weight);
      for (size_t p = 0; p < s_.contexts; ++p)
        if (pool_weight[p] > 0) step = std::min(step, pool_room[p] / pool_weight[p]);
      for (Running& r : running) {
        if (!grows(r)) continue;
        r.share += step * r.weight;
        room -= step * r.weight;
        pool_room[pool[r.context]] -= step * r.weight;
      }
      for (Running& r : running)
        if (r.share >= r.demand - 1e-9 || pool_room[pool[r.context]] <= 1e-9) r.full = true;
    }
  }
  for (Running& r : running) r.stream->rate = r.share / r.demand;
}

void Arbiter::Update(std::vector<Done>* done) {
  do {
    if (Sliced()) ChooseContext();
  } while (PopWhatTakesNoTime(done));
  scratch_.running.clear();
  for (uint32_t i = 0; i < s_.contexts; ++i)
    if (s_.context[i].queued > 0) Run(i);
  DealSms();

  const bool switching = Sliced() && s_.switching_until > s_.now;
  int64_t next = switching ? s_.switching_until : kNothing;
  for (uint32_t i = 0; i < s_.contexts; ++i) {
    const ContextState& c = s_.context[i];
    for (uint32_t k = 0; k < c.streams && c.queued > 0; ++k) {
      const StreamState& s = c.stream[k];
      if (s.given == s.done) continue;
      const WorkItem& item = Head(i, k);
      if (s.rate > 0) {
        const auto takes = static_cast<int64_t>(std::ceil((s.left - kDone) / s.rate));
        next = std::min(next, s_.now + std::max<int64_t>(1, takes));
      }
      if (item.visible_at > s_.now && item.engine != Engine::kWait)
        next = std::min(next, item.visible_at);
    }
  }
  if (Sliced() && !switching && s_.slice_end > s_.now && NextContext() != s_.current)
    next = std::min(next, s_.slice_end);
  s_.next = next;
}

void Arbiter::AdvanceTo(int64_t at, std::vector<Done>* done) {
  if (at > s_.now) {
    const auto passed = static_cast<double>(at - s_.now);
    if (s_.switching_until > s_.now) s_.switching += at - s_.now;
    bool busy = false;
    for (uint32_t i = 0; i < s_.contexts; ++i) {
      ContextState& c = s_.context[i];
      for (uint32_t k = 0; k < c.streams && c.queued > 0; ++k) {
        StreamState& s = c.stream[k];
        if (s.rate <= 0) continue;
        const double step = std::min(s.left, passed * s.rate);
        s.left -= step;
        if (Head(i, k).engine != Engine::kSms) continue;
        busy = true;
        c.served += step;
      }
    }
    if (busy) s_.busy += at - s_.now;
    s_.now = at;
  }
  if (at < s_.next) return;
  for (uint32_t i = 0; i < s_.contexts; ++i) {
    const ContextState& c = s_.context[i];
    for (uint32_t k = 0; k < c.streams && c.queued > 0; ++k) {
      if (c.stream[k].rate > 0 && c.stream[k].left <= kDone) Pop(i, k, done);
    }
  }
  Update(done);
}

}  // namespace tranche::sim
