#pragma once

#include <string>
#include <vector>

#include "sim/smi/nvml.h"

// MIG as NVML tells it, for the tables and verbs of `nvidia-smi mig`.
namespace tranche::sim::smi {

struct GiProfile {
  nvmlGpuInstanceProfileInfo_t info{};
  std::string name;  // "1g.10gb"
};

// Small before large, as nvidia-smi lists them.
std::vector<GiProfile> ListGiProfiles(const Nvml& nvml, const Board& board);

struct CiProfile {
  nvmlComputeInstanceProfileInfo_t info{};
  std::string name;  // "1c.2g.20gb"; "2g.20gb" where it takes all of it
  bool is_whole = false;
};
std::vector<CiProfile> ListCiProfiles(const Nvml& nvml, nvmlGpuInstance_t gi,
                                      const GiProfile& profile);

struct Gi {
  nvmlGpuInstance_t handle{};
  nvmlGpuInstanceInfo_t info{};
  GiProfile profile;
};
std::vector<Gi> ListGis(const Nvml& nvml, const Board& board);

struct Ci {
  nvmlComputeInstance_t handle{};
  nvmlComputeInstanceInfo_t info{};
  CiProfile profile;
};
std::vector<Ci> ListCis(const Nvml& nvml, const Gi& gi);

}  // namespace tranche::sim::smi
