#include "stage/request/readers.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche {
namespace {

using Kind = Shape::Kind;

constexpr size_t kLongestText = 1000;

}  // namespace

Shape TextShape(std::string what, std::string example, std::string pattern) {
  Shape shape;
  shape.what = std::move(what);
  shape.example = std::move(example);
  shape.pattern = std::move(pattern);
  return shape;
}

Shape FreeText(std::string what, std::string example, std::string pattern) {
  Shape shape = TextShape(std::move(what), std::move(example), std::move(pattern));
  shape.free_text = true;
  return shape;
}

std::string Example(const std::string& key, const Shape& shape) {
  // An item of a list is written without its place in it.
  return "for example " + (key.back() == ']' ? "" : key + ": ") + shape.example;
}

std::optional<std::string> ReadText(ReadContext& context, const std::string& key,
                                    const YamlNode& node, const Shape& shape) {
  const bool scalar = node.IsScalar();
  const ScalarKind kind = scalar ? ScalarKindOf(node) : ScalarKind::kNull;
  if (!scalar || (kind != ScalarKind::kText && !shape.any_scalar)) {
    AddWrongType(context, key, node, shape);
    return std::nullopt;
  }
  if (node.scalar.find('\0') != std::string::npos) {
    context.mistakes.Add(node, key + " holds a NUL byte",
                         "nothing that starts a program can carry one");
    return std::nullopt;
  }
  if (shape.any_scalar) return node.scalar;
  if (node.scalar.empty()) {
    context.mistakes.Add(node, key + " is empty", Example(key, shape));
    return std::nullopt;
  }
  const bool is_long = node.scalar.size() > kLongestText;
  if (is_long || HasControls(node.scalar)) {
    context.mistakes.Add(node, fmt::format("{} cannot be {}", key, Quoted(node.scalar)),
                         is_long ? fmt::format("use at most {} bytes", kLongestText)
                                 : "it holds control characters");
    return std::nullopt;
  }
  return node.scalar;
}

void AddParseError(ReadContext& context, const std::string& key, const YamlNode& node,
                   const Error& error) {
  context.mistakes.Add(node, fmt::format("{}: {}", key, error.message),
                       error.hint.empty() ? "check the value" : error.hint);
}

void AddWrongType(ReadContext& context, const std::string& key, const YamlNode& node,
                  const Shape& shape) {
  std::string hint = Example(key, shape);
  if (node.IsNull()) {
    context.mistakes.Add(node, fmt::format("{} has no value", key), hint + ", or remove it");
    return;
  }
  if (node.IsScalar()) {
    YamlNode plain = node;
    plain.quoted = false;
    const ScalarKind unquoted = ScalarKindOf(plain);
    const bool number = unquoted == ScalarKind::kInteger || unquoted == ScalarKind::kNumber;
    const bool wants_number = shape.kind == Kind::kInteger || shape.kind == Kind::kNumber;
    const bool wants_bool = shape.kind == Kind::kBool;
    const auto is_any = [&](std::initializer_list<const char*> words) {
      return std::find(words.begin(), words.end(), node.scalar) != words.end();
    };
    if (node.quoted &&
        ((wants_number && number) || (wants_bool && unquoted == ScalarKind::kBool))) {
      hint = "write it without quotes: " + node.scalar.substr(0, 60);
    } else if (wants_bool && is_any({"yes", "Yes", "YES", "on", "On", "y", "1", "tru"})) {
      hint = "write true";
    } else if (wants_bool && is_any({"no", "No", "NO", "off", "Off", "n", "0"})) {
      hint = "write false";
    } else if (shape.free_text && !node.quoted) {
      hint = fmt::format("if it is meant as text, quote it: \"{}\"", node.scalar.substr(0, 60));
    }
  }
  context.mistakes.Add(node, fmt::format("{} is {}, not {}", key, Describe(node), shape.what),
                       hint);
}

void AddUnknownKey(ReadContext& context, const YamlNode& key, const std::string& object,
                   const std::vector<std::string>& names) {
  if (key.scalar == "<<") {
    context.mistakes.Add(key, "merge keys (<<) are not part of the spec",
                         "write the keys out, or give the whole value an alias");
    return;
  }
  // Nobody reads the thousandth suggestion, and making it is the dearest part of a hostile file.
  const bool suggests = context.mistakes.size() < 1000;
  std::string hint = suggests ? DidYouMean(key.scalar, names) : "";
  if (suggests && hint.empty())
    hint = fmt::format("{} may have {}", object, fmt::join(names, ", "));
  context.mistakes.Add(key, fmt::format("unknown key {} in {}", Quoted(key.scalar), object), hint);
}

}  // namespace tranche
