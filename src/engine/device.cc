#include "engine/device.h"

#include <fmt/format.h>

#include <algorithm>
#include <optional>

namespace tranche {
namespace {

// Whole GPUs, one or several.
Result<SliceDevice> WholeGpus(const Machine& machine, const Slice& slice) {
  SliceDevice device;
  std::vector<std::string> uuids = {slice.gpu_uuid};
  uuids.insert(uuids.end(), slice.more_gpu_uuids.begin(), slice.more_gpu_uuids.end());
  bool all_known = true;
  for (const std::string& uuid : uuids) {
    const Gpu* gpu = machine.FindGpu(uuid);
    if (gpu == nullptr) {
      return Fail(ErrorCode::kNotFound, fmt::format("GPU {} is not on this machine", uuid));
    }
    if (!gpu->health.usable) {
      return Fail(ErrorCode::kNotFound,
                  fmt::format("gpu{} cannot be used{}{}", gpu->index,
                              gpu->health.problems.empty() ? "" : ": ",
                              gpu->health.problems.empty() ? "" : gpu->health.problems.front()));
    }
    device.uuid += (device.uuid.empty() ? "" : ",") + gpu->uuid;
    all_known = all_known && gpu->minor_number;
    if (gpu->minor_number)
      device.grants.push_back({*gpu->minor_number, std::nullopt, std::nullopt});
  }
  // To grant some of them only would take the others away.
  if (!all_known) device.grants.clear();
  device.gpu_index = machine.FindGpu(slice.gpu_uuid)->index;
  return device;
}

const MigInstance* InstanceOf(const Gpu& gpu, const Slice& slice) {
  if (!slice.placement) return nullptr;
  const MigInstance* instance = gpu.FindInstance(*slice.placement);
  return instance != nullptr && instance->profile == slice.profile ? instance : nullptr;
}

}  // namespace

Result<SliceDevice> FindDevice(const Machine& machine, const Slice& slice) {
  if (!slice.placement) return WholeGpus(machine, slice);
  const Gpu* gpu = machine.FindGpu(slice.gpu_uuid);
  if (gpu == nullptr) {
    return Fail(ErrorCode::kNotFound, fmt::format("GPU {} is not on this machine", slice.gpu_uuid));
  }
  const MigInstance* instance = InstanceOf(*gpu, slice);
  if (instance == nullptr || instance->compute_instances.empty()) {
    return Fail(ErrorCode::kNotFound, fmt::format("its slice {} is not there",
                                                  InstanceText(machine, slice.gpu_uuid,
                                                               slice.profile, *slice.placement)));
  }
  const MigComputeInstance& compute = instance->compute_instances.front();
  SliceDevice device;
  device.uuid = compute.uuid;
  device.gpu_index = gpu->index;
  if (gpu->minor_number) device.grants = {{*gpu->minor_number, instance->id, compute.id}};
  return device;
}

Reading<Bytes> MemoryUsed(const Machine& machine, const Slice& slice) {
  const Gpu* gpu = machine.FindGpu(slice.gpu_uuid);
  if (gpu == nullptr) return Reading<Bytes>::Absent("its GPU is not on this machine");
  if (!slice.placement) {
    if (slice.mechanism == Mechanism::kExclusive) return gpu->memory_used;
    return Reading<Bytes>::Absent("the GPU is shared; the driver counts per GPU");
  }
  const MigInstance* instance = InstanceOf(*gpu, slice);
  return instance != nullptr ? instance->memory_used
                             : Reading<Bytes>::Absent("its slice is not there");
}

bool Concerns(const DriverEvent& event, const Machine& machine, const Slice& slice) {
  const auto& more = slice.more_gpu_uuids;
  if (event.gpu_uuid != slice.gpu_uuid &&
      std::find(more.begin(), more.end(), event.gpu_uuid) == more.end()) {
    return false;
  }
  if (!event.gpu_instance || !slice.placement) return true;
  const Gpu* gpu = machine.FindGpu(slice.gpu_uuid);
  if (gpu == nullptr) return true;
  const bool known =
      std::any_of(gpu->mig_instances.begin(), gpu->mig_instances.end(),
                  [&](const MigInstance& instance) { return instance.id == *event.gpu_instance; });
  if (!known) return true;  // it cannot be told whom it speaks of
  const MigInstance* instance = InstanceOf(*gpu, slice);
  return instance != nullptr && instance->id == *event.gpu_instance;
}

std::vector<OwnedInstance> MissingInstances(const Deployment& deployment, const Machine& machine) {
  std::vector<OwnedInstance> missing;
  for (const OwnedInstance& owned : deployment.instances) {
    const Gpu* gpu = machine.FindGpu(owned.gpu_uuid);
    const MigInstance* there = gpu != nullptr ? gpu->FindInstance(owned.placement) : nullptr;
    const bool whole =
        there != nullptr && there->profile == owned.profile && !there->compute_instances.empty();
    if (!whole) missing.push_back(owned);
  }
  return missing;
}

std::string InstanceText(const Machine& machine, const std::string& gpu_uuid,
                         const std::string& profile, MigPlacement placement) {
  const Gpu* gpu = machine.FindGpu(gpu_uuid);
  return gpu != nullptr ? fmt::format("gpu{} {}@{}", gpu->index, profile, placement.start)
                        : fmt::format("{} {}@{}", gpu_uuid, profile, placement.start);
}

}  // namespace tranche
