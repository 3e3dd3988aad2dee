#include "decide/sizing/weights.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cctype>
#include <cmath>

#include "base/suggest.h"

namespace tranche {
namespace {

// Kernels for MXFP4 pad the width of an expert to a multiple of this: 2880 becomes 3072, which
// explains the measured checkpoints of that shape to 1 %.
constexpr int kMxfp4Padding = 256;
// Engines that divide the vocabulary pad it to a multiple of this.
constexpr int kVocabularyPadding = 64;

double RoundUp(double value, int to) { return std::ceil(value / to) * to; }

// Bits of one weight, scales and zero points included.
struct PlainPrecision {
  std::string_view name;
  double bits;
};
constexpr std::array<PlainPrecision, 11> kPlain = {{
    {"fp32", 32},
    {"bf16", 16},
    {"fp16", 16},
    {"fp8", 8 + 32.0 / (128 * 128)},   // a 32-bit scale for every block of 128 x 128
    {"int8", 8 + 32.0 / (128 * 128)},  // or one per channel, which is less still
    {"int4", 4 + 20.0 / 128},          // a 16-bit scale and a 4-bit zero point for every 128
    {"awq", 4 + 20.0 / 128},
    {"gptq", 4 + 20.0 / 128},
    {"nf4", 4.5},     // a 32-bit scale for every 64
    {"mxfp4", 4.25},  // an 8-bit scale for every 32
    {"nvfp4", 4.5},   // an 8-bit scale for every 16
}};

// A GGUF file type: bits by what a matrix is for. The mixed types give half of the layers' value
// and down matrices more; `down` and `value` are the means. Block layouts: ggml's quants.
struct GgufType {
  std::string_view name;
  double base;   // and the embedding
  double value;  // attention V
  double attention_output;
  double down;
  double head;  // or the embedding where it serves as head
};
constexpr double kQ2 = 2.625, kQ3 = 3.4375, kQ4 = 4.5, kQ5 = 5.5, kQ6 = 6.5625, kQ8 = 8.5;
constexpr std::array<GgufType, 20> kGguf = {{
    {"q8_0", kQ8, kQ8, kQ8, kQ8, kQ8},
    {"q6_k", kQ6, kQ6, kQ6, kQ6, kQ6},
    {"q5_k_m", kQ5, (kQ5 + kQ6) / 2, kQ5, (kQ5 + kQ6) / 2, kQ6},
    {"q5_k_s", kQ5, kQ5, kQ5, kQ5, kQ6},
    {"q5_0", kQ5, kQ5, kQ5, kQ5, kQ6},
    {"q5_1", 6, 6, 6, 6, kQ6},
    {"q4_k_m", kQ4, (kQ4 + kQ6) / 2, kQ4, (kQ4 + kQ6) / 2, kQ6},
    {"q4_k_s", kQ4, kQ4 + 0.125, kQ4, kQ4 + 0.125, kQ6},
    {"q4_0", kQ4, kQ4, kQ4, kQ4, kQ6},
    {"q4_1", 5, 5, 5, 5, kQ6},
    {"iq4_nl", kQ4, kQ4, kQ4, kQ4, kQ6},
    {"iq4_xs", 4.25, 4.5, 4.25, 4.375, kQ6},
    {"q3_k_l", kQ3, kQ5, kQ5, kQ5, kQ6},
    {"q3_k_m", kQ3, kQ4 + 0.0625, kQ4, kQ4 + 0.0625, kQ6},
    {"q3_k_s", kQ3, kQ3, kQ3, kQ3, kQ6},
    {"iq3_s", kQ3, kQ4, kQ3, kQ3, kQ6},
    {"iq3_xxs", 3.0625, kQ4, 3.4375, kQ3, kQ5},
    {"q2_k", kQ2, kQ4, kQ3, kQ3, kQ6},
    {"iq2_xs", 2.3125, kQ4, kQ2, kQ2, kQ5},
    {"iq1_s", 1.5625, kQ4, kQ2, kQ2, kQ5},
}};

const GgufType* FindGguf(std::string_view name) {
  for (const GgufType& type : kGguf) {
    if (type.name == name) return &type;
  }
  return nullptr;
}

double PlainBits(std::string_view name) {
  for (const PlainPrecision& precision : kPlain) {
    if (precision.name == name) return precision.bits;
  }
  return 16;
}

std::string Normalised(std::string_view text) {
  std::string out;
  for (const char c : text) {
    out += c == '-' ? '_' : static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  }
  return out;
}

struct Alias {
  std::string_view written, meant;
};
constexpr std::array<Alias, 17> kAliases = {{{"bfloat16", "bf16"},
                                             {"float16", "fp16"},
                                             {"half", "fp16"},
                                             {"f16", "fp16"},
                                             {"float32", "fp32"},
                                             {"f32", "fp32"},
                                             {"float8", "fp8"},
                                             {"fp8_e4m3", "fp8"},
                                             {"fp8_dynamic", "fp8"},
                                             {"w8a8", "int8"},
                                             {"w8a16", "int8"},
                                             {"w4a16", "int4"},
                                             {"4bit", "int4"},
                                             {"8bit", "int8"},
                                             {"bnb", "nf4"},
                                             {"fp4", "nvfp4"},
                                             {"q4", "q4_k_m"}}};

int ExpertLayers(const CatalogModel& model) {
  return model.experts > 0 ? std::max(0, model.layers - model.dense_layers) : 0;
}

bool IsInLayers(WeightKind kind) {
  return kind != WeightKind::kEmbedding && kind != WeightKind::kHead &&
         kind != WeightKind::kVision && kind != WeightKind::kOther;
}

// What such a matrix is called in most checkpoints, inside its layer.
const char* ModuleOf(WeightKind kind) {
  switch (kind) {
    case WeightKind::kEmbedding:
      return "model.embed_tokens";
    case WeightKind::kHead:
      return "lm_head";
    case WeightKind::kQuery:
      return "self_attn.q_proj";
    case WeightKind::kKeyValue:
      return "self_attn.v_proj";
    case WeightKind::kAttentionOutput:
      return "self_attn.o_proj";
    case WeightKind::kLatent:
      return "self_attn.kv_a_proj_with_mqa";
    case WeightKind::kGateUp:
      return "mlp.gate_proj";
    case WeightKind::kDown:
      return "mlp.down_proj";
    case WeightKind::kExpertGateUp:
      return "mlp.experts.0.gate_proj";
    case WeightKind::kExpertDown:
      return "mlp.experts.0.down_proj";
    case WeightKind::kRouter:
      return "mlp.gate";
    case WeightKind::kVision:
      return "vision_tower";
    case WeightKind::kOther:
      return "";
  }
  return "";
}

// Of `layers` from `first`, how many the checkpoint leaves in 16 bits.
int PlainLayers(const CatalogModel& model, const WeightGroup& group) {
  if (model.unquantised.empty() || !IsInLayers(group.kind)) return 0;
  int plain = 0;
  for (int layer = group.first_layer; layer < group.first_layer + group.layers; ++layer) {
    const std::string module = fmt::format("model.layers.{}.{}", layer, ModuleOf(group.kind));
    plain += std::any_of(model.unquantised.begin(), model.unquantised.end(),
                         [&](const std::string& entry) { return MatchesModule(entry, module); });
  }
  return plain;
}

// What one GPU of `gpus` holds of a group, as a share.
double ShareOf(const WeightGroup& group, const CatalogModel& model, int gpus) {
  if (gpus <= 1) return 1;
  switch (group.kind) {
    case WeightKind::kLatent:
    case WeightKind::kRouter:
    case WeightKind::kOther:
      return 1;  // every GPU needs all of it
    case WeightKind::kKeyValue: {
      // Whole heads only: more GPUs than heads keep copies.
      if (model.mla_kv_dim > 0 || model.kv_heads == 0) return 1.0 / gpus;
      return std::ceil(static_cast<double>(model.kv_heads) / gpus) / model.kv_heads;
    }
    case WeightKind::kEmbedding:
    case WeightKind::kHead:
      return RoundUp(model.vocab, kVocabularyPadding) / std::max(1, model.vocab) / gpus;
    default:
      return 1.0 / gpus;
  }
}

double PaddingOf(WeightKind kind, const CatalogModel& model, std::string_view precision) {
  const bool expert = kind == WeightKind::kExpertGateUp || kind == WeightKind::kExpertDown;
  if (precision != "mxfp4" || !expert || model.expert_intermediate <= 0) return 1;
  return RoundUp(model.expert_intermediate, kMxfp4Padding) / model.expert_intermediate;
}

}  // namespace

bool MatchesModule(std::string_view entry, std::string_view module) {
  // Of regular expressions and globs, what such lists hold: literal pieces with anything between.
  // Others match nothing, which sizes the checkpoint as if that module were quantised.
  const bool regex = entry.starts_with("re:");
  if (regex) entry.remove_prefix(3);
  std::vector<std::string> pieces(1);
  for (size_t i = 0; i < entry.size(); ++i) {
    const bool wild = regex ? entry.substr(i, 2) == ".*" : entry[i] == '*';
    if (wild) {
      pieces.emplace_back();
      i += regex ? 1 : 0;
    } else if (regex && entry[i] == '\\' && i + 1 < entry.size()) {
      pieces.back() += entry[++i];
    } else if (!regex || (entry[i] != '^' && entry[i] != '$')) {
      pieces.back() += entry[i];
    }
  }
  size_t at = 0;
  bool any = false;
  for (const std::string& piece : pieces) {
    if (piece.empty()) continue;
    at = module.find(piece, at);
    if (at == module.npos) return false;
    at += piece.size();
    any = true;
  }
  return any;
}

std::vector<WeightGroup> WeightGroupsOf(const CatalogModel& model) {
  std::vector<WeightGroup> groups;
  double sum = 0;
  const auto add = [&](WeightKind kind, int first, int layers, double per_layer) {
    if (layers <= 0 || per_layer <= 0) return;
    groups.push_back({kind, first, layers, per_layer});
    sum += per_layer * layers;
  };
  const double h = model.hidden;
  const double heads = model.heads;
  // Whatever the fields say, what is counted as embedding is what quantisation leaves alone.
  const double one_table =
      model.tied_embeddings ? model.embedding_parameters : model.embedding_parameters / 2;
  add(WeightKind::kEmbedding, 0, 1, one_table);
  if (!model.tied_embeddings) add(WeightKind::kHead, 0, 1, one_table);
  if (model.mla_kv_dim > 0) {
    const double q_dim = heads * (model.qk_nope_head_dim + model.qk_rope_head_dim);
    if (model.q_lora_rank > 0) {
      add(WeightKind::kLatent, 0, model.layers, h * (model.q_lora_rank + model.mla_kv_dim));
      add(WeightKind::kQuery, 0, model.layers, model.q_lora_rank * q_dim);
    } else {
      add(WeightKind::kLatent, 0, model.layers, h * model.mla_kv_dim);
      add(WeightKind::kQuery, 0, model.layers, h * q_dim);
    }
    add(WeightKind::kKeyValue, 0, model.layers,
        model.kv_lora_rank * heads * (model.qk_nope_head_dim + model.v_head_dim));
    add(WeightKind::kAttentionOutput, 0, model.layers, heads * model.v_head_dim * h);
  } else {
    add(WeightKind::kQuery, 0, model.layers, h * heads * model.head_dim);
    add(WeightKind::kKeyValue, 0, model.layers, 2 * h * model.kv_heads * model.head_dim);
    add(WeightKind::kAttentionOutput, 0, model.layers, heads * model.head_dim * h);
  }
  const int expert_layers = ExpertLayers(model);
  const int dense_layers = model.layers - expert_layers;
  const double ups = model.mlp_matrices - 1;
  add(WeightKind::kGateUp, 0, dense_layers, ups * h * model.intermediate);
  add(WeightKind::kDown, 0, dense_layers, h * model.intermediate);
  if (expert_layers > 0) {
    const double expert = h * model.expert_intermediate;
    add(WeightKind::kExpertGateUp, dense_layers, expert_layers, model.experts * expert * 2);
    add(WeightKind::kExpertDown, dense_layers, expert_layers, model.experts * expert);
    add(WeightKind::kGateUp, dense_layers, expert_layers, model.shared_experts * expert * 2);
    add(WeightKind::kDown, dense_layers, expert_layers, model.shared_experts * expert);
    add(WeightKind::kRouter, dense_layers, expert_layers, h * model.experts);
  }
  add(WeightKind::kVision, 0, 1, model.vision_parameters);
  const double rest = model.parameters - sum;
  // A model described by its size alone has no attention or MLP fields: all of it is linear layers.
  if (rest > 0.02 * model.parameters && model.vision_parameters == 0) {
    add(WeightKind::kGateUp, 0, std::max(1, model.layers), rest / std::max(1, model.layers));
  } else if (rest > 0) {
    add(WeightKind::kOther, 0, 1, rest);
  } else if (rest < -0.002 * model.parameters && model.parameters > 0) {
    // The published total rules; less than that is its rounding.
    for (WeightGroup& group : groups) group.per_layer *= model.parameters / sum;
  }
  return groups;
}

double ImpliedParameters(const CatalogModel& model) {
  CatalogModel counted = model;
  counted.parameters = 0;
  double sum = 0;
  for (const WeightGroup& group : WeightGroupsOf(counted)) sum += group.total();
  return sum;
}

double ImpliedActiveParameters(const CatalogModel& model) {
  CatalogModel counted = model;
  counted.parameters = 0;
  double sum = 0;
  for (const WeightGroup& group : WeightGroupsOf(counted)) {
    const bool expert =
        group.kind == WeightKind::kExpertGateUp || group.kind == WeightKind::kExpertDown;
    if (group.kind == WeightKind::kVision) continue;
    sum += expert ? group.total() * model.experts_per_token / model.experts : group.total();
  }
  return sum;
}

std::vector<std::string> PrecisionNames() {
  std::vector<std::string> names;
  for (const PlainPrecision& precision : kPlain) names.emplace_back(precision.name);
  for (const GgufType& type : kGguf) names.emplace_back(type.name);
  return names;
}

bool IsGguf(std::string_view precision) { return FindGguf(precision) != nullptr; }

Result<std::string> ParsePrecision(std::string_view text, const CatalogModel& model) {
  std::string name = Normalised(text);
  if (name.empty() || name == "checkpoint" || name == "auto") {
    return model.dtype.empty() ? "bf16" : model.dtype;
  }
  for (const Alias& alias : kAliases) {
    if (alias.written == name) name = alias.meant;
  }
  const std::vector<std::string> names = PrecisionNames();
  if (std::find(names.begin(), names.end(), name) != names.end()) return name;
  const std::string meant = DidYouMean(name, names);
  return Fail(ErrorCode::kNotFound, fmt::format("there is no precision '{}'", text),
              meant.empty() ? fmt::format("known are {}", fmt::join(names, ", ")) : meant);
}

double BitsOf(WeightKind kind, const CatalogModel& model, std::string_view precision) {
  if (const GgufType* type = FindGguf(precision)) {
    switch (kind) {
      case WeightKind::kHead:
        return type->head;
      case WeightKind::kEmbedding:
        return model.tied_embeddings ? type->head : type->base;
      case WeightKind::kKeyValue:
        return (type->base + type->value) / 2;
      case WeightKind::kAttentionOutput:
        return type->attention_output;
      case WeightKind::kDown:
      case WeightKind::kExpertDown:
        return type->down;
      case WeightKind::kOther:
      case WeightKind::kRouter:
        return 32;
      case WeightKind::kVision:
        return 16;
      default:
        return type->base;
    }
  }
  const double bits = PlainBits(precision);
  if (bits >= 16) return bits;
  switch (kind) {
    case WeightKind::kEmbedding:
    case WeightKind::kHead:
    case WeightKind::kRouter:
    case WeightKind::kVision:
    case WeightKind::kOther:
      return 16;
    case WeightKind::kExpertGateUp:
    case WeightKind::kExpertDown:
      return bits;
    default:
      // MXFP4 checkpoints of mixtures quantise their experts and nothing else.
      return precision == "mxfp4" && model.expert_parameters > 0 ? 16 : bits;
  }
}

WeightBytes WeightsPerGpu(const CatalogModel& model, std::string_view precision, int gpus) {
  WeightBytes bytes;
  for (const WeightGroup& group : WeightGroupsOf(model)) {
    const double bits = BitsOf(group.kind, model, precision);
    const double share = ShareOf(group, model, gpus);
    const double plain_layers = bits < 16 ? PlainLayers(model, group) : 0;
    const double plain = group.per_layer * plain_layers * share;
    const double rest = group.per_layer * (group.layers - plain_layers) * share *
                        PaddingOf(group.kind, model, precision);
    bytes.plain += plain * 2;
    (bits < 16 ? bytes.quantised : bytes.plain) += rest * bits / 8;
  }
  return bytes;
}

double ExpertBytesPerGpu(const CatalogModel& model, std::string_view precision, int gpus) {
  double bytes = 0;
  for (const WeightGroup& group : WeightGroupsOf(model)) {
    if (group.kind != WeightKind::kExpertGateUp && group.kind != WeightKind::kExpertDown) continue;
    bytes += group.total() * ShareOf(group, model, gpus) * BitsOf(group.kind, model, precision) /
             8 * PaddingOf(group.kind, model, precision);
  }
  return bytes;
}

WeightBytes WeightsOf(const CatalogModel& model, const std::string& precision) {
  return WeightsPerGpu(model, precision, 1);
}

}  // namespace tranche
