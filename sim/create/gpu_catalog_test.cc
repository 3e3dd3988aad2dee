#include "sim/create/gpu_catalog.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace tranche::sim {
namespace {

class GpuCatalogTest : public testing::Test {
 protected:
  void SetUp() override {
    auto catalog = GpuCatalog::Embedded();
    ASSERT_TRUE(catalog) << catalog.error().message;
    catalog_ = *catalog;
  }
  std::vector<std::string> ProfileNames(const std::string& model, const std::string& driver) {
    std::vector<std::string> names;
    auto gpu = catalog_.Find(model, *catalog_.FindDriver(driver));
    EXPECT_TRUE(gpu) << gpu.error().message;
    for (uint32_t i = 0; gpu && i < gpu->gi_profile_count; ++i)
      names.push_back(gpu->gi_profiles[i].name);
    return names;
  }
  bool Has(const std::vector<std::string>& names, const std::string& name) {
    return std::find(names.begin(), names.end(), name) != names.end();
  }
  GpuCatalog catalog_;
};

TEST_F(GpuCatalogTest, KnowsEveryGpuWell) {
  DriverSpec driver = *catalog_.FindDriver(catalog_.default_driver());
  EXPECT_GT(catalog_.keys().size(), 20u);
  for (const std::string& key : catalog_.keys()) {
    auto gpu = catalog_.Find(key, driver);
    // The newest boards want newer drivers.
    if (!gpu) gpu = catalog_.Find(key, *catalog_.FindDriver("615"));
    ASSERT_TRUE(gpu) << key << ": " << gpu.error().message;
    EXPECT_STREQ(gpu->key, key.c_str());
    EXPECT_GT(gpu->memory_bytes, uint64_t{1} << 30) << key;
    EXPECT_GT(gpu->sm, 0u) << key;
    // The same board as GB200, as an earlier driver shows it: ids are of one entry each.
    EXPECT_TRUE(gpu->pci_device_id != 0 || key == "GB200-189GB") << key;
    EXPECT_EQ(gpu->mig_capable != 0, gpu->gi_profile_count > 0) << key;
    for (uint32_t i = 0; i < gpu->gi_profile_count; ++i) {
      const GiProfileSpec& gi = gpu->gi_profiles[i];
      EXPECT_GT(gi.memory_bytes, 0u) << key << " " << gi.name;
      EXPECT_GT(gi.sm, 0u) << key << " " << gi.name;
      EXPECT_GT(gi.start_count, 0u) << key << " " << gi.name;
      EXPECT_GT(gi.ci_profile_count, 0u) << key << " " << gi.name;
      for (uint32_t k = 0; k < gi.start_count; ++k) {
        EXPECT_LE(gi.starts[k] + gi.size, gpu->memory_slots) << key << " " << gi.name;
      }
      for (uint32_t k = 0; k < gi.ci_profile_count; ++k) {
        EXPECT_LE(gi.ci_profiles[k].sm, gi.sm) << key << " " << gi.ci_profiles[k].name;
        EXPECT_GE(gi.ci_profiles[k].start_count, gi.ci_profiles[k].max_instances)
            << key << " " << gi.ci_profiles[k].name;
      }
    }
  }
}

TEST_F(GpuCatalogTest, FindsByAnySpelling) {
  DriverSpec driver = *catalog_.FindDriver("580");
  for (const char* name : {"H100-SXM5-80GB", "h100-sxm5-80gb", "H100_SXM5 80GB"}) {
    auto gpu = catalog_.Find(name, driver);
    ASSERT_TRUE(gpu) << name;
    EXPECT_STREQ(gpu->key, "H100-SXM5-80GB");
  }
}

TEST_F(GpuCatalogTest, SuggestsWhatWasMeant) {
  DriverSpec driver = *catalog_.FindDriver("580");
  auto typo = catalog_.Find("H100-SMX5-80GB", driver);
  ASSERT_FALSE(typo);
  EXPECT_EQ(typo.error().code, ErrorCode::kInvalid);
  EXPECT_NE(typo.error().message.find("H100-SMX5-80GB"), std::string::npos);
  EXPECT_NE(typo.error().hint.find("H100-SXM5-80GB"), std::string::npos) << typo.error().hint;
  EXPECT_NE(catalog_.Find("zx81", driver).error().hint.find("tranche-sim models"),
            std::string::npos);
}

TEST_F(GpuCatalogTest, DriversDiffer) {
  EXPECT_FALSE(Has(ProfileNames("a100-40", "470"), "1g.10gb"));
  EXPECT_TRUE(Has(ProfileNames("a100-40", "525"), "1g.10gb"));
  EXPECT_FALSE(Has(ProfileNames("a30", "470"), "2g.12gb+me"));
  EXPECT_TRUE(Has(ProfileNames("a30", "535"), "2g.12gb+me"));
  EXPECT_TRUE(Has(ProfileNames("a100-80", "535.104.05"), "3g.39gb"));
  EXPECT_FALSE(Has(ProfileNames("a100-80", "535.104.05"), "3g.40gb"));
  EXPECT_TRUE(Has(ProfileNames("a100-80", "550"), "3g.40gb"));
  auto too_old = catalog_.Find("h100-sxm", *catalog_.FindDriver("470"));
  ASSERT_FALSE(too_old);
  EXPECT_NE(too_old.error().hint.find("525"), std::string::npos);
}

TEST_F(GpuCatalogTest, DriverVersions) {
  EXPECT_STREQ(catalog_.FindDriver("580.95")->version, "580.95");
  EXPECT_EQ(catalog_.FindDriver("580.95")->cuda_version, 13000);
  // A branch between two is like the older one.
  EXPECT_EQ(catalog_.FindDriver("560.35.03")->cuda_version, 12040);
  EXPECT_STREQ(catalog_.FindDriver("535")->version, "535.183.06");
  EXPECT_FALSE(catalog_.FindDriver("390"));
  EXPECT_FALSE(catalog_.FindDriver("newest"));
  EXPECT_FALSE(catalog_.FindDriver(""));
  EXPECT_TRUE(Has(catalog_.MissingSymbols(470), "nvmlDeviceGetMemoryInfo_v2"));
  EXPECT_TRUE(Has(catalog_.MissingSymbols(580), "nvmlDeviceSetMemoryLimits_v1"));
  EXPECT_TRUE(catalog_.MissingSymbols(615).empty());
}

TEST_F(GpuCatalogTest, BrokenTablesNameTheirPlace) {
  auto broken =
      GpuCatalog::Parse("gpus:\n  X:\n    identity: {}\n", "tables: {}\ncompute_profile_sets: {}\n",
                        "default: '1'\ndrivers: []\nprofiles: []\nsymbols: {}\n");
  ASSERT_FALSE(broken);
  EXPECT_NE(broken.error().message.find("gpus.yaml:3"), std::string::npos)
      << broken.error().message;
}

}  // namespace
}  // namespace tranche::sim
