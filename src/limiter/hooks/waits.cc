#include "limiter/hooks/pools.h"
#include "limiter/launch_gate.h"
#include "limiter/symbols.h"

// Where a program waits for the GPU or asks whether it is done: what it has launched is measured up
// to there. And what must not meet an open batch: the end of a stream, and captures.
namespace tranche::limiter {

#define WAITS(name, parameters, arguments)                \
  HOOK(name, parameters) {                                \
    return Waiting([&] { return REAL(name) arguments; }); \
  }

WAITS(cuStreamQuery, (CUstream hStream), (hStream))
WAITS(cuStreamQuery_ptsz, (CUstream hStream), (hStream))
WAITS(cuEventQuery, (CUevent hEvent), (hEvent))
WAITS(cuMemcpy, (CUdeviceptr dst, CUdeviceptr src, size_t ByteCount), (dst, src, ByteCount))
WAITS(cuMemcpy_ptds, (CUdeviceptr dst, CUdeviceptr src, size_t ByteCount), (dst, src, ByteCount))
WAITS(cuMemcpyDtoH_v2, (void* dstHost, CUdeviceptr srcDevice, size_t ByteCount),
      (dstHost, srcDevice, ByteCount))
WAITS(cuMemcpyDtoH_v2_ptds, (void* dstHost, CUdeviceptr srcDevice, size_t ByteCount),
      (dstHost, srcDevice, ByteCount))
WAITS(cuMemcpyDtoH, (void* dstHost, CUdeviceptr_v1 srcDevice, unsigned int ByteCount),
      (dstHost, srcDevice, ByteCount))
WAITS(cuMemcpyHtoD_v2, (CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount),
      (dstDevice, srcHost, ByteCount))
WAITS(cuMemcpyHtoD_v2_ptds, (CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount),
      (dstDevice, srcHost, ByteCount))
WAITS(cuMemcpyHtoD, (CUdeviceptr_v1 dstDevice, const void* srcHost, unsigned int ByteCount),
      (dstDevice, srcHost, ByteCount))
WAITS(cuMemcpyAtoH_v2, (void* dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount),
      (dstHost, srcArray, srcOffset, ByteCount))
WAITS(cuMemcpyAtoH_v2_ptds, (void* dstHost, CUarray srcArray, size_t srcOffset, size_t ByteCount),
      (dstHost, srcArray, srcOffset, ByteCount))
WAITS(cuMemcpyAtoH,
      (void* dstHost, CUarray srcArray, unsigned int srcOffset, unsigned int ByteCount),
      (dstHost, srcArray, srcOffset, ByteCount))
WAITS(cuMemcpyHtoA,
      (CUarray dstArray, unsigned int dstOffset, const void* srcHost, unsigned int ByteCount),
      (dstArray, dstOffset, srcHost, ByteCount))
WAITS(cuMemcpyHtoA_v2, (CUarray dstArray, size_t dstOffset, const void* srcHost, size_t ByteCount),
      (dstArray, dstOffset, srcHost, ByteCount))
WAITS(cuMemcpyHtoA_v2_ptds,
      (CUarray dstArray, size_t dstOffset, const void* srcHost, size_t ByteCount),
      (dstArray, dstOffset, srcHost, ByteCount))
WAITS(cuMemcpyPeer,
      (CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext,
       size_t ByteCount),
      (dstDevice, dstContext, srcDevice, srcContext, ByteCount))
WAITS(cuMemcpyPeer_ptds,
      (CUdeviceptr dstDevice, CUcontext dstContext, CUdeviceptr srcDevice, CUcontext srcContext,
       size_t ByteCount),
      (dstDevice, dstContext, srcDevice, srcContext, ByteCount))
WAITS(cuMemcpy2D, (const CUDA_MEMCPY2D_v1* pCopy), (pCopy))
WAITS(cuMemcpy2DUnaligned, (const CUDA_MEMCPY2D_v1* pCopy), (pCopy))
WAITS(cuMemcpy3D, (const CUDA_MEMCPY3D_v1* pCopy), (pCopy))
WAITS(cuMemcpy2D_v2, (const CUDA_MEMCPY2D* pCopy), (pCopy))
WAITS(cuMemcpy2D_v2_ptds, (const CUDA_MEMCPY2D* pCopy), (pCopy))
WAITS(cuMemcpy2DUnaligned_v2, (const CUDA_MEMCPY2D* pCopy), (pCopy))
WAITS(cuMemcpy2DUnaligned_v2_ptds, (const CUDA_MEMCPY2D* pCopy), (pCopy))
WAITS(cuMemcpy3D_v2, (const CUDA_MEMCPY3D* pCopy), (pCopy))
WAITS(cuMemcpy3D_v2_ptds, (const CUDA_MEMCPY3D* pCopy), (pCopy))

#undef WAITS

// A pool gives memory back to the device when something is waited for.
HOOK(cuStreamSynchronize, (CUstream stream)) {
  const CUresult answer = Waiting([&] { return REAL(cuStreamSynchronize)(stream); });
  SettlePools();
  return answer;
}
HOOK(cuStreamSynchronize_ptsz, (CUstream stream)) {
  const CUresult answer = Waiting([&] { return REAL(cuStreamSynchronize_ptsz)(stream); });
  SettlePools();
  return answer;
}
HOOK(cuCtxSynchronize, (void)) {
  const CUresult answer = Waiting([&] { return REAL(cuCtxSynchronize)(); });
  SettlePools(answer == CUDA_SUCCESS);
  return answer;
}
HOOK(cuCtxSynchronize_v2, (CUcontext context)) {
  const CUresult answer = Waiting([&] { return REAL(cuCtxSynchronize_v2)(context); });
  SettlePools(answer == CUDA_SUCCESS);
  return answer;
}
HOOK(cuEventSynchronize, (CUevent event)) {
  const CUresult answer = Waiting([&] { return REAL(cuEventSynchronize)(event); });
  SettlePools();
  return answer;
}

// A launch behind such a copy cannot run before it is done.
#define COPIES(name, parameters, arguments, stream)        \
  HOOK(name, parameters) {                                 \
    const CUresult answer = REAL(name) arguments;          \
    if (__builtin_expect(IsUnmetered(), 1)) return answer; \
    if (IsMetered()) AfterCopy(stream);                    \
    return answer;                                         \
  }

COPIES(cuMemcpyHtoDAsync_v2,
       (CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount, CUstream hStream),
       (dstDevice, srcHost, ByteCount, hStream), Legacy(hStream))
COPIES(cuMemcpyHtoDAsync_v2_ptsz,
       (CUdeviceptr dstDevice, const void* srcHost, size_t ByteCount, CUstream hStream),
       (dstDevice, srcHost, ByteCount, hStream), PerThread(hStream))
COPIES(cuMemcpyHtoDAsync,
       (CUdeviceptr_v1 dstDevice, const void* srcHost, unsigned int ByteCount, CUstream hStream),
       (dstDevice, srcHost, ByteCount, hStream), Legacy(hStream))
COPIES(cuMemcpyAsync, (CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream),
       (dst, src, ByteCount, hStream), Legacy(hStream))
COPIES(cuMemcpyAsync_ptsz, (CUdeviceptr dst, CUdeviceptr src, size_t ByteCount, CUstream hStream),
       (dst, src, ByteCount, hStream), PerThread(hStream))
COPIES(cuMemcpy2DAsync, (const CUDA_MEMCPY2D_v1* pCopy, CUstream hStream), (pCopy, hStream),
       Legacy(hStream))
COPIES(cuMemcpy3DAsync, (const CUDA_MEMCPY3D_v1* pCopy, CUstream hStream), (pCopy, hStream),
       Legacy(hStream))
COPIES(cuMemcpy2DAsync_v2, (const CUDA_MEMCPY2D* pCopy, CUstream hStream), (pCopy, hStream),
       Legacy(hStream))
COPIES(cuMemcpy2DAsync_v2_ptsz, (const CUDA_MEMCPY2D* pCopy, CUstream hStream), (pCopy, hStream),
       PerThread(hStream))
COPIES(cuMemcpy3DAsync_v2, (const CUDA_MEMCPY3D* pCopy, CUstream hStream), (pCopy, hStream),
       Legacy(hStream))
COPIES(cuMemcpy3DAsync_v2_ptsz, (const CUDA_MEMCPY3D* pCopy, CUstream hStream), (pCopy, hStream),
       PerThread(hStream))

HOOK(cuStreamDestroy_v2, (CUstream hStream)) {
  if (IsMetered()) CloseStream(hStream);
  return REAL(cuStreamDestroy_v2)(hStream);
}
HOOK(cuStreamDestroy, (CUstream hStream)) {
  if (IsMetered()) CloseStream(hStream);
  return REAL(cuStreamDestroy)(hStream);
}

namespace {

// What was launched before a capture runs; what comes in between does not.
template <typename Begin>
CUresult BeginCapture(CUstream stream, const Begin& begin) {
  if (!IsMetered()) return begin();
  CloseStream(stream);
  CaptureBegan();
  const CUresult answer = begin();
  if (answer != CUDA_SUCCESS) CaptureEnded();
  return answer;
}

template <typename End>
CUresult EndCapture(const End& end) {
  const CUresult answer = end();
  // Also one that was invalidated is over then.
  if (IsMetered() && answer != CUDA_ERROR_INVALID_HANDLE && answer != CUDA_ERROR_ILLEGAL_STATE)
    CaptureEnded();
  return answer;
}

}  // namespace

HOOK(cuStreamBeginCapture, (CUstream hStream)) {
  return BeginCapture(Legacy(hStream), [&] { return REAL(cuStreamBeginCapture)(hStream); });
}
HOOK(cuStreamBeginCapture_ptsz, (CUstream hStream)) {
  return BeginCapture(PerThread(hStream), [&] { return REAL(cuStreamBeginCapture_ptsz)(hStream); });
}
HOOK(cuStreamBeginCapture_v2, (CUstream hStream, CUstreamCaptureMode mode)) {
  return BeginCapture(Legacy(hStream),
                      [&] { return REAL(cuStreamBeginCapture_v2)(hStream, mode); });
}
HOOK(cuStreamBeginCapture_v2_ptsz, (CUstream hStream, CUstreamCaptureMode mode)) {
  return BeginCapture(PerThread(hStream),
                      [&] { return REAL(cuStreamBeginCapture_v2_ptsz)(hStream, mode); });
}
HOOK(cuStreamBeginCaptureToGraph,
     (CUstream hStream, CUgraph hGraph, const CUgraphNode* dependencies,
      const CUgraphEdgeData* dependencyData, size_t numDependencies, CUstreamCaptureMode mode)) {
  return BeginCapture(Legacy(hStream), [&] {
    return REAL(cuStreamBeginCaptureToGraph)(hStream, hGraph, dependencies, dependencyData,
                                             numDependencies, mode);
  });
}
HOOK(cuStreamBeginCaptureToGraph_ptsz,
     (CUstream hStream, CUgraph hGraph, const CUgraphNode* dependencies,
      const CUgraphEdgeData* dependencyData, size_t numDependencies, CUstreamCaptureMode mode)) {
  return BeginCapture(PerThread(hStream), [&] {
    return REAL(cuStreamBeginCaptureToGraph_ptsz)(hStream, hGraph, dependencies, dependencyData,
                                                  numDependencies, mode);
  });
}
HOOK(cuStreamEndCapture, (CUstream hStream, CUgraph* phGraph)) {
  return EndCapture([&] { return REAL(cuStreamEndCapture)(hStream, phGraph); });
}
HOOK(cuStreamEndCapture_ptsz, (CUstream hStream, CUgraph* phGraph)) {
  return EndCapture([&] { return REAL(cuStreamEndCapture_ptsz)(hStream, phGraph); });
}

}  // namespace tranche::limiter
