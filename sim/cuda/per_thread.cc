// The variants for a default stream per thread: the same calls, in which no stream means the
// calling thread's.
#include "sim/cuda/streams.h"

namespace tranche::sim::cuda {
namespace {

template <typename T>
T Translated(T argument) {
  return argument;
}
template <>
CUstream Translated(CUstream stream) {
  return stream == nullptr ? MakeHandle<CUstream>(2) : stream;
}

template <auto kPlain>
struct PerThread;
template <typename... Arguments, CUresult (*kPlain)(Arguments...)>
struct PerThread<kPlain> {
  static CUresult Call(Arguments... arguments) { return kPlain(Translated(arguments)...); }
};

}  // namespace
}  // namespace tranche::sim::cuda

// A launch names its stream in its configuration.
CUDA_EXPORT CUresult cuLaunchKernelEx_ptsz(const CUlaunchConfig* config, CUfunction function,
                                           void** parameters, void** extra) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUlaunchConfig own = *config;
  own.hStream = tranche::sim::cuda::Translated(own.hStream);
  return cuLaunchKernelEx(&own, function, parameters, extra);
}

#define CUDA_PER_THREAD(name, plain, parameters, arguments)       \
  CUDA_EXPORT CUresult name parameters {                          \
    return tranche::sim::cuda::PerThread<&plain>::Call arguments; \
  }
#include "abi/cuda_per_thread.inc"
