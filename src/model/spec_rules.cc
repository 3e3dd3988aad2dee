#include "model/spec_rules.h"

#include <algorithm>

namespace tranche {
namespace {

bool IsLower(char c) { return c >= 'a' && c <= 'z'; }
bool IsUpper(char c) { return c >= 'A' && c <= 'Z'; }
bool IsDigit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

bool IsLabel(std::string_view text) {
  if (text.empty() || text.size() > 63 || text.front() == '-' || text.back() == '-') return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return IsLower(c) || IsDigit(c) || c == '-'; });
}

bool IsRoute(std::string_view text) {
  if (text.empty() || text.size() > 200 || text.front() != '/') return false;
  if (text == "/") return true;
  std::string_view rest = text.substr(1);
  for (;;) {
    const size_t slash = rest.find('/');
    const std::string_view segment = rest.substr(0, slash);
    if (segment.empty() || segment == "." || segment == "..") return false;
    for (const char c : segment) {
      if (!IsLower(c) && !IsUpper(c) && !IsDigit(c) &&
          std::string_view("._~-").find(c) == std::string_view::npos) {
        return false;
      }
    }
    if (slash == std::string_view::npos) return true;
    rest = rest.substr(slash + 1);
  }
}

bool IsEnvName(std::string_view text) {
  if (text.empty() || IsDigit(text.front())) return false;
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return IsLower(c) || IsUpper(c) || IsDigit(c) || c == '_'; });
}

bool IsTimeZone(std::string_view text) {
  if (text.empty() || text.size() > 60 || text.front() == '/' || text.back() == '/') return false;
  char before = '/';
  for (const char c : text) {
    if (c == '/' && before == '/') return false;
    if (!IsLower(c) && !IsUpper(c) && !IsDigit(c) &&
        std::string_view("/_+-").find(c) == std::string_view::npos) {
      return false;
    }
    before = c;
  }
  return true;
}

bool IsGpuUuid(std::string_view text) {
  if (text.substr(0, 4) != "GPU-" || text.size() < 8 || text.size() > 40) return false;
  return text.find_first_not_of("0123456789abcdefABCDEF-", 4) == std::string_view::npos;
}

bool IsCurrency(std::string_view text) {
  return text.size() == 3 && std::all_of(text.begin(), text.end(), IsUpper);
}

bool IsMigProfile(std::string_view text) {
  const auto digits = [&text](size_t most) {
    size_t count = 0;
    while (count < text.size() && count <= most && IsDigit(text[count])) ++count;
    const bool good = count > 0 && count <= most && text.front() != '0';
    text.remove_prefix(count);
    return good;
  };
  const auto word = [&text](std::string_view literal) {
    if (text.substr(0, literal.size()) != literal) return false;
    text.remove_prefix(literal.size());
    return true;
  };
  if (!digits(2) || !word("g.") || !digits(4) || !word("gb")) return false;
  return text.empty() || text == "+me" || text == "+me.all" || text == "+gfx" || text == "-me";
}

}  // namespace tranche
