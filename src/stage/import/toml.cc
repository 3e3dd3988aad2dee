// The one file that sees toml11 and catches its exceptions.
#include <fmt/format.h>

#include <algorithm>
#include <sstream>
#include <toml.hpp>

#include "stage/import/formats.h"

namespace tranche::importing {
namespace {

constexpr size_t kLargest = size_t{1} << 20;
// The library descends once for every bracket.
constexpr int kDeepest = 40;

void PlaceAt(const toml::value& value, YamlNode* node) {
  try {
    const toml::source_location place = value.location();
    node->line = static_cast<int>(place.line());
    node->column = static_cast<int>(place.column());
  } catch (const std::exception&) {
    // A table that is only implied by another's name stands nowhere.
  }
}

YamlNode NodeOf(const toml::value& value) {
  YamlNode node;
  PlaceAt(value, &node);
  if (value.is_table()) {
    node.kind = YamlNode::Kind::kMap;
    for (const auto& [name, member] : value.as_table()) {
      YamlMember one;
      one.value = NodeOf(member);
      one.key.kind = YamlNode::Kind::kScalar;
      one.key.scalar = name;
      one.key.line = one.value.line;
      one.key.column = one.value.column;
      node.members.push_back(std::move(one));
    }
    std::stable_sort(
        node.members.begin(), node.members.end(), [](const YamlMember& a, const YamlMember& b) {
          return std::pair(a.value.line, a.key.scalar) < std::pair(b.value.line, b.key.scalar);
        });
  } else if (value.is_array()) {
    node.kind = YamlNode::Kind::kSequence;
    for (const toml::value& item : value.as_array()) node.items.push_back(NodeOf(item));
  } else {
    node.kind = YamlNode::Kind::kScalar;
    node.quoted = value.is_string();
    if (value.is_string()) {
      node.scalar = value.as_string().str;
    } else if (value.is_boolean()) {
      node.scalar = value.as_boolean() ? "true" : "false";
    } else if (value.is_integer()) {
      node.scalar = fmt::format("{}", value.as_integer());
    } else if (value.is_floating()) {
      node.scalar = fmt::format("{}", value.as_floating());
    } else {
      std::ostringstream text;
      text << value;
      node.scalar = text.str();
    }
  }
  return node;
}

// How deep brackets are nested, whatever they are in: more than there can be is refused.
int DepthOf(std::string_view text) {
  int depth = 0, deepest = 0;
  for (const char c : text) {
    if (c == '[' || c == '{') deepest = std::max(deepest, ++depth);
    if ((c == ']' || c == '}') && depth > 0) --depth;
  }
  return deepest;
}

// Every dot of a key opens a table too.
bool HasDeepKey(std::string_view text) {
  int dots = 0;
  for (const char c : text) {
    dots = c == '\n' ? 0 : dots + (c == '.');
    if (dots > 200) return true;
  }
  return false;
}

// The first line of the library's message, without its mark.
std::string FirstLine(std::string text) {
  text = text.substr(0, text.find('\n'));
  for (const char* prefix : {"[error] ", "toml::parse_table: ", "toml::parse_key_value_pair: ",
                             "toml::parse_value: ", "toml::detail::", "toml::"}) {
    const std::string word = prefix;
    const size_t at = text.find(word);
    if (at != std::string::npos) text.erase(at, word.size());
  }
  return text;
}

}  // namespace

tl::expected<YamlNode, YamlError> ParseToml(std::string_view text) {
  if (text.size() > kLargest) {
    return tl::unexpected(YamlError{"the file is larger than 1 MiB", "is it the right file?"});
  }
  if (text.find('\0') != std::string_view::npos) {
    return tl::unexpected(YamlError{"not a text file", "is it the right file?"});
  }
  if (DepthOf(text) > kDeepest || HasDeepKey(text)) {
    return tl::unexpected(
        YamlError{fmt::format("nested deeper than {} levels", kDeepest), "is it the right file?"});
  }
  try {
    std::istringstream stream{std::string(text)};
    YamlNode root = NodeOf(toml::parse(stream, "file"));
    root.kind = YamlNode::Kind::kMap;
    if (root.line == 0) root.line = root.column = 1;
    return root;
  } catch (const toml::exception& error) {
    return tl::unexpected(YamlError{"not TOML: " + FirstLine(error.what()), "",
                                    static_cast<int>(error.location().line()),
                                    static_cast<int>(error.location().column())});
  } catch (const std::exception& error) {
    return tl::unexpected(YamlError{"not TOML: " + FirstLine(error.what()), ""});
  }
}

}  // namespace tranche::importing
