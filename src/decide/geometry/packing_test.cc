#include "decide/geometry/packing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

#include "decide/geometry/brute_force.h"

namespace tranche {
namespace {

using brute::GeometryOf;
using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

std::vector<int> Profiles(const MigGeometry& geometry,
                          const std::vector<std::pair<int, const char*>>& wanted) {
  std::vector<int> profiles;
  for (const auto& [count, name] : wanted)
    profiles.insert(profiles.end(), static_cast<size_t>(count), *geometry.Find(name));
  return profiles;
}

Error Refusal(const MigGeometry& geometry, const std::vector<std::pair<int, const char*>>& wanted,
              const Occupancy& taken = {}) {
  const auto placed = CanPlace(geometry, Profiles(geometry, wanted), taken);
  EXPECT_FALSE(placed);
  return placed ? Error{} : placed.error();
}

// Seven instances, as many as the GPU has slices, and still impossible.
TEST(CanPlaceTest, SlotsNotCounts) {
  const MigGeometry geometry = GeometryOf("A100-SXM4-40GB");
  const Error error = Refusal(geometry, {{4, "1g.10gb"}, {3, "1g.5gb"}});
  EXPECT_EQ(error.code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(error.message, AllOf(HasSubstr("4 x 1g.10gb and 3 x 1g.5gb need 11 memory slots"),
                                   HasSubstr("the GPU has 8"), HasSubstr("1g.10gb takes 2")));
  EXPECT_EQ(error.hint, "3 x 1g.10gb and 2 x 1g.5gb would fit");
  const auto without = CanPlace(geometry, Profiles(geometry, {{3, "1g.10gb"}, {2, "1g.5gb"}}));
  EXPECT_TRUE(without);
}

TEST(CanPlaceTest, SaysWhichRule) {
  const MigGeometry a100 = GeometryOf("A100-SXM4-40GB");
  EXPECT_THAT(Refusal(a100, {{4, "2g.10gb"}}).message, HasSubstr("at most 3"));
  EXPECT_THAT(Refusal(a100, {{2, "1g.5gb+me"}}).message, HasSubstr("at most 1"));
  EXPECT_THAT(Refusal(a100, {{1, "4g.20gb"}, {4, "1g.5gb"}}).message,
              HasSubstr("need 8 compute slices, and the GPU has 7"));
  EXPECT_THAT(Refusal(a100, {{2, "3g.20gb"}, {1, "1g.5gb"}}).message,
              HasSubstr("need 9 memory slots"));
  const MigGeometry a30 = GeometryOf("A30");
  EXPECT_THAT(Refusal(a30, {{1, "1g.6gb+me"}, {1, "2g.12gb+me"}}).message,
              HasSubstr("JPEG engines, and the GPU has 1"));
  const MigGeometry rtx = GeometryOf("RTX-PRO-6000-SERVER");
  EXPECT_THAT(Refusal(rtx, {{1, "1g.24gb+me.all"}, {1, "1g.24gb"}}).message,
              HasSubstr("decoder engines"));
  EXPECT_TRUE(CanPlace(rtx, Profiles(rtx, {{1, "1g.24gb+me.all"}, {3, "1g.24gb-me"}})));
}

TEST(CanPlaceTest, SaysWhenOnlyThePlacesAreWrong) {
  const MigGeometry geometry = GeometryOf("H100-SXM5-80GB");
  Occupancy taken;
  geometry.Add({*geometry.Find("1g.10gb"), {2, 1}}, &taken);
  geometry.Add({*geometry.Find("1g.10gb"), {5, 1}}, &taken);
  const Error error = Refusal(geometry, {{1, "3g.40gb"}}, taken);
  EXPECT_EQ(
      error.message,
      "1 x 3g.40gb would be legal by number, but not by placement: 3g.40gb has no free placement");
  EXPECT_EQ(error.hint, "none of them fits");
  const Error two = Refusal(geometry, {{2, "2g.20gb"}}, taken);
  EXPECT_EQ(two.message,
            "2 x 2g.20gb would be legal by number, but not by placement: 2g.20gb (2 slots) may "
            "start at 0");
  EXPECT_EQ(two.hint, "1 x 2g.20gb would fit");
  EXPECT_THAT(Refusal(geometry, {{6, "1g.10gb"}}, taken).message,
              HasSubstr("at most 7, 2 of them taken"));
}

TEST(CanPlaceTest, NothingAlwaysFits) {
  EXPECT_THAT(CanPlace(GeometryOf("A30"), {}).value(), ElementsAre());
}

TEST(PackTest, KeepsWhatStands) {
  const MigGeometry geometry = GeometryOf("H100-SXM5-80GB");
  const int one = *geometry.Find("1g.10gb"), two = *geometry.Find("2g.20gb");
  // Five 1g stay, two go, and a 2g comes where they were.
  std::vector<WantedInstance> wanted;
  for (int start : {0, 1, 2, 3, 6}) wanted.push_back({one, MigPlacement{start, 1}});
  wanted.push_back({two, std::nullopt});
  const auto packed = PackProfiles(geometry, {}, wanted);
  ASSERT_TRUE(packed);
  EXPECT_THAT(*packed, ElementsAre(MigPlacement{0, 1}, MigPlacement{1, 1}, MigPlacement{2, 1},
                                   MigPlacement{3, 1}, MigPlacement{6, 1}, MigPlacement{4, 2}));
}

TEST(PackTest, MovesTheFewest) {
  const MigGeometry geometry = GeometryOf("H100-SXM5-80GB");
  const int one = *geometry.Find("1g.10gb"), four = *geometry.Find("4g.40gb");
  // 4g needs the lower half: the one that stands in it must move, the other must not.
  const auto packed = PackProfiles(
      geometry, {}, {{one, MigPlacement{2, 1}}, {one, MigPlacement{5, 1}}, {four, std::nullopt}});
  ASSERT_TRUE(packed);
  EXPECT_EQ((*packed)[1], (MigPlacement{5, 1}));
  EXPECT_EQ((*packed)[2], (MigPlacement{0, 4}));
  EXPECT_THAT((*packed)[0], testing::AnyOf(MigPlacement{4, 1}, MigPlacement{6, 1}));
}

TEST(PackTest, NeverTouchesWhatIsTaken) {
  const MigGeometry geometry = GeometryOf("H100-SXM5-80GB");
  Occupancy taken;
  geometry.Add({*geometry.Find("1g.10gb"), {0, 1}}, &taken);
  EXPECT_EQ(PackProfiles(geometry, taken, {{*geometry.Find("4g.40gb"), std::nullopt}}),
            std::nullopt);
  const auto three = PackProfiles(geometry, taken, {{*geometry.Find("3g.40gb"), std::nullopt}});
  EXPECT_THAT(three.value(), ElementsAre(MigPlacement{4, 4}));
}

TEST(GeometryTest, ForeignInstancesCount) {
  const MigGeometry geometry = GeometryOf("H100-SXM5-80GB");
  MigInstance known, unknown, broken;
  known.profile_id = 14;
  known.placement = {0, 2};
  unknown.profile = "3g.39gb";
  unknown.profile_id = 999;
  unknown.placement = {4, 4};
  const Occupancy taken = geometry.OccupancyOf(std::vector<MigInstance>{known, unknown});
  EXPECT_EQ(taken.slots, 0b11110011u);
  EXPECT_EQ(taken.compute_slices, 5);
  EXPECT_EQ(CountFitting(geometry, taken, *geometry.Find("1g.10gb")), 2);
  broken.placement = {-3, 77};
  const Occupancy full = geometry.OccupancyOf(std::vector<MigInstance>{broken});
  for (size_t i = 0; i < geometry.profiles().size(); ++i) {
    EXPECT_FALSE(geometry.FitsSomewhere(full, static_cast<int>(i)));
  }
}

TEST(GeometryTest, CheckFitsSaysWhy) {
  const MigGeometry geometry = GeometryOf("A100-SXM4-40GB");
  const int one = *geometry.Find("1g.5gb"), two = *geometry.Find("2g.10gb"),
            four = *geometry.Find("4g.20gb");
  Occupancy taken;
  EXPECT_TRUE(geometry.CheckFits(taken, two, {2, 2}));
  EXPECT_THAT(geometry.CheckFits(taken, two, {1, 2}).error().message,
              HasSubstr("may start at 0, 2, 4"));
  geometry.Add({four, {0, 4}}, &taken);
  EXPECT_THAT(geometry.CheckFits(taken, two, {2, 2}).error().message,
              AllOf(HasSubstr("2g.10gb at slots 2-3"), HasSubstr("taken")));
  for (int start : {4, 5, 6}) geometry.Add({one, {start, 1}}, &taken);
  EXPECT_THAT(geometry.CheckFits(taken, *geometry.Find("1g.10gb"), {6, 2}).error().message,
              HasSubstr("taken"));
}

TEST(GeometryTest, RefusesTablesNoDriverWouldGive) {
  const auto table = GeometryOf("A30").profiles();
  EXPECT_FALSE(MigGeometry::Make({}));
  const auto refused = [&table](const std::function<void(MigProfile*)>& change) {
    auto broken = table;
    change(&broken[0]);
    const auto made = MigGeometry::Make(broken);
    return made ? "" : made.error().message;
  };
  EXPECT_EQ(refused([](MigProfile*) {}), "");
  EXPECT_THAT(refused([](MigProfile* p) { p->placements.clear(); }), HasSubstr("1g.6gb"));
  EXPECT_NE(refused([](MigProfile* p) { p->placements[0].start = -1; }), "");
  EXPECT_NE(refused([](MigProfile* p) { p->placements[0].size = 0; }), "");
  EXPECT_NE(refused([](MigProfile* p) { p->placements[0] = {30, 2}; }), "");
  EXPECT_NE(refused([](MigProfile* p) { p->placements[0] = {2147483647, 1}; }), "");
  EXPECT_NE(refused([](MigProfile* p) { p->placements[0] = {0, 2}; }), "");
  EXPECT_NE(refused([](MigProfile* p) { p->compute_slices = 0; }), "");
  EXPECT_NE(refused([](MigProfile* p) { p->max_instances = 0; }), "");
  EXPECT_NE(refused([](MigProfile* p) { p->engines.decoder = -1; }), "");
  EXPECT_FALSE(MigGeometry::Make(std::vector<MigProfile>(33, table[0])));
}

// ---- properties, against everything tried ----

struct Scene {
  MigGeometry geometry;
  std::vector<PlacedProfile> fixed;
  std::vector<WantedInstance> wanted;
};

// A GPU with some instances that stand fixed, some that stand and are wanted, some wanted anew.
Scene AnyScene() {
  const auto gpus = brute::MigGpus();
  Scene scene{
      MigGeometry::Make(gpus[*rc::gen::inRange<size_t>(0, gpus.size())]->mig_profiles).value(),
      {},
      {}};
  const auto& table = scene.geometry.profiles();
  std::vector<PlacedProfile> standing;
  const auto any_pair = [&table] {
    const int profile = *rc::gen::inRange(0, static_cast<int>(table.size()));
    const auto& placements = table[static_cast<size_t>(profile)].placements;
    return PlacedProfile{profile, placements[*rc::gen::inRange<size_t>(0, placements.size())]};
  };
  for (int tries = *rc::gen::inRange(0, 8); tries > 0; --tries) {
    const PlacedProfile pair = any_pair();
    standing.push_back(pair);
    if (!brute::Legal(table, standing)) {
      standing.pop_back();
    } else if (*rc::gen::inRange(0, 2) == 0) {
      scene.fixed.push_back(pair);
    } else {
      scene.wanted.push_back({pair.profile, pair.placement});
    }
  }
  for (int more = *rc::gen::inRange(0, 4); more > 0; --more)
    scene.wanted.push_back({any_pair().profile, std::nullopt});
  return scene;
}

RC_GTEST_PROP(PackProperty, LegalAndFewestMovedOrRightlyRefused, ()) {
  const Scene scene = AnyScene();
  const Occupancy taken = scene.geometry.OccupancyOf(scene.fixed);
  const auto packed = PackProfiles(scene.geometry, taken, scene.wanted);
  std::vector<std::pair<int, std::optional<MigPlacement>>> wanted;
  for (const WantedInstance& instance : scene.wanted)
    wanted.emplace_back(instance.profile, instance.at);
  const auto fewest = brute::FewestMoves(scene.geometry.profiles(), scene.fixed, wanted);
  RC_CLASSIFY(!fewest.has_value(), "refused");
  RC_ASSERT(packed.has_value() == fewest.has_value());
  if (!packed) return;
  RC_ASSERT(packed->size() == scene.wanted.size());
  std::vector<PlacedProfile> all = scene.fixed;
  int moved = 0;
  for (size_t i = 0; i < packed->size(); ++i) {
    all.push_back({scene.wanted[i].profile, (*packed)[i]});
    moved += scene.wanted[i].at && *scene.wanted[i].at != (*packed)[i];
  }
  RC_ASSERT(brute::Legal(scene.geometry.profiles(), all));
  RC_ASSERT(moved == *fewest);
}

RC_GTEST_PROP(PackProperty, CanPlaceAgreesAndExplains, ()) {
  const Scene scene = AnyScene();
  const Occupancy taken = scene.geometry.OccupancyOf(scene.fixed);
  std::vector<int> profiles;
  std::vector<std::pair<int, std::optional<MigPlacement>>> wanted;
  for (const WantedInstance& instance : scene.wanted) {
    profiles.push_back(instance.profile);
    wanted.emplace_back(instance.profile, std::nullopt);
  }
  const auto placed = CanPlace(scene.geometry, profiles, taken);
  RC_ASSERT(placed.has_value() ==
            brute::FewestMoves(scene.geometry.profiles(), scene.fixed, wanted).has_value());
  if (placed) return;
  RC_ASSERT(placed.error().code == ErrorCode::kDoesNotFit);
  RC_ASSERT(!placed.error().message.empty());
  RC_ASSERT(!placed.error().hint.empty());
}

RC_GTEST_PROP(PackProperty, CountFittingIsExact, ()) {
  const Scene scene = AnyScene();
  const int profile = *rc::gen::inRange(0, static_cast<int>(scene.geometry.profiles().size()));
  RC_ASSERT(CountFitting(scene.geometry, scene.geometry.OccupancyOf(scene.fixed), profile) ==
            brute::MostBeside(scene.geometry.profiles(), scene.fixed, profile));
}

}  // namespace
}  // namespace tranche
