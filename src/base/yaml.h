#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tranche {

struct YamlMember;

// A YAML document as a tree of values with the place of each in the file. Our own type, so that
// yaml-cpp and its exceptions stay in yaml.cc, and so that a hostile file is refused while it is
// read.
struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };

  Kind kind = Kind::kNull;
  std::string scalar;               // kScalar; as written, unquoted
  bool quoted = false;              // kScalar: "10" is a string, 10 may be a number
  std::vector<YamlNode> items;      // kSequence
  std::vector<YamlMember> members;  // kMap, in file order; keys are unique scalars
  int line = 0;                     // from 1
  int column = 0;                   // from 1

  bool IsScalar() const { return kind == Kind::kScalar; }
  bool IsSequence() const { return kind == Kind::kSequence; }
  bool IsMap() const { return kind == Kind::kMap; }
  bool IsNull() const { return kind == Kind::kNull; }
  // The member of that name, or nullptr. The node keeps ownership.
  const YamlNode* Find(std::string_view key) const;
};

struct YamlMember {
  YamlNode key, value;
};

struct YamlLimits {
  size_t max_bytes = size_t{16} << 20;
  int max_depth = 50;
  size_t max_nodes = 1000000;  // aliases count for everything they stand for
};

struct YamlError {
  std::string message;
  std::string hint;
  int line = 0;  // 0 when the whole document is meant
  int column = 0;
};

// Parses exactly one document. Refused with a place and a reason: syntax errors, duplicate keys,
// keys that are not scalars, tags, anything over the limits, more than one document, bytes that are
// not UTF-8 text. With `duplicates`, the second of two equal keys is noted there and dropped
// instead, so that whoever reads the tree can tell it together with other mistakes.
tl::expected<YamlNode, YamlError> ParseYaml(std::string_view text, const YamlLimits& limits = {},
                                            std::vector<YamlError>* duplicates = nullptr);

}  // namespace tranche
