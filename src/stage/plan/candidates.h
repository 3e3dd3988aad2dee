#pragma once

#include <optional>
#include <string>
#include <vector>

#include "decide/geometry/mig_geometry.h"
#include "model/deployment.h"
#include "model/machine.h"
#include "model/plan.h"
#include "stage/plan/needs.h"
#include "stage/plan/planner.h"

namespace tranche::planning {

// What tenants of an undivided GPU can have of its memory. CUDA is given less than the total that
// NVML states: 0.6 % less on H100, 1.1 % on A100-80, 1.3 % on L40S, 1.6 % on 24 GB boards (totals
// that vLLM logged on each). Taken at the most of these, so that a full GPU is never planned fuller
// than it is.
Bytes UsableMemory(const Gpu& gpu);

// What planning may do with one GPU, before any workload is looked at.
struct GpuView {
  const Gpu* gpu = nullptr;
  std::optional<MigGeometry>
      geometry;  // absent: not to be divided by MIG, for the reason in no_mig
  std::string no_mig;
  std::string no_whole;  // why it cannot be used undivided; "" when it can
  std::string unusable;  // why not at all; "" when it can
  bool mig_on = false;
  Occupancy foreign;                          // instances that are not ours and stay where they are
  std::vector<MigInstance> removable;         // not ours, idle, and --adopt was given
  std::vector<GpuProcess> foreign_processes;  // outside MIG instances
  Bytes free_undivided;                       // usable memory, less what foreign processes hold
  std::string free_unknown;                   // why free_undivided cannot be relied on
  double compute_promised = 0;                // of its time, to programs outside what is planned
  std::optional<double> price_per_hour;
  std::optional<double> spot_price_per_hour;  // with nobody on it but the preemptible
  std::optional<int> watts;                   // that it draws at most, where the catalog knows
  std::vector<Capability> capabilities;       // of this GPU
  // What the spec's tiers say of it.
  bool in_tiers = false;             // there are tiers at all
  std::string tier;                  // "" when it is in none
  std::optional<Mechanism> only;     // how it is divided; absent: in any way
  std::optional<int> most_tenants;   // that may share it undivided
  std::vector<PlacedProfile> fixed;  // its instances, for good; the geometry allows no others
  std::vector<const VgpuThere*> foreign_vgpus;  // that no deployed replica holds
  std::string no_whole_but_vgpu;                // why it is for nothing but vGPUs; "" when it is
  int mps_clients = 0;                          // that one MPS server of the driver serves at most
  // Workloads of the spec ask for SMs of their own through MPS. A server gives static partitions to
  // all its clients or to none, so nobody else is put on an undivided GPU through MPS.
  bool mps_partitioned = false;

  const Capability* Find(Mechanism mechanism) const;
  // The part of its SMs that an instance of the profile (of its geometry) has; 0 when not known.
  double ComputeOf(int profile) const;
  // How many clients MPS serves in an instance of it.
  int MpsClientsIn(int profile) const;
  // "gpu0"
  std::string name() const;
};

std::vector<GpuView> ViewsOf(const Machine& machine, const Deployment& deployment, const Spec& spec,
                             const Catalog& catalog, const PlanOptions& options, bool adopt);

// The processes that hold a GPU against a change, in words: "pid 4711 (python train.py, user ana)".
std::string WhoIs(const std::vector<GpuProcess>& processes);

// One way to put a replica on one GPU.
struct Option {
  Mechanism mechanism = Mechanism::kExclusive;
  // Index into the GPU's geometry, with kMig; with kMps and kVgpu that of an instance that its
  // tenants may share.
  int profile = -1;
  Bytes memory;  // what the slice takes of each GPU: the profile's, the whole GPU's, or the need
  double compute_fraction = 1;  // likewise: SMs of the slice / SMs of the GPU
  double memory_share = 1;      // of the GPU's memory slots, or of its memory
  double compute_share = 1;     // of the GPU's compute slices, or of its SMs
  Guarantees guarantees;
  TimeSlice time_slice = TimeSlice::kDefault;  // with kTimeSlicing: that of all tenants of the GPU

  int vgpu = -1;  // with kVgpu: which of the GPU's offers
  // With kVgpu: only those of one group share the GPU, or the instance of MIG; 0: its own instance.
  int vgpu_group = 0;

  // An instance of MIG that nobody else is in.
  bool own_instance() const {
    return mechanism == Mechanism::kMig ||
           (mechanism == Mechanism::kVgpu && profile >= 0 && vgpu_group == 0);
  }
  // A part of one that others may be in, too.
  bool in_instance() const {
    return profile >= 0 &&
           (mechanism == Mechanism::kMps || (mechanism == Mechanism::kVgpu && vgpu_group != 0));
  }
};

// Whether the workload asks for SMs of its own, in a static partition of MPS.
bool AsksForPartition(const Workload& workload);
// What the mechanism gives the workload. With `memory_cap` the limiter stands in for what the
// mechanism does not do; a partition of MPS is given to who asks for it.
Guarantees GivenBy(const Capability& capability, const Workload& workload);
// Of what MPS gives, what it gives within an instance that is shared.
Guarantees WithinInstance(Guarantees guarantees);

// Every way worth trying on one GPU, the least of the GPU first; or why there is none.
struct Candidates {
  std::vector<Option> options;
  std::string refusal;
  bool other_model = false;  // than the workload asks for: that is all that speaks against it
};
Candidates CandidatesOn(const GpuView& view, const ReplicaNeed& need, const Catalog& catalog);

// "hardware isolation", or the axes that were asked one by one.
std::string IsolationText(const IsolationAsk& isolation);
// Whether two tenants may share a fault domain (MPS, fraction).
bool MayShareFaultDomain(const Workload& a, const Workload& b);

}  // namespace tranche::planning
