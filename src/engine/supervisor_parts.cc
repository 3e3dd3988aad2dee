#include "engine/supervisor_parts.h"

#include <fmt/format.h>

namespace tranche {

std::string Name(const ReplicaKey& key) { return fmt::format("{}/{}", key.workload, key.replica); }

ReplicaKey KeyOf(const ReplicaRecord& record) { return {record.workload, record.replica}; }

std::string HealthKey(const ReplicaRecord& record) {
  return fmt::format("{}/{}/{}", record.workload, record.replica, record.generation);
}

bool Matches(const ReplicaRecord& record, const DeployedReplica& deployed) {
  return record.digest == deployed.digest && record.slice == deployed.slice;
}

}  // namespace tranche
