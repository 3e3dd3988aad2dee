#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sim/mps/named_daemon.h"

namespace tranche::sim::mps {

// What -a applies once, at the start of a daemon of protocol 3.
struct Configuration {
  struct Namespace {
    std::string name;
    LimitsWish limits;
  };
  struct Server {
    ServerWish wish;
    LimitsWish limits;  // of its default namespace
    std::vector<Namespace> namespaces;
    std::vector<PartitionWish> partitions;
  };
  struct Switch {
    std::string feature;
    bool enabled = false;
  };
  std::vector<Server> servers;  // by name
  std::vector<Switch> features;
  bool audit_log = false;
};

// A TOML file, and all that is wrong with it.
Result<Configuration> ReadConfiguration(const std::string& file);
// Its servers are recorded with all that is in them before their processes start.
Status Apply(const Configuration& configuration, NamedDaemon* daemon);

}  // namespace tranche::sim::mps
