#include "sim/smi/mig_profiles.h"

#include <algorithm>
#include <tuple>

namespace tranche::sim::smi {
namespace {

// The instances of one profile; none where the question fails.
template <typename Handle, typename Ask>
std::vector<Handle> All(unsigned room, const Ask& ask) {
  std::vector<Handle> handles(room + 8);
  auto count = static_cast<unsigned>(handles.size());
  if (ask(handles.data(), &count) != NVML_SUCCESS) return {};
  handles.resize(count);
  return handles;
}

std::string WithoutMig(const std::string& name) {
  return name.rfind("MIG ", 0) == 0 ? name.substr(4) : name;
}

}  // namespace

std::vector<GiProfile> ListGiProfiles(const Nvml& nvml, const Board& board) {
  std::vector<GiProfile> profiles;
  for (unsigned i = 0; i < NVML_GPU_INSTANCE_PROFILE_COUNT; ++i) {
    GiProfile profile;
    if (CALL(nvml, nvmlDeviceGetGpuInstanceProfileInfo, board.device, i, &profile.info) !=
        NVML_SUCCESS)
      continue;
    nvmlGpuInstanceProfileInfo_v2_t named{};
    named.version = nvmlGpuInstanceProfileInfo_v2;
    if (CALL(nvml, nvmlDeviceGetGpuInstanceProfileInfoV, board.device, i, &named) == NVML_SUCCESS) {
      profile.name = WithoutMig(named.name);
    } else {
      // Drivers that tell no names: memory in whole GB, as those of the profiles are rounded.
      profile.name =
          Format("%ug.%llugb", profile.info.sliceCount, (profile.info.memorySizeMB + 1023) / 1024);
    }
    profiles.push_back(profile);
  }
  std::sort(profiles.begin(), profiles.end(), [](const GiProfile& a, const GiProfile& b) {
    return std::tie(a.info.sliceCount, a.info.memorySizeMB, a.info.id) <
           std::tie(b.info.sliceCount, b.info.memorySizeMB, b.info.id);
  });
  return profiles;
}

std::vector<CiProfile> ListCiProfiles(const Nvml& nvml, nvmlGpuInstance_t gi, const GiProfile& of) {
  std::vector<CiProfile> profiles;
  for (unsigned i = 0; i < NVML_COMPUTE_INSTANCE_PROFILE_COUNT; ++i) {
    CiProfile profile;
    const unsigned engine = NVML_COMPUTE_INSTANCE_ENGINE_PROFILE_SHARED;
    if (CALL(nvml, nvmlGpuInstanceGetComputeInstanceProfileInfo, gi, i, engine, &profile.info) !=
        NVML_SUCCESS)
      continue;
    profile.is_whole = profile.info.sliceCount == of.info.sliceCount;
    profile.name =
        profile.is_whole ? of.name : Format("%uc.%s", profile.info.sliceCount, of.name.c_str());
    profiles.push_back(profile);
  }
  return profiles;
}

std::vector<Gi> ListGis(const Nvml& nvml, const Board& board) {
  std::vector<Gi> all;
  for (const GiProfile& profile : ListGiProfiles(nvml, board)) {
    const auto handles = All<nvmlGpuInstance_t>(
        profile.info.instanceCount, [&](nvmlGpuInstance_t* list, unsigned* count) {
          return CALL(nvml, nvmlDeviceGetGpuInstances, board.device, profile.info.id, list, count);
        });
    const size_t first = all.size();
    for (const nvmlGpuInstance_t handle : handles) {
      Gi gi;
      gi.handle = handle;
      gi.profile = profile;
      if (CALL(nvml, nvmlGpuInstanceGetInfo, handle, &gi.info) == NVML_SUCCESS) all.push_back(gi);
    }
    std::sort(all.begin() + static_cast<std::ptrdiff_t>(first), all.end(),
              [](const Gi& a, const Gi& b) { return a.info.id < b.info.id; });
  }
  return all;
}

std::vector<Ci> ListCis(const Nvml& nvml, const Gi& gi) {
  std::vector<Ci> all;
  for (const CiProfile& profile : ListCiProfiles(nvml, gi.handle, gi.profile)) {
    const auto handles = All<nvmlComputeInstance_t>(
        profile.info.instanceCount, [&](nvmlComputeInstance_t* list, unsigned* count) {
          return CALL(nvml, nvmlGpuInstanceGetComputeInstances, gi.handle, profile.info.id, list,
                      count);
        });
    for (const nvmlComputeInstance_t handle : handles) {
      Ci ci;
      ci.handle = handle;
      ci.profile = profile;
      if (CALL(nvml, nvmlComputeInstanceGetInfo_v2, handle, &ci.info) == NVML_SUCCESS)
        all.push_back(ci);
    }
  }
  std::sort(all.begin(), all.end(), [](const Ci& a, const Ci& b) { return a.info.id < b.info.id; });
  return all;
}

}  // namespace tranche::sim::smi
