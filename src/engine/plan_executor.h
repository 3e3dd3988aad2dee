#pragma once

#include <set>

#include "edge/store/installation.h"
#include "engine/supervisor.h"
#include "stage/apply/executor.h"
#include "stage/apply/mig_steps.h"

namespace tranche {

// The steps of one plan on this machine: hardware through the driver, workloads and routes through
// the supervisor. What a replica is started from is in `after`; what undoing goes back to, in
// `before`.
class PlanExecutor final : public Executor {
 public:
  // All must outlive this.
  PlanExecutor(Driver& driver, Supervisor& supervisor, const Installation& before,
               const Installation& after)
      : mig_(driver), supervisor_(supervisor), before_(before), after_(after) {}

  Result<std::string> Do(const Step& step) override;
  Result<bool> Holds(const Step& step) override;
  Status Undo(const Step& step, const std::string& made) override;

 private:
  Status StopReplica(const ReplicaKey& key);

  MigSteps mig_;
  Supervisor& supervisor_;
  const Installation& before_;
  const Installation& after_;
  std::set<ReplicaKey> started_;  // by this run
};

}  // namespace tranche
