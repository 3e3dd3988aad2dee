#include "decide/geometry/packing.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <map>
#include <utility>

namespace tranche {
namespace {

constexpr double kNoise = 1e-9;  // of values that are the same

// Instances of one profile are alike but for where they stand.
struct Kind {
  int profile = 0;
  int left = 0;  // still to be placed
  std::vector<MigPlacement> stand_at;
  std::vector<MigPlacement> chosen;
};

std::vector<Kind> KindsOf(const std::vector<WantedInstance>& wanted,
                          const std::vector<PlacedProfile>& left_over) {
  std::vector<Kind> kinds;
  for (const WantedInstance& instance : wanted) {
    auto kind = std::find_if(kinds.begin(), kinds.end(),
                             [&instance](const Kind& k) { return k.profile == instance.profile; });
    if (kind == kinds.end())
      kind = kinds.insert(kinds.end(),
                          Kind{.profile = instance.profile, .stand_at = {}, .chosen = {}});
    ++kind->left;
    if (instance.at) kind->stand_at.push_back(*instance.at);
  }
  for (const PlacedProfile& there : left_over) {
    for (Kind& kind : kinds) {
      if (kind.profile == there.profile) kind.stand_at.push_back(there.placement);
    }
  }
  return kinds;
}

// Walks the slots from the left, as LayoutWalk does, but places exactly the kinds given.
class PackWalk {
 public:
  using Value = std::function<double(const Occupancy&)>;

  PackWalk(const MigGeometry& geometry, const Occupancy& taken, std::vector<Kind> kinds,
           bool first_will_do, Value value = {})
      : geometry_(geometry),
        taken_(taken),
        kinds_(std::move(kinds)),
        first_will_do_(first_will_do),
        value_(std::move(value)) {
    for (const Kind& kind : kinds_) {
      slots_left_ += kind.left * geometry_.profile(kind.profile).placements.front().size;
    }
  }

  // The chosen placements per kind.
  const std::optional<std::vector<Kind>>& Run() {
    Visit(0);
    return best_;
  }

 private:
  int FreeFrom(int slot) const {
    const SlotMask all = SlotsOf({0, geometry_.memory_slots()});
    return std::popcount(~taken_.slots & all & ~SlotsOf({0, slot}));
  }

  void Finish() {
    if (best_ && kept_ < best_kept_) return;
    const bool keeps_more = !best_ || kept_ > best_kept_;
    const double value = value_ ? value_(taken_) : 0;
    if (!keeps_more && value < best_value_ - kNoise) return;
    const Outlook outlook = geometry_.OutlookOf(taken_);
    if (!keeps_more && value < best_value_ + kNoise && outlook <= best_outlook_) return;
    best_ = kinds_;
    best_kept_ = kept_;
    best_value_ = value;
    best_outlook_ = outlook;
  }

  void Visit(int slot) {
    if (slots_left_ == 0) return Finish();
    if (slot >= geometry_.memory_slots() || FreeFrom(slot) < slots_left_) return;
    for (Kind& kind : kinds_) {
      if (kind.left == 0) continue;
      for (const MigPlacement& placement : geometry_.profile(kind.profile).placements) {
        if (placement.start != slot || !geometry_.Fits(taken_, kind.profile, placement)) continue;
        const bool stays =
            std::find(kind.stand_at.begin(), kind.stand_at.end(), placement) != kind.stand_at.end();
        const PlacedProfile instance{kind.profile, placement};
        geometry_.Add(instance, &taken_);
        --kind.left;
        kind.chosen.push_back(placement);
        kept_ += stays;
        slots_left_ -= placement.size;
        Visit(slot + placement.size);
        slots_left_ += placement.size;
        kept_ -= stays;
        kind.chosen.pop_back();
        ++kind.left;
        geometry_.Remove(instance, &taken_);
        if (first_will_do_ && best_) return;
      }
    }
    Visit(slot + 1);
  }

  const MigGeometry& geometry_;
  Occupancy taken_;
  std::vector<Kind> kinds_;
  const bool first_will_do_;
  const Value value_;
  int slots_left_ = 0;
  int kept_ = 0;
  std::optional<std::vector<Kind>> best_;
  int best_kept_ = 0;
  double best_value_ = 0;
  Outlook best_outlook_;
};

bool AnyPacking(const MigGeometry& geometry, const Occupancy& taken,
                const std::map<int, int>& counts) {
  std::vector<Kind> kinds;
  for (const auto& [profile, count] : counts) {
    if (count > 0)
      kinds.push_back({.profile = profile, .left = count, .stand_at = {}, .chosen = {}});
  }
  return PackWalk(geometry, taken, std::move(kinds), true).Run().has_value();
}

// ---- in words ----

// "4 x 1g.10gb and 3 x 1g.5gb", largest profile first.
std::string Describe(const MigGeometry& geometry, const std::map<int, int>& counts) {
  std::vector<std::pair<int, int>> ordered;
  for (const auto& [profile, count] : counts) {
    if (count > 0) ordered.emplace_back(profile, count);
  }
  std::stable_sort(ordered.begin(), ordered.end(), [&geometry](const auto& a, const auto& b) {
    return geometry.profile(a.first).memory > geometry.profile(b.first).memory;
  });
  std::string text;
  for (size_t i = 0; i < ordered.size(); ++i) {
    if (i > 0) text += i + 1 == ordered.size() ? " and " : ", ";
    text += fmt::format("{} x {}", ordered[i].second, geometry.profile(ordered[i].first).name);
  }
  return text;
}

std::string AlreadyTaken(int taken) {
  return taken > 0 ? fmt::format(", {} of them taken", taken) : "";
}

// The rule that the numbers alone break, or "".
std::string BrokenByNumber(const MigGeometry& geometry, const Occupancy& taken,
                           const std::map<int, int>& counts) {
  const std::string all = Describe(geometry, counts);
  int slices = 0, slots = 0;
  EngineCounts engines;
  std::vector<std::string> slots_each;
  for (const auto& [index, count] : counts) {
    const MigProfile& profile = geometry.profile(index);
    const int there = taken.counts[static_cast<size_t>(index)];
    if (there + count > profile.max_instances) {
      return fmt::format("{} x {} is too many: the GPU holds at most {}{}", count, profile.name,
                         profile.max_instances, AlreadyTaken(there));
    }
    const int size = profile.placements.front().size;
    slices += count * profile.compute_slices;
    slots += count * size;
    slots_each.push_back(fmt::format("{} takes {}", profile.name, size));
    engines.decoder += count * profile.engines.decoder;
    engines.encoder += count * profile.engines.encoder;
    engines.jpeg += count * profile.engines.jpeg;
    engines.ofa += count * profile.engines.ofa;
  }
  if (taken.compute_slices + slices > geometry.compute_slices()) {
    return fmt::format("{} need {} compute slices, and the GPU has {}{}", all, slices,
                       geometry.compute_slices(), AlreadyTaken(taken.compute_slices));
  }
  const int slots_taken = std::popcount(taken.slots);
  if (slots_taken + slots > geometry.memory_slots()) {
    return fmt::format("{} need {} memory slots, and the GPU has {}{} ({})", all, slots,
                       geometry.memory_slots(), AlreadyTaken(slots_taken),
                       fmt::join(slots_each, ", "));
  }
  const auto engines_missing = [&](int needed, int used, int has, const char* name) {
    if (used + needed <= has) return std::string();
    return fmt::format("{} need {} {} engines, and the GPU has {}{}", all, needed, name, has,
                       AlreadyTaken(used));
  };
  const EngineCounts& has = geometry.engines();
  for (const std::string& missing :
       {engines_missing(engines.decoder, taken.engines.decoder, has.decoder, "decoder"),
        engines_missing(engines.encoder, taken.engines.encoder, has.encoder, "encoder"),
        engines_missing(engines.jpeg, taken.engines.jpeg, has.jpeg, "JPEG"),
        engines_missing(engines.ofa, taken.engines.ofa, has.ofa, "OFA")}) {
    if (!missing.empty()) return missing;
  }
  return "";
}

// The numbers are legal, but the places are not.
std::string BrokenByPlacement(const MigGeometry& geometry, const Occupancy& taken,
                              const std::map<int, int>& counts) {
  std::vector<std::string> starts;
  for (const auto& [index, count] : counts) {
    const MigProfile& profile = geometry.profile(index);
    std::vector<int> free;
    for (const MigPlacement& placement : profile.placements) {
      if ((taken.slots & SlotsOf(placement)) == 0) free.push_back(placement.start);
    }
    starts.push_back(free.empty()
                         ? fmt::format("{} has no free placement", profile.name)
                         : fmt::format("{} ({} slots) may start at {}", profile.name,
                                       profile.placements.front().size, fmt::join(free, ", ")));
  }
  return fmt::format("{} would be legal by number, but not by placement: {}",
                     Describe(geometry, counts), fmt::join(starts, "; "));
}

// The most of `wanted` that fits: fewest left out, then most memory.
class SubsetWalk {
 public:
  SubsetWalk(const MigGeometry& geometry, const Occupancy& taken, const std::map<int, int>& wanted)
      : geometry_(geometry), taken_(taken), wanted_(wanted.begin(), wanted.end()) {}

  std::map<int, int> Run() {
    Visit(0, geometry_.compute_slices() - taken_.compute_slices);
    return best_;
  }

 private:
  void Visit(size_t index, int slices_free) {
    if (index == wanted_.size()) {
      const std::pair size(instances_, memory_);
      if (size <= best_size_ || !AnyPacking(geometry_, taken_, chosen_)) return;
      best_ = chosen_;
      best_size_ = size;
      return;
    }
    const auto& [profile, count] = wanted_[index];
    const MigProfile& row = geometry_.profile(profile);
    const int allowed = row.max_instances - taken_.counts[static_cast<size_t>(profile)];
    const int most = std::min({count, allowed, slices_free / row.compute_slices});
    for (int take = std::max(most, 0); take >= 0; --take) {
      const uint64_t memory = row.memory.value * static_cast<uint64_t>(take);
      chosen_[profile] = take;
      instances_ += take;
      memory_ += memory;
      Visit(index + 1, slices_free - take * row.compute_slices);
      memory_ -= memory;
      instances_ -= take;
    }
    chosen_[profile] = 0;
  }

  const MigGeometry& geometry_;
  const Occupancy& taken_;
  const std::vector<std::pair<int, int>> wanted_;
  int instances_ = 0;
  uint64_t memory_ = 0;
  std::map<int, int> chosen_, best_;
  std::pair<int, uint64_t> best_size_;
};

}  // namespace

std::optional<std::vector<MigPlacement>> PackProfiles(const MigGeometry& geometry,
                                                      const Occupancy& taken,
                                                      const std::vector<WantedInstance>& wanted,
                                                      const PackingChoice& choice) {
  PackWalk walk(geometry, taken, KindsOf(wanted, choice.left_over), false, choice.value);
  std::optional<std::vector<Kind>> kinds = walk.Run();
  if (!kinds) return std::nullopt;
  // First those that stay where they are, then the others into what is left, in order.
  std::vector<MigPlacement> placements(wanted.size());
  std::vector<bool> done(wanted.size(), false);
  for (const bool staying : {true, false}) {
    for (size_t i = 0; i < wanted.size(); ++i) {
      if (done[i] || (staying && !wanted[i].at)) continue;
      auto& chosen = std::find_if(kinds->begin(), kinds->end(), [&](const Kind& kind) {
                       return kind.profile == wanted[i].profile;
                     })->chosen;
      const auto place =
          staying ? std::find(chosen.begin(), chosen.end(), *wanted[i].at) : chosen.begin();
      if (place == chosen.end()) continue;
      placements[i] = *place;
      chosen.erase(place);
      done[i] = true;
    }
  }
  return placements;
}

Result<std::vector<MigPlacement>> CanPlace(const MigGeometry& geometry,
                                           const std::vector<int>& wanted, const Occupancy& taken) {
  std::map<int, int> counts;
  std::vector<WantedInstance> instances;
  for (int profile : wanted) {
    ++counts[profile];
    instances.push_back({profile, std::nullopt});
  }
  std::string reason = BrokenByNumber(geometry, taken, counts);
  if (reason.empty()) {
    if (auto packed = PackProfiles(geometry, taken, instances)) return *packed;
    reason = BrokenByPlacement(geometry, taken, counts);
  }
  const std::string most = Describe(geometry, SubsetWalk(geometry, taken, counts).Run());
  return Fail(ErrorCode::kDoesNotFit, reason,
              most.empty() ? "none of them fits" : most + " would fit");
}

int CountFitting(const MigGeometry& geometry, const Occupancy& taken, int profile) {
  int count = geometry.profile(profile).max_instances - taken.counts[static_cast<size_t>(profile)];
  while (count > 0 && !AnyPacking(geometry, taken, {{profile, count}})) --count;
  return std::max(count, 0);
}

}  // namespace tranche
