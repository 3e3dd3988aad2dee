#include "edge/driver/nvml/read_processes.h"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

namespace tranche {
namespace {

using List = std::vector<nvmlProcessInfo_t>;

nvmlProcessInfo_t Widened(const nvmlProcessInfo_v1_t& info) {
  return {info.pid, info.usedGpuMemory, NVML_VALUE_NOT_AVAILABLE_UINT,
          NVML_VALUE_NOT_AVAILABLE_UINT};
}

// The newest of the three calls that this driver has. _v2 and _v3 have one layout, the unversioned
// call an older one without instance ids.
template <typename Newest, typename Newer, typename Oldest>
Answer<List> ReadNewest(const NvmlLibrary& nvml, nvmlDevice_t device, Newest v3, Newer v2,
                        Oldest v1) {
  const auto newest = v3 != nullptr ? v3 : v2;
  if (newest != nullptr) {
    return ReadList<nvmlProcessInfo_t>([&](unsigned int* count, nvmlProcessInfo_t* infos) {
      return nvml.Call(newest, device, count, infos);
    });
  }
  const auto old =
      ReadList<nvmlProcessInfo_v1_t>([&](unsigned int* count, nvmlProcessInfo_v1_t* infos) {
        return nvml.Call(v1, device, count, infos);
      });
  if (!old) return tl::unexpected(old.error());
  List list;
  for (const nvmlProcessInfo_v1_t& info : *old) list.push_back(Widened(info));
  return list;
}

std::optional<int> InstanceId(unsigned int id) {
  if (id == NVML_VALUE_NOT_AVAILABLE_UINT || id > 0xffff) return std::nullopt;
  return static_cast<int>(id);
}

GpuProcess FromNvml(const NvmlLibrary& nvml, const nvmlProcessInfo_t& info) {
  GpuProcess process;
  process.pid = static_cast<int>(info.pid);
  if (info.usedGpuMemory == NVML_VALUE_NOT_AVAILABLE_ULL) {
    process.memory_used = Reading<Bytes>::Absent("the driver does not know");
  } else {
    process.memory_used = Bytes{info.usedGpuMemory};
  }
  process.uid = Reading<uint32_t>::Absent("the driver does not say");
  process.gpu_instance = InstanceId(info.gpuInstanceId);
  process.compute_instance = InstanceId(info.computeInstanceId);
  if (auto name = ReadText<1024>(nvml, nvml.nvmlSystemGetProcessName, info.pid)) {
    process.command = *name;
  }
  return process;
}

}  // namespace

Answer<std::vector<GpuProcess>> ReadProcesses(const NvmlLibrary& nvml, nvmlDevice_t device) {
  // An MPS client is in the compute list of some drivers and only in the MPS list of others; a
  // process that draws and computes is in two. One entry per process and instance.
  std::map<std::tuple<int, int, int>, GpuProcess> found;
  const auto add = [&](const Answer<List>& list, bool graphics) {
    if (!list) return;
    for (const nvmlProcessInfo_t& info : *list) {
      if (info.pid == 0 || info.pid > static_cast<unsigned>(std::numeric_limits<int>::max())) {
        continue;
      }
      GpuProcess process = FromNvml(nvml, info);
      process.graphics = graphics;
      found.emplace(std::tuple(process.pid, process.gpu_instance.value_or(-1),
                               process.compute_instance.value_or(-1)),
                    std::move(process));
    }
  };
  const Answer<List> compute = ReadNewest(
      nvml, device, nvml.nvmlDeviceGetComputeRunningProcesses_v3,
      nvml.nvmlDeviceGetComputeRunningProcesses_v2, nvml.nvmlDeviceGetComputeRunningProcesses);
  if (!compute) return tl::unexpected(compute.error());
  add(compute, false);
  add(ReadNewest(nvml, device, nvml.nvmlDeviceGetMPSComputeRunningProcesses_v3,
                 nvml.nvmlDeviceGetMPSComputeRunningProcesses_v2,
                 nvml.nvmlDeviceGetMPSComputeRunningProcesses),
      false);
  add(ReadNewest(nvml, device, nvml.nvmlDeviceGetGraphicsRunningProcesses_v3,
                 nvml.nvmlDeviceGetGraphicsRunningProcesses_v2,
                 nvml.nvmlDeviceGetGraphicsRunningProcesses),
      true);
  std::vector<GpuProcess> processes;
  for (auto& [key, process] : found) processes.push_back(std::move(process));
  return processes;
}

}  // namespace tranche
