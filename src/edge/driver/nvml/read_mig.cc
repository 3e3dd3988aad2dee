#include "edge/driver/nvml/read_mig.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "edge/driver/nvml/profile_name.h"

namespace tranche {
namespace {

// Drivers newer than this file may offer profiles beyond NVML_GPU_INSTANCE_PROFILE_COUNT; a driver
// refuses the numbers that it does not know.
constexpr unsigned int kProfilesToTry = 32;
constexpr unsigned int kMostSlots = 64;
constexpr unsigned int kMostInstances = 64;

// What the three versions of the profile call have in common.
struct ProfileInfo {
  unsigned int id, slices, instances, sm_count;
  unsigned int copy, decoder, encoder, jpeg, ofa;
  unsigned long long memory_mib;
  std::string name;  // "" in the oldest version
};

template <typename Info>
ProfileInfo Common(const Info& info) {
  ProfileInfo common{info.id,
                     info.sliceCount,
                     info.instanceCount,
                     info.multiprocessorCount,
                     info.copyEngineCount,
                     info.decoderCount,
                     info.encoderCount,
                     info.jpegCount,
                     info.ofaCount,
                     info.memorySizeMB,
                     {}};
  if constexpr (requires { info.name; }) {
    common.name = ProfileNameFromDriver(CleanText(info.name, sizeof(info.name)));
  }
  return common;
}

// The newest version that this driver answers. The versioned call is said to want MIG mode on, the
// oldest one works either way, so every refusal leads to the next older version.
Answer<ProfileInfo> ReadProfileInfo(const NvmlLibrary& nvml, nvmlDevice_t device,
                                    unsigned int profile) {
  nvmlGpuInstanceProfileInfo_v3_t v3 = {};
  v3.version = nvmlGpuInstanceProfileInfo_v3;
  // One function takes both; `version` says which it is.
  nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetGpuInstanceProfileInfoV, device, profile,
                              reinterpret_cast<nvmlGpuInstanceProfileInfo_v2_t*>(&v3));
  if (rc == NVML_SUCCESS) return Common(v3);
  nvmlGpuInstanceProfileInfo_v2_t v2 = {};
  v2.version = nvmlGpuInstanceProfileInfo_v2;
  rc = nvml.Call(nvml.nvmlDeviceGetGpuInstanceProfileInfoV, device, profile, &v2);
  if (rc == NVML_SUCCESS) return Common(v2);
  nvmlGpuInstanceProfileInfo_t v1 = {};
  rc = nvml.Call(nvml.nvmlDeviceGetGpuInstanceProfileInfo, device, profile, &v1);
  if (rc == NVML_SUCCESS) return Common(v1);
  return tl::unexpected(rc);
}

bool MakesSense(const ProfileInfo& info) {
  constexpr unsigned int kMostOfAnything = 1u << 16;
  return info.id < (1u << 30) && info.slices >= 1 && info.slices <= kMostSlots &&
         info.instances >= 1 && info.instances <= kMostInstances &&
         info.sm_count <= kMostOfAnything && info.copy <= kMostOfAnything &&
         info.decoder <= kMostOfAnything && info.encoder <= kMostOfAnything &&
         info.jpeg <= kMostOfAnything && info.ofa <= kMostOfAnything &&
         info.memory_mib < (1ull << 40);
}

bool MakesSense(unsigned int start, unsigned int size) {
  return start < kMostSlots && size >= 1 && size <= kMostSlots - start;
}

MigProfile ToProfile(const ProfileInfo& info, unsigned int nvml_profile, Bytes gpu_memory) {
  MigProfile profile;
  profile.id = static_cast<int>(info.id);
  profile.nvml_profile = static_cast<int>(nvml_profile);
  profile.compute_slices = static_cast<int>(info.slices);
  profile.max_instances = static_cast<int>(info.instances);
  profile.memory = MiB(info.memory_mib);
  profile.sm_count = static_cast<int>(info.sm_count);
  profile.engines = {static_cast<int>(info.copy), static_cast<int>(info.decoder),
                     static_cast<int>(info.encoder), static_cast<int>(info.jpeg),
                     static_cast<int>(info.ofa)};
  profile.variant = VariantOfNvmlProfile(profile.nvml_profile);
  profile.name = !info.name.empty() ? info.name
                                    : ProfileNameFromNumbers(profile.compute_slices, profile.memory,
                                                             gpu_memory, profile.variant);
  return profile;
}

Answer<std::vector<MigPlacement>> ReadPlacements(const NvmlLibrary& nvml, nvmlDevice_t device,
                                                 unsigned int profile_id) {
  const auto list = ReadList<nvmlGpuInstancePlacement_t>(
      [&](unsigned int* count, nvmlGpuInstancePlacement_t* placements) {
        return nvml.Call(nvml.nvmlDeviceGetGpuInstancePossiblePlacements_v2, device, profile_id,
                         placements, count);
      });
  if (!list) return tl::unexpected(list.error());
  std::vector<MigPlacement> placements;
  for (const nvmlGpuInstancePlacement_t& placement : *list) {
    if (!MakesSense(placement.start, placement.size)) {
      return tl::unexpected<nvmlReturn_t>(NVML_ERROR_UNKNOWN);
    }
    placements.push_back({static_cast<int>(placement.start), static_cast<int>(placement.size)});
  }
  std::sort(placements.begin(), placements.end());
  placements.erase(std::unique(placements.begin(), placements.end()), placements.end());
  return placements;
}

// A MIG device as CUDA sees it, found by the ids of its instances.
struct MigDevice {
  std::string uuid;
  Reading<Bytes> memory_used;
};
using MigDevices = std::map<std::pair<unsigned int, unsigned int>, MigDevice>;

MigDevices ReadMigDevices(const NvmlLibrary& nvml, nvmlDevice_t device) {
  MigDevices devices;
  unsigned int count = 0;
  if (nvml.Call(nvml.nvmlDeviceGetMaxMigDeviceCount, device, &count) != NVML_SUCCESS) {
    return devices;
  }
  for (unsigned int i = 0; i < std::min(count, kMostInstances); ++i) {
    nvmlDevice_t mig = {};
    unsigned int gi = 0;
    unsigned int ci = 0;
    // Indexes have holes: NOT_FOUND says nothing about the next one.
    if (nvml.Call(nvml.nvmlDeviceGetMigDeviceHandleByIndex, device, i, &mig) != NVML_SUCCESS ||
        nvml.Call(nvml.nvmlDeviceGetGpuInstanceId, mig, &gi) != NVML_SUCCESS ||
        nvml.Call(nvml.nvmlDeviceGetComputeInstanceId, mig, &ci) != NVML_SUCCESS) {
      continue;
    }
    MigDevice found;
    found.uuid =
        ReadText<NVML_DEVICE_UUID_V2_BUFFER_SIZE>(nvml, nvml.nvmlDeviceGetUUID, mig).value_or("");
    nvmlMemory_t memory = {};
    const nvmlReturn_t rc = nvml.Call(nvml.nvmlDeviceGetMemoryInfo, mig, &memory);
    found.memory_used =
        rc == NVML_SUCCESS ? Reading<Bytes>(Bytes{memory.used}) : AbsentFor<Bytes>(rc);
    devices[{gi, ci}] = std::move(found);
  }
  return devices;
}

Answer<MigComputeInstance> ReadComputeInstance(const NvmlLibrary& nvml,
                                               nvmlComputeInstance_t handle, unsigned int slices) {
  nvmlComputeInstanceInfo_t info = {};
  nvmlReturn_t rc = nvml.Call(nvml.nvmlComputeInstanceGetInfo_v2, handle, &info);
  if (rc == NVML_ERROR_FUNCTION_NOT_FOUND) {
    nvmlComputeInstanceInfo_v1_t old = {};
    rc = nvml.Call(nvml.nvmlComputeInstanceGetInfo, handle, &old);
    info = {old.device, old.gpuInstance, old.id, old.profileId, {0, slices}};
  }
  if (rc != NVML_SUCCESS) return tl::unexpected(rc);
  if (!MakesSense(info.placement.start, info.placement.size) || info.id > 0xffff) {
    return tl::unexpected<nvmlReturn_t>(NVML_ERROR_UNKNOWN);
  }
  MigComputeInstance instance;
  instance.id = static_cast<int>(info.id);
  instance.profile_id = static_cast<int>(info.profileId);
  instance.compute_slices = static_cast<int>(slices);
  instance.placement = {static_cast<int>(info.placement.start),
                        static_cast<int>(info.placement.size)};
  return instance;
}

Answer<std::vector<MigComputeInstance>> ReadComputeInstances(const NvmlLibrary& nvml,
                                                             nvmlGpuInstance_t gi) {
  std::map<int, MigComputeInstance> by_id;  // some profiles share an id
  for (unsigned int profile = 0; profile < kProfilesToTry; ++profile) {
    nvmlComputeInstanceProfileInfo_t info = {};
    if (nvml.Call(nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo, gi, profile,
                  NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, &info) != NVML_SUCCESS) {
      continue;
    }
    if (info.sliceCount < 1 || info.sliceCount > kMostSlots) continue;
    const auto handles =
        ReadList<nvmlComputeInstance_t>([&](unsigned int* count, nvmlComputeInstance_t* instances) {
          return nvml.Call(nvml.nvmlGpuInstanceGetComputeInstances, gi, info.id, instances, count);
        });
    if (!handles) return tl::unexpected(handles.error());
    for (const nvmlComputeInstance_t handle : *handles) {
      const auto instance = ReadComputeInstance(nvml, handle, info.sliceCount);
      if (!instance && instance.error() == NVML_ERROR_INVALID_ARGUMENT) continue;  // gone meanwhile
      if (!instance) return tl::unexpected(instance.error());
      by_id[instance->id] = *instance;
    }
  }
  std::vector<MigComputeInstance> instances;
  for (auto& [id, instance] : by_id) instances.push_back(std::move(instance));
  return instances;
}

Answer<MigInstance> ReadInstance(const NvmlLibrary& nvml, nvmlGpuInstance_t handle,
                                 const std::vector<MigProfile>& profiles,
                                 const MigDevices& devices) {
  nvmlGpuInstanceInfo_t info = {};
  const nvmlReturn_t rc = nvml.Call(nvml.nvmlGpuInstanceGetInfo, handle, &info);
  if (rc != NVML_SUCCESS) return tl::unexpected(rc);
  if (!MakesSense(info.placement.start, info.placement.size) || info.id > 0xffff) {
    return tl::unexpected<nvmlReturn_t>(NVML_ERROR_UNKNOWN);
  }
  MigInstance instance;
  instance.id = static_cast<int>(info.id);
  instance.profile_id = static_cast<int>(info.profileId);
  instance.placement = {static_cast<int>(info.placement.start),
                        static_cast<int>(info.placement.size)};
  for (const MigProfile& profile : profiles) {
    if (profile.id != instance.profile_id) continue;
    instance.profile = profile.name;
    instance.memory = profile.memory;
  }
  auto computes = ReadComputeInstances(nvml, handle);
  if (!computes) return tl::unexpected(computes.error());
  instance.compute_instances = std::move(*computes);
  instance.memory_used = Reading<Bytes>::Absent("it has no compute instance to read it through");
  for (MigComputeInstance& compute : instance.compute_instances) {
    const auto device = devices.find({info.id, static_cast<unsigned int>(compute.id)});
    if (device == devices.end()) continue;
    compute.uuid = device->second.uuid;
    instance.memory_used = device->second.memory_used;
  }
  return instance;
}

}  // namespace

std::vector<MigProfile> ReadMigProfiles(const NvmlLibrary& nvml, nvmlDevice_t device,
                                        Bytes gpu_memory, std::vector<std::string>* problems) {
  std::vector<MigProfile> profiles;
  std::optional<nvmlReturn_t> no_placements;
  for (unsigned int number = 0; number < kProfilesToTry; ++number) {
    const Answer<ProfileInfo> info = ReadProfileInfo(nvml, device, number);
    if (!info) continue;  // not offered on this GPU by this driver
    if (!MakesSense(*info)) {
      problems->push_back(
          fmt::format("the driver describes MIG profile {} in a way that makes no sense", number));
      continue;
    }
    MigProfile profile = ToProfile(*info, number, gpu_memory);
    if (std::any_of(profiles.begin(), profiles.end(),
                    [&](const MigProfile& other) { return other.id == profile.id; })) {
      continue;
    }
    if (auto placements = ReadPlacements(nvml, device, info->id)) {
      profile.placements = std::move(*placements);
    } else {
      no_placements = placements.error();
    }
    profiles.push_back(std::move(profile));
  }
  if (no_placements) {
    problems->push_back(fmt::format("where MIG instances can be placed cannot be read: {}",
                                    MeaningOf(*no_placements).reason));
  }
  return profiles;
}

int SlotsOf(const std::vector<MigProfile>& profiles) {
  int slots = 0;
  for (const MigProfile& profile : profiles) {
    for (const MigPlacement placement : profile.placements) {
      slots = std::max(slots, placement.start + placement.size);
    }
  }
  return slots;
}

Answer<std::vector<FoundInstance>> ReadMigInstances(const NvmlLibrary& nvml, nvmlDevice_t device,
                                                    const std::vector<MigProfile>& profiles) {
  const MigDevices devices = ReadMigDevices(nvml, device);
  std::vector<FoundInstance> found;
  for (const MigProfile& profile : profiles) {
    const auto handles =
        ReadList<nvmlGpuInstance_t>([&](unsigned int* count, nvmlGpuInstance_t* instances) {
          return nvml.Call(nvml.nvmlDeviceGetGpuInstances, device,
                           static_cast<unsigned int>(profile.id), instances, count);
        });
    if (!handles) return tl::unexpected(handles.error());
    for (const nvmlGpuInstance_t handle : *handles) {
      auto instance = ReadInstance(nvml, handle, profiles, devices);
      if (!instance && instance.error() == NVML_ERROR_INVALID_ARGUMENT) continue;  // gone meanwhile
      if (!instance) return tl::unexpected(instance.error());
      found.push_back({handle, std::move(*instance)});
    }
  }
  std::sort(found.begin(), found.end(), [](const FoundInstance& a, const FoundInstance& b) {
    return a.instance.placement < b.instance.placement;
  });
  return found;
}

Answer<unsigned int> WholeComputeProfile(const NvmlLibrary& nvml, nvmlGpuInstance_t instance,
                                         int compute_slices) {
  for (unsigned int profile = 0; profile < kProfilesToTry; ++profile) {
    // Special cuts of the same size, for media and for multi-GPU jobs.
    if (profile == NVML_COMPUTE_INSTANCE_PROFILE_1_SLICE_REV1 ||
        profile == NVML_COMPUTE_INSTANCE_PROFILE_7_SLICE_NVL) {
      continue;
    }
    nvmlComputeInstanceProfileInfo_t info = {};
    const nvmlReturn_t rc = nvml.Call(nvml.nvmlGpuInstanceGetComputeInstanceProfileInfo, instance,
                                      profile, NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED, &info);
    if (rc == NVML_SUCCESS && info.sliceCount == static_cast<unsigned int>(compute_slices)) {
      return info.id;
    }
    if (rc == NVML_ERROR_FUNCTION_NOT_FOUND || NeedsReopening(rc)) return tl::unexpected(rc);
  }
  return tl::unexpected<nvmlReturn_t>(NVML_ERROR_NOT_SUPPORTED);
}

}  // namespace tranche
