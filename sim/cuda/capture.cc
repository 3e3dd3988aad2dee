#include "sim/cuda/capture.h"

#include <utility>
#include <vector>

#include "sim/cuda/graph.h"
#include "sim/cuda/memory.h"
#include "sim/cuda/streams.h"

// What streams are given while they capture becomes nodes.
namespace tranche::sim::cuda {

CUresult AddCaptured(Stream* stream, NodeWork work, CUgraphNode* made) {
  return Call([&](Library& library) {
    const Capture* capture = stream->capture.load();
    if (capture == nullptr) return CUDA_ERROR_STREAM_CAPTURE_INVALIDATED;
    const std::vector<CUgraphNode> after(stream->tips.begin(), stream->tips.end());
    CUgraphNode node = nullptr;
    const CUresult added =
        AddNode(library, capture->graph, std::move(work), after.data(), after.size(), &node);
    if (added != CUDA_SUCCESS) return added;
    stream->tips = {node};
    if (made != nullptr) *made = node;
    return CUDA_SUCCESS;
  });
}

CUresult JoinCapture(Stream* stream, const Event& event) {
  return Call([&](Library&) {
    Capture* own = stream->capture.load();
    if (own != nullptr && own != event.capture) return CUDA_ERROR_STREAM_CAPTURE_MERGE;
    stream->tips.insert(stream->tips.end(), event.tips.begin(), event.tips.end());
    stream->capture.store(event.capture, std::memory_order_release);
    return CUDA_SUCCESS;
  });
}

CUresult AllocateCaptured(Stream* stream, uint64_t bytes, CUdeviceptr* pointer) {
  if (pointer == nullptr || bytes == 0 || bytes > kMaxBytes) return CUDA_ERROR_INVALID_VALUE;
  NodeWork work;
  work.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC;
  work.bytes = bytes;
  const CUresult placed = Call([&](Library& library) {
    const Library::Context* context = library.Find(reinterpret_cast<CUcontext>(stream->home));
    if (context == nullptr) return CUDA_ERROR_CONTEXT_IS_DESTROYED;
    work.device = context->device;
    work.address = library.NextAddress(bytes);
    return CUDA_SUCCESS;
  });
  if (placed != CUDA_SUCCESS) return placed;
  *pointer = work.address;
  return AddCaptured(stream, std::move(work));
}

CUresult FreeCaptured(Stream* stream, CUdeviceptr pointer) {
  NodeWork work;
  work.type = CU_GRAPH_NODE_TYPE_MEM_FREE;
  work.address = pointer;
  return AddCaptured(stream, std::move(work));
}

namespace {

CUresult Begin(CUstream handle, CUgraph into) {
  Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->kind == Stream::Kind::kLegacy) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  return Call([&](Library& library) {
    if (stream->capture.load() != nullptr) return CUDA_ERROR_ILLEGAL_STATE;
    auto* capture = new Capture;
    capture->id = library.NextHandle();
    capture->origin = stream;
    capture->graph = into == nullptr ? nullptr : FindGraph(into);
    if (capture->graph == nullptr) {
      auto graph = std::make_unique<Graph>();
      graph->handle = library.NextHandle();
      capture->graph = graph.get();
      Graphs()[graph->handle] = std::move(graph);
    }
    stream->tips.clear();
    stream->capture.store(capture, std::memory_order_release);
    return CUDA_SUCCESS;
  });
}

CUresult Info(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id, CUgraph* graph) {
  const Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (status == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const Capture* capture = stream->capture.load();
  *status = capture == nullptr ? CU_STREAM_CAPTURE_STATUS_NONE : CU_STREAM_CAPTURE_STATUS_ACTIVE;
  if (id != nullptr) *id = capture == nullptr ? 0 : capture->id;
  if (graph != nullptr)
    *graph = capture == nullptr ? nullptr : MakeHandle<CUgraph>(capture->graph->handle);
  return CUDA_SUCCESS;
}

}  // namespace

CUDA_EXPORT CUresult cuStreamBeginCapture(CUstream stream) { return Begin(stream, nullptr); }
CUDA_EXPORT CUresult cuStreamBeginCapture_v2(CUstream stream, CUstreamCaptureMode) {
  return Begin(stream, nullptr);
}
CUDA_EXPORT CUresult cuStreamEndCapture(CUstream handle, CUgraph* graph) {
  Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  return Call([&](Library& library) {
    if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    Capture* capture = stream->capture.load();
    if (capture == nullptr) return CUDA_ERROR_ILLEGAL_STATE;
    if (capture->origin != stream) return CUDA_ERROR_STREAM_CAPTURE_UNMATCHED;
    *graph = MakeHandle<CUgraph>(capture->graph->handle);
    // All that took part is a stream again; events recorded in it keep nothing of it.
    library.streams().ForEach([&](Stream* other) {
      if (other->capture.load() != capture) return;
      other->capture.store(nullptr, std::memory_order_release);
      other->tips.clear();
    });
    library.events().ForEach([&](Event* event) {
      Capture* of = capture;
      event->capture.compare_exchange_strong(of, nullptr);
    });
    delete capture;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuStreamIsCapturing(CUstream stream, CUstreamCaptureStatus* status) {
  return Info(stream, status, nullptr, nullptr);
}
CUDA_EXPORT CUresult cuStreamGetCaptureInfo(CUstream stream, CUstreamCaptureStatus* status,
                                            cuuint64_t* id) {
  return Info(stream, status, id, nullptr);
}
namespace {
// The nodes stay where they are until the thread asks again.
CUresult InfoWithNodes(CUstream handle, CUstreamCaptureStatus* status, cuuint64_t* id,
                       CUgraph* graph, const CUgraphNode** nodes, size_t* count) {
  const CUresult known = Info(handle, status, id, graph);
  if (known != CUDA_SUCCESS) return known;
  thread_local std::vector<CUgraphNode> tips;
  const Stream* stream = FindStream(handle);
  tips.assign(stream->tips.begin(), stream->tips.end());
  if (nodes != nullptr) *nodes = tips.data();
  if (count != nullptr) *count = tips.size();
  return CUDA_SUCCESS;
}
}  // namespace

CUDA_EXPORT CUresult cuStreamGetCaptureInfo_v2(CUstream stream, CUstreamCaptureStatus* status,
                                               cuuint64_t* id, CUgraph* graph,
                                               const CUgraphNode** nodes, size_t* count) {
  return InfoWithNodes(stream, status, id, graph, nodes, count);
}
// No edge here has data of its own.
CUDA_EXPORT CUresult cuStreamGetCaptureInfo_v3(CUstream stream, CUstreamCaptureStatus* status,
                                               cuuint64_t* id, CUgraph* graph,
                                               const CUgraphNode** nodes,
                                               const CUgraphEdgeData** edges, size_t* count) {
  if (edges != nullptr) *edges = nullptr;
  return InfoWithNodes(stream, status, id, graph, nodes, count);
}

CUDA_EXPORT CUresult cuThreadExchangeStreamCaptureMode(CUstreamCaptureMode* mode) {
  if (mode == nullptr) return CUDA_ERROR_INVALID_VALUE;
  thread_local CUstreamCaptureMode own = CU_STREAM_CAPTURE_MODE_GLOBAL;
  std::swap(*mode, own);
  return CUDA_SUCCESS;
}

}  // namespace tranche::sim::cuda
