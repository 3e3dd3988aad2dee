#include "decide/sizing/shape.h"

#include <algorithm>
#include <array>
#include <cmath>

namespace tranche {
namespace {

// Layers and hidden width of published dense models by parameter count.
struct TypicalShape {
  double parameters;
  int layers;
  int hidden;
};
constexpr std::array<TypicalShape, 9> kTypical = {{{1e9, 16, 2048},
                                                   {3e9, 28, 3072},
                                                   {8e9, 32, 4096},
                                                   {14e9, 40, 5120},
                                                   {32e9, 64, 5120},
                                                   {70e9, 80, 8192},
                                                   {123e9, 88, 12288},
                                                   {405e9, 126, 16384},
                                                   {1e12, 160, 20480}}};

double RoundUp(double value, int to) { return std::ceil(value / to) * to; }

// Layers that keep the whole context.
int FullLayers(const CatalogModel& model) {
  return model.sliding_window > 0 ? model.full_attention_layers
                                  : model.layers - model.stateless_layers;
}

}  // namespace

CatalogModel TypicalModel(double parameters) {
  const auto above = std::find_if(kTypical.begin(), kTypical.end(), [&](const TypicalShape& shape) {
    return shape.parameters >= parameters;
  });
  TypicalShape shape = above != kTypical.end() ? *above : kTypical.back();
  if (above != kTypical.begin() && above != kTypical.end()) {
    const TypicalShape& below = *(above - 1);
    const double t =
        std::log(parameters / below.parameters) / std::log(above->parameters / below.parameters);
    shape.layers = static_cast<int>(std::ceil(below.layers + t * (above->layers - below.layers)));
    shape.hidden =
        static_cast<int>(RoundUp(below.hidden + t * (above->hidden - below.hidden), 128));
  }
  CatalogModel model;
  model.parameters = model.active_parameters = parameters;
  model.layers = model.full_attention_layers = shape.layers;
  model.hidden = shape.hidden;
  model.heads = shape.hidden / 128;
  model.kv_heads = 8;
  model.head_dim = 128;
  model.vocab = 128256;
  model.intermediate = shape.hidden * 7 / 2;
  // Small models tie embedding and head, so neither may exceed a third of the whole.
  model.embedding_parameters = std::min(2.0 * model.vocab * model.hidden, parameters / 3);
  model.dtype = "bf16";
  return model;
}

double BytesPerKvValue(const std::string& kv_precision, const std::string& precision) {
  if (kv_precision == "fp8" || kv_precision == "int8") return 1;
  if (!kv_precision.empty()) return 2;
  // Engines keep the cache in the type they compute in, and quantised weights compute in 16 bits.
  return precision == "fp32" ? 4 : 2;
}

double KvBytesPerLayer(const CatalogModel& model, double value_bytes, int gpus) {
  // The compressed vector of multi-head latent attention is not divided: each GPU keeps all of it.
  if (model.mla_kv_dim > 0) return static_cast<double>(model.mla_kv_dim) * value_bytes * gpus;
  const double heads_per_gpu = std::max(1.0, std::ceil(static_cast<double>(model.kv_heads) / gpus));
  return 2 * heads_per_gpu * model.head_dim * value_bytes * gpus;
}

double KvBytesPerToken(const CatalogModel& model, double value_bytes, int gpus) {
  return FullLayers(model) * KvBytesPerLayer(model, value_bytes, gpus);
}

double KvBytesPerSequence(const CatalogModel& model, double value_bytes, int context, int block,
                          int gpus) {
  const double per_layer = KvBytesPerLayer(model, value_bytes, gpus);
  const int full = FullLayers(model);
  const double whole = RoundUp(context, block);
  // A window rarely starts on a block, so it may touch one more.
  const double window = std::min(whole, RoundUp(model.sliding_window, block) + block);
  return full * per_layer * whole +
         (model.layers - model.stateless_layers - full) * per_layer * window;
}

}  // namespace tranche
