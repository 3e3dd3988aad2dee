#include "base/json.h"

#include <fmt/format.h>

namespace tranche {
namespace {

constexpr size_t kLargestDocument = size_t{64} << 20;
constexpr int kDeepest = 64;

const Json& EmptyArray() {
  static const Json empty = Json::array();
  return empty;
}

const Json& EmptyObject() {
  static const Json empty = Json::object();
  return empty;
}

}  // namespace

Result<Json> ParseJson(std::string_view text) {
  if (text.size() > kLargestDocument) {
    return Fail(ErrorCode::kInvalid, "JSON document is larger than 64 MiB");
  }
  // The parser itself is iterative, but everything that walks its result recurses.
  int depth = 0;
  bool in_string = false;
  for (size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (in_string) {
      if (c == '\\')
        ++i;
      else if (c == '"')
        in_string = false;
    } else if (c == '"') {
      in_string = true;
    } else if (c == '{' || c == '[') {
      if (++depth > kDeepest) {
        return Fail(ErrorCode::kInvalid, fmt::format("JSON nests deeper than {} levels", kDeepest));
      }
    } else if (c == '}' || c == ']') {
      --depth;
    }
  }
  try {
    return Json::parse(text);
  } catch (const Json::parse_error& error) {
    return Fail(ErrorCode::kInvalid, fmt::format("not JSON: broken at byte {}", error.byte));
  } catch (const Json::exception& error) {
    return Fail(ErrorCode::kInvalid, fmt::format("not JSON: {}", error.what()));
  }
}

std::string PrintJson(const Json& json) {
  return json.dump(2, ' ', false, Json::error_handler_t::replace) + "\n";
}

std::string PrintJsonLine(const Json& json) {
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

JsonReader::JsonReader(const Json& json, std::string where)
    : json_(&json), where_(std::move(where)) {
  if (!json.is_object()) {
    status_ = Fail(ErrorCode::kInvalid, fmt::format("{} is not an object", where_));
    json_ = &EmptyObject();
  }
}

bool JsonReader::Has(const char* key) const {
  const auto member = json_->find(key);
  return member != json_->end() && !member->is_null();
}

void JsonReader::Add(const Status& status) {
  if (status_ && !status) status_ = status;
}

const Json* JsonReader::Find(const char* key, const char* type, bool (Json::*is)() const noexcept) {
  const auto member = json_->find(key);
  if (member != json_->end() && ((*member).*is)()) return &*member;
  Add(Fail(ErrorCode::kInvalid, member == json_->end()
                                    ? fmt::format("{}.{} is missing", where_, key)
                                    : fmt::format("{}.{} is not {}", where_, key, type)));
  return nullptr;
}

std::string JsonReader::String(const char* key) {
  const Json* member = Find(key, "a string", &Json::is_string);
  return member != nullptr ? member->get<std::string>() : "";
}

int64_t JsonReader::Int(const char* key) {
  const Json* member = Find(key, "an integer", &Json::is_number_integer);
  return member != nullptr ? member->get<int64_t>() : 0;
}

uint64_t JsonReader::Unsigned(const char* key) {
  // A document that was built rather than parsed holds small numbers as signed ones.
  const Json* member = Find(key, "a number from 0 up", &Json::is_number_integer);
  if (member == nullptr) return 0;
  if (member->is_number_unsigned() || member->get<int64_t>() >= 0) return member->get<uint64_t>();
  Add(Fail(ErrorCode::kInvalid, fmt::format("{}.{} is not a number from 0 up", where_, key)));
  return 0;
}

double JsonReader::Number(const char* key) {
  const Json* member = Find(key, "a number", &Json::is_number);
  return member != nullptr ? member->get<double>() : 0;
}

bool JsonReader::Bool(const char* key) {
  const Json* member = Find(key, "true or false", &Json::is_boolean);
  return member != nullptr && member->get<bool>();
}

const Json& JsonReader::Array(const char* key) {
  const Json* member = Find(key, "an array", &Json::is_array);
  return member != nullptr ? *member : EmptyArray();
}

const Json& JsonReader::Object(const char* key) {
  const Json* member = Find(key, "an object", &Json::is_object);
  return member != nullptr ? *member : EmptyObject();
}

std::vector<std::string> JsonReader::Strings(const char* key) {
  std::vector<std::string> strings;
  for (const Json& item : Array(key)) {
    if (!item.is_string()) {
      Add(Fail(ErrorCode::kInvalid, where_ + "." + key + " holds something that is not a string"));
      break;
    }
    strings.push_back(item.get<std::string>());
  }
  return strings;
}

}  // namespace tranche
