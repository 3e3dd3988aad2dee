#include "edge/driver/nvml/read_gpu.h"

#include <fmt/format.h>

#include <algorithm>

#include "edge/driver/nvml/read_mig.h"
#include "edge/driver/nvml/read_processes.h"
#include "edge/driver/nvml/reading.h"

namespace tranche {
namespace {

struct ComputeCapability {
  int major = 0;
  int minor = 0;
};

Answer<ComputeCapability> ReadComputeCapability(const NvmlLibrary& nvml, nvmlDevice_t device) {
  ComputeCapability capability;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetCudaComputeCapability, device,
                                    &capability.major, &capability.minor);
  if (rc != NVML_SUCCESS) return tl::unexpected(rc);
  if (capability.major < 1 || capability.major > 99 || capability.minor < 0 ||
      capability.minor > 9) {
    return tl::unexpected<nvmlReturn_t>(NVML_ERROR_UNKNOWN);
  }
  return capability;
}

// FP32 cores per SM, by which the number of SMs follows from the number of cores; 0 when not known.
int CoresPerSm(ComputeCapability capability) {
  switch (capability.major) {
    case 5:
      return 128;
    case 6:
      return capability.minor == 0 ? 64 : 128;
    case 7:
      return 64;
    case 8:
      return capability.minor == 0 ? 64 : 128;
    case 9:
    case 10:
    case 12:
      return 128;
    default:
      return 0;
  }
}

std::string ArchitectureOf(ComputeCapability capability) {
  switch (capability.major) {
    case 5:
      return "maxwell";
    case 6:
      return "pascal";
    case 7:
      return capability.minor < 5 ? "volta" : "turing";
    case 8:
      return capability.minor < 9 ? "ampere" : "ada";
    case 9:
      return "hopper";
    case 10:
    case 12:
      return "blackwell";
    default:
      return "";
  }
}

std::string ReadArchitecture(const NvmlLibrary& nvml, nvmlDevice_t device,
                             const Answer<ComputeCapability>& capability) {
  nvmlDeviceArchitecture_t architecture = NVML_DEVICE_ARCH_UNKNOWN;
  if (nvml.Call(nvml.nvmlDeviceGetArchitecture, device, &architecture) == NVML_SUCCESS) {
    switch (architecture) {
      case NVML_DEVICE_ARCH_KEPLER:
        return "kepler";
      case NVML_DEVICE_ARCH_MAXWELL:
        return "maxwell";
      case NVML_DEVICE_ARCH_PASCAL:
        return "pascal";
      case NVML_DEVICE_ARCH_VOLTA:
        return "volta";
      case NVML_DEVICE_ARCH_TURING:
        return "turing";
      case NVML_DEVICE_ARCH_AMPERE:
        return "ampere";
      case NVML_DEVICE_ARCH_ADA:
        return "ada";
      case NVML_DEVICE_ARCH_HOPPER:
        return "hopper";
      case NVML_DEVICE_ARCH_BLACKWELL:
        return "blackwell";
      case NVML_DEVICE_ARCH_RUBIN:
        return "rubin";
      default:
        break;
    }
  }
  return capability ? ArchitectureOf(*capability) : "";
}

Reading<int> ReadSmCount(const NvmlLibrary& nvml, nvmlDevice_t device,
                         const Answer<ComputeCapability>& capability) {
  unsigned int cores = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetNumGpuCores, device, &cores);
  if (rc != NVML_SUCCESS) return AbsentFor<int>(rc);
  const int per_sm = capability ? CoresPerSm(*capability) : 0;
  if (per_sm == 0 || cores == 0 || cores > (1u << 24) || cores % per_sm != 0) {
    return Reading<int>::Absent(
        fmt::format("{} cores of an unknown kind tell no number of SMs", cores));
  }
  return static_cast<int>(cores) / per_sm;
}

void ReadMemory(const NvmlLibrary& nvml, nvmlDevice_t device, Gpu* gpu) {
  nvmlMemory_v2_t v2 = {};
  v2.version = nvmlMemory_v2;
  nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetMemoryInfo_v2, device, &v2);
  if (rc != NVML_SUCCESS) {
    // The older call counts what the driver reserves as used.
    nvmlMemory_t v1 = {};
    rc = nvml.Call(nvml.nvmlDeviceGetMemoryInfo, device, &v1);
    v2.total = v1.total;
    v2.used = v1.used;
  }
  if (rc == NVML_SUCCESS && v2.used > v2.total) rc = NVML_ERROR_UNKNOWN;
  if (rc != NVML_SUCCESS) {
    gpu->memory_used = AbsentFor<Bytes>(rc);
    return;
  }
  gpu->memory_total = Bytes{v2.total};
  gpu->memory_used = Bytes{v2.used};
}

Reading<double> ReadUtilization(const NvmlLibrary& nvml, nvmlDevice_t device, bool mig_on) {
  nvmlUtilization_t utilization = {};
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetUtilizationRates, device, &utilization);
  if (rc == NVML_ERROR_NOT_SUPPORTED && mig_on) {
    return Reading<double>::Absent("not supported while MIG is on");
  }
  if (rc != NVML_SUCCESS) return AbsentFor<double>(rc);
  if (utilization.gpu > 100) {
    return Reading<double>::Absent(fmt::format("the driver says {} percent", utilization.gpu));
  }
  return utilization.gpu / 100.0;
}

Reading<std::string> ReadVirtualization(const NvmlLibrary& nvml, nvmlDevice_t device) {
  nvmlGpuVirtualizationMode_t mode = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetVirtualizationMode, device, &mode);
  if (rc != NVML_SUCCESS) return AbsentFor<std::string>(rc);
  switch (mode) {
    case NVML_GPU_VIRTUALIZATION_MODE_NONE:
      return std::string("none");
    case NVML_GPU_VIRTUALIZATION_MODE_PASSTHROUGH:
      return std::string("passthrough");
    case NVML_GPU_VIRTUALIZATION_MODE_VGPU:
      return std::string("vgpu_guest");
    case NVML_GPU_VIRTUALIZATION_MODE_HOST_VGPU:
    case NVML_GPU_VIRTUALIZATION_MODE_HOST_VSGA:
      return std::string("vgpu_host");
    default:
      return Reading<std::string>::Absent(fmt::format("mode {} is not known", mode));
  }
}

Reading<std::string> ReadRecoveryAction(const NvmlLibrary& nvml, nvmlDevice_t device) {
  nvmlFieldValue_t field = {};
  field.fieldId = NVML_FI_DEV_GET_GPU_RECOVERY_ACTION;
  nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetFieldValues, device, 1, &field);
  if (rc == NVML_SUCCESS) rc = field.nvmlReturn;
  if (rc != NVML_SUCCESS) return AbsentFor<std::string>(rc);
  switch (field.value.uiVal) {
    case NVML_GPU_RECOVERY_ACTION_NONE:
      return std::string("none");
    case NVML_GPU_RECOVERY_ACTION_GPU_RESET:
      return std::string("gpu_reset");
    case NVML_GPU_RECOVERY_ACTION_NODE_REBOOT:
      return std::string("node_reboot");
    case NVML_GPU_RECOVERY_ACTION_DRAIN_P2P:
      return std::string("drain_p2p");
    case NVML_GPU_RECOVERY_ACTION_DRAIN_AND_RESET:
      return std::string("drain_and_reset");
    case NVML_GPU_RECOVERY_ACTION_RECOVER_IMEX_DOMAIN:
      return std::string("recover_imex_domain");
    default:
      return Reading<std::string>::Absent(fmt::format("action {} is not known", field.value.uiVal));
  }
}

Reading<RemappedRows> ReadRemappedRows(const NvmlLibrary& nvml, nvmlDevice_t device) {
  unsigned int correctable = 0;
  unsigned int uncorrectable = 0;
  unsigned int pending = 0;
  unsigned int failed = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetRemappedRows, device, &correctable,
                                    &uncorrectable, &pending, &failed);
  if (rc != NVML_SUCCESS) return AbsentFor<RemappedRows>(rc);
  return RemappedRows{correctable, uncorrectable, pending != 0, failed != 0};
}

Reading<uint64_t> ReadUncorrectableErrors(const NvmlLibrary& nvml, nvmlDevice_t device) {
  unsigned long long count = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetTotalEccErrors, device,
                                    NVML_MEMORY_ERROR_TYPE_UNCORRECTED, NVML_VOLATILE_ECC, &count);
  if (rc != NVML_SUCCESS) return AbsentFor<uint64_t>(rc);
  return uint64_t{count};
}

Reading<bool> ReadPersistence(const NvmlLibrary& nvml, nvmlDevice_t device) {
  nvmlEnableState_t state = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetPersistenceMode, device, &state);
  if (rc != NVML_SUCCESS) return AbsentFor<bool>(rc);
  return state != NVML_FEATURE_DISABLED;
}

Reading<int> ReadMinorNumber(const NvmlLibrary& nvml, nvmlDevice_t device) {
  unsigned int minor = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetMinorNumber, device, &minor);
  if (rc != NVML_SUCCESS) return AbsentFor<int>(rc);
  // Linux has 20 bits for it.
  if (minor >= 1u << 20) return Reading<int>::Absent(fmt::format("the driver says {}", minor));
  return static_cast<int>(minor);
}

void Unusable(const std::string& problem, Gpu* gpu) {
  gpu->health.usable = false;
  gpu->health.problems.push_back(problem);
}

bool Overlap(const std::vector<MigInstance>& sorted) {
  for (size_t i = 1; i < sorted.size(); ++i) {
    const MigPlacement before = sorted[i - 1].placement;
    if (before.start + before.size > sorted[i].placement.start) return true;
  }
  return false;
}

void ReadMig(const NvmlLibrary& nvml, nvmlDevice_t device, Gpu* gpu) {
  gpu->mig_mode = ReadMigMode(nvml, device);
  if (!gpu->mig_mode) return;
  gpu->mig_profiles = ReadMigProfiles(nvml, device, gpu->memory_total, &gpu->health.problems);
  gpu->memory_slots = SlotsOf(gpu->mig_profiles);
  if (!gpu->mig_mode->current) return;
  auto found = ReadMigInstances(nvml, device, gpu->mig_profiles);
  if (!found) {
    // Nothing may be planned on a GPU whose instances are hidden: it would look empty.
    Unusable(fmt::format("its MIG instances cannot be read: {}", MeaningOf(found.error()).reason),
             gpu);
    return;
  }
  for (FoundInstance& one : *found) gpu->mig_instances.push_back(std::move(one.instance));
  for (const MigInstance& instance : gpu->mig_instances) {
    gpu->memory_slots =
        std::max(gpu->memory_slots, instance.placement.start + instance.placement.size);
  }
  if (Overlap(gpu->mig_instances)) {
    gpu->mig_instances.clear();
    Unusable("the driver lists MIG instances that overlap", gpu);
  }
}

}  // namespace

Reading<ComputeMode> ReadComputeMode(const NvmlLibrary& nvml, nvmlDevice_t device) {
  nvmlComputeMode_t mode = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetComputeMode, device, &mode);
  if (rc != NVML_SUCCESS) return AbsentFor<ComputeMode>(rc);
  switch (mode) {
    case NVML_COMPUTEMODE_DEFAULT:
      return ComputeMode::kDefault;
    case NVML_COMPUTEMODE_PROHIBITED:
      return ComputeMode::kProhibited;
    case NVML_COMPUTEMODE_EXCLUSIVE_PROCESS:
      return ComputeMode::kExclusiveProcess;
    default:
      return Reading<ComputeMode>::Absent(fmt::format("mode {} is not known", mode));
  }
}

Reading<MigMode> ReadMigMode(const NvmlLibrary& nvml, nvmlDevice_t device) {
  unsigned int current = 0;
  unsigned int pending = 0;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetMigMode, device, &current, &pending);
  if (rc != NVML_SUCCESS) return AbsentFor<MigMode>(rc);
  return MigMode{current == NVML_DEVICE_MIG_ENABLE, pending == NVML_DEVICE_MIG_ENABLE};
}

Gpu ReadGpu(const NvmlLibrary& nvml, nvmlDevice_t device, int index) {
  Gpu gpu;
  gpu.index = index;
  const auto uuid = ReadText<NVML_DEVICE_UUID_V2_BUFFER_SIZE>(nvml, nvml.nvmlDeviceGetUUID, device);
  if (!uuid || uuid->empty()) {
    const nvmlReturn_t rc = uuid ? nvmlReturn_t{NVML_ERROR_UNKNOWN} : uuid.error();
    Unusable(MeaningOf(rc).reason, &gpu);
    return gpu;
  }
  gpu.uuid = *uuid;
  gpu.name =
      ReadText<NVML_DEVICE_NAME_V2_BUFFER_SIZE>(nvml, nvml.nvmlDeviceGetName, device).value_or("");
  nvmlPciInfo_t pci = {};
  if (nvml.Call(nvml.nvmlDeviceGetPciInfo_v3, device, &pci) == NVML_SUCCESS) {
    gpu.pci_bus_id = CleanText(pci.busId, sizeof(pci.busId));
    gpu.pci_device_id = fmt::format("0x{:08X}", pci.pciDeviceId);
  }
  const Answer<ComputeCapability> capability = ReadComputeCapability(nvml, device);
  gpu.compute_capability =
      capability ? Reading<std::string>(fmt::format("{}.{}", capability->major, capability->minor))
                 : AbsentFor<std::string>(capability.error());
  gpu.architecture = ReadArchitecture(nvml, device, capability);
  gpu.sm_count = ReadSmCount(nvml, device, capability);
  ReadMemory(nvml, device, &gpu);
  gpu.compute_mode = ReadComputeMode(nvml, device);
  gpu.persistence_mode = ReadPersistence(nvml, device);
  gpu.minor_number = ReadMinorNumber(nvml, device);
  gpu.virtualization = ReadVirtualization(nvml, device);
  ReadMig(nvml, device, &gpu);
  gpu.utilization = ReadUtilization(nvml, device, gpu.mig_mode && gpu.mig_mode->current);
  gpu.health.recovery_action = ReadRecoveryAction(nvml, device);
  gpu.health.remapped_rows = ReadRemappedRows(nvml, device);
  gpu.health.uncorrectable_ecc_errors = ReadUncorrectableErrors(nvml, device);
  auto processes = ReadProcesses(nvml, device);
  if (processes) {
    gpu.processes = std::move(*processes);
  } else {
    gpu.health.problems.push_back(
        fmt::format("who uses it cannot be read: {}", MeaningOf(processes.error()).reason));
  }
  // A GPU may be lost while it is read: then nothing above is to be believed but its names.
  nvmlMemory_t memory = {};
  const nvmlReturn_t alive = nvml.Call(nvml.nvmlDeviceGetMemoryInfo, device, &memory);
  if (alive == NVML_ERROR_GPU_IS_LOST || alive == NVML_ERROR_UNINITIALIZED) {
    Unusable(MeaningOf(alive).reason, &gpu);
  }
  return gpu;
}

}  // namespace tranche
