#include "sim/machine/memory_limits.h"

#include <algorithm>
#include <iterator>

#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

namespace {

// Where the unified hierarchy is mounted: beside those of cgroup v1, and alone.
constexpr std::string_view kMounts[] = {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"};

// The path in the hierarchy: "/" for the mount point itself. Empty when it is none.
std::string_view CgroupOf(const char* path) {
  const std::string_view text = path == nullptr ? "" : path;
  const auto* mount = std::find_if(std::begin(kMounts), std::end(kMounts),
                                   [&](auto one) { return text.substr(0, one.size()) == one; });
  if (mount == std::end(kMounts)) return {};
  std::string_view rest = text.substr(mount->size());
  while (rest.size() > 1 && rest.back() == '/') rest.remove_suffix(1);
  if (rest.empty()) return "/";
  return rest.front() == '/' ? rest : std::string_view{};
}

}  // namespace

// Instances have their own memory; a GPU in MIG mode takes no limits.

NVML_EXPORT nvmlReturn_t nvmlDeviceSetMemoryLimits_v1(nvmlDevice_t device,
                                                      nvmlDeviceSetMemoryLimits_v1_t* limits) {
  return ChangeGpu(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (limits == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    const std::string_view cgroup = CgroupOf(limits->nameSpace);
    if (cgroup.empty() || limits->softLimit > limits->hardLimit) return NVML_ERROR_INVALID_ARGUMENT;
    if (d.gpu.mig_mode != 0) return NVML_ERROR_NOT_SUPPORTED;
    const nvmlReturn_t may = NeedRoot(d);
    if (may != NVML_SUCCESS) return may;
    return ToNvml(
        SetMemoryLimit(&state, d.index, cgroup, limits->softLimit,
                       limits->hardLimit >= d.spec.memory_bytes ? kNoLimit : limits->hardLimit));
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMemoryLimits_v1(nvmlDevice_t device,
                                                      nvmlDeviceGetMemoryLimits_v1_t* limits) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (limits == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    const std::string_view cgroup = CgroupOf(limits->nameSpace);
    if (cgroup.empty()) return NVML_ERROR_INVALID_ARGUMENT;
    if (d.gpu.mig_mode != 0) return NVML_ERROR_NOT_SUPPORTED;
    const MemoryLimit* limit = FindMemoryLimit(d.state, d.index, cgroup);
    limits->softLimit = limit == nullptr ? 0 : limit->soft_bytes;
    limits->hardLimit = limit == nullptr ? kNoLimit : limit->hard_bytes;
    limits->currentUsed = MemoryUsedIn(d.state, d.index, cgroup);
    return NVML_SUCCESS;
  });
}
