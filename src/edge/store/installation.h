#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "model/deployment.h"
#include "model/guarantee.h"
#include "model/spec.h"

namespace tranche {

// What one replica is started from, again and again, long after the plan that placed it.
struct Launch {
  int replica = 0;
  Workload workload;                      // without what `env_from` holds, which is never stored
  std::vector<std::string> engine_flags;  // of its assignment
  Guarantees guarantee;                   // as planned
  uint32_t uid = 0;                       // of whoever applied it
  uint32_t gid = 0;
  bool allow_root = false;
  bool ended = false;  // it had finished by itself when this was noted: not to be run again

  bool operator==(const Launch&) const = default;
};

// A deployment together with everything that is needed to make it so again without its plan: what
// undoing goes back to, and what is re-established after a reboot.
struct Installation {
  Deployment deployment;
  std::vector<Launch> launches;  // one for each of deployment.replicas
  // What was applied, whose tiers and maintenance windows go on to hold. Absent: nothing was, or an
  // older Tranche did not note it.
  std::optional<Spec> spec = {};

  bool operator==(const Installation&) const = default;
  const Launch* FindLaunch(const std::string& workload, int replica) const;
};

Json ToJson(const Installation& installation);
Result<Installation> InstallationFromJson(const Json& json);

}  // namespace tranche
