#pragma once

#include <map>
#include <string>
#include <vector>

#include "sim/mps/named_daemon.h"
#include "sim/mps/protocol.h"
#include "sim/mps/table.h"

// The commands of protocol 3: `<module> <verb> [words] [--key=value] [--flag]`.
namespace tranche::sim::mps {

// A command, held to what its verb knows.
struct Arguments {
  Words words;
  std::map<std::string, std::string> options;  // by their names, without dashes; flags are ""
  Format format = Format::kTable;
  uint32_t uid = 0;  // whose it is

  bool Has(const std::string& name) const { return options.count(name) > 0; }
  // "" when it was not given.
  std::string Option(const std::string& name) const;
};

struct Verb {
  const char* module;
  const char* name;
  size_t fewest, most;  // words
  Words options;        // with a value: "uid"; flags: "--force"
  const char* usage;    // what follows the verb
  Answer (*run)(NamedDaemon*, const Arguments&);
};

// Every one, by module.
std::vector<Verb> ServerVerbs();
std::vector<Verb> NamespaceVerbs();
std::vector<Verb> ClientVerbs();
std::vector<Verb> DeviceVerbs();
std::vector<Verb> PartitionVerbs();
std::vector<Verb> FeatureVerbs();

// Runs a command, or says how it is used (`help`).
Answer Run(NamedDaemon* daemon, const Words& words, uint32_t uid);
// How all of them are used.
std::string UsageOfVerbs();

}  // namespace tranche::sim::mps
