// A libcuda.so.1 in which every symbol only remembers how it was called. Behind a shim it shows
// what the shim passes on; cuGetProcAddress answers as a driver of CUDA 13.0 does.
#include "sim/cuda/symbols.h"
#include "sim/test/cuda_canary.h"

namespace tranche::sim::canary {
namespace {

Record last;

template <typename... Arguments>
CUresult Remember(size_t symbol, Arguments... arguments) {
  last = Record{};
  last.symbol = symbol;
  (Put(&last, arguments), ...);
  return CUDA_SUCCESS;
}

}  // namespace
}  // namespace tranche::sim::canary

#define CANARY_EXPORT extern "C" __attribute__((visibility("default")))
#define CANARY_COMMA_cuda(...) __VA_OPT__(, ) __VA_ARGS__

extern "C" {
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) \
  __attribute__((weak, visibility("default"))) CUresult name parameters { \
    return tranche::sim::canary::Remember(                                \
        tranche::sim::cuda::kSymbol_##name CANARY_COMMA_cuda arguments);  \
  }
#include "abi/cuda_symbols.inc"
}

CANARY_EXPORT void cuCanaryLast(tranche::sim::canary::Record* record) {
  *record = tranche::sim::canary::last;
}
CANARY_EXPORT void cuCanaryForget() { tranche::sim::canary::last = {}; }
