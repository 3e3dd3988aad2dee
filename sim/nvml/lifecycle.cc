#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <string>

#include "sim/machine/process_table.h"
#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

NVML_EXPORT nvmlReturn_t nvmlInit_v2(void) { return Library::Get().Init(); }
NVML_EXPORT nvmlReturn_t nvmlInit(void) { return Library::Get().Init(); }

NVML_EXPORT nvmlReturn_t nvmlInitWithFlags(unsigned int flags) {
  if (flags & ~static_cast<unsigned int>(NVML_INIT_FLAG_NO_GPUS | NVML_INIT_FLAG_NO_ATTACH)) {
    return NVML_ERROR_INVALID_ARGUMENT;
  }
  return Library::Get().Init();
}

NVML_EXPORT nvmlReturn_t nvmlShutdown(void) { return Library::Get().Shutdown(); }

NVML_EXPORT const char* nvmlErrorString(nvmlReturn_t result) {
  switch (result) {
    case NVML_SUCCESS:
      return "The operation was successful";
    case NVML_ERROR_UNINITIALIZED:
      return "Uninitialized";
    case NVML_ERROR_INVALID_ARGUMENT:
      return "Invalid Argument";
    case NVML_ERROR_NOT_SUPPORTED:
      return "Not Supported";
    case NVML_ERROR_NO_PERMISSION:
      return "Insufficient Permissions";
    case NVML_ERROR_ALREADY_INITIALIZED:
      return "Already Initialized";
    case NVML_ERROR_NOT_FOUND:
      return "Not Found";
    case NVML_ERROR_INSUFFICIENT_SIZE:
      return "Insufficient Size";
    case NVML_ERROR_INSUFFICIENT_POWER:
      return "Insufficient External Power";
    case NVML_ERROR_DRIVER_NOT_LOADED:
      return "Driver Not Loaded";
    case NVML_ERROR_TIMEOUT:
      return "Timeout";
    case NVML_ERROR_IRQ_ISSUE:
      return "Interrupt Request Issue";
    case NVML_ERROR_LIBRARY_NOT_FOUND:
      return "NVML Shared Library Not Found";
    case NVML_ERROR_FUNCTION_NOT_FOUND:
      return "Function Not Found";
    case NVML_ERROR_CORRUPTED_INFOROM:
      return "Corrupted infoROM";
    case NVML_ERROR_GPU_IS_LOST:
      return "GPU is lost";
    case NVML_ERROR_RESET_REQUIRED:
      return "GPU requires reset";
    case NVML_ERROR_OPERATING_SYSTEM:
      return "GPU access blocked by the operating system";
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
      return "Driver/library version mismatch";
    case NVML_ERROR_IN_USE:
      return "In use by another client";
    case NVML_ERROR_MEMORY:
      return "Insufficient Memory";
    case NVML_ERROR_NO_DATA:
      return "No data";
    case NVML_ERROR_VGPU_ECC_NOT_SUPPORTED:
      return "vGPU operation is not available on target device, because ECC is enabled";
    case NVML_ERROR_INSUFFICIENT_RESOURCES:
      return "Insufficient Resources";
    case NVML_ERROR_FREQ_NOT_SUPPORTED:
      return "Requested frequency is not supported";
    case NVML_ERROR_ARGUMENT_VERSION_MISMATCH:
      return "Argument version mismatch";
    case NVML_ERROR_DEPRECATED:
      return "Deprecated";
    case NVML_ERROR_NOT_READY:
      return "Not ready";
    case NVML_ERROR_GPU_NOT_FOUND:
      return "GPU not found";
    case NVML_ERROR_INVALID_STATE:
      return "Invalid state";
    case NVML_ERROR_RESET_TYPE_NOT_SUPPORTED:
      return "Reset type not supported";
    default:
      return "Unknown Error";
  }
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetDriverVersion(char* version, unsigned int length) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState&) {
    return CopyText(machine.spec().driver.version, version, length);
  });
}

// This and the CUDA version need no nvmlInit.
NVML_EXPORT nvmlReturn_t nvmlSystemGetNVMLVersion(char* version, unsigned int length) {
  std::shared_ptr<Machine> machine = Library::Get().MachineAtHand();
  if (machine == nullptr) return NVML_ERROR_DRIVER_NOT_LOADED;
  const DriverSpec& driver = machine->spec().driver;
  return CopyText(std::to_string(driver.cuda_version / 1000) + "." + driver.version, version,
                  length);
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetDriverBranch(char* branch, unsigned int length) {
  return OnMachine(__func__, [&](Machine& machine, const MachineState&) {
    char text[16];
    std::snprintf(text, sizeof(text), "r%u_00", machine.spec().driver.branch);
    return CopyText(text, branch, length);
  });
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion(int* version) {
  std::shared_ptr<Machine> machine = Library::Get().MachineAtHand();
  if (machine == nullptr) return NVML_ERROR_DRIVER_NOT_LOADED;
  return Put(version, machine->spec().driver.cuda_version);
}

NVML_EXPORT nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int* version) {
  return nvmlSystemGetCudaDriverVersion(version);
}

namespace {

// The first word of its command line, or its name where that is not to be read.
std::string CommandOf(uint32_t pid) {
  char path[40], text[4096];
  std::snprintf(path, sizeof(path), "/proc/%u/cmdline", pid);
  int fd = open(path, O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
  if (fd >= 0) close(fd);
  text[n > 0 ? n : 0] = 0;
  if (text[0] != 0) return text;
  Process process;
  return DescribeProcess(pid, &process) ? process.name : "";
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlSystemGetProcessName(unsigned int pid, char* name,
                                                  unsigned int length) {
  return OnMachine(__func__, [&](Machine&, const MachineState&) -> nvmlReturn_t {
    if (name == nullptr || length == 0) return NVML_ERROR_INVALID_ARGUMENT;
    std::string command = CommandOf(pid);
    if (command.empty()) return NVML_ERROR_NOT_FOUND;
    // Cut to fit, as the driver does it.
    return CopyText(std::string_view(command).substr(0, length - 1), name, length);
  });
}
