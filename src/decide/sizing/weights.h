#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"

namespace tranche {

// What a matrix is for. Precisions differ in which of these they touch, tensor parallelism in which
// it divides.
enum class WeightKind {
  kEmbedding,
  kHead,
  kQuery,
  kKeyValue,
  kAttentionOutput,
  kLatent,  // MLA: down-projections to the latent vector, kept whole by every GPU
  kGateUp,
  kDown,
  kExpertGateUp,
  kExpertDown,
  kRouter,
  kVision,
  kOther,  // norms, biases and what the fields do not account for
};

// Equal matrices of one kind, one set per layer.
struct WeightGroup {
  WeightKind kind = WeightKind::kOther;
  int first_layer = 0;
  int layers = 1;
  double per_layer = 0;  // parameters
  double total() const { return per_layer * layers; }
};

// The model's parameters, divided by what they are for; they add up to
// model.parameters within its rounding.
std::vector<WeightGroup> WeightGroupsOf(const CatalogModel& model);

// The parameters that the model's fields imply, without norms: what a config.json comes to.
double ImpliedParameters(const CatalogModel& model);
// Those that one token passes through.
double ImpliedActiveParameters(const CatalogModel& model);

// How weights are stored: "bf16", "fp8", "awq", "q4_k_m". Case and '-' for '_' do not matter;
// unknown is kNotFound with the nearest. "checkpoint" is what the model was published in.
Result<std::string> ParsePrecision(std::string_view text, const CatalogModel& model);
// Every name that ParsePrecision takes.
std::vector<std::string> PrecisionNames();
bool IsGguf(std::string_view precision);

// Bits of one weight of that kind. `quantised` says whether that is less than 16.
double BitsOf(WeightKind kind, const CatalogModel& model, std::string_view precision);

// How many bytes the weights take, and the part of them that quantisation leaves alone.
struct WeightBytes {
  double quantised = 0, plain = 0;
  double total() const { return quantised + plain; }
};
// On one GPU of `gpus`: what cannot be divided is counted whole.
WeightBytes WeightsPerGpu(const CatalogModel& model, std::string_view precision, int gpus);
// The part of them in routed experts, of which a step reads only some.
double ExpertBytesPerGpu(const CatalogModel& model, std::string_view precision, int gpus);
// Over one GPU.
WeightBytes WeightsOf(const CatalogModel& model, const std::string& precision);

// Whether a module name is meant by an entry of a checkpoint's list of what it leaves alone:
// "lm_head", "model.layers.0.mlp" (a part of the name), "re:.*self_attn.*".
bool MatchesModule(std::string_view entry, std::string_view module);

}  // namespace tranche
