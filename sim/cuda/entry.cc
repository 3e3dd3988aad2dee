#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "sim/cuda/library.h"
#include "sim/cuda/symbols.h"

// The way into the library: initialising, versions, errors by name, functions by name.
namespace tranche::sim::cuda {
namespace {

struct ErrorText {
  CUresult code;
  const char* name;
  const char* text;
};

constexpr ErrorText kErrors[] = {
    {CUDA_SUCCESS, "CUDA_SUCCESS", "no error"},
    {CUDA_ERROR_INVALID_VALUE, "CUDA_ERROR_INVALID_VALUE", "invalid argument"},
    {CUDA_ERROR_OUT_OF_MEMORY, "CUDA_ERROR_OUT_OF_MEMORY", "out of memory"},
    {CUDA_ERROR_NOT_INITIALIZED, "CUDA_ERROR_NOT_INITIALIZED", "initialization error"},
    {CUDA_ERROR_DEINITIALIZED, "CUDA_ERROR_DEINITIALIZED", "driver shutting down"},
    {CUDA_ERROR_STUB_LIBRARY, "CUDA_ERROR_STUB_LIBRARY", "the CUDA library is a stub"},
    {CUDA_ERROR_DEVICE_UNAVAILABLE, "CUDA_ERROR_DEVICE_UNAVAILABLE",
     "CUDA-capable device(s) is/are busy or unavailable"},
    {CUDA_ERROR_NO_DEVICE, "CUDA_ERROR_NO_DEVICE", "no CUDA-capable device is detected"},
    {CUDA_ERROR_INVALID_DEVICE, "CUDA_ERROR_INVALID_DEVICE", "invalid device ordinal"},
    {CUDA_ERROR_INVALID_CONTEXT, "CUDA_ERROR_INVALID_CONTEXT", "invalid device context"},
    {CUDA_ERROR_ECC_UNCORRECTABLE, "CUDA_ERROR_ECC_UNCORRECTABLE",
     "uncorrectable ECC error encountered"},
    {CUDA_ERROR_UNSUPPORTED_LIMIT, "CUDA_ERROR_UNSUPPORTED_LIMIT",
     "limit is not supported on this device"},
    {CUDA_ERROR_CONTAINED, "CUDA_ERROR_CONTAINED", "contained memory error"},
    {CUDA_ERROR_OPERATING_SYSTEM, "CUDA_ERROR_OPERATING_SYSTEM", "OS call failed"},
    {CUDA_ERROR_INVALID_HANDLE, "CUDA_ERROR_INVALID_HANDLE", "invalid resource handle"},
    {CUDA_ERROR_NOT_FOUND, "CUDA_ERROR_NOT_FOUND", "named symbol not found"},
    {CUDA_ERROR_NOT_READY, "CUDA_ERROR_NOT_READY", "device not ready"},
    {CUDA_ERROR_ILLEGAL_ADDRESS, "CUDA_ERROR_ILLEGAL_ADDRESS",
     "an illegal memory access was encountered"},
    {CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE, "CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE",
     "the primary context is active"},
    {CUDA_ERROR_CONTEXT_IS_DESTROYED, "CUDA_ERROR_CONTEXT_IS_DESTROYED", "context is destroyed"},
    {CUDA_ERROR_LAUNCH_FAILED, "CUDA_ERROR_LAUNCH_FAILED", "unspecified launch failure"},
    {CUDA_ERROR_NOT_PERMITTED, "CUDA_ERROR_NOT_PERMITTED", "operation not permitted"},
    {CUDA_ERROR_NOT_SUPPORTED, "CUDA_ERROR_NOT_SUPPORTED", "operation not supported"},
    {CUDA_ERROR_SYSTEM_DRIVER_MISMATCH, "CUDA_ERROR_SYSTEM_DRIVER_MISMATCH",
     "system has unsupported display driver / cuda driver combination"},
    {CUDA_ERROR_UNKNOWN, "CUDA_ERROR_UNKNOWN", "unknown error"},
};

CUresult TextOf(CUresult code, const char** out, const char* ErrorText::*field) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (const ErrorText& error : kErrors) {
    if (error.code != code) continue;
    *out = error.*field;
    return CUDA_SUCCESS;
  }
  *out = nullptr;
  return CUDA_ERROR_INVALID_VALUE;
}

// Of the machine's driver, without a need for cuInit. The library is there even when its machine is
// not: then it is as new as these declarations.
int DriverVersion() {
  static const int version = [] {
    const char* dir = std::getenv("TRANCHE_SIM_DIR");
    const auto machine = Machine::Open(dir == nullptr ? "" : dir);
    return machine ? static_cast<int>((*machine)->spec().driver.cuda_version) : 13000;
  }();
  return version;
}

}  // namespace

CUDA_EXPORT CUresult cuInit(unsigned int flags) { return Library::Get().Init(flags); }

// Works without cuInit.
CUDA_EXPORT CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = DriverVersion();
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuGetErrorName(CUresult error, const char** text) {
  return TextOf(error, text, &ErrorText::name);
}
CUDA_EXPORT CUresult cuGetErrorString(CUresult error, const char** text) {
  return TextOf(error, text, &ErrorText::text);
}

CUDA_EXPORT CUresult cuGetProcAddress_v2(const char* symbol, void** function, int cuda_version,
                                         cuuint64_t flags, CUdriverProcAddressQueryResult* status) {
  if (symbol == nullptr || function == nullptr ||
      flags > CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const Lookup found = FindSymbol(symbol, cuda_version, DriverVersion(),
                                  flags == CU_GET_PROC_ADDRESS_PER_THREAD_DEFAULT_STREAM);
  *function = found.address;
  if (status != nullptr) *status = found.status;
  return found.address == nullptr ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuGetProcAddress(const char* symbol, void** function, int cuda_version,
                                      cuuint64_t flags) {
  return cuGetProcAddress_v2(symbol, function, cuda_version, flags, nullptr);
}

CUDA_EXPORT CUresult cuTrancheSimUnmodelledCalls(const char* symbol, unsigned long long* calls) {
  if (calls == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *calls = 0;
  bool known = symbol == nullptr;
  for (size_t i = 0; i < kSymbolCount; ++i) {
    if (symbol != nullptr && std::strcmp(symbol, SymbolAt(i).name) != 0) continue;
    known = true;
    *calls += UnmodelledCalls(i);
  }
  return known ? CUDA_SUCCESS : CUDA_ERROR_NOT_FOUND;
}

}  // namespace tranche::sim::cuda
