#include "sim/mps/verbs.h"

#include <algorithm>

namespace tranche::sim::mps {
namespace {

constexpr const char* kProgram = "nvidia-cuda-mps-control";

const std::vector<Verb>& All() {
  static const std::vector<Verb> kVerbs = [] {
    std::vector<Verb> all;
    for (const auto& verbs : {ServerVerbs(), NamespaceVerbs(), ClientVerbs(), DeviceVerbs(),
                              PartitionVerbs(), FeatureVerbs()})
      all.insert(all.end(), verbs.begin(), verbs.end());
    return all;
  }();
  return kVerbs;
}

std::string UsageOf(const Verb& verb) {
  std::string text = std::string(kProgram) + " " + verb.module + " " + verb.name;
  if (*verb.usage != 0) text += std::string(" ") + verb.usage;
  return text + "\n";
}

std::string UsageOfModule(const std::string& module) {
  std::string text;
  for (const Verb& verb : All()) {
    if (module.empty() || verb.module == module) text += UsageOf(verb);
  }
  return text;
}

bool Takes(const Verb& verb, const std::string& option) {
  return std::find(verb.options.begin(), verb.options.end(), option) != verb.options.end();
}

// Sorts what was given into words, options and flags; "" or what is wrong with it.
std::string Sort(const Verb& verb, const Words& given, Arguments* arguments) {
  for (const std::string& one : given) {
    const bool dashed = one.rfind("--", 0) == 0;
    const size_t equals = one.find('=');
    const std::string name = one.substr(dashed ? 2 : 0, equals - (dashed ? 2 : 0));
    if (!dashed && equals == std::string::npos) {
      arguments->words.push_back(one);
      continue;
    }
    const bool is_flag = equals == std::string::npos;
    if (!Takes(verb, is_flag ? "--" + name : name)) {
      const bool lacks = is_flag && Takes(verb, name);
      return lacks ? "Option '--" + name + "' needs a value: --" + name + "=VALUE"
                   : "Unknown option '" + one.substr(0, equals) + "' of " + verb.module + " " +
                         verb.name;
    }
    arguments->options[name] = is_flag ? "" : one.substr(equals + 1);
  }
  if (arguments->words.size() < verb.fewest) return "Too few arguments";
  if (arguments->words.size() > verb.most)
    return "Too many arguments: '" + arguments->words[verb.most] + "'";
  if (!arguments->Has("format")) return "";
  const auto format = FormatNamed(arguments->Option("format"));
  if (!format)
    return "Unknown format '" + arguments->Option("format") + "': table, csv or csv,noheader";
  arguments->format = *format;
  return "";
}

}  // namespace

std::string Arguments::Option(const std::string& name) const {
  const auto option = options.find(name);
  return option == options.end() ? "" : option->second;
}

std::string UsageOfVerbs() { return UsageOfModule(""); }

Answer Run(NamedDaemon* daemon, const Words& words, uint32_t uid) {
  const std::string module = words.empty() ? "" : words[0];
  const std::string of_module = UsageOfModule(module);
  if (of_module.empty() || module.empty())
    return No("Unknown module '" + module +
              "': server, namespace, client, device, sm-partition, feature, memacct or "
              "context-share");
  const std::string name = words.size() < 2 ? "" : words[1];
  if (name == "help") return {true, of_module};
  const auto verb = std::find_if(All().begin(), All().end(), [&](const Verb& one) {
    return one.module == module && one.name == name;
  });
  if (verb == All().end()) {
    return {false, (name.empty() ? "Module " + module + " needs a verb:\n"
                                 : "Unknown verb '" + name + "' of " + module + ":\n") +
                       of_module};
  }
  if (words.size() == 3 && words[2] == "help") return {true, UsageOf(*verb)};
  Arguments arguments;
  arguments.uid = uid;
  const std::string wrong = Sort(*verb, Words(words.begin() + 2, words.end()), &arguments);
  if (!wrong.empty()) return {false, wrong + "\n" + "usage: " + UsageOf(*verb)};
  return verb->run(daemon, arguments);
}

}  // namespace tranche::sim::mps
