#include <algorithm>

#include "sim/cuda/streams.h"

namespace tranche::sim::cuda {
namespace {

void Forget(CUcontext context) {
  auto& stack = ContextStack();
  stack.erase(std::remove(stack.begin(), stack.end(), context), stack.end());
}

CUresult CreateAndPush(CUcontext* context, unsigned int flags, CUdevice number,
                       unsigned int api_version, uint32_t sms = 0) {
  return CallOnDevice(number, [&](Library& library, const Library::Device&) {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const CUresult created = library.CreateContext(number, flags, false, context, sms);
    if (created != CUDA_SUCCESS) return created;
    library.Find(*context)->api_version = api_version;
    ContextStack().push_back(*context);
    return CUDA_SUCCESS;
  });
}

// So many SMs, as a client of MPS; others have all.
CUresult CreateWithAffinity(CUcontext* context, const CUexecAffinityParam* affinity, int count,
                            unsigned int flags, CUdevice device) {
  uint32_t sms = 0;
  if (count != 0) {
    if (affinity == nullptr || count != 1) return CUDA_ERROR_INVALID_VALUE;
    const bool served =
        Call([](Library& library) {
          return library.mps_server() == 0 ? CUDA_ERROR_NOT_SUPPORTED : CUDA_SUCCESS;
        }) == CUDA_SUCCESS;
    if (!served || affinity->type != CU_EXEC_AFFINITY_TYPE_SM_COUNT)
      return CUDA_ERROR_UNSUPPORTED_EXEC_AFFINITY;
    sms = affinity->param.smCount.val;
    if (sms == 0) return CUDA_ERROR_INVALID_VALUE;
  }
  return CreateAndPush(context, flags, device, 3020, sms);
}

CUresult Destroy(CUcontext handle) {
  return Call([&](Library& library) {
    const Library::Context* context = library.Find(handle);
    // Primary contexts are released, not destroyed.
    if (context == nullptr || context->primary) return CUDA_ERROR_INVALID_CONTEXT;
    if (!ContextStack().empty() && ContextStack().back() == handle) ContextStack().pop_back();
    return library.DestroyContext(handle);
  });
}

CUresult Push(CUcontext handle) {
  return Call([&](Library& library) {
    if (library.Find(handle) == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    ContextStack().push_back(handle);
    return CUDA_SUCCESS;
  });
}

CUresult Pop(CUcontext* handle) {
  return Call([&](Library&) {
    if (ContextStack().empty()) return CUDA_ERROR_INVALID_CONTEXT;
    if (handle != nullptr) *handle = ContextStack().back();
    ContextStack().pop_back();
    return CUDA_SUCCESS;
  });
}

CUresult DropPrimary(Library& library, Library::Device* device) {
  const auto handle = MakeHandle<CUcontext>(device->primary);
  device->primary = 0;
  device->primary_users = 0;
  Forget(handle);
  return library.DestroyContext(handle);
}

CUresult Release(CUdevice number) {
  return CallOnDevice(number, [&](Library& library, Library::Device& device) {
    if (device.primary == 0) return CUDA_ERROR_INVALID_CONTEXT;
    return --device.primary_users > 0 ? CUDA_SUCCESS : DropPrimary(library, &device);
  });
}

CUresult Reset(CUdevice number) {
  return CallOnDevice(number, [&](Library& library, Library::Device& device) {
    return device.primary == 0 ? CUDA_SUCCESS : DropPrimary(library, &device);
  });
}

CUresult SetFlags(CUdevice number, unsigned int flags) {
  return CallOnDevice(number, [&](Library&, Library::Device& device) {
    device.primary_flags = flags;
    return CUDA_SUCCESS;
  });
}

// A context that is named, or with nullptr the current one.
template <typename Body>
CUresult WithContext(CUcontext handle, const Body& body) {
  if (handle == nullptr) {
    return CallInContext([&](Library&, const Library::Context& context) { return body(context); });
  }
  return Call([&](Library& library) {
    const Library::Context* context = library.Find(handle);
    return context == nullptr ? CUDA_ERROR_INVALID_CONTEXT : body(*context);
  });
}

template <typename T, typename V>
CUresult Put(T* out, V value) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = static_cast<T>(value);
  return CUDA_SUCCESS;
}

}  // namespace

CUDA_EXPORT CUresult cuDevicePrimaryCtxRetain(CUcontext* context, CUdevice number) {
  return CallOnDevice(number, [&](Library& library, Library::Device& device) {
    if (context == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (device.primary == 0) {
      CUcontext created = nullptr;
      const CUresult result = library.CreateContext(number, device.primary_flags, true, &created);
      if (result != CUDA_SUCCESS) return result;
      device.primary = Number(created);
    }
    ++device.primary_users;
    *context = MakeHandle<CUcontext>(device.primary);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuDevicePrimaryCtxRelease(CUdevice device) { return Release(device); }
CUDA_EXPORT CUresult cuDevicePrimaryCtxRelease_v2(CUdevice device) { return Release(device); }
CUDA_EXPORT CUresult cuDevicePrimaryCtxReset(CUdevice device) { return Reset(device); }
CUDA_EXPORT CUresult cuDevicePrimaryCtxReset_v2(CUdevice device) { return Reset(device); }
CUDA_EXPORT CUresult cuDevicePrimaryCtxSetFlags(CUdevice device, unsigned int flags) {
  return SetFlags(device, flags);
}
CUDA_EXPORT CUresult cuDevicePrimaryCtxSetFlags_v2(CUdevice device, unsigned int flags) {
  return SetFlags(device, flags);
}

CUDA_EXPORT CUresult cuDevicePrimaryCtxGetState(CUdevice number, unsigned int* flags, int* active) {
  return CallOnDevice(number, [&](Library&, const Library::Device& device) {
    if (flags == nullptr || active == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *flags = device.primary_flags;
    *active = device.primary != 0;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuCtxCreate(CUcontext* context, unsigned int flags, CUdevice device) {
  return CreateAndPush(context, flags, device, 3010);
}
CUDA_EXPORT CUresult cuCtxCreate_v2(CUcontext* context, unsigned int flags, CUdevice device) {
  return CreateAndPush(context, flags, device, 3020);
}
CUDA_EXPORT CUresult cuCtxCreate_v3(CUcontext* context, CUexecAffinityParam* affinity, int count,
                                    unsigned int flags, CUdevice device) {
  return CreateWithAffinity(context, affinity, count, flags, device);
}
CUDA_EXPORT CUresult cuCtxCreate_v4(CUcontext* context, CUctxCreateParams* parameters,
                                    unsigned int flags, CUdevice device) {
  if (parameters == nullptr) return CreateAndPush(context, flags, device, 3020);
  if (parameters->cigParams != nullptr) return CUDA_ERROR_NOT_SUPPORTED;
  return CreateWithAffinity(context, parameters->execAffinityParams,
                            parameters->numExecAffinityParams, flags, device);
}

CUDA_EXPORT CUresult cuCtxDestroy(CUcontext context) { return Destroy(context); }
CUDA_EXPORT CUresult cuCtxDestroy_v2(CUcontext context) { return Destroy(context); }
CUDA_EXPORT CUresult cuCtxPushCurrent(CUcontext context) { return Push(context); }
CUDA_EXPORT CUresult cuCtxPushCurrent_v2(CUcontext context) { return Push(context); }
CUDA_EXPORT CUresult cuCtxPopCurrent(CUcontext* context) { return Pop(context); }
CUDA_EXPORT CUresult cuCtxPopCurrent_v2(CUcontext* context) { return Pop(context); }

CUDA_EXPORT CUresult cuCtxSetCurrent(CUcontext context) {
  return Call([&](Library& library) {
    if (context != nullptr && library.Find(context) == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    if (!ContextStack().empty()) ContextStack().pop_back();
    if (context != nullptr) ContextStack().push_back(context);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuCtxGetCurrent(CUcontext* context) {
  return Call([&](Library&) {
    return Put(context, ContextStack().empty() ? nullptr : ContextStack().back());
  });
}

CUDA_EXPORT CUresult cuCtxGetDevice(CUdevice* device) {
  return WithContext(nullptr,
                     [&](const Library::Context& context) { return Put(device, context.device); });
}
CUDA_EXPORT CUresult cuCtxGetDevice_v2(CUdevice* device, CUcontext handle) {
  return WithContext(handle,
                     [&](const Library::Context& context) { return Put(device, context.device); });
}
CUDA_EXPORT CUresult cuCtxGetFlags(unsigned int* flags) {
  return WithContext(nullptr,
                     [&](const Library::Context& context) { return Put(flags, context.flags); });
}
CUDA_EXPORT CUresult cuCtxGetId(CUcontext handle, unsigned long long* id) {
  return WithContext(handle,
                     [&](const Library::Context& context) { return Put(id, context.serial); });
}
CUDA_EXPORT CUresult cuCtxGetApiVersion(CUcontext handle, unsigned int* version) {
  return WithContext(
      handle, [&](const Library::Context& context) { return Put(version, context.api_version); });
}

CUDA_EXPORT CUresult cuCtxGetStreamPriorityRange(int* least, int* greatest) {
  return WithContext(nullptr, [&](const Library::Context&) {
    if (least != nullptr) *least = 0;
    if (greatest != nullptr) *greatest = -5;
    return CUDA_SUCCESS;
  });
}

namespace {
CUresult Synchronise(CUcontext handle) {
  const auto check = [&] {
    return handle == nullptr
               ? CallInContext([](Library&, const Library::Context&) { return CUDA_SUCCESS; })
               : Call([&](Library& library) {
                   Library::Context* context = library.Find(handle);
                   return context == nullptr ? CUDA_ERROR_INVALID_CONTEXT
                                             : library.Health(*context);
                 });
  };
  const CUresult well = check();
  if (well != CUDA_SUCCESS) return well;
  WaitForContext(
      Library::Get().contexts().Find(handle == nullptr ? ContextStack().back() : handle));
  TrimPools();
  return check();
}
}  // namespace

CUDA_EXPORT CUresult cuCtxSynchronize(void) { return Synchronise(nullptr); }
CUDA_EXPORT CUresult cuCtxSynchronize_v2(CUcontext handle) { return Synchronise(handle); }

CUDA_EXPORT CUresult cuTrancheSimSetLoad(double sm, double memory) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    return ToCuda(library.machine().SetLoad(context.serial, sm, memory));
  });
}

}  // namespace tranche::sim::cuda
