#include <algorithm>
#include <cstdio>
#include <string>

#include "sim/nvml/board.h"
#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

// --- Modes --------------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetPersistenceMode(nvmlDevice_t device,
                                                      nvmlEnableState_t* mode) {
  return OnBoard(__func__, device, [&](const Device& d) { return Put(mode, d.gpu.persistence); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceSetPersistenceMode(nvmlDevice_t device, nvmlEnableState_t mode) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (mode > NVML_FEATURE_ENABLED) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    state.gpus[d.index].persistence = mode;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetComputeMode(nvmlDevice_t device, nvmlComputeMode_t* mode) {
  return OnDevice(__func__, device, [&](const Device& d) {
    const nvmlComputeMode_t now = d.gpu.mig_mode ? nvmlComputeMode_t{NVML_COMPUTEMODE_DEFAULT}
                                                 : nvmlComputeMode_t{d.gpu.compute_mode};
    return Put(mode, now);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceSetComputeMode(nvmlDevice_t device, nvmlComputeMode_t mode) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (mode > NVML_COMPUTEMODE_EXCLUSIVE_PROCESS) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    if (mode == NVML_COMPUTEMODE_EXCLUSIVE_THREAD) return NVML_ERROR_NOT_SUPPORTED;
    // A GPU in MIG mode has the default one, whatever was set before.
    if (d.gpu.mig_mode) return NVML_ERROR_NOT_SUPPORTED;
    state.gpus[d.index].compute_mode = mode;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetDisplayMode(nvmlDevice_t device, nvmlEnableState_t* mode) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(mode, NVML_FEATURE_DISABLED); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetDisplayActive(nvmlDevice_t device, nvmlEnableState_t* mode) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(mode, NVML_FEATURE_DISABLED); });
}

// On this machine only root may change clocks.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetAPIRestriction(nvmlDevice_t device, unsigned int api,
                                                     nvmlEnableState_t* restricted) {
  return OnBoard(__func__, device, [&](const Device&) -> nvmlReturn_t {
    if (api > 1) return NVML_ERROR_INVALID_ARGUMENT;
    return Put(restricted, NVML_FEATURE_ENABLED);
  });
}

// --- ECC ----------------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetEccMode(nvmlDevice_t device, nvmlEnableState_t* current,
                                              nvmlEnableState_t* pending) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (current == nullptr || pending == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.ecc) return NVML_ERROR_NOT_SUPPORTED;
    *current = d.gpu.ecc_mode;
    *pending = d.gpu.ecc_pending;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetDefaultEccMode(nvmlDevice_t device, nvmlEnableState_t* mode) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (!d.spec.ecc) return NVML_ERROR_NOT_SUPPORTED;
    return Put(mode, NVML_FEATURE_ENABLED);
  });
}

// Takes effect with the next reset.
NVML_EXPORT nvmlReturn_t nvmlDeviceSetEccMode(nvmlDevice_t device, nvmlEnableState_t mode) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (mode > NVML_FEATURE_ENABLED) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.ecc) return NVML_ERROR_NOT_SUPPORTED;
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    state.gpus[d.index].ecc_pending = mode;
    return NVML_SUCCESS;
  });
}

namespace {

nvmlReturn_t EccCount(const Device& d, nvmlMemoryErrorType_t type, nvmlEccCounterType_t counter,
                      unsigned long long* count) {
  if (count == nullptr || type > NVML_MEMORY_ERROR_TYPE_UNCORRECTED ||
      counter > NVML_AGGREGATE_ECC) {
    return NVML_ERROR_INVALID_ARGUMENT;
  }
  if (!d.spec.ecc || !d.gpu.ecc_mode) return NVML_ERROR_NOT_SUPPORTED;
  bool corrected = type == NVML_MEMORY_ERROR_TYPE_CORRECTED;
  if (counter == NVML_VOLATILE_ECC) {
    *count = corrected ? d.gpu.ecc_volatile_corrected : d.gpu.ecc_volatile_uncorrected;
  } else {
    *count = corrected ? d.gpu.ecc_aggregate_corrected : d.gpu.ecc_aggregate_uncorrected;
  }
  return NVML_SUCCESS;
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device,
                                                     nvmlMemoryErrorType_t type,
                                                     nvmlEccCounterType_t counter,
                                                     unsigned long long* count) {
  return OnBoard(__func__, device,
                 [&](const Device& d) { return EccCount(d, type, counter, count); });
}

// By location; all errors of this machine happen in device memory (2, called DRAM from Turing on).
NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryErrorCounter(nvmlDevice_t device,
                                                         nvmlMemoryErrorType_t type,
                                                         nvmlEccCounterType_t counter,
                                                         unsigned int location,
                                                         unsigned long long* count) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (location > 7) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t rc = EccCount(d, type, counter, count);
    if (rc == NVML_SUCCESS && location != 2) *count = 0;
    return rc;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetDetailedEccErrors(nvmlDevice_t device,
                                                        nvmlMemoryErrorType_t type,
                                                        nvmlEccCounterType_t counter,
                                                        unsigned long long* four) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (four == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    four[0] = four[1] = four[3] = 0;  // L1, L2, registers
    return EccCount(d, type, counter, &four[2]);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceClearEccErrorCounts(nvmlDevice_t device,
                                                       nvmlEccCounterType_t counter) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (counter > NVML_AGGREGATE_ECC) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.ecc) return NVML_ERROR_NOT_SUPPORTED;
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    Gpu& gpu = state.gpus[d.index];
    if (counter == NVML_VOLATILE_ECC) {
      gpu.ecc_volatile_corrected = gpu.ecc_volatile_uncorrected = 0;
    } else {
      gpu.ecc_aggregate_corrected = gpu.ecc_aggregate_uncorrected = 0;
    }
    return NVML_SUCCESS;
  });
}

// --- Rows and pages -----------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned int* correctable,
                                                   unsigned int* uncorrectable,
                                                   unsigned int* pending, unsigned int* failure) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (correctable == nullptr || uncorrectable == nullptr || pending == nullptr ||
        failure == nullptr) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    if (!d.spec.row_remapping || d.is_mig()) return NVML_ERROR_NOT_SUPPORTED;
    *correctable = d.gpu.rows_correctable;
    *uncorrectable = d.gpu.rows_uncorrectable;
    *pending = d.gpu.rows_pending ? 1 : 0;
    *failure = d.gpu.rows_failure;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t
nvmlDeviceGetRowRemapperHistogram(nvmlDevice_t device, nvmlRowRemapperHistogramValues_t* values) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (values == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.row_remapping) return NVML_ERROR_NOT_SUPPORTED;
    // Each remapped row takes one of a bank's spares; none of them run out.
    unsigned banks = 640;
    unsigned used = std::min(banks, d.gpu.rows_correctable + d.gpu.rows_uncorrectable);
    *values = {banks - used, used, 0, 0, d.gpu.rows_failure};
    return NVML_SUCCESS;
  });
}

// Pages are retired on GPUs that cannot remap rows.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetRetiredPages(nvmlDevice_t device,
                                                   nvmlPageRetirementCause_t cause,
                                                   unsigned int* count,
                                                   unsigned long long* addresses) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (cause > NVML_PAGE_RETIREMENT_CAUSE_DOUBLE_BIT_ECC_ERROR) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.ecc || d.spec.row_remapping) return NVML_ERROR_NOT_SUPPORTED;
    return FillArray(count, addresses, 0, [](unsigned) { return 0ull; });
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetRetiredPages_v2(nvmlDevice_t device,
                                                      nvmlPageRetirementCause_t cause,
                                                      unsigned int* count,
                                                      unsigned long long* addresses,
                                                      unsigned long long*) {
  return nvmlDeviceGetRetiredPages(device, cause, count, addresses);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetRetiredPagesPendingStatus(nvmlDevice_t device,
                                                                nvmlEnableState_t* pending) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (!d.spec.ecc || d.spec.row_remapping) return NVML_ERROR_NOT_SUPPORTED;
    return Put(pending, NVML_FEATURE_DISABLED);
  });
}

// --- Field values -------------------------------------------------------------------------------

namespace {

void SetField(nvmlFieldValue_t* field, nvmlValueType_t type, uint64_t value) {
  field->valueType = type;
  field->nvmlReturn = NVML_SUCCESS;
  field->value.ullVal = 0;
  if (type == NVML_VALUE_TYPE_UNSIGNED_INT) {
    field->value.uiVal = static_cast<unsigned int>(value);
  } else {
    field->value.ullVal = value;
  }
}

void ReadField(const Device& d, nvmlFieldValue_t* field) {
  constexpr nvmlValueType_t kUint = NVML_VALUE_TYPE_UNSIGNED_INT;
  constexpr nvmlValueType_t kUlong = NVML_VALUE_TYPE_UNSIGNED_LONG_LONG;
  field->nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
  bool ecc = d.spec.ecc && d.gpu.ecc_mode;
  bool rows = d.spec.row_remapping && !d.is_mig();
  switch (field->fieldId) {
    case 1:  // ECC mode now
    case 2:  // and after a reset
      if (d.spec.ecc) {
        SetField(field, kUint, field->fieldId == 1 ? d.gpu.ecc_mode : d.gpu.ecc_pending);
      }
      break;
    case 3:
      if (ecc) SetField(field, kUlong, d.gpu.ecc_volatile_corrected);
      break;
    case 4:
      if (ecc) SetField(field, kUlong, d.gpu.ecc_volatile_uncorrected);
      break;
    case NVML_FI_DEV_ECC_SBE_AGG_TOTAL:
      if (ecc) SetField(field, kUlong, d.gpu.ecc_aggregate_corrected);
      break;
    case NVML_FI_DEV_ECC_DBE_AGG_TOTAL:
      if (ecc) SetField(field, kUlong, d.gpu.ecc_aggregate_uncorrected);
      break;
    case NVML_FI_DEV_PERF_POLICY_POWER:
    case NVML_FI_DEV_PERF_POLICY_THERMAL:
    case NVML_FI_DEV_PERF_POLICY_SYNC_BOOST:
    case NVML_FI_DEV_PERF_POLICY_BOARD_LIMIT:
    case NVML_FI_DEV_PERF_POLICY_LOW_UTILIZATION:
    case NVML_FI_DEV_PERF_POLICY_RELIABILITY:
    case NVML_FI_DEV_PERF_POLICY_TOTAL_APP_CLOCKS:
    case NVML_FI_DEV_PERF_POLICY_TOTAL_BASE_CLOCKS:
      if (!d.is_mig()) SetField(field, kUlong, 0);
      break;
    case NVML_FI_DEV_MEMORY_TEMP: {
      bool hbm = BoardOf(d.spec).bus_bits >= 4096;
      double load = LoadOfGpu(d.machine_spec(), d.state, d.index).memory;
      if (hbm && !d.is_mig()) SetField(field, kUint, static_cast<uint64_t>(38 + 40 * load));
      break;
    }
    case 83:  // energy since the driver was loaded, in mJ
      if (!d.is_mig()) SetField(field, kUlong, static_cast<uint64_t>(d.gpu.energy_joules * 1000));
      break;
    case NVML_FI_DEV_REMAPPED_COR:
      if (rows) SetField(field, kUint, d.gpu.rows_correctable);
      break;
    case NVML_FI_DEV_REMAPPED_UNC:
      if (rows) SetField(field, kUint, d.gpu.rows_uncorrectable);
      break;
    case NVML_FI_DEV_REMAPPED_PENDING:
      if (rows) SetField(field, kUint, d.gpu.rows_pending ? 1 : 0);
      break;
    case NVML_FI_DEV_REMAPPED_FAILURE:
      if (rows) SetField(field, kUint, d.gpu.rows_failure);
      break;
    case NVML_FI_DEV_REMAPPED_ROWS_COR_INACTIVE:
    case NVML_FI_DEV_REMAPPED_ROWS_UNC_INACTIVE:
      if (rows && d.branch() >= 580) SetField(field, kUint, 0);
      break;
    case 185:  // power, averaged
    case NVML_FI_DEV_POWER_INSTANT:
      if (!d.is_mig()) {
        SetField(field, kUint,
                 static_cast<uint64_t>(PowerWatts(d.machine_spec(), d.state, d.index) * 1000));
      }
      break;
    case NVML_FI_DEV_GET_GPU_RECOVERY_ACTION:
      if (d.branch() >= 550 && !d.is_mig()) SetField(field, kUint, d.gpu.recovery_action);
      break;
    default:
      break;
  }
}

}  // namespace

// A lost GPU is the answer of the call; what a GPU does not have is the answer of the field.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count,
                                                  nvmlFieldValue_t* values) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (values == nullptr || count <= 0) return NVML_ERROR_INVALID_ARGUMENT;
    for (int i = 0; i < count; ++i) {
      values[i].timestamp = static_cast<long long>(d.machine.WallNs() / 1000);
      values[i].latencyUsec = 0;
      ReadField(d, &values[i]);
    }
    return NVML_SUCCESS;
  });
}

// --- The board ----------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetInforomImageVersion(nvmlDevice_t device, char* version,
                                                          unsigned int length) {
  return OnBoard(__func__, device, [&](const Device& d) {
    char text[16];
    std::snprintf(text, sizeof(text), "G%03X.0200.00.05", d.spec.pci_device_id >> 16 & 0xfff);
    return CopyText(text, version, length);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetInforomVersion(nvmlDevice_t device, unsigned int object,
                                                     char* version, unsigned int length) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    switch (object) {
      case 0:
        return CopyText("2.1", version, length);  // OEM
      case 1:
        if (!d.spec.ecc) return NVML_ERROR_NOT_SUPPORTED;
        return CopyText("7.16", version, length);
      case 2:
        return NVML_ERROR_NOT_SUPPORTED;  // power: not on these boards
      default:
        return NVML_ERROR_INVALID_ARGUMENT;
    }
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetInforomConfigurationChecksum(nvmlDevice_t device,
                                                                   unsigned int* checksum) {
  return OnBoard(__func__, device, [&](const Device& d) {
    return Put(checksum, d.spec.pci_device_id * 2654435761u);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceValidateInforom(nvmlDevice_t device) {
  return OnBoard(__func__, device, [](const Device&) -> nvmlReturn_t { return NVML_SUCCESS; });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetBoardPartNumber(nvmlDevice_t device, char* number,
                                                      unsigned int length) {
  return OnBoard(__func__, device, [&](const Device& d) {
    char text[32];
    std::snprintf(text, sizeof(text), "900-2G%03X-0000-000", d.spec.pci_device_id >> 16 & 0xfff);
    return CopyText(text, number, length);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGspFirmwareVersion(nvmlDevice_t device, char* version) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (d.spec.arch < Arch::kTuring) return NVML_ERROR_NOT_SUPPORTED;
    return CopyText(d.machine_spec().driver.version, version,
                    NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGspFirmwareMode(nvmlDevice_t device, unsigned int* enabled,
                                                      unsigned int* by_default) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (enabled == nullptr || by_default == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *enabled = *by_default = d.spec.arch >= Arch::kTuring ? 1 : 0;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetIrqNum(nvmlDevice_t device, unsigned int* irq) {
  return OnBoard(__func__, device, [&](const Device& d) { return Put(irq, 100 + d.index); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetBusType(nvmlDevice_t device, unsigned int* type) {
  return OnBoard(__func__, device, [&](const Device&) { return Put(type, 2); });  // PCI Express
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetModuleId(nvmlDevice_t device, unsigned int* id) {
  return OnBoard(__func__, device, [&](const Device& d) { return Put(id, d.index + 1); });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceOnSameBoard(nvmlDevice_t a, nvmlDevice_t b, int* same) {
  return OnGpu(__func__, a, [&](const Device& d) -> nvmlReturn_t {
    Decoded other = Decode(b.handle);
    if (other.kind != Kind::kGpu || other.gpu >= d.machine_spec().gpu_count) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    return Put(same, other.gpu == d.index ? 1 : 0);
  });
}

// --- The system ---------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlUnitGetCount(unsigned int* count) {
  return OnMachine(__func__, [&](Machine&, const MachineState&) { return Put(count, 0); });
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetHicVersion(unsigned int* count, void*) {
  return OnMachine(__func__, [&](Machine&, const MachineState&) { return Put(count, 0); });
}

NVML_EXPORT nvmlReturn_t nvmlGetExcludedDeviceCount(unsigned int* count) {
  return OnMachine(__func__, [&](Machine&, const MachineState&) { return Put(count, 0); });
}

// Which GPUs a processor is near to: 32 processors for each NUMA node.
NVML_EXPORT nvmlReturn_t nvmlSystemGetTopologyGpuSet(unsigned int cpu, unsigned int* count,
                                                     nvmlDevice_t* devices) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState&) -> nvmlReturn_t {
    if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    unsigned int n = 0;
    for (uint32_t i = 0; i < machine.spec().gpu_count; ++i) {
      if (machine.spec().gpus[i].numa_node != cpu / 32) continue;
      if (devices != nullptr && n < *count) devices[n] = GpuHandle(i);
      ++n;
    }
    *count = n;
    return NVML_SUCCESS;
  });
}

// {environment, feature, developer tools}: no confidential computing.
NVML_EXPORT nvmlReturn_t nvmlSystemGetConfComputeState(unsigned int* three) {
  return OnMachine(__func__, [&](Machine&, const MachineState&) -> nvmlReturn_t {
    if (three == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    std::fill(three, three + 3, 0u);
    return NVML_SUCCESS;
  });
}

// {protected, unprotected} KiB
NVML_EXPORT nvmlReturn_t nvmlDeviceGetConfComputeMemSizeInfo(nvmlDevice_t device,
                                                             unsigned long long* two) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (two == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (d.spec.arch < Arch::kHopper) return NVML_ERROR_NOT_SUPPORTED;
    two[0] = 0;
    two[1] = d.spec.memory_bytes >> 10;
    return NVML_SUCCESS;
  });
}
