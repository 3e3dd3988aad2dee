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
      EXPECT_GE(offer.most_per_instance, 1) << offer.name;
      EXPECT_TRUE(offer.mig_slices > 0 || offer.most_per_instance == 1) << offer.name;
      // As many as there may be have room; a board's own GiB are a little more than NVML counts.
      const uint64_t all = offer.framebuffer.value * static_cast<uint64_t>(offer.most);
      EXPECT_LE(all, (*gpu)->memory->value / 100 * 107) << offer.name;
      if (offer.mig_slices == 0) continue;
      EXPECT_TRUE((*gpu)->mig_capable) << offer.name;
      if (offer.mig_profile.empty()) continue;
      const bool known = std::any_of(
          (*gpu)->mig_profiles.begin(), (*gpu)->mig_profiles.end(), [&](const MigProfile& profile) {
            const uint64_t in_it =
                offer.framebuffer.value * static_cast<uint64_t>(offer.most_per_instance);
            return profile.name == offer.mig_profile &&
                   profile.compute_slices == offer.mig_slices &&
                   profile.max_instances * offer.most_per_instance >= offer.most &&
                   (offer.most_per_instance == 1 || in_it <= profile.memory.value / 100 * 107);
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

TEST(VgpuCatalog, SeveralInAnInstanceWhereTheBoardOrTheDriverSaysSo) {
  const auto catalog = Catalog::Load();
  const auto offer_of = [&](const char* key, const std::string& name,
                            const std::vector<VgpuOffer>& named) {
    const CatalogGpu& gpu = **(*catalog)->FindGpu(key);
    for (const VgpuOffer& offer :
         BuiltInVgpuCatalog().OffersOf(gpu.key, *gpu.memory, gpu.mig_profiles, named)) {
      if (offer.name == name) return offer;
    }
    return VgpuOffer();
  };
  const char* const pro = "RTX-PRO-6000-SERVER";
  const std::string dc = "RTX Pro 6000 Blackwell DC-";
  const VgpuOffer half = offer_of(pro, dc + "1-12C", {});
  EXPECT_EQ(half.mig_profile, "1g.24gb+gfx");
  EXPECT_EQ(half.most_per_instance, 2);
  EXPECT_EQ(half.most, 8);
  EXPECT_EQ(offer_of(pro, dc + "1-24C", {}).most_per_instance, 1);
  // The same size of another series, which the driver names without a word of its own.
  VgpuOffer named{dc + "1-12Q", VgpuSeries::kQ, GiB(12), {}, 1, "", 1, 0, 0};
  EXPECT_EQ(offer_of(pro, named.name, {named}).most_per_instance, 2);
  EXPECT_EQ(offer_of(pro, named.name, {named}).mig_profile, "1g.24gb+gfx");
  // A size that is not known: one for each instance, until the driver says more.
  named = {dc + "1-2Q", VgpuSeries::kQ, GiB(2), {}, 1, "", 1, 0, 0};
  EXPECT_EQ(offer_of(pro, named.name, {named}).most_per_instance, 1);
  EXPECT_EQ(offer_of(pro, named.name, {named}).mig_profile, "1g.24gb+gfx");
  named.most = 48;
  named.most_per_instance = 12;
  named.mig_profile = "1g.24gb";
  EXPECT_EQ(offer_of(pro, named.name, {named}).most_per_instance, 12);
  EXPECT_EQ(offer_of(pro, named.name, {named}).mig_profile, "1g.24gb");
  // Less than its instance has, on a board where each has one: it has it all the same.
  named = {"A100X-1-4C", VgpuSeries::kC, GiB(4), {}, 1, "", 7, 0, 0};
  EXPECT_EQ(offer_of("A100-SXM4-40GB", named.name, {named}).most_per_instance, 1);
  EXPECT_EQ(offer_of("A100-SXM4-40GB", named.name, {named}).mig_profile, "1g.5gb");
  // The driver's word on a type that is known.
  named = {dc + "1-12C", VgpuSeries::kC, GiB(12), {}, 1, "1g.24gb", 1, 0, 1};
  EXPECT_EQ(offer_of(pro, named.name, {named}).most_per_instance, 1);
  EXPECT_EQ(offer_of(pro, named.name, {named}).mig_profile, "1g.24gb");
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
  const auto backed = [&](const std::string& counts) {
    return with("gpu", "mixed: 4}]",
                "mixed: 4}], mig_backed: [{type: A40-1-8C, mib: 8192, slices: 1, profile: null, " +
                    counts + "}]");
  };
  EXPECT_TRUE(backed("most: 7"));
  EXPECT_TRUE(backed("most: 12, per_instance: 3"));
  EXPECT_FALSE(backed("most: 12")) << "more than there can be instances";
  EXPECT_THAT(backed("most: 12, per_instance: 5").error().message, HasSubstr("must divide"));
}

}  // namespace
}  // namespace tranche
