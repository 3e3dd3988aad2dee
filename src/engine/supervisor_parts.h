#pragma once

#include <string>

#include "engine/supervisor.h"

namespace tranche {

// What the files of the supervisor share.

constexpr Duration kPollInterval = std::chrono::milliseconds(100);

// "phi/0", for messages.
std::string Name(const ReplicaKey& key);
ReplicaKey KeyOf(const ReplicaRecord& record);
// Health is asked per start, so that what was known of an earlier process is forgotten.
std::string HealthKey(const ReplicaRecord& record);
// Whether the recorded replica was started from exactly this.
bool Matches(const ReplicaRecord& record, const DeployedReplica& deployed);

}  // namespace tranche
