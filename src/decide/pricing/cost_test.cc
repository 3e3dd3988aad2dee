#include "decide/pricing/cost.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace tranche {
namespace {

using ::testing::HasSubstr;

const Catalog& Loaded() {
  static const auto catalog = Catalog::Load().value();
  return *catalog;
}
const CatalogGpu* Gpu(const char* name) { return Loaded().FindGpu(name).value(); }
const SharingOverheads& Overheads() {
  static const auto overheads = SharingOverheads::Load().value();
  return overheads;
}
double Cents(double amount) { return std::round(amount * 100) / 100; }

const PricedOption& Of(const Comparison& comparison, Mechanism mechanism, bool spot = false) {
  for (const PricedOption& option : comparison.options) {
    if (option.mechanism == mechanism && option.spot == spot) return option;
  }
  ADD_FAILURE() << "no " << MechanismName(mechanism);
  static const PricedOption kNone;
  return kNone;
}

// Published: "effective cost per 1M tokens" of an 8B model, five ways.
struct PublishedTokens {
  const char* what;
  double price, tokens_per_second;
  double published;
};
constexpr PublishedTokens kPublishedTokens[] = {
    {"1x H100 PCIe", 2.01, 4000, 0.14},
    {"H100 PCIe, 3x MIG 2g.20gb, one slice", 2.01 / 3, 1100, 0.17},
    {"1x L40S PCIe", 2.06, 2200, 0.26},
    {"L40S PCIe, 2 processes under MPS, one of them", 2.06 / 2, 1400, 0.20},
    {"1x RTX 4090", 0.51, 1500, 0.09},
};

TEST(CostTest, TokensAsPublished) {
  for (const PublishedTokens& row : kPublishedTokens) {
    const auto cost = CostPerMillionTokens(row.price, row.tokens_per_second);
    ASSERT_TRUE(cost);
    EXPECT_DOUBLE_EQ(Cents(*cost), row.published) << row.what;
  }
}

TEST(CostTest, TokensCostMoreOnAGpuThatWaits) {
  EXPECT_NEAR(*CostPerMillionTokens(2.01, 4000, 0.25), 4 * *CostPerMillionTokens(2.01, 4000), 1e-9);
}

TEST(CostTest, NonsenseIsRefusedWithItsName) {
  EXPECT_THAT(CostPerMillionTokens(0, 4000).error().message, HasSubstr("price"));
  EXPECT_THAT(CostPerMillionTokens(2, -1).error().message, HasSubstr("tokens per second -1"));
  EXPECT_THAT(CostPerMillionTokens(2, 1, 1.5).error().message, HasSubstr("utilization"));
  EXPECT_FALSE(CostPerMillionTokens(std::nan(""), 1));
  EXPECT_FALSE(CostPerMillionTokens(INFINITY, 1));
}

// The published calculator: 10 GPUs at 3.50, four tenants, time-slicing: 0.95, -73 %, 180.
TEST(CostTest, ShareAsInThePublishedCalculator) {
  const double left = Overheads().Of(Mechanism::kTimeSlicing).throughput;
  const auto cost = CostOfSharing({10, 3.50, 4, Mechanism::kTimeSlicing, left, std::nullopt});
  ASSERT_TRUE(cost);
  EXPECT_DOUBLE_EQ(Cents(cost->cost_per_hour), 0.95);
  EXPECT_DOUBLE_EQ(std::round(cost->saving_fraction * 100), 73);
  EXPECT_DOUBLE_EQ(cost->gpu_hours_recovered, 180);
  EXPECT_DOUBLE_EQ(cost->price_part_per_hour, 0.875);
}

TEST(CostTest, SharingStopsPayingWhenTenantsWantMoreThanThereIs) {
  ShareAsk ask{1, 3.50, 4, Mechanism::kTimeSlicing, 0.92, 0.23};
  EXPECT_TRUE(*CostOfSharing(ask)->fits);
  ask.utilization = 0.24;
  EXPECT_FALSE(*CostOfSharing(ask)->fits);
  EXPECT_DOUBLE_EQ(CostOfSharing(ask)->break_even_utilization, 0.23);
  // One tenant has the GPU, less what the mechanism takes: that is no saving.
  ask.tenants = 1;
  EXPECT_LT(CostOfSharing(ask)->saving_fraction, 0);
}

TEST(CostTest, AnExclusiveGpuHasOneTenant) {
  EXPECT_FALSE(CostOfSharing({1, 3.5, 2, Mechanism::kExclusive, 1, std::nullopt}));
  const auto alone = CostOfSharing({1, 3.5, 1, Mechanism::kExclusive, 1, std::nullopt});
  EXPECT_EQ(alone->saving_fraction, 0);
  EXPECT_EQ(alone->gpu_hours_recovered, 0);
}

// Published: four teams with a 7B model each on A100s at 3.25; 9,490 and 2,373 a month.
TEST(CostTest, FourTeamsAsPublished) {
  CompareAsk ask;
  ask.gpu = Gpu("A100-SXM4-80GB");
  ask.price_per_hour = 3.25;
  ask.workloads = 4;
  ask.memory = GiB(9);
  ask.tenants = 4;
  const auto found = CompareSharing(ask, Overheads());
  ASSERT_TRUE(found);
  EXPECT_EQ(Of(*found, Mechanism::kExclusive).gpus, 4);
  EXPECT_DOUBLE_EQ(Of(*found, Mechanism::kExclusive).cost_per_month, 9490);
  for (const Mechanism shared : {Mechanism::kTimeSlicing, Mechanism::kMps, Mechanism::kMig}) {
    EXPECT_EQ(Of(*found, shared).gpus, 1);
    EXPECT_DOUBLE_EQ(std::round(Of(*found, shared).cost_per_month), 2373);
    EXPECT_DOUBLE_EQ(Of(*found, shared).saving_fraction, 0.75);
  }
  EXPECT_EQ(Of(*found, Mechanism::kMig).profile, "1g.10gb");
}

// Published: three models on one H100 (2.40), on three A100s (1.05, 1.07 each), on one L40S (2.04).
TEST(CostTest, ThreeModelsAsPublished) {
  const auto per_hour = [](const char* gpu, double price, Mechanism mechanism, Bytes memory) {
    CompareAsk ask;
    ask.gpu = Gpu(gpu);
    ask.price_per_hour = price;
    ask.workloads = 3;
    ask.memory = memory;
    return Of(*CompareSharing(ask, Overheads()), mechanism).cost_per_hour;
  };
  const double mig = per_hour("H100-SXM5-80GB", 2.40, Mechanism::kMig, GiB(16));
  EXPECT_DOUBLE_EQ(mig, 2.40);
  const double sxm = per_hour("A100-SXM4-80GB", 1.05, Mechanism::kExclusive, GiB(16));
  EXPECT_NEAR(sxm, 3.15, 1e-9);
  EXPECT_NEAR(per_hour("A100-PCIE-80GB", 1.07, Mechanism::kExclusive, GiB(16)), 3.21, 1e-9);
  EXPECT_DOUBLE_EQ(per_hour("L40S", 2.04, Mechanism::kTimeSlicing, {14400000000}), 2.04);
  EXPECT_DOUBLE_EQ(std::round(100 * (1 - mig / sxm)), 24);
}

// Published prices of spot: 1.05 and 0.45, 1.43 and 1.14. "30-50 % lower" is neither of them.
TEST(CostTest, SpotAndBoth) {
  CompareAsk ask;
  ask.gpu = Gpu("A100-SXM4-80GB");
  ask.price_per_hour = 1.05;
  ask.spot_price_per_hour = 0.45;
  ask.workloads = 7;
  ask.memory = GiB(9);
  const auto found = CompareSharing(ask, Overheads());
  ASSERT_TRUE(found);
  EXPECT_NEAR(Of(*found, Mechanism::kExclusive, true).saving_fraction, 0.571, 1e-3);
  EXPECT_NEAR(Of(*found, Mechanism::kMig, false).saving_fraction, 0.857, 1e-3);
  EXPECT_NEAR(Of(*found, Mechanism::kMig, true).saving_fraction, 0.939, 1e-3);
  ask.gpu = Gpu("A100-PCIE-80GB");
  ask.price_per_hour = 1.43;
  ask.spot_price_per_hour = 1.14;
  EXPECT_NEAR(Of(*CompareSharing(ask, Overheads()), Mechanism::kExclusive, true).saving_fraction,
              0.203, 1e-3);
}

TEST(CostTest, ComparisonSaysWhatItLeavesOut) {
  CompareAsk ask;
  ask.gpu = Gpu("RTX4090");
  ask.price_per_hour = 0.51;
  ask.workloads = 2;
  ask.memory = GiB(10);
  const auto found = CompareSharing(ask, Overheads());
  ASSERT_TRUE(found);
  ASSERT_EQ(found->left_out.size(), 2u);
  EXPECT_EQ(found->left_out[0].first, Mechanism::kMig);
  EXPECT_EQ(found->left_out[1].first, Mechanism::kVgpu);
}

TEST(CostTest, ComparisonRefusesWhatItCannotPriceOrHold) {
  CompareAsk ask;
  ask.gpu = Gpu("L4");
  ask.memory = GiB(8);
  EXPECT_EQ(CompareSharing(ask, Overheads()).error().code, ErrorCode::kInvalid);
  ask.price_per_hour = 1;
  ask.memory = GiB(80);
  EXPECT_EQ(CompareSharing(ask, Overheads()).error().code, ErrorCode::kDoesNotFit);
}

TEST(CostTest, OneMpsServerHasSoManyClients) {
  CompareAsk ask;
  ask.gpu = Gpu("H100-SXM5-80GB");
  ask.price_per_hour = 2;
  ask.workloads = 100;
  ask.memory = MiB(512);
  const auto found = CompareSharing(ask, Overheads());
  EXPECT_EQ(Of(*found, Mechanism::kMps).per_gpu, 48);
  EXPECT_EQ(Of(*found, Mechanism::kMps).gpus, 3);
  EXPECT_GT(Of(*found, Mechanism::kTimeSlicing).per_gpu, 100);
}

// Published: 0.67 for a third of an H100 at 2.01, 0.29 for a seventh.
TEST(CostTest, SlicesAsPublished) {
  const auto slices = CostOfSlices(*Gpu("H100-PCIE-80GB"), 2.01);
  ASSERT_TRUE(slices);
  const auto of = [&](const char* profile) {
    for (const SliceCost& slice : *slices) {
      if (slice.profile == profile) return slice;
    }
    ADD_FAILURE() << profile;
    return SliceCost{};
  };
  EXPECT_DOUBLE_EQ(Cents(of("2g.20gb").cost_per_hour), 0.67);
  EXPECT_DOUBLE_EQ(Cents(of("1g.10gb").cost_per_hour), 0.29);
  EXPECT_DOUBLE_EQ(of("7g.80gb").cost_per_hour, 2.01);
  EXPECT_DOUBLE_EQ(of("7g.80gb").part_per_hour, 2.01);
  EXPECT_NEAR(of("2g.20gb").part_per_hour, 2.01 / 4, 1e-9);
  EXPECT_FALSE(CostOfSlices(*Gpu("L40S"), 2));
  EXPECT_FALSE(CostOfSlices(*Gpu("A30"), 0));
}

// 4000 tok/s alone, 1100 in each of three slices: two slices are cheaper than the GPU, three are
// it.
TEST(CostTest, BreakEven) {
  const BreakEvenAsk ask{2.01, 4000, 1100, 3};
  const auto found = FindBreakEven(ask);
  ASSERT_TRUE(found);
  ASSERT_TRUE(found->tokens_per_second);
  EXPECT_DOUBLE_EQ(*found->tokens_per_second, 2200);
  EXPECT_DOUBLE_EQ(found->utilization, 0.55);
  EXPECT_GT(found->cost_per_million_shared, found->cost_per_million_alone);
}

// The answer is the one that looking at every traffic gives.
TEST(CostTest, BreakEvenAgreesWithLooking) {
  for (int tenants = 2; tenants <= 7; ++tenants) {
    for (const double total : {0.5, 0.8, 0.95, 1.0, 1.3}) {
      const BreakEvenAsk ask{2.0, 1000, 1000 * total / tenants, tenants};
      const auto found = FindBreakEven(ask);
      ASSERT_TRUE(found);
      double last_cheaper = 0;
      bool ever_dearer = false;
      // Within what one GPU carries alone.
      for (int traffic = 1; traffic <= 1000; ++traffic) {
        const TrafficCost cost = CostAtTraffic(ask, traffic);
        if (cost.shared_per_hour < cost.alone_per_hour - 1e-9 && !ever_dearer)
          last_cheaper = traffic;
        if (cost.shared_per_hour > cost.alone_per_hour + 1e-9) ever_dearer = true;
      }
      EXPECT_EQ(ever_dearer, found->tokens_per_second.has_value()) << tenants << " " << total;
      if (found->tokens_per_second) {
        EXPECT_EQ(std::floor(*found->tokens_per_second + 1e-6), last_cheaper)
            << tenants << " " << total;
      }
    }
  }
}

TEST(CostTest, BreakEvenRefusesNonsense) {
  EXPECT_FALSE(FindBreakEven({2, -4000, 1100, 3}));
  EXPECT_FALSE(FindBreakEven({2, 4000, 0, 3}));
  EXPECT_FALSE(FindBreakEven({2, 4000, 1100, 1}));
  EXPECT_FALSE(FindBreakEven({0, 4000, 1100, 3}));
}

TEST(OverheadsTest, EveryMechanismHasASource) {
  for (const Mechanism mechanism : kAllMechanisms) {
    EXPECT_FALSE(Overheads().Of(mechanism).source.empty()) << MechanismName(mechanism);
  }
  EXPECT_EQ(Overheads().Of(Mechanism::kExclusive).throughput, 1);
}

TEST(OverheadsTest, BrokenTablesAreRefusedWithThePlace) {
  const auto broken = SharingOverheads::Parse(
      "overheads:\n  exclusive: {throughput: 2, from: 1, to: 1, source: x, confidence: high}\n");
  ASSERT_FALSE(broken);
  EXPECT_THAT(broken.error().message, HasSubstr("overheads.yaml:2:"));
  EXPECT_THAT(broken.error().message, HasSubstr("mig"));
}

}  // namespace
}  // namespace tranche
