#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "model/machine.h"

namespace tranche {

// Which memory slots of a GPU are taken; bit i is slot i.
using SlotMask = uint32_t;

constexpr SlotMask SlotsOf(MigPlacement placement) {
  return ((SlotMask{1} << placement.size) - 1) << placement.start;
}

// An instance of a profile somewhere. `profile` is an index into MigGeometry::profiles().
struct PlacedProfile {
  int profile = 0;
  MigPlacement placement;
  auto operator<=>(const PlacedProfile&) const = default;
};

// What of one GPU is taken. A value; only MigGeometry changes it.
struct Occupancy {
  static constexpr int kMaxProfiles = 32;

  SlotMask slots = 0;
  int compute_slices = 0;
  EngineCounts engines;                        // copy engines are not counted
  std::array<uint8_t, kMaxProfiles> counts{};  // instances per profile

  bool operator==(const Occupancy&) const = default;
};

// What can still be made of a GPU: the better, the greater. Lexicographic: the largest profile that
// still fits (compute slices, then memory slots), then the number of (shape, placement) pairs that
// fit. A shape is a set of profiles that differ in engines only.
struct Outlook {
  int largest_slices = 0;
  int largest_slots = 0;
  int options = 0;
  auto operator<=>(const Outlook&) const = default;
};

// The rules of one GPU's MIG, as its driver lists the profiles. Knows nothing of GPU names.
// Immutable, and safe from any thread.
//
// A set of instances is legal when
//   - each sits at a placement of its profile, and no two share a memory slot;
//   - their compute slices sum to no more than those of the largest profile;
//   - no profile has more instances than its max_instances;
//   - their decoders, encoders, JPEG units and OFAs sum to no more than the GPU has, which is the
//   most that
//     the instances of any one profile can have together. So a +me.all instance leaves only -me
//     ones.
class MigGeometry {
 public:
  // Refuses a table that could not come from a driver (kInvalid): empty, more than 32 slots or
  // profiles, a profile without placements, numbers out of range.
  static Result<MigGeometry> Make(std::vector<MigProfile> profiles);

  // The same GPU where only these instances may be, each where it is. `layout` is legal.
  MigGeometry FixedAt(const std::vector<PlacedProfile>& layout) const;

  const std::vector<MigProfile>& profiles() const { return profiles_; }
  const MigProfile& profile(int index) const { return profiles_[static_cast<size_t>(index)]; }
  int memory_slots() const { return memory_slots_; }
  int compute_slices() const { return compute_slices_; }
  const EngineCounts& engines() const { return engines_; }

  std::optional<int> Find(const std::string& name) const;
  std::optional<int> FindId(int profile_id) const;

  // What instances take that stand on a machine. One whose profile the driver no longer lists takes
  // its slots, and the compute slices that its name states; one whose placement makes no sense
  // takes them all, so that nothing is ever put on top of it.
  Occupancy OccupancyOf(const std::vector<MigInstance>& instances) const;
  Occupancy OccupancyOf(const std::vector<PlacedProfile>& instances) const;

  // Whether one more instance is legal there.
  bool Fits(const Occupancy& taken, int profile, MigPlacement placement) const;
  bool FitsSomewhere(const Occupancy& taken, int profile) const;
  // As Fits, with the rule that forbids it in words (kDoesNotFit).
  Status CheckFits(const Occupancy& taken, int profile, MigPlacement placement) const;

  void Add(const PlacedProfile& instance, Occupancy* taken) const;
  void Remove(const PlacedProfile& instance, Occupancy* taken) const;

  Outlook OutlookOf(const Occupancy& taken) const;

 private:
  // Profiles that sit at the same placements with the same compute slices.
  struct Shape {
    int compute_slices = 0;
    std::vector<MigPlacement> placements;
    std::vector<int> profiles;
  };

  MigGeometry() = default;
  void FindShapes();
  // The rules that do not depend on where.
  bool AllowsOneMore(const Occupancy& taken, int profile) const;

  std::vector<MigProfile> profiles_;
  std::vector<Shape> shapes_;  // largest first
  int memory_slots_ = 0;
  int compute_slices_ = 0;
  EngineCounts engines_;
};

// "1g.10gb at slot 4" or, of several slots, "3g.40gb at slots 4-7".
std::string DescribePlacement(const std::string& profile, MigPlacement placement);

}  // namespace tranche
