#include "decide/sizing/hf_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "decide/sizing/shape.h"
#include "decide/sizing/weights.h"

namespace tranche {
namespace {

using testing::HasSubstr;

SizedModel Read(const std::string& text) {
  const auto model = ModelFromHfConfig(text, "m");
  EXPECT_TRUE(model) << (model ? "" : model.error().message);
  return model.value_or(SizedModel{});
}

double Billions(const SizedModel& model) { return model.model.parameters / 1e9; }

TEST(HfConfig, Llama) {
  const SizedModel m = Read(R"({"architectures":["LlamaForCausalLM"],"hidden_size":4096,
    "intermediate_size":14336,"max_position_embeddings":131072,"model_type":"llama",
    "num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":8,
    "tie_word_embeddings":false,"torch_dtype":"bfloat16","vocab_size":128256})");
  EXPECT_NEAR(Billions(m), 8.03, 0.005);
  EXPECT_EQ(m.model.dtype, "bf16");
  EXPECT_DOUBLE_EQ(KvBytesPerToken(m.model, 2, 1), 131072);
}

TEST(HfConfig, QwenMixture) {
  const SizedModel m = Read(R"({"model_type":"qwen3_moe","hidden_size":2048,"head_dim":128,
    "intermediate_size":6144,"moe_intermediate_size":768,"num_experts":128,"num_experts_per_tok":8,
    "num_attention_heads":32,"num_hidden_layers":48,"num_key_value_heads":4,"decoder_sparse_step":1,
    "mlp_only_layers":[],"max_position_embeddings":40960,"sliding_window":null,
    "tie_word_embeddings":false,"torch_dtype":"bfloat16","vocab_size":151936,
    "quantization_config":{"quant_method":"fp8","weight_block_size":[128,128],
    "modules_to_not_convert":["lm_head"]}})");
  EXPECT_NEAR(Billions(m), 30.53, 0.01);
  EXPECT_NEAR(m.model.active_parameters / 1e9, 3.35, 0.05);
  EXPECT_EQ(m.model.dtype, "fp8");
  EXPECT_DOUBLE_EQ(KvBytesPerToken(m.model, 2, 1), 98304);
}

TEST(HfConfig, DeepSeek) {
  const SizedModel m =
      Read(R"({"model_type":"deepseek_v3","hidden_size":7168,"intermediate_size":18432,
    "moe_intermediate_size":2048,"n_routed_experts":256,"n_shared_experts":1,"num_experts_per_tok":8,
    "first_k_dense_replace":3,"kv_lora_rank":512,"q_lora_rank":1536,"qk_nope_head_dim":128,
    "qk_rope_head_dim":64,"v_head_dim":128,"num_attention_heads":128,"num_key_value_heads":128,
    "num_hidden_layers":61,"vocab_size":129280,"max_position_embeddings":163840,
    "tie_word_embeddings":false,"torch_dtype":"bfloat16"})");
  EXPECT_NEAR(Billions(m), 671, 1);
  EXPECT_DOUBLE_EQ(KvBytesPerToken(m.model, 2, 1), 61.0 * 576 * 2);
}

// The nested config of a model with images leaves out what is its family's default.
TEST(HfConfig, GemmaWithImages) {
  const SizedModel m = Read(R"({"model_type":"gemma3","text_config":{"model_type":"gemma3_text",
    "head_dim":128,"hidden_size":5376,"intermediate_size":21504,"num_attention_heads":32,
    "num_hidden_layers":62,"num_key_value_heads":16,"sliding_window":1024},"torch_dtype":"bfloat16",
    "vision_config":{"hidden_size":1152,"intermediate_size":4304,"num_hidden_layers":27,
    "num_attention_heads":16}})");
  EXPECT_NEAR(Billions(m), 27.43, 0.15);
  EXPECT_EQ(m.model.sliding_window, 1024);
  EXPECT_EQ(m.model.full_attention_layers, 10);
  EXPECT_GT(m.model.vision_parameters, 0.3e9);
  EXPECT_TRUE(m.model.tied_embeddings);
}

TEST(HfConfig, GptOss) {
  const SizedModel m = Read(R"({"model_type":"gpt_oss","hidden_size":2880,"intermediate_size":2880,
    "head_dim":64,"num_attention_heads":64,"num_key_value_heads":8,"num_hidden_layers":4,
    "num_local_experts":32,"experts_per_token":4,"num_experts_per_tok":4,"sliding_window":128,
    "layer_types":["sliding_attention","full_attention","sliding_attention","full_attention"],
    "vocab_size":201088,"max_position_embeddings":131072,"tie_word_embeddings":false,
    "quantization_config":{"quant_method":"mxfp4","modules_to_not_convert":
    ["model.layers.*.self_attn","model.layers.*.mlp.router","model.embed_tokens","lm_head"]}})");
  EXPECT_EQ(m.model.dtype, "mxfp4");
  EXPECT_EQ(m.model.full_attention_layers, 2);
  EXPECT_GT(WeightsOf(m.model, "mxfp4").plain, m.model.embedding_parameters * 2);
}

TEST(HfConfig, LinearAttentionKeepsNoCache) {
  const SizedModel m = Read(R"({"model_type":"qwen3_next","hidden_size":2048,"num_hidden_layers":4,
    "num_attention_heads":16,"num_key_value_heads":2,"head_dim":256,"intermediate_size":5120,
    "vocab_size":151936,"layer_types":["linear_attention","linear_attention","linear_attention",
    "full_attention"]})");
  EXPECT_EQ(m.model.stateless_layers, 3);
  EXPECT_DOUBLE_EQ(KvBytesPerToken(m.model, 2, 1), 2.0 * 2 * 256 * 2);
}

TEST(HfConfig, SlidingWindowsOfFamilies) {
  const auto with = [](const std::string& more) {
    return Read(R"({"hidden_size":4096,"num_hidden_layers":32,"num_attention_heads":32,
      "num_key_value_heads":8,"vocab_size":32000,"intermediate_size":14336,
      "max_position_embeddings":32768,)" +
                more + "}")
        .model;
  };
  EXPECT_EQ(with(R"("model_type":"mistral","sliding_window":4096)").full_attention_layers, 0);
  EXPECT_EQ(with(R"("model_type":"mistral","sliding_window":null)").sliding_window, 0);
  EXPECT_EQ(with(R"("model_type":"qwen2","use_sliding_window":false,"sliding_window":131072)")
                .sliding_window,
            0);
  EXPECT_EQ(with(R"("model_type":"gemma2","sliding_window":4096)").full_attention_layers, 16);
  EXPECT_EQ(with(R"("model_type":"phi3","sliding_window":262144)").sliding_window, 0);
}

TEST(HfConfig, Quantisations) {
  const auto with = [](const std::string& quantisation) {
    return Read(R"({"model_type":"llama","hidden_size":4096,"num_hidden_layers":2,
      "num_attention_heads":32,"vocab_size":32000,"intermediate_size":11008,
      "quantization_config":)" +
                quantisation + "}")
        .model;
  };
  EXPECT_EQ(with(R"({"quant_method":"awq","bits":4})").dtype, "awq");
  EXPECT_EQ(with(R"({"quant_method":"gptq","bits":8})").dtype, "int8");
  EXPECT_EQ(with(R"({"quant_method":"bitsandbytes","load_in_4bit":true})").dtype, "nf4");
  EXPECT_EQ(with(R"({"quant_method":"modelopt","quant_algo":"NVFP4"})").dtype, "nvfp4");
  const CatalogModel fp8 = with(R"({"quant_method":"compressed-tensors","config_groups":{"group_0":
    {"weights":{"num_bits":8,"type":"float"}}},"ignore":["lm_head","re:.*self_attn.*"]})");
  EXPECT_EQ(fp8.dtype, "fp8");
  EXPECT_EQ(fp8.unquantised, std::vector<std::string>{"re:.*self_attn.*"});
  EXPECT_FALSE(ModelFromHfConfig(R"({"hidden_size":64,"num_hidden_layers":2,"num_attention_heads":2,
    "vocab_size":100,"quantization_config":{"quant_method":"magic"}})",
                                 "m"));
}

TEST(HfConfig, OldFamilies) {
  const SizedModel gpt2 = Read(R"({"model_type":"gpt2","n_embd":768,"n_head":12,"n_layer":12,
    "n_positions":1024,"vocab_size":50257})");
  EXPECT_NEAR(Billions(gpt2), 0.124, 0.001);
  const SizedModel falcon =
      Read(R"({"model_type":"falcon","hidden_size":4544,"num_attention_heads":71,
    "num_hidden_layers":32,"vocab_size":65024,"multi_query":true,"new_decoder_architecture":false})");
  EXPECT_EQ(falcon.model.kv_heads, 1);
  EXPECT_NEAR(Billions(falcon), 6.92, 0.05);
}

TEST(HfConfig, SaysAllThatIsMissing) {
  const auto model = ModelFromHfConfig(R"({"model_type":"x","hidden_size":"big"})", "m");
  ASSERT_FALSE(model);
  EXPECT_EQ(model.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(model.error().message, HasSubstr("num_hidden_layers is missing"));
  EXPECT_THAT(model.error().message, HasSubstr("hidden_size is not a number"));
}

TEST(HfConfig, HostileValuesAreRefused) {
  const std::string head = R"({"hidden_size":4096,"num_attention_heads":32,"vocab_size":32000,)";
  for (const char* rest :
       {R"("num_hidden_layers":-1})", R"("num_hidden_layers":1e308})",
        R"("num_hidden_layers":2.5})", R"("num_hidden_layers":999999999})",
        R"("num_hidden_layers":[]})", R"("num_hidden_layers":{"a":1}})",
        R"("num_hidden_layers":2,"num_key_value_heads":64})",
        R"("num_hidden_layers":2,"num_key_value_heads":5})",
        R"("num_hidden_layers":2,"torch_dtype":"complex"})", R"("num_hidden_layers":)"}) {
    EXPECT_FALSE(ModelFromHfConfig(head + rest, "m")) << rest;
  }
  for (const char* text : {"", "[]", "null", "7", "\"x\"", "{}", "\xff\xfe"}) {
    EXPECT_FALSE(ModelFromHfConfig(text, "m")) << text;
  }
  EXPECT_FALSE(ModelFromHfConfig(std::string(100, '{') + std::string(100, '}'), "m"));
}

}  // namespace
}  // namespace tranche
