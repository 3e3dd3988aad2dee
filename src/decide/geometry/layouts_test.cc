#include "decide/geometry/layouts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>

#include "decide/geometry/brute_force.h"

namespace tranche {
namespace {

using brute::GeometryOf;
using ::testing::UnorderedElementsAre;
using ::testing::UnorderedElementsAreArray;

// "2g@0 1g@2": sizes only, for tables of plain profiles.
std::string Text(const MigGeometry& geometry, const InstanceLayout& layout) {
  std::string text;
  for (const PlacedProfile& instance : layout) {
    if (!text.empty()) text += ' ';
    text += std::to_string(geometry.profile(instance.profile).compute_slices) + "g@" +
            std::to_string(instance.placement.start);
  }
  return text;
}

std::vector<std::string> Texts(const MigGeometry& geometry,
                               const std::vector<InstanceLayout>& layouts) {
  std::vector<std::string> texts;
  for (const InstanceLayout& layout : layouts) texts.push_back(Text(geometry, layout));
  return texts;
}

size_t Mixes(const std::vector<InstanceLayout>& layouts) {
  std::set<std::multiset<int>> mixes;
  for (const InstanceLayout& layout : layouts) {
    std::multiset<int> mix;
    for (const PlacedProfile& instance : layout) mix.insert(instance.profile);
    mixes.insert(mix);
  }
  return mixes.size();
}

class EveryMigGpu : public testing::TestWithParam<const CatalogGpu*> {
 protected:
  // The engine's answer and the brute force's must be the same sets, each once.
  static void ExpectAsBruteForce(const LayoutOptions& options) {
    const MigGeometry geometry = MigGeometry::Make(GetParam()->mig_profiles).value();
    const std::vector<int> profiles = ProfilesFor(geometry, options);
    const std::vector<InstanceLayout> layouts = MaximalLayoutsOf(geometry, profiles);
    std::set<brute::Set> found;
    for (const InstanceLayout& layout : layouts)
      found.insert(brute::Set(layout.begin(), layout.end()));
    EXPECT_EQ(found.size(), layouts.size()) << "a layout is listed twice";
    EXPECT_EQ(found, brute::MaximalSets(geometry.profiles(), profiles));
  }
};

TEST_P(EveryMigGpu, BaseLayoutsAreAllThereAre) { ExpectAsBruteForce({}); }
TEST_P(EveryMigGpu, DoubleMemoryLayoutsAreAllThereAre) {
  ExpectAsBruteForce({.double_memory = true});
}
TEST_P(EveryMigGpu, MediaLayoutsAreAllThereAre) { ExpectAsBruteForce({.media = true}); }
TEST_P(EveryMigGpu, GraphicsLayoutsAreAllThereAre) { ExpectAsBruteForce({.graphics = true}); }
TEST_P(EveryMigGpu, LayoutsOfEveryProfileAreAllThereAre) {
  ExpectAsBruteForce({.double_memory = true, .media = true, .graphics = true});
}

TEST_P(EveryMigGpu, PublishedCounts) {
  const MigGeometry geometry = MigGeometry::Make(GetParam()->mig_profiles).value();
  const auto base = MaximalLayouts(geometry);
  const auto with_double = MaximalLayouts(geometry, {.double_memory = true});
  std::pair<size_t, size_t> expected_base, expected_double;
  switch (geometry.compute_slices()) {
    case 7:
      expected_base = {19, 14};
      expected_double = {78, 38};
      break;
    case 4:  // A30, RTX PRO 6000: no double memory
      expected_base = expected_double = {5, 4};
      break;
    case 2:
      expected_base = expected_double = {2, 2};
      break;
  }
  EXPECT_EQ(std::pair(base.size(), Mixes(base)), expected_base);
  EXPECT_EQ(std::pair(with_double.size(), Mixes(with_double)), expected_double);
}

INSTANTIATE_TEST_SUITE_P(Catalog, EveryMigGpu, testing::ValuesIn(brute::MigGpus()),
                         [](const auto& test) {
                           std::string name = test.param->key;
                           std::erase(name, '-');
                           return name;
                         });

TEST(LayoutsTest, TheNineteenOfSevenSlices) {
  const MigGeometry geometry = GeometryOf("A100-SXM4-40GB");
  EXPECT_THAT(
      Texts(geometry, MaximalLayouts(geometry)),
      UnorderedElementsAreArray(
          {"1g@0 1g@1 1g@2 1g@3 1g@4 1g@5 1g@6", "1g@0 1g@1 1g@2 1g@3 2g@4 1g@6",
           "1g@0 1g@1 1g@2 1g@3 3g@4", "1g@0 1g@1 2g@2 1g@4 1g@5 1g@6", "1g@0 1g@1 2g@2 2g@4 1g@6",
           "1g@0 1g@1 2g@2 3g@4", "2g@0 1g@2 1g@3 1g@4 1g@5 1g@6", "2g@0 1g@2 1g@3 2g@4 1g@6",
           "2g@0 1g@2 1g@3 3g@4", "2g@0 2g@2 1g@4 1g@5 1g@6", "2g@0 2g@2 2g@4 1g@6",
           "2g@0 2g@2 3g@4", "3g@0 1g@4 1g@5 1g@6", "3g@0 2g@4 1g@6", "3g@0 3g@4",
           "4g@0 1g@4 1g@5 1g@6", "4g@0 2g@4 1g@6", "4g@0 3g@4", "7g@0"}));
}

TEST(LayoutsTest, TheFiveOfFourSlices) {
  const MigGeometry a30 = GeometryOf("A30");
  EXPECT_THAT(Texts(a30, MaximalLayouts(a30)),
              UnorderedElementsAre("1g@0 1g@1 1g@2 1g@3", "1g@0 1g@1 2g@2", "2g@0 1g@2 1g@3",
                                   "2g@0 2g@2", "4g@0"));
  const MigGeometry rtx = GeometryOf("RTX-PRO-6000-SERVER");
  EXPECT_THAT(Texts(rtx, MaximalLayouts(rtx)),
              UnorderedElementsAre("1g@0 1g@3 1g@6 1g@9", "1g@0 1g@3 2g@6", "2g@0 1g@6 1g@9",
                                   "2g@0 2g@6", "4g@0"));
}

// Published counts of all layouts, partial ones too: they hold the brute force itself to something.
TEST(LayoutsTest, BruteForceFindsThePublishedNumberOfLayouts) {
  const MigGeometry geometry = GeometryOf("H100-SXM5-80GB");
  const auto sets = brute::AllSets(geometry.profiles(), ProfilesFor(geometry, {}));
  EXPECT_EQ(sets.size(), 298u);
  std::set<std::multiset<int>> mixes;
  for (const brute::Set& set : sets) {
    std::multiset<int> mix;
    for (const PlacedProfile& instance : set) mix.insert(instance.profile);
    if (!mix.empty()) mixes.insert(mix);
  }
  EXPECT_EQ(mixes.size(), 37u);
}

TEST(LayoutsTest, OneMediaInstancePerGpu) {
  const MigGeometry geometry = GeometryOf("H100-SXM5-80GB");
  const int media = *geometry.Find("1g.10gb+me");
  int with = 0;
  for (const InstanceLayout& layout : MaximalLayouts(geometry, {.media = true})) {
    const auto count = std::count_if(layout.begin(), layout.end(),
                                     [&](const auto& i) { return i.profile == media; });
    EXPECT_LE(count, 1);
    with += count == 1;
  }
  EXPECT_GT(with, 0);
}

// An instance with all media engines leaves none for its neighbours.
TEST(LayoutsTest, AllMediaLeavesNoMedia) {
  const MigGeometry geometry = GeometryOf("RTX-PRO-6000-SERVER");
  const int all_media = *geometry.Find("1g.24gb+me.all");
  int with = 0;
  for (const InstanceLayout& layout : MaximalLayouts(geometry, {.media = true, .graphics = true})) {
    if (std::none_of(layout.begin(), layout.end(),
                     [&](const auto& i) { return i.profile == all_media; }))
      continue;
    ++with;
    for (const PlacedProfile& instance : layout) {
      if (instance.profile == all_media) continue;
      EXPECT_EQ(geometry.profile(instance.profile).variant, MigVariant::kNoMedia);
    }
  }
  EXPECT_GT(with, 0);
}

TEST(LayoutsTest, ComputeMixes) {
  const CatalogGpu& gpu = **brute::LoadedCatalog()->FindGpu("H100-SXM5-80GB");
  const auto mixes = [&](const char* profile_name) {
    const MigGeometry geometry = MigGeometry::Make(gpu.mig_profiles).value();
    const MigProfile& profile = geometry.profile(*geometry.Find(profile_name));
    std::vector<std::vector<int>> counts;
    for (const ComputeMix& mix :
         MaximalComputeMixes(profile.compute_slices, ComputeProfilesOf(gpu, profile))) {
      counts.push_back(mix.counts);
    }
    return counts;
  };
  using Counts = std::vector<int>;
  EXPECT_THAT(mixes("1g.10gb"), UnorderedElementsAre(Counts{1}));
  EXPECT_THAT(mixes("2g.20gb"), UnorderedElementsAre(Counts{2, 0}, Counts{0, 1}));
  EXPECT_THAT(mixes("3g.40gb"),
              UnorderedElementsAre(Counts{3, 0, 0}, Counts{1, 1, 0}, Counts{0, 0, 1}));
  EXPECT_THAT(mixes("4g.40gb"), UnorderedElementsAre(Counts{4, 0, 0}, Counts{2, 1, 0},
                                                     Counts{0, 2, 0}, Counts{0, 0, 1}));
  // 7g: the ways to write 7 as a sum of 1, 2, 3, 4 and 7 with at most 7, 3, 2, 1 and 1 of each: all
  // are exact, for a rest of 1 or more takes another 1c.
  EXPECT_EQ(mixes("7g.80gb").size(), 12u);
}

}  // namespace
}  // namespace tranche
