#include "sim/gpu_time/gpu.h"

#include <algorithm>
#include <cmath>

namespace tranche::sim {
namespace {

// What is left of a piece of work by rounding.
constexpr double kDone = 1e-3;

}  // namespace

Gpu::Gpu(uint32_t contexts, GpuTiming timing) : timing_(timing), contexts_(contexts) {}

void Gpu::Submit(const Work& work) {
  Context& context = contexts_[work.context];
  if (context.streams.size() <= work.stream) context.streams.resize(work.stream + 1);
  std::deque<Item>& stream = context.streams[work.stream];
  stream.push_back({work, static_cast<double>(work.duration), -1});
  ++context.queued;
  // Behind another, it changes nothing yet.
  if (stream.size() == 1) Update();
}

bool Gpu::HasWork(const Context& context) const {
  if (context.queued == 0) return false;
  for (const std::deque<Item>& stream : context.streams) {
    if (stream.empty()) continue;
    const Work& work = stream.front().work;
    if (work.engine != Engine::kCopy && work.visible_at <= now_) return true;
  }
  return false;
}

uint32_t Gpu::NextContext() const {
  for (uint32_t step = 1; step < contexts_.size(); ++step) {
    const auto i = static_cast<uint32_t>((current_ + step) % contexts_.size());
    if (HasWork(contexts_[i])) return i;
  }
  return current_;
}

void Gpu::ChooseContext() {
  if (switching_until_ > now_) return;
  const bool dry = !HasWork(contexts_[current_]);
  if (!dry && slice_end_ > now_) return;
  const uint32_t next = NextContext();
  if (next == current_) {
    if (!dry) slice_end_ = now_ + timing_.quantum;
    return;
  }
  const int64_t cost = dry ? timing_.dry_switch : timing_.preempting_switch;
  current_ = next;
  switching_until_ = now_ + cost;
  slice_end_ = switching_until_ + timing_.quantum;
}

void Gpu::Run(Context& context, bool sms) {
  if (context.queued == 0) return;
  for (std::deque<Item>& stream : context.streams) {
    if (stream.empty()) continue;
    Item& item = stream.front();
    if (item.work.visible_at > now_ || (item.work.engine != Engine::kCopy && !sms)) continue;
    if (item.started_at < 0) item.started_at = now_;
    const double blocks = std::max<uint32_t>(item.work.blocks, 1);
    const double demand = std::min(1.0, blocks / timing_.sms);
    const double weight = std::min<double>(blocks, timing_.sms * timing_.resident_blocks);
    running_.push_back({&item, 1, weight, demand, 0, item.work.engine != Engine::kSms});
  }
}

// Water filling: shares grow in proportion to weights; whoever can use no more, or whose context
// may not, stays where it is.
void Gpu::DealSms() {
  if (running_.size() == 1 && contexts_[running_[0].item->work.context].sm_part >= 1) return;
  double room = 1;
  std::vector<double> context_room;
  for (const Context& context : contexts_) context_room.push_back(context.sm_part);
  for (;;) {
    std::vector<double> context_weight(contexts_.size(), 0);
    double weight = 0;
    for (const Running& r : running_) {
      if (r.full) continue;
      weight += r.weight;
      context_weight[r.item->work.context] += r.weight;
    }
    if (weight == 0 || room <= 0) break;
    double step = room / weight;
    for (const Running& r : running_)
      if (!r.full) step = std::min(step, (r.demand - r.share) / r.weight);
    for (size_t c = 0; c < contexts_.size(); ++c)
      if (context_weight[c] > 0) step = std::min(step, context_room[c] / context_weight[c]);
    for (Running& r : running_) {
      if (r.full) continue;
      r.share += step * r.weight;
      room -= step * r.weight;
      context_room[r.item->work.context] -= step * r.weight;
    }
    for (Running& r : running_)
      if (r.share >= r.demand - 1e-9 || context_room[r.item->work.context] <= 1e-9) r.full = true;
    if (room <= 1e-9) break;
  }
  for (Running& r : running_)
    if (r.item->work.engine == Engine::kSms) r.rate = r.share / r.demand;
}

void Gpu::Update() {
  running_.clear();
  const bool slices = timing_.sharing == Sharing::kTimeSlices;
  if (slices) ChooseContext();
  const bool switching = switching_until_ > now_;
  for (uint32_t i = 0; i < contexts_.size(); ++i)
    Run(contexts_[i], !slices || (i == current_ && !switching));
  DealSms();

  next_ = kNothing;
  if (switching) next_ = switching_until_;
  for (const Running& r : running_)
    if (r.rate > 0)
      next_ = std::min(
          next_, now_ + std::max<int64_t>(
                            1, static_cast<int64_t>(std::ceil((r.item->left - kDone) / r.rate))));
  for (const Context& context : contexts_) {
    if (context.queued == 0) continue;
    for (const std::deque<Item>& stream : context.streams)
      if (!stream.empty() && stream.front().work.visible_at > now_)
        next_ = std::min(next_, stream.front().work.visible_at);
  }
  if (slices && !switching && slice_end_ > now_ && NextContext() != current_)
    next_ = std::min(next_, slice_end_);
}

void Gpu::AdvanceTo(int64_t at, std::vector<Done>* done) {
  const auto passed = static_cast<double>(at - now_);
  if (at > now_) {
    if (switching_until_ > now_) switching_ += at - now_;
    bool busy = false;
    for (const Running& r : running_) {
      const double step = std::min(r.item->left, passed * r.rate);
      r.item->left -= step;
      if (r.item->work.engine != Engine::kSms) continue;
      busy = true;
      contexts_[r.item->work.context].served += step;
    }
    if (busy) busy_ += at - now_;
    now_ = at;
  }
  if (at < next_) return;
  for (const Running& r : running_) {
    if (r.item->left > kDone) continue;
    Context& context = contexts_[r.item->work.context];
    done->push_back({r.item->work, r.item->started_at});
    --context.queued;
    context.streams[r.item->work.stream].pop_front();
  }
  Update();
}

}  // namespace tranche::sim
