#include "stage/request/shape.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche {
namespace {

bool IsDigit(char c) { return c >= '0' && c <= '9'; }

// Moves `i` over digits and says how many there were.
size_t SkipDigits(const std::string& text, size_t* i) {
  const size_t start = *i;
  while (*i < text.size() && IsDigit(text[*i])) ++*i;
  return *i - start;
}

bool IsInteger(const std::string& text) {
  size_t i = text.front() == '-' || text.front() == '+' ? 1 : 0;
  return SkipDigits(text, &i) > 0 && i == text.size();
}

// Includes .inf and .nan, which YAML has and JSON has not.
bool IsNumber(const std::string& text) {
  const size_t sign = text.front() == '-' || text.front() == '+' ? 1 : 0;
  for (const char* word : {".inf", ".Inf", ".INF"}) {
    if (text.compare(sign, std::string::npos, word) == 0) return true;
  }
  for (const char* word : {".nan", ".NaN", ".NAN"}) {
    if (text == word) return true;
  }
  size_t i = sign;
  size_t digits = SkipDigits(text, &i);
  if (i < text.size() && text[i] == '.') {
    ++i;
    digits += SkipDigits(text, &i);
  }
  if (digits == 0) return false;
  if (i < text.size() && (text[i] == 'e' || text[i] == 'E')) {
    ++i;
    if (i < text.size() && (text[i] == '-' || text[i] == '+')) ++i;
    if (SkipDigits(text, &i) == 0) return false;
  }
  return i == text.size();
}

}  // namespace

ScalarKind ScalarKindOf(const YamlNode& node) {
  if (node.IsNull()) return ScalarKind::kNull;
  if (node.quoted || node.scalar.empty()) return ScalarKind::kText;
  for (const char* word : {"true", "True", "TRUE", "false", "False", "FALSE"}) {
    if (node.scalar == word) return ScalarKind::kBool;
  }
  if (IsInteger(node.scalar)) return ScalarKind::kInteger;
  return IsNumber(node.scalar) ? ScalarKind::kNumber : ScalarKind::kText;
}

bool HasControls(const std::string& text) {
  for (size_t i = 0; i < text.size(); ++i) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x20 || c == 0x7f) return true;
    // C1 controls as UTF-8.
    if (c == 0xc2 && i + 1 < text.size() && static_cast<unsigned char>(text[i + 1]) < 0xa0)
      return true;
  }
  return false;
}

std::string Printable(const std::string& text) {
  std::string shown;
  for (size_t i = 0; i < text.size();) {
    // One character: a byte and the continuation bytes behind it.
    size_t next = i + 1;
    while (next < text.size() && (static_cast<unsigned char>(text[next]) & 0xc0) == 0x80) ++next;
    const std::string character = text.substr(i, next - i);
    shown += character == "\n" ? "\\n" : HasControls(character) ? "?" : character;
    i = next;
  }
  return shown;
}

std::string Quoted(const std::string& text) {
  constexpr size_t kLongest = 60;
  size_t end = std::min(text.size(), kLongest);
  // Not in the middle of a character.
  while (end < text.size() && end > 0 && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80)
    --end;
  return "'" + Printable(text.substr(0, end)) + (end < text.size() ? "...'" : "'");
}

std::string Describe(const YamlNode& node) {
  if (node.IsSequence()) return "a list";
  if (node.IsMap()) return "a map";
  switch (ScalarKindOf(node)) {
    case ScalarKind::kNull:
      return "nothing";
    case ScalarKind::kBool:
      return node.scalar;
    case ScalarKind::kInteger:
    case ScalarKind::kNumber:
      return "the number " + Quoted(node.scalar);
    case ScalarKind::kText:
      break;
  }
  return "the text " + Quoted(node.scalar);
}

}  // namespace tranche
