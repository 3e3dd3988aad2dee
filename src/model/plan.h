#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/json_fwd.h"
#include "model/deployment.h"
#include "model/guarantee.h"
#include "model/spec.h"
#include "model/tier_capacity.h"

namespace tranche {

// The symbol in front of a step: + create, = keep, ~ change, - destroy. `interrupts` adds a "!".
enum class Change { kCreate, kKeep, kChange, kDestroy };

enum class StepKind {
  kEnableMig,        // gpu_uuid
  kDisableMig,       // gpu_uuid
  kDestroyInstance,  // gpu_uuid, slice
  kCreateInstance,   // gpu_uuid, slice
  kKeepInstance,     // gpu_uuid, slice; nothing is done
  kStopReplica,      // workload, replica, slice
  kStartReplica,     // workload, replica, slice
  kKeepReplica,      // workload, replica, slice; nothing is done
  kRoute,            // the router's configuration as of this plan; workloads with a route
  kUnroute,          // no route is left: the router stops
  kSetTimeSlice,     // gpu_uuid, time_slice, time_slice_before
  kSetComputeMode,   // gpu_uuid, compute_mode, compute_mode_before
  kCreateVgpu,       // workload, replica, slice
  kDestroyVgpu,      // workload, replica, slice
  kSetVgpuHost,      // gpu_uuid, vgpu_host, vgpu_host_before
};

// Somebody whose work a step would interrupt.
struct Interruption {
  int pid = 0;
  std::string command, user, container;
  bool operator==(const Interruption&) const = default;
};

// One change of hardware or processes. Steps run in order.
struct Step {
  int id = 0;  // from 1, dense
  StepKind kind = StepKind::kKeepInstance;
  Change change = Change::kKeep;
  std::string target;  // for people: "gpu0 2g.20gb@0", "workload phi/0"
  std::string why;
  std::string gpu_uuid;
  std::string workload;
  int replica = 0;
  std::optional<Slice> slice;
  std::optional<TimeSlice> time_slice, time_slice_before;  // before: "default" where not known
  std::optional<ComputeMode> compute_mode, compute_mode_before;
  std::optional<VgpuHostState> vgpu_host, vgpu_host_before;
  bool by_hand =
      false;  // somebody asked for this very step: what it makes is theirs, not Tranche's
  bool reversible = true;
  std::vector<Interruption> interrupts;

  bool operator==(const Step&) const = default;
};

// The virtual GPU of a replica that is a virtual machine.
struct AssignedVgpu {
  VgpuSeries series = VgpuSeries::kC;
  Bytes framebuffer;   // of the slice, what its type is named for
  Bytes guest_memory;  // that the guest gets of it at least
  // How it takes turns with those on its GPU; absent: not known, or it is backed by MIG.
  std::optional<VgpuScheduler> scheduler;
  // Among other sizes: its part of the GPU, the `part`-th of `parts` equal ones; absent otherwise.
  std::optional<int> part, parts;
  std::string licence;                          // what must be bought; "" when that is not known
  std::optional<double> licence_cost_per_hour;  // for this one
  bool operator==(const AssignedVgpu&) const = default;
};

// Where one replica goes. `placements[]` in JSON.
struct Assignment {
  std::string workload;
  int replica = 0;
  std::string team;
  Slice slice;
  std::string gpu_model;  // catalog key, or the NVML name when the catalog does not know it
  int gpu_index = 0;
  Bytes needed;  // what the workload needs of slice.memory
  Guarantees guarantee;
  std::vector<std::string> reasons;       // why this mechanism, this profile, this place; sentences
  std::vector<std::string> engine_flags;  // what the engine is told so that it stays in the slice
  std::optional<double> cost_per_hour;    // this slice's part of its GPU's price
  std::optional<AssignedVgpu> vgpu;       // with kVgpu

  bool operator==(const Assignment&) const = default;
};

struct Unplaced {
  std::string workload;
  int replica = 0;
  std::string reason;   // why nothing at hand holds it
  std::string nearest;  // the smallest change that would
  bool operator==(const Unplaced&) const = default;
};

struct Plan {
  std::string id;  // digest of the rest; equal plans have equal ids
  Spec spec;       // what was asked, so that a plan file is enough to apply
  std::string machine_fingerprint;
  bool simulated_fleet = false;  // planned on a spec's fleet: can be read and priced, not applied
  bool adopts = false;           // made with --adopt
  std::vector<Assignment> assignments;
  std::vector<Unplaced> unplaced;
  std::vector<Step> steps;
  std::optional<double> cost_per_hour;  // of the GPUs used, where every price is known
  // No plan that places as much costs less; equal to cost_per_hour when that is proven to be least.
  std::optional<double> cost_lower_bound_per_hour;
  // Of the vGPUs, beside the GPUs, where the price of every licence is known.
  std::optional<double> licence_cost_per_hour;
  // The most that the GPUs used may draw together, where the catalog knows that of each of them.
  std::optional<double> peak_power_watts;
  std::vector<TierCapacity> tiers;  // of the spec's tiers, in its order
  std::vector<std::string> notes;  // what the reader should know: unknown prices, foreign instances
  // The machine as planned on, in the fingerprint's terms only, so that a stale plan can say what
  // moved.
  Machine machine_layout;

  bool feasible() const { return unplaced.empty(); }
  bool HasChanges() const;
  const Assignment* FindAssignment(const std::string& workload, int replica) const;
  bool operator==(const Plan&) const = default;
};

// What Plan::id must be: "p1:" and 16 hex digits over everything but the id itself.
std::string PlanDigest(const Plan& plan);

Json ToJson(const Plan& plan);
Result<Plan> PlanFromJson(const Json& json);
Json ToJson(const Step& step);
Result<Step> StepFromJson(const Json& json);

const char* StepKindName(StepKind kind);  // "create_instance"
char ChangeSymbol(Change change);
const char* ChangeName(Change change);  // "create"

}  // namespace tranche
