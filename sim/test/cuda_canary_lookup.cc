// The two symbols of the canary driver that answer rather than remember. Apart from the others,
// which are weak.
#include "sim/cuda/symbols.h"

#define CANARY_EXPORT extern "C" __attribute__((visibility("default")))

CANARY_EXPORT CUresult cuGetProcAddress_v2(const char* symbol, void** function, int version,
                                           cuuint64_t flags,
                                           CUdriverProcAddressQueryResult* status) {
  const auto found = tranche::sim::cuda::FindSymbol(
      symbol, version, 13000, flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
  *function = found.address;
  if (status != nullptr) *status = found.status;
  return found.address == nullptr ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}
CANARY_EXPORT CUresult cuGetProcAddress(const char* symbol, void** function, int version,
                                        cuuint64_t flags) {
  return cuGetProcAddress_v2(symbol, function, version, flags, nullptr);
}
