#include "stage/import/reading.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <tuple>

#include "base/suggest.h"

namespace tranche::importing {
namespace {

constexpr size_t kMostShown = 100;
constexpr size_t kLongestQuote = 60;

std::string Printable(std::string text) {
  for (char& c : text) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) c = '?';
  }
  return text;
}

}  // namespace

std::string Quoted(std::string_view text) {
  std::string shown(text.substr(0, kLongestQuote));
  if (text.size() > kLongestQuote) {
    // Not in the middle of a character.
    while (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0xc0) == 0x80) {
      shown.pop_back();
    }
    if (!shown.empty() && (static_cast<unsigned char>(shown.back()) & 0x80) != 0) shown.pop_back();
    shown += "...";
  }
  return "'" + Printable(std::move(shown)) + "'";
}

std::string Describe(const YamlNode& node) {
  switch (node.kind) {
    case YamlNode::Kind::kNull:
      return "nothing";
    case YamlNode::Kind::kScalar:
      return Quoted(node.scalar);
    case YamlNode::Kind::kSequence:
      return "a list";
    case YamlNode::Kind::kMap:
      return "a map";
  }
  return "";
}

std::string LabelOf(std::string_view text) {
  std::string label;
  for (const char c : text) {
    const bool upper = c >= 'A' && c <= 'Z';
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain || upper) {
      label += upper ? static_cast<char>(c - 'A' + 'a') : c;
    } else if (!label.empty() && label.back() != '-') {
      label += '-';
    }
  }
  label = label.substr(0, 63);
  while (!label.empty() && label.back() == '-') label.pop_back();
  return label;
}

std::optional<int64_t> Quantity(std::string_view text) {
  int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc()) return std::nullopt;
  const std::string_view unit = text.substr(static_cast<size_t>(end - text.data()));
  static const std::vector<std::pair<std::string_view, int64_t>> kUnits = {
      {"", 1},
      {"k", 1000},
      {"M", 1000000},
      {"G", 1000000000},
      {"T", 1000000000000},
      {"Ki", int64_t{1} << 10},
      {"Mi", int64_t{1} << 20},
      {"Gi", int64_t{1} << 30},
      {"Ti", int64_t{1} << 40}};
  for (const auto& [name, factor] : kUnits) {
    if (unit != name) continue;
    int64_t product = 0;
    if (__builtin_mul_overflow(number, factor, &product)) return std::nullopt;
    return product;
  }
  return std::nullopt;
}

void Reading::Add(const YamlNode& at, std::string message, std::string hint) {
  AddAt(at.line, at.column, std::move(message), std::move(hint));
}

void Reading::AddAt(int line, int column, std::string message, std::string hint) {
  ImportMistake mistake{line, column, Printable(std::move(message)), Printable(std::move(hint))};
  if (std::find(mistakes_.begin(), mistakes_.end(), mistake) == mistakes_.end()) {
    mistakes_.push_back(std::move(mistake));
  }
}

void Reading::Note(const YamlNode& at, std::string what, std::string why) {
  NoteAt(at.line, std::move(what), std::move(why));
}

void Reading::NoteAt(int line, std::string what, std::string why) {
  ImportNote note{line, Printable(std::move(what)), Printable(std::move(why))};
  if (std::find(notes_.begin(), notes_.end(), note) == notes_.end()) {
    notes_.push_back(std::move(note));
  }
}

std::vector<ImportMistake> Reading::TakeMistakes() {
  std::stable_sort(mistakes_.begin(), mistakes_.end(),
                   [](const ImportMistake& a, const ImportMistake& b) {
                     return std::tie(a.line, a.column) < std::tie(b.line, b.column);
                   });
  if (mistakes_.size() > kMostShown) {
    const size_t more = mistakes_.size() - kMostShown;
    mistakes_.resize(kMostShown);
    mistakes_.push_back({mistakes_.back().line, mistakes_.back().column,
                         fmt::format("and {} more mistakes from here on", more), ""});
  }
  return std::move(mistakes_);
}

std::vector<ImportNote> Reading::TakeNotes() {
  std::stable_sort(notes_.begin(), notes_.end(),
                   [](const ImportNote& a, const ImportNote& b) { return a.line < b.line; });
  return std::move(notes_);
}

const YamlNode* Reading::MapAt(const YamlNode& parent, const std::string& key,
                               const std::string& path) {
  const YamlNode* node = parent.Find(key);
  if (node == nullptr || node->IsNull()) return nullptr;
  if (node->IsMap()) return node;
  Add(*node, fmt::format("{} is {}, not a map", path, Describe(*node)));
  return nullptr;
}

const YamlNode* Reading::ListAt(const YamlNode& parent, const std::string& key,
                                const std::string& path) {
  const YamlNode* node = parent.Find(key);
  if (node == nullptr || node->IsNull()) return nullptr;
  if (node->IsSequence()) return node;
  Add(*node, fmt::format("{} is {}, not a list", path, Describe(*node)));
  return nullptr;
}

std::optional<int64_t> Reading::Integer(const YamlNode& node, const std::string& path) {
  if (node.IsScalar() && !node.quoted) {
    int64_t number = 0;
    const char* const end = node.scalar.data() + node.scalar.size();
    const auto parsed = std::from_chars(node.scalar.data(), end, number);
    if (parsed.ec == std::errc() && parsed.ptr == end) return number;
  }
  Add(node, fmt::format("{} is {}, not a whole number", path, Describe(node)),
      node.quoted ? "remove the quotes" : "");
  return std::nullopt;
}

std::optional<bool> Reading::Bool(const YamlNode& node, const std::string& path) {
  if (node.IsScalar() && !node.quoted && (node.scalar == "true" || node.scalar == "false")) {
    return node.scalar == "true";
  }
  Add(node, fmt::format("{} is {}, not true or false", path, Describe(node)));
  return std::nullopt;
}

std::optional<std::string> Reading::Text(const YamlNode& node, const std::string& path) {
  if (node.IsScalar()) return node.scalar;
  Add(node, fmt::format("{} is {}, not a text", path, Describe(node)));
  return std::nullopt;
}

std::optional<std::string> Reading::Word(const YamlNode& node, const std::string& path,
                                         const std::vector<std::string>& words) {
  if (node.IsScalar() && std::find(words.begin(), words.end(), node.scalar) != words.end()) {
    return node.scalar;
  }
  Add(node, fmt::format("{} is {}, not one of {}", path, Describe(node), fmt::join(words, ", ")),
      node.IsScalar() ? DidYouMean(node.scalar, words) : "");
  return std::nullopt;
}

void Reading::CheckKeys(const YamlNode& map, const std::string& path,
                        const std::vector<std::string>& known, bool note) {
  for (const YamlMember& member : map.members) {
    if (std::find(known.begin(), known.end(), member.key.scalar) != known.end()) continue;
    const std::string full = path.empty() ? member.key.scalar : path + "." + member.key.scalar;
    const std::string meant = DidYouMean(member.key.scalar, known);
    if (note) {
      Note(member.key, full, "no such key is known" + (meant.empty() ? "" : "; " + meant));
    } else {
      Add(member.key,
          fmt::format("unknown key {}{}", Quoted(member.key.scalar),
                      path.empty() ? "" : " in " + path),
          meant.empty() ? fmt::format("known: {}", fmt::join(known, ", ")) : meant);
    }
  }
}

}  // namespace tranche::importing
