#include "sim/cuda/vmm.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cstring>
#include <optional>

#include "sim/cuda/memory.h"

// Virtual memory management: physical memory (handles), addresses (reservations), and mappings
// between them. Memory is charged with its handle and goes with the last of handles and mappings.
// What another process exported is charged there alone, and its contents are not shared.
namespace tranche::sim::cuda {
namespace {

struct Mapping {
  uint64_t bytes = 0;
  uint64_t physical = 0;
};

// Under the library's lock, as all here.
struct Vmm {
  std::map<uint64_t, Physical> physical;
  std::map<uint64_t, uint64_t> reserved;  // address -> bytes
  std::map<uint64_t, Mapping> mappings;
};
Vmm& All() {
  static auto* vmm = new Vmm;
  return *vmm;
}

// What an exported descriptor says.
struct Exported {
  char magic[16] = "tranche-memory";
  int64_t pid = 0;
  uint64_t handle = 0;
  uint64_t bytes = 0;
  CUmemAllocationProp properties = {};
  uint64_t gpu = 0, ci = 0;  // where it lies, whatever its number is to who made it
};

Physical* Find(uint64_t handle) { return FindPhysical(handle); }

bool OnHost(const CUmemAllocationProp& properties) {
  return properties.location.type == CU_MEM_LOCATION_TYPE_HOST ||
         properties.location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA ||
         properties.location.type == CU_MEM_LOCATION_TYPE_HOST_NUMA_CURRENT;
}

// The reservation that holds all of a range.
bool IsReserved(CUdeviceptr address, uint64_t bytes) {
  auto next = All().reserved.upper_bound(address);
  if (next == All().reserved.begin()) return false;
  const auto& [base, size] = *std::prev(next);
  return address - base <= size && bytes <= size - (address - base);
}

// The number of that device in this process, if it sees it.
std::optional<int> FindTarget(Library& library, uint64_t gpu, uint64_t ci) {
  for (size_t i = 0; i < library.devices().size(); ++i) {
    const Target target = library.devices()[i].target;
    if (target.gpu == gpu && target.ci == ci) return static_cast<int>(i);
  }
  return {};
}

}  // namespace

Physical* FindPhysical(uint64_t handle) {
  const auto found = All().physical.find(handle);
  return found == All().physical.end() ? nullptr : &found->second;
}

uint64_t AddPhysical(Library& library, Physical physical) {
  const uint64_t handle = library.NextHandle();
  All().physical.emplace(handle, std::move(physical));
  return handle;
}

uint64_t PhysicalAt(CUdeviceptr address, uint64_t bytes) {
  auto next = All().mappings.upper_bound(address);
  if (next == All().mappings.begin()) return 0;
  const auto& [base, mapping] = *std::prev(next);
  return address - base <= mapping.bytes && bytes <= mapping.bytes - (address - base)
             ? mapping.physical
             : 0;
}

void DropUnused(Library& library, uint64_t handle) {
  const auto found = All().physical.find(handle);
  if (found->second.handles > 0 || found->second.mappings > 0) return;
  if (found->second.serial != 0) library.Discharge(found->second.serial, found->second.bytes);
  if (found->second.on_end) found->second.on_end();
  All().physical.erase(handle);
}

CUDA_EXPORT CUresult cuMemGetAllocationGranularity(size_t* granularity,
                                                   const CUmemAllocationProp* properties,
                                                   CUmemAllocationGranularity_flags) {
  if (granularity == nullptr || properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *granularity = kGranule;
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle* handle, size_t bytes,
                                 const CUmemAllocationProp* properties, unsigned long long flags) {
  return Call([&](Library& library) {
    if (handle == nullptr || properties == nullptr || flags != 0 || bytes == 0 ||
        bytes % kGranule != 0 || properties->type != CU_MEM_ALLOCATION_TYPE_PINNED) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    Physical physical;
    physical.bytes = bytes;
    physical.handles = 1;
    physical.properties = *properties;
    if (!OnHost(*properties)) {
      if (properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE) return CUDA_ERROR_INVALID_VALUE;
      physical.device = properties->location.id;
      if (library.FindDevice(physical.device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
      CUresult charged = library.Holder(physical.device, &physical.serial);
      if (charged == CUDA_SUCCESS) charged = library.Charge(physical.serial, bytes);
      if (charged != CUDA_SUCCESS) return charged;
    }
    *handle = library.NextHandle();
    All().physical.emplace(*handle, std::move(physical));
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  return Call([&](Library& library) {
    Physical* physical = Find(handle);
    if (physical == nullptr || physical->handles == 0) return CUDA_ERROR_INVALID_VALUE;
    --physical->handles;
    DropUnused(library, handle);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* handle,
                                                 void* address) {
  return Call([&](Library&) {
    if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const uint64_t at = reinterpret_cast<uint64_t>(address);
    auto next = All().mappings.upper_bound(at);
    if (next == All().mappings.begin()) return CUDA_ERROR_INVALID_VALUE;
    const auto& [base, mapping] = *std::prev(next);
    if (at - base >= mapping.bytes) return CUDA_ERROR_INVALID_VALUE;
    ++Find(mapping.physical)->handles;
    *handle = mapping.physical;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* properties,
                                                            CUmemGenericAllocationHandle handle) {
  return Call([&](Library&) {
    const Physical* physical = Find(handle);
    if (physical == nullptr || properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *properties = physical->properties;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemAddressReserve(CUdeviceptr* pointer, size_t bytes, size_t, CUdeviceptr,
                                         unsigned long long flags) {
  return Call([&](Library& library) {
    if (pointer == nullptr || bytes == 0 || bytes % kGranule != 0 || flags != 0)
      return CUDA_ERROR_INVALID_VALUE;
    if (bytes > kMaxBytes) return CUDA_ERROR_OUT_OF_MEMORY;
    *pointer = library.NextAddress(bytes);
    All().reserved[*pointer] = bytes;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemAddressFree(CUdeviceptr pointer, size_t bytes) {
  return Call([&](Library&) {
    const auto found = All().reserved.find(pointer);
    if (found == All().reserved.end() || found->second != bytes) return CUDA_ERROR_INVALID_VALUE;
    const auto mapping = All().mappings.lower_bound(pointer);
    if (mapping != All().mappings.end() && mapping->first < pointer + bytes)
      return CUDA_ERROR_INVALID_VALUE;
    All().reserved.erase(found);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemMap(CUdeviceptr pointer, size_t bytes, size_t offset,
                              CUmemGenericAllocationHandle handle, unsigned long long flags) {
  return Call([&](Library& library) {
    Physical* physical = Find(handle);
    // Mappings of a part are not among what drivers allow.
    if (physical == nullptr || flags != 0 || offset != 0 || bytes != physical->bytes ||
        !IsReserved(pointer, bytes)) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const auto next = All().mappings.lower_bound(pointer);
    const bool behind = next != All().mappings.end() && next->first < pointer + bytes;
    const bool before = next != All().mappings.begin() &&
                        std::prev(next)->first + std::prev(next)->second.bytes > pointer;
    if (behind || before) return CUDA_ERROR_INVALID_VALUE;
    All().mappings[pointer] = {bytes, handle};
    ++physical->mappings;
    Library::Allocation& allocation = library.allocations()[pointer];
    allocation.kind = Library::Kind::kMapping;
    allocation.bytes = bytes;
    allocation.device = physical->device;
    allocation.contents = physical->contents;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemUnmap(CUdeviceptr pointer, size_t bytes) {
  return Call([&](Library& library) {
    // Whole mappings, as many as lie in the range.
    auto first = All().mappings.find(pointer);
    uint64_t at = pointer;
    for (auto m = first; m != All().mappings.end() && at < pointer + bytes; ++m) {
      if (m->first != at) return CUDA_ERROR_INVALID_VALUE;
      at += m->second.bytes;
    }
    if (first == All().mappings.end() || at != pointer + bytes) return CUDA_ERROR_INVALID_VALUE;
    while (first != All().mappings.end() && first->first < pointer + bytes) {
      const uint64_t handle = first->second.physical;
      library.allocations().erase(first->first);
      first = All().mappings.erase(first);
      --Find(handle)->mappings;
      DropUnused(library, handle);
    }
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemSetAccess(CUdeviceptr pointer, size_t bytes,
                                    const CUmemAccessDesc* access, size_t count) {
  return Call([&](Library&) {
    if (access == nullptr || count == 0 || !All().mappings.contains(pointer) ||
        !IsReserved(pointer, bytes)) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location,
                                    CUdeviceptr pointer) {
  return Call([&](Library& library) {
    if (flags == nullptr || location == nullptr ||
        Locate(library, pointer, 1).allocation == nullptr) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    *flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemExportToShareableHandle(void* out, CUmemGenericAllocationHandle handle,
                                                  CUmemAllocationHandleType type,
                                                  unsigned long long flags) {
  return Call([&](Library& library) {
    const Physical* physical = Find(handle);
    if (physical == nullptr || out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_NOT_SUPPORTED;
    if ((physical->properties.requestedHandleTypes & type) == 0) return CUDA_ERROR_INVALID_VALUE;
    const int descriptor = memfd_create("tranche-memory", MFD_CLOEXEC);
    Exported exported;
    exported.pid = getpid();
    exported.handle = handle;
    exported.bytes = physical->bytes;
    exported.properties = physical->properties;
    if (!OnHost(physical->properties)) {
      const Target target = library.devices()[static_cast<size_t>(physical->device)].target;
      exported.gpu = target.gpu;
      exported.ci = target.ci;
    }
    if (descriptor < 0 || write(descriptor, &exported, sizeof(exported)) != sizeof(exported)) {
      if (descriptor >= 0) close(descriptor);
      return CUDA_ERROR_OPERATING_SYSTEM;
    }
    *static_cast<int*>(out) = descriptor;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* handle,
                                                    void* os_handle,
                                                    CUmemAllocationHandleType type) {
  return Call([&](Library& library) {
    if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (type != CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR) return CUDA_ERROR_NOT_SUPPORTED;
    // The descriptor itself takes the place of a pointer.
    const int descriptor = static_cast<int>(reinterpret_cast<intptr_t>(os_handle));
    Exported exported;
    const Exported expected;
    if (pread(descriptor, &exported, sizeof(exported), 0) != sizeof(exported) ||
        std::memcmp(exported.magic, expected.magic, sizeof(expected.magic)) != 0) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    Physical* own = exported.pid == getpid() ? Find(exported.handle) : nullptr;
    if (own != nullptr) {
      ++own->handles;
      *handle = exported.handle;
      return CUDA_SUCCESS;
    }
    Physical physical;
    physical.bytes = exported.bytes;
    physical.handles = 1;
    physical.properties = exported.properties;
    if (!OnHost(exported.properties)) {
      const auto device = FindTarget(library, exported.gpu, exported.ci);
      if (!device) return CUDA_ERROR_INVALID_DEVICE;
      physical.device = *device;
      physical.properties.location.id = *device;
    }
    *handle = library.NextHandle();
    All().physical.emplace(*handle, std::move(physical));
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
