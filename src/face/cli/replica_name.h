#pragma once

#include <optional>
#include <string>

#include "base/result.h"
#include "face/cli/operations.h"

namespace tranche {

// "phi" or "phi/1".
struct ReplicaName {
  std::string workload;
  std::optional<int> replica;
};

Result<ReplicaName> ParseReplicaName(const std::string& text);

// The replicas of that name that are deployed, in order; kNotFound with the nearest name when there
// is none.
Result<std::vector<int>> FindReplicas(const SystemStatus& status, const ReplicaName& name);

}  // namespace tranche
