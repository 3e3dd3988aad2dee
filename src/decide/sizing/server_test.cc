#include "decide/sizing/server.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "decide/sizing/shape.h"

namespace tranche {
namespace {

using testing::Contains;
using testing::HasSubstr;

const Catalog& Facts() {
  static const std::shared_ptr<const Catalog> catalog = *Catalog::Load();
  return *catalog;
}

SizedModel Model(const std::string& name) {
  SizedModel sized;
  sized.model = **Facts().FindModel(name);
  sized.source = "catalog";
  return sized;
}

ServerSpace On(const std::string& gpu) {
  ServerSpace space;
  const CatalogGpu& found = **Facts().FindGpu(gpu);
  space.gpu = found.key;
  space.memory = VisibleMemory(found);
  return space;
}

double InGiB(Bytes bytes) { return static_cast<double>(bytes.value) / 1073741824.0; }

std::string Flag(const std::vector<std::string>& flags, const std::string& name) {
  for (size_t i = 0; i + 1 < flags.size(); ++i) {
    if (flags[i] == name) return flags[i + 1];
  }
  return "";
}

TEST(Engines, AreFoundWithTheirVersion) {
  EXPECT_EQ(ParseEngine("vllm", "0.6.3")->profile->since, std::string("0.0"));
  EXPECT_EQ(ParseEngine("vLLM@0.7.2", "")->profile->since, std::string("0.6.6"));
  EXPECT_EQ(ParseEngine("vllm", "")->profile->since, std::string("0.8.0"));
  EXPECT_EQ(ParseEngine("vllm", "v0.11.0")->profile->since, std::string("0.8.0"));
  EXPECT_EQ(ParseEngine("vllm", "0.19.0")->profile->since, std::string("0.15.0"));
  EXPECT_EQ(ParseEngine("triton", "")->engine, SizedEngine::kTensorRtLlm);
  EXPECT_THAT(ParseEngine("vlm", "").error().hint, HasSubstr("vllm"));
  EXPECT_FALSE(ParseEngine("vllm", "newest"));
}

TEST(Server, TermsAddUpAndSayWhy) {
  for (const std::string& engine : SizedEngineNames()) {
    const ServerSize size =
        SizeServer(Model("qwen3-8b"), {}, *ParseEngine(engine, ""), On("A100-80"));
    Bytes sum;
    for (const MemoryTerm& term : size.terms) {
      sum += term.bytes;
      EXPECT_GT(term.why.size(), 5u) << engine << " " << term.name;
    }
    EXPECT_EQ(sum, size.total);
    EXPECT_EQ(size.weights + size.kv_cache + size.activations + size.overhead, size.total);
    EXPECT_TRUE(*size.fits) << engine << ": " << size.because;
  }
}

// vLLM 0.19.0 on an H100 at 0.95, context 8192: activations as its log says, in GiB.
TEST(Vllm, ActivationsOfTheLaterVersion) {
  const EngineVersion engine = *ParseEngine("vllm", "0.19.0");
  ServerAsk ask;
  ask.utilization = 0.95;
  const std::vector<std::pair<std::string, double>> measured = {
      {"llama-3.1-8b", 1.89},   {"qwen2.5-7b", 2.21},   {"qwen3-8b", 2.21},
      {"phi-4", 1.52},          {"codellama-7b", 0.77}, {"granite-3.1-8b", 0.85},
      {"granite-3.1-2b", 0.75}, {"gpt-oss-20b", 2.87},  {"mistral-small-3.1-24b", 2.03}};
  for (const auto& [name, gib] : measured) {
    SizedModel model = Model(name);
    ask.precision = model.model.dtype;
    const ServerSize size = SizeServer(model, ask, engine, On("H100"));
    EXPECT_NEAR(InGiB(size.activations), gib, 0.2) << name;
  }
  ask.precision = "bf16";
  const ServerSize llama = SizeServer(Model("llama-3.1-8b"), ask, engine, On("H100"));
  EXPECT_NEAR(InGiB(llama.kv_cache), 58.11, 0.5);
  EXPECT_NEAR(static_cast<double>(llama.kv_tokens) / 476016, 1, 0.015);
  ask.kv_precision = "fp8";
  const ServerSize eight = SizeServer(Model("llama-3.1-8b"), ask, engine, On("H100"));
  EXPECT_EQ(eight.kv_cache, llama.kv_cache);
  EXPECT_NEAR(static_cast<double>(eight.kv_tokens) / 952032, 1, 0.015);
}

TEST(Vllm, DefaultsFollowTheGpu) {
  const EngineVersion engine = *ParseEngine("vllm", "");
  EXPECT_EQ(DefaultSteps(engine, 79, "H100-SXM5-80GB", 8192).sequences, 1024);
  EXPECT_EQ(DefaultSteps(engine, 79, "A100-SXM4-80GB", 8192).sequences, 256);
  EXPECT_EQ(DefaultSteps(engine, 44, "L40S", 8192).tokens, 2048);
}

TEST(Vllm, WhatDoesNotFitSaysWhyAndWhatWould) {
  ServerAsk ask;
  ask.context = 16000;
  ask.precision = "fp8";
  const EngineVersion engine = *ParseEngine("vllm", "");
  const ServerSize size = SizeServer(Model("llama-3.3-70b"), ask, engine, On("H100"));
  EXPECT_FALSE(*size.fits);
  EXPECT_EQ(size.kv_tokens, 0u);
  EXPECT_THAT(size.because, HasSubstr("need"));
  EXPECT_FALSE(TuneToFit(Model("llama-3.3-70b"), ask, engine, On("H100")));
  // With a shorter context, smaller steps make the room.
  ask.context = 4096;
  ask.utilization = 0.92;
  const auto tuned = TuneToFit(Model("llama-3.3-70b"), ask, engine, On("H100"));
  ASSERT_TRUE(tuned);
  EXPECT_TRUE(*SizeServer(Model("llama-3.3-70b"), *tuned, engine, On("H100")).fits);
}

TEST(Vllm, TokensAreFewerThanTheContextIsNotAFit) {
  ServerAsk ask;
  ask.context = 131072;
  ask.tensor_parallel = 2;
  ask.utilization = 0.98;
  const ServerSize size = SizeServer(Model("deepseek-r1-distill-qwen-14b"), ask,
                                     *ParseEngine("vllm", "0.7.2"), On("RTX4090"));
  EXPECT_GT(size.kv_tokens, 70000u);
  EXPECT_LT(size.kv_tokens, 131072u);
  EXPECT_FALSE(*size.fits);
}

TEST(Server, InASliceIsToldAShareOfTheSlice) {
  const CatalogGpu& gpu = **Facts().FindGpu("H100");
  ServerSpace space{gpu.key, "2g.20gb", {}};
  for (const MigProfile& profile : gpu.mig_profiles) {
    if (profile.name == space.slice) space.memory = profile.memory;
  }
  ASSERT_TRUE(space.memory);
  ServerAsk ask;
  ask.precision = "awq";
  ask.concurrency = 8;
  const SizedModel model = Model("mistral-7b");
  const EngineVersion engine = *ParseEngine("vllm", "");
  const ServerSize size = SizeServer(model, ask, engine, space);
  ASSERT_TRUE(*size.fits) << size.because;
  const auto flags = ServerFlags(model, ask, engine, space, size);
  EXPECT_EQ(Flag(flags, "--gpu-memory-utilization"), "0.900");
  EXPECT_EQ(Flag(flags, "--max-model-len"), "8192");
  EXPECT_EQ(Flag(flags, "--quantization"), "awq");
}

TEST(LlamaCpp, TakesWhatIsAskedToTheByte) {
  ServerAsk ask;
  ask.context = 131072;
  ask.concurrency = 2;
  ask.precision = "mxfp4";
  const ServerSize size =
      SizeServer(Model("gpt-oss-120b"), ask, *ParseEngine("llama.cpp", ""), On("H100"));
  EXPECT_EQ(size.kv_tokens, 262144u);
  EXPECT_NEAR(InGiB(size.kv_cache), 9.09, 0.1);
  const auto flags =
      ServerFlags(Model("gpt-oss-120b"), ask, *ParseEngine("llama.cpp", ""), On("H100"), size);
  EXPECT_EQ(Flag(flags, "-c"), "262144");
}

TEST(Server, MoreNeverNeedsLess) {
  for (const char* name : {"llama-3.1-8b", "deepseek-v2-lite", "gemma-3-12b", "mixtral-8x7b"}) {
    for (const std::string& engine : SizedEngineNames()) {
      Bytes before;
      for (const int context : {128, 1024, 8192, 32768}) {
        ServerAsk ask;
        ask.context = context;
        ask.concurrency = 4;
        const Bytes now = SizeServer(Model(name), ask, *ParseEngine(engine, ""), {}).needed;
        EXPECT_GE(now, before) << name << " " << engine;
        before = now;
      }
    }
  }
}

TEST(Server, WithoutAGpuSaysWhatIsAsked) {
  const ServerSize size = SizeServer(Model("qwen3-8b"), {}, *ParseEngine("vllm", ""), {});
  EXPECT_FALSE(size.fits);
  EXPECT_EQ(size.kv_tokens, 8192u);
  EXPECT_EQ(size.total, size.needed);
}

TEST(Training, FollowsFromTheOptimizer) {
  const SizedModel model = Model("llama-3.1-8b");
  TrainingAsk ask;
  const auto full = SizeTraining(model, ask);
  ASSERT_TRUE(full);
  // 2 bytes of weights, 2 of gradients and 12 of AdamW for each parameter.
  EXPECT_NEAR(InGiB(full->Of("weights") + full->Of("gradients") + full->Of("optimizer")),
              16 * 8.03e9 / 1073741824.0, 0.5);
  ask.method = "lora";
  const Bytes lora = SizeTraining(model, ask)->total();
  ask.method = "qlora";
  const Bytes qlora = SizeTraining(model, ask)->total();
  EXPECT_LT(lora, full->total());
  EXPECT_LT(qlora, lora);
  ask.method = "magic";
  EXPECT_FALSE(SizeTraining(model, ask));
}

}  // namespace
}  // namespace tranche
