#include "catalog/vgpu_catalog.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

namespace tranche {
namespace {

using testing::HasSubstr;

TEST(VgpuCatalog, EmbeddedDataFitsTheGpus) {
  const auto loaded = VgpuCatalog::Load();
  ASSERT_TRUE(loaded) << loaded.error().message;
  const auto catalog = Catalog::Load();
  ASSERT_TRUE(catalog);
  EXPECT_GT(loaded->boards().size(), 10u);
  std::set<std::string> names;
  for (const auto& [key, board] : loaded->boards()) {
    const auto gpu = (*catalog)->FindGpu(key);
    ASSERT_TRUE(gpu) << key;
    EXPECT_EQ((*gpu)->key, key) << "keys, not aliases";
    EXPECT_TRUE((*gpu)->vgpu_capable) << key;
    for (const VgpuOffer& offer : board.offers) {
      EXPECT_TRUE(names.insert(offer.name).second) << offer.name;
      EXPECT_EQ(offer.series, VgpuSeries::kC) << offer.name;
      EXPECT_GT(offer.guest().value, 0u) << offer.name;
      EXPECT_LT(offer.guest(), offer.framebuffer) << offer.name;
      EXPECT_LE(offer.most_mixed, offer.most) << offer.name;
      // As many as there may be have room; a board's own GiB are a little more than NVML counts.
      const uint64_t all = offer.framebuffer.value * static_cast<uint64_t>(offer.most);
      EXPECT_LE(all, (*gpu)->memory->value / 100 * 107) << offer.name;
      if (offer.mig_slices == 0) continue;
      EXPECT_TRUE((*gpu)->mig_capable) << offer.name;
      if (offer.mig_profile.empty()) continue;
      const bool known = std::any_of(
          (*gpu)->mig_profiles.begin(), (*gpu)->mig_profiles.end(), [&](const MigProfile& profile) {
            return profile.name == offer.mig_profile && profile.compute_slices == offer.mig_slices;
          });
      EXPECT_TRUE(known) << offer.name << " " << offer.mig_profile;
    }
  }
}

TEST(VgpuCatalog, LicencesSayWhereTheirPriceIsFrom) {
  const VgpuCatalog& catalog = BuiltInVgpuCatalog();
  for (const VgpuSeries series : kAllVgpuSeries) {
    const VgpuLicence& licence = catalog.LicenceOf(series);
    EXPECT_FALSE(licence.name.empty());
    EXPECT_FALSE(licence.source.empty());
    EXPECT_TRUE(!licence.price_per_hour || *licence.price_per_hour > 0);
  }
  EXPECT_TRUE(catalog.LicenceOf(VgpuSeries::kC).per_gpu);
  EXPECT_FALSE(catalog.LicenceOf(VgpuSeries::kQ).per_gpu);
}

TEST(VgpuCatalog, WhatADriverNamesIsAddedToWhatIsKnown) {
  const VgpuCatalog& catalog = BuiltInVgpuCatalog();
  const std::vector<VgpuOffer> named = {{"A40-8C", VgpuSeries::kC, GiB(8), {}, 0, "", 1, 0},
                                        {"A40-8Q", VgpuSeries::kQ, GiB(8), {}, 0, "", 1, 0},
                                        {"A40-2B", VgpuSeries::kB, GiB(2), {}, 0, "", 1, 0}};
  const auto offers = catalog.OffersOf("A40", MiB(46068), {}, named);
  const auto find = [&](const std::string& name) {
    for (const VgpuOffer& offer : offers) {
      if (offer.name == name) return offer;
    }
    return VgpuOffer();
  };
  EXPECT_EQ(find("A40-8C").most, 6);
  EXPECT_EQ(find("A40-8Q").most, 6) << "as many as of its size";
  EXPECT_EQ(find("A40-8Q").most_mixed, 4);
  EXPECT_EQ(find("A40-2B").most, 24) << "as many as its memory holds";
  EXPECT_EQ(find("A40-2B").most_mixed, 0) << "which is not known";
  // 8192/16 + 44 + 128/6 + 8192/16 for ECC.
  EXPECT_EQ(find("A40-8C").reserved.value >> 20, 1089u);
  EXPECT_EQ(offers.front().name, "A40-48C") << "the largest first";
  EXPECT_EQ(catalog.OffersOf("NONE-SUCH", GiB(16), {}, named).size(), 3u);
}

TEST(VgpuCatalog, TypesThatMigBacksNameAProfileOfTheGpu) {
  const auto catalog = Catalog::Load();
  const CatalogGpu& a100 = **(*catalog)->FindGpu("A100-SXM4-40GB");
  const auto profile_of = [&](const std::string& name, const std::vector<MigProfile>& profiles) {
    for (const VgpuOffer& offer :
         BuiltInVgpuCatalog().OffersOf(a100.key, *a100.memory, profiles, {})) {
      if (offer.name == name) return offer.mig_profile;
    }
    return std::string("none");
  };
  EXPECT_EQ(profile_of("A100X-1-5C", a100.mig_profiles), "1g.5gb");
  EXPECT_EQ(profile_of("A100X-1-10C", a100.mig_profiles), "1g.10gb");
  EXPECT_EQ(profile_of("A100X-1-5CME", a100.mig_profiles), "1g.5gb+me");
  // A driver that calls it otherwise.
  std::vector<MigProfile> renamed = a100.mig_profiles;
  for (MigProfile& profile : renamed) {
    if (profile.name == "1g.5gb") profile.name = "1g.4gb";
  }
  EXPECT_EQ(profile_of("A100X-1-5C", renamed), "1g.4gb");
  EXPECT_EQ(profile_of("A100X-1-5C", {}), "none") << "without MIG there are none";
}

TEST(VgpuCatalog, MistakesAreTold) {
  const char* const text =
      "reserved: {fraction: 0.1, fixed_mib: 1, per_gpu_mib: 1, ecc_fraction: 0, source: s, "
      "confidence: low}\n"
      "licences:\n"
      "  C: {name: c, per: %, price_per_year: null, currency: USD, source: s, confidence: low}\n"
      "  Q: {name: q, per: gpu, price_per_year: 1, currency: USD, source: s, confidence: low}\n"
      "  A: {name: a, per: gpu, price_per_year: 1, currency: USD, source: s, confidence: low}\n"
      "  B: {name: b, per: gpu, price_per_year: 1, currency: USD, source: s, confidence: low}\n"
      "boards:\n"
      "  A40: {ecc: true, time_sliced: [{type: A40-8C, mib: 8192, alone: 6, mixed: 4}], "
      "source: s, confidence: low}\n";
  const auto with = [&](const std::string& per, const std::string& from, const std::string& to) {
    std::string all = text;
    all.replace(all.find('%'), 1, per);
    if (!from.empty()) all.replace(all.find(from), from.size(), to);
    return VgpuCatalog::Parse(all);
  };
  const auto good = with("gpu", "", "");
  ASSERT_TRUE(good) << good.error().message;
  EXPECT_EQ(good->LicenceOf(VgpuSeries::kC).price_per_hour, std::nullopt) << "unknown is not 0";
  EXPECT_THAT(with("year", "", "").error().message, HasSubstr("gpu or machine"));
  EXPECT_FALSE(with("gpu", "A40-8C", "A40-8X"));
  EXPECT_FALSE(with("gpu", "mixed: 4", "mixed: 7")) << "more than alone";
  EXPECT_FALSE(with("gpu", "alone: 6, ", ""));
}

}  // namespace
}  // namespace tranche
