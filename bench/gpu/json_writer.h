#pragma once

#include <cstdint>
#include <cstdio>
#include <string>
#include <type_traits>
#include <vector>

namespace tranche::gpu_check {

// Writes one JSON document to a file, in order, with nothing but the standard library: gpu-check
// must build where only a compiler is. The caller opens and closes in pairs; keys are ASCII.
class JsonWriter {
 public:
  explicit JsonWriter(FILE* out) : out_(out) {}
  ~JsonWriter() { std::fputc('\n', out_); }
  JsonWriter(const JsonWriter&) = delete;
  JsonWriter& operator=(const JsonWriter&) = delete;

  void BeginObject(const char* key = nullptr) { Begin(key, '{'); }
  void EndObject() { End('}'); }
  void BeginArray(const char* key = nullptr) { Begin(key, '['); }
  void EndArray() { End(']'); }

  void Put(const char* key, const std::string& text) {
    Key(key);
    std::fputc('"', out_);
    for (const char c : text) {
      const auto byte = static_cast<unsigned char>(c);
      if (byte == '"' || byte == '\\') {
        std::fprintf(out_, "\\%c", c);
      } else if (byte < 0x20 || byte >= 0x7f) {
        std::fprintf(out_, "\\u%04x", byte);
      } else {
        std::fputc(c, out_);
      }
    }
    std::fputc('"', out_);
  }
  void Put(const char* key, const char* text) { Put(key, std::string(text)); }
  void Put(const char* key, bool value) {
    Key(key);
    std::fputs(value ? "true" : "false", out_);
  }
  // JSON has no infinities: what is not finite is null.
  void Put(const char* key, double value) {
    Key(key);
    if (value - value == 0) {
      std::fprintf(out_, "%.9g", value);
    } else {
      std::fputs("null", out_);
    }
  }
  template <typename Integer>
  requires std::is_integral_v<Integer>
  void Put(const char* key, Integer value) {
    Key(key);
    if constexpr (std::is_signed_v<Integer>) {
      std::fprintf(out_, "%lld", static_cast<long long>(value));
    } else {
      std::fprintf(out_, "%llu", static_cast<unsigned long long>(value));
    }
  }
  // A value that is JSON already.
  void PutJson(const char* key, const std::string& json) {
    Key(key);
    std::fputs(json.c_str(), out_);
  }
  template <typename Value>
  void Add(const Value& value) {
    Put(nullptr, value);
  }

 private:
  void Key(const char* key) {
    if (!filled_.empty()) {
      std::fputs(filled_.back() ? ",\n" : "\n", out_);
      filled_.back() = true;
      std::fprintf(out_, "%*s", static_cast<int>(2 * filled_.size()), "");
    }
    if (key != nullptr) std::fprintf(out_, "\"%s\": ", key);
  }
  void Begin(const char* key, char bracket) {
    Key(key);
    std::fputc(bracket, out_);
    filled_.push_back(false);
  }
  void End(char bracket) {
    const bool filled = filled_.back();
    filled_.pop_back();
    if (filled) std::fprintf(out_, "\n%*s", static_cast<int>(2 * filled_.size()), "");
    std::fputc(bracket, out_);
  }

  FILE* out_;
  std::vector<bool> filled_;  // of each open bracket: whether something is in it
};

}  // namespace tranche::gpu_check
