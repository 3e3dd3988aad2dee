#include "decide/geometry/next_placement.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "decide/geometry/brute_force.h"

namespace tranche {
namespace {

using brute::GeometryOf;
using ::testing::ElementsAreArray;

constexpr int kRefused = -1;

// The canonical instance id of a placement: halves count from 1, quarters from 3, eighths from 7.
int CanonicalId(const MigGeometry& geometry, MigPlacement placement) {
  const int slots = geometry.memory_slots();
  if (placement.size == slots) return 0;
  if (placement.size == slots / 2) return 1 + placement.start / placement.size;
  if (placement.size == slots / 4) return 3 + placement.start / placement.size;
  return 7 + placement.start;
}

// Creates instances one by one as `nvidia-smi mig -cgi` does, by profile id.
std::vector<int> IdsAfterCreating(const std::string& gpu, const std::vector<int>& profile_ids,
                                  bool mirrored) {
  const MigGeometry geometry = GeometryOf(gpu);
  Occupancy taken;
  std::vector<int> ids;
  for (int profile_id : profile_ids) {
    const int profile = *geometry.FindId(profile_id);
    const auto placement = AutoPlacement(geometry, taken, profile);
    if (!placement) {
      ids.push_back(kRefused);
      continue;
    }
    geometry.Add({profile, *placement}, &taken);
    MigPlacement physical = *placement;
    if (mirrored) physical.start ^= 4;
    ids.push_back(CanonicalId(geometry, physical));
  }
  return ids;
}

// Recorded on hardware: profile ids in the order of creation, and the instance ids that came back.
TEST(AutoPlacementTest, RecordedCreationOrders) {
  const auto expect = [](const char* gpu, const std::vector<int>& created,
                         const std::vector<int>& ids, bool mirrored = false) {
    EXPECT_THAT(IdsAfterCreating(gpu, created, mirrored), ElementsAreArray(ids))
        << gpu << " " << testing::PrintToString(created);
  };
  for (const char* gpu : {"A100-SXM4-40GB", "A100-PCIE-80GB", "H100-SXM5-80GB"}) {
    expect(gpu, {9, 9}, {2, 1});
    expect(gpu, {19, 19, 14, 9}, {13, 11, 3, kRefused});
    expect(gpu, {9, 19, 14, 19}, {2, 7, 4, 8});
    expect(gpu, {14, 19, 19, 19, 19, 19}, {5, 13, 7, 8, 9, 10});
    expect(gpu, {19, 14, 5}, {13, 5, 1});
    expect(gpu, {19, 19, 19, 19, 19, 19, 19}, {13, 11, 12, 7, 8, 9, 10});
  }
  // Boards that number the physical spans from the other end.
  expect("H100-PCIE-80GB", {19, 19, 19, 19, 19, 19, 19}, {9, 7, 8, 11, 12, 13, 14}, true);
  expect("A100-SXM4-40GB", {5, 14, 19}, {2, 3, 9}, true);
  expect("A100-SXM4-40GB", {9, 9}, {1, 2}, true);
  expect("A100-SXM4-80GB", {5}, {2}, true);
  expect("RTX-PRO-6000-SERVER", {14, 14, 14, 14}, {3, 4, 5, 6});
  expect("RTX-PRO-6000-SERVER", {5, 14, 14}, {1, 5, 6});
}

TEST(BestPlacementTest, KeepsTheLargestPossible) {
  const MigGeometry geometry = GeometryOf("H100-SXM5-80GB");
  const int one = *geometry.Find("1g.10gb"), two = *geometry.Find("2g.20gb"),
            three = *geometry.Find("3g.40gb");
  Occupancy taken;
  // A 1g in the upper half leaves 4g; slot 6 leaves two 2g beside it as well.
  EXPECT_EQ(BestPlacement(geometry, taken, one), (MigPlacement{6, 1}));
  EXPECT_EQ(BestPlacement(geometry, taken, two), (MigPlacement{4, 2}));
  EXPECT_EQ(BestPlacement(geometry, taken, three), (MigPlacement{4, 4}));
  geometry.Add({one, {1, 1}}, &taken);
  // The lower half is spoilt for 4g; stay in it, so that 3g keeps the upper.
  EXPECT_EQ(BestPlacement(geometry, taken, one), (MigPlacement{0, 1}));
  EXPECT_EQ(BestPlacement(geometry, taken, two), (MigPlacement{2, 2}));
}

TEST(BestPlacementTest, NothingWhereNothingFits) {
  const MigGeometry geometry = GeometryOf("A30");
  Occupancy taken;
  geometry.Add({*geometry.Find("4g.24gb"), {0, 4}}, &taken);
  for (size_t i = 0; i < geometry.profiles().size(); ++i) {
    EXPECT_EQ(BestPlacement(geometry, taken, static_cast<int>(i)), std::nullopt);
    EXPECT_EQ(AutoPlacement(geometry, taken, static_cast<int>(i)), std::nullopt);
  }
}

// What is possible afterwards, counted by trying every pair; shapes told apart by their numbers.
Outlook CountedOutlook(const std::vector<MigProfile>& table, std::vector<PlacedProfile> instances) {
  std::set<std::pair<std::pair<int, int>, int>> possible;  // (slices, size), start
  for (size_t i = 0; i < table.size(); ++i) {
    for (const MigPlacement& placement : table[i].placements) {
      instances.push_back({static_cast<int>(i), placement});
      if (brute::Legal(table, instances)) {
        possible.insert({{table[i].compute_slices, placement.size}, placement.start});
      }
      instances.pop_back();
    }
  }
  if (possible.empty()) return {};
  const auto [slices, slots] = possible.rbegin()->first;
  return {slices, slots, static_cast<int>(possible.size())};
}

RC_GTEST_PROP(PlacementProperty, BestIsNeverWorseThanAnyOther, ()) {
  const CatalogGpu& gpu = *brute::MigGpus()[*rc::gen::inRange<size_t>(0, brute::MigGpus().size())];
  const MigGeometry geometry = MigGeometry::Make(gpu.mig_profiles).value();
  const auto& table = geometry.profiles();
  const auto any_profile = rc::gen::inRange(0, static_cast<int>(table.size()));
  std::vector<PlacedProfile> standing;
  for (int tries = *rc::gen::inRange(0, 8); tries > 0; --tries) {
    const int profile = *any_profile;
    const auto& placements = table[static_cast<size_t>(profile)].placements;
    standing.push_back({profile, placements[*rc::gen::inRange<size_t>(0, placements.size())]});
    if (!brute::Legal(table, standing)) standing.pop_back();
  }
  const Occupancy taken = geometry.OccupancyOf(standing);
  RC_ASSERT(geometry.OutlookOf(taken) == CountedOutlook(table, standing));

  const int wanted = *any_profile;
  const auto best = BestPlacement(geometry, taken, wanted);
  const auto automatic = AutoPlacement(geometry, taken, wanted);
  RC_ASSERT(best.has_value() == automatic.has_value());
  std::optional<Outlook> best_outlook;
  std::optional<int> best_start;
  for (const MigPlacement& placement : table[static_cast<size_t>(wanted)].placements) {
    auto after = standing;
    after.push_back({wanted, placement});
    if (!brute::Legal(table, after)) continue;
    const Outlook outlook = CountedOutlook(table, after);
    if (!best_outlook || outlook > *best_outlook) {
      best_outlook = outlook;
      best_start = placement.start;
    }
  }
  RC_ASSERT(best.has_value() == best_start.has_value());
  if (best) {
    RC_ASSERT(best->start == *best_start);
    RC_ASSERT(geometry.Fits(taken, wanted, *automatic));
  }
}

}  // namespace
}  // namespace tranche
