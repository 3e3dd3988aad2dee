#include "decide/sizing/weights.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tranche {
namespace {

using testing::HasSubstr;

const Catalog& Facts() {
  static const std::shared_ptr<const Catalog> catalog = *Catalog::Load();
  return *catalog;
}

const CatalogModel& Model(const std::string& name) { return **Facts().FindModel(name); }

double GigaBytes(const std::string& name, const std::string& precision) {
  return WeightsOf(Model(name), precision).total() / 1e9;
}

TEST(WeightGroups, AddUpToTheModel) {
  for (const CatalogModel& model : Facts().models()) {
    double sum = 0;
    for (const WeightGroup& group : WeightGroupsOf(model)) sum += group.total();
    EXPECT_NEAR(sum / model.parameters, 1, 0.003) << model.name;
  }
}

// The sizes of files that are published as such.
TEST(Weights, OfGgufFiles) {
  EXPECT_NEAR(GigaBytes("llama-3.1-8b", "q4_k_m"), 4.92, 0.05);
  EXPECT_NEAR(GigaBytes("llama-3.1-8b", "q5_k_m"), 5.73, 0.05);
  EXPECT_NEAR(GigaBytes("llama-3.1-8b", "q6_k"), 6.60, 0.05);
  EXPECT_NEAR(GigaBytes("llama-3.1-8b", "q8_0"), 8.54, 0.05);
  EXPECT_NEAR(GigaBytes("llama-3.1-8b", "q3_k_m"), 4.02, 0.05);
  EXPECT_NEAR(GigaBytes("llama-3.1-8b", "q2_k"), 3.18, 0.07);
  EXPECT_NEAR(GigaBytes("llama-3.1-70b", "q4_k_m"), 42.5, 0.6);
}

// As served with --quantization fp8 by vLLM: 8.49 GiB.
TEST(Weights, QuantisedWhileLoading) {
  EXPECT_NEAR(GigaBytes("llama-3.1-8b", "fp8") / 1.073741824, 8.49, 0.1);
}

// The checkpoint says what it leaves alone: attention, and two layers whole.
TEST(Weights, FollowTheCheckpointsList) {
  const CatalogModel& model = Model("llama-3.1-405b-fp8");
  EXPECT_NEAR(WeightsPerGpu(model, "fp8", 8).total() / 1073741824.0, 57.75, 0.6);
  CatalogModel all = model;
  all.unquantised.clear();
  EXPECT_LT(WeightsPerGpu(all, "fp8", 8).total(), 0.9 * WeightsPerGpu(model, "fp8", 8).total());
}

TEST(Weights, OverGpusAreDividedButForWhatIsKeptWhole) {
  const CatalogModel& dense = Model("llama-3.1-8b");
  const double one = WeightsPerGpu(dense, "bf16", 1).total();
  const double four = WeightsPerGpu(dense, "bf16", 4).total();
  EXPECT_GE(four, one / 4);
  EXPECT_LT(four, one / 4 * 1.02);
  // Latent down-projections are on every GPU.
  const CatalogModel& latent = Model("deepseek-v3");
  EXPECT_GT(WeightsPerGpu(latent, "fp8", 8).total(),
            WeightsPerGpu(latent, "fp8", 1).total() / 8 * 1.01);
}

TEST(Precision, IsTakenAsPeopleWriteIt) {
  const CatalogModel& model = Model("gpt-oss-20b");
  EXPECT_EQ(*ParsePrecision("BF16", model), "bf16");
  EXPECT_EQ(*ParsePrecision("float16", model), "fp16");
  EXPECT_EQ(*ParsePrecision("Q4_K_M", model), "q4_k_m");
  EXPECT_EQ(*ParsePrecision("w4a16", model), "int4");
  EXPECT_EQ(*ParsePrecision("", model), "mxfp4");  // as published
  const auto wrong = ParsePrecision("q4_k_n", model);
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().hint, HasSubstr("q4_k_m"));
}

TEST(Precision, EveryOneIsSmallerThanThirtyTwoBits) {
  const CatalogModel& model = Model("qwen3-8b");
  for (const std::string& precision : PrecisionNames()) {
    const double bytes = WeightsOf(model, precision).total();
    EXPECT_GT(bytes, model.parameters / 8) << precision;
    EXPECT_LE(bytes, model.parameters * 4.01) << precision;
  }
}

TEST(Modules, AreMatchedAsListsWriteThem) {
  const std::string module = "model.layers.12.self_attn.q_proj";
  EXPECT_TRUE(MatchesModule("self_attn", module));
  EXPECT_TRUE(MatchesModule("re:.*self_attn.*", module));
  EXPECT_TRUE(MatchesModule("re:^model\\.layers\\.12\\..*", module));
  EXPECT_TRUE(MatchesModule("model.layers.*.self_attn", module));
  EXPECT_FALSE(MatchesModule("model.layers.1.", module));
  EXPECT_FALSE(MatchesModule("re:.*mlp.*", module));
  EXPECT_FALSE(MatchesModule("", module));
  EXPECT_FALSE(MatchesModule("re:.*", module));
  EXPECT_FALSE(MatchesModule("re:\\", module));
}

}  // namespace
}  // namespace tranche
