#include "decide/performance/roofline.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

const Catalog& Facts() {
  static const std::shared_ptr<const Catalog> catalog = *Catalog::Load();
  return *catalog;
}

const PerformanceCoefficients::Roofline& Line() {
  static const PerformanceCoefficients coefficients = *DefaultPerformance();
  return coefficients.roofline;
}

LlmWork Llama() {
  LlmWork work;
  work.model = **Facts().FindModel("llama-3.1-8b");
  work.weight_bytes = 16.06e9;
  work.kv_bytes_per_token = 131072;
  return work;
}

GpuRate H100() { return *RateOf(**Facts().FindGpu("H100")); }

// By hand: 16.06 GB and the cache of one sequence over 70 % of 3.35 TB/s, and the overheads.
TEST(Roofline, OneSequenceReadsTheWeights) {
  const LlmSpeed speed = PredictLlm(Llama(), H100(), 1, 512, 512, Line());
  const double bytes = 16.06e9 + 512.0 * 131072;
  EXPECT_NEAR(speed.step_seconds, bytes / (0.7 * H100().bandwidth) + 0.5e-3 + 32 * 8e-6, 1e-9);
  EXPECT_EQ(speed.bound, "bandwidth");
}

TEST(Roofline, BatchesShareTheWeights) {
  double before = 0;
  for (const int batch : {1, 2, 8, 32, 128}) {
    const double now = PredictLlm(Llama(), H100(), batch, 512, 512, Line()).tokens_per_second;
    EXPECT_GT(now, before);
    before = now;
  }
}

TEST(Roofline, SlicesHaveTheirPart) {
  const CatalogGpu& gpu = **Facts().FindGpu("H100");
  for (const MigProfile& profile : gpu.mig_profiles) {
    const GpuRate rate = RateOfInstance(H100(), gpu, profile);
    EXPECT_LE(rate.bandwidth, H100().bandwidth);
    EXPECT_LE(rate.flops, H100().flops);
    const bool quarter = profile.name == "2g.20gb";
    EXPECT_TRUE(!quarter || rate.bandwidth == H100().bandwidth * 2 / 8);
  }
  // A cap on SMs leaves the bandwidth, a share of time does not.
  EXPECT_DOUBLE_EQ(RateOfSms(H100(), 0.5).bandwidth, H100().bandwidth);
  EXPECT_DOUBLE_EQ(RateOfTime(H100(), 0.5).bandwidth, H100().bandwidth / 2);
}

TEST(Roofline, MixturesTouchMoreExpertsWithTheBatch) {
  const CatalogModel& model = **Facts().FindModel("qwen3-30b-a3b");
  EXPECT_NEAR(ExpertsTouched(model, 1), 8.0 / 128, 1e-9);
  EXPECT_GT(ExpertsTouched(model, 32), 0.8);
  EXPECT_LE(ExpertsTouched(model, 10000), 1);
  EXPECT_EQ(ExpertsTouched(**Facts().FindModel("phi-4"), 5), 1);
}

TEST(Roofline, TheLargestBatchKeepsTheObjective) {
  const LlmSlo slo{0.5, 0.030};
  const int batch = LargestBatch(Llama(), H100(), slo, 1024, 1024, 1024, Line());
  ASSERT_GT(batch, 1);
  EXPECT_LE(PredictLlm(Llama(), H100(), batch, 1024, 1024, Line()).step_seconds, 0.030);
  ASSERT_LT(batch, 1024);
  EXPECT_GT(PredictLlm(Llama(), H100(), batch + 1, 1024, 1024, Line()).step_seconds, 0.030);
  EXPECT_EQ(LargestBatch(Llama(), H100(), {0.0001, {}}, 1024, 1024, 1024, Line()), 0);
  EXPECT_EQ(LargestBatch(Llama(), H100(), slo, 1024, 1024, 0, Line()), 0);
}

}  // namespace
}  // namespace tranche
