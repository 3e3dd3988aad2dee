#include "face/cli/help.h"

#include <algorithm>

namespace tranche {
namespace {

std::string Shown(const Parameter& parameter) {
  std::string out;
  for (const char c : parameter.names) {
    out += c;
    if (c == ',') out += ' ';
  }
  if (!parameter.positional() && !parameter.value.empty()) out += " " + parameter.value;
  return out;
}

std::string Aligned(const std::vector<std::pair<std::string, std::string>>& lines) {
  size_t width = 0;
  for (const auto& line : lines) width = std::max(width, line.first.size());
  std::string out;
  for (const auto& [name, help] : lines) {
    out += "  " + name + std::string(width - name.size() + 2, ' ') + help + "\n";
  }
  return out;
}

}  // namespace

std::string ParameterHelp(const Arguments& arguments) {
  std::vector<std::pair<std::string, std::string>> lines;
  for (const Parameter& parameter : arguments.parameters()) {
    lines.emplace_back(Shown(parameter), parameter.help);
  }
  return Aligned(lines);
}

std::string ProgramHelp(const std::vector<std::unique_ptr<Verb>>& verbs, const Arguments& globals) {
  std::string out =
      "Tranche shares NVIDIA GPUs among many workloads.\n\n"
      "Examples:\n"
      "  tranche inventory\n"
      "  tranche plan -f spec.yaml\n"
      "  tranche apply -f spec.yaml\n"
      "  tranche status\n"
      "  tranche down\n\n"
      "Usage: tranche VERB [OPTIONS]; tranche help VERB\n\n"
      "Verbs:\n";
  std::vector<std::pair<std::string, std::string>> lines;
  for (const auto& verb : verbs) {
    const Verb::Info info = verb->info();
    lines.emplace_back(info.name, info.summary);
  }
  out += Aligned(lines);
  out += "\nOptions of every verb:\n" + ParameterHelp(globals);
  out += "\nExit codes and the rest: docs/cli.md\n";
  return out;
}

std::string VerbHelp(Verb& verb, const Arguments& globals) {
  const Verb::Info info = verb.info();
  Arguments arguments;
  verb.Declare(arguments);
  std::string out = info.summary + "\n\nExamples:\n";
  for (const std::string& example : info.examples) out += "  " + example + "\n";
  out += "\nUsage: tranche " + info.name;
  for (const Parameter& parameter : arguments.parameters()) {
    if (!parameter.positional()) continue;
    out += parameter.required ? " " + parameter.names : " [" + parameter.names + "]";
  }
  out += " [OPTIONS]\n";
  if (!info.details.empty()) out += "\n" + info.details + "\n";
  if (!arguments.parameters().empty()) out += "\nOptions:\n" + ParameterHelp(arguments);
  out += "\nOptions of every verb:\n" + ParameterHelp(globals);
  out += "\nExit codes and the rest: docs/cli.md\n";
  return out;
}

}  // namespace tranche
