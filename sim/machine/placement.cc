#include "sim/machine/placement.h"

#include <algorithm>

namespace tranche::sim {
namespace {

bool Overlaps(const std::vector<Placed>& placed, uint32_t start, uint32_t size) {
  return std::any_of(placed.begin(), placed.end(), [&](const Placed& p) {
    return start < p.start + p.size && p.start < start + size;
  });
}

template <typename Profile>
uint32_t CountOf(const std::vector<Placed>& placed, const Profile& profile) {
  return static_cast<uint32_t>(std::count_if(
      placed.begin(), placed.end(), [&](const Placed& p) { return p.profile_id == profile.id; }));
}

const GiProfileSpec* FindProfile(const GpuSpec& gpu, uint32_t id) {
  for (uint32_t i = 0; i < gpu.gi_profile_count; ++i) {
    if (gpu.gi_profiles[i].id == id) return &gpu.gi_profiles[i];
  }
  return nullptr;
}

// The media engines of a GPU are those of its largest profile. Copy engines are left out: instances
// may share them.
bool EnginesSuffice(const GpuSpec& gpu, const std::vector<Placed>& placed,
                    const GiProfileSpec& profile) {
  Engines all;
  for (uint32_t i = 0; i < gpu.gi_profile_count; ++i) {
    const Engines& e = gpu.gi_profiles[i].engines;
    all.decoders = std::max(all.decoders, e.decoders);
    all.encoders = std::max(all.encoders, e.encoders);
    all.jpeg = std::max(all.jpeg, e.jpeg);
    all.ofa = std::max(all.ofa, e.ofa);
  }
  Engines used = profile.engines;
  for (const Placed& p : placed) {
    if (const GiProfileSpec* other = FindProfile(gpu, p.profile_id)) {
      used.decoders += other->engines.decoders;
      used.encoders += other->engines.encoders;
      used.jpeg += other->engines.jpeg;
      used.ofa += other->engines.ofa;
    }
  }
  return used.decoders <= all.decoders && used.encoders <= all.encoders && used.jpeg <= all.jpeg &&
         used.ofa <= all.ofa;
}

template <typename Profile>
std::vector<uint32_t> OpenStarts(const std::vector<Placed>& placed, const Profile& profile,
                                 uint32_t size) {
  std::vector<uint32_t> starts;
  for (uint32_t i = 0; i < profile.start_count; ++i) {
    if (!Overlaps(placed, profile.starts[i], size)) starts.push_back(profile.starts[i]);
  }
  return starts;
}

// How many (profile, placement) pairs are free. Counts and engines do not enter: with or without
// them the recorded creation orders come out, so the simpler rule stands.
size_t Options(const GpuSpec& gpu, const std::vector<Placed>& placed) {
  size_t n = 0;
  for (uint32_t i = 0; i < gpu.gi_profile_count; ++i) {
    n += OpenStarts(placed, gpu.gi_profiles[i], gpu.gi_profiles[i].size).size();
  }
  return n;
}

size_t Options(const GiProfileSpec& gi, const std::vector<Placed>& placed) {
  size_t n = 0;
  for (uint32_t i = 0; i < gi.ci_profile_count; ++i) {
    n += OpenStarts(placed, gi.ci_profiles[i], gi.ci_profiles[i].slices).size();
  }
  return n;
}

template <typename Parent, typename Profile>
int Pick(const Parent& parent, const std::vector<Placed>& placed, const Profile& profile,
         uint32_t size) {
  int best = -1;
  size_t most = 0;
  for (uint32_t start : FreeStarts(parent, placed, profile)) {
    std::vector<Placed> after = placed;
    after.push_back({profile.id, start, size});
    size_t options = Options(parent, after);
    if (best < 0 || options > most) {
      best = static_cast<int>(start);
      most = options;
    }
  }
  return best;
}

// Filling from the lowest start on is best possible here: the placements of one profile never
// overlap each other in part.
template <typename Parent, typename Profile>
uint32_t Remaining(const Parent& parent, std::vector<Placed> placed, const Profile& profile,
                   uint32_t size) {
  uint32_t n = 0;
  for (;;) {
    std::vector<uint32_t> starts = FreeStarts(parent, placed, profile);
    if (starts.empty()) return n;
    placed.push_back({profile.id, starts[0], size});
    ++n;
  }
}

}  // namespace

std::vector<uint32_t> FreeStarts(const GpuSpec& gpu, const std::vector<Placed>& placed,
                                 const GiProfileSpec& profile) {
  if (CountOf(placed, profile) >= profile.max_instances) return {};
  if (!EnginesSuffice(gpu, placed, profile)) return {};
  return OpenStarts(placed, profile, profile.size);
}

int PickStart(const GpuSpec& gpu, const std::vector<Placed>& placed, const GiProfileSpec& profile) {
  return Pick(gpu, placed, profile, profile.size);
}

uint32_t RemainingCapacity(const GpuSpec& gpu, const std::vector<Placed>& placed,
                           const GiProfileSpec& profile) {
  return Remaining(gpu, placed, profile, profile.size);
}

uint32_t GpuInstanceId(const GpuSpec& gpu, uint32_t start, uint32_t size) {
  if (size == 0 || size >= gpu.memory_slots) return 0;
  uint32_t parts = gpu.memory_slots / size;  // 2, 4 or 8 of that size
  uint32_t index = start / size;
  // Mirroring swaps the two halves of the GPU.
  if (gpu.mirrored) index ^= parts / 2;
  return parts - 1 + index;
}

std::vector<uint32_t> FreeStarts(const GiProfileSpec& gi, const std::vector<Placed>& placed,
                                 const CiProfileSpec& profile) {
  if (CountOf(placed, profile) >= profile.max_instances) return {};
  uint32_t used = profile.slices;
  for (const Placed& p : placed) used += p.size;
  if (used > gi.slices) return {};
  return OpenStarts(placed, profile, profile.slices);
}

int PickStart(const GiProfileSpec& gi, const std::vector<Placed>& placed,
              const CiProfileSpec& profile) {
  return Pick(gi, placed, profile, profile.slices);
}

uint32_t RemainingCapacity(const GiProfileSpec& gi, const std::vector<Placed>& placed,
                           const CiProfileSpec& profile) {
  return Remaining(gi, placed, profile, profile.slices);
}

}  // namespace tranche::sim
