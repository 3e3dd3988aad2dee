#include <algorithm>

#include "sim/cuda/memory.h"
#include "sim/cuda/modules.h"

// Questions about pointers and occupancy, and advice that changes nothing here.
namespace tranche::sim::cuda {
namespace {

CUresult AttributeOf(Library& library, CUpointer_attribute attribute, CUdeviceptr pointer,
                     void* value) {
  const Range range = Locate(library, pointer, 1);
  const Library::Allocation* on_device = range.allocation;
  uint64_t base = pointer - range.offset, bytes = 0;
  if (on_device != nullptr) {
    bytes = on_device->bytes;
  } else {
    auto next = library.host_memory().upper_bound(pointer);
    if (next == library.host_memory().begin()) return CUDA_ERROR_INVALID_VALUE;
    --next;
    if (pointer - next->first >= next->second) return CUDA_ERROR_INVALID_VALUE;
    base = next->first;
    bytes = next->second;
  }
  const auto put = [value](auto answer) {
    *static_cast<decltype(answer)*>(value) = answer;
    return CUDA_SUCCESS;
  };
  switch (attribute) {
    case CU_POINTER_ATTRIBUTE_CONTEXT:
      return put(on_device == nullptr ? CUcontext{} : on_device->context);
    case CU_POINTER_ATTRIBUTE_MEMORY_TYPE:
      return put(static_cast<unsigned int>(on_device == nullptr ? CU_MEMORYTYPE_HOST
                                                                : CU_MEMORYTYPE_DEVICE));
    case CU_POINTER_ATTRIBUTE_DEVICE_POINTER:
      return put(pointer);
    case CU_POINTER_ATTRIBUTE_HOST_POINTER:
      if (on_device != nullptr) return CUDA_ERROR_INVALID_VALUE;
      return put(reinterpret_cast<void*>(pointer));
    case CU_POINTER_ATTRIBUTE_BUFFER_ID:
      return put(static_cast<unsigned long long>(base));
    case CU_POINTER_ATTRIBUTE_IS_MANAGED:
      return put(static_cast<unsigned int>(on_device != nullptr &&
                                           on_device->kind == Library::Kind::kManaged));
    case CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL:
      return put(on_device == nullptr ? 0 : on_device->device);
    case CU_POINTER_ATTRIBUTE_IS_LEGACY_CUDA_IPC_CAPABLE:
      return put(static_cast<unsigned int>(on_device != nullptr &&
                                           on_device->kind == Library::Kind::kLinear));
    case CU_POINTER_ATTRIBUTE_RANGE_START_ADDR:
      return put(static_cast<CUdeviceptr>(base));
    case CU_POINTER_ATTRIBUTE_RANGE_SIZE:
      return put(static_cast<size_t>(bytes));
    case CU_POINTER_ATTRIBUTE_MAPPED:
      return put(static_cast<unsigned int>(1));
    case CU_POINTER_ATTRIBUTE_MEMPOOL_HANDLE:
      return put(MakeHandle<CUmemoryPool>(on_device == nullptr ? 0 : on_device->pool));
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

CUresult BlocksPerSm(int* blocks, CUfunction function, int block_size) {
  if (Kernels().Find(function) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (blocks == nullptr || block_size <= 0) return CUDA_ERROR_INVALID_VALUE;
  *blocks = block_size > 1024 ? 0 : std::min(32, 2048 / block_size);
  return CUDA_SUCCESS;
}

CUresult BestBlockSize(int* grid, int* block, CUfunction function, int limit) {
  if (Kernels().Find(function) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (grid == nullptr || block == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUdevice device = 0;
  int sm_count = 0;
  CUresult asked = cuCtxGetDevice(&device);
  if (asked == CUDA_SUCCESS)
    asked = cuDeviceGetAttribute(&sm_count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
  if (asked != CUDA_SUCCESS) return asked;
  *block = limit > 0 ? std::min(limit, 1024) : 1024;
  *grid = sm_count * std::min(32, 2048 / *block);
  return CUDA_SUCCESS;
}

CUresult IsManaged(CUdeviceptr pointer, size_t bytes) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const Range range = Locate(library, pointer, bytes);
    return range.allocation != nullptr && range.allocation->kind == Library::Kind::kManaged
               ? CUDA_SUCCESS
               : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult InContext() {
  return CallInContext([](Library&, const Library::Context&) { return CUDA_SUCCESS; });
}

}  // namespace

CUDA_EXPORT CUresult cuPointerGetAttribute(void* value, CUpointer_attribute attribute,
                                           CUdeviceptr pointer) {
  return Call([&](Library& library) {
    if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    return AttributeOf(library, attribute, pointer, value);
  });
}

// An attribute that cannot be told is zero, as the driver has it for this call.
CUDA_EXPORT CUresult cuPointerGetAttributes(unsigned int count, CUpointer_attribute* attributes,
                                            void** values, CUdeviceptr pointer) {
  return Call([&](Library& library) {
    if (count == 0 || attributes == nullptr || values == nullptr) return CUDA_ERROR_INVALID_VALUE;
    for (unsigned int i = 0; i < count; ++i) {
      if (AttributeOf(library, attributes[i], pointer, values[i]) != CUDA_SUCCESS)
        *static_cast<unsigned int*>(values[i]) = 0;
    }
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessor(int* blocks, CUfunction function,
                                                                 int block_size, size_t) {
  return BlocksPerSm(blocks, function, block_size);
}
CUDA_EXPORT CUresult cuOccupancyMaxActiveBlocksPerMultiprocessorWithFlags(int* blocks,
                                                                          CUfunction function,
                                                                          int block_size, size_t,
                                                                          unsigned int) {
  return BlocksPerSm(blocks, function, block_size);
}
CUDA_EXPORT CUresult cuOccupancyMaxPotentialBlockSize(int* grid, int* block, CUfunction function,
                                                      CUoccupancyB2DSize, size_t, int limit) {
  return BestBlockSize(grid, block, function, limit);
}
CUDA_EXPORT CUresult cuOccupancyMaxPotentialBlockSizeWithFlags(int* grid, int* block,
                                                               CUfunction function,
                                                               CUoccupancyB2DSize, size_t,
                                                               int limit, unsigned int) {
  return BestBlockSize(grid, block, function, limit);
}

CUDA_EXPORT CUresult cuMemAdvise(CUdeviceptr pointer, size_t bytes, CUmem_advise, CUdevice) {
  return IsManaged(pointer, bytes);
}
CUDA_EXPORT CUresult cuMemAdvise_v2(CUdeviceptr pointer, size_t bytes, CUmem_advise,
                                    CUmemLocation) {
  return IsManaged(pointer, bytes);
}
CUDA_EXPORT CUresult cuMemPrefetchAsync(CUdeviceptr pointer, size_t bytes, CUdevice, CUstream) {
  return IsManaged(pointer, bytes);
}
CUDA_EXPORT CUresult cuMemPrefetchAsync_v2(CUdeviceptr pointer, size_t bytes, CUmemLocation,
                                           unsigned int, CUstream) {
  return IsManaged(pointer, bytes);
}

CUDA_EXPORT CUresult cuCtxSetCacheConfig(CUfunc_cache) { return InContext(); }
CUDA_EXPORT CUresult cuCtxGetCacheConfig(CUfunc_cache* config) {
  if (config == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *config = CU_FUNC_CACHE_PREFER_NONE;
  return InContext();
}
CUDA_EXPORT CUresult cuProfilerStart(void) { return InContext(); }
CUDA_EXPORT CUresult cuProfilerStop(void) { return InContext(); }

}  // namespace tranche::sim::cuda
