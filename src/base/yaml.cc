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

// Thrown from the event handler to stop the library's parser; never leaves this file.
struct Refused {
  YamlError error;
};

// Builds our tree from the library's events. Depth and size are checked before anything is kept, so the
// cost of a hostile file is bounded by the limits, not by what the file would expand to.
class TreeBuilder final : public YAML::EventHandler {
 public:
  explicit TreeBuilder(const YamlLimits& limits) : limits_(limits) {}

  YamlNode TakeRoot() { return std::move(root_); }

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
    if (static_cast<int>(open_.size()) + found->second.depth > limits_.max_depth) TooDeep(mark);
    Attach(found->second.tree, found->second.nodes, found->second.depth);
  }

  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor,
                const std::string& value) override {
    // The library reports a plain scalar's tag as "?" and a quoted one's as "!".
    YamlNode node = Make(YamlNode::Kind::kScalar, mark);
    node.scalar = value;
    node.quoted = tag == "!";
    if (!node.quoted && (value == "~" || value == "null" || value == "Null" || value == "NULL")) {
      node.kind = YamlNode::Kind::kNull;
    }
    Place(std::move(node), anchor);
  }

  void OnSequenceStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                       YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kSequence, mark, anchor);
  }
  void OnSequenceEnd() override { Close(); }

  void OnMapStart(const YAML::Mark& mark, const std::string&, YAML::anchor_t anchor,
                  YAML::EmitterStyle::value) override {
    Open(YamlNode::Kind::kMap, mark, anchor);
  }
  void OnMapEnd() override { Close(); }

 private:
  struct Anchor {
    YamlNode tree;
    size_t nodes;
    int depth;
  };
  struct OpenNode {
    YamlNode node;
    YAML::anchor_t anchor = 0;
    size_t nodes = 1;
    int depth = 1;
    bool has_key = false;
    YamlNode key = {};
    std::unordered_set<std::string> keys = {};
  };

  [[noreturn]] static void Refuse(const YAML::Mark& mark, std::string message, std::string hint = {}) {
    throw Refused{{std::move(message), std::move(hint), mark.line + 1, mark.column + 1}};
  }
  [[noreturn]] static void RefuseAt(const YamlNode& node, std::string message, std::string hint) {
    throw Refused{{std::move(message), std::move(hint), node.line, node.column}};
  }
  [[noreturn]] void TooDeep(const YAML::Mark& mark) const {
    Refuse(mark, fmt::format("nested deeper than {} levels", limits_.max_depth));
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
    if (closed.anchor != 0) anchors_[closed.anchor] = {closed.node, closed.nodes, closed.depth};
    Attach(std::move(closed.node), closed.nodes, closed.depth);
  }

  void Place(YamlNode node, YAML::anchor_t anchor) {
    YAML::Mark mark;
    mark.line = node.line - 1;
    mark.column = node.column - 1;
    Count(mark, 1);
    if (anchor != 0) anchors_[anchor] = {node, 1, 0};
    Attach(std::move(node), 1, 0);
  }

  void Attach(YamlNode node, size_t nodes, int depth) {
    if (open_.empty()) {
      root_ = std::move(node);
      return;
    }
    OpenNode& parent = open_.back();
    parent.nodes += nodes;
    parent.depth = std::max(parent.depth, depth + 1);
    if (parent.node.IsSequence()) {
      parent.node.items.push_back(std::move(node));
    } else if (!parent.has_key) {
      if (!node.IsScalar()) RefuseAt(node, "a key must be a plain word", "");
      if (!parent.keys.insert(node.scalar).second) {
        RefuseAt(node, fmt::format("'{}' is given twice", node.scalar), "keep one of the two");
      }
      parent.key = std::move(node);
      parent.has_key = true;
    } else {
      parent.node.members.emplace_back(std::move(parent.key), std::move(node));
      parent.has_key = false;
    }
  }

  const YamlLimits limits_;
  YamlNode root_;
  std::vector<OpenNode> open_;
  std::map<YAML::anchor_t, Anchor> anchors_;
  size_t count_ = 0;
};

// The first byte that is not well-formed UTF-8 text (control characters other than tab, LF and CR are no
// text either), or npos.
size_t FirstNonText(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    if (c < 0x80) {
      if (c == 0x7f || (c < 0x20 && c != '\t' && c != '\n' && c != '\r')) return i;
      ++i;
      continue;
    }
    const int extra = c >= 0xf0 && c <= 0xf4 ? 3 : c >= 0xe0 && c < 0xf0 ? 2 : c >= 0xc2 && c < 0xe0 ? 1 : 0;
    if (extra == 0) return i;
    for (int k = 1; k <= extra; ++k) {
      if (i + k >= text.size() || (static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return i;
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

tl::expected<YamlNode, YamlError> ParseYaml(std::string_view text, const YamlLimits& limits) {
  if (text.size() > limits.max_bytes) {
    return tl::unexpected(YamlError{
        fmt::format("the file is larger than {} MiB", limits.max_bytes >> 20), "is it the right file?"});
  }
  const size_t bad = FirstNonText(text);
  if (bad != std::string_view::npos) {
    const std::string_view before = text.substr(0, bad);
    const int line = static_cast<int>(std::count(before.begin(), before.end(), '\n')) + 1;
    const size_t line_start = before.rfind('\n') == std::string_view::npos ? 0 : before.rfind('\n') + 1;
    return tl::unexpected(YamlError{"not a text file: this byte is not UTF-8 text",
                                    "is it the right file?", line, static_cast<int>(bad - line_start) + 1});
  }
  TreeBuilder builder(limits);
  try {
    std::istringstream stream{std::string(text)};
    YAML::Parser parser(stream);
    if (!parser.HandleNextDocument(builder)) return YamlNode{};
    YamlNode root = builder.TakeRoot();
    TreeBuilder rest(limits);
    if (parser.HandleNextDocument(rest)) {
      const YamlNode second = rest.TakeRoot();
      return tl::unexpected(YamlError{"the file holds more than one document", "keep one per file",
                                      second.line, second.column});
    }
    return root;
  } catch (const Refused& refused) {
    return tl::unexpected(refused.error);
  } catch (const YAML::Exception& error) {
    return tl::unexpected(
        YamlError{"not YAML: " + error.msg, "", error.mark.line + 1, error.mark.column + 1});
  }
}

}  // namespace tranche
