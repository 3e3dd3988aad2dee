#pragma once

#include <functional>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"
#include "model/deployment.h"
#include "model/machine.h"
#include "model/plan.h"

namespace tranche {

// Everything that is asked before the first step. Pure.

struct ReplicaKey {
  std::string workload;
  int replica = 0;
  auto operator<=>(const ReplicaKey&) const = default;
};

// Which replica of ours a process belongs to, or nothing when it is somebody else's.
using ProcessOwner = std::function<std::optional<ReplicaKey>(int pid)>;

// kInvalid for a plan that can only be read (made on a spec's fleet), kDoesNotFit for one that
// leaves workloads out, kStale, saying what moved, for one made for another machine or deployment.
Status CheckPlanFits(const Plan& plan, const Machine& machine, const Deployment& deployment);

// kBusy when a step meets what is not ours: an instance that Tranche did not make (unless the plan
// adopts), or a process that is not stopped by an earlier step of this very plan. Names who is in
// the way.
Status CheckNobodyInTheWay(const Plan& plan, const Machine& machine, const Deployment& deployment,
                           const ProcessOwner& owner);

// kPermission when a workload would run as root and nobody said that it may.
Status CheckRoot(const Plan& plan, uint32_t uid, bool allow_root);

}  // namespace tranche
