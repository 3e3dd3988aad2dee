#include "decide/sizing/sizing.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "decide/sizing/shape.h"

namespace tranche {
namespace {

using testing::Contains;
using testing::ElementsAre;
using testing::Not;

const Catalog& Facts() {
  static const std::shared_ptr<const Catalog> catalog = *Catalog::Load();
  return *catalog;
}

const CatalogModel* Model(const std::string& name) { return *Facts().FindModel(name); }

ModelAsk Ask(const std::string& name, const std::string& precision, int context, int concurrency) {
  ModelAsk ask;
  ask.name = name;
  ask.precision = precision;
  ask.context = context;
  ask.concurrency = concurrency;
  return ask;
}

double InGiB(Bytes bytes) { return static_cast<double>(bytes.value) / 1073741824.0; }

MemoryNeed ForModelServer(const ModelAsk& ask) {
  return SizeModel(ask, ServingEngine::kModelServer, Model(ask.name), {});
}

std::string Flag(const std::vector<std::string>& flags, const std::string& name) {
  for (size_t i = 0; i + 1 < flags.size(); ++i) {
    if (flags[i] == name) return flags[i + 1];
  }
  return "";
}

// The three models of the example, each by hand: weights of the linear layers in 4 bits, embedding
// and head in 16, the KV cache of all sequences, and 1 GiB.
TEST(Sizing, OfTheThreeModels) {
  const MemoryNeed phi = ForModelServer(Ask("phi-4", "int4", 8192, 4));
  EXPECT_NEAR(InGiB(phi.Of("weights")), 8.51, 0.02);
  EXPECT_DOUBLE_EQ(InGiB(phi.Of("kv_cache")), 2.0 * 40 * 10 * 128 * 2 * 8192 * 4 / 1073741824.0);
  EXPECT_DOUBLE_EQ(InGiB(phi.Of("overhead")), 1);
  EXPECT_NEAR(InGiB(phi.total()), 15.76, 0.03);
  EXPECT_NEAR(InGiB(ForModelServer(Ask("mistral-7b", "int4", 8192, 8)).total()), 12.88, 0.03);
  EXPECT_NEAR(InGiB(ForModelServer(Ask("qwen3-8b", "int4", 8192, 8)).total()), 15.68, 0.03);
}

TEST(Sizing, EveryTermSaysWhereItComesFrom) {
  for (const ServingEngine engine : kAllServingEngines) {
    const ModelAsk ask = Ask("gpt-oss-20b", "mxfp4", 8192, 2);
    const MemoryNeed need = SizeModel(ask, engine, Model(ask.name), DefaultTuning(engine));
    Bytes sum;
    for (const MemoryTerm& term : need.terms) {
      EXPECT_FALSE(term.name.empty());
      EXPECT_GT(term.why.size(), 10u) << term.name;
      sum += term.bytes;
    }
    EXPECT_EQ(sum, need.total());
    EXPECT_GT(need.error().value, 0u);
    EXPECT_LT(need.error(), need.total());
  }
}

TEST(Weights, OnlyWhatACheckpointQuantisesShrinks) {
  const CatalogModel& dense = *Model("llama-3.1-8b");
  const WeightBytes fp8 = WeightsOf(dense, "fp8");
  EXPECT_NEAR(fp8.plain / (dense.embedding_parameters * 2), 1, 1e-4);
  const CatalogModel& experts = *Model("gpt-oss-20b");
  EXPECT_DOUBLE_EQ(WeightsOf(experts, "mxfp4").plain,
                   (experts.parameters - experts.expert_parameters) * 2);
  EXPECT_EQ(WeightsOf(dense, "bf16").quantised, 0);
}

TEST(Weights, FewerBitsAreFewerBytes) {
  const CatalogModel& model = *Model("qwen3-8b");
  double before = 1e300;
  for (const char* precision : {"fp32", "bf16", "fp8", "nvfp4", "mxfp4", "int4"}) {
    const double now = WeightsOf(model, precision).total();
    EXPECT_LT(now, before) << precision;
    before = now;
  }
}

TEST(KvCache, LatentAttentionIsSmallAndKeptByEveryGpu) {
  const CatalogModel& model = *Model("deepseek-v3");
  EXPECT_DOUBLE_EQ(KvBytesPerToken(model, 2, 1), 61.0 * (512 + 64) * 2);
  EXPECT_DOUBLE_EQ(KvBytesPerToken(model, 2, 8), 8 * 61.0 * (512 + 64) * 2);
}

TEST(KvCache, HeadsThatDoNotDivideAreKeptTwice) {
  const CatalogModel& model = *Model("qwen2.5-7b");  // 4 KV heads
  EXPECT_DOUBLE_EQ(KvBytesPerToken(model, 2, 4), KvBytesPerToken(model, 2, 1));
  EXPECT_DOUBLE_EQ(KvBytesPerToken(model, 2, 8), 2 * KvBytesPerToken(model, 2, 1));
}

TEST(KvCache, SlidingLayersStopGrowing) {
  const CatalogModel& model = *Model("gemma-3-27b");
  const double at_16k = KvBytesPerSequence(model, 2, 16384, 16, 1);
  const double at_32k = KvBytesPerSequence(model, 2, 32768, 16, 1);
  EXPECT_DOUBLE_EQ(at_32k - at_16k, 16384.0 * KvBytesPerToken(model, 2, 1));
  EXPECT_LT(at_32k, 32768.0 * model.layers * KvBytesPerLayer(model, 2, 1) / 3);
  // Shorter than the window, every layer keeps all of it.
  EXPECT_DOUBLE_EQ(KvBytesPerSequence(model, 2, 512, 16, 1),
                   512.0 * model.layers * KvBytesPerLayer(model, 2, 1));
}

TEST(KvCache, EightBitsAreHalf) {
  ModelAsk ask = Ask("llama-3.1-8b", "bf16", 8192, 4);
  const Bytes full = ForModelServer(ask).Of("kv_cache");
  ask.kv_precision = "fp8";
  EXPECT_EQ(ForModelServer(ask).Of("kv_cache").value * 2, full.value);
  // Weights in 8 bits do not make the cache so.
  ask.kv_precision = "";
  ask.precision = "fp8";
  EXPECT_EQ(ForModelServer(ask).Of("kv_cache"), full);
}

TEST(Sizing, WithoutArchitectureUsesWhatIsTypicalAndSaysSo) {
  ModelAsk ask = Ask("", "bf16", 8192, 4);
  ask.parameters = 8.03e9;
  const MemoryNeed need = SizeModel(ask, ServingEngine::kModelServer, nullptr, {});
  EXPECT_FALSE(need.architecture_known);
  EXPECT_NE(need.terms[1].why.find("typical of its size"), std::string::npos);
  const MemoryNeed known = ForModelServer(Ask("llama-3.1-8b", "bf16", 8192, 4));
  EXPECT_NEAR(InGiB(need.total()), InGiB(known.total()), 1.0);
  EXPECT_GT(need.error().value, 3 * known.error().value);
}

TEST(Sizing, TypicalModelsGrowWithTheirParameters) {
  double before = 0;
  for (const double parameters : {1e8, 1e9, 2e9, 7e9, 13e9, 34e9, 70e9, 180e9, 405e9, 2e12}) {
    const CatalogModel model = TypicalModel(parameters);
    EXPECT_GE(KvBytesPerToken(model, 2, 1), before) << parameters;
    EXPECT_LE(model.embedding_parameters, parameters / 3);
    before = KvBytesPerToken(model, 2, 1);
  }
}

TEST(Vllm, TakesTheFastestTuningThatFits) {
  const ModelAsk ask = Ask("mistral-7b", "int4", 8192, 8);
  const CatalogModel* model = Model(ask.name);
  const MemoryNeed roomy = SizeToFit(ask, ServingEngine::kVllm, model, GiB(79));
  EXPECT_EQ(roomy.tuning, (EngineTuning{8192, 8, true}));
  const MemoryNeed tight = SizeToFit(ask, ServingEngine::kVllm, model, MiB(13300));
  EXPECT_LE(tight.total(), MiB(13300));
  EXPECT_LT(tight.tuning.batched_tokens, 8192);
  const MemoryNeed none = SizeToFit(ask, ServingEngine::kVllm, model, GiB(2));
  EXPECT_GT(none.total(), GiB(2));
  EXPECT_EQ(none.tuning, TuningsOf(ask, ServingEngine::kVllm).back());
}

TEST(Vllm, NeverBatchesFewerTokensThanSequences) {
  for (const int concurrency : {1, 8, 600, 5000, 100000}) {
    for (const EngineTuning& tuning :
         TuningsOf(Ask("qwen3-8b", "bf16", 4096, concurrency), ServingEngine::kVllm)) {
      EXPECT_GE(tuning.batched_tokens, tuning.sequences);
    }
  }
}

TEST(Vllm, IsToldAShareThatHoldsItsNeedAndLeavesTheRest) {
  Workload workload;
  workload.engine = ServingEngine::kVllm;
  workload.model = Ask("mistral-7b", "int4", 8192, 8);
  const CatalogModel* model = Model("mistral-7b");
  const Bytes slice = MiB(20096);
  const MemoryNeed need = SizeToFit(*workload.model, workload.engine, model, slice);
  const Bytes outside = need.Of("cuda_graphs") + need.Of("cuda_context");
  const double needed = InGiB(need.total() - outside) / InGiB(slice);

  const auto alone = EngineFlags(workload, need, slice, true);
  const double share = std::stod(Flag(alone, "--gpu-memory-utilization"));
  EXPECT_GE(share, needed);
  EXPECT_LE(share * InGiB(slice) + InGiB(outside), InGiB(slice));
  EXPECT_EQ(Flag(alone, "--max-model-len"), "8192");
  EXPECT_EQ(Flag(alone, "--max-num-seqs"), "8");
  EXPECT_EQ(Flag(alone, "--quantization"), "bitsandbytes");

  // On a GPU with others it takes what it needs and no more.
  const auto shared = EngineFlags(workload, need, MiB(81559), false);
  const double of_gpu = std::stod(Flag(shared, "--gpu-memory-utilization"));
  EXPECT_NEAR(of_gpu, InGiB(need.total() - outside) / InGiB(MiB(81559)), 0.001);
}

TEST(Vllm, WithoutGraphsIsToldSo) {
  Workload workload;
  workload.engine = ServingEngine::kVllm;
  workload.model = Ask("mistral-7b", "int4", 8192, 8);
  MemoryNeed need =
      SizeModel(*workload.model, workload.engine, Model("mistral-7b"), {512, 8, false});
  EXPECT_THAT(EngineFlags(workload, need, GiB(20), true), Contains("--enforce-eager"));
  need = SizeModel(*workload.model, workload.engine, Model("mistral-7b"), {8192, 8, true});
  EXPECT_THAT(EngineFlags(workload, need, GiB(20), true), Not(Contains("--enforce-eager")));
}

TEST(ModelServer, IsToldExactlyItsNeed) {
  Workload workload;
  workload.name = "phi";
  workload.engine = ServingEngine::kModelServer;
  workload.model = Ask("phi-4", "int4", 8192, 4);
  const MemoryNeed need = ForModelServer(*workload.model);
  EXPECT_THAT(EngineFlags(workload, need, GiB(20), true),
              ElementsAre("--memory", std::to_string(need.total().value), "--weights",
                          std::to_string(need.Of("weights").value), "--context", "8192",
                          "--concurrency", "4"));
}

TEST(LlamaCpp, GetsOneContextForAllItsSequences) {
  Workload workload;
  workload.engine = ServingEngine::kLlamaCpp;
  workload.model = Ask("qwen3-8b", "int4", 8192, 4);
  const MemoryNeed need = SizeModel(*workload.model, workload.engine, Model("qwen3-8b"), {});
  const auto flags = EngineFlags(workload, need, GiB(20), true);
  EXPECT_EQ(Flag(flags, "-c"), "32768");
  EXPECT_EQ(Flag(flags, "-np"), "4");
}

}  // namespace
}  // namespace tranche
