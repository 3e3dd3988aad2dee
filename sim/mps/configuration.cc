#include "sim/mps/configuration.h"

namespace tranche::sim::mps {
namespace {

Status Record(const Configuration::Server& server, NamedDaemon* daemon) {
  const std::string& name = server.wish.name;
  Status status = daemon->RecordServer(server.wish);
  if (status && server.limits.any())
    status = daemon->SetLimits(name, kDefaultNamespace, server.limits);
  for (const Configuration::Namespace& one : server.namespaces) {
    if (status && one.name != kDefaultNamespace) status = daemon->CreateNamespace(name, one.name);
    if (status && one.limits.any()) status = daemon->SetLimits(name, one.name, one.limits);
  }
  for (const PartitionWish& wish : server.partitions) {
    if (!status) break;
    const auto made = daemon->CreatePartition(name, wish);
    if (!made) status = tl::unexpected(made.error());
  }
  return status;
}

}  // namespace

Status Apply(const Configuration& configuration, NamedDaemon* daemon) {
  for (const Configuration::Server& server : configuration.servers) {
    if (const Status recorded = Record(server, daemon); !recorded) return recorded;
  }
  for (const Configuration::Server& server : configuration.servers) {
    if (const Status started = daemon->StartProcess(server.wish.name); !started) return started;
  }
  for (const Configuration::Switch& one : configuration.features)
    daemon->features()[one.feature] = {one.enabled, false};
  daemon->audit_log() = configuration.audit_log;
  return {};
}

}  // namespace tranche::sim::mps
