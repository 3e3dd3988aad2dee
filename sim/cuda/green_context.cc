#include <algorithm>
#include <map>

#include "sim/cuda/streams.h"

// Green contexts: contexts with a part of a device's SMs. They run like any other; only what they
// were given is remembered.
namespace tranche::sim::cuda {
namespace {

constexpr unsigned int kSmStep = 8;

struct Green {
  CUcontext context = nullptr;
  CUdevResource resource = {};
};

// Under the library's lock.
struct Greens {
  std::map<uint64_t, CUdevResource> descriptions;
  std::map<uint64_t, Green> contexts;
};
Greens& All() {
  static auto* greens = new Greens;
  return *greens;
}

CUresult ResourceOf(CUdevice device, CUdevResource* resource, CUdevResourceType type) {
  int sm_count = 0;
  if (resource == nullptr || type != CU_DEV_RESOURCE_TYPE_SM) return CUDA_ERROR_INVALID_VALUE;
  const CUresult read =
      cuDeviceGetAttribute(&sm_count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
  if (read != CUDA_SUCCESS) return read;
  *resource = {};
  resource->type = CU_DEV_RESOURCE_TYPE_SM;
  resource->sm.smCount = static_cast<unsigned int>(sm_count);
  resource->sm.minSmPartitionSize = kSmStep;
  resource->sm.smCoscheduledAlignment = kSmStep;
  return CUDA_SUCCESS;
}

}  // namespace

CUDA_EXPORT CUresult cuDeviceGetDevResource(CUdevice device, CUdevResource* resource,
                                            CUdevResourceType type) {
  return ResourceOf(device, resource, type);
}

CUDA_EXPORT CUresult cuDevSmResourceSplitByCount(CUdevResource* result, unsigned int* groups,
                                                 const CUdevResource* input,
                                                 CUdevResource* remaining, unsigned int,
                                                 unsigned int minimum) {
  if (groups == nullptr || input == nullptr || input->type != CU_DEV_RESOURCE_TYPE_SM)
    return CUDA_ERROR_INVALID_VALUE;
  const unsigned int size = std::max(kSmStep, (minimum + kSmStep - 1) / kSmStep * kSmStep);
  const unsigned int possible = input->sm.smCount / size;
  const unsigned int made = result == nullptr ? possible : std::min(possible, *groups);
  if (made == 0) return CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION;
  for (unsigned int i = 0; result != nullptr && i < made; ++i) {
    result[i] = *input;
    result[i].sm.smCount = size;
  }
  if (result != nullptr && remaining != nullptr) {
    *remaining = *input;
    remaining->sm.smCount = input->sm.smCount - made * size;
    if (remaining->sm.smCount == 0) remaining->type = CU_DEV_RESOURCE_TYPE_INVALID;
  }
  *groups = made;
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuDevResourceGenerateDesc(CUdevResourceDesc* description,
                                               CUdevResource* resources, unsigned int count) {
  return Call([&](Library& library) {
    if (description == nullptr || resources == nullptr || count == 0 ||
        resources[0].type != CU_DEV_RESOURCE_TYPE_SM) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    CUdevResource sum = resources[0];
    for (unsigned int i = 1; i < count; ++i) sum.sm.smCount += resources[i].sm.smCount;
    const uint64_t handle = library.NextHandle();
    All().descriptions[handle] = sum;
    *description = MakeHandle<CUdevResourceDesc>(handle);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuGreenCtxCreate(CUgreenCtx* green, CUdevResourceDesc description,
                                      CUdevice device, unsigned int flags) {
  return CallOnDevice(device, [&](Library& library, const Library::Device&) {
    const auto found = All().descriptions.find(Number(description));
    if (green == nullptr || found == All().descriptions.end() ||
        flags != CU_GREEN_CTX_DEFAULT_STREAM) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    Green made;
    made.resource = found->second;
    const CUresult created =
        library.CreateContext(device, 0, false, &made.context, made.resource.sm.smCount);
    if (created != CUDA_SUCCESS) return created;
    const uint64_t handle = library.NextHandle();
    All().contexts[handle] = made;
    *green = MakeHandle<CUgreenCtx>(handle);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGreenCtxDestroy(CUgreenCtx green) {
  return Call([&](Library& library) {
    const auto found = All().contexts.find(Number(green));
    if (found == All().contexts.end()) return CUDA_ERROR_INVALID_VALUE;
    const CUcontext context = found->second.context;
    All().contexts.erase(found);
    return library.DestroyContext(context);
  });
}
CUDA_EXPORT CUresult cuCtxFromGreenCtx(CUcontext* context, CUgreenCtx green) {
  return Call([&](Library&) {
    const auto found = All().contexts.find(Number(green));
    if (context == nullptr || found == All().contexts.end()) return CUDA_ERROR_INVALID_VALUE;
    *context = found->second.context;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGreenCtxGetDevResource(CUgreenCtx green, CUdevResource* resource,
                                              CUdevResourceType type) {
  return Call([&](Library&) {
    const auto found = All().contexts.find(Number(green));
    if (resource == nullptr || found == All().contexts.end() || type != CU_DEV_RESOURCE_TYPE_SM)
      return CUDA_ERROR_INVALID_VALUE;
    *resource = found->second.resource;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGreenCtxStreamCreate(CUstream* handle, CUgreenCtx green, unsigned int flags,
                                            int priority) {
  return Call([&](Library& library) {
    const auto found = All().contexts.find(Number(green));
    if (handle == nullptr || found == All().contexts.end() || flags != CU_STREAM_NON_BLOCKING)
      return CUDA_ERROR_INVALID_VALUE;
    Stream* stream = library.streams().Make();
    if (stream == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    stream->kind = Stream::Kind::kNonBlocking;
    Settle(stream, library.contexts().Find(found->second.context));
    stream->flags = flags;
    stream->priority = priority;
    stream->id = library.NextHandle();
    *handle = reinterpret_cast<CUstream>(stream);
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
