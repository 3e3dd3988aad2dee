#include "stage/import/draft.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "base/quote.h"

namespace tranche::importing {
namespace {

// Rounded down to a tenth of a percent: asking for more than was said could fit nowhere.
std::string Percent(double share) {
  const double tenths = std::max(1.0, std::floor(share * 1000 + 1e-6));
  return fmt::format("{:g}%", tenths / 10);
}

// Rounded down to a MiB, which is what other tools count in.
std::string Size(Bytes memory) {
  return FormatBytesExact(MiB(std::max<uint64_t>(1, memory.value >> 20)));
}

// A label, which YAML may take for something else: "10", "1e5", "no".
std::string Name(const std::string& name) {
  static const std::set<std::string> kWords = {"true", "false", "yes",  "no",  "on", "off",
                                               "y",    "n",     "null", "nan", "inf"};
  const bool letter = !name.empty() && name[0] >= 'a' && name[0] <= 'z';
  return letter && kWords.count(name) == 0 ? name : Quote(name);
}

// Everything but the name and the number of replicas.
std::string Body(const DraftWorkload& workload, bool hold) {
  std::string out;
  const auto line = [&](const char* key, const std::string& value) {
    if (!value.empty()) out += fmt::format("    {}: {}\n", key, value);
  };
  line("team", workload.team.empty() ? "" : Name(workload.team));
  line("isolation", workload.isolation);
  if (workload.mechanism) line("mechanism", MechanismName(*workload.mechanism));
  line("profile", workload.profile);
  line("gpu", workload.gpu);
  if (workload.gpus > 1) line("gpus", fmt::format("{}", workload.gpus));
  if (workload.memory) line("memory", Size(*workload.memory));
  if (workload.compute && workload.compute_limit) {
    line("compute", fmt::format("{{request: {}, limit: {}}}", Percent(*workload.compute),
                                Percent(*workload.compute_limit)));
  } else if (workload.compute) {
    line("compute", Percent(*workload.compute));
  }
  if (!workload.image.empty()) line("image", Quote(workload.image));
  if (!workload.command.empty()) {
    line("command", QuoteList(workload.command));
  } else if (hold && workload.image.empty()) {
    line("command", "[sleep, infinity]");
  }
  if (!workload.args.empty()) line("args", QuoteList(workload.args));
  if (!workload.env.empty()) {
    out += "    env:\n";
    for (const auto& [name, value] : workload.env) {
      out += fmt::format("      {}: {}\n", name, Quote(value));
    }
  }
  if (workload.port) line("port", fmt::format("{}", *workload.port));
  return out;
}

}  // namespace

void Draft::Add(DraftWorkload workload) {
  if (workload.name.empty()) workload.name = "workload";
  for (DraftWorkload& other : workloads) {
    if (other.name == workload.name && Body(other, false) == Body(workload, false)) {
      other.replicas += workload.replicas;
      return;
    }
  }
  const std::string wanted = workload.name;
  const auto taken = [&](const std::string& name) {
    return std::any_of(workloads.begin(), workloads.end(),
                       [&](const DraftWorkload& other) { return other.name == name; });
  };
  for (int number = 2; taken(workload.name); ++number) {
    const std::string suffix = fmt::format("-{}", number);
    workload.name = wanted.substr(0, 63 - suffix.size()) + suffix;
  }
  workloads.push_back(std::move(workload));
}

std::string SpecText(const Draft& draft, const std::string& first_line, bool hold) {
  std::string out = "# " + first_line + "\nversion: 1\n";
  if (draft.workloads.empty()) return out + "workloads: []\n";
  out += "workloads:\n";
  for (const DraftWorkload& workload : draft.workloads) {
    if (!workload.comment.empty()) out += "  # " + workload.comment + "\n";
    out += "  - name: " + Name(workload.name) + "\n" + Body(workload, hold);
    if (workload.replicas > 1) out += fmt::format("    replicas: {}\n", workload.replicas);
  }
  return out;
}

}  // namespace tranche::importing
