#include "edge/driver/nvml/mig_change.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/suggest.h"
#include "edge/driver/busy.h"
#include "edge/driver/nvml/read_gpu.h"
#include "edge/driver/nvml/read_mig.h"
#include "edge/driver/nvml/reading.h"

namespace tranche {
namespace {

std::string InstanceText(const MigInstance& instance) {
  return fmt::format("{} at {}", instance.profile, SlotsText(instance.placement));
}

std::vector<GpuProcess> UsersOf(const Gpu& gpu, const MigInstance& instance) {
  std::vector<GpuProcess> users;
  for (const GpuProcess& process : gpu.processes) {
    if (process.gpu_instance == instance.id) users.push_back(process);
  }
  return users;
}

std::string OverlappingWith(const Gpu& gpu, MigPlacement placement) {
  std::string text;
  for (const MigInstance& instance : gpu.mig_instances) {
    const MigPlacement other = instance.placement;
    if (other.start < placement.start + placement.size &&
        placement.start < other.start + other.size) {
      text += (text.empty() ? "" : ", ") + InstanceText(instance);
    }
  }
  return text;
}

Error CannotCreate(nvmlReturn_t rc, const std::string& doing, const Gpu& gpu,
                   MigPlacement placement) {
  Error error = NvmlError(rc, doing);
  if (rc == NVML_ERROR_INSUFFICIENT_RESOURCES) {
    const std::string others = OverlappingWith(gpu, placement);
    if (!others.empty()) error.message += ": taken by " + others;
    error.hint = "destroy what is in the way, or choose another placement";
  } else if (rc == NVML_ERROR_NOT_SUPPORTED && gpu.mig_mode && !gpu.mig_mode->current) {
    error.message = doing + ": MIG mode is off";
    error.hint = "switch MIG mode on first";
  }
  return error;
}

// Cuts one compute instance over all of `handle`.
Answer<nvmlComputeInstance_t> CutWhole(const NvmlLibrary& nvml, nvmlGpuInstance_t handle,
                                       int compute_slices) {
  const Answer<unsigned int> profile = WholeComputeProfile(nvml, handle, compute_slices);
  if (!profile) return tl::unexpected(profile.error());
  nvmlComputeInstance_t compute = {};
  const nvmlReturn_t rc =
      nvml.Call(nvml.nvmlGpuInstanceCreateComputeInstance, handle, *profile, &compute);
  if (rc != NVML_SUCCESS) return tl::unexpected(rc);
  return compute;
}

// Makes compute instances again that were destroyed in vain. True when all are back.
bool CutAgain(const NvmlLibrary& nvml, nvmlGpuInstance_t handle,
              const std::vector<MigComputeInstance>& instances) {
  bool all = true;
  for (const MigComputeInstance& instance : instances) {
    const auto profile = static_cast<unsigned int>(instance.profile_id);
    const nvmlComputeInstancePlacement_t placement = {
        static_cast<unsigned int>(instance.placement.start),
        static_cast<unsigned int>(instance.placement.size)};
    nvmlComputeInstance_t made = {};
    nvmlReturn_t rc = nvml.Call(nvml.nvmlGpuInstanceCreateComputeInstanceWithPlacement, handle,
                                profile, &placement, &made);
    if (rc == NVML_ERROR_FUNCTION_NOT_FOUND) {
      rc = nvml.Call(nvml.nvmlGpuInstanceCreateComputeInstance, handle, profile, &made);
    }
    all = all && rc == NVML_SUCCESS;
  }
  return all;
}

// The handles of a GPU instance's compute instances, by what was read of them.
Answer<std::vector<std::pair<MigComputeInstance, nvmlComputeInstance_t>>> HandlesOf(
    const NvmlLibrary& nvml, const FoundInstance& found) {
  std::vector<std::pair<MigComputeInstance, nvmlComputeInstance_t>> handles;
  for (const MigComputeInstance& instance : found.instance.compute_instances) {
    const auto list =
        ReadList<nvmlComputeInstance_t>([&](unsigned int* count, nvmlComputeInstance_t* out) {
          return nvml.Call(nvml.nvmlGpuInstanceGetComputeInstances, found.handle,
                           static_cast<unsigned int>(instance.profile_id), out, count);
        });
    if (!list) return tl::unexpected(list.error());
    for (const nvmlComputeInstance_t handle : *list) {
      nvmlComputeInstanceInfo_v1_t old = {};
      nvmlComputeInstanceInfo_t info = {};
      nvmlReturn_t rc = nvml.Call(nvml.nvmlComputeInstanceGetInfo_v2, handle, &info);
      if (rc == NVML_ERROR_FUNCTION_NOT_FOUND) {
        rc = nvml.Call(nvml.nvmlComputeInstanceGetInfo, handle, &old);
        info.id = old.id;
      }
      if (rc != NVML_SUCCESS) return tl::unexpected(rc);
      if (static_cast<int>(info.id) == instance.id) handles.emplace_back(instance, handle);
    }
  }
  return handles;
}

Error WithUndoFailure(Error error, const std::string& what) {
  error.code = ErrorCode::kPartial;
  error.message += "; undoing it failed too: " + what;
  error.hint = "run 'tranche inventory' to see how the GPU is now";
  return error;
}

Error CannotDestroy(nvmlReturn_t rc, const std::string& doing, const Gpu& gpu,
                    const MigInstance& instance) {
  if (rc == NVML_ERROR_IN_USE) return BusyError(doing, UsersOf(gpu, instance));
  return NvmlError(rc, doing);
}

}  // namespace

Result<MigMode> ChangeMigMode(const NvmlLibrary& nvml, const FoundGpu& found, bool enabled) {
  const Gpu& gpu = found.gpu;
  const std::string doing =
      fmt::format("switching MIG mode of {} {}", GpuLabel(gpu), enabled ? "on" : "off");
  if (!gpu.mig_mode) {
    return Fail(ErrorCode::kUnsupported, doing + ": " + gpu.mig_mode.reason(),
                "use another mechanism on this GPU");
  }
  const MigMode before = *gpu.mig_mode;
  if (before.current == enabled && before.pending == enabled) return before;
  nvmlReturn_t activation = NVML_SUCCESS;
  const unsigned int wanted = enabled ? 1u : 0u;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceSetMigMode, found.device, wanted, &activation);
  if (rc == NVML_ERROR_IN_USE) activation = rc;
  if (rc != NVML_SUCCESS && rc != NVML_ERROR_IN_USE) return tl::unexpected(NvmlError(rc, doing));

  const Reading<MigMode> after = ReadMigMode(nvml, found.device);
  if (!after) return Fail(ErrorCode::kFailed, doing + ": " + after.reason());
  if (after->current == enabled) return *after;
  if (activation == NVML_ERROR_IN_USE) {
    // Takes the wish back, so that a reset by somebody else does not fulfil it later.
    nvmlReturn_t ignored = NVML_SUCCESS;
    nvml.Call(nvml.nvmlDeviceSetMigMode, found.device, static_cast<unsigned int>(before.pending),
              &ignored);
    if (!gpu.mig_instances.empty() && !enabled) {
      std::string instances;
      for (const MigInstance& instance : gpu.mig_instances) {
        instances += (instances.empty() ? "" : ", ") + InstanceText(instance);
      }
      return Fail(ErrorCode::kBusy, doing + ": it has MIG instances: " + instances,
                  "destroy them first");
    }
    return tl::unexpected(BusyError(doing, gpu.processes));
  }
  // Pending: a reset will bring it, which the caller reports.
  if (after->pending == enabled) return *after;
  if (activation == NVML_SUCCESS) activation = NVML_ERROR_UNKNOWN;
  return tl::unexpected(NvmlError(activation, doing));
}

Status ChangeComputeMode(const NvmlLibrary& nvml, const FoundGpu& found, ComputeMode mode) {
  const std::string doing = fmt::format("setting the compute mode of {} to {}", GpuLabel(found.gpu),
                                        ComputeModeName(mode));
  if (found.gpu.mig_mode && found.gpu.mig_mode->current)
    return Fail(ErrorCode::kUnsupported, doing + ": it is in MIG mode, which has none");
  const nvmlComputeMode_t wanted = mode == ComputeMode::kDefault ? NVML_COMPUTEMODE_DEFAULT
                                   : mode == ComputeMode::kProhibited
                                       ? NVML_COMPUTEMODE_PROHIBITED
                                       : NVML_COMPUTEMODE_EXCLUSIVE_PROCESS;
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceSetComputeMode, found.device, wanted);
  if (rc != NVML_SUCCESS) return tl::unexpected(NvmlError(rc, doing));
  const Reading<ComputeMode> now = ReadComputeMode(nvml, found.device);
  if (now && *now == mode) return {};
  return Fail(ErrorCode::kFailed, fmt::format("{}: the driver took it, and then says {}", doing,
                                              now ? ComputeModeName(*now) : now.reason()));
}

Result<MigInstance> MakeInstance(const NvmlLibrary& nvml, const FoundGpu& found,
                                 const std::string& profile_name, MigPlacement placement) {
  const Gpu& gpu = found.gpu;
  const std::string doing =
      fmt::format("creating {} at {} of {}", profile_name, SlotsText(placement), GpuLabel(gpu));
  const MigProfile* profile = gpu.FindProfile(profile_name);
  if (profile == nullptr) {
    std::vector<std::string> names;
    for (const MigProfile& other : gpu.mig_profiles) names.push_back(other.name);
    return Fail(ErrorCode::kNotFound, doing + ": this GPU has no such profile",
                DidYouMean(profile_name, names));
  }
  if (std::find(profile->placements.begin(), profile->placements.end(), placement) ==
      profile->placements.end()) {
    std::string legal;
    for (const MigPlacement other : profile->placements) {
      legal += (legal.empty() ? "" : ", ") + SlotsText(other);
    }
    return Fail(ErrorCode::kInvalid, doing + ": this profile cannot be placed there",
                legal.empty() ? "" : "it can be placed at " + legal);
  }
  const nvmlGpuInstancePlacement_t wanted = {static_cast<unsigned int>(placement.start),
                                             static_cast<unsigned int>(placement.size)};
  nvmlGpuInstance_t handle = {};
  nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceCreateGpuInstanceWithPlacement, found.device,
                              static_cast<unsigned int>(profile->id), &wanted, &handle);
  if (rc != NVML_SUCCESS) return tl::unexpected(CannotCreate(rc, doing, gpu, placement));

  // From here on a failure takes the GPU instance, and what is in it, away again.
  const auto undo = [&](Error error, const nvmlComputeInstance_t* compute) {
    if (compute != nullptr) nvml.Call(nvml.nvmlComputeInstanceDestroy, *compute);
    const nvmlReturn_t undone = nvml.Call(nvml.nvmlGpuInstanceDestroy, handle);
    if (undone != NVML_SUCCESS) error = WithUndoFailure(std::move(error), MeaningOf(undone).reason);
    return tl::unexpected(std::move(error));
  };
  const Answer<nvmlComputeInstance_t> compute = CutWhole(nvml, handle, profile->compute_slices);
  if (!compute) {
    return undo(NvmlError(compute.error(), doing + ": making its compute instance"), nullptr);
  }
  const auto instances = ReadMigInstances(nvml, found.device, gpu.mig_profiles);
  if (!instances) return undo(NvmlError(instances.error(), doing + ": reading it back"), &*compute);
  for (const FoundInstance& one : *instances) {
    if (one.instance.placement != placement) continue;
    if (one.instance.profile_id != profile->id || one.instance.compute_instances.size() != 1 ||
        one.instance.compute_instances[0].uuid.empty()) {
      break;
    }
    return one.instance;
  }
  return undo({ErrorCode::kFailed, doing + ": the driver made something else",
               "read the machine again and report this with 'tranche inventory -o json'"},
              &*compute);
}

Status RemoveInstance(const NvmlLibrary& nvml, const FoundGpu& found, MigPlacement placement) {
  const Gpu& gpu = found.gpu;
  const auto instances = ReadMigInstances(nvml, found.device, gpu.mig_profiles);
  const std::string label = GpuLabel(gpu);
  if (!instances) {
    return tl::unexpected(NvmlError(instances.error(), "reading the MIG instances of " + label));
  }
  const auto target =
      std::find_if(instances->begin(), instances->end(),
                   [&](const FoundInstance& one) { return one.instance.placement == placement; });
  if (target == instances->end()) {
    return Fail(ErrorCode::kNotFound,
                fmt::format("{} has no MIG instance at {}", label, SlotsText(placement)),
                "read the machine again; it may have changed");
  }
  const MigInstance& instance = target->instance;
  const std::string doing = fmt::format("destroying {} of {}", InstanceText(instance), label);
  const std::vector<GpuProcess> users = UsersOf(gpu, instance);
  if (!users.empty()) return tl::unexpected(BusyError(doing, users));

  const auto handles = HandlesOf(nvml, *target);
  if (!handles) return tl::unexpected(NvmlError(handles.error(), doing));
  std::vector<MigComputeInstance> destroyed;
  nvmlReturn_t rc = NVML_SUCCESS;
  for (const auto& [compute, handle] : *handles) {
    rc = nvml.Call(nvml.nvmlComputeInstanceDestroy, handle);
    if (rc != NVML_SUCCESS) break;
    destroyed.push_back(compute);
  }
  if (rc == NVML_SUCCESS) rc = nvml.Call(nvml.nvmlGpuInstanceDestroy, target->handle);
  if (rc == NVML_SUCCESS) return {};
  Error error = CannotDestroy(rc, doing, ReadGpu(nvml, found.device, gpu.index), instance);
  if (!CutAgain(nvml, target->handle, destroyed)) {
    error = WithUndoFailure(std::move(error), "its compute instances could not be made again");
  }
  return tl::unexpected(std::move(error));
}

}  // namespace tranche
