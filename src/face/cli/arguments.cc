#include "face/cli/arguments.h"

#include <CLI/CLI.hpp>
#include <algorithm>

#include "base/suggest.h"

namespace tranche {
namespace {

std::vector<std::string> SplitNames(const std::string& names) {
  std::vector<std::string> out;
  size_t start = 0;
  while (start <= names.size()) {
    const size_t comma = std::min(names.find(',', start), names.size());
    out.push_back(names.substr(start, comma - start));
    start = comma + 1;
  }
  return out;
}

// "--file=x" -> "--file"
std::string FlagOf(const std::string& word) { return word.substr(0, word.find('=')); }

Error Unexpected(const std::string& word, const std::vector<const Arguments*>& accepted) {
  if (word.empty() || word[0] != '-') {
    return {ErrorCode::kInvalid, "unexpected argument '" + word + "'", ""};
  }
  std::vector<std::string> names;
  for (const Arguments* arguments : accepted) {
    for (std::string& name : arguments->Names()) names.push_back(std::move(name));
  }
  return {ErrorCode::kInvalid, "unknown option '" + FlagOf(word) + "'",
          DidYouMean(FlagOf(word), names)};
}

}  // namespace

Arguments& Arguments::Flag(std::string names, bool& target, std::string help) {
  parameters_.push_back({std::move(names), "", std::move(help), false, &target});
  return *this;
}

Arguments& Arguments::Option(std::string names, std::string value, std::string& target,
                             std::string help) {
  parameters_.push_back({std::move(names), std::move(value), std::move(help), false, &target});
  return *this;
}

Arguments& Arguments::Option(std::string names, std::string value, std::optional<int>& target,
                             std::string help) {
  parameters_.push_back({std::move(names), std::move(value), std::move(help), false, &target});
  return *this;
}

Arguments& Arguments::Positional(std::string name, std::string& target, std::string help,
                                 bool required) {
  parameters_.push_back({name, name, std::move(help), required, &target});
  return *this;
}

std::vector<std::string> Arguments::Names() const {
  std::vector<std::string> names;
  for (const Parameter& parameter : parameters_) {
    if (parameter.positional()) continue;
    for (std::string& name : SplitNames(parameter.names)) names.push_back(std::move(name));
  }
  return names;
}

size_t FindVerb(const std::vector<std::string>& words, const Arguments& globals) {
  const auto takes_value = [&](const std::string& word) {
    return std::any_of(globals.parameters().begin(), globals.parameters().end(),
                       [&](const Parameter& parameter) {
                         if (parameter.positional() || parameter.value.empty()) return false;
                         const auto names = SplitNames(parameter.names);
                         return std::find(names.begin(), names.end(), word) != names.end();
                       });
  };
  size_t i = 0;
  while (i < words.size() && !words[i].empty() && words[i][0] == '-')
    i += takes_value(words[i]) ? 2 : 1;
  return std::min(i, words.size());
}

Status ParseArguments(const std::vector<std::string>& words,
                      const std::vector<const Arguments*>& accepted) {
  // The only place that knows CLI11, and where its exceptions end.
  try {
    CLI::App app;
    app.set_help_flag("");
    for (const Arguments* arguments : accepted) {
      for (const Parameter& parameter : arguments->parameters()) {
        CLI::Option* option = std::visit(
            [&](auto* target) -> CLI::Option* {
              if constexpr (std::is_same_v<decltype(target), bool*>) {
                return app.add_flag(parameter.names, *target);
              } else {
                return app.add_option(parameter.names, *target);
              }
            },
            parameter.target);
        if (parameter.required) option->required();
        // A flag twice is harmless; an option twice leaves open which one was meant.
        if (parameter.value.empty()) option->multi_option_policy(CLI::MultiOptionPolicy::TakeLast);
      }
    }
    std::vector<std::string> reversed(words.rbegin(), words.rend());
    app.allow_extras();
    app.parse(std::move(reversed));
    const std::vector<std::string> extras = app.remaining();
    if (!extras.empty()) return tl::unexpected<Error>(Unexpected(extras.front(), accepted));
    return {};
  } catch (const std::exception& error) {
    return Fail(ErrorCode::kInvalid, error.what());
  }
}

}  // namespace tranche
