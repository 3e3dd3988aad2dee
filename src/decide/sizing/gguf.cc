#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cstring>
#include <optional>

#include "decide/sizing/tensor_files.h"
#include "decide/sizing/weights.h"

namespace tranche {
namespace {

constexpr uint64_t kMostTensors = 1000000;
constexpr uint64_t kMostPairs = 100000;
constexpr uint64_t kLongestKey = 1 << 16;
constexpr uint64_t kMostItems = 1 << 28;
constexpr double kMostValues = 1e15;

struct BlockType {
  uint32_t id;
  const char* name;
  int values, bytes;  // of one block
};
constexpr std::array<BlockType, 31> kBlockTypes = {
    {{0, "F32", 1, 4},         {1, "F16", 1, 2},         {2, "Q4_0", 32, 18},
     {3, "Q4_1", 32, 20},      {6, "Q5_0", 32, 22},      {7, "Q5_1", 32, 24},
     {8, "Q8_0", 32, 34},      {9, "Q8_1", 32, 36},      {10, "Q2_K", 256, 84},
     {11, "Q3_K", 256, 110},   {12, "Q4_K", 256, 144},   {13, "Q5_K", 256, 176},
     {14, "Q6_K", 256, 210},   {15, "Q8_K", 256, 292},   {16, "IQ2_XXS", 256, 66},
     {17, "IQ2_XS", 256, 74},  {18, "IQ3_XXS", 256, 98}, {19, "IQ1_S", 256, 50},
     {20, "IQ4_NL", 32, 18},   {21, "IQ3_S", 256, 110},  {22, "IQ2_S", 256, 82},
     {23, "IQ4_XS", 256, 136}, {24, "I8", 1, 1},         {25, "I16", 1, 2},
     {26, "I32", 1, 4},        {27, "I64", 1, 8},        {28, "F64", 1, 8},
     {29, "IQ1_M", 256, 56},   {30, "BF16", 1, 2},       {34, "TQ1_0", 256, 54},
     {39, "MXFP4", 32, 17}}};

const BlockType* FindType(uint32_t id) {
  for (const BlockType& type : kBlockTypes) {
    if (type.id == id) return &type;
  }
  return nullptr;
}

// The kinds of values in a GGUF header.
enum GgufKind : uint32_t {
  kUint8,
  kInt8,
  kUint16,
  kInt16,
  kUint32,
  kInt32,
  kFloat32,
  kBool,
  kString,
  kArray,
  kUint64,
  kInt64,
  kFloat64
};

size_t SizeOfKind(uint32_t kind) {
  switch (kind) {
    case kUint8:
    case kInt8:
    case kBool:
      return 1;
    case kUint16:
    case kInt16:
      return 2;
    case kUint32:
    case kInt32:
    case kFloat32:
      return 4;
    case kUint64:
    case kInt64:
    case kFloat64:
      return 8;
    default:
      return 0;
  }
}

// Reads forward through bytes that may end at any place or lie.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : bytes_(bytes) {}

  bool ended() const { return ended_; }

  uint64_t Number(size_t width) {
    uint64_t value = 0;
    const std::string_view raw = Take(width);
    for (size_t i = raw.size(); i-- > 0;) value = value << 8 | static_cast<unsigned char>(raw[i]);
    return value;
  }

  std::string_view Take(uint64_t count) {
    if (ended_ || count > bytes_.size() - at_) {
      ended_ = true;
      return {};
    }
    const std::string_view taken = bytes_.substr(at_, count);
    at_ += count;
    return taken;
  }

  std::string_view Text() { return Take(Number(8)); }

 private:
  std::string_view bytes_;
  size_t at_ = 0;
  bool ended_ = false;
};

struct Value {
  std::optional<double> number;  // of an array: its first
  std::string text;
  uint64_t items = 0;           // of an array
  std::vector<double> numbers;  // the first thousands of an array of numbers
};

double AsNumber(uint32_t kind, uint64_t raw) {
  switch (kind) {
    case kInt8:
      return static_cast<int8_t>(raw);
    case kInt16:
      return static_cast<int16_t>(raw);
    case kInt32:
      return static_cast<int32_t>(raw);
    case kInt64:
      return static_cast<double>(static_cast<int64_t>(raw));
    case kFloat32:
      return std::bit_cast<float>(static_cast<uint32_t>(raw));
    case kFloat64:
      return std::bit_cast<double>(raw);
    default:
      return static_cast<double>(raw);
  }
}

tl::unexpected<Error> Broken(const std::string& what) {
  return Fail(ErrorCode::kInvalid, "not a GGUF header: " + what, "is the file whole?");
}

Result<Value> ReadValue(Reader& reader, uint32_t kind, bool nested) {
  Value value;
  if (kind == kString) {
    value.text = std::string(reader.Text().substr(0, 256));
    return value;
  }
  if (kind != kArray) {
    const size_t width = SizeOfKind(kind);
    if (width == 0) return Broken(fmt::format("a value of kind {}", kind));
    value.number = AsNumber(kind, reader.Number(width));
    return value;
  }
  const auto inner = static_cast<uint32_t>(reader.Number(4));
  value.items = reader.Number(8);
  if (reader.ended()) return value;
  if (inner == kArray || nested) return Broken("an array of arrays");
  if (value.items > kMostItems) return Broken(fmt::format("an array of {} items", value.items));
  if (inner == kString) {
    for (uint64_t i = 0; i < value.items && !reader.ended(); ++i) reader.Text();
    return value;
  }
  const size_t width = SizeOfKind(inner);
  if (width == 0) return Broken(fmt::format("an array of kind {}", inner));
  for (uint64_t i = 0; i < value.items && !reader.ended(); ++i) {
    const double number = AsNumber(inner, reader.Number(width));
    if (i == 0) value.number = number;
    if (i < 4096) value.numbers.push_back(number);
  }
  return value;
}

// llama.cpp's general.file_type, as far as its names are ours.
std::string FileType(int type) {
  switch (type) {
    case 0:
      return "fp32";
    case 1:
      return "fp16";
    case 2:
      return "q4_0";
    case 3:
      return "q4_1";
    case 7:
      return "q8_0";
    case 8:
      return "q5_0";
    case 9:
      return "q5_1";
    case 10:
    case 21:
      return "q2_k";
    case 11:
      return "q3_k_s";
    case 12:
      return "q3_k_m";
    case 13:
      return "q3_k_l";
    case 14:
      return "q4_k_s";
    case 15:
      return "q4_k_m";
    case 16:
      return "q5_k_s";
    case 17:
      return "q5_k_m";
    case 18:
      return "q6_k";
    case 20:
      return "iq2_xs";
    case 23:
      return "iq3_xxs";
    case 24:
      return "iq1_s";
    case 25:
      return "iq4_nl";
    case 26:
      return "iq3_s";
    case 30:
      return "iq4_xs";
    case 32:
      return "bf16";
    case 38:
      return "mxfp4";
    default:
      return "";
  }
}

std::string PrecisionOf(const std::string& main_type, int file_type) {
  std::string precision = FileType(file_type);
  if (!precision.empty()) return precision;
  if (main_type == "F32") return "fp32";
  if (main_type == "F16") return "fp16";
  if (main_type == "BF16") return "bf16";
  if (main_type == "MXFP4") return "mxfp4";
  if (main_type == "Q8_0") return "q8_0";
  if (main_type == "Q6_K") return "q6_k";
  if (main_type.starts_with("Q5")) return "q5_k_m";
  if (main_type.starts_with("Q3") || main_type.starts_with("IQ3")) return "q3_k_m";
  if (main_type.starts_with("Q2") || main_type.starts_with("IQ2")) return "q2_k";
  return "q4_k_m";
}

}  // namespace

Result<GgufHeader> ParseGgufHeader(std::string_view begin, uint64_t file_bytes,
                                   const std::string& name) {
  Reader reader(begin);
  const auto more = [&]() -> tl::unexpected<Error> {
    if (begin.size() >= file_bytes) return Broken("the file ends in it");
    return Fail(ErrorCode::kPartial, "the header goes on");
  };
  if (reader.Take(4) != "GGUF") return Broken("it does not begin with GGUF");
  const uint64_t version = reader.Number(4);
  if (reader.ended()) return more();
  if (version != 2 && version != 3) return Broken(fmt::format("version {}", version));
  const uint64_t tensors = reader.Number(8);
  const uint64_t pairs = reader.Number(8);
  if (reader.ended()) return more();
  if (tensors > kMostTensors || pairs > kMostPairs) {
    return Broken(fmt::format("{} tensors and {} values", tensors, pairs));
  }
  std::map<std::string, Value> values;
  for (uint64_t i = 0; i < pairs; ++i) {
    const std::string_view key = reader.Text();
    if (key.size() > kLongestKey) return Broken("a key of more than 64 KiB");
    const auto kind = static_cast<uint32_t>(reader.Number(4));
    if (reader.ended()) return more();
    auto value = ReadValue(reader, kind, false);
    if (!value) return tl::unexpected<Error>(value.error());
    if (reader.ended()) return more();
    values.insert_or_assign(std::string(key), std::move(*value));
  }
  GgufHeader header;
  for (uint64_t i = 0; i < tensors; ++i) {
    TensorInfo tensor;
    const std::string_view tensor_name = reader.Text();
    const uint64_t dimensions = reader.Number(4);
    if (reader.ended()) return more();
    if (dimensions > 8) return Broken(fmt::format("a tensor of {} dimensions", dimensions));
    tensor.name = std::string(tensor_name.substr(0, 256));
    tensor.values = 1;
    for (uint64_t d = 0; d < dimensions; ++d) {
      tensor.shape.push_back(reader.Number(8));
      tensor.values *= static_cast<double>(tensor.shape.back());
      if (tensor.values > kMostValues)
        return Broken(fmt::format("'{}' has more values than any tensor", tensor.name));
    }
    const auto type = static_cast<uint32_t>(reader.Number(4));
    const uint64_t offset = reader.Number(8);
    if (reader.ended()) return more();
    const BlockType* block = FindType(type);
    if (block == nullptr)
      return Broken(fmt::format("'{}' has type {}, which is not known", tensor.name, type));
    tensor.type = block->name;
    tensor.bytes = tensor.values / block->values * block->bytes;
    if (static_cast<double>(offset) + tensor.bytes > static_cast<double>(file_bytes))
      return Broken(fmt::format("'{}' lies outside the file, which is cut off", tensor.name));
    header.table.tensors.push_back(std::move(tensor));
  }

  const auto architecture = values.find("general.architecture");
  if (architecture == values.end() || architecture->second.text.empty())
    return Broken("general.architecture is missing");
  const std::string prefix = architecture->second.text + ".";
  std::vector<std::string> mistakes;
  const auto find = [&](const std::string& key) -> const Value* {
    const auto found = values.find(prefix + key);
    return found == values.end() ? nullptr : &found->second;
  };
  const auto number = [&](const std::string& key, int otherwise) {
    const Value* value = find(key);
    if (value == nullptr || !value->number) return otherwise;
    if (!(*value->number >= 0 && *value->number <= 1 << 28)) {
      mistakes.push_back(fmt::format("{}{} is {}", prefix, key, *value->number));
      return otherwise;
    }
    return static_cast<int>(*value->number);
  };
  SizedModel& sized = header.model;
  sized.source = "GGUF header";
  CatalogModel& model = sized.model;
  model.name = name;
  model.layers = model.full_attention_layers = number("block_count", 0);
  model.hidden = number("embedding_length", 0);
  model.heads = number("attention.head_count", 0);
  model.kv_heads = number("attention.head_count_kv", model.heads);
  if (const Value* per_layer = find("attention.head_count_kv");
      per_layer != nullptr && !per_layer->numbers.empty()) {
    // Hybrids give the count of each layer, 0 where there is no attention.
    const auto& counts = per_layer->numbers;
    const auto none = static_cast<int>(std::count(counts.begin(), counts.end(), 0.0));
    const double most = *std::max_element(counts.begin(), counts.end());
    if (most >= 0 && most <= 1 << 20) model.kv_heads = static_cast<int>(most);
    model.stateless_layers = std::min(none, model.layers);
  }
  model.head_dim = number("attention.key_length", model.heads > 0 ? model.hidden / model.heads : 0);
  model.intermediate = number("feed_forward_length", 4 * model.hidden);
  model.max_position = number("context_length", 0);
  model.experts = number("expert_count", 0);
  model.experts_per_token = std::min(number("expert_used_count", 0), model.experts);
  model.expert_intermediate =
      number("expert_feed_forward_length", model.experts > 0 ? model.intermediate : 0);
  model.shared_experts = number("expert_shared_count", 0);
  model.dense_layers = std::min(number("leading_dense_block_count", 0), model.layers);
  model.kv_lora_rank = number("attention.kv_lora_rank", 0);
  model.sliding_window = number("attention.sliding_window", 0);
  model.vocab = number("vocab_size", 0);
  if (model.layers < 1 || model.layers > 10000)
    mistakes.push_back(prefix + "block_count is missing or wrong");
  if (model.hidden < 1) mistakes.push_back(prefix + "embedding_length is missing");
  if (model.heads < 1) mistakes.push_back(prefix + "attention.head_count is missing");
  if (!mistakes.empty())
    return Fail(ErrorCode::kInvalid, fmt::format("GGUF header: {}", fmt::join(mistakes, "; ")));
  if (model.sliding_window > 0) {
    const std::string& type = architecture->second.text;
    model.full_attention_layers = type == "gemma3"                        ? model.layers / 6
                                  : type == "gemma2" || type == "gpt-oss" ? model.layers / 2
                                  : type == "cohere2" || type == "llama4" ? model.layers / 4
                                                                          : 0;
    if (const Value* pattern = find("attention.sliding_window_pattern");
        pattern != nullptr && !pattern->numbers.empty()) {
      model.full_attention_layers =
          static_cast<int>(std::count(pattern->numbers.begin(), pattern->numbers.end(), 0.0));
    }
  }
  if (model.kv_lora_rank > 0) {
    model.qk_rope_head_dim = number("rope.dimension_count", 64);
    model.qk_nope_head_dim = std::max(0, model.head_dim - model.qk_rope_head_dim);
    model.v_head_dim = number("attention.value_length", 128);
    model.q_lora_rank = number("attention.q_lora_rank", 0);
    model.mla_kv_dim = model.kv_lora_rank + model.qk_rope_head_dim;
  }
  bool head = false;
  for (const TensorInfo& tensor : header.table.tensors) {
    head = head || tensor.name == "output.weight";
    if (tensor.name == "token_embd.weight" && tensor.shape.size() == 2 && tensor.shape[1] < 1 << 28)
      model.vocab = static_cast<int>(tensor.shape[1]);
  }
  model.tied_embeddings = !head;
  model.embedding_parameters = static_cast<double>(model.vocab) * model.hidden * (head ? 2 : 1);
  if (model.experts > 0) {
    model.expert_parameters = 3.0 * (model.layers - model.dense_layers) * model.experts *
                              model.hidden * model.expert_intermediate;
  }
  model.parameters = header.table.values();
  model.active_parameters = model.experts > 0
                                ? std::min(model.parameters, ImpliedActiveParameters(model))
                                : model.parameters;
  const auto file_type = values.find("general.file_type");
  model.dtype =
      PrecisionOf(header.table.main_type(), file_type != values.end() && file_type->second.number &&
                                                    *file_type->second.number >= 0 &&
                                                    *file_type->second.number < 1000
                                                ? static_cast<int>(*file_type->second.number)
                                                : -1);
  sized.exact_weights = Bytes{static_cast<uint64_t>(header.table.bytes())};
  return header;
}

}  // namespace tranche
