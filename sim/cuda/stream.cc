#include "sim/cuda/library.h"

// Streams and events. All work is done when it is given, so a stream has never anything left to do;
// an event remembers when it was recorded.
namespace tranche::sim::cuda {
namespace {

constexpr unsigned int kDisableTiming = 2;

// 0, 1 and 2 are the default stream, in its kinds.
bool IsStream(Library& library, CUstream stream) {
  return Number(stream) <= 2 || library.streams().contains(Number(stream));
}

CUresult CreateStream(CUstream* stream) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (stream == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const uint64_t handle = library.NextHandle();
    library.streams()[handle] = ContextStack().back();
    *stream = MakeHandle<CUstream>(handle);
    return CUDA_SUCCESS;
  });
}

CUresult DestroyStream(CUstream stream) {
  return CallInContext([&](Library& library, const Library::Context&) {
    return library.streams().erase(Number(stream)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult CheckStream(CUstream stream) {
  return CallInContext([&](Library& library, const Library::Context&) {
    return IsStream(library, stream) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult DestroyEvent(CUevent event) {
  return Call([&](Library& library) {
    return library.events().erase(Number(event)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult CheckEvent(CUevent event) {
  return CallInContext([&](Library& library, const Library::Context&) {
    return library.events().contains(Number(event)) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

CUresult Elapsed(float* milliseconds, CUevent begin, CUevent end) {
  return Call([&](Library& library) {
    const auto from = library.events().find(Number(begin)), to = library.events().find(Number(end));
    if (from == library.events().end() || to == library.events().end())
      return CUDA_ERROR_INVALID_HANDLE;
    const auto usable = [](const Library::Event& event) { return event.timed && event.recorded; };
    if (milliseconds == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (!usable(from->second) || !usable(to->second)) return CUDA_ERROR_INVALID_HANDLE;
    *milliseconds =
        std::chrono::duration<float, std::milli>(to->second.at - from->second.at).count();
    return CUDA_SUCCESS;
  });
}

}  // namespace

CUDA_EXPORT CUresult cuStreamCreate(CUstream* stream, unsigned int) { return CreateStream(stream); }
CUDA_EXPORT CUresult cuStreamCreateWithPriority(CUstream* stream, unsigned int, int) {
  return CreateStream(stream);
}
CUDA_EXPORT CUresult cuStreamDestroy(CUstream stream) { return DestroyStream(stream); }
CUDA_EXPORT CUresult cuStreamDestroy_v2(CUstream stream) { return DestroyStream(stream); }
CUDA_EXPORT CUresult cuStreamSynchronize(CUstream stream) { return CheckStream(stream); }
CUDA_EXPORT CUresult cuStreamQuery(CUstream stream) { return CheckStream(stream); }
CUDA_EXPORT CUresult cuStreamWaitEvent(CUstream stream, CUevent event, unsigned int) {
  const CUresult checked = CheckStream(stream);
  return checked == CUDA_SUCCESS ? CheckEvent(event) : checked;
}

CUDA_EXPORT CUresult cuEventCreate(CUevent* event, unsigned int flags) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (event == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const uint64_t handle = library.NextHandle();
    library.events()[handle].timed = (flags & kDisableTiming) == 0;
    *event = MakeHandle<CUevent>(handle);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuEventDestroy(CUevent event) { return DestroyEvent(event); }
CUDA_EXPORT CUresult cuEventDestroy_v2(CUevent event) { return DestroyEvent(event); }

CUDA_EXPORT CUresult cuEventRecord(CUevent event, CUstream stream) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const auto found = library.events().find(Number(event));
    if (found == library.events().end() || !IsStream(library, stream))
      return CUDA_ERROR_INVALID_HANDLE;
    found->second.recorded = true;
    found->second.at = std::chrono::steady_clock::now();
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuEventQuery(CUevent event) { return CheckEvent(event); }
CUDA_EXPORT CUresult cuEventSynchronize(CUevent event) { return CheckEvent(event); }
CUDA_EXPORT CUresult cuEventElapsedTime(float* milliseconds, CUevent begin, CUevent end) {
  return Elapsed(milliseconds, begin, end);
}
CUDA_EXPORT CUresult cuEventElapsedTime_v2(float* milliseconds, CUevent begin, CUevent end) {
  return Elapsed(milliseconds, begin, end);
}

}  // namespace tranche::sim::cuda
