#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/yaml.h"

namespace tranche {

struct FieldShape;

// What a value of the spec may look like. The parser's messages, the JSON Schema and the tables of
// docs/spec.md are all made from it, so none of the three can say something else.
struct Shape {
  enum class Kind { kText, kInteger, kNumber, kBool, kList, kMap, kObject, kAnyOf };

  Kind kind = Kind::kText;
  std::string what;                // "a size": for messages and the docs
  std::string example;             // as written in YAML, "10GiB"
  std::string pattern;             // kText: ECMAScript, of the whole text; "" = any
  std::vector<std::string> words;  // kText: the only ones allowed; empty = any
  bool free_text = false;          // kText: a name or a path, of the user's choosing
  bool any_scalar = false;         // kText: numbers and booleans are taken as they are written
  std::optional<double> minimum, maximum;  // kInteger, kNumber; inclusive
  bool above_minimum = false;              // the minimum itself is not allowed
  bool not_empty = false;                  // kList, kMap
  std::vector<Shape> of;  // kList: its item; kMap: its value; kAnyOf: the alternatives
  std::shared_ptr<const std::vector<FieldShape>> fields;  // kObject
};

struct FieldShape {
  std::string name;
  Shape shape;
  bool required = false;
  std::string otherwise;  // what holds when it is not given
  std::string doc;        // one sentence
};

// What a scalar is by the core schema of YAML 1.2, which is also how editors read it. "yes" is
// text.
enum class ScalarKind { kNull, kBool, kInteger, kNumber, kText };
ScalarKind ScalarKindOf(const YamlNode& node);

// "a list", "the number 8", "the text 'abc'", for messages. Long texts are shortened.
std::string Describe(const YamlNode& node);
// The text between quotes, shortened, with anything unprintable replaced.
std::string Quoted(const std::string& text);

// Whether a terminal might obey any of it.
bool HasControls(const std::string& text);
// The text on one line, with '?' for every control character.
std::string Printable(const std::string& text);

}  // namespace tranche
