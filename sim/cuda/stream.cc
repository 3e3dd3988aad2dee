#include <memory>
#include <thread>
#include <unordered_map>

#include "sim/cuda/capture.h"
#include "sim/cuda/streams.h"
#include "sim/cuda/work.h"
#include "sim/cuda/worker.h"

// Streams and events. A stream remembers the last work that it was given (work.h), an event the
// marker behind what was before it.
namespace tranche::sim::cuda {

Stream* FindStream(CUstream handle) {
  const uint64_t number = Number(handle);
  if (number > 2) return Library::Get().streams().Find(handle);
  const auto& stack = ContextStack();
  if (stack.empty()) return nullptr;
  if (number == 2) return ThreadStream();
  const ContextSlot* context = Library::Get().contexts().Find(stack.back());
  return context == nullptr ? nullptr : context->legacy;
}

Stream* ThreadStream() {
  thread_local std::unordered_map<CUcontext, Stream*> own;
  if (ContextStack().empty()) return nullptr;
  const CUcontext current = ContextStack().back();
  Library& library = Library::Get();
  ContextSlot* home = library.contexts().Find(current);
  if (home == nullptr) return nullptr;
  Stream*& stream = own[current];
  if (stream == nullptr || !stream->alive.load() || stream->home != home) {
    const std::lock_guard<std::mutex> lock(library.mutex());
    stream = library.streams().Make();
    if (stream != nullptr) Settle(stream, home);
  }
  return stream;
}

// Queue 0 is that of the legacy default stream.
void Settle(Stream* stream, ContextSlot* home) {
  stream->home = home;
  if (stream->kind != Stream::Kind::kLegacy)
    stream->queue = 1 + home->streams.fetch_add(1) % (kTimedStreams - 1);
}

void Perform(Stream* stream, std::function<void()> body) {
  if (stream->gated.load(std::memory_order_acquire)) {
    const std::lock_guard<std::mutex> lock(stream->gate_mutex);
    if (stream->gated.load(std::memory_order_relaxed)) {
      stream->behind_gate.push_back(std::move(body));
      return;
    }
  }
  body();
}

void WhenDone(Stream* stream, std::function<void()> body) {
  Worker::Get().When(0, PointsOf(*stream), std::move(body));
}

void WaitFor(Stream* stream) {
  // A stream that waits for a value is asked again, as a spinning driver does.
  while (stream->gated.load(std::memory_order_acquire)) SleepUntil(TimelineNow() + 20000);
  const Points points = PointsOf(*stream);
  for (uint32_t i = 0; i < points.count; ++i) Await(points.point[i]);
  if (points.count > 0) Spend(kReturnTakes);
  Worker::Get().Drain();
}

void WaitForContext(ContextSlot* context) {
  std::vector<Stream*> streams;
  {
    Library& library = Library::Get();
    const std::lock_guard<std::mutex> lock(library.mutex());
    library.streams().ForEach([&](Stream* stream) {
      if (stream->home == context) streams.push_back(stream);
    });
  }
  for (Stream* stream : streams) WaitFor(stream);
}

namespace {

void GoOn(Stream* stream) {
  for (;;) {
    std::function<void()> next;
    {
      const std::lock_guard<std::mutex> lock(stream->gate_mutex);
      if (stream->behind_gate.empty()) {
        stream->gated.store(false, std::memory_order_release);
        return;
      }
      next = std::move(stream->behind_gate.front());
      stream->behind_gate.pop_front();
    }
    next();
  }
}

void Poll(Stream* stream, std::shared_ptr<std::function<bool()>> open) {
  if (!stream->alive.load()) return;
  if (IsIdle(*stream) && (*open)()) {
    GoOn(stream);
    return;
  }
  Worker::Get().When(TimelineNow() + 20000, {}, [stream, open] { Poll(stream, open); });
}

}  // namespace

void Gate(Stream* stream, std::function<bool()> open) {
  auto shared = std::make_shared<std::function<bool()>>(std::move(open));
  {
    const std::lock_guard<std::mutex> lock(stream->gate_mutex);
    if (stream->gated.load()) {
      // A wait behind a wait: in line, without a thread of its own.
      stream->behind_gate.push_back([stream, shared] {
        while (stream->alive.load() && !(*shared)()) SleepUntil(TimelineNow() + 20000);
      });
      return;
    }
    stream->gated.store(true, std::memory_order_release);
  }
  Worker::Get().When(0, {}, [stream, shared] { Poll(stream, shared); });
}

namespace {

constexpr unsigned int kDisableTiming = 2, kInterprocess = 4;

CUresult CreateStream(CUstream* stream, unsigned int flags, int priority) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (stream == nullptr || flags > CU_STREAM_NON_BLOCKING) return CUDA_ERROR_INVALID_VALUE;
    Stream* made = library.streams().Make();
    if (made == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    made->kind =
        flags == CU_STREAM_NON_BLOCKING ? Stream::Kind::kNonBlocking : Stream::Kind::kBlocking;
    Settle(made, library.contexts().Find(ContextStack().back()));
    made->flags = flags;
    made->priority = priority;
    made->id = library.NextHandle();
    *stream = reinterpret_cast<CUstream>(made);
    return CUDA_SUCCESS;
  });
}

CUresult DestroyStream(CUstream handle) {
  return CallInContext([&](Library& library, const Library::Context&) {
    Stream* stream = Number(handle) <= 2 ? nullptr : library.streams().Find(handle);
    if (stream == nullptr || stream->kind == Stream::Kind::kLegacy)
      return CUDA_ERROR_INVALID_HANDLE;
    library.streams().Drop(stream);
    return CUDA_SUCCESS;
  });
}

CUresult CheckHealth() {
  return CallInContext([](Library&, const Library::Context&) { return CUDA_SUCCESS; });
}

// A stream that may be waited for or asked.
CUresult Usable(CUstream handle, Stream** stream) {
  const CUresult health = CheckHealth();
  if (health != CUDA_SUCCESS) return health;
  *stream = FindStream(handle);
  if (*stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  return (*stream)->capture.load() == nullptr ? CUDA_SUCCESS
                                              : CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
}

CUresult DestroyEvent(CUevent handle) {
  return Call([&](Library& library) {
    Event* event = library.events().Find(handle);
    if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
    if (event->interprocess) LeaveShared(event);
    library.events().Drop(event);
    return CUDA_SUCCESS;
  });
}

CUresult Elapsed(float* milliseconds, CUevent begin, CUevent end) {
  if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Event* from = Library::Get().events().Find(begin);
  Event* to = Library::Get().events().Find(end);
  const auto usable = [](const Event* event) {
    return event != nullptr && event->timed && event->recorded.load();
  };
  if (!usable(from) || !usable(to)) return CUDA_ERROR_INVALID_HANDLE;
  if (from->gated.load() || to->gated.load()) return CUDA_ERROR_NOT_READY;
  const uint64_t from_at = DoneAt(from), to_at = DoneAt(to);
  if (from_at == 0 || to_at == 0) return CUDA_ERROR_NOT_READY;
  const int64_t elapsed = static_cast<int64_t>(to_at - from_at);
  *milliseconds = static_cast<float>(static_cast<double>(elapsed) / 1e6);
  return CUDA_SUCCESS;
}

CUresult Record(CUevent handle, CUstream stream_handle) {
  Event* event = Library::Get().events().Find(handle);
  Stream* stream = FindStream(stream_handle);
  if (event == nullptr || stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture.load(std::memory_order_acquire) != nullptr) {
    event->capture = stream->capture.load();
    event->tips = stream->tips;
    return CUDA_SUCCESS;
  }
  event->capture.store(nullptr, std::memory_order_release);
  const auto now_known = [event, stream] {
    // Where time is virtual a marker comes to the GPU as a launch does, or what is measured from it
    // would hold the way there.
    if (!IsVirtual() && !event->interprocess && IsIdle(*stream)) {
      const std::lock_guard<std::mutex> lock(event->mutex);
      event->point = {};
      event->at.store(TimelineNow(), std::memory_order_release);
    } else {
      GiveMarker(stream, event);
      if (event->interprocess) TellShared(event);
    }
    event->recorded.store(true, std::memory_order_release);
    event->gated.store(false, std::memory_order_release);
  };
  if (!stream->gated.load(std::memory_order_acquire)) {
    now_known();
  } else {
    event->recorded.store(true);
    event->gated.store(true);
    Perform(stream, now_known);
  }
  return CUDA_SUCCESS;
}

}  // namespace

CUDA_EXPORT CUresult cuStreamCreate(CUstream* stream, unsigned int flags) {
  return CreateStream(stream, flags, 0);
}
CUDA_EXPORT CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned int flags,
                                                int priority) {
  return CreateStream(stream, flags, priority > 0 ? 0 : priority < -5 ? -5 : priority);
}
CUDA_EXPORT CUresult cuStreamDestroy(CUstream stream) { return DestroyStream(stream); }
CUDA_EXPORT CUresult cuStreamDestroy_v2(CUstream stream) { return DestroyStream(stream); }

CUDA_EXPORT CUresult cuStreamSynchronize(CUstream handle) {
  Stream* stream = nullptr;
  const CUresult usable = Usable(handle, &stream);
  if (usable != CUDA_SUCCESS) return usable;
  WaitFor(stream);
  TrimPools();
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuStreamQuery(CUstream handle) {
  Stream* stream = nullptr;
  const CUresult usable = Usable(handle, &stream);
  if (usable != CUDA_SUCCESS) return usable;
  Spend(kAskingTakes);
  return stream->gated.load() || !IsIdle(*stream) ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuStreamWaitEvent(CUstream handle, CUevent event_handle, unsigned int) {
  Stream* stream = FindStream(handle);
  Event* event = Library::Get().events().Find(event_handle);
  if (stream == nullptr || event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (event->capture != nullptr) return JoinCapture(stream, *event);
  if (event->interprocess) LookAtShared(event);
  if (stream->capture.load() != nullptr) return CUDA_SUCCESS;  // of before the capture
  if (!event->recorded.load() || (!event->gated.load() && DoneAt(event) != 0)) return CUDA_SUCCESS;
  Point point;
  {
    const std::lock_guard<std::mutex> lock(event->mutex);
    point = event->point;
  }
  if (event->gated.load() || point.home == nullptr || point.home->gpu != stream->home->gpu) {
    Gate(stream, [event] { return !event->gated.load() && DoneAt(event) != 0; });
  } else {
    Perform(stream, [stream, point] { GiveWait(stream, point); });
  }
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuStreamGetFlags(CUstream handle, unsigned int* flags) {
  const Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = stream->flags;
  return CUDA_SUCCESS;
}
CUDA_EXPORT CUresult cuStreamGetPriority(CUstream handle, int* priority) {
  const Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (priority == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *priority = stream->priority;
  return CUDA_SUCCESS;
}
CUDA_EXPORT CUresult cuStreamGetId(CUstream handle, unsigned long long* id) {
  const Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *id = stream->id != 0 ? stream->id : Number(stream);
  return CUDA_SUCCESS;
}
CUDA_EXPORT CUresult cuStreamGetCtx(CUstream handle, CUcontext* context) {
  const Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *context = reinterpret_cast<CUcontext>(stream->home);
  return CUDA_SUCCESS;
}
CUDA_EXPORT CUresult cuStreamGetDevice(CUstream handle, CUdevice* device) {
  const Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return Call([&](Library& library) {
    const Library::Context* context = library.Find(reinterpret_cast<CUcontext>(stream->home));
    if (context == nullptr) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    *device = context->device;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuEventCreate(CUevent* handle, unsigned int flags) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const bool interprocess = (flags & kInterprocess) != 0;
    if (handle == nullptr || (interprocess && (flags & kDisableTiming) == 0))
      return CUDA_ERROR_INVALID_VALUE;
    Event* event = library.events().Make();
    if (event == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    event->timed = (flags & kDisableTiming) == 0;
    event->interprocess = interprocess;
    *handle = reinterpret_cast<CUevent>(event);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuEventDestroy(CUevent event) { return DestroyEvent(event); }
CUDA_EXPORT CUresult cuEventDestroy_v2(CUevent event) { return DestroyEvent(event); }
CUDA_EXPORT CUresult cuEventRecord(CUevent event, CUstream stream) { return Record(event, stream); }
CUDA_EXPORT CUresult cuEventRecordWithFlags(CUevent event, CUstream stream, unsigned int) {
  return Record(event, stream);
}

CUDA_EXPORT CUresult cuEventQuery(CUevent handle) {
  Event* event = Library::Get().events().Find(handle);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  Spend(kAskingTakes);
  if (event->interprocess) LookAtShared(event);
  if (event->gated.load()) return CUDA_ERROR_NOT_READY;
  return event->recorded.load() && DoneAt(event) == 0 ? CUDA_ERROR_NOT_READY : CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuEventSynchronize(CUevent handle) {
  Event* event = Library::Get().events().Find(handle);
  if (event == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  while (event->gated.load()) SleepUntil(TimelineNow() + 20000);
  if (event->interprocess) LookAtShared(event);
  if (DoneAt(event) == 0 && event->recorded.load()) {
    Point point;
    {
      const std::lock_guard<std::mutex> lock(event->mutex);
      point = event->point;
    }
    Await(point);
    Spend(kReturnTakes);
  }
  Worker::Get().Drain();
  TrimPools();
  return CheckHealth();
}

CUDA_EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent begin, CUevent end) {
  return Elapsed(milliseconds, begin, end);
}
CUDA_EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent begin, CUevent end) {
  return Elapsed(milliseconds, begin, end);
}

}  // namespace tranche::sim::cuda
