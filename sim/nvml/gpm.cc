#include <map>
#include <memory>
#include <mutex>

#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

namespace {

// What GPM keeps of one moment: integrals, of which two samples make averages.
struct Sample {
  bool taken = false;
  uint32_t gpu = 0;
  uint64_t gi = 0;  // serial; 0 = the whole GPU
  uint64_t time_ns = 0;
  double busy_seconds = 0;
  double memory_busy_seconds = 0;
};

class Samples {
 public:
  static Samples& Get() {
    static Undying<Samples> samples;
    return *samples;
  }
  nvmlGpmSample_t Add() {
    auto sample = std::make_unique<Sample>();
    nvmlGpmSample_t handle;
    handle.handle = reinterpret_cast<nvmlGpmSample_st*>(sample.get());
    std::lock_guard<std::mutex> lock(mutex_);
    samples_[handle.handle] = std::move(sample);
    return handle;
  }
  bool Remove(nvmlGpmSample_t handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    return samples_.erase(handle.handle) != 0;
  }
  bool Put(nvmlGpmSample_t handle, const Sample& value) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = samples_.find(handle.handle);
    if (found == samples_.end()) return false;
    *found->second = value;
    return true;
  }
  bool Take(nvmlGpmSample_t handle, Sample* value) {
    std::lock_guard<std::mutex> lock(mutex_);
    auto found = samples_.find(handle.handle);
    if (found == samples_.end()) return false;
    *value = *found->second;
    return true;
  }

 private:
  std::mutex mutex_;
  std::map<nvmlGpmSample_st*, std::unique_ptr<Sample>> samples_;  // guarded by mutex_
};

// From Hopper on; not on GeForce.
bool HasGpm(const GpuSpec& gpu) { return gpu.arch >= Arch::kHopper && gpu.ecc; }

nvmlReturn_t TakeSample(const Device& d, const GpuInstance* gi, nvmlGpmSample_t handle) {
  if (!HasGpm(d.spec)) return NVML_ERROR_NOT_SUPPORTED;
  Sample sample;
  sample.taken = true;
  sample.gpu = d.index;
  sample.gi = gi == nullptr ? 0 : gi->serial;
  sample.time_ns = d.state.time_ns;
  sample.busy_seconds = gi == nullptr ? d.gpu.busy_seconds : gi->busy_seconds;
  sample.memory_busy_seconds = gi == nullptr ? d.gpu.memory_busy_seconds : gi->memory_busy_seconds;
  if (!Samples::Get().Put(handle, sample)) return NVML_ERROR_INVALID_ARGUMENT;
  return NVML_SUCCESS;
}

struct MetricName {
  unsigned int id;
  const char* short_name;
  const char* long_name;
  const char* unit;
};

constexpr MetricName kNames[] = {
    {NVML_GPM_METRIC_GRAPHICS_UTIL, "graphics_util", "Graphics Utilization", "%"},
    {NVML_GPM_METRIC_SM_UTIL, "sm_util", "SM Utilization", "%"},
    {NVML_GPM_METRIC_SM_OCCUPANCY, "sm_occupancy", "SM Occupancy", "%"},
    {NVML_GPM_METRIC_INTEGER_UTIL, "integer_util", "Integer Utilization", "%"},
    {NVML_GPM_METRIC_ANY_TENSOR_UTIL, "any_tensor_util", "Any Tensor Utilization", "%"},
    {NVML_GPM_METRIC_HMMA_TENSOR_UTIL, "hmma_tensor_util", "HMMA Tensor Utilization", "%"},
    {NVML_GPM_METRIC_DRAM_BW_UTIL, "dram_bw_util", "DRAM Bandwidth Utilization", "%"},
    {NVML_GPM_METRIC_FP64_UTIL, "fp64_util", "FP64 Utilization", "%"},
    {NVML_GPM_METRIC_FP32_UTIL, "fp32_util", "FP32 Utilization", "%"},
    {NVML_GPM_METRIC_FP16_UTIL, "fp16_util", "FP16 Utilization", "%"},
    {NVML_GPM_METRIC_PCIE_TX_PER_SEC, "pcie_tx_per_sec", "PCIe TX per second", "MiB/s"},
    {NVML_GPM_METRIC_PCIE_RX_PER_SEC, "pcie_rx_per_sec", "PCIe RX per second", "MiB/s"},
};

// What a busy SM of an inference workload does, roughly: half its warps, most of its tensor cores.
nvmlReturn_t Value(unsigned int id, double sm, double memory, double* value) {
  switch (id) {
    case NVML_GPM_METRIC_GRAPHICS_UTIL:
    case NVML_GPM_METRIC_SM_UTIL:
      *value = sm;
      break;
    case NVML_GPM_METRIC_SM_OCCUPANCY:
      *value = sm * 0.5;
      break;
    case NVML_GPM_METRIC_INTEGER_UTIL:
      *value = sm * 0.1;
      break;
    case NVML_GPM_METRIC_ANY_TENSOR_UTIL:
    case NVML_GPM_METRIC_HMMA_TENSOR_UTIL:
      *value = sm * 0.6;
      break;
    case NVML_GPM_METRIC_DRAM_BW_UTIL:
      *value = memory;
      break;
    case NVML_GPM_METRIC_FP64_UTIL:
      *value = 0;
      break;
    case NVML_GPM_METRIC_FP32_UTIL:
    case NVML_GPM_METRIC_FP16_UTIL:
      *value = sm * 0.1;
      break;
    case NVML_GPM_METRIC_PCIE_TX_PER_SEC:
    case NVML_GPM_METRIC_PCIE_RX_PER_SEC:
      *value = memory * 10;
      break;
    default:
      return NVML_ERROR_NOT_SUPPORTED;
  }
  return NVML_SUCCESS;
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlGpmQueryDeviceSupport(nvmlDevice_t device, nvmlGpmSupport_t* support) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (support == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (support->version != NVML_GPM_SUPPORT_VERSION) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    support->isSupportedDevice = HasGpm(d.spec) ? 1 : 0;
    return NVML_SUCCESS;
  });
}

// Samples belong to the process, not to a GPU: neither call needs nvmlInit.
NVML_EXPORT nvmlReturn_t nvmlGpmSampleAlloc(nvmlGpmSample_t* sample) {
  if (sample == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *sample = Samples::Get().Add();
  return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlGpmSampleFree(nvmlGpmSample_t sample) {
  if (!Samples::Get().Remove(sample)) return NVML_ERROR_INVALID_ARGUMENT;
  return NVML_SUCCESS;
}

NVML_EXPORT nvmlReturn_t nvmlGpmSampleGet(nvmlDevice_t device, nvmlGpmSample_t sample) {
  return OnDevice(__func__, device, [&](const Device& d) { return TakeSample(d, d.gi, sample); });
}

NVML_EXPORT nvmlReturn_t nvmlGpmMigSampleGet(nvmlDevice_t device, unsigned int gi_id,
                                             nvmlGpmSample_t sample) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (!HasGpm(d.spec) || !d.gpu.mig_mode) return NVML_ERROR_NOT_SUPPORTED;
    const GpuInstance* gi = FindGiById(d.gpu, gi_id);
    if (gi == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    return TakeSample(d, gi, sample);
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpmMetricsGet(nvmlGpmMetricsGet_t* request) {
  return OnMachine(__func__, [&](Machine&, const MachineState&) -> nvmlReturn_t {
    if (request == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (request->version != NVML_GPM_METRICS_GET_VERSION)
      return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
    Sample first, second;
    bool known = Samples::Get().Take(request->sample1, &first) &&
                 Samples::Get().Take(request->sample2, &second);
    if (!known || !first.taken || !second.taken || first.gpu != second.gpu ||
        first.gi != second.gi || request->numMetrics == 0 ||
        request->numMetrics > NVML_GPM_METRIC_MAX) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    double seconds =
        (static_cast<double>(second.time_ns) - static_cast<double>(first.time_ns)) * 1e-9;
    for (unsigned int i = 0; i < request->numMetrics; ++i) {
      nvmlGpmMetric_t& metric = request->metrics[i];
      metric.value = 0;
      metric.metricInfo = {nullptr, nullptr, nullptr};
      if (metric.metricId == 0 || metric.metricId > NVML_GPM_METRIC_MAX) {
        metric.nvmlReturn = NVML_ERROR_INVALID_ARGUMENT;
        continue;
      }
      if (seconds <= 0) {
        metric.nvmlReturn = NVML_ERROR_NO_DATA;
        continue;
      }
      double sm = (second.busy_seconds - first.busy_seconds) / seconds * 100;
      double memory = (second.memory_busy_seconds - first.memory_busy_seconds) / seconds * 100;
      metric.nvmlReturn = Value(metric.metricId, sm, memory, &metric.value);
      for (const MetricName& name : kNames) {
        if (name.id != metric.metricId) continue;
        metric.metricInfo = {const_cast<char*>(name.short_name), const_cast<char*>(name.long_name),
                             const_cast<char*>(name.unit)};
      }
    }
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpmQueryIfStreamingEnabled(nvmlDevice_t device, unsigned int* state) {
  return OnBoard(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (!HasGpm(d.spec)) return NVML_ERROR_NOT_SUPPORTED;
    return Put(state, d.gpu.gpm_streaming);
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpmSetStreamingEnabled(nvmlDevice_t device, unsigned int enabled) {
  return ChangeBoard(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (enabled > 1) return NVML_ERROR_INVALID_ARGUMENT;
    if (!HasGpm(d.spec)) return NVML_ERROR_NOT_SUPPORTED;
    nvmlReturn_t allowed = NeedRoot(d);
    if (allowed != NVML_SUCCESS) return allowed;
    state.gpus[d.index].gpm_streaming = enabled;
    return NVML_SUCCESS;
  });
}
