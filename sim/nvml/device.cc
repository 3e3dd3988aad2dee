#include <algorithm>
#include <cctype>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>

#include "sim/nvml/board.h"
#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

namespace {

// What a handle by any name costs: the device node must be there and may be opened.
nvmlReturn_t Reachable(const MachineState& state, uint32_t gpu) {
  if (state.gpus[gpu].no_permission) return NVML_ERROR_NO_PERMISSION;
  if (state.gpus[gpu].lost) return NVML_ERROR_GPU_IS_LOST;
  return NVML_SUCCESS;
}

// "0000:18:00.0", "00000000:18:00.0" and "18:00.0" name the same device.
bool SamePci(const GpuSpec& gpu, const char* text) {
  unsigned long numbers[4] = {0, 0, 0, 0};
  int n = 0;
  for (const char* at = text; *at != 0 && n < 4;) {
    char* end = nullptr;
    if (!std::isxdigit(static_cast<unsigned char>(*at))) return false;
    numbers[n++] = std::strtoul(at, &end, 16);
    at = *end == ':' || *end == '.' ? end + 1 : end;
    if (end == at && *at != 0) return false;
  }
  if (n == 3)
    return gpu.pci_domain == 0 && gpu.pci_bus == numbers[0] && gpu.pci_device == numbers[1] &&
           numbers[2] == 0;
  return n == 4 && gpu.pci_domain == numbers[0] && gpu.pci_bus == numbers[1] &&
         gpu.pci_device == numbers[2] && numbers[3] == 0;
}

void FillPci(const GpuSpec& gpu, nvmlPciInfo_t* pci) {
  std::memset(pci, 0, sizeof(*pci));
  std::snprintf(pci->busId, sizeof(pci->busId), "%s", gpu.bus_id);
  std::snprintf(pci->busIdLegacy, sizeof(pci->busIdLegacy), "%04x:%02x:%02x.0",
                gpu.pci_domain & 0xffffu, gpu.pci_bus & 0xffu, gpu.pci_device & 0xffu);
  pci->domain = gpu.pci_domain;
  pci->bus = gpu.pci_bus;
  pci->device = gpu.pci_device;
  pci->pciDeviceId = gpu.pci_device_id;
  pci->pciSubSystemId = gpu.pci_subsystem_id;
}

// FP32 cores of an SM.
uint32_t CoresPerSm(const GpuSpec& gpu) {
  switch (gpu.arch) {
    case Arch::kVolta:
    case Arch::kTuring:
      return 64;
    case Arch::kAmpere:
      return gpu.cc_minor == 0 ? 64 : 128;
    case Arch::kAda:
    case Arch::kHopper:
    case Arch::kBlackwell:
      return 128;
  }
  return 64;
}

}  // namespace

// --- Finding ------------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCount_v2(unsigned int* count) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState&) -> nvmlReturn_t {
    if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *count = machine.spec().gpu_count;
    return NVML_SUCCESS;
  });
}

// The oldest form counts only what the caller may open.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetCount(unsigned int* count) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState& state) -> nvmlReturn_t {
    if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *count = 0;
    for (uint32_t i = 0; i < machine.spec().gpu_count; ++i) {
      *count += state.gpus[i].no_permission ? 0 : 1;
    }
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned int index, nvmlDevice_t* device) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState& state) -> nvmlReturn_t {
    if (device == nullptr || index >= machine.spec().gpu_count) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t reachable = Reachable(state, index);
    if (reachable == NVML_SUCCESS) *device = GpuHandle(index);
    return reachable;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByIndex(unsigned int index, nvmlDevice_t* device) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState& state) -> nvmlReturn_t {
    if (device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    // Counts like nvmlDeviceGetCount: over what may be opened.
    for (uint32_t i = 0; i < machine.spec().gpu_count; ++i) {
      if (state.gpus[i].no_permission) continue;
      if (index-- == 0) {
        nvmlReturn_t reachable = Reachable(state, i);
        if (reachable == NVML_SUCCESS) *device = GpuHandle(i);
        return reachable;
      }
    }
    return NVML_ERROR_INVALID_ARGUMENT;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice_t* device) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState& state) -> nvmlReturn_t {
    if (uuid == nullptr || device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (std::strncmp(uuid, "GPU-", 4) != 0 && std::strncmp(uuid, "MIG-", 4) != 0) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    for (uint32_t i = 0; i < machine.spec().gpu_count; ++i) {
      bool found = std::strcmp(uuid, machine.spec().gpus[i].uuid) == 0;
      nvmlDevice_t handle = GpuHandle(i);
      for (const ComputeInstance& ci : state.gpus[i].cis) {
        if (ci.serial != 0 && std::strcmp(uuid, ci.uuid) == 0) {
          found = true;
          handle = MakeHandle<nvmlDevice_t>(Kind::kMigDevice, i, ci.serial);
        }
      }
      if (!found) continue;
      nvmlReturn_t reachable = Reachable(state, i);
      if (reachable == NVML_SUCCESS) *device = handle;
      return reachable;
    }
    return NVML_ERROR_NOT_FOUND;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id,
                                                          nvmlDevice_t* device) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState& state) -> nvmlReturn_t {
    if (bus_id == nullptr || device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < machine.spec().gpu_count; ++i) {
      if (!SamePci(machine.spec().gpus[i], bus_id)) continue;
      nvmlReturn_t reachable = Reachable(state, i);
      if (reachable == NVML_SUCCESS) *device = GpuHandle(i);
      return reachable;
    }
    return NVML_ERROR_NOT_FOUND;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleByPciBusId(const char* bus_id, nvmlDevice_t* device) {
  return nvmlDeviceGetHandleByPciBusId_v2(bus_id, device);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetHandleBySerial(const char* serial, nvmlDevice_t* device) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState& state) -> nvmlReturn_t {
    if (serial == nullptr || device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    for (uint32_t i = 0; i < machine.spec().gpu_count; ++i) {
      if (std::strcmp(serial, machine.spec().gpus[i].serial) != 0) continue;
      nvmlReturn_t reachable = Reachable(state, i);
      if (reachable == NVML_SUCCESS) *device = GpuHandle(i);
      return reachable;
    }
    return NVML_ERROR_NOT_FOUND;
  });
}

// --- Identity -----------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char* name, unsigned int length) {
  return OnDevice(__func__, device, [&](const Device& d) {
    if (!d.is_mig()) return CopyText(d.spec.name, name, length);
    return CopyText(std::string(d.spec.name) + " MIG " + d.ci_profile->name, name, length);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char* uuid, unsigned int length) {
  return OnDevice(__func__, device, [&](const Device& d) {
    return CopyText(d.is_mig() ? d.ci->uuid : d.spec.uuid, uuid, length);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetIndex(nvmlDevice_t device, unsigned int* index) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (index == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *index = d.index;
    if (d.is_mig()) {
      std::vector<const ComputeInstance*> all = ListCis(d.gpu);
      *index = static_cast<unsigned int>(std::find(all.begin(), all.end(), d.ci) - all.begin());
    }
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMinorNumber(nvmlDevice_t device, unsigned int* minor) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (minor == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *minor = d.spec.minor;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetSerial(nvmlDevice_t device, char* serial,
                                             unsigned int length) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (d.spec.serial[0] == 0) return NVML_ERROR_NOT_SUPPORTED;
    return CopyText(d.spec.serial, serial, length);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetBrand(nvmlDevice_t device, nvmlBrandType_t* type) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (type == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (std::strstr(d.spec.name, "GeForce") != nullptr) {
      *type = NVML_BRAND_GEFORCE;
    } else if (std::strncmp(d.spec.name, "Tesla", 5) == 0) {
      *type = NVML_BRAND_TESLA;
    } else if (std::strstr(d.spec.name, "RTX") != nullptr) {
      *type = NVML_BRAND_NVIDIA_RTX;
    } else {
      *type = NVML_BRAND_NVIDIA;
    }
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetArchitecture(nvmlDevice_t device,
                                                   nvmlDeviceArchitecture_t* arch) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (arch == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *arch = static_cast<nvmlDeviceArchitecture_t>(d.spec.arch);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t device, nvmlPciInfo_t* pci) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (pci == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    FillPci(d.spec, pci);
    return NVML_SUCCESS;
  });
}

namespace {

// The older structs end before `busId`, and the oldest before `pciSubSystemId`.
nvmlReturn_t OldPciInfo(nvmlDevice_t device, void* out, size_t size) {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  nvmlPciInfo_t pci;
  nvmlReturn_t rc = nvmlDeviceGetPciInfo_v3(device, &pci);
  if (rc == NVML_SUCCESS) std::memcpy(out, &pci, size);
  return rc;
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPciInfo_v2(nvmlDevice_t device, void* pci) {
  return OldPciInfo(device, pci, offsetof(nvmlPciInfo_t, busId));
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPciInfo(nvmlDevice_t device, void* pci) {
  return OldPciInfo(device, pci, offsetof(nvmlPciInfo_t, pciSubSystemId));
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCudaComputeCapability(nvmlDevice_t device, int* major,
                                                            int* minor) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (major == nullptr || minor == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *major = static_cast<int>(d.spec.cc_major);
    *minor = static_cast<int>(d.spec.cc_minor);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetNumGpuCores(nvmlDevice_t device, unsigned int* cores) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (cores == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *cores = (d.is_mig() ? d.ci_profile->sm : d.spec.sm) * CoresPerSm(d.spec);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetBoardId(nvmlDevice_t device, unsigned int* board) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (board == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *board = d.spec.pci_bus << 8;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMultiGpuBoard(nvmlDevice_t device, unsigned int* multi) {
  return OnDevice(__func__, device, [&](const Device&) -> nvmlReturn_t {
    if (multi == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *multi = 0;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetVbiosVersion(nvmlDevice_t device, char* version,
                                                   unsigned int length) {
  return OnDevice(__func__, device, [&](const Device& d) {
    char text[32];
    std::snprintf(text, sizeof(text), "%02X.00.%02X.00.01",
                  0x80 + static_cast<unsigned>(d.spec.arch), d.spec.pci_device_id >> 24 & 0xffu);
    return CopyText(text, version, length);
  });
}

// --- Topology -----------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetNumaNodeId(nvmlDevice_t device, unsigned int* node) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (node == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *node = d.spec.numa_node;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryAffinity(nvmlDevice_t device, unsigned int size,
                                                     unsigned long* set,
                                                     nvmlAffinityScope_t scope) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (set == nullptr || size == 0 || scope > NVML_AFFINITY_SCOPE_SOCKET) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    std::fill(set, set + size, 0ul);
    set[0] = 1ul << d.spec.numa_node;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCpuAffinityWithinScope(nvmlDevice_t device, unsigned int size,
                                                             unsigned long* set,
                                                             nvmlAffinityScope_t scope) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (set == nullptr || size == 0 || scope > NVML_AFFINITY_SCOPE_SOCKET) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    // 32 processors for each NUMA node of the simulated host.
    std::fill(set, set + size, 0ul);
    uint32_t first = d.spec.numa_node * 32;
    if (first / 64 < size) set[first / 64] = 0xfffffffful << (first % 64);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetCpuAffinity(nvmlDevice_t device, unsigned int size,
                                                  unsigned long* set) {
  return nvmlDeviceGetCpuAffinityWithinScope(device, size, set, NVML_AFFINITY_SCOPE_NODE);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetTopologyCommonAncestor(nvmlDevice_t a, nvmlDevice_t b,
                                                             nvmlGpuTopologyLevel_t* level) {
  return OnGpu(__func__, a, [&](const Device& d) -> nvmlReturn_t {
    Decoded other = Decode(b.handle);
    if (level == nullptr || other.kind != Kind::kGpu || other.gpu >= d.machine_spec().gpu_count) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (other.gpu == d.index) {
      *level = NVML_TOPOLOGY_INTERNAL;
    } else {
      bool same = d.machine_spec().gpus[other.gpu].numa_node == d.spec.numa_node;
      *level = same ? NVML_TOPOLOGY_NODE : NVML_TOPOLOGY_SYSTEM;
    }
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetTopologyNearestGpus(nvmlDevice_t device,
                                                          nvmlGpuTopologyLevel_t level,
                                                          unsigned int* count,
                                                          nvmlDevice_t* devices) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    std::vector<uint32_t> near;
    for (uint32_t i = 0; i < d.machine_spec().gpu_count; ++i) {
      bool same = d.machine_spec().gpus[i].numa_node == d.spec.numa_node;
      nvmlGpuTopologyLevel_t at = same ? NVML_TOPOLOGY_NODE : NVML_TOPOLOGY_SYSTEM;
      if (i != d.index && at == level) near.push_back(i);
    }
    if (devices == nullptr) {
      *count = static_cast<unsigned int>(near.size());
      return NVML_SUCCESS;
    }
    *count = std::min(*count, static_cast<unsigned int>(near.size()));
    for (unsigned int i = 0; i < *count; ++i) devices[i] = GpuHandle(near[i]);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetP2PStatus(nvmlDevice_t a, nvmlDevice_t b,
                                                nvmlGpuP2PCapsIndex_t index,
                                                nvmlGpuP2PStatus_t* status) {
  return OnGpu(__func__, a, [&](const Device& d) -> nvmlReturn_t {
    Decoded other = Decode(b.handle);
    if (status == nullptr || index > NVML_P2P_CAPS_INDEX_PCI || other.kind != Kind::kGpu ||
        other.gpu >= d.machine_spec().gpu_count) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    const GpuSpec& peer = d.machine_spec().gpus[other.gpu];
    // No profile of any GPU allows peer access, and GeForce boards have none at all.
    bool mig = d.gpu.mig_mode || d.state.gpus[other.gpu].mig_mode;
    bool geforce = std::strstr(d.spec.name, "GeForce") != nullptr;
    bool nvlink = NvlinkCount(d.spec) > 0 && NvlinkCount(peer) > 0;
    bool needs_nvlink = index == NVML_P2P_CAPS_INDEX_NVLINK || index == NVML_P2P_CAPS_INDEX_ATOMICS;
    bool ok = !mig && !geforce && (nvlink || !needs_nvlink);
    *status = ok        ? NVML_P2P_STATUS_OK
              : geforce ? NVML_P2P_STATUS_GPU_NOT_SUPPORTED
                        : NVML_P2P_STATUS_NOT_SUPPORTED;
    return NVML_SUCCESS;
  });
}
