#include "face/http/target.h"

#include <algorithm>
#include <optional>

namespace tranche {
namespace {

int HexValue(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

std::optional<std::string> Decoded(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    char c = text[i];
    if (c == '%') {
      if (i + 2 >= text.size()) return std::nullopt;
      const int high = HexValue(text[i + 1]);
      const int low = HexValue(text[i + 2]);
      if (high < 0 || low < 0) return std::nullopt;
      c = static_cast<char>(high * 16 + low);
      i += 2;
    }
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7F) return std::nullopt;
    out += c;
  }
  return out;
}

std::vector<std::string_view> Split(std::string_view text, char by) {
  std::vector<std::string_view> parts;
  for (size_t start = 0; start <= text.size();) {
    const size_t end = std::min(text.find(by, start), text.size());
    parts.push_back(text.substr(start, end - start));
    start = end + 1;
  }
  return parts;
}

}  // namespace

Result<Target> ParseTarget(std::string_view target) {
  const auto broken = [] { return Fail(ErrorCode::kInvalid, "the request's target is malformed"); };
  if (target.empty() || target[0] != '/') return broken();
  const size_t question = target.find('?');
  Target out;
  for (const std::string_view part :
       Split(target.substr(1, question == target.npos ? target.npos : question - 1), '/')) {
    auto segment = Decoded(part);
    if (!segment) return broken();
    out.segments.push_back(std::move(*segment));
  }
  if (question == target.npos) return out;
  for (const std::string_view part : Split(target.substr(question + 1), '&')) {
    const size_t equals = std::min(part.find('='), part.size());
    auto name = Decoded(part.substr(0, equals));
    auto value = Decoded(part.substr(std::min(equals + 1, part.size())));
    if (!name || !value) return broken();
    if (!name->empty()) out.query[*name] = *value;
  }
  return out;
}

std::optional<std::map<std::string, std::string>> MatchPath(
    std::string_view pattern, const std::vector<std::string>& segments) {
  const auto parts = Split(pattern.substr(1), '/');
  if (parts.size() != segments.size()) return std::nullopt;
  std::map<std::string, std::string> values;
  for (size_t i = 0; i < parts.size(); ++i) {
    if (!parts[i].empty() && parts[i].front() == '{') {
      if (segments[i].empty()) return std::nullopt;
      values[std::string(parts[i].substr(1, parts[i].size() - 2))] = segments[i];
    } else if (parts[i] != segments[i]) {
      return std::nullopt;
    }
  }
  return values;
}

}  // namespace tranche
