#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <optional>
#include <set>

#include "base/json.h"
#include "decide/sizing/tensor_files.h"
#include "decide/sizing/weights.h"

namespace tranche {
namespace {

constexpr uint64_t kLargestHeader = uint64_t{64} << 20;
constexpr size_t kMostTensors = 1000000;
constexpr size_t kMostDimensions = 16;
constexpr double kMostValues = 1e15;

struct TypeBits {
  const char* name;
  double bits;
};
constexpr std::array<TypeBits, 18> kTypes = {{{"F64", 64},
                                              {"I64", 64},
                                              {"U64", 64},
                                              {"F32", 32},
                                              {"I32", 32},
                                              {"U32", 32},
                                              {"F16", 16},
                                              {"BF16", 16},
                                              {"I16", 16},
                                              {"U16", 16},
                                              {"F8_E4M3", 8},
                                              {"F8_E5M2", 8},
                                              {"F8_E8M0", 8},
                                              {"I8", 8},
                                              {"U8", 8},
                                              {"BOOL", 8},
                                              {"F6_E3M2", 6},
                                              {"F4", 4}}};

std::optional<double> BitsOfType(const std::string& type) {
  for (const TypeBits& entry : kTypes) {
    if (type == entry.name) return entry.bits;
  }
  return std::nullopt;
}

tl::unexpected<Error> Broken(const std::string& what) {
  return Fail(ErrorCode::kInvalid, "not a safetensors header: " + what, "is the file whole?");
}

// "model.layers.31.self_attn.k_proj.weight" -> 31.
std::optional<int> LayerOf(const std::string& name) {
  for (const char* marker : {"layers.", "blk.", ".h."}) {
    const size_t at = name.find(marker);
    if (at == std::string::npos) continue;
    size_t from = at + std::string_view(marker).size();
    int layer = 0;
    size_t digits = 0;
    while (from < name.size() && digits < 6 && name[from] >= '0' && name[from] <= '9') {
      layer = layer * 10 + (name[from++] - '0');
      ++digits;
    }
    if (digits > 0) return layer;
  }
  return std::nullopt;
}

std::string PrecisionOfType(const std::string& type) {
  if (type == "F32") return "fp32";
  if (type == "F16") return "fp16";
  if (type.starts_with("F8")) return "fp8";
  if (type == "I8") return "int8";
  if (type == "I32" || type == "U8" || type == "U32") return "int4";  // packed
  return "bf16";
}

}  // namespace

double TensorTable::bytes() const {
  double sum = 0;
  for (const TensorInfo& tensor : tensors) sum += tensor.bytes;
  return sum;
}

double TensorTable::values() const {
  double sum = 0;
  for (const TensorInfo& tensor : tensors) sum += tensor.values;
  return sum;
}

std::string TensorTable::main_type() const {
  std::map<std::string, double> by_type;
  for (const TensorInfo& tensor : tensors) by_type[tensor.type] += tensor.bytes;
  const auto most =
      std::max_element(by_type.begin(), by_type.end(),
                       [](const auto& a, const auto& b) { return a.second < b.second; });
  return most == by_type.end() ? "" : most->first;
}

Result<uint64_t> SafetensorsHeaderBytes(std::string_view first_eight, uint64_t file_bytes) {
  if (first_eight.size() < 8 || file_bytes < 8) return Broken("the file has less than 8 bytes");
  uint64_t size = 0;
  for (int i = 7; i >= 0; --i)
    size = size << 8 | static_cast<unsigned char>(first_eight[static_cast<size_t>(i)]);
  if (size > file_bytes - 8) {
    return Broken(
        fmt::format("it says that it has {} bytes and the file has {}", size, file_bytes));
  }
  if (size > kLargestHeader) {
    return Broken(fmt::format("it says that it has {} bytes, and no header has more than {}", size,
                              kLargestHeader));
  }
  return size;
}

Result<TensorTable> ParseSafetensorsHeader(std::string_view header, uint64_t file_bytes) {
  const auto json = ParseJson(header);
  if (!json) return Broken(json.error().message);
  if (!json->is_object()) return Broken("it is not an object");
  if (json->size() > kMostTensors) return Broken("it lists more than a million tensors");
  const double data_bytes =
      static_cast<double>(file_bytes) - 8 - static_cast<double>(header.size());
  TensorTable table;
  for (const auto& [name, entry] : json->items()) {
    if (name == "__metadata__") continue;
    if (!entry.is_object()) return Broken(fmt::format("'{}' is not an object", name));
    TensorInfo tensor;
    tensor.name = name;
    const auto type = entry.find("dtype");
    const auto shape = entry.find("shape");
    const auto offsets = entry.find("data_offsets");
    if (type == entry.end() || !type->is_string() || shape == entry.end() || !shape->is_array() ||
        offsets == entry.end() || !offsets->is_array() || offsets->size() != 2) {
      return Broken(fmt::format("'{}' lacks dtype, shape or data_offsets", name));
    }
    tensor.type = type->get<std::string>();
    if (shape->size() > kMostDimensions)
      return Broken(fmt::format("'{}' has too many dimensions", name));
    tensor.values = 1;
    for (const Json& dimension : *shape) {
      if (!dimension.is_number_unsigned())
        return Broken(fmt::format("the shape of '{}' is wrong", name));
      tensor.shape.push_back(dimension.get<uint64_t>());
      tensor.values *= static_cast<double>(tensor.shape.back());
      if (tensor.values > kMostValues)
        return Broken(fmt::format("'{}' has more values than any tensor", name));
    }
    if (!(*offsets)[0].is_number_unsigned() || !(*offsets)[1].is_number_unsigned())
      return Broken(fmt::format("the offsets of '{}' are wrong", name));
    const double begin = static_cast<double>((*offsets)[0].get<uint64_t>());
    const double end = static_cast<double>((*offsets)[1].get<uint64_t>());
    if (begin > end || end > data_bytes)
      return Broken(
          fmt::format("'{}' lies outside the file, which is cut off or not what it says", name));
    tensor.bytes = end - begin;
    if (const auto bits = BitsOfType(tensor.type);
        bits && std::abs(tensor.values * *bits / 8 - tensor.bytes) > 1) {
      return Broken(fmt::format("'{}' has {} bytes, and its shape needs {}", name, tensor.bytes,
                                tensor.values * *bits / 8));
    }
    table.tensors.push_back(std::move(tensor));
  }
  if (table.tensors.empty()) return Broken("it lists no tensor");
  if (table.bytes() > data_bytes + 1) return Broken("its tensors overlap");
  return table;
}

Result<SafetensorsIndex> ParseSafetensorsIndex(std::string_view text) {
  const auto json = ParseJson(text);
  if (!json) return tl::unexpected<Error>(json.error());
  if (!json->is_object() || !json->contains("weight_map") || !(*json)["weight_map"].is_object()) {
    return Fail(ErrorCode::kInvalid, "it has no weight_map",
                "model.safetensors.index.json lists which file holds which tensor");
  }
  SafetensorsIndex index;
  std::set<std::string> files;
  for (const auto& [tensor, file] : (*json)["weight_map"].items()) {
    // A name is taken for a file beside the index, so it may not lead elsewhere.
    if (!file.is_string() || file.get<std::string>().find('/') != std::string::npos)
      return Fail(ErrorCode::kInvalid, fmt::format("the file of '{}' has no plain name", tensor));
    files.insert(file.get<std::string>());
  }
  index.files.assign(files.begin(), files.end());
  if (const auto metadata = json->find("metadata");
      metadata != json->end() && metadata->is_object()) {
    const auto total = metadata->find("total_size");
    if (total != metadata->end() && total->is_number()) {
      index.total_bytes = std::clamp(total->get<double>(), 0.0, 1e16);
    }
  }
  return index;
}

Result<SizedModel> ModelFromTensors(const TensorTable& table, const std::string& name) {
  SizedModel sized;
  sized.source = "safetensors header";
  CatalogModel& model = sized.model;
  model.name = name;
  const auto ends = [](const TensorInfo& tensor, std::initializer_list<std::string_view> endings) {
    return std::any_of(endings.begin(), endings.end(),
                       [&](std::string_view ending) { return tensor.name.ends_with(ending); });
  };
  double head_values = 0;
  uint64_t q_out = 0, k_out = 0, head_dim = 0;
  int layers = 0;
  for (const TensorInfo& tensor : table.tensors) {
    if (const auto layer = LayerOf(tensor.name)) layers = std::max(layers, *layer + 1);
    if (tensor.shape.empty() || tensor.shape[0] > (1u << 28)) continue;
    const uint64_t rows = tensor.shape[0];
    const uint64_t columns = tensor.shape.size() > 1 ? tensor.shape[1] : 1;
    if (columns > (1u << 28)) continue;
    if (ends(tensor, {"embed_tokens.weight", "tok_embeddings.weight", "wte.weight",
                      "word_embeddings.weight", "embed_in.weight"})) {
      model.vocab = static_cast<int>(rows);
      model.hidden = static_cast<int>(columns);
    }
    if (ends(tensor, {"lm_head.weight", "output.weight", "embed_out.weight"}))
      head_values = tensor.values;
    if (ends(tensor, {"self_attn.q_proj.weight", "attention.wq.weight"})) q_out = rows;
    if (ends(tensor, {"self_attn.k_proj.weight", "attention.wk.weight"})) k_out = rows;
    if (ends(tensor, {"q_norm.weight", "k_norm.weight"}) && tensor.shape.size() == 1)
      head_dim = rows;
    if (ends(tensor, {"mlp.gate_proj.weight", "feed_forward.w1.weight"}))
      model.intermediate = std::max(model.intermediate, static_cast<int>(rows));
  }
  if (model.hidden == 0 || layers == 0) {
    return Fail(ErrorCode::kInvalid, "the tensors are not named like those of a language model",
                "put its config.json beside it, or give --parameters");
  }
  const double values = table.values();
  model.layers = model.full_attention_layers = layers;
  model.head_dim = static_cast<int>(head_dim > 0 ? head_dim : q_out % 128 == 0 ? 128 : 64);
  model.heads = static_cast<int>(q_out) / model.head_dim;
  model.kv_heads = static_cast<int>(k_out) / model.head_dim;
  if (model.heads == 0 || model.kv_heads == 0) {
    model.heads = std::max(1, model.hidden / model.head_dim);
    model.kv_heads = model.heads;
  }
  if (model.intermediate == 0) model.intermediate = 4 * model.hidden;
  model.tied_embeddings = head_values == 0;
  model.embedding_parameters =
      static_cast<double>(model.vocab) * model.hidden * (model.tied_embeddings ? 1 : 2);
  model.parameters = model.active_parameters = values;
  model.dtype = PrecisionOfType(table.main_type());
  model.note = "heads as its tensors suggest; a config.json beside them would say";
  return sized;
}

}  // namespace tranche
