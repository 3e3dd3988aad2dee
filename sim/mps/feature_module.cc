#include "sim/mps/modules.h"

namespace tranche::sim::mps {
namespace {

Answer Switch(NamedDaemon* daemon, const Arguments& arguments, bool on) {
  const auto feature = daemon->features().find(arguments.words[0]);
  if (feature == daemon->features().end())
    return No("Unknown feature '" + arguments.words[0] + "': memacct or context-share");
  feature->second = {on, false};
  return {};
}

Answer Enable(NamedDaemon* daemon, const Arguments& arguments) {
  return Switch(daemon, arguments, true);
}

Answer Disable(NamedDaemon* daemon, const Arguments& arguments) {
  return Switch(daemon, arguments, false);
}

Answer Describe(NamedDaemon* daemon, const std::string& only, Format format) {
  Table table{{"feature", "state", "module", "covers"}, {}};
  for (const auto& [name, feature] : daemon->features()) {
    if (!only.empty() && only != name) continue;
    const std::string state = feature.enabled ? "enabled" : "disabled";
    table.rows.push_back({name, state + (feature.is_default ? " (default)" : ""), name, "-"});
  }
  if (table.rows.empty()) return No("Unknown feature '" + only + "': memacct or context-share");
  return {true, Print(table, format)};
}

Answer DescribeFeature(NamedDaemon* daemon, const Arguments& arguments) {
  return Describe(daemon, arguments.words.empty() ? "" : arguments.words[0], arguments.format);
}

Answer DescribeSharing(NamedDaemon* daemon, const Arguments& arguments) {
  return Describe(daemon, "context-share", arguments.format);
}

Answer SetAccounting(NamedDaemon* daemon, const Arguments& arguments) {
  if (!arguments.Has("audit_log")) return No("Nothing is to be set: give audit_log=BOOL");
  const auto on = BooleanIn(arguments, "audit_log");
  if (!on) return No(on.error().message);
  daemon->audit_log() = *on;
  return {};
}

Answer DescribeAccounting(NamedDaemon* daemon, const Arguments& arguments) {
  const Table table{{"setting", "value"}, {{"audit_log", daemon->audit_log() ? "true" : "false"}}};
  return {true, Print(table, arguments.format)};
}

}  // namespace

std::vector<Verb> FeatureVerbs() {
  constexpr const char* kFormat = "[--format=table|csv[,noheader]]";
  return {{"feature", "enable", 1, 1, {}, "memacct|context-share", Enable},
          {"feature", "disable", 1, 1, {}, "memacct|context-share", Disable},
          {"feature",
           "describe",
           0,
           1,
           {"format"},
           "[memacct|context-share] [--format=table|csv[,noheader]]",
           DescribeFeature},
          {"memacct", "set", 0, 0, {"audit_log"}, "audit_log=BOOL", SetAccounting},
          {"memacct", "describe", 0, 0, {"format"}, kFormat, DescribeAccounting},
          {"context-share", "describe", 0, 0, {"format"}, kFormat, DescribeSharing}};
}

}  // namespace tranche::sim::mps
