// What every symbol does until another file of this library defines it: weak, so that such a
// definition takes its place.
#include "sim/cuda/symbols.h"

#pragma GCC diagnostic ignored "-Wunused-parameter"

extern "C" {
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments)      \
  __attribute__((weak, visibility("default"))) CUresult name parameters {      \
    return tranche::sim::cuda::Unmodelled(tranche::sim::cuda::kSymbol_##name); \
  }
#include "abi/cuda_symbols.inc"
}
