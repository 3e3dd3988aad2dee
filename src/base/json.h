#pragma once

#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/json_fwd.h"
#include "base/result.h"

namespace tranche {

// Parses one JSON document of at most 64 MiB and 64 levels; anything else is kInvalid with the byte
// where it broke. This is the only place where the library's exceptions are caught.
Result<Json> ParseJson(std::string_view text);

// Indented by two, ends with a newline. Invalid UTF-8 (a process may have any name) becomes U+FFFD.
std::string PrintJson(const Json& json);
// One line, no newline at the end.
std::string PrintJsonLine(const Json& json);

// Reads the members of one object, collecting what is wrong instead of throwing. `where` names the
// object in messages ("machine.gpus[0]"). After the last read, `status()` is the first mistake, or
// OK.
class JsonReader {
 public:
  JsonReader(const Json& json, std::string where);

  // Each returns the member, or a zero value after recording that it is missing or of the wrong
  // type.
  std::string String(const char* key);
  int64_t Int(const char* key);
  uint64_t Unsigned(const char* key);
  double Number(const char* key);
  bool Bool(const char* key);
  // An empty array or object stands for a missing one.
  const Json& Array(const char* key);
  const Json& Object(const char* key);
  // All of an array, up to the first that is no string.
  std::vector<std::string> Strings(const char* key);

  bool Has(const char* key) const;
  const std::string& where() const { return where_; }
  // Notes a mistake found by the caller, or one of a nested reader.
  void Add(const Status& status);
  Status status() const { return status_; }

 private:
  const Json* Find(const char* key, const char* type, bool (Json::*is)() const noexcept);

  const Json* json_;
  std::string where_;
  Status status_;
};

}  // namespace tranche
