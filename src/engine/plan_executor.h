#pragma once

#include <functional>
#include <set>
#include <utility>

#include "edge/driver/time_slices.h"
#include "edge/store/installation.h"
#include "engine/supervisor.h"
#include "engine/vgpu_steps.h"
#include "stage/apply/executor.h"
#include "stage/apply/mig_steps.h"

namespace tranche {

// The steps of one plan on this machine: hardware through the driver, workloads and routes through
// the supervisor. What a replica is started from is in `after`; what undoing goes back to, in
// `before`.
class PlanExecutor final : public Executor {
 public:
  // All must outlive this. `end_unused_mps`: ends the MPS daemons that no replica that runs uses,
  // whose servers would hold the GPU against what comes after.
  PlanExecutor(Driver& driver, TimeSlices& time_slices, Supervisor& supervisor, VgpuSteps vgpus,
               std::function<void()> end_unused_mps, const Installation& before,
               const Installation& after)
      : driver_(driver),
        mig_(driver),
        time_slices_(time_slices),
        supervisor_(supervisor),
        vgpus_(std::move(vgpus)),
        end_unused_mps_(std::move(end_unused_mps)),
        before_(before),
        after_(after) {}

  Result<std::string> Do(const Step& step) override;
  Result<bool> Holds(const Step& step) override;
  Status Undo(const Step& step, const std::string& made) override;

 private:
  Status StopReplica(const ReplicaKey& key);

  Result<std::string> SetComputeMode(const Step& step);
  Result<ComputeMode> ComputeModeOf(const std::string& gpu_uuid);

  Driver& driver_;
  MigSteps mig_;
  TimeSlices& time_slices_;
  Supervisor& supervisor_;
  VgpuSteps vgpus_;
  const std::function<void()> end_unused_mps_;
  const Installation& before_;
  const Installation& after_;
  std::set<ReplicaKey> started_;  // by this run
  // GPUs whose compute mode the driver did not let this run set: MPS fails open there.
  std::set<std::string> left_open_;
};

}  // namespace tranche
