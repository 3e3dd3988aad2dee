#include <algorithm>
#include <set>

#include "sim/cuda/memory.h"
#include "sim/cuda/vmm.h"

// What reaches from one GPU to another: peer access, and multicast objects, which hold memory of
// several. Whole GPUs of one machine reach each other; a MIG device reaches nothing.
namespace tranche::sim::cuda {
namespace {

// Under the library's lock, as all here.
std::set<std::pair<uint64_t, uint64_t>>& Enabled() {
  static auto* enabled = new std::set<std::pair<uint64_t, uint64_t>>;
  return *enabled;
}

struct Multicast {
  CUmulticastObjectProp properties = {};
  std::set<int> devices;
  struct Bound {
    int device;
    uint64_t offset, bytes, memory;
  };
  std::vector<Bound> bound;
};
std::map<uint64_t, Multicast>& Multicasts() {
  static auto* multicasts = new std::map<uint64_t, Multicast>;
  return *multicasts;
}
Multicast* FindMulticast(uint64_t handle) {
  const auto found = Multicasts().find(handle);
  return found == Multicasts().end() ? nullptr : &found->second;
}

CUresult Bind(Library& library, uint64_t handle, uint64_t offset, uint64_t memory, uint64_t bytes) {
  Multicast* multicast = FindMulticast(handle);
  Physical* physical = FindPhysical(memory);
  const bool right = multicast != nullptr && physical != nullptr && offset % kGranule == 0 &&
                     bytes % kGranule == 0 && bytes > 0 && offset <= multicast->properties.size &&
                     bytes <= multicast->properties.size - offset && bytes <= physical->bytes;
  if (!right || library.FindDevice(physical->device) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  // Nothing is bound before all devices are there.
  if (multicast->devices.size() < multicast->properties.numDevices ||
      !multicast->devices.contains(physical->device))
    return CUDA_ERROR_ILLEGAL_STATE;
  for (const Multicast::Bound& other : multicast->bound) {
    if (other.device == physical->device && offset < other.offset + other.bytes &&
        other.offset < offset + bytes)
      return CUDA_ERROR_INVALID_VALUE;
  }
  ++physical->mappings;
  multicast->bound.push_back({physical->device, offset, bytes, memory});
  return CUDA_SUCCESS;
}

}  // namespace

bool Reaches(Library& library, int from, int to) {
  const Target a = library.devices()[static_cast<size_t>(from)].target;
  const Target b = library.devices()[static_cast<size_t>(to)].target;
  return a.gpu != b.gpu && a.ci == 0 && b.ci == 0;
}

CUDA_EXPORT CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  return CallOnDevice(device, [&](Library& library, const Library::Device&) {
    if (library.FindDevice(peer) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
    if (can == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *can = Reaches(library, device, peer);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuDeviceGetP2PAttribute(int* value, CUdevice_P2PAttribute attribute,
                                             CUdevice device, CUdevice peer) {
  return CallOnDevice(device, [&](Library& library, const Library::Device&) {
    if (library.FindDevice(peer) == nullptr || device == peer) return CUDA_ERROR_INVALID_DEVICE;
    if (value == nullptr || attribute < CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK ||
        attribute > CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED)
      return CUDA_ERROR_INVALID_VALUE;
    const bool yes = attribute != CU_DEVICE_P2P_ATTRIBUTE_PERFORMANCE_RANK &&
                     attribute != CU_DEVICE_P2P_ATTRIBUTE_ONLY_PARTIAL_NATIVE_ATOMIC_SUPPORTED;
    *value = yes && Reaches(library, device, peer);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuCtxEnablePeerAccess(CUcontext peer, unsigned int flags) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    const Library::Context* other = library.Find(peer);
    if (other == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
    if (!Reaches(library, context.device, other->device)) return CUDA_ERROR_PEER_ACCESS_UNSUPPORTED;
    return Enabled().insert({Number(ContextStack().back()), Number(peer)}).second
               ? CUDA_SUCCESS
               : CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED;
  });
}
CUDA_EXPORT CUresult cuCtxDisablePeerAccess(CUcontext peer) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (library.Find(peer) == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    return Enabled().erase({Number(ContextStack().back()), Number(peer)}) == 1
               ? CUDA_SUCCESS
               : CUDA_ERROR_PEER_ACCESS_NOT_ENABLED;
  });
}

CUDA_EXPORT CUresult cuMulticastGetGranularity(size_t* granularity,
                                               const CUmulticastObjectProp* properties,
                                               CUmulticastGranularity_flags) {
  if (granularity == nullptr || properties == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *granularity = kGranule;
  return CUDA_SUCCESS;
}
CUDA_EXPORT CUresult cuMulticastCreate(CUmemGenericAllocationHandle* handle,
                                       const CUmulticastObjectProp* properties) {
  return Call([&](Library& library) {
    if (handle == nullptr || properties == nullptr || properties->numDevices == 0 ||
        properties->numDevices > library.devices().size() || properties->flags != 0 ||
        properties->size == 0 || properties->size % kGranule != 0) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    // It is mapped as memory is, and takes none itself.
    Physical object;
    object.bytes = properties->size;
    object.handles = 1;
    *handle = AddPhysical(library, std::move(object));
    FindPhysical(*handle)->on_end = [number = *handle] {
      const std::vector<Multicast::Bound> bound = FindMulticast(number)->bound;
      Multicasts().erase(number);
      for (const Multicast::Bound& of : bound) {
        --FindPhysical(of.memory)->mappings;
        DropUnused(Library::Get(), of.memory);
      }
    };
    Multicasts()[*handle].properties = *properties;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMulticastAddDevice(CUmemGenericAllocationHandle handle, CUdevice device) {
  return CallOnDevice(device, [&](Library&, const Library::Device& on) {
    Multicast* multicast = FindMulticast(handle);
    if (multicast == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (on.target.ci != 0) return CUDA_ERROR_NOT_SUPPORTED;
    const bool room = multicast->devices.size() < multicast->properties.numDevices;
    return room && multicast->devices.insert(device).second ? CUDA_SUCCESS
                                                            : CUDA_ERROR_INVALID_VALUE;
  });
}
CUDA_EXPORT CUresult cuMulticastBindMem(CUmemGenericAllocationHandle handle, size_t offset,
                                        CUmemGenericAllocationHandle memory, size_t memory_offset,
                                        size_t bytes, unsigned long long flags) {
  return Call([&](Library& library) {
    if (flags != 0 || memory_offset != 0) return CUDA_ERROR_INVALID_VALUE;
    return Bind(library, handle, offset, memory, bytes);
  });
}
CUDA_EXPORT CUresult cuMulticastBindAddr(CUmemGenericAllocationHandle handle, size_t offset,
                                         CUdeviceptr address, size_t bytes,
                                         unsigned long long flags) {
  return Call([&](Library& library) {
    const uint64_t memory = PhysicalAt(address, bytes);
    if (flags != 0 || memory == 0) return CUDA_ERROR_INVALID_VALUE;
    return Bind(library, handle, offset, memory, bytes);
  });
}
CUDA_EXPORT CUresult cuMulticastUnbind(CUmemGenericAllocationHandle handle, CUdevice device,
                                       size_t offset, size_t bytes) {
  return CallOnDevice(device, [&](Library& library, const Library::Device&) {
    Multicast* multicast = FindMulticast(handle);
    if (multicast == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const auto found = std::find_if(
        multicast->bound.begin(), multicast->bound.end(), [&](const Multicast::Bound& bound) {
          return bound.device == device && bound.offset == offset && bound.bytes == bytes;
        });
    if (found == multicast->bound.end()) return CUDA_ERROR_INVALID_VALUE;
    const uint64_t memory = found->memory;
    multicast->bound.erase(found);
    --FindPhysical(memory)->mappings;
    DropUnused(library, memory);
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
