#include "sim/machine/placement.h"

#include <gtest/gtest.h>

#include <set>

#include "sim/create/gpu_catalog.h"

namespace tranche::sim {
namespace {

GpuSpec Gpu(const std::string& model, const char* driver = "580") {
  auto catalog = GpuCatalog::Embedded();
  EXPECT_TRUE(catalog) << catalog.error().message;
  auto found = catalog->Find(model, *catalog->FindDriver(driver));
  EXPECT_TRUE(found) << found.error().message;
  return *found;
}

const GiProfileSpec& Profile(const GpuSpec& gpu, const std::string& name) {
  for (uint32_t i = 0; i < gpu.gi_profile_count; ++i) {
    if (gpu.gi_profiles[i].name == name) return gpu.gi_profiles[i];
  }
  ADD_FAILURE() << "no profile " << name;
  return gpu.gi_profiles[0];
}

// Creates in this order as the driver would; the starts, -1 where there was no room.
std::vector<int> Starts(const GpuSpec& gpu, const std::vector<std::string>& names) {
  std::vector<Placed> placed;
  std::vector<int> starts;
  for (const std::string& name : names) {
    const GiProfileSpec& profile = Profile(gpu, name);
    int start = PickStart(gpu, placed, profile);
    if (start >= 0) placed.push_back({profile.id, static_cast<uint32_t>(start), profile.size});
    starts.push_back(start);
  }
  return starts;
}

TEST(Placement, LeavesMostToOthers) {
  GpuSpec a100 = Gpu("a100-40");
  using V = std::vector<int>;
  EXPECT_EQ(Starts(a100, {"3g.20gb", "3g.20gb"}), (V{4, 0}));
  EXPECT_EQ(Starts(a100, {"1g.5gb", "1g.5gb", "2g.10gb", "3g.20gb"}), (V{6, 4, 0, -1}));
  EXPECT_EQ(Starts(a100, {"3g.20gb", "1g.5gb", "2g.10gb", "1g.5gb"}), (V{4, 0, 2, 1}));
  EXPECT_EQ(Starts(a100, {"1g.5gb", "2g.10gb", "4g.20gb"}), (V{6, 4, 0}));
}

// Four with double memory use all eight slots: counts alone would allow three plain ones beside
// them.
TEST(Placement, CountsDoNotDecide) {
  GpuSpec a100 = Gpu("a100-40");
  EXPECT_EQ(Starts(a100, {"1g.10gb", "1g.10gb", "1g.10gb", "1g.10gb", "1g.5gb"}).back(), -1);
}

TEST(Placement, TheSeventhSlotHasNoSlice) {
  GpuSpec h100 = Gpu("h100-sxm");
  std::vector<Placed> placed = {{9, 0, 4}, {9, 4, 4}};
  EXPECT_TRUE(FreeStarts(h100, placed, Profile(h100, "1g.10gb")).empty());
  // But a double-memory instance can have it.
  EXPECT_EQ(FreeStarts(h100, {{14, 4, 2}}, Profile(h100, "1g.20gb")),
            (std::vector<uint32_t>{0, 2, 6}));
}

TEST(Placement, EnginesRunOut) {
  GpuSpec rtx = Gpu("rtx-pro-6000-server");
  const GiProfileSpec& all = Profile(rtx, "1g.24gb+me.all");
  std::vector<Placed> placed = {{all.id, 0, all.size}};
  EXPECT_TRUE(FreeStarts(rtx, placed, Profile(rtx, "1g.24gb")).empty());
  EXPECT_EQ(FreeStarts(rtx, placed, Profile(rtx, "1g.24gb-me")).size(), 3u);
  EXPECT_EQ(RemainingCapacity(rtx, placed, Profile(rtx, "2g.48gb-me")), 1u);
}

TEST(Placement, RemainingCapacity) {
  GpuSpec a100 = Gpu("a100-80");
  EXPECT_EQ(RemainingCapacity(a100, {}, Profile(a100, "1g.10gb")), 7u);
  EXPECT_EQ(RemainingCapacity(a100, {}, Profile(a100, "1g.10gb+me")), 1u);
  EXPECT_EQ(RemainingCapacity(a100, {{9, 4, 4}}, Profile(a100, "2g.20gb")), 2u);
  EXPECT_EQ(RemainingCapacity(a100, {{19, 0, 1}}, Profile(a100, "7g.80gb")), 0u);
}

TEST(Placement, IdsFollowSpans) {
  GpuSpec gpu = Gpu("a100-40");
  EXPECT_EQ(GpuInstanceId(gpu, 0, 8), 0u);
  EXPECT_EQ(GpuInstanceId(gpu, 4, 4), 2u);
  EXPECT_EQ(GpuInstanceId(gpu, 6, 2), 6u);
  EXPECT_EQ(GpuInstanceId(gpu, 6, 1), 13u);
  gpu.mirrored = 1;
  EXPECT_EQ(GpuInstanceId(gpu, 0, 8), 0u);
  EXPECT_EQ(GpuInstanceId(gpu, 4, 4), 1u);
  EXPECT_EQ(GpuInstanceId(gpu, 4, 2), 3u);
  EXPECT_EQ(GpuInstanceId(gpu, 3, 1), 14u);
}

// Whatever stands on a GPU, each placement has an id of its own: none is given twice.
TEST(Placement, IdsAreUnique) {
  for (const char* model : {"a100-40", "a30", "h100-sxm", "b200", "rtx-pro-6000-server"}) {
    for (uint32_t mirrored : {0u, 1u}) {
      GpuSpec gpu = Gpu(model);
      gpu.mirrored = mirrored;
      std::set<std::pair<uint32_t, uint32_t>> spans;
      std::set<uint32_t> ids;
      for (uint32_t i = 0; i < gpu.gi_profile_count; ++i) {
        const GiProfileSpec& p = gpu.gi_profiles[i];
        for (uint32_t k = 0; k < p.start_count; ++k) {
          if (spans.insert({p.starts[k], p.size}).second) {
            EXPECT_TRUE(ids.insert(GpuInstanceId(gpu, p.starts[k], p.size)).second) << model;
          }
        }
      }
    }
  }
}

TEST(Placement, ComputeInstances) {
  GpuSpec h100 = Gpu("h100-sxm");
  const GiProfileSpec& whole = Profile(h100, "7g.80gb");
  std::map<std::string, const CiProfileSpec*> parts;
  for (uint32_t i = 0; i < whole.ci_profile_count; ++i) {
    parts[whole.ci_profiles[i].name] = &whole.ci_profiles[i];
  }
  ASSERT_TRUE(parts.count("3c.7g.80gb") && parts.count("1c.7g.80gb") && parts.count("7g.80gb"));
  EXPECT_EQ(parts["7g.80gb"]->sm, 132u);
  EXPECT_EQ(parts["3c.7g.80gb"]->sm, 60u);
  EXPECT_EQ(parts["1c.7g.80gb"]->sm, 16u);
  EXPECT_EQ(RemainingCapacity(whole, {}, *parts["1c.7g.80gb"]), 7u);
  EXPECT_EQ(RemainingCapacity(whole, {}, *parts["3c.7g.80gb"]), 2u);
  std::vector<Placed> three = {{2, 0, 3}};
  EXPECT_EQ(RemainingCapacity(whole, three, *parts["1c.7g.80gb"]), 4u);
  EXPECT_EQ(PickStart(whole, three, *parts["3c.7g.80gb"]), 4);
}

}  // namespace
}  // namespace tranche::sim
