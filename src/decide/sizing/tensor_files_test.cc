#include "decide/sizing/tensor_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "decide/sizing/shape.h"

namespace tranche {
namespace {

using testing::HasSubstr;

std::string LittleEndian(uint64_t value, size_t width) {
  std::string bytes;
  for (size_t i = 0; i < width; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

const char kHeader[] = R"({"__metadata__":{"format":"pt"},
  "model.embed_tokens.weight":{"dtype":"BF16","shape":[1000,256],"data_offsets":[0,512000]},
  "model.layers.0.self_attn.q_proj.weight":{"dtype":"BF16","shape":[256,256],"data_offsets":[512000,643072]},
  "model.layers.0.self_attn.k_proj.weight":{"dtype":"BF16","shape":[128,256],"data_offsets":[643072,708608]},
  "model.layers.1.mlp.gate_proj.weight":{"dtype":"BF16","shape":[1024,256],"data_offsets":[708608,1232896]}})";
constexpr uint64_t kData = 1232896;

TEST(Safetensors, HeaderIsRead) {
  const std::string header = kHeader;
  const auto table = ParseSafetensorsHeader(header, 8 + header.size() + kData);
  ASSERT_TRUE(table) << table.error().message;
  EXPECT_EQ(table->tensors.size(), 4u);
  EXPECT_EQ(table->bytes(), kData);
  EXPECT_EQ(table->main_type(), "BF16");
  const auto model = ModelFromTensors(*table, "m");
  ASSERT_TRUE(model) << model.error().message;
  EXPECT_EQ(model->model.layers, 2);
  EXPECT_EQ(model->model.vocab, 1000);
  EXPECT_EQ(model->model.heads, 2);
  EXPECT_EQ(model->model.kv_heads, 1);
  EXPECT_TRUE(model->model.tied_embeddings);
}

TEST(Safetensors, SizeOfTheHeaderIsCheckedAgainstTheFile) {
  EXPECT_EQ(*SafetensorsHeaderBytes(LittleEndian(100, 8), 1000), 100u);
  EXPECT_FALSE(SafetensorsHeaderBytes(LittleEndian(993, 8), 1000));
  EXPECT_FALSE(SafetensorsHeaderBytes(LittleEndian(~uint64_t{0}, 8), 1000));
  EXPECT_FALSE(SafetensorsHeaderBytes(LittleEndian(uint64_t{80} << 20, 8), uint64_t{100} << 20));
  EXPECT_FALSE(SafetensorsHeaderBytes("abc", 1000));
  EXPECT_FALSE(SafetensorsHeaderBytes("", 0));
}

TEST(Safetensors, HostileHeadersAreRefused) {
  const auto refused = [](const std::string& header, uint64_t data) {
    const auto table = ParseSafetensorsHeader(header, 8 + header.size() + data);
    return !table && table.error().code == ErrorCode::kInvalid;
  };
  // Cut off: the tensors lie outside the file.
  EXPECT_TRUE(refused(kHeader, kData - 1));
  EXPECT_TRUE(refused("{}", 0));
  EXPECT_TRUE(refused("[]", 0));
  EXPECT_TRUE(refused(std::string("{\"a\":\0}", 7), 0));
  EXPECT_TRUE(refused(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[4,0]}})", 4));
  EXPECT_TRUE(refused(R"({"a":{"dtype":"F16","shape":[-2],"data_offsets":[0,4]}})", 4));
  EXPECT_TRUE(refused(R"({"a":{"dtype":"F16","shape":[3],"data_offsets":[0,4]}})", 4));
  EXPECT_TRUE(
      refused(R"({"a":{"dtype":"F16","shape":[18446744073709551615,2],"data_offsets":[0,4]}})", 4));
  EXPECT_TRUE(
      refused(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,18446744073709551615]}})", 4));
  EXPECT_TRUE(refused(R"({"a":{"dtype":7,"shape":[2],"data_offsets":[0,4]}})", 4));
  // Two tensors that share the same bytes would count them twice.
  EXPECT_TRUE(refused(R"({"a":{"dtype":"F16","shape":[2],"data_offsets":[0,4]},
                          "b":{"dtype":"F16","shape":[2],"data_offsets":[0,4]}})",
                      4));
}

TEST(Safetensors, IndexNamesFilesBesideIt) {
  const auto index = ParseSafetensorsIndex(
      R"({"metadata":{"total_size":16060522496},"weight_map":{"a":"x-1.safetensors","b":"x-2.safetensors","c":"x-1.safetensors"}})");
  ASSERT_TRUE(index);
  EXPECT_EQ(index->files.size(), 2u);
  EXPECT_EQ(index->total_bytes, 16060522496.0);
  EXPECT_FALSE(ParseSafetensorsIndex(R"({"weight_map":{"a":"../../secret"}})"));
  EXPECT_FALSE(ParseSafetensorsIndex(R"({"weight_map":7})"));
}

class GgufWriter {
 public:
  GgufWriter& Text(const std::string& key, const std::string& value) {
    pairs_ += Sized(key) + LittleEndian(8, 4) + Sized(value);
    ++count_;
    return *this;
  }
  GgufWriter& Number(const std::string& key, uint32_t value) {
    pairs_ += Sized(key) + LittleEndian(4, 4) + LittleEndian(value, 4);
    ++count_;
    return *this;
  }
  GgufWriter& Words(const std::string& key, int items) {
    pairs_ += Sized(key) + LittleEndian(9, 4) + LittleEndian(8, 4) +
              LittleEndian(static_cast<uint64_t>(items), 8);
    for (int i = 0; i < items; ++i) pairs_ += Sized("word");
    ++count_;
    return *this;
  }
  GgufWriter& Tensor(const std::string& name, std::vector<uint64_t> shape, uint32_t type) {
    tensors_ += Sized(name) + LittleEndian(shape.size(), 4);
    for (const uint64_t size : shape) tensors_ += LittleEndian(size, 8);
    tensors_ += LittleEndian(type, 4) + LittleEndian(0, 8);
    ++tensor_count_;
    return *this;
  }
  std::string Done() const {
    return "GGUF" + LittleEndian(3, 4) + LittleEndian(tensor_count_, 8) + LittleEndian(count_, 8) +
           pairs_ + tensors_;
  }

 private:
  static std::string Sized(const std::string& text) { return LittleEndian(text.size(), 8) + text; }
  std::string pairs_, tensors_;
  uint64_t count_ = 0, tensor_count_ = 0;
};

GgufWriter SmallLlama() {
  GgufWriter writer;
  writer.Text("general.architecture", "llama")
      .Number("general.file_type", 15)
      .Number("llama.block_count", 32)
      .Number("llama.embedding_length", 4096)
      .Number("llama.attention.head_count", 32)
      .Number("llama.attention.head_count_kv", 8)
      .Number("llama.feed_forward_length", 14336)
      .Number("llama.context_length", 131072)
      .Words("tokenizer.ggml.tokens", 1000)
      .Tensor("token_embd.weight", {4096, 128256}, 12)
      .Tensor("output.weight", {4096, 128256}, 14)
      .Tensor("blk.0.ffn_down.weight", {14336, 4096}, 14);
  return writer;
}

TEST(Gguf, HeaderIsRead) {
  const auto header = ParseGgufHeader(SmallLlama().Done(), uint64_t{5} << 30, "m");
  ASSERT_TRUE(header) << header.error().message;
  const CatalogModel& model = header->model.model;
  EXPECT_EQ(model.layers, 32);
  EXPECT_EQ(model.vocab, 128256);
  EXPECT_EQ(model.dtype, "q4_k_m");
  EXPECT_FALSE(model.tied_embeddings);
  EXPECT_DOUBLE_EQ(KvBytesPerToken(model, 2, 1), 131072);
  const double values = 4096.0 * 128256, down = 14336.0 * 4096;
  EXPECT_DOUBLE_EQ(header->table.bytes(), values / 256 * 144 + (values + down) / 256 * 210);
}

// Where the text ends tells nothing but to read on, at every byte of it.
TEST(Gguf, ASplitHeaderAsksForMore) {
  const std::string whole = SmallLlama().Done();
  for (size_t size = 4; size < whole.size(); size += 97) {
    const auto header = ParseGgufHeader(whole.substr(0, size), uint64_t{5} << 30, "m");
    ASSERT_FALSE(header) << size;
    EXPECT_EQ(header.error().code, ErrorCode::kPartial) << size;
    EXPECT_EQ(ParseGgufHeader(whole.substr(0, size), size, "m").error().code, ErrorCode::kInvalid);
  }
}

TEST(Gguf, HostileHeadersAreRefused) {
  const auto refused = [](const std::string& bytes) {
    const auto header = ParseGgufHeader(bytes, uint64_t{5} << 30, "m");
    return !header && header.error().code == ErrorCode::kInvalid;
  };
  const std::string whole = SmallLlama().Done();
  EXPECT_TRUE(refused("GGML" + whole.substr(4)));
  EXPECT_TRUE(refused("GGUF" + LittleEndian(9, 4) + whole.substr(8)));
  EXPECT_TRUE(
      refused("GGUF" + LittleEndian(3, 4) + LittleEndian(~uint64_t{0}, 8) + LittleEndian(1, 8)));
  EXPECT_TRUE(
      refused("GGUF" + LittleEndian(3, 4) + LittleEndian(1, 8) + LittleEndian(~uint64_t{0}, 8)));
  EXPECT_TRUE(refused(GgufWriter().Text("general.architecture", "llama").Done()));
  EXPECT_TRUE(refused(GgufWriter().Tensor("a", {uint64_t{1} << 40, uint64_t{1} << 40}, 0).Done()));
  EXPECT_TRUE(refused(GgufWriter().Tensor("a", {4}, 4711).Done()));
  EXPECT_TRUE(refused(SmallLlama().Tensor("b", {uint64_t{1} << 34}, 0).Done()));  // beyond the file
  GgufWriter negative = SmallLlama();
  negative.Number("llama.block_count", 0);
  EXPECT_TRUE(refused(negative.Done()));
  // An array of a length that no file has.
  std::string array = "GGUF" + LittleEndian(3, 4) + LittleEndian(0, 8) + LittleEndian(1, 8) +
                      LittleEndian(1, 8) + "a" + LittleEndian(9, 4) + LittleEndian(8, 4) +
                      LittleEndian(~uint64_t{0}, 8);
  EXPECT_TRUE(refused(array));
}

// No byte of a header, changed to anything, does harm.
TEST(Gguf, EveryFlippedByteIsAnswered) {
  std::string bytes = GgufWriter()
                          .Text("general.architecture", "llama")
                          .Number("llama.block_count", 2)
                          .Number("llama.embedding_length", 64)
                          .Number("llama.attention.head_count", 2)
                          .Tensor("token_embd.weight", {64, 100}, 12)
                          .Done();
  for (size_t i = 0; i < bytes.size(); ++i) {
    for (const int flip : {0x01, 0x80, 0xff}) {
      std::string broken = bytes;
      broken[i] = static_cast<char>(broken[i] ^ flip);
      const auto header = ParseGgufHeader(broken, 1 << 20, "m");
      const double size = header ? header->table.bytes() : 0;
      EXPECT_LE(size, 1 << 20);
    }
  }
}

}  // namespace
}  // namespace tranche
