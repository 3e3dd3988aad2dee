#include <algorithm>
#include <cstdio>
#include <cstring>
#include <string>
#include <string_view>

#include "sim/cuda/library.h"
#include "sim/machine/mig.h"

namespace tranche::sim::cuda {
namespace {

// A device as one call sees it.
struct View {
  const MachineState& state;
  const GpuSpec& spec;
  const Gpu& gpu;
  const Library::Device& device;
  // Of a MIG device; nullptr for a whole GPU.
  const ComputeInstance* ci = nullptr;
  const GpuInstance* gi = nullptr;
  const GiProfileSpec* profile = nullptr;
};

template <typename Body>
CUresult Look(CUdevice number, const Body& body) {
  return CallOnDevice(number, [&](Library& library, const Library::Device& device) {
    CUresult answer = CUDA_ERROR_UNKNOWN;
    const Rc rc = library.machine().Read([&](const MachineState& state) {
      View view{state, library.machine().spec().gpus[device.target.gpu],
                state.gpus[device.target.gpu], device};
      if (device.target.ci != 0) {
        view.ci = FindCi(view.gpu, device.target.ci);
        view.gi = view.ci == nullptr ? nullptr : FindGi(view.gpu, view.ci->gi);
        view.profile = view.gi == nullptr ? nullptr : FindGiProfile(view.spec, view.gi->profile_id);
        if (view.profile == nullptr) return Rc::kNotFound;  // destroyed since cuInit
      }
      answer = body(view);
      return Rc::kOk;
    });
    return rc == Rc::kOk ? answer : ToCuda(rc);
  });
}

CUresult CopyText(const std::string& text, char* to, int length) {
  if (to == nullptr || length <= 0) return CUDA_ERROR_INVALID_VALUE;
  std::snprintf(to, static_cast<size_t>(length), "%s", text.c_str());
  return CUDA_SUCCESS;
}

// The 16 bytes of "GPU-01234567-89ab-..." or "MIG-...".
CUuuid BytesOf(std::string_view text) {
  CUuuid uuid = {};
  size_t digits = 0;
  for (const char c : text.substr(std::min<size_t>(4, text.size()))) {
    const int value = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
    if (value < 0 || digits >= 32) continue;
    uuid.bytes[digits / 2] = static_cast<char>(uuid.bytes[digits / 2] * 16 + value);
    ++digits;
  }
  return uuid;
}

// Data pins of the memory. With the clock they only have to come to the bandwidth that the catalog
// knows.
int BusWidthOf(const GpuSpec& gpu) {
  struct Width {
    std::string_view key;
    int bits;
  };
  constexpr Width kWidths[] = {{"A100", 5120}, {"H100", 5120},        {"H200", 6144}, {"A30", 3072},
                               {"B200", 8192}, {"RTX-PRO-6000", 512}, {"T4", 256}};
  for (const Width& width : kWidths) {
    if (std::string_view(gpu.key).starts_with(width.key)) return width.bits;
  }
  return 384;
}

int AttributeOf(const View& view, CUdevice_attribute attribute, bool* known) {
  const GpuSpec& gpu = view.spec;
  const bool ampere_or_newer = gpu.cc_major >= 8;
  switch (attribute) {
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_X:
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Y:
      return 1024;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCK_DIM_Z:
      return 64;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_X:
      return 0x7fffffff;
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Y:
    case CU_DEVICE_ATTRIBUTE_MAX_GRID_DIM_Z:
      return 65535;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_BLOCK:
      return 48 << 10;
    case CU_DEVICE_ATTRIBUTE_MAX_SHARED_MEMORY_PER_MULTIPROCESSOR:
      return (gpu.cc_major >= 9 && gpu.cc_major <= 10 ? 228 : ampere_or_newer ? 164 : 64) << 10;
    case CU_DEVICE_ATTRIBUTE_TOTAL_CONSTANT_MEMORY:
      return 64 << 10;
    case CU_DEVICE_ATTRIBUTE_WARP_SIZE:
      return 32;
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_BLOCK:
    case CU_DEVICE_ATTRIBUTE_MAX_REGISTERS_PER_MULTIPROCESSOR:
      return 65536;
    case CU_DEVICE_ATTRIBUTE_MAX_THREADS_PER_MULTIPROCESSOR:
      return gpu.cc_major == 7 ? 1024 : 2048;
    case CU_DEVICE_ATTRIBUTE_MAX_BLOCKS_PER_MULTIPROCESSOR:
      return ampere_or_newer ? 32 : 16;
    case CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT:
      if (view.device.sms != 0) return static_cast<int>(view.device.sms);
      return static_cast<int>(view.ci == nullptr ? gpu.sm
                                                 : SmCountOf(gpu, view.gpu, view.ci->serial));
    case CU_DEVICE_ATTRIBUTE_MPS_ENABLED:
      return view.device.sms != 0 ? 1 : 0;
    case CU_DEVICE_ATTRIBUTE_GLOBAL_MEMORY_BUS_WIDTH:
      // A GPU instance has a share of the memory slices, and of their pins.
      if (view.gi == nullptr || gpu.memory_slots == 0) return BusWidthOf(gpu);
      return BusWidthOf(gpu) * static_cast<int>(view.gi->size) / static_cast<int>(gpu.memory_slots);
    case CU_DEVICE_ATTRIBUTE_MEMORY_CLOCK_RATE:
      // Two transfers per clock.
      return static_cast<int>(static_cast<double>(gpu.bandwidth) * 8 / 2 / BusWidthOf(gpu) / 1000);
    case CU_DEVICE_ATTRIBUTE_CLOCK_RATE:
      return 1500000;
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR:
      return static_cast<int>(gpu.cc_major);
    case CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MINOR:
      return static_cast<int>(gpu.cc_minor);
    case CU_DEVICE_ATTRIBUTE_COMPUTE_MODE:
      return static_cast<int>(view.gpu.compute_mode);
    case CU_DEVICE_ATTRIBUTE_ECC_ENABLED:
      return view.gpu.ecc_mode != 0;
    case CU_DEVICE_ATTRIBUTE_PCI_BUS_ID:
      return static_cast<int>(gpu.pci_bus);
    case CU_DEVICE_ATTRIBUTE_PCI_DEVICE_ID:
      return static_cast<int>(gpu.pci_device);
    case CU_DEVICE_ATTRIBUTE_PCI_DOMAIN_ID:
      return static_cast<int>(gpu.pci_domain);
    case CU_DEVICE_ATTRIBUTE_ASYNC_ENGINE_COUNT:
      return static_cast<int>(view.profile == nullptr ? 3 : view.profile->engines.copy);
    case CU_DEVICE_ATTRIBUTE_GPU_OVERLAP:
    case CU_DEVICE_ATTRIBUTE_CAN_MAP_HOST_MEMORY:
    case CU_DEVICE_ATTRIBUTE_CONCURRENT_KERNELS:
    case CU_DEVICE_ATTRIBUTE_UNIFIED_ADDRESSING:
    case CU_DEVICE_ATTRIBUTE_STREAM_PRIORITIES_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_MANAGED_MEMORY:
    case CU_DEVICE_ATTRIBUTE_COMPUTE_PREEMPTION_SUPPORTED:
    case CU_DEVICE_ATTRIBUTE_COOPERATIVE_LAUNCH:
      return 1;
    default:
      // What this GPU has not, or nobody has asked for yet.
      *known = attribute > 0 && attribute < CU_DEVICE_ATTRIBUTE_MAX;
      return 0;
  }
}

CUresult TotalMemory(CUdevice number, uint64_t* bytes) {
  return CallOnDevice(number, [&](Library& library, const Library::Device& device) {
    MemoryInfo memory;
    const Rc rc = library.machine().GetMemory(device.target, &memory);
    if (rc == Rc::kOk) *bytes = memory.total - memory.reserved;
    return ToCuda(rc);
  });
}

}  // namespace

CUDA_EXPORT CUresult cuDeviceGetCount(int* count) {
  return Call([&](Library& library) {
    if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *count = static_cast<int>(library.devices().size());
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  return CallOnDevice(ordinal, [&](Library&, const Library::Device&) {
    if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *device = ordinal;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  return Look(device, [&](const View& view) {
    std::string text = view.spec.name;
    if (view.profile != nullptr) text += std::string(" MIG ") + view.profile->name;
    return CopyText(text, name, length);
  });
}

CUDA_EXPORT CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  return Look(device, [&](const View& view) {
    if (uuid == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *uuid = BytesOf(view.spec.uuid);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  return Look(device, [&](const View& view) {
    if (uuid == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *uuid = BytesOf(view.ci == nullptr ? view.spec.uuid : view.ci->uuid);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  uint64_t total = 0;
  const CUresult result = TotalMemory(device, &total);
  if (result == CUDA_SUCCESS && bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (result == CUDA_SUCCESS) *bytes = total;
  return result;
}

// From a time of 32-bit sizes: says at most 4 GiB - 1.
CUDA_EXPORT CUresult cuDeviceTotalMem(unsigned int* bytes, CUdevice device) {
  uint64_t total = 0;
  const CUresult result = TotalMemory(device, &total);
  if (result == CUDA_SUCCESS && bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (result == CUDA_SUCCESS)
    *bytes = static_cast<unsigned int>(std::min<uint64_t>(total, 0xffffffffu));
  return result;
}

CUDA_EXPORT CUresult cuDeviceGetAttribute(int* value, CUdevice_attribute attribute,
                                          CUdevice device) {
  return Look(device, [&](const View& view) {
    bool known = true;
    const int found = AttributeOf(view, attribute, &known);
    if (value == nullptr || !known) return CUDA_ERROR_INVALID_VALUE;
    *value = found;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice device) {
  return Look(device, [&](const View& view) {
    if (major == nullptr || minor == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *major = static_cast<int>(view.spec.cc_major);
    *minor = static_cast<int>(view.spec.cc_minor);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuDeviceGetPCIBusId(char* bus_id, int length, CUdevice device) {
  return Look(device, [&](const View& view) {
    char text[32];
    std::snprintf(text, sizeof text, "%04X:%02X:%02X.0", view.spec.pci_domain, view.spec.pci_bus,
                  view.spec.pci_device);
    return CopyText(text, bus_id, length);
  });
}

CUDA_EXPORT CUresult cuDeviceGetByPCIBusId(CUdevice* device, const char* bus_id) {
  return Call([&](Library& library) {
    unsigned int domain = 0, bus = 0, slot = 0;
    if (device == nullptr || bus_id == nullptr) return CUDA_ERROR_INVALID_VALUE;
    if (std::sscanf(bus_id, "%x:%x:%x", &domain, &bus, &slot) != 3) {
      domain = 0;
      if (std::sscanf(bus_id, "%x:%x", &bus, &slot) != 2) return CUDA_ERROR_INVALID_VALUE;
    }
    for (size_t i = 0; i < library.devices().size(); ++i) {
      const GpuSpec& gpu = library.machine().spec().gpus[library.devices()[i].target.gpu];
      if (gpu.pci_domain != domain || gpu.pci_bus != bus || gpu.pci_device != slot) continue;
      *device = static_cast<CUdevice>(i);
      return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_DEVICE;
  });
}

}  // namespace tranche::sim::cuda
