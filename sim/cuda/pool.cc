#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>

#include "sim/cuda/capture.h"
#include "sim/cuda/memory.h"
#include "sim/cuda/streams.h"

// Stream-ordered allocation. A pool grows by whole granules, at least by kGrowth where the device
// has that much left, and keeps what is freed; at a synchronisation it lets go of what lies above
// its release threshold, as far as nothing lives there. What another process exported is charged
// there alone, and its contents are not shared.
namespace tranche::sim::cuda {
namespace {

constexpr uint64_t kGrowth = uint64_t{32} << 20;

struct Pool {
  int device = 0;
  uint64_t limit = 0;  // 0 = none
  uint64_t threshold = 0;
  uint64_t used = 0, used_high = 0, reserved_high = 0;
  int reuse[3] = {1, 1, 1};
  unsigned int handle_types = 0;
  // Of another process, which made it under that handle: no memory of its own.
  int64_t exporter = 0;
  uint64_t exported_as = 0;
  bool destroyed = false;  // goes with the last of its memory
  Heap heap;
};

// What an exported descriptor says of a pool, and 64 bytes of memory of it.
struct ExportedPool {
  char magic[16] = "tranche-pool";
  int64_t pid = 0;
  uint64_t handle = 0;
  uint64_t gpu = 0, ci = 0;
};
struct ExportedPointer {
  uint64_t magic = 0x72746e696f702d70;
  int64_t pid = 0;
  uint64_t pool = 0, bytes = 0;
};
static_assert(sizeof(ExportedPointer) <= sizeof(CUmemPoolPtrExportData));

// Under the library's lock, as all here.
struct Pools {
  std::map<uint64_t, Pool> pools;
  std::map<int, uint64_t> default_pool;  // of a device
  std::map<int, uint64_t> current_pool;
};
Pools& All() {
  static auto* pools = new Pools;
  return *pools;
}

Pool* Find(uint64_t handle) {
  const auto found = All().pools.find(handle);
  return found == All().pools.end() ? nullptr : &found->second;
}

uint64_t DefaultPool(Library& library, int device) {
  uint64_t& handle = All().default_pool[device];
  if (handle == 0) {
    handle = library.NextHandle();
    All().pools[handle].device = device;
  }
  return handle;
}

uint64_t CurrentPool(Library& library, int device) {
  const auto found = All().current_pool.find(device);
  return found == All().current_pool.end() ? DefaultPool(library, device) : found->second;
}

void Trim(Library& library, Pool* pool, uint64_t keep) {
  uint64_t serial = 0;
  if (pool->heap.held() == 0 || library.Holder(pool->device, &serial) != CUDA_SUCCESS) return;
  pool->heap.Trim(keep, [&](uint64_t, uint64_t bytes) { library.Discharge(serial, bytes); });
}

CUresult Grow(Library& library, Pool* pool, uint64_t bytes) {
  uint64_t serial = 0;
  const CUresult held = library.Holder(pool->device, &serial);
  if (held != CUDA_SUCCESS) return held;
  CUresult charged = CUDA_ERROR_OUT_OF_MEMORY;
  for (const uint64_t size :
       {std::max(RoundUp(bytes, kGranule), kGrowth), RoundUp(bytes, kGranule)}) {
    if (pool->limit != 0 && pool->heap.held() + size > pool->limit) continue;
    charged = library.Charge(serial, size);
    if (charged != CUDA_SUCCESS) continue;
    pool->heap.Add(library.NextAddress(size), size);
    pool->reserved_high = std::max(pool->reserved_high, pool->heap.held());
    return CUDA_SUCCESS;
  }
  return charged;
}

CUresult Allocate(Library& library, uint64_t handle, uint64_t bytes, CUdeviceptr* pointer) {
  Pool* pool = Find(handle);
  if (pool == nullptr || pool->destroyed || pool->exporter != 0 || pointer == nullptr || bytes == 0)
    return CUDA_ERROR_INVALID_VALUE;
  if (bytes > kMaxBytes) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t take = RoundUp(bytes, kSmallStep);
  auto place = pool->heap.Take(take);
  if (!place) {
    CUresult grown = Grow(library, pool, take);
    if (grown == CUDA_ERROR_OUT_OF_MEMORY) {
      // What is cached and unused is of more use now.
      for (auto& [other, of] : All().pools) Trim(library, &of, 0);
      grown = Grow(library, pool, take);
    }
    if (grown != CUDA_SUCCESS) return grown;
    place = pool->heap.Take(take);
  }
  *pointer = *place;
  Library::Allocation& allocation = library.allocations()[*pointer];
  allocation.kind = Library::Kind::kPool;
  allocation.bytes = bytes;
  allocation.charged = take;
  allocation.device = pool->device;
  allocation.pool = handle;
  pool->used += take;
  pool->used_high = std::max(pool->used_high, pool->used);
  return CUDA_SUCCESS;
}

CUresult AllocateOn(CUdeviceptr* pointer, size_t bytes, uint64_t pool, CUstream stream_handle) {
  Stream* stream = FindStream(stream_handle);
  if (stream == nullptr)
    return ContextStack().empty() ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture.load() != nullptr) return AllocateCaptured(stream, bytes, pointer);
  return CallInContext([&](Library& library, const Library::Context& context) {
    return Allocate(library, pool == 0 ? CurrentPool(library, context.device) : pool, bytes,
                    pointer);
  });
}

template <typename Body>
CUresult WithPool(CUmemoryPool handle, const Body& body) {
  return Call([&](Library& library) {
    Pool* pool = Find(Number(handle));
    return pool == nullptr || pool->destroyed ? CUDA_ERROR_INVALID_VALUE : body(library, *pool);
  });
}

CUresult PoolOfLocation(CUmemoryPool* pool, const CUmemLocation* location, bool current) {
  if (pool == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (location->type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
  return CallOnDevice(location->id, [&](Library& library, const Library::Device&) {
    *pool = MakeHandle<CUmemoryPool>(current ? CurrentPool(library, location->id)
                                             : DefaultPool(library, location->id));
    return CUDA_SUCCESS;
  });
}

}  // namespace

CUresult FreeToPool(Library& library, CUdeviceptr pointer) {
  const auto found = library.allocations().find(pointer);
  const uint64_t handle = found->second.pool;
  Pool* pool = Find(handle);
  if (pool != nullptr && pool->exporter == 0) {
    pool->heap.Give(pointer, found->second.charged);
    pool->used -= found->second.charged;
    if (pool->destroyed) {
      Trim(library, pool, 0);
      if (pool->used == 0) All().pools.erase(handle);
    }
  }
  library.allocations().erase(found);
  return CUDA_SUCCESS;
}

void TrimPools() {
  Call([](Library& library) {
    for (auto& [handle, pool] : All().pools) {
      if (pool.heap.held() > pool.threshold) Trim(library, &pool, pool.threshold);
    }
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemAllocAsync(CUdeviceptr* pointer, size_t bytes, CUstream stream) {
  return AllocateOn(pointer, bytes, 0, stream);
}
CUDA_EXPORT CUresult cuMemAllocFromPoolAsync(CUdeviceptr* pointer, size_t bytes, CUmemoryPool pool,
                                             CUstream stream) {
  return pool == nullptr ? CUDA_ERROR_INVALID_VALUE
                         : AllocateOn(pointer, bytes, Number(pool), stream);
}
CUDA_EXPORT CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream stream_handle) {
  Stream* stream = FindStream(stream_handle);
  if (stream == nullptr)
    return ContextStack().empty() ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture.load() != nullptr) return FreeCaptured(stream, pointer);
  return CallInContext(
      [&](Library& library, const Library::Context&) { return FreeAllocation(library, pointer); });
}

CUDA_EXPORT CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* pool, CUdevice device) {
  const CUmemLocation location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  return PoolOfLocation(pool, &location, false);
}
CUDA_EXPORT CUresult cuDeviceGetMemPool(CUmemoryPool* pool, CUdevice device) {
  const CUmemLocation location = {CU_MEM_LOCATION_TYPE_DEVICE, device};
  return PoolOfLocation(pool, &location, true);
}
CUDA_EXPORT CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool handle) {
  return WithPool(handle, [&](Library& library, const Pool& pool) {
    if (library.FindDevice(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
    if (pool.device != device || pool.exporter != 0) return CUDA_ERROR_INVALID_VALUE;
    All().current_pool[device] = Number(handle);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemGetDefaultMemPool(CUmemoryPool* pool, CUmemLocation* location,
                                            CUmemAllocationType) {
  return PoolOfLocation(pool, location, false);
}
CUDA_EXPORT CUresult cuMemGetMemPool(CUmemoryPool* pool, CUmemLocation* location,
                                     CUmemAllocationType) {
  return PoolOfLocation(pool, location, true);
}
CUDA_EXPORT CUresult cuMemPoolCreate(CUmemoryPool* handle, const CUmemPoolProps* properties) {
  if (handle == nullptr || properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (properties->allocType != CU_MEM_ALLOCATION_TYPE_PINNED) return CUDA_ERROR_INVALID_VALUE;
  if (properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_NOT_SUPPORTED;
  return CallOnDevice(properties->location.id, [&](Library& library, const Library::Device&) {
    const uint64_t number = library.NextHandle();
    Pool& pool = All().pools[number];
    pool.device = properties->location.id;
    pool.limit = properties->maxSize == 0 ? 0 : RoundUp(properties->maxSize, kGranule);
    pool.handle_types = static_cast<unsigned int>(properties->handleTypes);
    *handle = MakeHandle<CUmemoryPool>(number);
    return CUDA_SUCCESS;
  });
}
// What is still allocated in it lives on, and takes what it takes, until it is freed.
CUDA_EXPORT CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  return WithPool(handle, [&](Library& library, Pool& pool) {
    for (const auto& [device, number] : All().default_pool) {
      if (number == Number(handle)) return CUDA_ERROR_INVALID_VALUE;
    }
    std::erase_if(All().current_pool,
                  [&](const auto& entry) { return entry.second == Number(handle); });
    pool.destroyed = true;
    pool.threshold = 0;
    Trim(library, &pool, 0);
    if (pool.used == 0) All().pools.erase(Number(handle));
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemPoolExportToShareableHandle(void* out, CUmemoryPool handle,
                                                      CUmemAllocationHandleType type,
                                                      unsigned long long flags) {
  return WithPool(handle, [&](Library& library, const Pool& pool) {
    if (out == nullptr || flags != 0 || pool.exporter != 0) return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_NOT_SUPPORTED;
    if ((pool.handle_types & type) == 0) return CUDA_ERROR_INVALID_VALUE;
    const int descriptor = memfd_create("tranche-pool", MFD_CLOEXEC);
    const Target target = library.devices()[static_cast<size_t>(pool.device)].target;
    ExportedPool exported;
    exported.pid = getpid();
    exported.handle = Number(handle);
    exported.gpu = target.gpu;
    exported.ci = target.ci;
    if (descriptor < 0 || write(descriptor, &exported, sizeof(exported)) != sizeof(exported)) {
      if (descriptor >= 0) close(descriptor);
      return CUDA_ERROR_OPERATING_SYSTEM;
    }
    *static_cast<int*>(out) = descriptor;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemPoolImportFromShareableHandle(CUmemoryPool* handle, void* os_handle,
                                                        CUmemAllocationHandleType type,
                                                        unsigned long long flags) {
  return Call([&](Library& library) {
    if (handle == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_NOT_SUPPORTED;
    // The descriptor itself takes the place of a pointer.
    const int descriptor = static_cast<int>(reinterpret_cast<intptr_t>(os_handle));
    ExportedPool exported;
    const ExportedPool expected;
    if (pread(descriptor, &exported, sizeof(exported), 0) != sizeof(exported) ||
        std::memcmp(exported.magic, expected.magic, sizeof(expected.magic)) != 0) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const auto& devices = library.devices();
    const auto device = std::find_if(devices.begin(), devices.end(), [&](const auto& d) {
      return d.target.gpu == exported.gpu && d.target.ci == exported.ci;
    });
    if (device == devices.end()) return CUDA_ERROR_INVALID_DEVICE;
    const uint64_t number = library.NextHandle();
    Pool& pool = All().pools[number];
    pool.device = static_cast<int>(device - devices.begin());
    pool.exporter = exported.pid;
    pool.exported_as = exported.handle;
    *handle = MakeHandle<CUmemoryPool>(number);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemPoolExportPointer(CUmemPoolPtrExportData* out, CUdeviceptr pointer) {
  return Call([&](Library& library) {
    const auto found = library.allocations().find(pointer);
    if (out == nullptr || found == library.allocations().end() ||
        found->second.kind != Library::Kind::kPool) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const Pool* pool = Find(found->second.pool);
    if (pool == nullptr || pool->handle_types == 0) return CUDA_ERROR_INVALID_VALUE;
    ExportedPointer exported;
    exported.pid = getpid();
    exported.pool = found->second.pool;
    exported.bytes = found->second.bytes;
    *out = {};
    std::memcpy(static_cast<void*>(out), &exported, sizeof(exported));
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemPoolImportPointer(CUdeviceptr* pointer, CUmemoryPool handle,
                                            CUmemPoolPtrExportData* data) {
  return WithPool(handle, [&](Library& library, const Pool& pool) {
    if (pointer == nullptr || data == nullptr || pool.exporter == 0)
      return CUDA_ERROR_INVALID_VALUE;
    ExportedPointer exported;
    const ExportedPointer expected;
    std::memcpy(static_cast<void*>(&exported), data, sizeof(exported));
    if (exported.magic != expected.magic || exported.pid != pool.exporter ||
        exported.pool != pool.exported_as || exported.bytes == 0 || exported.bytes > kMaxBytes) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    *pointer = library.NextAddress(exported.bytes);
    Library::Allocation& allocation = library.allocations()[*pointer];
    allocation.kind = Library::Kind::kPool;
    allocation.bytes = exported.bytes;
    allocation.device = pool.device;
    allocation.pool = Number(handle);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
  return WithPool(handle, [&](Library& library, Pool& pool) {
    Trim(library, &pool, keep);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc*, size_t) {
  return WithPool(handle, [](Library&, const Pool&) { return CUDA_SUCCESS; });
}
CUDA_EXPORT CUresult cuMemPoolGetAccess(CUmemAccess_flags* flags, CUmemoryPool handle,
                                        CUmemLocation* location) {
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return WithPool(handle, [&](Library&, const Pool& pool) {
    *flags = location->id == pool.device ? CU_MEM_ACCESS_FLAGS_PROT_READWRITE
                                         : CU_MEM_ACCESS_FLAGS_PROT_NONE;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemPoolGetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute,
                                           void* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return WithPool(handle, [&](Library&, const Pool& pool) {
    auto* bytes = static_cast<cuuint64_t*>(value);
    switch (attribute) {
      case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        *static_cast<int*>(value) = pool.reuse[attribute - 1];
        return CUDA_SUCCESS;
      case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        *bytes = pool.threshold;
        return CUDA_SUCCESS;
      case CU_MEMPOOL_ATTR_RESERVED_MEM_CURRENT:
        *bytes = pool.heap.held();
        return CUDA_SUCCESS;
      case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
        *bytes = pool.reserved_high;
        return CUDA_SUCCESS;
      case CU_MEMPOOL_ATTR_USED_MEM_CURRENT:
        *bytes = pool.used;
        return CUDA_SUCCESS;
      case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        *bytes = pool.used_high;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
  });
}

CUDA_EXPORT CUresult cuMemPoolSetAttribute(CUmemoryPool handle, CUmemPool_attribute attribute,
                                           void* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return WithPool(handle, [&](Library&, Pool& pool) {
    const auto bytes = [&] { return *static_cast<cuuint64_t*>(value); };
    switch (attribute) {
      case CU_MEMPOOL_ATTR_REUSE_FOLLOW_EVENT_DEPENDENCIES:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_OPPORTUNISTIC:
      case CU_MEMPOOL_ATTR_REUSE_ALLOW_INTERNAL_DEPENDENCIES:
        pool.reuse[attribute - 1] = *static_cast<int*>(value);
        return CUDA_SUCCESS;
      case CU_MEMPOOL_ATTR_RELEASE_THRESHOLD:
        pool.threshold = bytes();
        return CUDA_SUCCESS;
      // The high marks can only be set back.
      case CU_MEMPOOL_ATTR_RESERVED_MEM_HIGH:
        if (bytes() != 0) return CUDA_ERROR_INVALID_VALUE;
        pool.reserved_high = pool.heap.held();
        return CUDA_SUCCESS;
      case CU_MEMPOOL_ATTR_USED_MEM_HIGH:
        if (bytes() != 0) return CUDA_ERROR_INVALID_VALUE;
        pool.used_high = pool.used;
        return CUDA_SUCCESS;
      default:
        return CUDA_ERROR_INVALID_VALUE;
    }
  });
}

}  // namespace tranche::sim::cuda
