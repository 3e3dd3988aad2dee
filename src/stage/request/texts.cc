#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "model/spec_rules.h"
#include "stage/request/readers.h"
#include "stage/request/values.h"

namespace tranche {
namespace {

// A text that must satisfy `holds`, which is what the shape's pattern says.
Value<std::string> TextValue(Shape shape, bool (*holds)(std::string_view),
                             std::function<std::string(const std::string&)> hint) {
  return {shape,
          [shape, holds, hint](ReadContext& context, const std::string& key,
                               const YamlNode& node) -> std::optional<std::string> {
            auto text = ReadText(context, key, node, shape);
            if (!text || holds(*text)) return text;
            context.mistakes.Add(node, fmt::format("{} cannot be {}", key, Quoted(*text)),
                                 hint(*text));
            return std::nullopt;
          }};
}

std::function<std::string(const std::string&)> Always(std::string hint) {
  return [hint = std::move(hint)](const std::string&) { return hint; };
}

bool IsWord(std::string_view text) {
  return std::all_of(text.begin(), text.end(),
                     [](char c) { return static_cast<unsigned char>(c) > 0x20 && c != 0x7f; });
}

}  // namespace

Value<std::string> Label(std::string what, std::string example) {
  return TextValue(
      FreeText(std::move(what), std::move(example), "^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$"),
      IsLabel, Always("use at most 63 of a-z, 0-9 and '-', with a letter or digit at both ends"));
}

Value<std::string> Currency() {
  return TextValue(FreeText("a currency", "USD", "^[A-Z]{3}$"), IsCurrency,
                   Always("use three capital letters, such as USD or EUR"));
}

Value<std::string> Route() {
  return TextValue(FreeText("a route", "/phi", "^(/|(/(?!\\.\\.?(/|$))[A-Za-z0-9._~-]+)+)$"),
                   IsRoute, [](const std::string& text) -> std::string {
                     std::string better = text.front() == '/' ? text : "/" + text;
                     if (better.size() > 1 && better.back() == '/') better.pop_back();
                     if (IsRoute(better)) return "write " + better;
                     return "a route is a path such as /phi or /team/phi: letters, digits and . _ "
                            "~ - between slashes";
                   });
}

Value<std::string> Path(std::string example) {
  Shape shape = FreeText("a path", std::move(example), "^[^~]");
  return {shape,
          [shape](ReadContext& context, const std::string& key,
                  const YamlNode& node) -> std::optional<std::string> {
            const auto text = ReadText(context, key, node, shape);
            if (!text) return std::nullopt;
            if (text->front() == '~') {
              context.mistakes.Add(node,
                                   fmt::format("{} {} begins with ~, which only a shell expands",
                                               key, Quoted(*text)),
                                   "write the directory out, or a path relative to the spec");
              return std::nullopt;
            }
            // operator/ keeps an absolute right-hand side.
            std::string path =
                (std::filesystem::path(context.directory) / *text).lexically_normal().string();
            if (path.size() > 1 && path.back() == '/') path.pop_back();
            return path;
          }};
}

Value<std::string> Word(std::string what, std::string example) {
  return TextValue(FreeText(std::move(what), std::move(example), "^\\S+$"), IsWord,
                   Always("it cannot hold blanks"));
}

Value<std::string> Argument(std::string example) {
  Shape shape = TextShape("a text", std::move(example), "");
  shape.any_scalar = true;
  return {shape, [shape](ReadContext& context, const std::string& key, const YamlNode& node) {
            return ReadText(context, key, node, shape);
          }};
}

Value<std::string> OneOf(std::string what, std::vector<std::string> words) {
  Shape shape;
  shape.what = std::move(what);
  shape.example = words.front();
  shape.words = std::move(words);
  return {shape,
          [shape](ReadContext& context, const std::string& key,
                  const YamlNode& node) -> std::optional<std::string> {
            if (!node.IsScalar()) {
              AddWrongType(context, key, node, shape);
              return std::nullopt;
            }
            const auto& words_of = shape.words;
            if (std::find(words_of.begin(), words_of.end(), node.scalar) != words_of.end())
              return node.scalar;
            std::string hint = DidYouMean(node.scalar, words_of);
            if (hint.empty()) hint = fmt::format("use {}", fmt::join(words_of, ", "));
            context.mistakes.Add(node, fmt::format("{} cannot be {}", key, Quoted(node.scalar)),
                                 hint);
            return std::nullopt;
          }};
}

Value<std::string> GpuName() {
  Shape shape = FreeText("a GPU", "H100-SXM5-80GB", "");
  return {shape,
          [shape](ReadContext& context, const std::string& key,
                  const YamlNode& node) -> std::optional<std::string> {
            const auto name = ReadText(context, key, node, shape);
            if (!name) return std::nullopt;
            const Result<const CatalogGpu*> gpu = context.catalog.FindGpu(*name);
            if (!gpu) {
              AddParseError(context, key, node, gpu.error());
              return std::nullopt;
            }
            return (*gpu)->key;
          }};
}

}  // namespace tranche
