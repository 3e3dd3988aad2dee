#include <string.h>

#include "limiter/nvml/slice_view.h"
#include "limiter/nvml/symbols.h"

// The device's memory, as cuMemGetInfo tells it of the same slice: the total is the limit, free is
// what the slice may still take of what the device still has.
namespace tranche::limiter::nvml {
namespace {

unsigned long long Least(unsigned long long a, unsigned long long b) { return a < b ? a : b; }

}  // namespace

// The first version counts what is not free as used.
NVML_HOOK(nvmlDeviceGetMemoryInfo, (nvmlDevice_t device, nvmlMemory_t* memory)) {
  const nvmlReturn_t answer = NVML_REAL(nvmlDeviceGetMemoryInfo)(device, memory);
  if (answer != NVML_SUCCESS) return answer;
  const TenantDevice ours = TenantDevice::Of(device);
  if (ours.kind() == TenantDevice::kForeign) return answer;
  if (ours.kind() == TenantDevice::kUnknown) {
    memset(memory, 0, sizeof(*memory));
    return NVML_ERROR_NOT_READY;
  }
  const uint64_t limit = ours.limit(), used = ours.used();
  memory->total = Least(memory->total, limit);
  memory->free = Least(memory->free, limit > used ? limit - used : 0);
  memory->used = memory->total - Least(memory->total, memory->free);
  return answer;
}

// The second tells apart what the slice holds and what it can have neither now nor by freeing:
// others hold it, or the driver.
NVML_HOOK(nvmlDeviceGetMemoryInfo_v2, (nvmlDevice_t device, nvmlMemory_v2_t* memory)) {
  const nvmlReturn_t answer = NVML_REAL(nvmlDeviceGetMemoryInfo_v2)(device, memory);
  if (answer != NVML_SUCCESS) return answer;
  const TenantDevice ours = TenantDevice::Of(device);
  if (ours.kind() == TenantDevice::kForeign) return answer;
  if (ours.kind() == TenantDevice::kUnknown) {
    const unsigned int version = memory->version;
    memset(memory, 0, sizeof(*memory));
    memory->version = version;
    return NVML_ERROR_NOT_READY;
  }
  const uint64_t limit = ours.limit(), used = ours.used();
  memory->total = Least(memory->total, limit);
  memory->free = Least(memory->free, limit > used ? limit - used : 0);
  memory->used = Least(used, memory->total - Least(memory->total, memory->free));
  memory->reserved = memory->total - memory->free - memory->used;
  return answer;
}

}  // namespace tranche::limiter::nvml
