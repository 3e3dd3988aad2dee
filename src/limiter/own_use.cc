#include "limiter/own_use.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "abi/nvml.h"
#include "limiter/real_library.h"

namespace tranche::limiter {
namespace {

// Of processes on one GPU.
constexpr unsigned int kMost = 256;

template <typename Function>
Function* Find(const char* name) {
  void* library = real_library::NvidiaMl();
  return library == nullptr ? nullptr
                            : reinterpret_cast<Function*>(real_library::Find(library, name));
}
#define NVML(name) Find<decltype(::name)>(#name)

using List = decltype(nvmlDeviceGetComputeRunningProcesses_v3);

// `list` and an older one of the same layout.
bool FindOwn(List* list, List* older, nvmlDevice_t device, uint64_t* bytes) {
  if (list == nullptr) list = older;
  nvmlProcessInfo_t infos[kMost];
  unsigned int count = kMost;
  if (list == nullptr || list(device, &count, infos) != NVML_SUCCESS || count > kMost) return false;
  const auto own = static_cast<unsigned int>(getpid());
  uint64_t sum = 0;
  bool found = false;
  for (unsigned int i = 0; i < count; ++i) {
    if (infos[i].pid != own) continue;
    if (infos[i].usedGpuMemory == NVML_VALUE_NOT_AVAILABLE_ULL) return false;
    sum += infos[i].usedGpuMemory;
    found = true;
  }
  *bytes = sum;
  return found;
}

// As NVML writes it, behind "GPU-" or "MIG-".
void Write(const uint8_t* uuid, const char* prefix, char* text) {
  constexpr char kDigits[] = "0123456789abcdef";
  memcpy(text, prefix, 4);
  char* at = text + 4;
  for (int i = 0; i < 16; ++i) {
    if (i == 4 || i == 6 || i == 8 || i == 10) *at++ = '-';
    *at++ = kDigits[uuid[i] >> 4];
    *at++ = kDigits[uuid[i] & 15];
  }
  *at = 0;
}

}  // namespace

namespace {

bool ReadInitialised(const uint8_t* uuid, uint64_t* bytes) {
  const auto by_uuid = NVML(nvmlDeviceGetHandleByUUID);
  constexpr const char* kPrefixes[] = {"GPU-", "MIG-"};
  for (const char* prefix : kPrefixes) {
    char text[48];
    Write(uuid, prefix, text);
    nvmlDevice_t device = {};
    if (by_uuid == nullptr || by_uuid(text, &device) != NVML_SUCCESS) continue;
    return FindOwn(NVML(nvmlDeviceGetComputeRunningProcesses_v3),
                   NVML(nvmlDeviceGetComputeRunningProcesses_v2), device, bytes) ||
           FindOwn(NVML(nvmlDeviceGetMPSComputeRunningProcesses_v3),
                   NVML(nvmlDeviceGetMPSComputeRunningProcesses_v2), device, bytes);
  }
  return false;
}

// Without waking the GPUs that nobody asks for.
bool Initialise() {
  const auto init_with = NVML(nvmlInitWithFlags);
  if (init_with != nullptr && init_with(NVML_INIT_FLAG_NO_ATTACH) == NVML_SUCCESS) return true;
  const auto init = NVML(nvmlInit_v2);
  return init != nullptr && init() == NVML_SUCCESS;
}

}  // namespace

bool ReadOwnUse(const uint8_t* uuid, uint64_t* bytes) {
  const int before = errno;
  bool known = false;
  const auto shutdown = NVML(nvmlShutdown);
  // It counts its users.
  if (shutdown != nullptr && Initialise()) {
    known = ReadInitialised(uuid, bytes);
    shutdown();
  }
  errno = before;
  return known;
}

}  // namespace tranche::limiter
