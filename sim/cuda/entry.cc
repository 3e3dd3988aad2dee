#include <algorithm>
#include <array>
#include <cstring>
#include <string_view>

#include "sim/cuda/library.h"

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

// One ABI of one function: what its plain name means for a program built against CUDA `since` or
// newer.
struct Function {
  const char* name;
  int since;
  void* address;
};

template <typename T>
void* Address(T* function) {
  return reinterpret_cast<void*>(function);
}

#define SINCE(version, name) \
  { #name, version, Address(&::name) }
#define SINCE_AS(version, name, function) \
  { #name, version, Address(&::function) }

const auto& Functions() {
  static const auto functions = std::to_array<Function>({
      SINCE(2000, cuInit),
      SINCE(2020, cuDriverGetVersion),
      SINCE(6000, cuGetErrorName),
      SINCE(6000, cuGetErrorString),
      SINCE(11030, cuGetProcAddress),
      SINCE_AS(12000, cuGetProcAddress, cuGetProcAddress_v2),
      SINCE(2000, cuDeviceGetCount),
      SINCE(2000, cuDeviceGet),
      SINCE(2000, cuDeviceGetName),
      SINCE(9020, cuDeviceGetUuid),
      SINCE_AS(11040, cuDeviceGetUuid, cuDeviceGetUuid_v2),
      SINCE(2000, cuDeviceTotalMem),
      SINCE_AS(3020, cuDeviceTotalMem, cuDeviceTotalMem_v2),
      SINCE(2000, cuDeviceGetAttribute),
      SINCE(2000, cuDeviceComputeCapability),
      SINCE(4010, cuDeviceGetPCIBusId),
      SINCE(4010, cuDeviceGetByPCIBusId),
      SINCE(4000, cuDeviceCanAccessPeer),
      SINCE(7000, cuDevicePrimaryCtxRetain),
      SINCE(7000, cuDevicePrimaryCtxRelease),
      SINCE_AS(11000, cuDevicePrimaryCtxRelease, cuDevicePrimaryCtxRelease_v2),
      SINCE(7000, cuDevicePrimaryCtxReset),
      SINCE_AS(11000, cuDevicePrimaryCtxReset, cuDevicePrimaryCtxReset_v2),
      SINCE(7000, cuDevicePrimaryCtxGetState),
      SINCE(7000, cuDevicePrimaryCtxSetFlags),
      SINCE_AS(11000, cuDevicePrimaryCtxSetFlags, cuDevicePrimaryCtxSetFlags_v2),
      SINCE(2000, cuCtxCreate),
      SINCE_AS(3020, cuCtxCreate, cuCtxCreate_v2),
      SINCE_AS(11040, cuCtxCreate, cuCtxCreate_v3),
      SINCE_AS(12050, cuCtxCreate, cuCtxCreate_v4),
      SINCE(2000, cuCtxDestroy),
      SINCE_AS(4000, cuCtxDestroy, cuCtxDestroy_v2),
      SINCE(2000, cuCtxPushCurrent),
      SINCE_AS(4000, cuCtxPushCurrent, cuCtxPushCurrent_v2),
      SINCE(2000, cuCtxPopCurrent),
      SINCE_AS(4000, cuCtxPopCurrent, cuCtxPopCurrent_v2),
      SINCE(4000, cuCtxSetCurrent),
      SINCE(4000, cuCtxGetCurrent),
      SINCE(2000, cuCtxGetDevice),
      SINCE_AS(13000, cuCtxGetDevice, cuCtxGetDevice_v2),
      SINCE(7000, cuCtxGetFlags),
      SINCE(12000, cuCtxGetId),
      SINCE(3020, cuCtxGetApiVersion),
      SINCE(5050, cuCtxGetStreamPriorityRange),
      SINCE(2000, cuCtxSynchronize),
      SINCE_AS(13000, cuCtxSynchronize, cuCtxSynchronize_v2),
      SINCE(2000, cuMemGetInfo),
      SINCE_AS(3020, cuMemGetInfo, cuMemGetInfo_v2),
      SINCE(2000, cuMemAlloc),
      SINCE_AS(3020, cuMemAlloc, cuMemAlloc_v2),
      SINCE_AS(3020, cuMemAllocPitch, cuMemAllocPitch_v2),
      SINCE(6000, cuMemAllocManaged),
      SINCE(11020, cuMemAllocAsync),
      SINCE(2000, cuMemFree),
      SINCE_AS(3020, cuMemFree, cuMemFree_v2),
      SINCE(11020, cuMemFreeAsync),
      SINCE_AS(3020, cuMemGetAddressRange, cuMemGetAddressRange_v2),
      SINCE_AS(3020, cuMemAllocHost, cuMemAllocHost_v2),
      SINCE(2020, cuMemHostAlloc),
      SINCE(2000, cuMemFreeHost),
      SINCE_AS(3020, cuMemcpyHtoD, cuMemcpyHtoD_v2),
      SINCE_AS(3020, cuMemcpyDtoH, cuMemcpyDtoH_v2),
      SINCE_AS(3020, cuMemcpyDtoD, cuMemcpyDtoD_v2),
      SINCE_AS(3020, cuMemcpyHtoDAsync, cuMemcpyHtoDAsync_v2),
      SINCE_AS(3020, cuMemcpyDtoHAsync, cuMemcpyDtoHAsync_v2),
      SINCE_AS(3020, cuMemcpyDtoDAsync, cuMemcpyDtoDAsync_v2),
      SINCE_AS(3020, cuMemsetD8, cuMemsetD8_v2),
      SINCE_AS(3020, cuMemsetD16, cuMemsetD16_v2),
      SINCE_AS(3020, cuMemsetD32, cuMemsetD32_v2),
      SINCE(3020, cuMemsetD8Async),
      SINCE(3020, cuMemsetD32Async),
      SINCE(2000, cuStreamCreate),
      SINCE(5050, cuStreamCreateWithPriority),
      SINCE(2000, cuStreamDestroy),
      SINCE_AS(4000, cuStreamDestroy, cuStreamDestroy_v2),
      SINCE(2000, cuStreamSynchronize),
      SINCE(2000, cuStreamQuery),
      SINCE(3020, cuStreamWaitEvent),
      SINCE(2000, cuEventCreate),
      SINCE(2000, cuEventDestroy),
      SINCE_AS(4000, cuEventDestroy, cuEventDestroy_v2),
      SINCE(2000, cuEventRecord),
      SINCE(2000, cuEventQuery),
      SINCE(2000, cuEventSynchronize),
      SINCE(2000, cuEventElapsedTime),
      SINCE_AS(12080, cuEventElapsedTime, cuEventElapsedTime_v2),
      SINCE(2000, cuTrancheSimSetLoad),
  });
  return functions;
}

#undef SINCE
#undef SINCE_AS

}  // namespace

CUDA_EXPORT CUresult cuInit(unsigned int flags) { return Library::Get().Init(flags); }

// Works without cuInit.
CUDA_EXPORT CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const char* dir = std::getenv("TRANCHE_SIM_DIR");
  const auto machine = Machine::Open(dir == nullptr ? "" : dir);
  // The library is there even when its machine is not: as of CUDA 13.0, like these declarations.
  *version = machine ? (*machine)->spec().driver.cuda_version : 13000;
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
  // Default, legacy or per-thread default stream: all streams are alike here.
  if (symbol == nullptr || function == nullptr || flags > 2) return CUDA_ERROR_INVALID_VALUE;
  const Function* best = nullptr;
  bool known = false;
  for (const Function& candidate : Functions()) {
    if (std::string_view(candidate.name) != symbol) continue;
    known = true;
    if (candidate.since <= cuda_version && (best == nullptr || candidate.since > best->since))
      best = &candidate;
  }
  *function = best == nullptr ? nullptr : best->address;
  if (status != nullptr) {
    *status = best != nullptr ? CU_GET_PROC_ADDRESS_SUCCESS
              : known         ? CU_GET_PROC_ADDRESS_VERSION_NOT_SUFFICIENT
                              : CU_GET_PROC_ADDRESS_SYMBOL_NOT_FOUND;
  }
  return best == nullptr ? CUDA_ERROR_NOT_FOUND : CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuGetProcAddress(const char* symbol, void** function, int cuda_version,
                                      cuuint64_t flags) {
  return cuGetProcAddress_v2(symbol, function, cuda_version, flags, nullptr);
}

}  // namespace tranche::sim::cuda
