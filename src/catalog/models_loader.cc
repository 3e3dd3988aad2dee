#include <fmt/format.h>

#include "catalog/field_reader.h"
#include "catalog/loaders.h"

namespace tranche::catalog {
namespace {

constexpr int kMost = 1 << 24;
constexpr double kMostBillions = 1e5;

void ReadAttention(const YamlNode& node, bool mla, CatalogModel* model, Mistakes* mistakes) {
  FieldReader fields(node, mistakes);
  model->heads = fields.Int("heads", 1, kMost);
  model->kv_heads = fields.Int("kv_heads", 1, model->heads);
  model->head_dim = mla ? 0 : fields.Int("head_dim", 1, kMost);
  model->sliding_window = fields.IntOr("sliding_window", 0, 1, kMost);
  model->full_attention_layers =
      model->sliding_window == 0 ? model->layers : fields.Int("full_layers", 0, model->layers);
  if (model->heads % model->kv_heads != 0) fields.Wrong("kv_heads", "must divide heads");
}

void ReadMla(const YamlNode& node, CatalogModel* model, Mistakes* mistakes) {
  FieldReader fields(node, mistakes);
  model->q_lora_rank = fields.IntOr("q_lora_rank", 0, 1, kMost);
  model->kv_lora_rank = fields.Int("kv_lora_rank", 1, kMost);
  model->qk_nope_head_dim = fields.Int("qk_nope_head_dim", 1, kMost);
  model->qk_rope_head_dim = fields.Int("qk_rope_head_dim", 1, kMost);
  model->v_head_dim = fields.Int("v_head_dim", 1, kMost);
  model->mla_kv_dim = model->kv_lora_rank + model->qk_rope_head_dim;
  model->head_dim = model->qk_nope_head_dim + model->qk_rope_head_dim;
}

void ReadExperts(const YamlNode& node, CatalogModel* model, Mistakes* mistakes) {
  FieldReader fields(node, mistakes);
  model->experts = fields.Int("count", 1, kMost);
  model->experts_per_token = fields.Int("per_token", 1, model->experts);
  model->expert_intermediate = fields.Int("intermediate", 1, kMost);
  model->shared_experts = fields.IntOr("shared", 0, 1, kMost);
  model->dense_layers = fields.IntOr("dense_layers", 0, 1, model->layers);
}

CatalogModel ReadModel(const std::string& name, const YamlNode& node, Mistakes* mistakes) {
  CatalogModel model;
  model.name = name;
  FieldReader fields(node, mistakes);
  const std::string hf = fields.Text("hf");
  model.aliases = fields.Texts("aliases");
  model.aliases.insert(model.aliases.begin(), hf);
  {
    FieldReader size(fields.Map("size"), mistakes);
    model.parameters = size.Number("parameters_b", 1e-3, kMostBillions) * 1e9;
    model.active_parameters = size.Number("active_b", 1e-3, kMostBillions) * 1e9;
    if (size.Has("vision_b"))
      model.vision_parameters = size.Number("vision_b", 1e-3, kMostBillions) * 1e9;
    model.dtype = size.Text("dtype");
    if (model.active_parameters > model.parameters) size.Wrong("active_b", "exceeds parameters_b");
  }
  {
    FieldReader shape(fields.Map("shape"), mistakes);
    model.layers = shape.Int("layers", 1, kMost);
    model.hidden = shape.Int("hidden", 1, kMost);
    model.intermediate = shape.Int("intermediate", 1, kMost);
    model.vocab = shape.Int("vocab", 1, kMost);
    model.tied_embeddings = shape.Bool("tied_embeddings");
    model.mlp_matrices = shape.IntOr("mlp_matrices", 3, 2, 3);
    model.max_position = shape.Int("max_position", 1, 1 << 30);
  }
  model.unquantised = fields.TextsOrNone("unquantised");
  const YamlNode* mla = fields.Optional("mla");
  ReadAttention(fields.Map("attention"), mla != nullptr, &model, mistakes);
  if (mla != nullptr) ReadMla(*mla, &model, mistakes);
  if (const YamlNode* experts = fields.Optional("experts")) ReadExperts(*experts, &model, mistakes);
  model.note = fields.TextOr("note", "");

  model.embedding_parameters =
      static_cast<double>(model.vocab) * model.hidden * (model.tied_embeddings ? 1 : 2);
  // Gate, up and down matrices of every routed expert.
  model.expert_parameters =
      static_cast<double>(model.experts > 0 ? model.layers - model.dense_layers : 0) *
      model.experts * 3.0 * model.hidden * model.expert_intermediate;
  if (model.embedding_parameters + model.expert_parameters > model.parameters) {
    fields.Wrong("embeddings and experts alone exceed parameters_b");
  }
  return model;
}

}  // namespace

Result<std::vector<CatalogModel>> LoadModels(std::string_view text) {
  auto document = ParseData("models.yaml", text);
  if (!document) return tl::unexpected(document.error());
  Mistakes mistakes("models.yaml");
  std::vector<CatalogModel> models;
  {
    FieldReader top(*document, &mistakes);
    for (const auto& [key, node] : top.Map("models").members) {
      models.push_back(ReadModel(key.scalar, node, &mistakes));
    }
    if (models.empty()) top.Wrong("models", "lists no model");
  }
  if (!mistakes.empty()) return tl::unexpected(mistakes.status().error());
  return models;
}

}  // namespace tranche::catalog
