#include "edge/driver/nvml/errors.h"

namespace tranche {
namespace {

constexpr const char* kResetHint =
    "stop what uses the GPU and reset it with 'nvidia-smi --gpu-reset', or reboot";

}  // namespace

NvmlMeaning MeaningOf(nvmlReturn_t rc) {
  switch (rc) {
    case NVML_ERROR_UNINITIALIZED:
      return {ErrorCode::kUnavailable, "the NVIDIA driver was unloaded", "try again"};
    case NVML_ERROR_INVALID_ARGUMENT:
      return {ErrorCode::kFailed, "the driver refused the arguments",
              "read the machine again; it may have changed"};
    case NVML_ERROR_NOT_SUPPORTED:
      return {ErrorCode::kUnsupported, "not supported on this GPU", ""};
    case NVML_ERROR_NO_PERMISSION:
      return {ErrorCode::kPermission, "no permission",
              "run as root, or get access to /dev/nvidia-caps and "
              "/proc/driver/nvidia/capabilities/mig/config"};
    case NVML_ERROR_NOT_FOUND:
      return {ErrorCode::kNotFound, "not found", "read the machine again; it may have changed"};
    case NVML_ERROR_INSUFFICIENT_SIZE:
      return {ErrorCode::kFailed, "the answer keeps growing while it is read", "try again"};
    case NVML_ERROR_INSUFFICIENT_POWER:
      return {ErrorCode::kFailed, "the GPU has too little power",
              "check the power cables of the GPU"};
    case NVML_ERROR_DRIVER_NOT_LOADED:
      return {ErrorCode::kUnavailable, "the NVIDIA driver is not loaded",
              "load it with 'modprobe nvidia' and check it with 'nvidia-smi'"};
    case NVML_ERROR_TIMEOUT:
      return {ErrorCode::kFailed, "the driver did not answer in time", "try again"};
    case NVML_ERROR_IRQ_ISSUE:
      return {ErrorCode::kFailed, "the kernel has an interrupt problem with the GPU",
              "see 'dmesg | grep NVRM'"};
    case NVML_ERROR_LIBRARY_NOT_FOUND:
      return {ErrorCode::kUnavailable, "a library of the NVIDIA driver is missing",
              "install the NVIDIA driver completely"};
    case NVML_ERROR_FUNCTION_NOT_FOUND:
      return {ErrorCode::kUnsupported, "this driver version cannot tell",
              "install a newer NVIDIA driver"};
    case NVML_ERROR_CORRUPTED_INFOROM:
      return {ErrorCode::kFailed, "the GPU's infoROM is corrupted", "have the GPU replaced"};
    case NVML_ERROR_GPU_IS_LOST:
      return {ErrorCode::kFailed, "the GPU has fallen off the bus or cannot be reached",
              kResetHint};
    case NVML_ERROR_RESET_REQUIRED:
      return {ErrorCode::kFailed, "the GPU must be reset first", kResetHint};
    case NVML_ERROR_OPERATING_SYSTEM:
      return {ErrorCode::kFailed, "the operating system blocks the driver",
              "see 'dmesg | grep NVRM'"};
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
      return {ErrorCode::kUnavailable, "the driver's library and kernel module differ in version",
              "the driver was upgraded while in use: reboot, or reload the nvidia kernel modules"};
    case NVML_ERROR_IN_USE:
      return {ErrorCode::kBusy, "in use", "stop what is in the way and try again"};
    case NVML_ERROR_MEMORY:
      return {ErrorCode::kFailed, "the driver has not enough memory", ""};
    case NVML_ERROR_NO_DATA:
      return {ErrorCode::kFailed, "the driver has no data yet", "try again"};
    case NVML_ERROR_INSUFFICIENT_RESOURCES:
      return {ErrorCode::kDoesNotFit, "there is no room for it", ""};
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH:
    case NVML_ERROR_DEPRECATED:
      return {ErrorCode::kUnsupported, "this driver version speaks another version of the call",
              ""};
    case NVML_ERROR_NOT_READY:
      return {ErrorCode::kFailed, "the GPU is not ready", "try again"};
    case NVML_ERROR_GPU_NOT_FOUND:
      return {ErrorCode::kUnavailable, "no GPU was found", "see 'lspci | grep -i nvidia'"};
    case NVML_ERROR_INVALID_STATE:
      return {ErrorCode::kFailed, "the GPU is in the wrong state for it", ""};
    case NVML_ERROR_RESET_TYPE_NOT_SUPPORTED:
      return {ErrorCode::kUnsupported, "this kind of reset is not supported", ""};
    default:
      return {ErrorCode::kFailed, "the driver failed for a reason of its own",
              "see 'dmesg | grep NVRM'"};
  }
}

Error NvmlError(nvmlReturn_t rc, const std::string& doing) {
  const NvmlMeaning meaning = MeaningOf(rc);
  return {meaning.code, doing + ": " + meaning.reason + " (NVML code " + std::to_string(rc) + ")",
          meaning.hint};
}

bool NeedsReopening(nvmlReturn_t rc) {
  return rc == NVML_ERROR_UNINITIALIZED || rc == NVML_ERROR_DRIVER_NOT_LOADED ||
         rc == NVML_ERROR_GPU_IS_LOST || rc == NVML_ERROR_LIB_RM_VERSION_MISMATCH;
}

}  // namespace tranche
