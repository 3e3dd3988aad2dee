#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "model/spec_rules.h"
#include "model/vgpu.h"
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

Value<int> TimeOfDay() {
  const Value<std::string> text = TextValue(
      FreeText("a time of day", "22:00", "^([01][0-9]|2[0-3]):[0-5][0-9]$"),
      [](std::string_view time) { return MinuteOfDay(time).has_value(); },
      Always("write it as 09:30 or 22:00; the end may be earlier than the beginning, and is then "
             "of the next day"));
  return {text.shape,
          [text](ReadContext& context, const std::string& key,
                 const YamlNode& node) -> std::optional<int> {
            const auto time = text.read(context, key, node);
            return time ? MinuteOfDay(*time) : std::nullopt;
          }};
}

Value<std::string> TimeZone() {
  return TextValue(
      FreeText("a time zone", "Europe/Berlin", "^(?=.{1,60}$)[A-Za-z0-9_+-]+(/[A-Za-z0-9_+-]+)*$"),
      IsTimeZone, Always("use UTC, or a name such as Europe/Berlin"));
}

Value<std::string> GpuUuid() {
  return TextValue(
      FreeText("the UUID of a GPU", "GPU-5f2b7a10-1c2d-4e3f-8a9b-0123456789ab",
               "^GPU-[0-9a-fA-F-]{4,36}$"),
      IsGpuUuid,
      Always("use what `tranche inventory` shows: GPU- and at least its first four digits"));
}

Value<std::string> ProfileName() {
  return TextValue(
      FreeText("a MIG profile", "4g.40gb", "^[1-9][0-9]?g\\.[0-9]{1,4}gb$"),
      [](std::string_view name) {
        const size_t dot = name.find("g.");
        const auto digits = [](std::string_view part) {
          return !part.empty() && part.find_first_not_of("0123456789") == std::string_view::npos;
        };
        if (dot == std::string_view::npos || dot > 2 || name.front() == '0') return false;
        const std::string_view memory = name.substr(dot + 2);
        return digits(name.substr(0, dot)) && memory.size() > 2 && memory.size() <= 6 &&
               memory.substr(memory.size() - 2) == "gb" &&
               digits(memory.substr(0, memory.size() - 2));
      },
      Always("a profile is a name such as 4g.40gb; `tranche catalog mig GPU` lists them"));
}

Value<std::string> Argument(std::string example) {
  Shape shape = TextShape("a text", std::move(example), "");
  shape.any_scalar = true;
  return {shape, [shape](ReadContext& context, const std::string& key, const YamlNode& node) {
            return ReadText(context, key, node, shape);
          }};
}

Value<std::string> SliceProfile() {
  Shape shape = FreeText("a MIG profile or a type of vGPU", "1g.10gb+me",
                         "^([1-9][0-9]?g\\.[1-9][0-9]{0,3}gb(\\+me|\\+me\\.all|\\+gfx|-me)?|"
                         "[A-Za-z0-9 -]+-[1-9][0-9]{0,3}[CQAB](ME|[0-9])?)$");
  return {shape,
          [shape](ReadContext& context, const std::string& key,
                  const YamlNode& node) -> std::optional<std::string> {
            const auto name = ReadText(context, key, node, shape);
            if (!name || IsMigProfile(*name) || IsVgpuType(*name)) return name;
            std::vector<std::string> known;
            for (const CatalogGpu& gpu : context.catalog.gpus()) {
              for (const MigProfile& profile : gpu.mig_profiles) known.push_back(profile.name);
            }
            const std::string hint = DidYouMean(*name, known);
            context.mistakes.Add(
                node, fmt::format("{} cannot be {}", key, Quoted(*name)),
                hint.empty()
                    ? "a profile is a name such as 3g.40gb or 1g.10gb+me; `tranche catalog "
                      "mig GPU` lists them"
                    : hint);
            return std::nullopt;
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
