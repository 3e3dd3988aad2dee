#include <algorithm>
#include <cstdio>
#include <cstring>

#include "sim/nvml/board.h"
#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

// For unsupported.c, which has no header.
extern "C" unsigned int tranche_sim_nvml_unsupported(void);
extern "C" unsigned int tranche_sim_nvml_unsupported(void) {
  if (Library::Get().machine() == nullptr) return NVML_ERROR_UNINITIALIZED;
  return NVML_ERROR_NOT_SUPPORTED;
}

namespace {

// All links of all NVLink boards lead to NVSwitches and are up while MIG is off.
template <typename Body>
nvmlReturn_t OnLink(const char* call, nvmlDevice_t device, unsigned int link, const Body& body) {
  return OnBoard(call, device, [&](const Device& d) -> nvmlReturn_t {
    if (link >= kMaxNvlinks) return NVML_ERROR_INVALID_ARGUMENT;
    if (link >= NvlinkCount(d.spec)) return NVML_ERROR_NOT_SUPPORTED;
    return body(d);
  });
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetNvLinkState(nvmlDevice_t device, unsigned int link,
                                                  nvmlEnableState_t* active) {
  return OnLink(__func__, device, link, [&](const Device& d) {
    return Put(active, d.gpu.mig_mode ? NVML_FEATURE_DISABLED : NVML_FEATURE_ENABLED);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetNvLinkVersion(nvmlDevice_t device, unsigned int link,
                                                    unsigned int* version) {
  return OnLink(__func__, device, link, [&](const Device& d) -> nvmlReturn_t {
    switch (d.spec.arch) {
      case Arch::kVolta:
        return Put(version, 2);
      case Arch::kAmpere:
        return Put(version, 5);  // NVLink 3.0
      case Arch::kHopper:
        return Put(version, 6);  // 4.0
      default:
        return Put(version, 7);  // 5.0
    }
  });
}

// P2P, access to system memory and atomics over each, SLI bridge, valid link.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetNvLinkCapability(nvmlDevice_t device, unsigned int link,
                                                       unsigned int capability,
                                                       unsigned int* result) {
  return OnLink(__func__, device, link, [&](const Device&) -> nvmlReturn_t {
    if (capability > 5) return NVML_ERROR_INVALID_ARGUMENT;
    return Put(result, capability == 4 ? 0 : 1);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetNvLinkErrorCounter(nvmlDevice_t device, unsigned int link,
                                                         unsigned int counter,
                                                         unsigned long long* value) {
  return OnLink(__func__, device, link, [&](const Device&) -> nvmlReturn_t {
    if (counter > 4) return NVML_ERROR_INVALID_ARGUMENT;
    return Put(value, 0);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetNvLinkRemoteDeviceType(nvmlDevice_t device, unsigned int link,
                                                             unsigned int* type) {
  return OnLink(__func__, device, link, [&](const Device&) { return Put(type, 2); });  // a switch
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetNvLinkRemotePciInfo_v2(nvmlDevice_t device, unsigned int link,
                                                             nvmlPciInfo_t* pci) {
  return OnLink(__func__, device, link, [&](const Device&) -> nvmlReturn_t {
    if (pci == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    std::memset(pci, 0, sizeof(*pci));
    pci->bus = 0xc0 + link % 4;
    pci->pciDeviceId = 0x22a310deu;
    std::snprintf(pci->busId, sizeof(pci->busId), "00000000:%02X:00.0", pci->bus & 0xffu);
    std::snprintf(pci->busIdLegacy, sizeof(pci->busIdLegacy), "0000:%02x:00.0", pci->bus & 0xffu);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPcieLinkMaxSpeed(nvmlDevice_t device, unsigned int* speed) {
  return OnBoard(__func__, device, [&](const Device& d) {
    return Put(speed, BoardOf(d.spec).pcie_generation);  // the enumeration counts generations
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetAdaptiveClockInfoStatus(nvmlDevice_t device,
                                                              unsigned int* enabled) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(enabled, 1); });
}

// No vGPU host and no guest.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetVirtualizationMode(nvmlDevice_t device,
                                                         nvmlGpuVirtualizationMode_t* mode) {
  return OnDevice(__func__, device,
                  [&](const Device&) { return Put(mode, NVML_GPU_VIRTUALIZATION_MODE_NONE); });
}

namespace {

struct PciInfoExt {
  unsigned int version, domain, bus, device, device_id, subsystem_id, base_class, sub_class;
  char bus_id[NVML_DEVICE_PCI_BUS_ID_BUFFER_SIZE];
};

struct SramEccErrors {
  unsigned int version;
  unsigned long long counts[11];
  unsigned int threshold_exceeded;
};

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPciInfoExt(nvmlDevice_t device, void* out) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    auto* pci = static_cast<PciInfoExt*>(out);
    if (pci == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (pci->version != NVML_STRUCT_VERSION(PciInfoExt, 1)) {
      return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    pci->domain = d.spec.pci_domain;
    pci->bus = d.spec.pci_bus;
    pci->device = d.spec.pci_device;
    pci->device_id = d.spec.pci_device_id;
    pci->subsystem_id = d.spec.pci_subsystem_id;
    pci->base_class = 3;  // display
    pci->sub_class = 2;   // 3D
    std::snprintf(pci->bus_id, sizeof(pci->bus_id), "%s", d.spec.bus_id);
    return NVML_SUCCESS;
  });
}

// All ECC errors of this machine happen in device memory, none in SRAM.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetSramEccErrorStatus(nvmlDevice_t device, void* out) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    auto* status = static_cast<SramEccErrors*>(out);
    if (status == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (status->version != NVML_STRUCT_VERSION(SramEccErrors, 1)) {
      return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    }
    if (!d.spec.row_remapping || !d.gpu.ecc_mode) return NVML_ERROR_NOT_SUPPORTED;
    std::fill(std::begin(status->counts), std::end(status->counts), 0ull);
    status->threshold_exceeded = 0;
    return NVML_SUCCESS;
  });
}
