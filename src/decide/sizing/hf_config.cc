#include "decide/sizing/hf_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <initializer_list>
#include <optional>

#include "base/json.h"
#include "decide/sizing/weights.h"

namespace tranche {
namespace {

constexpr int kMost = 1 << 24;
constexpr int kMostLayers = 10000;

using Keys = std::initializer_list<const char*>;

// Reads members by any of several names, and notes what is of the wrong kind.
class Fields {
 public:
  Fields(const Json& json, std::vector<std::string>* mistakes) : json_(json), mistakes_(mistakes) {}

  const Json* Find(Keys keys) const {
    for (const char* key : keys) {
      const auto found = json_.find(key);
      if (found != json_.end() && !found->is_null()) return &*found;
    }
    return nullptr;
  }

  std::optional<int> Int(Keys keys, int least = 1, int most = kMost) const {
    for (const char* key : keys) {
      const auto found = json_.find(key);
      if (found == json_.end() || found->is_null()) continue;
      // Some write 8.0 for 8, and some a list with one entry per layer.
      const Json* value = &*found;
      if (value->is_array() && !value->empty()) value = &value->front();
      if (!value->is_number()) {
        mistakes_->push_back(fmt::format("{} is not a number", key));
        return std::nullopt;
      }
      const double number = value->get<double>();
      if (!(number >= least && number <= most) || number != static_cast<int>(number)) {
        mistakes_->push_back(
            fmt::format("{} is not a whole number from {} to {}", key, least, most));
        return std::nullopt;
      }
      return static_cast<int>(number);
    }
    return std::nullopt;
  }

  bool Flag(const char* key, bool otherwise) const {
    const Json* found = Find({key});
    return found != nullptr && found->is_boolean() ? found->get<bool>() : otherwise;
  }

  std::string Text(Keys keys) const {
    const Json* found = Find(keys);
    return found != nullptr && found->is_string() ? found->get<std::string>() : "";
  }

  const Json* Object(Keys keys) const {
    const Json* found = Find(keys);
    return found != nullptr && found->is_object() ? found : nullptr;
  }

 private:
  const Json& json_;
  std::vector<std::string>* mistakes_;
};

bool IsOneOf(const std::string& type, std::initializer_list<std::string_view> types) {
  return std::find(types.begin(), types.end(), type) != types.end();
}

// Families whose feed-forward layers have no gate.
bool IsUngated(const std::string& type) {
  return IsOneOf(
      type, {"gpt2", "gpt_neox", "gptj", "gpt_neo", "opt", "bloom", "falcon", "mpt", "phi",
             "starcoder2", "gpt_bigcode", "nemotron", "codegen", "RefinedWeb", "RefinedWebModel"});
}

// Families that reuse the embedding as head when their config does not say.
bool TiesByDefault(const std::string& type) {
  return type.starts_with("gemma") ||
         IsOneOf(type, {"gpt2", "opt", "bloom", "falcon", "cohere", "cohere2", "gpt_bigcode", "mpt",
                        "starcoder2", "gpt_neo"});
}

// What transformers takes for a field that a config.json leaves out, as nested ones often do. A
// family that is not here has no such files that we have seen.
struct Defaults {
  const char* type;
  int layers, hidden, intermediate, heads, kv_heads, head_dim, vocab, max_position;
};
constexpr std::array<Defaults, 5> kDefaults = {{
    {"gemma3_text", 26, 2304, 9216, 8, 4, 256, 262208, 131072},
    {"gemma3", 26, 2304, 9216, 8, 4, 256, 262208, 131072},
    {"llama", 32, 4096, 11008, 32, 0, 0, 32000, 2048},
    {"mistral", 32, 4096, 14336, 32, 8, 0, 32000, 131072},
    {"qwen2", 32, 4096, 22016, 32, 32, 0, 151936, 32768},
}};

// Completes a nested config that is told to be of such a family.
void TakeDefaults(const std::string& type, Json* json) {
  for (const Defaults& defaults : kDefaults) {
    if (type != defaults.type) continue;
    const auto take = [json](const char* key, int value) {
      if (value > 0 && (!json->contains(key) || (*json)[key].is_null())) (*json)[key] = value;
    };
    // Where the heads are its own, the rest of attention is not the family's either.
    const bool own_heads = json->contains("num_attention_heads");
    take("num_hidden_layers", defaults.layers);
    take("hidden_size", defaults.hidden);
    take("intermediate_size", defaults.intermediate);
    take("num_attention_heads", defaults.heads);
    if (!own_heads) take("num_key_value_heads", defaults.kv_heads);
    if (!own_heads || type.starts_with("gemma3")) take("head_dim", defaults.head_dim);
    take("vocab_size", defaults.vocab);
    take("max_position_embeddings", defaults.max_position);
    return;
  }
}

void ReadAttention(const Fields& fields, const std::string& type, CatalogModel* model) {
  model->heads = fields.Int({"num_attention_heads", "n_head", "n_heads"}).value_or(0);
  const auto kv = fields.Int(
      {"num_key_value_heads", "num_kv_heads", "n_kv_heads", "n_head_kv", "multi_query_group_num"});
  model->kv_heads = kv.value_or(model->heads);
  const bool new_falcon = fields.Flag("new_decoder_architecture", false);
  if (fields.Flag("multi_query", type == "gpt_bigcode") && !new_falcon && !kv) model->kv_heads = 1;
  if (type == "falcon" && fields.Flag("multi_query", true) && !new_falcon) model->kv_heads = 1;
  if (const Json* inner = fields.Object({"attn_config"})) {
    std::vector<std::string> ignored;
    model->kv_heads = Fields(*inner, &ignored).Int({"kv_n_heads"}).value_or(model->kv_heads);
  }
  model->head_dim = fields.Int({"head_dim", "kv_channels", "attention_head_dim"})
                        .value_or(model->heads > 0 ? model->hidden / model->heads : 0);
  if (const auto rank = fields.Int({"kv_lora_rank"})) {
    model->kv_lora_rank = *rank;
    model->q_lora_rank = fields.Int({"q_lora_rank"}, 0).value_or(0);
    model->qk_nope_head_dim = fields.Int({"qk_nope_head_dim"}).value_or(128);
    model->qk_rope_head_dim = fields.Int({"qk_rope_head_dim"}).value_or(64);
    model->v_head_dim = fields.Int({"v_head_dim"}).value_or(128);
    model->mla_kv_dim = model->kv_lora_rank + model->qk_rope_head_dim;
    model->head_dim = model->qk_nope_head_dim + model->qk_rope_head_dim;
  }
}

// Which layers keep the whole context, a window of it, or none.
void ReadLayerTypes(const Fields& fields, const std::string& type, CatalogModel* model) {
  const int layers = model->layers;
  model->full_attention_layers = layers;
  int window =
      fields.Int({"sliding_window", "attention_chunk_size", "sliding_window_size"}, 0).value_or(0);
  if (!fields.Flag("use_sliding_window", true)) window = 0;
  int full = layers;
  if (const Json* types = fields.Find({"layer_types", "layers_block_type"});
      types != nullptr && types->is_array() && static_cast<int>(types->size()) == layers) {
    full = 0;
    int sliding = 0;
    for (const Json& entry : *types) {
      const std::string kind = entry.is_string() ? entry.get<std::string>() : "";
      if (kind == "sliding_attention" || kind == "chunked_attention")
        ++sliding;
      else if (kind == "linear_attention" || kind == "mamba" || kind == "mamba2" ||
               kind == "recurrent" || kind == "conv")
        ++model->stateless_layers;
      else
        ++full;
    }
    if (sliding == 0) window = 0;
  } else if (const std::string pattern = fields.Text({"hybrid_override_pattern"});
             static_cast<int>(pattern.size()) == layers && layers > 0) {
    // Nemotron-H: '*' is attention, the others are not.
    full = static_cast<int>(std::count(pattern.begin(), pattern.end(), '*'));
    model->stateless_layers = layers - full;
    window = 0;
  } else if (const auto interval = fields.Int({"full_attention_interval", "attn_layer_period"})) {
    full = layers / *interval;
    model->stateless_layers = layers - full;
    window = 0;
  } else if (window > 0) {
    const auto every = fields.Int({"sliding_window_pattern", "_sliding_window_pattern"});
    if (every && *every > 1)
      full = layers / *every;
    else if (type.starts_with("gemma3"))
      full = layers / 6;
    else if (type == "gemma2" || type == "gpt_oss")
      full = layers / 2;
    else if (type == "cohere2" || type.starts_with("llama4"))
      full = layers / 4;
    else if (const auto from = fields.Int({"max_window_layers"}, 0); from && type == "qwen2")
      full = std::min(layers, *from);
    else
      full = 0;  // Mistral 7B v0.1, Phi-3-mini: every layer
  }
  if (window > 0 && model->max_position > 0 && window >= model->max_position) {
    window = 0;  // never reached
    full = layers - model->stateless_layers;
  }
  model->sliding_window = window;
  model->full_attention_layers = full;
}

void ReadExperts(const Fields& fields, const std::string& type, CatalogModel* model) {
  const int experts =
      fields.Int({"num_local_experts", "n_routed_experts", "num_experts", "moe_num_experts"}, 0)
          .value_or(0);
  if (experts < 2) return;
  model->experts = experts;
  model->experts_per_token =
      fields.Int({"num_experts_per_tok", "experts_per_token", "moe_top_k", "num_experts_per_token"})
          .value_or(1);
  model->experts_per_token = std::min(model->experts_per_token, experts);
  model->expert_intermediate =
      fields.Int({"moe_intermediate_size", "expert_ffn_hidden_size"}).value_or(model->intermediate);
  if (const auto shared = fields.Int({"n_shared_experts", "num_shared_experts"}, 0)) {
    model->shared_experts = *shared;
  } else if (const auto width =
                 fields.Int({"shared_expert_intermediate_size", "shared_intermediate_size"}, 0)) {
    model->shared_experts = (*width + model->expert_intermediate / 2) / model->expert_intermediate;
  }
  int dense = std::min(fields.Int({"first_k_dense_replace"}, 0).value_or(0), model->layers);
  if (const auto step = fields.Int({"decoder_sparse_step"}); step && *step > 1)
    dense = model->layers - model->layers / *step;
  if (const Json* only = fields.Find({"mlp_only_layers"}); only != nullptr && only->is_array())
    dense = std::max(dense, std::min<int>(model->layers, static_cast<int>(only->size())));
  if (type.starts_with("llama4")) {
    model->shared_experts = 1;
    const int step = fields.Int({"interleave_moe_layer_step"}).value_or(1);
    dense = model->layers - model->layers / step;
    model->intermediate = fields.Int({"intermediate_size_mlp"}).value_or(model->intermediate);
  }
  model->dense_layers = dense;
  model->expert_parameters =
      3.0 * (model->layers - dense) * experts * model->hidden * model->expert_intermediate;
}

// An image encoder, near enough: attention and feed-forward of its layers, and the projector.
double VisionParameters(const Json& vision, const std::string& type, double text_hidden) {
  std::vector<std::string> ignored;
  const Fields fields(vision, &ignored);
  // Qwen2-VL calls its own width embed_dim, and the language model's hidden_size.
  const double width =
      fields.Int({"embed_dim", "hidden_size", "width", "vt_hidden_size"}).value_or(1024);
  const double layers =
      fields
          .Int({"num_hidden_layers", "depth", "num_layers", "layers", "vt_num_hidden_layers"}, 1,
               kMostLayers)
          .value_or(24);
  const double wide = fields.Int({"intermediate_size", "mlp_dim", "vt_intermediate_size"})
                          .value_or(static_cast<int>(4 * width));
  const bool gated = type == "mistral3" || type == "qwen2_5_vl";
  return layers * (4 * width * width + (gated ? 3 : 2) * width * wide) +
         text_hidden * (4 * width + text_hidden);
}

void ReadIgnored(const Fields& fields, CatalogModel* model) {
  const Json* list = fields.Find({"ignore", "modules_to_not_convert", "ignored_layers",
                                  "exclude_modules", "llm_int8_skip_modules"});
  if (list == nullptr || !list->is_array()) return;
  for (const Json& entry : *list) {
    if (!entry.is_string() || model->unquantised.size() >= 4096) continue;
    const std::string module = entry.get<std::string>();
    // What no scheme touches anyway need not be matched, and a bare "gate" would hit gate_proj.
    if (module == "lm_head" || module.find("embed") != module.npos ||
        module.find("vision") != module.npos || module.ends_with("gate") ||
        module.find("router") != module.npos || module.find("norm") != module.npos) {
      continue;
    }
    model->unquantised.push_back(module);
  }
}

std::string WordOf(int bits, const std::string& kind) {
  if (bits == 8) return kind == "float" ? "fp8" : "int8";
  if (bits == 4) return kind == "float" ? "nvfp4" : "int4";
  return "bf16";
}

void ReadQuantisation(const Json& json, CatalogModel* model, std::vector<std::string>* mistakes) {
  const Fields fields(json, mistakes);
  const std::string method = fields.Text({"quant_method", "quant_algo"});
  const int bits = fields.Int({"bits", "w_bit"}, 1, 64).value_or(4);
  std::string dtype;
  if (method == "awq" || method == "gptq" || method == "auto-round") {
    dtype = bits == 8 ? "int8" : method == "auto-round" ? "int4" : method;
  } else if (method == "fp8" || method == "fbgemm_fp8") {
    dtype = "fp8";
  } else if (method == "mxfp4") {
    dtype = "mxfp4";
  } else if (method == "bitsandbytes") {
    dtype = fields.Flag("load_in_8bit", false) ? "int8" : "nf4";
  } else if (method == "modelopt") {
    const std::string algorithm = fields.Text({"quant_algo"});
    dtype = algorithm == "NVFP4" ? "nvfp4" : "fp8";
  } else if (method == "compressed-tensors") {
    if (const Json* groups = fields.Object({"config_groups"}); groups && !groups->empty()) {
      const Json& group = groups->front();
      const Json* weights =
          group.is_object() ? Fields(group, mistakes).Object({"weights"}) : nullptr;
      if (weights != nullptr) {
        const Fields inner(*weights, mistakes);
        dtype = WordOf(inner.Int({"num_bits"}, 1, 64).value_or(8), inner.Text({"type"}));
      }
    }
  }
  if (dtype.empty()) {
    mistakes->push_back(
        fmt::format("quantization_config has the method '{}', which is not known", method));
    return;
  }
  model->dtype = dtype;
  ReadIgnored(fields, model);
}

}  // namespace

Result<SizedModel> ModelFromHfConfig(std::string_view text, const std::string& name) {
  const auto parsed = ParseJson(text);
  if (!parsed) return tl::unexpected<Error>(parsed.error());
  if (!parsed->is_object()) {
    return Fail(ErrorCode::kInvalid, "config.json is not an object",
                "it is the file of that name beside a model's weights");
  }
  std::vector<std::string> mistakes;
  const Fields top(*parsed, &mistakes);
  // Models with an image or audio encoder keep the language model's fields one level down.
  const Json* inner =
      top.Object({"text_config", "llm_config", "language_config", "thinker_config"});
  if (inner != nullptr) {
    std::vector<std::string> ignored;
    if (const Json* deeper = Fields(*inner, &ignored).Object({"text_config"})) inner = deeper;
  }
  Json language = inner != nullptr ? *inner : *parsed;
  if (inner != nullptr && language.contains("model_type") && language["model_type"].is_string()) {
    TakeDefaults(language["model_type"].get<std::string>(), &language);
  }
  const Fields fields(language, &mistakes);

  SizedModel sized;
  sized.source = "config.json";
  CatalogModel& model = sized.model;
  model.name = name;
  std::string type = fields.Text({"model_type"});
  const std::string top_type = top.Text({"model_type"});
  if (type.empty()) type = top_type;

  model.layers =
      fields.Int({"num_hidden_layers", "n_layer", "n_layers", "num_layers"}, 1, kMostLayers)
          .value_or(0);
  model.hidden = fields.Int({"hidden_size", "n_embd", "d_model", "dim", "model_dim"}).value_or(0);
  model.vocab = fields.Int({"vocab_size", "padded_vocab_size"}).value_or(0);
  if (model.vocab == 0) model.vocab = top.Int({"vocab_size"}).value_or(0);
  model.max_position = fields
                           .Int({"max_position_embeddings", "n_positions", "seq_length",
                                 "max_seq_len", "n_ctx", "max_sequence_length", "model_max_length"},
                                1, 1 << 30)
                           .value_or(0);
  model.mlp_matrices = IsUngated(type) ? 2 : 3;
  model.intermediate =
      fields
          .Int({"intermediate_size", "ffn_hidden_size", "n_inner", "ffn_dim", "hidden_dim", "d_ff"})
          .value_or(4 * model.hidden);
  ReadAttention(fields, type, &model);
  if (model.layers == 0) mistakes.push_back("num_hidden_layers is missing");
  if (model.hidden == 0) mistakes.push_back("hidden_size is missing");
  if (model.vocab == 0) mistakes.push_back("vocab_size is missing");
  if (model.heads == 0) mistakes.push_back("num_attention_heads is missing");
  if (model.heads > 0 && model.kv_heads > model.heads)
    mistakes.push_back("num_key_value_heads exceeds num_attention_heads");
  if (model.heads > 0 && model.kv_heads > 0 && model.heads % model.kv_heads != 0)
    mistakes.push_back("num_key_value_heads does not divide num_attention_heads");
  if (!mistakes.empty()) {
    return Fail(ErrorCode::kInvalid, fmt::format("config.json: {}", fmt::join(mistakes, "; ")),
                "it is the file of that name beside a model's weights");
  }
  ReadLayerTypes(fields, type, &model);
  ReadExperts(fields, type, &model);

  const bool ties = TiesByDefault(type);
  model.tied_embeddings = fields.Flag("tie_word_embeddings", top.Flag("tie_word_embeddings", ties));
  model.embedding_parameters =
      static_cast<double>(model.vocab) * model.hidden * (model.tied_embeddings ? 1 : 2);
  if (const Json* vision = top.Object({"vision_config", "vision_encoder"})) {
    model.vision_parameters = VisionParameters(*vision, top_type, model.hidden);
  }
  model.dtype = fields.Text({"torch_dtype", "dtype"});
  if (model.dtype.empty()) model.dtype = top.Text({"torch_dtype", "dtype"});
  if (model.dtype.empty()) model.dtype = "bf16";
  if (const auto word = ParsePrecision(model.dtype, model)) {
    model.dtype = *word;
  } else {
    mistakes.push_back(fmt::format("torch_dtype '{}' is not known", model.dtype));
  }
  const Json* quantisation = top.Object({"quantization_config", "compression_config"});
  if (quantisation == nullptr) quantisation = fields.Object({"quantization_config"});
  if (quantisation != nullptr) ReadQuantisation(*quantisation, &model, &mistakes);
  if (!mistakes.empty()) {
    return Fail(ErrorCode::kInvalid, fmt::format("config.json: {}", fmt::join(mistakes, "; ")),
                "known methods are awq, gptq, auto-round, fp8, fbgemm_fp8, mxfp4, bitsandbytes, "
                "modelopt and compressed-tensors; types bfloat16, float16, float32");
  }
  model.parameters = ImpliedParameters(model);
  // Learnt positions are a table of their own.
  if (IsOneOf(type, {"gpt2", "opt", "gpt_neo", "gpt_bigcode"}))
    model.parameters += static_cast<double>(model.max_position) * model.hidden;
  model.active_parameters = model.experts > 0
                                ? std::min(model.parameters, ImpliedActiveParameters(model))
                                : model.parameters;
  if (model.stateless_layers > 0) {
    model.note = "layers without a KV cache keep a state that is not counted";
  }
  return sized;
}

}  // namespace tranche
