#include <fmt/format.h>

#include <charconv>
#include <cmath>

#include "model/spec_rules.h"
#include "stage/request/readers.h"
#include "stage/request/values.h"

namespace tranche {
namespace {

using Kind = Shape::Kind;

// Whether a scalar may be handed to the parsers of units, whose messages repeat it.
bool IsAmount(const YamlNode& node) {
  return node.IsScalar() && ScalarKindOf(node) != ScalarKind::kBool && node.scalar.size() <= 60 &&
         !HasControls(node.scalar);
}

}  // namespace

Value<Bytes> Size() {
  Shape shape = TextShape("a size", "10GiB",
                          "^ *(?=[0-9.]*[1-9])([0-9]+(\\.[0-9]*)?|\\.[0-9]+) "
                          "*(B|KiB|MiB|GiB|TiB|kB|KB|MB|GB|TB|Gi) *$");
  return {shape,
          [shape](ReadContext& context, const std::string& key,
                  const YamlNode& node) -> std::optional<Bytes> {
            if (!IsAmount(node)) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            const Result<Bytes> bytes = ParseBytes(node.scalar);
            if (!bytes) {
              AddParseError(context, key, node, bytes.error());
              return std::nullopt;
            }
            if (bytes->value == 0) {
              context.mistakes.Add(node, fmt::format("{} is 0", key),
                                   "give the size that is needed");
              return std::nullopt;
            }
            return *bytes;
          }};
}

Value<Fraction> ShareOfGpu() {
  Shape number;
  number.kind = Kind::kNumber;
  number.what = "a fraction";
  number.example = "0.3";
  number.minimum = 0;
  number.maximum = 1;
  number.above_minimum = true;
  Shape shape;
  shape.kind = Kind::kAnyOf;
  shape.what = "a share";
  shape.example = "30%";
  shape.of = {
      TextShape("a percentage", "30%", "^ *(?=[0-9.]*[1-9])([0-9]+(\\.[0-9]*)?|\\.[0-9]+) *%? *$"),
      number};
  return {shape,
          [shape](ReadContext& context, const std::string& key,
                  const YamlNode& node) -> std::optional<Fraction> {
            if (!IsAmount(node)) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            const Result<Fraction> share = ParseFraction(node.scalar);
            if (!share) {
              AddParseError(context, key, node, share.error());
              return std::nullopt;
            }
            return *share;
          }};
}

Value<Duration> TimeSpan(Duration minimum, Duration maximum, std::string example) {
  Shape shape = TextShape("a duration", std::move(example),
                          "^ *((?=[0-9.]*[0-9])[0-9]*\\.?[0-9]*(ns|us|ms|s|m|h|d) *)+$");
  return {shape,
          [shape, minimum, maximum](ReadContext& context, const std::string& key,
                                    const YamlNode& node) -> std::optional<Duration> {
            if (!IsAmount(node)) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            if (ScalarKindOf(node) != ScalarKind::kText) {
              context.mistakes.Add(node, fmt::format("{} {} has no unit", key, Quoted(node.scalar)),
                                   Example(key, shape));
              return std::nullopt;
            }
            const Result<Duration> duration = ParseDuration(node.scalar);
            if (!duration) {
              AddParseError(context, key, node, duration.error());
              return std::nullopt;
            }
            if (duration->count() % 1000 != 0) {
              context.mistakes.Add(
                  node, fmt::format("{} {} is finer than a microsecond", key, Quoted(node.scalar)),
                  Example(key, shape));
              return std::nullopt;
            }
            if (*duration < minimum || *duration > maximum) {
              context.mistakes.Add(
                  node,
                  fmt::format("{} {} is outside {} to {}", key, Quoted(node.scalar),
                              FormatDuration(minimum), FormatDuration(maximum)),
                  Example(key, shape));
              return std::nullopt;
            }
            return *duration;
          }};
}

Value<double> Parameters() {
  Shape number;
  number.kind = Kind::kNumber;
  number.what = "a count of parameters";
  number.example = "7000000000";
  number.minimum = kMinParameters;
  number.maximum = kMaxParameters;
  Shape shape;
  shape.kind = Kind::kAnyOf;
  shape.what = "a count of parameters";
  shape.example = "7B";
  shape.of = {TextShape("a count of parameters", "7B", "^([0-9]+(\\.[0-9]+)?|\\.[0-9]+)[MBT]$"),
              number};
  return {
      shape,
      [shape](ReadContext& context, const std::string& key,
              const YamlNode& node) -> std::optional<double> {
        if (!IsAmount(node)) {
          AddWrongType(context, key, node, shape);
          return std::nullopt;
        }
        YamlNode digits = node;
        double factor = 1;
        if (ScalarKindOf(node) == ScalarKind::kText) {
          switch (node.scalar.empty() ? ' ' : node.scalar.back()) {
            case 'M':
              factor = 1e6;
              break;
            case 'B':
              factor = 1e9;
              break;
            case 'T':
              factor = 1e12;
              break;
            default:
              factor = 0;
          }
          if (!digits.scalar.empty()) digits.scalar.pop_back();
          digits.quoted = false;
        }
        const bool plain =
            !digits.scalar.empty() && digits.scalar.front() != '-' &&
            digits.scalar.front() != '+' && digits.scalar.back() != '.' &&
            (factor == 1 || digits.scalar.find_first_not_of("0123456789.") == std::string::npos);
        double value = 0;
        const char* end = digits.scalar.data() + digits.scalar.size();
        const auto [rest, error] = std::from_chars(digits.scalar.data(), end, value);
        if (factor == 0 || !plain || error != std::errc() || rest != end || !std::isfinite(value)) {
          context.mistakes.Add(node, fmt::format("{} cannot be {}", key, Quoted(node.scalar)),
                               "write 7B for 7 billion; M and T work too");
          return std::nullopt;
        }
        // 8.03B is 8030000000, not the nearest double to 8.03 times a billion.
        value = std::round(value * factor);
        if (value < kMinParameters || value > kMaxParameters) {
          const bool forgot_unit = factor == 1 && value >= 1 && value <= 10000;
          context.mistakes.Add(node,
                               fmt::format("{} {} is outside a million to a hundred trillion", key,
                                           Quoted(node.scalar)),
                               forgot_unit ? fmt::format("did you mean {}B?", node.scalar)
                                           : "write 7B for 7 billion");
          return std::nullopt;
        }
        return value;
      }};
}

}  // namespace tranche
