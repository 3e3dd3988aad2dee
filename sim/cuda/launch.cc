#include <cstdlib>
#include <cstring>

#include "sim/cuda/capture.h"
#include "sim/cuda/modules.h"
#include "sim/cuda/streams.h"
#include "sim/cuda/work.h"

// Every way to start a kernel. No lock and no look at the machine: a kernel for nothing, on a
// stream with nothing in it, costs what looking up two handles costs.
namespace tranche::sim::cuda {
namespace {

uint64_t CostOf(const Kernel& kernel, void** parameters) {
  if (!kernel.cost_is_argument) return kernel.cost_ns;
  uint64_t cost = 0;
  if (parameters != nullptr && parameters[0] != nullptr)
    std::memcpy(&cost, parameters[0], sizeof(cost));
  return cost;
}

void Give(Stream* stream, uint64_t cost, uint64_t blocks) {
  if (cost > 0) GiveKernel(stream, cost, blocks);
}

CUresult Capture(Stream* stream, const CUDA_KERNEL_NODE_PARAMS_v2& params, const Kernel& kernel,
                 uint64_t cost) {
  NodeWork work;
  if (kernel.counts && params.kernelParams != nullptr)
    std::memcpy(&work.condition, params.kernelParams[0], sizeof(work.condition));
  work.type = CU_GRAPH_NODE_TYPE_KERNEL;
  work.kernel = params;
  work.cost_ns = cost;
  work.blocks = uint64_t{params.gridDimX} * params.gridDimY * params.gridDimZ;
  return AddCaptured(stream, std::move(work));
}

CUresult Launch(const CUDA_KERNEL_NODE_PARAMS_v2& params, CUstream handle) {
  const Kernel* kernel = Kernels().Find(params.func);
  if (__builtin_expect(kernel == nullptr, 0)) return CUDA_ERROR_INVALID_HANDLE;
  Stream* stream = FindStream(handle);
  if (__builtin_expect(stream == nullptr, 0)) {
    return ContextStack().empty() ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_HANDLE;
  }
  const uint64_t blocks = uint64_t{params.gridDimX} * params.gridDimY * params.gridDimZ;
  const uint64_t threads = uint64_t{params.blockDimX} * params.blockDimY * params.blockDimZ;
  if (__builtin_expect(blocks == 0 || threads == 0 || threads > 1024, 0))
    return CUDA_ERROR_INVALID_VALUE;
  const uint64_t cost = CostOf(*kernel, params.kernelParams);
  if (__builtin_expect(stream->capture.load(std::memory_order_acquire) != nullptr, 0))
    return Capture(stream, params, *kernel, cost);
  if (__builtin_expect(stream->gated.load(std::memory_order_acquire), 0)) {
    Perform(stream, [=] { Give(stream, cost, blocks); });
  } else {
    Give(stream, cost, blocks);
  }
  Spend(kLaunchTakes);
  return CUDA_SUCCESS;
}

// cuLaunch and its like keep the shape and the arguments with the function.
struct OldShape {
  unsigned int x = 1, y = 1, z = 1;
};
OldShape& ShapeOf(CUfunction function) {
  thread_local std::map<CUfunction, OldShape> shapes;
  return shapes[function];
}

CUresult OldLaunch(CUfunction function, int width, int height, CUstream stream) {
  if (width <= 0 || height <= 0) return CUDA_ERROR_INVALID_VALUE;
  const OldShape shape = ShapeOf(function);
  CUDA_KERNEL_NODE_PARAMS_v2 params = {};
  params.func = function;
  params.gridDimX = static_cast<unsigned int>(width);
  params.gridDimY = static_cast<unsigned int>(height);
  params.gridDimZ = 1;
  params.blockDimX = shape.x;
  params.blockDimY = shape.y;
  params.blockDimZ = shape.z;
  return Launch(params, stream);
}

CUresult OldKnown(CUfunction function) {
  return Kernels().Find(function) == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

}  // namespace

CUDA_EXPORT CUresult cuLaunchKernel(CUfunction f, unsigned int gx, unsigned int gy, unsigned int gz,
                                    unsigned int bx, unsigned int by, unsigned int bz,
                                    unsigned int shared, CUstream stream, void** parameters,
                                    void** extra) {
  return Launch({f, gx, gy, gz, bx, by, bz, shared, parameters, extra, nullptr, nullptr}, stream);
}
CUDA_EXPORT CUresult cuLaunchCooperativeKernel(CUfunction f, unsigned int gx, unsigned int gy,
                                               unsigned int gz, unsigned int bx, unsigned int by,
                                               unsigned int bz, unsigned int shared,
                                               CUstream stream, void** parameters) {
  return Launch({f, gx, gy, gz, bx, by, bz, shared, parameters, nullptr, nullptr, nullptr}, stream);
}
CUDA_EXPORT CUresult cuLaunchKernelEx(const CUlaunchConfig* config, CUfunction f, void** parameters,
                                      void** extra) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return Launch({f, config->gridDimX, config->gridDimY, config->gridDimZ, config->blockDimX,
                 config->blockDimY, config->blockDimZ, config->sharedMemBytes, parameters, extra,
                 nullptr, nullptr},
                config->hStream);
}
CUDA_EXPORT CUresult cuLaunchCooperativeKernelMultiDevice(CUDA_LAUNCH_PARAMS* list,
                                                          unsigned int count, unsigned int) {
  if (list == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned int i = 0; i < count; ++i) {
    const CUDA_LAUNCH_PARAMS& p = list[i];
    const CUresult launched =
        Launch({p.function, p.gridDimX, p.gridDimY, p.gridDimZ, p.blockDimX, p.blockDimY,
                p.blockDimZ, p.sharedMemBytes, p.kernelParams, nullptr, nullptr, nullptr},
               p.hStream);
    if (launched != CUDA_SUCCESS) return launched;
  }
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuFuncSetBlockShape(CUfunction function, int x, int y, int z) {
  if (x <= 0 || y <= 0 || z <= 0) return CUDA_ERROR_INVALID_VALUE;
  ShapeOf(function) = {static_cast<unsigned int>(x), static_cast<unsigned int>(y),
                       static_cast<unsigned int>(z)};
  return OldKnown(function);
}
CUDA_EXPORT CUresult cuFuncSetSharedSize(CUfunction function, unsigned int) {
  return OldKnown(function);
}
CUDA_EXPORT CUresult cuParamSetSize(CUfunction function, unsigned int) {
  return OldKnown(function);
}
CUDA_EXPORT CUresult cuParamSeti(CUfunction function, int, unsigned int) {
  return OldKnown(function);
}
CUDA_EXPORT CUresult cuParamSetf(CUfunction function, int, float) { return OldKnown(function); }
CUDA_EXPORT CUresult cuParamSetv(CUfunction function, int, void*, unsigned int) {
  return OldKnown(function);
}
CUDA_EXPORT CUresult cuLaunch(CUfunction function) { return OldLaunch(function, 1, 1, nullptr); }
CUDA_EXPORT CUresult cuLaunchGrid(CUfunction function, int width, int height) {
  return OldLaunch(function, width, height, nullptr);
}
CUDA_EXPORT CUresult cuLaunchGridAsync(CUfunction function, int width, int height,
                                       CUstream stream) {
  return OldLaunch(function, width, height, stream);
}

CUDA_EXPORT CUresult cuLaunchHostFunc(CUstream handle, CUhostFn function, void* data) {
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture.load() != nullptr) {
    NodeWork work;
    work.type = CU_GRAPH_NODE_TYPE_HOST;
    work.run = [function, data](Stream* on) { WhenDone(on, [=] { function(data); }); };
    return AddCaptured(stream, std::move(work));
  }
  Perform(stream, [=] { WhenDone(stream, [=] { function(data); }); });
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuStreamAddCallback(CUstream handle, CUstreamCallback callback, void* data,
                                         unsigned int flags) {
  if (callback == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture.load() != nullptr) return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  Perform(stream, [=] { WhenDone(stream, [=] { callback(handle, CUDA_SUCCESS, data); }); });
  return CUDA_SUCCESS;
}

}  // namespace tranche::sim::cuda
