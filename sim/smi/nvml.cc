#include "sim/smi/nvml.h"

#include <dlfcn.h>
#include <strings.h>

#include <algorithm>
#include <cstdarg>
#include <cstdio>
#include <sstream>

namespace tranche::sim::smi {
namespace {

// "00000000:18:00.0", however many zeros its domain is given with.
std::string PlainBusId(const std::string& text) {
  const size_t first = text.find(':');
  if (first == std::string::npos || text.find(':', first + 1) == std::string::npos) return text;
  std::string domain = text.substr(0, first);
  domain.erase(0, std::min(domain.find_first_not_of('0'), domain.size()));
  return domain + text.substr(first);
}

bool IsNamed(const Board& board, const std::string& id) {
  if (id == std::to_string(board.index) || id == board.uuid || id == board.serial) return true;
  return id.find(':') != std::string::npos &&
         strcasecmp(PlainBusId(id).c_str(), PlainBusId(board.bus_id).c_str()) == 0;
}

}  // namespace

Nvml::Nvml() {
  library_ = dlopen("libnvidia-ml.so.1", RTLD_NOW | RTLD_LOCAL);
  if (library_ == nullptr) return;
  auto* init = reinterpret_cast<decltype(&nvmlInit_v2)>(dlsym(library_, "nvmlInit_v2"));
  code_ = init == nullptr ? static_cast<nvmlReturn_t>(NVML_ERROR_FUNCTION_NOT_FOUND) : init();
}

Nvml::~Nvml() {
  if (code_ != NVML_SUCCESS) return;
  auto* shutdown = reinterpret_cast<decltype(&nvmlShutdown)>(Find("nvmlShutdown"));
  if (shutdown != nullptr) shutdown();
}

void* Nvml::Find(const char* name) const {
  return library_ == nullptr ? nullptr : dlsym(library_, name);
}

std::string Nvml::ErrorText(nvmlReturn_t code) const {
  auto* text = reinterpret_cast<decltype(&nvmlErrorString)>(Find("nvmlErrorString"));
  return text == nullptr ? "Unknown Error" : text(code);
}

std::vector<Board> ListBoards(const Nvml& nvml) {
  unsigned count = 0;
  std::vector<Board> boards;
  if (CALL(nvml, nvmlDeviceGetCount_v2, &count) != NVML_SUCCESS) return boards;
  for (unsigned i = 0; i < count; ++i) {
    Board board;
    board.index = i;
    board.code = CALL(nvml, nvmlDeviceGetHandleByIndex_v2, i, &board.device);
    if (board.code == NVML_SUCCESS) {
      char text[NVML_DEVICE_NAME_V2_BUFFER_SIZE] = {};
      const auto size = static_cast<unsigned>(sizeof(text));
      if (CALL(nvml, nvmlDeviceGetName, board.device, text, size) == NVML_SUCCESS)
        board.name = text;
      if (CALL(nvml, nvmlDeviceGetUUID, board.device, text, size) == NVML_SUCCESS)
        board.uuid = text;
      if (CALL(nvml, nvmlDeviceGetSerial, board.device, text, size) == NVML_SUCCESS)
        board.serial = text;
      nvmlPciInfo_t pci{};
      if (CALL(nvml, nvmlDeviceGetPciInfo_v3, board.device, &pci) == NVML_SUCCESS)
        board.bus_id = pci.busId;
    }
    boards.push_back(board);
  }
  return boards;
}

std::vector<MigDevice> ListMigDevices(const Nvml& nvml, const Board& board) {
  std::vector<MigDevice> devices;
  unsigned current = 0, pending = 0, count = 0;
  if (board.code != NVML_SUCCESS ||
      CALL(nvml, nvmlDeviceGetMigMode, board.device, &current, &pending) != NVML_SUCCESS ||
      current != NVML_DEVICE_MIG_ENABLE ||
      CALL(nvml, nvmlDeviceGetMaxMigDeviceCount, board.device, &count) != NVML_SUCCESS)
    return devices;
  for (unsigned i = 0; i < count; ++i) {
    MigDevice mig;
    mig.index = i;
    if (CALL(nvml, nvmlDeviceGetMigDeviceHandleByIndex, board.device, i, &mig.device) !=
        NVML_SUCCESS)
      continue;
    char text[NVML_DEVICE_NAME_V2_BUFFER_SIZE] = {};
    const auto size = static_cast<unsigned>(sizeof(text));
    if (CALL(nvml, nvmlDeviceGetUUID, mig.device, text, size) == NVML_SUCCESS) mig.uuid = text;
    // "NVIDIA H100 80GB HBM3 MIG 1g.10gb".
    if (CALL(nvml, nvmlDeviceGetName, mig.device, text, size) == NVML_SUCCESS) {
      const std::string name = text;
      const size_t at = name.rfind(" MIG ");
      mig.profile = at == std::string::npos ? name : name.substr(at + 5);
    }
    CALL(nvml, nvmlDeviceGetGpuInstanceId, mig.device, &mig.gi);
    CALL(nvml, nvmlDeviceGetComputeInstanceId, mig.device, &mig.ci);
    devices.push_back(mig);
  }
  return devices;
}

std::vector<Board> Select(const std::vector<Board>& boards, const std::string& ids) {
  if (ids.empty()) return boards;
  std::vector<Board> chosen;
  for (const std::string& id : Split(ids, ',')) {
    const auto found = std::find_if(boards.begin(), boards.end(),
                                    [&](const Board& board) { return IsNamed(board, id); });
    if (found == boards.end()) return {};
    chosen.push_back(*found);
  }
  return chosen;
}

std::string DriverVersion(const Nvml& nvml) {
  char text[NVML_SYSTEM_DRIVER_VERSION_BUFFER_SIZE] = {};
  CALL(nvml, nvmlSystemGetDriverVersion, text, static_cast<unsigned>(sizeof(text)));
  return text;
}

std::string CudaVersion(const Nvml& nvml) {
  int version = 0;
  if (CALL(nvml, nvmlSystemGetCudaDriverVersion_v2, &version) != NVML_SUCCESS) return "N/A";
  return Format("%d.%d", version / 1000, version % 1000 / 10);
}

int ExitCode(nvmlReturn_t code) {
  switch (code) {
    case NVML_SUCCESS:
    case NVML_ERROR_INVALID_ARGUMENT:
    case NVML_ERROR_NOT_SUPPORTED:
    case NVML_ERROR_NO_PERMISSION:
    case NVML_ERROR_NOT_FOUND:
    case NVML_ERROR_INSUFFICIENT_POWER:
    case NVML_ERROR_DRIVER_NOT_LOADED:
    case NVML_ERROR_IRQ_ISSUE:
    case NVML_ERROR_LIBRARY_NOT_FOUND:
    case NVML_ERROR_FUNCTION_NOT_FOUND:
    case NVML_ERROR_CORRUPTED_INFOROM:
    case NVML_ERROR_GPU_IS_LOST:
    case NVML_ERROR_LIB_RM_VERSION_MISMATCH:
    case NVML_ERROR_IN_USE:
    case NVML_ERROR_INSUFFICIENT_RESOURCES:
      return static_cast<int>(code);
    default:
      return 255;
  }
}

std::vector<std::string> Split(const std::string& text, char separator) {
  std::vector<std::string> parts;
  std::istringstream in(text);
  for (std::string part; std::getline(in, part, separator);) {
    const size_t first = part.find_first_not_of(" \t");
    const size_t last = part.find_last_not_of(" \t");
    parts.push_back(first == std::string::npos ? "" : part.substr(first, last - first + 1));
  }
  return parts;
}

std::string Format(const char* format, ...) {
  char text[1024];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return text;
}

}  // namespace tranche::sim::smi
