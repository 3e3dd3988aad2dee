#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <utility>

#include "abi/nvml.h"
#include "base/result.h"
#include "edge/driver/nvml/errors.h"

// The symbols of NVML that Tranche uses. Which exist depends on the driver, so each is judged on
// its own: one that is missing is a null pointer, and calling it answers
// NVML_ERROR_FUNCTION_NOT_FOUND.
#define TRANCHE_NVML_SYMBOLS(X)                        \
  X(nvmlInit)                                          \
  X(nvmlInit_v2)                                       \
  X(nvmlShutdown)                                      \
  X(nvmlErrorString)                                   \
  X(nvmlSystemGetDriverVersion)                        \
  X(nvmlSystemGetCudaDriverVersion)                    \
  X(nvmlSystemGetCudaDriverVersion_v2)                 \
  X(nvmlSystemGetProcessName)                          \
  X(nvmlDeviceGetCount)                                \
  X(nvmlDeviceGetCount_v2)                             \
  X(nvmlDeviceGetHandleByIndex)                        \
  X(nvmlDeviceGetHandleByIndex_v2)                     \
  X(nvmlDeviceGetUUID)                                 \
  X(nvmlDeviceGetName)                                 \
  X(nvmlDeviceGetMinorNumber)                          \
  X(nvmlDeviceGetPciInfo_v3)                           \
  X(nvmlDeviceGetArchitecture)                         \
  X(nvmlDeviceGetCudaComputeCapability)                \
  X(nvmlDeviceGetNumGpuCores)                          \
  X(nvmlDeviceGetMemoryInfo)                           \
  X(nvmlDeviceGetMemoryInfo_v2)                        \
  X(nvmlDeviceGetUtilizationRates)                     \
  X(nvmlDeviceGetComputeMode)                          \
  X(nvmlDeviceSetComputeMode)                          \
  X(nvmlDeviceGetPersistenceMode)                      \
  X(nvmlDeviceGetFieldValues)                          \
  X(nvmlDeviceGetTotalEccErrors)                       \
  X(nvmlDeviceGetRemappedRows)                         \
  X(nvmlDeviceGetVirtualizationMode)                   \
  X(nvmlDeviceGetComputeRunningProcesses)              \
  X(nvmlDeviceGetComputeRunningProcesses_v2)           \
  X(nvmlDeviceGetComputeRunningProcesses_v3)           \
  X(nvmlDeviceGetGraphicsRunningProcesses)             \
  X(nvmlDeviceGetGraphicsRunningProcesses_v2)          \
  X(nvmlDeviceGetGraphicsRunningProcesses_v3)          \
  X(nvmlDeviceGetMPSComputeRunningProcesses)           \
  X(nvmlDeviceGetMPSComputeRunningProcesses_v2)        \
  X(nvmlDeviceGetMPSComputeRunningProcesses_v3)        \
  X(nvmlDeviceGetMigMode)                              \
  X(nvmlDeviceSetMigMode)                              \
  X(nvmlDeviceGetGpuInstanceProfileInfo)               \
  X(nvmlDeviceGetGpuInstanceProfileInfoV)              \
  X(nvmlDeviceGetGpuInstancePossiblePlacements_v2)     \
  X(nvmlDeviceCreateGpuInstanceWithPlacement)          \
  X(nvmlDeviceGetGpuInstances)                         \
  X(nvmlGpuInstanceDestroy)                            \
  X(nvmlGpuInstanceGetInfo)                            \
  X(nvmlGpuInstanceGetComputeInstanceProfileInfo)      \
  X(nvmlGpuInstanceGetComputeInstances)                \
  X(nvmlGpuInstanceCreateComputeInstance)              \
  X(nvmlGpuInstanceCreateComputeInstanceWithPlacement) \
  X(nvmlComputeInstanceDestroy)                        \
  X(nvmlComputeInstanceGetInfo)                        \
  X(nvmlComputeInstanceGetInfo_v2)                     \
  X(nvmlDeviceGetMaxMigDeviceCount)                    \
  X(nvmlDeviceGetMigDeviceHandleByIndex)               \
  X(nvmlDeviceGetGpuInstanceId)                        \
  X(nvmlDeviceGetComputeInstanceId)                    \
  X(nvmlEventSetCreate)                                \
  X(nvmlEventSetFree)                                  \
  X(nvmlEventSetWait)                                  \
  X(nvmlEventSetWait_v2)                               \
  X(nvmlDeviceRegisterEvents)                          \
  X(nvmlDeviceGetSupportedEventTypes)                  \
  X(nvmlDeviceSetMemoryLimits_v1)                      \
  X(nvmlDeviceGetMemoryLimits_v1)

namespace tranche {

// An opened and initialised NVML; shut down and closed when destroyed. May be called from any
// thread while it lives.
class NvmlLibrary {
 public:
  // kUnavailable when the library is missing, is not NVML, or finds no driver.
  static Result<std::unique_ptr<NvmlLibrary>> Open(const std::string& name);
  ~NvmlLibrary();
  NvmlLibrary(const NvmlLibrary&) = delete;
  NvmlLibrary& operator=(const NvmlLibrary&) = delete;

#define TRANCHE_NVML_MEMBER(symbol) decltype(&::symbol) symbol = nullptr;
  TRANCHE_NVML_SYMBOLS(TRANCHE_NVML_MEMBER)
#undef TRANCHE_NVML_MEMBER

  // Calls `function`, a member of this library, if the driver has it. The only way in, because it
  // notices when the library has lost its driver or a GPU.
  template <typename... Parameters, typename... Arguments>
  nvmlReturn_t Call(nvmlReturn_t (*function)(Parameters...), Arguments&&... arguments) const {
    if (function == nullptr) return NVML_ERROR_FUNCTION_NOT_FOUND;
    const nvmlReturn_t rc = function(std::forward<Arguments>(arguments)...);
    if (NeedsReopening(rc)) needs_reopening_ = true;
    return rc;
  }
  // The newer of the two calls that count GPUs, and that find one.
  nvmlReturn_t CountGpus(unsigned int* count) const;
  nvmlReturn_t FindGpu(unsigned int index, nvmlDevice_t* device) const;
  // True once any call was answered so; stays true.
  bool needs_reopening() const { return needs_reopening_; }

 private:
  NvmlLibrary() = default;

  void* handle_ = nullptr;
  bool initialised_ = false;
  mutable std::atomic<bool> needs_reopening_ = false;
};

}  // namespace tranche
