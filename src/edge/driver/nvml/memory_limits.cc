#include "edge/driver/nvml/memory_limits.h"

#include <fmt/format.h>

#include <limits>

namespace tranche {
namespace {

constexpr unsigned long long kUnlimited = std::numeric_limits<unsigned long long>::max();

Error Refused(nvmlReturn_t rc, const FoundGpu& found, const std::string& doing) {
  if (rc == NVML_ERROR_FUNCTION_NOT_FOUND) {
    return {ErrorCode::kUnsupported,
            doing + ": this driver has no memory limits; they came with 615",
            "without them the limiter holds memory, inside the tenant's process"};
  }
  if (rc == NVML_ERROR_NOT_SUPPORTED && found.gpu.mig_mode && found.gpu.mig_mode->current) {
    return {ErrorCode::kUnsupported, doing + ": a GPU in MIG mode takes none",
            "its instances have memory of their own"};
  }
  return NvmlError(rc, doing);
}

}  // namespace

Result<MemoryLimitsRead> ReadMemoryLimits(const NvmlLibrary& nvml, const FoundGpu& found,
                                          const std::string& cgroup) {
  nvmlDeviceGetMemoryLimits_v1_t read = {};
  read.nameSpace = cgroup.c_str();
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetMemoryLimits_v1, found.device, &read);
  if (rc != NVML_SUCCESS) {
    return tl::unexpected(
        Refused(rc, found,
                fmt::format("reading the memory limits of {} on gpu{}", cgroup, found.gpu.index)));
  }
  MemoryLimitsRead limits;
  limits.limits.soft = Bytes{read.softLimit};
  // The driver may say "no limit" as the whole GPU.
  const bool bounded = read.hardLimit < found.gpu.memory_total.value;
  if (bounded) limits.limits.hard = Bytes{read.hardLimit};
  limits.used = Bytes{read.currentUsed};
  return limits;
}

Status ChangeMemoryLimits(const NvmlLibrary& nvml, const FoundGpu& found, const std::string& cgroup,
                          const MemoryLimits& limits) {
  nvmlDeviceSetMemoryLimits_v1_t wanted = {};
  wanted.nameSpace = cgroup.c_str();
  wanted.softLimit = limits.soft.value;
  wanted.hardLimit = limits.hard ? limits.hard->value : kUnlimited;
  const std::string doing =
      fmt::format("setting the memory limits of {} on gpu{}", cgroup, found.gpu.index);
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceSetMemoryLimits_v1, found.device, &wanted);
  if (rc != NVML_SUCCESS) return tl::unexpected(Refused(rc, found, doing));
  const Result<MemoryLimitsRead> now = ReadMemoryLimits(nvml, found, cgroup);
  if (!now) return tl::unexpected(now.error());
  if (now->limits == limits) return {};
  return Fail(ErrorCode::kFailed,
              fmt::format("{}: the driver took it and now says {} kept, at most {}", doing,
                          FormatBytes(now->limits.soft),
                          now->limits.hard ? FormatBytes(*now->limits.hard) : "unlimited"));
}

}  // namespace tranche
