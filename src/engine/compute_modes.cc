#include <fmt/format.h>

#include <algorithm>

#include "engine/engine_impl.h"

// Compute modes that keep a GPU for an MPS server, and what `status` says of such GPUs.

namespace tranche {
namespace {

constexpr Duration kRetryInterval = std::chrono::seconds(30);

// What holds a slice as a whole, and what each of its processes for itself.
std::vector<std::string> WhoHolds(const char* memory, const std::optional<MpsCeilings>& ceilings) {
  if (!ceilings) return {fmt::format("each slice: {}", memory), "no MPS daemon runs"};
  if (ceilings->partitioned) {
    return {
        fmt::format("each slice: {}, SMs by its static partition", memory),
        fmt::format("each process: at most {} by the server", FormatBytes(*ceilings->most.memory))};
  }
  const std::string slice = fmt::format("each slice: {}, time by the limiter", memory);
  if (ceilings->apart) {
    return {slice,
            "each process: at most its slice's memory and share of the SMs by the server, in a "
            "namespace of its slice's own"};
  }
  return {slice,
          fmt::format("each process: at most {} and {} % of the SMs by the server; less where its "
                      "slice's share is less, by its environment",
                      FormatBytes(*ceilings->most.memory),
                      ceilings->most.thread_percentage.value_or(100))};
}

std::string KeyOf(const std::string& gpu_uuid) { return "compute mode of " + gpu_uuid; }

}  // namespace

std::set<std::string> EngineImpl::ExclusiveForMps() {
  std::set<std::string> uuids;
  for (const SetComputeMode& set : installation().deployment.compute_modes)
    uuids.insert(set.gpu_uuid);
  return uuids;
}

void EngineImpl::CheckComputeModes(const Machine& machine) {
  const Deployment deployment = installation().deployment;
  const Duration now = clock_->Monotonic();
  for (const SetComputeMode& set : deployment.compute_modes) {
    const std::string key = KeyOf(set.gpu_uuid);
    const Gpu* gpu = machine.FindGpu(set.gpu_uuid);
    if (gpu == nullptr || !gpu->compute_mode || *gpu->compute_mode == set.compute_mode) {
      Warn(key, "");
      mode_retry_at_.erase(key);
      continue;
    }
    const auto retry = mode_retry_at_.find(key);
    if (retry != mode_retry_at_.end() && now < retry->second) continue;
    const char* found = ComputeModeName(*gpu->compute_mode);
    if (const Status again = driver_.SetComputeMode(set.gpu_uuid, set.compute_mode); !again) {
      mode_retry_at_[key] = now + kRetryInterval;
      Warn(key, fmt::format("MPS on gpu{} fails open: its compute mode is {}, and {}", gpu->index,
                            found, again.error().message));
      continue;
    }
    mode_retry_at_.erase(key);
    Warn(key, "");
    Note(set.gpu_uuid,
         fmt::format("its compute mode was {} and is {} again: a driver that is loaded anew "
                     "forgets it",
                     found, ComputeModeName(set.compute_mode)));
  }
}

void EngineImpl::AddMps(const Machine& machine, SystemStatus* status) {
  std::vector<MpsDevice> devices;
  for (const ReplicaStatus& replica : status->replicas) {
    if (replica.slice.mechanism != Mechanism::kMps || !replica.pid) continue;
    const auto known = std::find_if(devices.begin(), devices.end(), [&](const MpsDevice& device) {
      return device.device_uuid == replica.device_uuid;
    });
    MpsDevice& device = known != devices.end() ? *known : devices.emplace_back();
    device.gpu_uuid = replica.slice.gpu_uuid;
    device.gpu_index = replica.gpu_index;
    device.device_uuid = replica.device_uuid;
    ++device.tenants;
  }
  std::sort(devices.begin(), devices.end(), [](const MpsDevice& a, const MpsDevice& b) {
    return std::tie(a.gpu_index, a.device_uuid) < std::tie(b.gpu_index, b.device_uuid);
  });
  const std::vector<Lease> leases = leases_.List();
  for (MpsDevice& device : devices) {
    const Gpu* gpu = machine.FindGpu(device.gpu_uuid);
    if (device.device_uuid != device.gpu_uuid) {
      device.fails_open = "a GPU in MIG mode has no compute mode of its own";
    } else if (gpu == nullptr || !gpu->compute_mode) {
      device.fails_open = "the compute mode of its GPU cannot be read";
    } else if (*gpu->compute_mode != ComputeMode::kExclusiveProcess) {
      device.fails_open =
          fmt::format("the compute mode of its GPU is {}", ComputeModeName(*gpu->compute_mode));
    }
    const bool kernel = std::all_of(leases.begin(), leases.end(), [&](const Lease& lease) {
      return lease.device() != device.device_uuid || !lease.cgroup.empty();
    });
    const char* memory = kernel ? "memory by the limiter in its processes and by the kernel"
                                : "memory by the limiter in its processes";
    device.held = WhoHolds(memory, mps_.CeilingsOn(device.device_uuid));
  }
  status->mps = std::move(devices);
}

}  // namespace tranche
