#include <fmt/format.h>

#include <algorithm>

#include "model/spec_rules.h"
#include "stage/request/readers.h"
#include "stage/request/values.h"

namespace tranche {
namespace {

using Kind = Shape::Kind;

// "python -m http.server" as the list that was meant: [python, -m, http.server].
std::string AsList(const std::string& text) {
  std::string list;
  size_t start = 0;
  while ((start = text.find_first_not_of(" \t\n", start)) != std::string::npos) {
    const size_t end = std::min(text.find_first_of(" \t\n", start), text.size());
    const std::string word = text.substr(start, end - start);
    const bool plain = word.find_first_of("{}[],&*#?|<>=!%@:\"'`\\$") == std::string::npos;
    list += (list.empty() ? "" : ", ") + (plain ? word : "\"" + word + "\"");
    start = end;
  }
  return "[" + list + "]";
}

// Only a shell knows what quotes mean, so a text that has some is not split for the user.
std::string AsListHint(const std::string& key, const std::string& text, const Shape& shape) {
  if (text.size() > 200 || text.find_first_of("\"'\\") != std::string::npos) {
    return "write one list item per argument, " + Example(key, shape);
  }
  return fmt::format("write {}: {}", key, AsList(text));
}

}  // namespace

Value<std::map<std::string, std::string>> Environment() {
  Shape shape;
  shape.kind = Kind::kMap;
  shape.what = "a map of names and values";
  shape.example = "{LOG_LEVEL: info}";
  shape.pattern = "^[A-Za-z_][A-Za-z0-9_]*$";
  const Value<std::string> value = Argument("info");
  shape.of = {value.shape};
  return {
      shape,
      [shape, value](ReadContext& context, const std::string& key,
                     const YamlNode& node) -> std::optional<std::map<std::string, std::string>> {
        if (!node.IsMap()) {
          AddWrongType(context, key, node, shape);
          return std::nullopt;
        }
        std::map<std::string, std::string> env;
        for (const auto& [name, text] : node.members) {
          if (!IsEnvName(name.scalar)) {
            context.mistakes.Add(
                name, fmt::format("{} cannot be the name of a variable", Quoted(name.scalar)),
                "use letters, digits and _, and no digit first");
          } else if (name.scalar == "CUDA_VISIBLE_DEVICES" ||
                     name.scalar == "NVIDIA_VISIBLE_DEVICES") {
            context.mistakes.Add(
                name,
                fmt::format("{} is set by Tranche, to the slice of the workload", name.scalar),
                "remove it; say what the workload needs with memory, compute and gpus");
          }
          if (const auto got = value.read(context, key + "." + name.scalar.substr(0, 60), text))
            env[name.scalar] = *got;
        }
        return env;
      }};
}

Value<std::map<std::string, double>> Prices() {
  Shape shape;
  shape.kind = Kind::kMap;
  shape.what = "a map of GPUs and prices per hour";
  shape.example = "{H100-SXM5-80GB: 2.40}";
  const Value<double> price = Number("a price per hour", 0, kMaxPrice, false, "2.40");
  const Value<std::string> gpu = GpuName();
  shape.of = {price.shape};
  return {
      shape,
      [shape, price, gpu](ReadContext& context, const std::string& key,
                          const YamlNode& node) -> std::optional<std::map<std::string, double>> {
        if (!node.IsMap()) {
          AddWrongType(context, key, node, shape);
          return std::nullopt;
        }
        std::map<std::string, double> prices;
        for (const auto& [name, amount] : node.members) {
          const auto model = gpu.read(context, key, name);
          const auto value = price.read(context, key + "." + name.scalar.substr(0, 60), amount);
          if (model && !prices.emplace(*model, value.value_or(0)).second) {
            context.mistakes.Add(
                name,
                fmt::format("{} has two prices: {} is the same GPU", *model, Quoted(name.scalar)),
                "keep one of the two");
          }
        }
        return prices;
      }};
}

Value<std::vector<std::string>> Arguments(bool not_empty, std::string example) {
  Shape shape;
  shape.kind = Kind::kList;
  shape.what = "a list of arguments";
  shape.example = std::move(example);
  shape.not_empty = not_empty;
  const Value<std::string> item = Argument("--verbose");
  shape.of = {item.shape};
  return {
      shape,
      [shape, item](ReadContext& context, const std::string& key,
                    const YamlNode& node) -> std::optional<std::vector<std::string>> {
        if (node.IsScalar() && !node.scalar.empty()) {
          // Splitting as a shell does would leave it to chance what quotes and $ mean.
          context.mistakes.Add(node, fmt::format("{} is one text, not a list of arguments", key),
                               AsListHint(key, node.scalar, shape));
          return std::nullopt;
        }
        if (!node.IsSequence()) {
          AddWrongType(context, key, node, shape);
          return std::nullopt;
        }
        if (shape.not_empty && node.items.empty()) {
          context.mistakes.Add(node, fmt::format("{} is an empty list", key), Example(key, shape));
          return std::nullopt;
        }
        std::vector<std::string> arguments;
        for (size_t i = 0; i < node.items.size(); ++i) {
          if (auto got = item.read(context, fmt::format("{}[{}]", key, i), node.items[i])) {
            arguments.push_back(*std::move(got));
          }
        }
        return arguments;
      }};
}

}  // namespace tranche
