#include "sim/cuda/work.h"

#include <algorithm>

#include "sim/cuda/library.h"

namespace tranche::sim::cuda {
namespace {

// Assumed (see gpu_time): from a launch until the GPU sees it, and what a marker takes of its
// stream's time.
constexpr int64_t kVisibleAfter = 4000, kMarker = 1000;
// As many as a stream holds before a launch waits.
constexpr uint64_t kDepth = 1024;

// The number of the work that goes out of the ring of queued work is one that nobody can ask the
// GPU for any more: its event learns now when it was done.
void KeepOutgoing(const SharedGpu::Present& present, const ContextSlot& home, uint32_t queue) {
  uint64_t number = 0;
  const WorkItem* item = present.Outgoing(home.slot, queue, &number);
  if (item == nullptr || item->engine != Engine::kMarker) return;
  // The item may be from another process that had the slot before: its number is nothing here.
  Event* event = Library::Get().events().Find(reinterpret_cast<CUevent>(item->id));
  if (event == nullptr) return;
  const std::lock_guard<std::mutex> lock(event->mutex);
  const Point& point = event->point;
  if (point.home == &home && point.queue == queue && point.number == number && event->at == 0)
    event->at.store(home.gpu->DoneAt(home.slot, queue, number), std::memory_order_release);
}

uint64_t Submit(SharedGpu::Present& present, const ContextSlot& home, uint32_t queue,
                const WorkItem& item) {
  KeepOutgoing(present, home, queue);
  return present.Submit(home.slot, queue, item);
}

void SubmitWait(SharedGpu::Present& present, const ContextSlot& home, uint32_t queue,
                const ContextSlot& of, uint32_t of_queue, uint64_t number) {
  Submit(present, home, queue,
         {number, 0, static_cast<int64_t>(present.now()), of.slot << 16 | of_queue, Engine::kWait});
}

// The legacy default stream waits for all streams that are not non-blocking, and they for it.
void SubmitOrder(SharedGpu::Present& present, ContextSlot* home, const Stream& stream) {
  const ContextState& state = present.state().context[home->slot];
  if (stream.kind == Stream::Kind::kLegacy) {
    for (uint32_t i = 0; i < kTimedStreams; ++i) {
      const uint64_t last = home->blocking_last[i].load(std::memory_order_acquire);
      if (i == stream.queue || last <= state.stream[i].done || last <= home->legacy_waits_for[i])
        continue;
      home->legacy_waits_for[i] = last;
      SubmitWait(present, *home, stream.queue, *home, i, last);
    }
  } else if (stream.kind == Stream::Kind::kBlocking) {
    const uint32_t legacy = home->legacy->queue;
    const uint64_t last = home->legacy_last.load(std::memory_order_acquire);
    if (stream.queue == legacy || last <= state.stream[legacy].done ||
        last <= home->waits_for_legacy[stream.queue]) {
      return;
    }
    home->waits_for_legacy[stream.queue] = last;
    SubmitWait(present, *home, stream.queue, *home, legacy, last);
  }
}

void Remember(Stream* stream, uint64_t number) {
  RaiseTo(&stream->last, number);
  if (stream->kind == Stream::Kind::kLegacy) RaiseTo(&stream->home->legacy_last, number);
  if (stream->kind == Stream::Kind::kBlocking)
    RaiseTo(&stream->home->blocking_last[stream->queue], number);
}

// `body(present)` gives work of the stream and returns its number; when there is room for it.
template <typename Body>
void Give(Stream* stream, const Body& body) {
  ContextSlot* home = stream->home;
  for (;;) {
    uint64_t ask_again = 0;
    {
      SharedGpu::Present present(home->gpu);
      if (!home->alive.load(std::memory_order_acquire)) return;
      const StreamState& queue = present.state().context[home->slot].stream[stream->queue];
      if (queue.given - queue.done < kDepth) {
        SubmitOrder(present, home, *stream);
        Remember(stream, body(present));
        return;
      }
      ask_again = present.NotBefore(home->slot, stream->queue, queue.done + 1);
    }
    SleepUntil(ask_again);
  }
}

}  // namespace

void GiveKernel(Stream* stream, uint64_t cost_ns, uint64_t blocks) {
  Give(stream, [&](SharedGpu::Present& present) {
    return Submit(
        present, *stream->home, stream->queue,
        {0, static_cast<int64_t>(cost_ns), static_cast<int64_t>(present.now()) + kVisibleAfter,
         static_cast<uint32_t>(std::min<uint64_t>(blocks, UINT32_MAX)), Engine::kSms});
  });
}

void GiveCopy(Stream* stream, uint64_t cost_ns) {
  Give(stream, [&](SharedGpu::Present& present) {
    return Submit(present, *stream->home, stream->queue,
                  {0, static_cast<int64_t>(cost_ns),
                   static_cast<int64_t>(present.now()) + kVisibleAfter, 0, Engine::kCopy});
  });
}

void GiveWait(Stream* stream, const Point& point) {
  if (IsDone(point)) return;
  // The queue is worked off in order anyway.
  if (point.home == stream->home && point.queue == stream->queue) {
    Remember(stream, point.number);
    return;
  }
  Give(stream, [&](SharedGpu::Present& present) {
    return Submit(present, *stream->home, stream->queue,
                  {point.number, 0, static_cast<int64_t>(present.now()),
                   point.home->slot << 16 | point.queue, Engine::kWait});
  });
}

void GiveMarker(Stream* stream, Event* event) {
  Give(stream, [&](SharedGpu::Present& present) {
    const uint64_t number =
        Submit(present, *stream->home, stream->queue,
               {reinterpret_cast<uint64_t>(event), kMarker,
                static_cast<int64_t>(present.now()) + kVisibleAfter, 0, Engine::kMarker});
    const std::lock_guard<std::mutex> lock(event->mutex);
    event->point = {stream->home, stream->queue, number};
    event->at.store(0, std::memory_order_release);
    return number;
  });
}

bool IsDone(const Point& point) { return NotBefore(point) == 0; }

uint64_t NotBefore(const Point& point) {
  const ContextSlot* home = point.home;
  // What a context that is gone had not done will never be.
  if (point.number == 0 || !home->alive.load(std::memory_order_acquire)) return 0;
  if (home->gpu->KnownDone(home->slot, point.queue) >= point.number) return 0;
  const SharedGpu::Present present(home->gpu);
  return present.NotBefore(home->slot, point.queue, point.number);
}

void Await(const Point& point) {
  for (;;) {
    const uint64_t not_before = NotBefore(point);
    if (not_before == 0) return;
    SleepUntil(not_before);
  }
}

Points PointsOf(const Stream& stream) {
  Points points;
  const auto add = [&](uint32_t queue, uint64_t number) {
    if (number > 0 && stream.home->gpu->KnownDone(stream.home->slot, queue) < number)
      points.point[points.count++] = {stream.home, queue, number};
  };
  add(stream.queue, stream.last.load(std::memory_order_acquire));
  if (stream.kind == Stream::Kind::kBlocking) {
    add(stream.home->legacy->queue, stream.home->legacy_last.load(std::memory_order_acquire));
  } else if (stream.kind == Stream::Kind::kLegacy) {
    for (uint32_t i = 0; i < kTimedStreams; ++i)
      add(i, stream.home->blocking_last[i].load(std::memory_order_acquire));
  }
  return points;
}

bool IsIdle(const Stream& stream) {
  const Points points = PointsOf(stream);
  for (uint32_t i = 0; i < points.count; ++i) {
    if (!IsDone(points.point[i])) return false;
  }
  return true;
}

uint64_t DoneAt(Event* event) {
  Point point;
  {
    const std::lock_guard<std::mutex> lock(event->mutex);
    const uint64_t at = event->at.load(std::memory_order_acquire);
    if (at != 0) return at;
    point = event->point;
  }
  if (point.number == 0 || !IsDone(point)) return 0;
  const std::lock_guard<std::mutex> lock(event->mutex);
  // Meanwhile it may have been recorded anew, or have learnt it (KeepOutgoing).
  if (event->at.load() != 0 || event->point.number != point.number) return event->at.load();
  const bool alive = point.home->alive.load(std::memory_order_acquire);
  event->at.store(
      alive ? point.home->gpu->DoneAt(point.home->slot, point.queue, point.number) : TimelineNow(),
      std::memory_order_release);
  return event->at.load();
}

}  // namespace tranche::sim::cuda
