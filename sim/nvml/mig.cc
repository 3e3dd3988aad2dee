#include <cstdio>
#include <cstring>
#include <string>

#include "sim/nvml/library.h"

using namespace tranche::sim;
using namespace tranche::sim::nvml;

namespace {

constexpr uint32_t kProfileInfoV3Since = 550;  // drivers that know the third version of the structs

nvmlGpuInstance_t GiHandle(uint32_t gpu, const GpuInstance& gi) {
  return MakeHandle<nvmlGpuInstance_t>(Kind::kGi, gpu, gi.serial);
}

nvmlComputeInstance_t CiHandle(uint32_t gpu, const ComputeInstance& ci) {
  return MakeHandle<nvmlComputeInstance_t>(Kind::kCi, gpu, ci.serial);
}

nvmlDevice_t MigHandle(uint32_t gpu, const ComputeInstance& ci) {
  return MakeHandle<nvmlDevice_t>(Kind::kMigDevice, gpu, ci.serial);
}

const GiProfileSpec* ProfileByNumber(const GpuSpec& gpu, unsigned int number) {
  for (uint32_t i = 0; i < gpu.gi_profile_count; ++i) {
    if (gpu.gi_profiles[i].profile == number) return &gpu.gi_profiles[i];
  }
  return nullptr;
}

template <size_t N>
void SetName(char (&out)[N], const char* name) {
  std::snprintf(out, N, "MIG %s", name);
}

void Fill(const GiProfileSpec& p, nvmlGpuInstanceProfileInfo_t* info) {
  info->id = p.id;
  info->isP2pSupported = 0;
  info->sliceCount = p.slices;
  info->instanceCount = p.max_instances;
  info->multiprocessorCount = p.sm;
  info->copyEngineCount = p.engines.copy;
  info->decoderCount = p.engines.decoders;
  info->encoderCount = p.engines.encoders;
  info->jpegCount = p.engines.jpeg;
  info->ofaCount = p.engines.ofa;
  info->memorySizeMB = p.memory_bytes >> 20;
}

// The versioned form: the caller's `version` says which struct it is.
nvmlReturn_t FillVersioned(uint32_t branch, const GiProfileSpec& p,
                           nvmlGpuInstanceProfileInfo_v2_t* info) {
  if (info->version == nvmlGpuInstanceProfileInfo_v2) {
    nvmlGpuInstanceProfileInfo_t plain;
    Fill(p, &plain);
    info->id = plain.id;
    info->isP2pSupported = plain.isP2pSupported;
    info->sliceCount = plain.sliceCount;
    info->instanceCount = plain.instanceCount;
    info->multiprocessorCount = plain.multiprocessorCount;
    info->copyEngineCount = plain.copyEngineCount;
    info->decoderCount = plain.decoderCount;
    info->encoderCount = plain.encoderCount;
    info->jpegCount = plain.jpegCount;
    info->ofaCount = plain.ofaCount;
    info->memorySizeMB = plain.memorySizeMB;
    SetName(info->name, p.name);
    return NVML_SUCCESS;
  }
  if (info->version == nvmlGpuInstanceProfileInfo_v3 && branch >= kProfileInfoV3Since) {
    auto* v3 = reinterpret_cast<nvmlGpuInstanceProfileInfo_v3_t*>(info);
    v3->id = p.id;
    v3->sliceCount = p.slices;
    v3->instanceCount = p.max_instances;
    v3->multiprocessorCount = p.sm;
    v3->copyEngineCount = p.engines.copy;
    v3->decoderCount = p.engines.decoders;
    v3->encoderCount = p.engines.encoders;
    v3->jpegCount = p.engines.jpeg;
    v3->ofaCount = p.engines.ofa;
    v3->memorySizeMB = p.memory_bytes >> 20;
    SetName(v3->name, p.name);
    v3->capabilities = p.gfx ? +NVML_GPU_INSTANCE_PROFILE_CAPS_GFX : 0;
    return NVML_SUCCESS;
  }
  return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
}

void Fill(const GiProfileSpec& gi, const CiProfileSpec& p, nvmlComputeInstanceProfileInfo_t* info) {
  info->id = p.id;
  info->sliceCount = p.slices;
  info->instanceCount = p.max_instances;
  info->multiprocessorCount = p.sm;
  info->sharedCopyEngineCount = gi.engines.copy;
  info->sharedDecoderCount = gi.engines.decoders;
  info->sharedEncoderCount = gi.engines.encoders;
  info->sharedJpegCount = gi.engines.jpeg;
  info->sharedOfaCount = gi.engines.ofa;
}

// The third version of this struct only adds a field at the end.
nvmlReturn_t FillVersioned(uint32_t branch, const GiProfileSpec& gi, const CiProfileSpec& p,
                           nvmlComputeInstanceProfileInfo_v2_t* info) {
  bool v3 = info->version == nvmlComputeInstanceProfileInfo_v3 && branch >= kProfileInfoV3Since;
  if (info->version != nvmlComputeInstanceProfileInfo_v2 && !v3) {
    return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  }
  nvmlComputeInstanceProfileInfo_t plain;
  Fill(gi, p, &plain);
  info->id = plain.id;
  info->sliceCount = plain.sliceCount;
  info->instanceCount = plain.instanceCount;
  info->multiprocessorCount = plain.multiprocessorCount;
  info->sharedCopyEngineCount = plain.sharedCopyEngineCount;
  info->sharedDecoderCount = plain.sharedDecoderCount;
  info->sharedEncoderCount = plain.sharedEncoderCount;
  info->sharedJpegCount = plain.sharedJpegCount;
  info->sharedOfaCount = plain.sharedOfaCount;
  SetName(info->name, p.name);
  if (v3) {
    reinterpret_cast<nvmlComputeInstanceProfileInfo_v3_t*>(info)->capabilities =
        gi.gfx ? +NVML_COMPUTE_INSTANCE_PROFILE_CAPS_GFX : 0;
  }
  return NVML_SUCCESS;
}

// For the calls that take the number of a compute instance profile.
template <typename Body>
nvmlReturn_t OnCiProfile(const Device& d, unsigned int profile, unsigned int engine_profile,
                         const Body& body) {
  if (profile >= NVML_COMPUTE_INSTANCE_PROFILE_COUNT ||
      engine_profile >= NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_COUNT) {
    return NVML_ERROR_INVALID_ARGUMENT;
  }
  const CiProfileSpec* p = FindCiProfile(*d.gi_profile, profile);
  if (p == nullptr) return NVML_ERROR_NOT_SUPPORTED;
  return body(*p);
}

// What the calls that look at or change instances need: the right, and MIG switched on.
nvmlReturn_t NeedConfig(const Device& d) {
  if (!d.spec.mig_capable || !d.gpu.mig_mode) return NVML_ERROR_NOT_SUPPORTED;
  return d.machine.HasMigCapability("config") ? NVML_SUCCESS : NVML_ERROR_NO_PERMISSION;
}

nvmlReturn_t NeedMonitor(const Device& d) {
  if (!d.spec.mig_capable || !d.gpu.mig_mode) return NVML_ERROR_NOT_SUPPORTED;
  bool may = d.machine.HasMigCapability("config") || d.machine.HasMigCapability("monitor");
  return may ? NVML_SUCCESS : NVML_ERROR_NO_PERMISSION;
}

// These lists have no room argument: the caller makes them as long as the profile's instanceCount,
// and asks for the number alone with a null array.
template <typename T, typename Give>
nvmlReturn_t FillUnbounded(T* out, unsigned int* count, size_t n, const Give& give) {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *count = static_cast<unsigned int>(n);
  if (out == nullptr) return NVML_SUCCESS;
  for (size_t i = 0; i < n; ++i) out[i] = give(i);
  return NVML_SUCCESS;
}

}  // namespace

// --- Mode ---------------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned int* current,
                                              unsigned int* pending) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (current == nullptr || pending == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.mig_capable) return NVML_ERROR_NOT_SUPPORTED;
    *current = d.gpu.mig_mode;
    *pending = d.gpu.mig_pending;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceSetMigMode(nvmlDevice_t device, unsigned int mode,
                                              nvmlReturn_t* activation) {
  return ChangeGpu(__func__, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (activation == nullptr || mode > NVML_DEVICE_MIG_ENABLE) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.mig_capable) return NVML_ERROR_NOT_SUPPORTED;
    if (!d.machine.IsPrivileged()) return NVML_ERROR_NO_PERMISSION;
    Rc activated = Rc::kOk;
    Rc rc = SetMigMode(d.machine_spec(), &state, d.index, mode, &activated);
    *activation = ToNvml(activated);
    return ToNvml(rc);
  });
}

// --- GPU instances ------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfo(nvmlDevice_t device,
                                                             unsigned int profile,
                                                             nvmlGpuInstanceProfileInfo_t* info) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (info == nullptr || profile >= NVML_GPU_INSTANCE_PROFILE_COUNT) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    const GiProfileSpec* p = ProfileByNumber(d.spec, profile);
    if (p == nullptr) return NVML_ERROR_NOT_SUPPORTED;
    Fill(*p, info);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoV(
    nvmlDevice_t device, unsigned int profile, nvmlGpuInstanceProfileInfo_v2_t* info) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (info == nullptr || profile >= NVML_GPU_INSTANCE_PROFILE_COUNT) {
      return NVML_ERROR_INVALID_ARGUMENT;
    }
    const GiProfileSpec* p = ProfileByNumber(d.spec, profile);
    if (p == nullptr) return NVML_ERROR_NOT_SUPPORTED;
    return FillVersioned(d.branch(), *p, info);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstanceProfileInfoByIdV(
    nvmlDevice_t device, unsigned int profile_id, nvmlGpuInstanceProfileInfo_v2_t* info) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (info == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.mig_capable) return NVML_ERROR_NOT_SUPPORTED;
    const GiProfileSpec* p = FindGiProfile(d.spec, profile_id);
    if (p == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    return FillVersioned(d.branch(), *p, info);
  });
}

namespace {

// All placements, whatever stands there and whether or not MIG is on.
nvmlReturn_t Placements(const Device& d, unsigned int profile_id,
                        nvmlGpuInstancePlacement_t* placements, unsigned int* count) {
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (!d.spec.mig_capable) return NVML_ERROR_NOT_SUPPORTED;
  if (!d.machine.HasMigCapability("config") && !d.machine.HasMigCapability("monitor")) {
    return NVML_ERROR_NO_PERMISSION;
  }
  const GiProfileSpec* p = FindGiProfile(d.spec, profile_id);
  if (p == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  return FillUnbounded(placements, count, p->start_count, [&](size_t i) {
    return nvmlGpuInstancePlacement_t{p->starts[i], p->size};
  });
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements_v2(
    nvmlDevice_t device, unsigned int profile_id, nvmlGpuInstancePlacement_t* placements,
    unsigned int* count) {
  return OnGpu(__func__, device,
               [&](const Device& d) { return Placements(d, profile_id, placements, count); });
}

// The first version could not be asked for the number alone.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstancePossiblePlacements(
    nvmlDevice_t device, unsigned int profile_id, nvmlGpuInstancePlacement_t* placements,
    unsigned int* count) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (placements == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    return Placements(d, profile_id, placements, count);
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstanceRemainingCapacity(nvmlDevice_t device,
                                                                   unsigned int profile_id,
                                                                   unsigned int* count) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedMonitor(d);
    if (allowed != NVML_SUCCESS) return allowed;
    const GiProfileSpec* p = FindGiProfile(d.spec, profile_id);
    if (p == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *count = RemainingCapacity(d.spec, PlacedGis(d.gpu), *p);
    return NVML_SUCCESS;
  });
}

namespace {

nvmlReturn_t CreateGi(const char* call, nvmlDevice_t device, unsigned int profile_id, bool placed,
                      const nvmlGpuInstancePlacement_t* placement, nvmlGpuInstance_t* out) {
  return ChangeGpu(call, device, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (out == nullptr || (placed && placement == nullptr)) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedConfig(d);
    if (allowed != NVML_SUCCESS) return allowed;
    const GiProfileSpec* p = FindGiProfile(d.spec, profile_id);
    if (p == nullptr || (placed && placement->size != p->size)) return NVML_ERROR_INVALID_ARGUMENT;
    uint64_t serial = 0;
    Rc rc = CreateGpuInstance(d.spec, &state, d.index, profile_id,
                              placed ? static_cast<int64_t>(placement->start) : -1, &serial);
    if (rc != Rc::kOk) return ToNvml(rc);
    *out = MakeHandle<nvmlGpuInstance_t>(Kind::kGi, d.index, serial);
    return NVML_SUCCESS;
  });
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlDeviceCreateGpuInstance(nvmlDevice_t device, unsigned int profile_id,
                                                     nvmlGpuInstance_t* gi) {
  return CreateGi(__func__, device, profile_id, false, nullptr, gi);
}

NVML_EXPORT nvmlReturn_t nvmlDeviceCreateGpuInstanceWithPlacement(
    nvmlDevice_t device, unsigned int profile_id, const nvmlGpuInstancePlacement_t* placement,
    nvmlGpuInstance_t* gi) {
  return CreateGi(__func__, device, profile_id, true, placement, gi);
}

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceDestroy(nvmlGpuInstance_t gi) {
  return ChangeGi(__func__, gi, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedConfig(d);
    if (allowed != NVML_SUCCESS) return allowed;
    return ToNvml(DestroyGpuInstance(&state, d.index, d.gi->serial));
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstances(nvmlDevice_t device, unsigned int profile_id,
                                                   nvmlGpuInstance_t* instances,
                                                   unsigned int* count) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedMonitor(d);
    if (allowed != NVML_SUCCESS) return allowed;
    if (FindGiProfile(d.spec, profile_id) == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    std::vector<const GpuInstance*> list;
    for (const GpuInstance* gi : ListGis(d.gpu)) {
      if (gi->profile_id == profile_id) list.push_back(gi);
    }
    return FillUnbounded(instances, count, list.size(),
                         [&](size_t i) { return GiHandle(d.index, *list[i]); });
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstanceById(nvmlDevice_t device, unsigned int id,
                                                      nvmlGpuInstance_t* gi) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (gi == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedMonitor(d);
    if (allowed != NVML_SUCCESS) return allowed;
    const GpuInstance* found = FindGiById(d.gpu, id);
    if (found == nullptr) return NVML_ERROR_NOT_FOUND;
    *gi = GiHandle(d.index, *found);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceGetInfo(nvmlGpuInstance_t gi, nvmlGpuInstanceInfo_t* info) {
  return OnGi(__func__, gi, [&](const Device& d) -> nvmlReturn_t {
    if (info == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    info->device = GpuHandle(d.index);
    info->id = d.gi->id;
    info->profileId = d.gi->profile_id;
    info->placement = {d.gi->start, d.gi->size};
    return NVML_SUCCESS;
  });
}

// --- Compute instances --------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfo(
    nvmlGpuInstance_t gi, unsigned int profile, unsigned int engine_profile,
    nvmlComputeInstanceProfileInfo_t* info) {
  return OnGi(__func__, gi, [&](const Device& d) -> nvmlReturn_t {
    if (info == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    return OnCiProfile(d, profile, engine_profile, [&](const CiProfileSpec& p) -> nvmlReturn_t {
      Fill(*d.gi_profile, p, info);
      return NVML_SUCCESS;
    });
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceGetComputeInstanceProfileInfoV(
    nvmlGpuInstance_t gi, unsigned int profile, unsigned int engine_profile,
    nvmlComputeInstanceProfileInfo_v2_t* info) {
  return OnGi(__func__, gi, [&](const Device& d) -> nvmlReturn_t {
    if (info == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    return OnCiProfile(d, profile, engine_profile, [&](const CiProfileSpec& p) -> nvmlReturn_t {
      return FillVersioned(d.branch(), *d.gi_profile, p, info);
    });
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceGetComputeInstanceRemainingCapacity(nvmlGpuInstance_t gi,
                                                                            unsigned int profile_id,
                                                                            unsigned int* count) {
  return OnGi(__func__, gi, [&](const Device& d) -> nvmlReturn_t {
    if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedMonitor(d);
    if (allowed != NVML_SUCCESS) return allowed;
    const CiProfileSpec* p = FindCiProfile(*d.gi_profile, profile_id);
    if (p == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *count = RemainingCapacity(*d.gi_profile, PlacedCis(d.gpu, d.gi->serial), *p);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceGetComputeInstancePossiblePlacements(
    nvmlGpuInstance_t gi, unsigned int profile_id, nvmlComputeInstancePlacement_t* placements,
    unsigned int* count) {
  return OnGi(__func__, gi, [&](const Device& d) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedMonitor(d);
    if (allowed != NVML_SUCCESS) return allowed;
    const CiProfileSpec* p = FindCiProfile(*d.gi_profile, profile_id);
    if (p == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    return FillUnbounded(placements, count, p->start_count, [&](size_t i) {
      return nvmlComputeInstancePlacement_t{p->starts[i], p->slices};
    });
  });
}

namespace {

nvmlReturn_t CreateCi(const char* call, nvmlGpuInstance_t gi, unsigned int profile_id, bool placed,
                      const nvmlComputeInstancePlacement_t* placement, nvmlComputeInstance_t* out) {
  return ChangeGi(call, gi, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    if (out == nullptr || (placed && placement == nullptr)) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedConfig(d);
    if (allowed != NVML_SUCCESS) return allowed;
    const CiProfileSpec* p = FindCiProfile(*d.gi_profile, profile_id);
    if (p == nullptr || (placed && placement->size != p->slices))
      return NVML_ERROR_INVALID_ARGUMENT;
    uint64_t serial = 0;
    Rc rc = CreateComputeInstance(d.spec, &state, d.index, d.gi->serial, profile_id,
                                  placed ? static_cast<int64_t>(placement->start) : -1, &serial);
    if (rc != Rc::kOk) return ToNvml(rc);
    *out = MakeHandle<nvmlComputeInstance_t>(Kind::kCi, d.index, serial);
    return NVML_SUCCESS;
  });
}

}  // namespace

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceCreateComputeInstance(nvmlGpuInstance_t gi,
                                                              unsigned int profile_id,
                                                              nvmlComputeInstance_t* ci) {
  return CreateCi(__func__, gi, profile_id, false, nullptr, ci);
}

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceCreateComputeInstanceWithPlacement(
    nvmlGpuInstance_t gi, unsigned int profile_id, const nvmlComputeInstancePlacement_t* placement,
    nvmlComputeInstance_t* ci) {
  return CreateCi(__func__, gi, profile_id, true, placement, ci);
}

NVML_EXPORT nvmlReturn_t nvmlComputeInstanceDestroy(nvmlComputeInstance_t ci) {
  return ChangeCi(__func__, ci, [&](const Device& d, MachineState& state) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedConfig(d);
    if (allowed != NVML_SUCCESS) return allowed;
    return ToNvml(DestroyComputeInstance(&state, d.index, d.ci->serial));
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceGetComputeInstances(nvmlGpuInstance_t gi,
                                                            unsigned int profile_id,
                                                            nvmlComputeInstance_t* instances,
                                                            unsigned int* count) {
  return OnGi(__func__, gi, [&](const Device& d) -> nvmlReturn_t {
    nvmlReturn_t allowed = NeedMonitor(d);
    if (allowed != NVML_SUCCESS) return allowed;
    if (FindCiProfile(*d.gi_profile, profile_id) == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    std::vector<const ComputeInstance*> list;
    for (const ComputeInstance* ci : ListCisOf(d.gpu, d.gi->serial)) {
      if (ci->profile_id == profile_id) list.push_back(ci);
    }
    return FillUnbounded(instances, count, list.size(),
                         [&](size_t i) { return CiHandle(d.index, *list[i]); });
  });
}

NVML_EXPORT nvmlReturn_t nvmlGpuInstanceGetComputeInstanceById(nvmlGpuInstance_t gi,
                                                               unsigned int id,
                                                               nvmlComputeInstance_t* ci) {
  return OnGi(__func__, gi, [&](const Device& d) -> nvmlReturn_t {
    if (ci == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    nvmlReturn_t allowed = NeedMonitor(d);
    if (allowed != NVML_SUCCESS) return allowed;
    const ComputeInstance* found = FindCiById(d.gpu, d.gi->serial, id);
    if (found == nullptr) return NVML_ERROR_NOT_FOUND;
    *ci = CiHandle(d.index, *found);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlComputeInstanceGetInfo_v2(nvmlComputeInstance_t ci,
                                                       nvmlComputeInstanceInfo_t* info) {
  return OnCi(__func__, ci, [&](const Device& d) -> nvmlReturn_t {
    if (info == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    info->device = GpuHandle(d.index);
    info->gpuInstance = GiHandle(d.index, *d.gi);
    info->id = d.ci->id;
    info->profileId = d.ci->profile_id;
    info->placement = {d.ci->start, d.ci->size};
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlComputeInstanceGetInfo(nvmlComputeInstance_t ci,
                                                    nvmlComputeInstanceInfo_v1_t* info) {
  if (info == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  nvmlComputeInstanceInfo_t all;
  nvmlReturn_t rc = nvmlComputeInstanceGetInfo_v2(ci, &all);
  if (rc == NVML_SUCCESS) *info = {all.device, all.gpuInstance, all.id, all.profileId};
  return rc;
}

// --- MIG devices --------------------------------------------------------------------------------

NVML_EXPORT nvmlReturn_t nvmlDeviceIsMigDeviceHandle(nvmlDevice_t device, unsigned int* is_mig) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (is_mig == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *is_mig = d.is_mig() ? 1 : 0;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned int* id) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (id == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.is_mig()) return NVML_ERROR_NOT_SUPPORTED;
    *id = d.gi->id;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetComputeInstanceId(nvmlDevice_t device, unsigned int* id) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (id == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.is_mig()) return NVML_ERROR_NOT_SUPPORTED;
    *id = d.ci->id;
    return NVML_SUCCESS;
  });
}

// 0 while MIG is off and on GPUs that cannot: callers loop up to it without asking first.
NVML_EXPORT nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned int* count) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    *count = d.gpu.mig_mode ? d.spec.compute_slices : 0;
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device,
                                                             unsigned int index,
                                                             nvmlDevice_t* mig_device) {
  return OnGpu(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (mig_device == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.spec.mig_capable || !d.gpu.mig_mode) return NVML_ERROR_NOT_SUPPORTED;
    if (index >= d.spec.compute_slices) return NVML_ERROR_INVALID_ARGUMENT;
    std::vector<const ComputeInstance*> all = ListCis(d.gpu);
    if (index >= all.size()) return NVML_ERROR_NOT_FOUND;
    *mig_device = MigHandle(d.index, *all[index]);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetDeviceHandleFromMigDeviceHandle(nvmlDevice_t mig_device,
                                                                      nvmlDevice_t* device) {
  return OnDevice(__func__, mig_device, [&](const Device& d) -> nvmlReturn_t {
    if (device == nullptr || !d.is_mig()) return NVML_ERROR_INVALID_ARGUMENT;
    *device = GpuHandle(d.index);
    return NVML_SUCCESS;
  });
}

NVML_EXPORT nvmlReturn_t nvmlDeviceGetAttributes_v2(nvmlDevice_t device,
                                                    nvmlDeviceAttributes_t* attributes) {
  return OnDevice(__func__, device, [&](const Device& d) -> nvmlReturn_t {
    if (attributes == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
    if (!d.is_mig()) return NVML_ERROR_NOT_SUPPORTED;
    const Engines& engines = d.gi_profile->engines;
    attributes->multiprocessorCount = d.ci_profile->sm;
    attributes->sharedCopyEngineCount = engines.copy;
    attributes->sharedDecoderCount = engines.decoders;
    attributes->sharedEncoderCount = engines.encoders;
    attributes->sharedJpegCount = engines.jpeg;
    attributes->sharedOfaCount = engines.ofa;
    attributes->gpuInstanceSliceCount = d.gi_profile->slices;
    attributes->computeInstanceSliceCount = d.ci_profile->slices;
    attributes->memorySizeMB = d.gi_profile->memory_bytes >> 20;
    return NVML_SUCCESS;
  });
}
