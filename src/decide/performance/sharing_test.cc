#include "decide/performance/sharing.h"

#include <gtest/gtest.h>

#include <cmath>

#include "decide/performance/minimize.h"

namespace tranche {
namespace {

const PerformanceCoefficients& Coefficients() {
  static const PerformanceCoefficients coefficients = *DefaultPerformance();
  return coefficients;
}
const PerformanceCoefficients::Sharing& Shares() { return Coefficients().sharing; }

SharePlace Mig(int slices, int tenants = 1) { return {Mechanism::kMig, slices, tenants}; }

constexpr WorkloadCurve kHostBound{0.010, 0.0001, 0.0001, 2};
constexpr WorkloadCurve kGpuBound{0.0001, 0.010, 0.005, 2};

TEST(Minimize, FindsTheBottomOfAValley) {
  const auto banana = [](const std::vector<double>& x) {
    return 100 * std::pow(x[1] - x[0] * x[0], 2) + std::pow(1 - x[0], 2);
  };
  const auto at = Minimize(banana, {-1.2, 1});
  EXPECT_NEAR(at[0], 1, 1e-3);
  EXPECT_NEAR(at[1], 1, 1e-3);
}

TEST(Sharing, SlicesSlowTheGpusPartOnly) {
  EXPECT_NEAR(PredictSharing(kHostBound, 1, Mig(1), Shares()).slowdown, 1, 0.05);
  EXPECT_NEAR(PredictSharing(kGpuBound, 1, Mig(1), Shares()).slowdown, Shares().mig_cost.at(1),
              0.05);
  EXPECT_NEAR(PredictSharing(kGpuBound, 1, Mig(7), Shares()).slowdown, 1, 1e-9);
}

TEST(Sharing, InstancesDoNotFeelEachOtherAndTenantsOfOneDo) {
  double before = 0;
  for (const int tenants : {1, 2, 3, 7}) {
    const double now = PredictSharing(kGpuBound, 8, Mig(2, tenants), Shares()).seconds;
    EXPECT_GT(now, before);
    before = now;
  }
}

TEST(Sharing, TurnsCostTheirShareAndSome) {
  const SharePlace four{Mechanism::kTimeSlicing, 7, 4};
  EXPECT_NEAR(PredictSharing(kGpuBound, 1, four, Shares()).slowdown, 4 * 1.11, 0.01);
  // Neighbours that rest leave their turns.
  SharePlace idle = four;
  idle.busy = 0;
  EXPECT_DOUBLE_EQ(PredictSharing(kGpuBound, 1, idle, Shares()).slowdown, 1);
  SharePlace half = four;
  half.busy = 0.5;
  EXPECT_NEAR(PredictSharing(kGpuBound, 1, half, Shares()).slowdown, 2.5 * 1.11, 0.01);
}

TEST(Sharing, FractionsHoldToTheirShare) {
  SharePlace place{Mechanism::kFraction, 7, 1, 0.25};
  place.tenants = 4;
  EXPECT_NEAR(PredictSharing(kGpuBound, 1, place, Shares()).slowdown, 4 * 1.03, 0.1);
  EXPECT_NEAR(PredictSharing(kHostBound, 1, place, Shares()).slowdown, 1, 0.05);
}

TEST(Sharing, MoreTogetherUnderMpsThanInTurns) {
  const WorkloadCurve mixed{0.01, 0.008, 0, 2};
  const SharePlace mps{Mechanism::kMps, 7, 4};
  const SharePlace turns{Mechanism::kTimeSlicing, 7, 4};
  EXPECT_GT(PredictSharing(mixed, 1, mps, Shares()).together,
            1.3 * PredictSharing(mixed, 1, turns, Shares()).together);
}

TEST(FitCurve, FindsHostAndGpuApart) {
  const WorkloadCurve truth{0.009, 0.0005, 0.0006, 2.5};
  std::vector<Observation> seen;
  for (const double batch : {1., 2., 4., 8., 16., 32., 64., 128.})
    seen.push_back({"p", batch, {}, SecondsOf(truth, batch, {}, Shares())});
  const WorkloadCurve curve = FitCurve(seen, Shares());
  EXPECT_NEAR(curve.host / truth.host, 1, 0.05);
  EXPECT_NEAR(curve.gpu_per_item / truth.gpu_per_item, 1, 0.05);
  for (const int slices : {1, 2, 3, 4}) {
    EXPECT_NEAR(
        SecondsOf(curve, 16, Mig(slices), Shares()) / SecondsOf(truth, 16, Mig(slices), Shares()),
        1, 0.06);
  }
}

TEST(FitCurve, OfNothingIsNothing) {
  EXPECT_EQ(FitCurve({}, Shares()).host, 0);
  EXPECT_EQ(FitCurve({{"p", 1, {}, 0}}, Shares()).host, 0);
}

std::vector<Observation> Synthetic(const PerformanceCoefficients::Sharing& truth) {
  std::vector<Observation> seen;
  for (int program = 0; program < 3; ++program) {
    const WorkloadCurve curve{0.004 + 0.004 * program, 0.0003, 0.0004 * (1 + program), 2};
    const std::string name = "p" + std::to_string(program);
    for (const double batch : {1., 8., 32., 128.}) {
      seen.push_back({name, batch, {}, SecondsOf(curve, batch, {}, truth)});
      for (const int slices : {1, 3})
        seen.push_back({name, batch, Mig(slices), SecondsOf(curve, batch, Mig(slices), truth)});
    }
  }
  return seen;
}

TEST(Refit, FindsWhatTheMeasurementsWereMadeWith) {
  PerformanceCoefficients::Sharing truth = Shares();
  truth.mig_cost[1] = 7.5;
  truth.mig_cost[3] = 2.4;
  const Refit refit = RefitSharing(Synthetic(truth), Coefficients());
  EXPECT_EQ(refit.programs, 3u);
  EXPECT_EQ(refit.used, 24u);
  EXPECT_NEAR(refit.coefficients.sharing.mig_cost.at(1), 7.5, 0.5);
  EXPECT_NEAR(refit.coefficients.sharing.mig_cost.at(3), 2.4, 0.2);
  EXPECT_LT(refit.median_error, 0.03);
  // Nothing was measured in turns.
  EXPECT_EQ(refit.coefficients.sharing.time_slicing_overhead, Shares().time_slicing_overhead);
}

TEST(Refit, WithoutMeasurementsUnderSharingChangesNothing) {
  const Refit refit = RefitSharing({{"p", 1, {}, 0.1}}, Coefficients());
  EXPECT_EQ(refit.used, 0u);
  EXPECT_EQ(refit.coefficients.sharing.mig_cost, Shares().mig_cost);
}

TEST(HeldOut, PredictsProgramsThatItDidNotSee) {
  const HeldOut held = HoldOutPrograms(Synthetic(Shares()), Coefficients(), true);
  EXPECT_EQ(held.errors.size(), 24u);
  EXPECT_LT(Median(held.errors), 0.05);
}

TEST(Coefficients, AreReadBackAsWritten) {
  const auto again = ParsePerformance(PrintPerformance(Coefficients()), "mine.yaml");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(PrintPerformance(*again), PrintPerformance(Coefficients()));
  EXPECT_EQ(again->sharing.mig_cost, Shares().mig_cost);
}

TEST(Coefficients, WrongOnesAreToldWithTheirPlace) {
  const std::string good = PrintPerformance(Coefficients());
  const auto with = [&](const std::string& from, const std::string& to) {
    std::string text = good;
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    text.replace(at, from.size(), to);
    return ParsePerformance(text, "mine.yaml");
  };
  EXPECT_FALSE(with("7: 1}", "7: 99}"));
  EXPECT_FALSE(with("sharpness: {value: 2,", "sharpness: {value: nan,"));
  EXPECT_FALSE(with("sharpness: {value: 2,", "sharpnes: {value: 2,"));
  EXPECT_FALSE(with("roofline:", "rooflines:"));
  EXPECT_FALSE(ParsePerformance("", "mine.yaml"));
  EXPECT_NE(with("7: 1}", "8: 1}").error().message.find("mine.yaml:"), std::string::npos);
}

}  // namespace
}  // namespace tranche
