#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/json_fwd.h"
#include "base/units.h"
#include "model/machine.h"
#include "model/mechanism.h"
#include "model/time_slice.h"

namespace tranche {

// What Tranche made and holds on a machine now: the planner's other input, the store's content.
// Anything on the machine that is not in here is somebody else's and is never touched without
// `--adopt`.

// The part of a GPU that one replica holds.
struct Slice {
  std::string gpu_uuid;
  Mechanism mechanism = Mechanism::kExclusive;
  // Of a MIG instance, absent otherwise. With kMps the instance is shared: each tenant's slice
  // names it, and `memory` and `compute_fraction` are the tenant's part of it.
  std::string profile;
  std::optional<MigPlacement> placement;
  Bytes memory;                 // what the slice holds
  double compute_fraction = 1;  // SMs of the slice / SMs of the GPU
  // The other whole GPUs of a replica that asked for several; `memory` is then the sum of all.
  std::vector<std::string> more_gpu_uuids = {};
  // With kVgpu: "A40-8C". One that MIG backs has its instance in `profile` and `placement`.
  std::string vgpu_type = {};

  bool operator==(const Slice&) const = default;
};

struct OwnedInstance {
  std::string gpu_uuid;
  std::string profile;
  MigPlacement placement;
  bool operator==(const OwnedInstance&) const = default;
};

struct DeployedReplica {
  std::string workload;
  int replica = 0;
  std::string digest;  // WorkloadDigest of what it was started from
  Slice slice;
  bool stopped = false;  // by `tranche stop`; the slice stays held
  // Its processes as last seen; empty when nobody looked. Tells the planner ours from foreign on a
  // GPU that is not divided by MIG.
  std::vector<int> pids = {};
  // Where it is routed to, "" when it is not; absent when nobody recorded it.
  std::optional<std::string> route = {};
  bool operator==(const DeployedReplica&) const = default;
};

// A GPU as it was before Tranche first changed it; what `down` goes back to.
struct Baseline {
  std::string gpu_uuid;
  bool mig_enabled = false;
  std::vector<OwnedInstance>
      instances;  // somebody else's that Tranche adopted; `down` makes them again
  // Before Tranche first set one; absent: it never did.
  std::optional<TimeSlice> time_slice = {};
  std::optional<ComputeMode> compute_mode = {};  // likewise
  std::optional<VgpuHostState> vgpu_host = {};   // likewise
  bool operator==(const Baseline&) const = default;
};

// The class of time slices that a GPU has for Tranche's tenants. The driver forgets it when it is
// loaded again.
struct SetTimeSlice {
  std::string gpu_uuid;
  TimeSlice time_slice = TimeSlice::kDefault;
  bool operator==(const SetTimeSlice&) const = default;
};

// The compute mode that a GPU has for Tranche's tenants: exclusive_process, under which nobody but
// an MPS server is let in. The driver forgets it, too.
struct SetComputeMode {
  std::string gpu_uuid;
  ComputeMode compute_mode = ComputeMode::kExclusiveProcess;
  bool operator==(const SetComputeMode&) const = default;
};

// What holds for the virtual GPUs of a GPU for Tranche's tenants. The driver forgets it, too.
struct SetVgpuHost {
  std::string gpu_uuid;
  VgpuHostState state;
  bool operator==(const SetVgpuHost&) const = default;
};

struct Deployment {
  std::string plan_id;  // of the plan that made it; "" when nothing is deployed
  std::vector<OwnedInstance> instances;
  std::vector<DeployedReplica> replicas;
  std::vector<Baseline> baselines;
  std::vector<SetTimeSlice> time_slices = {};
  std::vector<SetComputeMode> compute_modes = {};
  std::vector<SetVgpuHost> vgpu_hosts = {};
  // GPUs that `tranche drain` keeps free, by UUID. Outlives every plan.
  std::vector<std::string> drained = {};

  bool IsDrained(const std::string& gpu_uuid) const;
  const SetTimeSlice* FindTimeSlice(const std::string& gpu_uuid) const;
  const SetComputeMode* FindComputeMode(const std::string& gpu_uuid) const;
  const SetVgpuHost* FindVgpuHost(const std::string& gpu_uuid) const;
  bool operator==(const Deployment&) const = default;
  bool Owns(const std::string& gpu_uuid, MigPlacement placement) const;
  const DeployedReplica* FindReplica(const std::string& workload, int replica) const;
};

Json ToJson(const Slice& slice);
Result<Slice> SliceFromJson(const Json& json);
Json ToJson(const Deployment& deployment);
Result<Deployment> DeploymentFromJson(const Json& json);

}  // namespace tranche
