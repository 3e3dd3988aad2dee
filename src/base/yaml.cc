#include "base/yaml.h"

#include <fmt/format.h>
#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <map>
#include <sstream>
#include <unordered_set>

namespace tranche {
namespace {

constexpr const char* kNotClosed = "not YAML: a quoted text is not closed";

// A key between quotes, fit for a terminal.
std::string Shown(const std::string& key) {
  const bool odd =
      key.size() > 64 || std::any_of(key.begin(), key.end(), [](char c) {
        return static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e;
      });
  return odd ? "a key" : "'" + key + "'";
}

// The offset at which a line begins, or npos.
size_t LineStart(std::string_view text, int line) {
  size_t at = 0;
  for (int i = 1; i < line; ++i) {
    const size_t end = text.find('\n', at);
    if (end == std::string_view::npos) return end;
    at = end + 1;
  }
  return at;
}

// What the library's message means for the person who wrote the file.
std::string HintFor(const std::string& message, std::string_view text, int line) {
  const auto says = [&](std::string_view part) { return message.find(part) != std::string::npos; };
  const size_t start = LineStart(text, line);
  if (start != std::string_view::npos) {
    const std::string_view rest = text.substr(start);
    const std::string_view indent = rest.substr(0, rest.find_first_not_of(" \t"));
    if (indent.find('\t') != std::string_view::npos)
      return "indent with spaces; YAML takes no tabs";
  }
  if (says("sequence flow")) return "a [ that was opened before is not closed with ]";
  if (says("map flow")) return "a { that was opened before is not closed with }";
  if (says("anchor is not defined"))
    return "an alias *x stands for a value that was marked &x before it";
  if (says("illegal map value"))
    return "put text that holds ': ' between quotes, and check the indentation";
  if (says("illegal block") || says("not found")) {
    return "check the indentation: keys of one map, and items of one list, begin in one column";
  }
  return "";
}

// Whether the end of the file cuts off the quoted text that begins there. The library takes the
// rest of the file for such a text; it can only be the last scalar.
bool IsCutOff(std::string_view text, int line, int column) {
  const bool has_bom = text.substr(0, 3) == "\xef\xbb\xbf";
  size_t at = LineStart(text, line);
  if (at == std::string_view::npos) return false;
  at += static_cast<size_t>(column) - 1 + (has_bom && line == 1 ? 3 : 0);
  if (at >= text.size() || (text[at] != '"' && text[at] != '\'')) return false;
  const char quote = text[at];
  for (size_t i = at + 1; i < text.size(); ++i) {
    if (quote == '"' && text[i] == '\\') {
      ++i;
    } else if (text[i] == quote) {
      if (quote == '"' || i + 1 >= text.size() || text[i + 1] != quote) return false;
      ++i;  // two single quotes stand for one
    }
  }
  return true;
}

// Thrown from the event handler to stop the library's parser; never leaves this file.
struct Refused {
  YamlError error;
};

// Builds our tree from the library's events. Depth and size are checked before anything is kept, so
// the cost of a hostile file is bounded by the limits, not by what the file would expand to.
class TreeBuilder final : public YAML::EventHandler {
 public:
  TreeBuilder(const YamlLimits& limits, std::vector<YamlError>* duplicates)
      : limits_(limits), duplicates_(duplicates) {}

  YamlNode TakeRoot() { return std::move(root_); }
  // 0 when there was none.
  int last_scalar_line() const { return last_scalar_line_; }
  int last_scalar_column() const { return last_scalar_column_; }

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}

  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    Place(Make(YamlNode::Kind::kNull, mark), anchor);
  }

  void OnAlias(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    const auto found = anchors_.find(anchor);
    if (found == anchors_.end()) {
      Refuse(mark, "an alias stands for something that contains itself",
             "write the value out instead of the alias");
    }
    Count(mark, found->second.nodes);
    // A long text is one value, but a thousand copies of it are not.
    alias_bytes_ += found->second.bytes;
    if (alias_bytes_ > limits_.max_bytes) {
      Refuse(mark,
             fmt::format("the file's aliases stand for more than {} MiB", limits_.max_bytes >> 20),
             "write the values out instead of the aliases");
    }
    if (static_cast<int>(open_.size()) + found->second.depth > limits_.max_depth) TooDeep(mark);
    Attach(found->second.tree, found->second.nodes, found->second.bytes, found->second.depth);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // The library reports a plain scalar's tag as "?" and a quoted one's as "!".
    YamlNode node = Make(YamlNode::Kind::kScalar, mark);
    node.scalar = value;
    last_scalar_line_ = node.line;
    last_scalar_column_ = node.column;
    node.quoted = tag == "!" || tag == "tag:yaml.org,2002:str";
    if (!node.quoted) RefuseTag(mark, tag);
    if (!node.quoted && (value == "~" || value == "null" || value == "Null" || value == "NULL")) {
      node.kind = YamlNode::Kind::kNull;
    }
    Place(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    RefuseTag(mark, tag);
    Open(YamlNode::Kind::kSequence, mark, anchor);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    RefuseTag(mark, tag);
    Open(YamlNode::Kind::kMap, mark, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Anchor {
    YamlNode tree;
    size_t nodes;
    size_t bytes;
    int depth;
  };
  struct OpenNode {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    size_t nodes = 1;
    size_t bytes = 0;
    int depth = 1;
    bool has_key = false;
    bool drops_value = false;  // the key was given before
    YamlNode key = {};
    std::unordered_set<std::string> keys = {};
  };

  [[noreturn]] static void Refuse(const YAML::Mark& mark, std::string message,
                                  std::string hint = {}) {
    throw Refused{{std::move(message), std::move(hint), mark.line + 1, mark.column + 1}};
  }
  [[noreturn]] static void RefuseAt(const YamlNode& node, std::string message, std::string hint) {
    throw Refused{{std::move(message), std::move(hint), node.line, node.column}};
  }
  [[noreturn]] void TooDeep(const YAML::Mark& mark) const {
    Refuse(mark, fmt::format("nested deeper than {} levels", limits_.max_depth));
  }

  // A tag would have us read a value as something else than what it looks like.
  static void RefuseTag(const YAML::Mark& mark, const std::string& tag) {
    if (tag.empty() || tag == "?" || tag == "!") return;
    Refuse(mark, "tags (! and !!) are not read", "remove the tag; quote what is meant as text");
  }

  static YamlNode Make(YamlNode::Kind kind, const YAML::Mark& mark) {
    YamlNode node;
    node.kind = kind;
    node.line = mark.line + 1;
    node.column = mark.column + 1;
    return node;
  }

  void Count(const YAML::Mark& mark, size_t nodes) {
    count_ += nodes;
    if (count_ > limits_.max_nodes) {
      Refuse(mark, fmt::format("the file stands for more than {} values", limits_.max_nodes),
             "aliases that repeat aliases grow without bound; write the values out");
    }
  }

  void Open(YamlNode::Kind kind, const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (static_cast<int>(open_.size()) >= limits_.max_depth) TooDeep(mark);
    Count(mark, 1);
    OpenNode opened;
    opened.node = Make(kind, mark);
    opened.anchor = anchor;
    open_.push_back(std::move(opened));
  }

  void Close() {
    OpenNode closed = std::move(open_.back());
    open_.pop_back();
    if (closed.anchor != 0) {
      // The copy that is kept for aliases costs as much as an alias; anchors inside anchors are a
      // bomb too.
      YAML::Mark mark;
      mark.line = closed.node.line - 1;
      mark.column = closed.node.column - 1;
      Count(mark, closed.nodes);
      anchors_[closed.anchor] = {closed.node, closed.nodes, closed.bytes, closed.depth};
    }
    Attach(std::move(closed.node), closed.nodes, closed.bytes, closed.depth);
  }

  void Place(YamlNode node, YAML::anchor_t anchor) {
    YAML::Mark mark;
    mark.line = node.line - 1;
    mark.column = node.column - 1;
    Count(mark, 1);
    const size_t bytes = node.scalar.size();
    if (anchor != 0) anchors_[anchor] = {node, 1, bytes, 0};
    Attach(std::move(node), 1, bytes, 0);
  }

  void Attach(YamlNode node, size_t nodes, size_t bytes, int depth) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    OpenNode& parent = open_.back();
    parent.nodes += nodes;
    parent.bytes += bytes;
    parent.depth = std::max(parent.depth, depth + 1);
    if (parent.node.IsSequence()) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      if (!node.IsScalar()) RefuseAt(node, "a key must be a plain word", "");
      parent.drops_value = !parent.keys.insert(node.scalar).second;
      if (parent.drops_value) {
        std::string message = fmt::format("{} is given twice", Shown(node.scalar));
        if (duplicates_ == nullptr) RefuseAt(node, std::move(message), "keep one of the two");
        duplicates_->push_back({std::move(message), "keep one of the two", node.line, node.column});
      }
      parent.key = std::move(node);
      parent.has_key = true;
    } else {
      if (node.IsNull()) {
        // The library's mark of a missing value is wherever the next thing begins.
        node.line = parent.key.line;
        node.column = parent.key.column;
      }
      if (!parent.drops_value)
        parent.node.members.push_back({std::move(parent.key), std::move(node)});
      parent.has_key = false;
    }
  }

  const YamlLimits limits_;
  std::vector<YamlError>* const duplicates_;
  YamlNode root_;
  std::vector<OpenNode> open_;
  std::map<YAML::anchor_t, Anchor> anchors_;
  size_t count_ = 0;
  size_t alias_bytes_ = 0;
  int last_scalar_line_ = 0;
  int last_scalar_column_ = 0;
};

// The first byte that is not well-formed UTF-8 text (control characters other than tab, LF and CR
// are no text either), or npos.
size_t FirstNonText(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      if (c == 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r')) return i;
      ++i;
      continue;
    }
    const int extra = c >= 0xf0 && c <= 0xf4  ? 3
                      : c >= 0xe0 && c < 0xf0 ? 2
                      : c >= 0xc2 && c < 0xe0 ? 1
                                              : 0;
    if (extra == 0) return i;
    for (int k = 1; k <= extra; ++k) {
      if (i + k >= text.size() || (static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80)
        return i;
    }
    i += 1 + extra;
  }
  return std::string_view::npos;
}

}  // namespace

const YamlNode* YamlNode::Find(std::string_view key) const {
  for (const auto& [name, value] : members) {
    if (name.scalar == key) return &value;
  }
  return nullptr;
}

tl::expected<YamlNode, YamlError> ParseYaml(std::string_view text, const YamlLimits& limits,
                                            std::vector<YamlError>* duplicates) {
  if (text.size() > limits.max_bytes) {
    return tl::unexpected(
        YamlError{fmt::format("the file is larger than {} MiB", limits.max_bytes >> 20),
                  "is it the right file?"});
  }
  const size_t bad = FirstNonText(text);
  if (bad != std::string_view::npos) {
    const std::string_view before = text.substr(0, bad);
    const int line = static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1;
    const size_t line_start =
        before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    const bool wide = text.substr(0, 2) == "\xff\xfe" || text.substr(0, 2) == "\xfe\xff";
    return tl::unexpected(
        YamlError{wide ? "the file is UTF-16 text, not UTF-8"
                       : fmt::format("not a text file: byte 0x{:02x} is not part of UTF-8 text",
                                     static_cast<unsigned char>(text[bad])),
                  wide ? "save it as UTF-8" : "is it the right file?", line,
                  static_cast<int>(bad - line_start) + 1});
  }
  TreeBuilder builder(limits, duplicates);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return YamlNode{};
    if (builder.last_scalar_line() > 0 &&
        IsCutOff(text, builder.last_scalar_line(), builder.last_scalar_column())) {
      return tl::unexpected(YamlError{kNotClosed, "close the quotes", builder.last_scalar_line(),
                                      builder.last_scalar_column()});
    }
    YamlNode root = builder.TakeRoot();
    TreeBuilder rest(limits, duplicates);
    if (parser.HandleNextDocument(rest)) {
      const YamlNode second = rest.TakeRoot();
      return tl::unexpected(YamlError{"the file holds more than one document", "keep one per file",
                                      second.line, second.column});
    }
    return root;
  } catch (const Refused& refused) {
    return tl::unexpected(refused.error);
  } catch (const YAML::Exception& error) {
    const int line = std::max(error.mark.line, 0) + 1;
    if (error.msg.find("EOF in scalar") != std::string::npos) {
      return tl::unexpected(YamlError{kNotClosed, "close the quotes", line, error.mark.column + 1});
    }
    return tl::unexpected(YamlError{"not YAML: " + error.msg, HintFor(error.msg, text, line), line,
                                    std::max(error.mark.column, 0) + 1});
  }
}

}  // namespace tranche
