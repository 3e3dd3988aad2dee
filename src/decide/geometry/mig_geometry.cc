#include "decide/geometry/mig_geometry.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "catalog/catalog.h"

namespace tranche {
namespace {

constexpr int kMaxSlots = 31;

// The engines that instances divide among them, one name per member.
constexpr std::pair<int EngineCounts::*, const char*> kEngines[] = {
    {&EngineCounts::decoder, "decoder"},
    {&EngineCounts::encoder, "encoder"},
    {&EngineCounts::jpeg, "JPEG"},
    {&EngineCounts::ofa, "OFA"}};

bool IsSane(MigPlacement placement) {
  return placement.start >= 0 && placement.size >= 1 && placement.start < kMaxSlots &&
         placement.size <= kMaxSlots - placement.start;
}

int SlotsPerInstance(const MigProfile& profile) { return profile.placements.front().size; }

Status CheckProfile(const MigProfile& profile) {
  const auto wrong = [&profile](const char* what) {
    return Fail(ErrorCode::kInvalid, fmt::format("MIG profile '{}' {}", profile.name, what));
  };
  if (profile.placements.empty()) return wrong("has no placement");
  if (profile.compute_slices < 1 || profile.compute_slices > kMaxSlots)
    return wrong("has no compute slices");
  if (profile.max_instances < 1 || profile.max_instances > kMaxSlots)
    return wrong("has no instances");
  for (const MigPlacement& placement : profile.placements) {
    if (!IsSane(placement)) return wrong("has a placement outside of 31 memory slots");
    if (placement.size != SlotsPerInstance(profile))
      return wrong("has placements of several sizes");
  }
  for (const auto& [engine, name] : kEngines) {
    if (profile.engines.*engine < 0 || profile.engines.*engine > 1024)
      return wrong("has no sane engines");
  }
  return {};
}

}  // namespace

Result<MigGeometry> MigGeometry::Make(std::vector<MigProfile> profiles) {
  if (profiles.empty()) {
    return Fail(ErrorCode::kInvalid, "the driver lists no MIG profile",
                "is MIG supported on this GPU?");
  }
  if (profiles.size() > static_cast<size_t>(Occupancy::kMaxProfiles)) {
    return Fail(ErrorCode::kInvalid, fmt::format("{} MIG profiles are more than {}",
                                                 profiles.size(), Occupancy::kMaxProfiles));
  }
  MigGeometry geometry;
  geometry.profiles_ = std::move(profiles);
  for (size_t i = 0; i < geometry.profiles_.size(); ++i) {
    const MigProfile& profile = geometry.profiles_[i];
    if (auto ok = CheckProfile(profile); !ok) return tl::unexpected(ok.error());
    geometry.compute_slices_ = std::max(geometry.compute_slices_, profile.compute_slices);
    for (const MigPlacement& placement : profile.placements) {
      geometry.memory_slots_ = std::max(geometry.memory_slots_, placement.start + placement.size);
    }
    for (const auto& [engine, name] : kEngines) {
      geometry.engines_.*engine =
          std::max(geometry.engines_.*engine, profile.max_instances * profile.engines.*engine);
    }
  }
  geometry.FindShapes();
  return geometry;
}

void MigGeometry::FindShapes() {
  shapes_.clear();
  for (size_t i = 0; i < profiles_.size(); ++i) {
    const MigProfile& profile = profiles_[i];
    const auto same = std::find_if(shapes_.begin(), shapes_.end(), [&profile](const Shape& shape) {
      return shape.compute_slices == profile.compute_slices &&
             shape.placements == profile.placements;
    });
    if (same != shapes_.end()) {
      same->profiles.push_back(static_cast<int>(i));
    } else {
      shapes_.push_back({profile.compute_slices, profile.placements, {static_cast<int>(i)}});
    }
  }
  std::stable_sort(shapes_.begin(), shapes_.end(), [](const Shape& a, const Shape& b) {
    return std::pair(a.compute_slices, a.placements.front().size) >
           std::pair(b.compute_slices, b.placements.front().size);
  });
}

// Slots, compute slices and engines stay those of the GPU: shares are of it.
MigGeometry MigGeometry::FixedAt(const std::vector<PlacedProfile>& layout) const {
  MigGeometry fixed = *this;
  for (size_t i = 0; i < fixed.profiles_.size(); ++i) {
    MigProfile& profile = fixed.profiles_[i];
    std::vector<MigPlacement> placements;
    for (const PlacedProfile& placed : layout) {
      if (placed.profile == static_cast<int>(i)) placements.push_back(placed.placement);
    }
    profile.max_instances = static_cast<int>(placements.size());
    // One that is not wanted keeps its placements, which tell its size, and may be made nowhere.
    if (placements.empty()) continue;
    std::sort(placements.begin(), placements.end());
    profile.placements = std::move(placements);
  }
  fixed.FindShapes();
  return fixed;
}

std::optional<int> MigGeometry::Find(const std::string& name) const {
  for (size_t i = 0; i < profiles_.size(); ++i) {
    if (profiles_[i].name == name) return static_cast<int>(i);
  }
  return std::nullopt;
}

std::optional<int> MigGeometry::FindId(int profile_id) const {
  for (size_t i = 0; i < profiles_.size(); ++i) {
    if (profiles_[i].id == profile_id) return static_cast<int>(i);
  }
  return std::nullopt;
}

Occupancy MigGeometry::OccupancyOf(const std::vector<MigInstance>& instances) const {
  Occupancy taken;
  for (const MigInstance& instance : instances) {
    if (!IsSane(instance.placement)) {
      taken.slots = SlotsOf({0, kMaxSlots});
      continue;
    }
    std::optional<int> index = FindId(instance.profile_id);
    if (!index) index = Find(instance.profile);
    if (index) {
      Add({*index, instance.placement}, &taken);
      continue;
    }
    taken.slots |= SlotsOf(instance.placement);
    if (const auto name = ParseMigProfileName(instance.profile))
      taken.compute_slices += name->compute_slices;
  }
  return taken;
}

Occupancy MigGeometry::OccupancyOf(const std::vector<PlacedProfile>& instances) const {
  Occupancy taken;
  for (const PlacedProfile& instance : instances) Add(instance, &taken);
  return taken;
}

bool MigGeometry::AllowsOneMore(const Occupancy& taken, int index) const {
  const MigProfile& wanted = profile(index);
  if (taken.counts[static_cast<size_t>(index)] >= wanted.max_instances) return false;
  if (taken.compute_slices + wanted.compute_slices > compute_slices_) return false;
  for (const auto& [engine, name] : kEngines) {
    if (taken.engines.*engine + wanted.engines.*engine > engines_.*engine) return false;
  }
  return true;
}

bool MigGeometry::Fits(const Occupancy& taken, int index, MigPlacement placement) const {
  const std::vector<MigPlacement>& legal = profile(index).placements;
  return AllowsOneMore(taken, index) && (taken.slots & SlotsOf(placement)) == 0 &&
         std::find(legal.begin(), legal.end(), placement) != legal.end();
}

bool MigGeometry::FitsSomewhere(const Occupancy& taken, int index) const {
  if (!AllowsOneMore(taken, index)) return false;
  const std::vector<MigPlacement>& legal = profile(index).placements;
  return std::any_of(legal.begin(), legal.end(), [&taken](const MigPlacement& placement) {
    return (taken.slots & SlotsOf(placement)) == 0;
  });
}

Status MigGeometry::CheckFits(const Occupancy& taken, int index, MigPlacement placement) const {
  const MigProfile& wanted = profile(index);
  const std::string what = DescribePlacement(wanted.name, placement);
  const auto no = [&what](const std::string& why) {
    return Fail(ErrorCode::kDoesNotFit, fmt::format("{} does not fit: {}", what, why));
  };
  if (std::find(wanted.placements.begin(), wanted.placements.end(), placement) ==
      wanted.placements.end()) {
    std::vector<int> starts;
    for (const MigPlacement& legal : wanted.placements) starts.push_back(legal.start);
    return no(fmt::format("{} takes {} slots and may start at {}", wanted.name,
                          SlotsPerInstance(wanted), fmt::join(starts, ", ")));
  }
  if ((taken.slots & SlotsOf(placement)) != 0) return no("some of these slots are taken");
  const int count = taken.counts[static_cast<size_t>(index)];
  if (count >= wanted.max_instances) {
    return no(fmt::format("the GPU holds at most {} of this profile", wanted.max_instances));
  }
  if (taken.compute_slices + wanted.compute_slices > compute_slices_) {
    return no(fmt::format("it needs {} compute slices, and {} of {} are taken",
                          wanted.compute_slices, taken.compute_slices, compute_slices_));
  }
  for (const auto& [engine, name] : kEngines) {
    if (taken.engines.*engine + wanted.engines.*engine > engines_.*engine) {
      return no(fmt::format("it needs {} of the {} {} engines, and {} are taken",
                            wanted.engines.*engine, engines_.*engine, name, taken.engines.*engine));
    }
  }
  return {};
}

void MigGeometry::Add(const PlacedProfile& instance, Occupancy* taken) const {
  const MigProfile& added = profile(instance.profile);
  taken->slots |= SlotsOf(instance.placement);
  taken->compute_slices += added.compute_slices;
  uint8_t& count = taken->counts[static_cast<size_t>(instance.profile)];
  if (count < UINT8_MAX) ++count;
  for (const auto& [engine, name] : kEngines) taken->engines.*engine += added.engines.*engine;
}

void MigGeometry::Remove(const PlacedProfile& instance, Occupancy* taken) const {
  const MigProfile& removed = profile(instance.profile);
  taken->slots &= ~SlotsOf(instance.placement);
  taken->compute_slices -= removed.compute_slices;
  --taken->counts[static_cast<size_t>(instance.profile)];
  for (const auto& [engine, name] : kEngines) taken->engines.*engine -= removed.engines.*engine;
}

Outlook MigGeometry::OutlookOf(const Occupancy& taken) const {
  Outlook outlook;
  for (const Shape& shape : shapes_) {
    const bool allowed = std::any_of(shape.profiles.begin(), shape.profiles.end(),
                                     [&](int index) { return AllowsOneMore(taken, index); });
    if (!allowed) continue;
    for (const MigPlacement& placement : shape.placements) {
      if ((taken.slots & SlotsOf(placement)) != 0) continue;
      if (outlook.options == 0) {
        outlook.largest_slices = shape.compute_slices;
        outlook.largest_slots = placement.size;
      }
      ++outlook.options;
    }
  }
  return outlook;
}

std::string DescribePlacement(const std::string& profile, MigPlacement placement) {
  if (placement.size == 1) return fmt::format("{} at slot {}", profile, placement.start);
  return fmt::format("{} at slots {}-{}", profile, placement.start,
                     placement.start + placement.size - 1);
}

}  // namespace tranche
