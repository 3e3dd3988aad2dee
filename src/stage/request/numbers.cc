#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "stage/request/readers.h"
#include "stage/request/values.h"

namespace tranche {
namespace {

using Kind = Shape::Kind;

// A finite number written in decimals. nullopt after telling why not.
std::optional<double> ReadDecimal(ReadContext& context, const std::string& key,
                                  const YamlNode& node, const Shape& shape) {
  const ScalarKind kind = node.IsScalar() ? ScalarKindOf(node) : ScalarKind::kNull;
  if (kind != ScalarKind::kInteger && kind != ScalarKind::kNumber) {
    AddWrongType(context, key, node, shape);
    return std::nullopt;
  }
  const char* begin = node.scalar.data();
  const char* end = begin + node.scalar.size();
  if (*begin == '+') ++begin;
  double value = 0;
  const auto [rest, error] = std::from_chars(begin, end, value);
  if (error != std::errc() || rest != end || !std::isfinite(value)) {
    context.mistakes.Add(node,
                         fmt::format("{} {} is not a finite number", key, Quoted(node.scalar)),
                         Example(key, shape));
    return std::nullopt;
  }
  return value;
}

std::string Limits(const Shape& shape) {
  return fmt::format("use {} {}",
                     shape.above_minimum ? fmt::format("more than {}, at most", *shape.minimum)
                                         : fmt::format("{} to", *shape.minimum),
                     *shape.maximum);
}

bool Within(const Shape& shape, double value) {
  if (shape.above_minimum ? value <= *shape.minimum : value < *shape.minimum) return false;
  return value <= *shape.maximum;
}

}  // namespace

Value<bool> Boolean() {
  Shape shape;
  shape.kind = Kind::kBool;
  shape.what = "true or false";
  shape.example = "true";
  return {shape,
          [shape](ReadContext& context, const std::string& key,
                  const YamlNode& node) -> std::optional<bool> {
            if (!node.IsScalar() || ScalarKindOf(node) != ScalarKind::kBool) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            return node.scalar.front() == 't' || node.scalar.front() == 'T';
          }};
}

Value<int> Integer(std::string what, int minimum, int maximum, std::string example) {
  Shape shape;
  shape.kind = Kind::kInteger;
  shape.what = std::move(what);
  shape.example = std::move(example);
  shape.minimum = minimum;
  shape.maximum = maximum;
  return {shape,
          [shape, minimum, maximum](ReadContext& context, const std::string& key,
                                    const YamlNode& node) -> std::optional<int> {
            const auto value = ReadDecimal(context, key, node, shape);
            if (!value) return std::nullopt;
            if (*value != std::floor(*value)) {
              context.mistakes.Add(
                  node, fmt::format("{} {} is not a whole number", key, Quoted(node.scalar)),
                  Example(key, shape));
              return std::nullopt;
            }
            if (!Within(shape, *value)) {
              context.mistakes.Add(node,
                                   fmt::format("{} {} is outside {} to {}", key,
                                               Quoted(node.scalar), minimum, maximum),
                                   Example(key, shape));
              return std::nullopt;
            }
            return static_cast<int>(*value);
          }};
}

Value<double> Number(std::string what, double minimum, double maximum, bool above_minimum,
                     std::string example) {
  Shape shape;
  shape.kind = Kind::kNumber;
  shape.what = std::move(what);
  shape.example = std::move(example);
  shape.minimum = minimum;
  shape.maximum = maximum;
  shape.above_minimum = above_minimum;
  return {shape,
          [shape](ReadContext& context, const std::string& key,
                  const YamlNode& node) -> std::optional<double> {
            const auto value = ReadDecimal(context, key, node, shape);
            if (value && !Within(shape, *value)) {
              context.mistakes.Add(node,
                                   fmt::format("{} cannot be {}", key, node.scalar.substr(0, 60)),
                                   Limits(shape));
              return std::nullopt;
            }
            return value;
          }};
}

}  // namespace tranche
