#include "edge/driver/nvml/library.h"

#include <dlfcn.h>

#include "edge/driver/nvml/errors.h"

namespace tranche {

Result<std::unique_ptr<NvmlLibrary>> NvmlLibrary::Open(const std::string& name) {
  std::unique_ptr<NvmlLibrary> library(new NvmlLibrary());
  library->handle_ = dlopen(name.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library->handle_ == nullptr) {
    const char* why = dlerror();
    return Fail(ErrorCode::kUnavailable,
                "no NVIDIA driver on this machine: " + std::string(why == nullptr ? name : why),
                "install the NVIDIA driver; to plan without hardware give the spec a 'fleet:'");
  }
#define TRANCHE_NVML_LOOK_UP(symbol) \
  library->symbol = reinterpret_cast<decltype(&::symbol)>(dlsym(library->handle_, #symbol));
  TRANCHE_NVML_SYMBOLS(TRANCHE_NVML_LOOK_UP)
#undef TRANCHE_NVML_LOOK_UP

  const bool can_list =
      (library->nvmlDeviceGetCount_v2 != nullptr || library->nvmlDeviceGetCount != nullptr) &&
      (library->nvmlDeviceGetHandleByIndex_v2 != nullptr ||
       library->nvmlDeviceGetHandleByIndex != nullptr) &&
      library->nvmlDeviceGetUUID != nullptr && library->nvmlShutdown != nullptr;
  const auto init = library->nvmlInit_v2 != nullptr ? library->nvmlInit_v2 : library->nvmlInit;
  if (!can_list || init == nullptr) {
    return Fail(ErrorCode::kUnavailable,
                name + " is no NVML that Tranche knows: it cannot list GPUs",
                "check which library the loader finds with 'ldconfig -p | grep nvidia-ml'");
  }
  const nvmlReturn_t rc = init();
  if (rc != NVML_SUCCESS)
    return tl::unexpected(NvmlError(rc, "starting the NVIDIA driver library"));
  library->initialised_ = true;
  return library;
}

NvmlLibrary::~NvmlLibrary() {
  if (initialised_) nvmlShutdown();
  if (handle_ != nullptr) dlclose(handle_);
}

nvmlReturn_t NvmlLibrary::CountGpus(unsigned int* count) const {
  return Call(nvmlDeviceGetCount_v2 != nullptr ? nvmlDeviceGetCount_v2 : nvmlDeviceGetCount, count);
}

nvmlReturn_t NvmlLibrary::FindGpu(unsigned int index, nvmlDevice_t* device) const {
  return Call(nvmlDeviceGetHandleByIndex_v2 != nullptr ? nvmlDeviceGetHandleByIndex_v2
                                                       : nvmlDeviceGetHandleByIndex,
              index, device);
}

}  // namespace tranche
