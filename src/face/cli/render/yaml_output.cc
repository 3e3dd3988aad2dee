#include <cctype>
#include <string>

#include "base/json.h"
#include "face/cli/render/answer.h"

namespace tranche {
namespace {

// Plain only where no YAML reader, old or new, could see anything but a string; quoted otherwise.
bool IsPlain(const std::string& text) {
  if (text.empty() || !std::isalpha(static_cast<unsigned char>(text[0]))) return false;
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    if (!std::isalnum(u) && c != '_' && c != '-' && c != '.' && c != '/' && c != '+') return false;
  }
  for (const char* word :
       {"true", "false", "yes", "no", "on", "off", "null", "y", "n", "nan", "inf"}) {
    std::string lower;
    for (const char c : text)
      lower += static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    if (lower == word) return false;
  }
  return true;
}

// JSON's quoted strings are YAML's.
std::string Scalar(const Json& json) {
  if (json.is_string() && IsPlain(json.get_ref<const std::string&>()))
    return json.get<std::string>();
  if (json.is_array()) return "[]";
  if (json.is_object()) return "{}";
  return PrintJsonLine(json);
}

bool IsBlock(const Json& json) { return json.is_structured() && !json.empty(); }

void Emit(const Json& json, int indent, bool after_dash, std::string& out) {
  const std::string margin(static_cast<size_t>(indent), ' ');
  bool first = true;
  const auto start = [&] {
    if (!first || !after_dash) out += margin;
    first = false;
  };
  if (json.is_object()) {
    for (const auto& [key, value] : json.items()) {
      start();
      out += Scalar(Json(key)) + ":";
      if (IsBlock(value)) {
        out += "\n";
        Emit(value, indent + 2, false, out);
      } else {
        out += " " + Scalar(value) + "\n";
      }
    }
  } else {
    for (const Json& value : json) {
      start();
      out += "- ";
      if (IsBlock(value))
        Emit(value, indent + 2, true, out);
      else
        out += Scalar(value) + "\n";
    }
  }
}

}  // namespace

std::string JsonToYaml(const Json& json) {
  if (!IsBlock(json)) return Scalar(json) + "\n";
  std::string out;
  Emit(json, 0, false, out);
  return out;
}

}  // namespace tranche
