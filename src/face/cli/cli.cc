#include "face/cli/cli.h"

#include <algorithm>
#include <ostream>

#include "base/suggest.h"
#include "face/cli/arguments.h"
#include "face/cli/help.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

Arguments DeclareGlobals(GlobalOptions& options, bool& help) {
  Arguments globals;
  globals.Option("-o,--output", "FORMAT", options.output, "table, wide, json, yaml or csv")
      .Option("--socket", "PATH", options.socket, "where the daemon listens")
      .Option("--color", "WHEN", options.color, "auto, always or never")
      .Flag("-q,--quiet", options.quiet, "nothing on stderr but errors")
      .Flag("--no-input", options.no_input, "never ask")
      .Flag("-h,--help", help, "this text");
  return globals;
}

Result<ColorChoice> ParseColor(const std::string& word) {
  if (word == "auto") return ColorChoice::kAuto;
  if (word == "always") return ColorChoice::kAlways;
  if (word == "never") return ColorChoice::kNever;
  return Fail(ErrorCode::kInvalid, "--color takes auto, always or never, not '" + word + "'");
}

Verb* FindVerbByName(const std::vector<std::unique_ptr<Verb>>& verbs, const std::string& name) {
  for (const auto& verb : verbs) {
    if (verb->info().name == name) return verb.get();
  }
  return nullptr;
}

Error UnknownVerb(const std::vector<std::unique_ptr<Verb>>& verbs, const std::string& name) {
  std::vector<std::string> names;
  for (const auto& verb : verbs) names.push_back(verb->info().name);
  const std::string meant = DidYouMean(name, names);
  return {ErrorCode::kInvalid, "unknown verb '" + name + "'",
          meant.empty() ? "'tranche help' lists the verbs" : meant};
}

// What was asked for on stdout stays parseable also when it went wrong.
int Report(Context& context, const Error& error, int exit_code) {
  context.SayError(error);
  if (context.structured()) {
    Answer answer;
    answer.json = ErrorDocument(error);
    context.Print(answer);
  }
  return exit_code;
}

// What the words ask of the output, also where they are otherwise wrong.
OutputFormat GuessFormat(const std::vector<std::string>& words) {
  std::string asked = "table";
  for (size_t i = 0; i < words.size(); ++i) {
    const std::string& word = words[i];
    if ((word == "-o" || word == "--output") && i + 1 < words.size())
      asked = words[i + 1];
    else if (word.rfind("--output=", 0) == 0)
      asked = word.substr(9);
    else if (word.rfind("-o", 0) == 0 && word.size() > 2)
      asked = word.substr(2);
  }
  return ParseOutputFormat(asked).value_or(OutputFormat::kTable);
}

}  // namespace

int Verb::ExitCodeFor(const Error& error, const std::vector<std::string>&) const {
  return ExitCodeOf(error.code);
}

std::vector<std::unique_ptr<Verb>> AllVerbs() {
  std::vector<std::unique_ptr<Verb>> verbs;
  for (auto* make :
       {MakeInventoryVerb, MakeCatalogVerb, MakeAdviseVerb,  MakeSizeVerb,   MakePlanVerb,
        MakeApplyVerb,     MakeStatusVerb,  MakeLogsVerb,    MakeStopVerb,   MakeRestartVerb,
        MakeDownVerb,      MakeRunVerb,     MakeSetVerb,     MakeCostVerb,   MakeSimulateVerb,
        MakeCalibrateVerb, MakeDrainVerb,   MakeUndrainVerb, MakeDefragVerb, MakeMigVerb,
        MakeMpsVerb,       MakeImportVerb,  MakeExportVerb,  MakeVgpuVerb,   MakeVersionVerb}) {
    verbs.push_back(make());
  }
  return verbs;
}

int RunCli(const std::vector<std::string>& all_words, World& world) {
  const auto verbs = AllVerbs();
  GlobalOptions options;
  bool help = false;
  bool version = false;
  Arguments globals = DeclareGlobals(options, help);
  Arguments alone = globals;
  alone.Flag("--version", version, "the version");

  // The verb splits the words; options of every verb may stand on either side of it.
  const auto separator = std::find(all_words.begin(), all_words.end(), "--");
  std::vector<std::string> words(all_words.begin(), separator);
  const size_t at = FindVerb(words, globals);
  std::vector<std::string> rest = words;
  std::string name;
  if (at < words.size()) {
    name = words[at];
    rest.erase(rest.begin() + static_cast<ptrdiff_t>(at));
  }
  if (name == "help") {
    name.clear();
    help = true;
    const size_t topic = FindVerb(rest, globals);
    if (topic < rest.size()) {
      name = rest[topic];
      rest.erase(rest.begin() + static_cast<ptrdiff_t>(topic));
    }
  }
  Verb* verb = FindVerbByName(verbs, name);
  if (separator != all_words.end() && verb != nullptr && verb->program() != nullptr) {
    verb->program()->assign(separator + 1, all_words.end());
  } else {
    words = all_words;
    rest.insert(rest.end(), separator, all_words.end());
  }
  const auto report = [&](Context& context, const Error& error) {
    return Report(context, error,
                  verb != nullptr ? verb->ExitCodeFor(error, all_words) : ExitCodeOf(error.code));
  };

  Arguments own;
  if (verb != nullptr) verb->Declare(own);
  Status parsed;
  if (verb == nullptr && !name.empty()) {
    parsed = tl::unexpected<Error>(UnknownVerb(verbs, name));
  } else if (std::find(rest.begin(), rest.end(), "--help") != rest.end() ||
             std::find(rest.begin(), rest.end(), "-h") != rest.end()) {
    help = true;  // also where the rest is incomplete
  } else if (!help) {
    parsed =
        verb != nullptr ? ParseArguments(rest, {&own, &globals}) : ParseArguments(rest, {&alone});
  }

  const auto format = ParseOutputFormat(
      verb != nullptr && options.output == verb->text_format() ? "table" : options.output);
  const auto color = ParseColor(options.color);
  Context context(world, options, format && parsed ? *format : GuessFormat(words),
                  color.value_or(ColorChoice::kAuto));
  if (!parsed) {
    Error error = parsed.error();
    if (error.hint.empty()) error.hint = "tranche help" + (verb != nullptr ? " " + name : "");
    return report(context, error);
  }
  if (!format) return report(context, format.error());
  if (!color) return report(context, color.error());
  if (version) {
    verb = FindVerbByName(verbs, "version");
  } else if (help || verb == nullptr) {
    world.out << (verb != nullptr ? VerbHelp(*verb, globals) : ProgramHelp(verbs, globals))
              << std::flush;
    return 0;
  }

  const auto code = verb->Run(context);
  return code ? *code : report(context, code.error());
}

}  // namespace tranche
