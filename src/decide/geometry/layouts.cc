#include "decide/geometry/layouts.h"

#include <algorithm>

namespace tranche {
namespace {

// A plain profile of which a smaller one with the same compute slices exists.
bool IsDoubleMemory(const MigGeometry& geometry, const MigProfile& profile) {
  return std::any_of(geometry.profiles().begin(), geometry.profiles().end(),
                     [&profile](const MigProfile& other) {
                       return other.variant == MigVariant::kPlain &&
                              other.compute_slices == profile.compute_slices &&
                              other.placements.front().size < profile.placements.front().size;
                     });
}

// Walks the slots from the left; at each it leaves the slot or starts an instance there, so that
// every set of (profile, placement) pairs is reached exactly once.
class LayoutWalk {
 public:
  LayoutWalk(const MigGeometry& geometry, const std::vector<int>& profiles)
      : geometry_(geometry), profiles_(profiles) {}

  std::vector<InstanceLayout> Run() {
    Visit(0);
    std::sort(found_.begin(), found_.end(), [](const InstanceLayout& a, const InstanceLayout& b) {
      return std::lexicographical_compare(
          a.begin(), a.end(), b.begin(), b.end(), [](const auto& x, const auto& y) {
            return std::pair(x.placement, x.profile) < std::pair(y.placement, y.profile);
          });
    });
    return std::move(found_);
  }

 private:
  void Visit(int slot) {
    if (slot >= geometry_.memory_slots()) {
      const bool grows = std::any_of(profiles_.begin(), profiles_.end(), [this](int profile) {
        return geometry_.FitsSomewhere(taken_, profile);
      });
      if (!grows) found_.push_back(layout_);
      return;
    }
    for (int profile : profiles_) {
      for (const MigPlacement& placement : geometry_.profile(profile).placements) {
        if (placement.start != slot || !geometry_.Fits(taken_, profile, placement)) continue;
        const PlacedProfile instance{profile, placement};
        geometry_.Add(instance, &taken_);
        layout_.push_back(instance);
        Visit(slot + placement.size);
        layout_.pop_back();
        geometry_.Remove(instance, &taken_);
      }
    }
    Visit(slot + 1);
  }

  const MigGeometry& geometry_;
  const std::vector<int>& profiles_;
  Occupancy taken_;
  InstanceLayout layout_;
  std::vector<InstanceLayout> found_;
};

class MixWalk {
 public:
  MixWalk(int slices, const std::vector<MigComputeProfile>& profiles)
      : free_(slices), profiles_(profiles), counts_(profiles.size(), 0) {}

  std::vector<ComputeMix> Run() {
    Visit(0);
    return std::move(found_);
  }

 private:
  void Visit(size_t index) {
    if (index == profiles_.size()) {
      for (size_t i = 0; i < profiles_.size(); ++i) {
        if (counts_[i] < profiles_[i].max_instances && profiles_[i].compute_slices <= free_) return;
      }
      found_.push_back({counts_});
      return;
    }
    const MigComputeProfile& profile = profiles_[index];
    const int most = std::min(profile.max_instances, free_ / profile.compute_slices);
    for (int count = 0; count <= most; ++count) {
      counts_[index] = count;
      free_ -= count * profile.compute_slices;
      Visit(index + 1);
      free_ += count * profile.compute_slices;
    }
    counts_[index] = 0;
  }

  int free_;
  const std::vector<MigComputeProfile>& profiles_;
  std::vector<int> counts_;
  std::vector<ComputeMix> found_;
};

}  // namespace

std::vector<int> ProfilesFor(const MigGeometry& geometry, const LayoutOptions& options) {
  std::vector<int> chosen;
  for (size_t i = 0; i < geometry.profiles().size(); ++i) {
    const MigProfile& profile = geometry.profiles()[i];
    bool wanted = false;
    switch (profile.variant) {
      case MigVariant::kPlain:
        wanted = options.double_memory || !IsDoubleMemory(geometry, profile);
        break;
      case MigVariant::kMedia:
      case MigVariant::kAllMedia:
      case MigVariant::kNoMedia:
        wanted = options.media;
        break;
      case MigVariant::kGraphics:
        wanted = options.graphics;
        break;
    }
    if (wanted) chosen.push_back(static_cast<int>(i));
  }
  return chosen;
}

std::vector<InstanceLayout> MaximalLayoutsOf(const MigGeometry& geometry,
                                             const std::vector<int>& profiles) {
  return LayoutWalk(geometry, profiles).Run();
}

std::vector<InstanceLayout> MaximalLayouts(const MigGeometry& geometry,
                                           const LayoutOptions& options) {
  return MaximalLayoutsOf(geometry, ProfilesFor(geometry, options));
}

std::vector<ComputeMix> MaximalComputeMixes(int slices,
                                            const std::vector<MigComputeProfile>& profiles) {
  return MixWalk(slices, profiles).Run();
}

}  // namespace tranche
