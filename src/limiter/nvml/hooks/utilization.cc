#include <time.h>

#include "limiter/nvml/slice_view.h"
#include "limiter/nvml/symbols.h"

// How busy the slice's processes are.
//
// NVML samples by process only by the host's pids. Where the program counts others, as in a
// container, nothing can be matched: no process is shown then, and the GPU's utilization is left as
// it is, which is an upper bound, since to say 0 would be to say what is not known.
namespace tranche::limiter::nvml {
namespace {

constexpr uint32_t kMostSamples = 512;
// The driver averages over a second at most.
constexpr uint64_t kPeriodUs = 1000000;

template <typename Sample>
nvmlReturn_t KeepOurs(const TenantDevice& ours, Sample* samples, unsigned int* count) {
  unsigned int kept = 0;
  for (unsigned int i = 0; i < *count; ++i) {
    if (ours.kind() == TenantDevice::kOurs && ours.Has(samples[i].pid))
      samples[kept++] = samples[i];
  }
  *count = kept;
  if (ours.kind() == TenantDevice::kUnknown) return NVML_ERROR_NOT_READY;
  // As the driver says it where there is nothing to show.
  return kept == 0 ? NVML_ERROR_NOT_FOUND : NVML_SUCCESS;
}

// A process may have several samples; the last one says how it is now.
bool IsLatest(const nvmlProcessUtilizationSample_t* samples, unsigned int count, unsigned int at) {
  for (unsigned int i = 0; i < count; ++i) {
    if (i == at || samples[i].pid != samples[at].pid) continue;
    if (samples[i].timeStamp > samples[at].timeStamp) return false;
    if (samples[i].timeStamp == samples[at].timeStamp && i < at) return false;
  }
  return true;
}

unsigned int Percent(unsigned long long sum) {
  return sum > 100 ? 100 : static_cast<unsigned int>(sum);
}

}  // namespace

NVML_HOOK(nvmlDeviceGetProcessUtilization,
          (nvmlDevice_t device, nvmlProcessUtilizationSample_t* samples, unsigned int* count,
           unsigned long long last_seen)) {
  const nvmlReturn_t answer =
      NVML_REAL(nvmlDeviceGetProcessUtilization)(device, samples, count, last_seen);
  if (answer != NVML_SUCCESS || samples == nullptr || count == nullptr) return answer;
  const TenantDevice ours = TenantDevice::Of(device);
  return ours.kind() == TenantDevice::kForeign ? answer : KeepOurs(ours, samples, count);
}

NVML_HOOK(nvmlDeviceGetProcessesUtilizationInfo,
          (nvmlDevice_t device, nvmlProcessesUtilizationInfo_t* info)) {
  const nvmlReturn_t answer = NVML_REAL(nvmlDeviceGetProcessesUtilizationInfo)(device, info);
  if (answer != NVML_SUCCESS || info == nullptr || info->procUtilArray == nullptr) return answer;
  const TenantDevice ours = TenantDevice::Of(device);
  if (ours.kind() == TenantDevice::kForeign) return answer;
  return KeepOurs(ours, info->procUtilArray, &info->processSamplesCount);
}

// The sum over the slice's processes, where it can be known.
NVML_HOOK(nvmlDeviceGetUtilizationRates, (nvmlDevice_t device, nvmlUtilization_t* utilization)) {
  const nvmlReturn_t answer = NVML_REAL(nvmlDeviceGetUtilizationRates)(device, utilization);
  if (answer != NVML_SUCCESS) return answer;
  const TenantDevice ours = TenantDevice::Of(device);
  if (ours.kind() != TenantDevice::kOurs) return answer;
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const uint64_t now_us =
      static_cast<uint64_t>(now.tv_sec) * 1000000 + static_cast<uint64_t>(now.tv_nsec) / 1000;
  nvmlProcessUtilizationSample_t samples[kMostSamples];
  unsigned int count = kMostSamples;
  const nvmlReturn_t known =
      NVML_REAL(nvmlDeviceGetProcessUtilization)(device, samples, &count, now_us - kPeriodUs);
  if (known == NVML_ERROR_NOT_FOUND) count = 0;
  if (known != NVML_SUCCESS && known != NVML_ERROR_NOT_FOUND) return answer;
  unsigned long long sm = 0, memory = 0;
  bool matched = false;
  if (count > kMostSamples) count = kMostSamples;
  for (unsigned int i = 0; i < count; ++i) {
    if (!ours.Has(samples[i].pid) || !IsLatest(samples, count, i)) continue;
    matched = true;
    sm += samples[i].smUtil;
    memory += samples[i].memUtil;
  }
  if (!matched && !TenantDevice::SeesHostPids()) return answer;
  *utilization = {Percent(sm), Percent(memory)};
  return answer;
}

}  // namespace tranche::limiter::nvml
