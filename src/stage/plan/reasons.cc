#include <fmt/format.h>

#include <algorithm>

#include "stage/plan/explain.h"
#include "stage/plan/vgpu.h"

namespace tranche::planning {
namespace {

std::string Asked(const ReplicaNeed& need) {
  return need.workload->mechanism
             ? fmt::format("the spec wants {}", MechanismName(*need.workload->mechanism))
             : fmt::format("{} is asked for", IsolationText(need.workload->isolation));
}

// "gpu0", or "3g.40gb at slots 4-7 on gpu0": what its tenants share.
std::string SharedPart(const Placed& placed, const GpuView& view) {
  if (!placed.placement) return view.name();
  return fmt::format(
      "{} on {}",
      DescribePlacement(view.geometry->profile(placed.option.profile).name, *placed.placement),
      view.name());
}

int TenantsWith(const Placed& placed, const NodeLayout& layout) {
  return static_cast<int>(
      std::count_if(layout.placed.begin(), layout.placed.end(), [&](const Placed& other) {
        return other.gpus.front() == placed.gpus.front() && other.placement == placed.placement;
      }));
}

// "it shares gpu0 with 3 others".
std::string WithWhom(const Placed& placed, const NodeLayout& layout, const GpuView& view) {
  const int others = TenantsWith(placed, layout) - 1;
  const std::string what = SharedPart(placed, view);
  if (others == 0) return fmt::format("it may share {}, and is alone there so far", what);
  return fmt::format("it shares {} with {}", what,
                     others == 1 ? std::string("one other") : fmt::format("{} others", others));
}

// What MPS is and is not there.
std::vector<std::string> MpsReasons(const Placed& placed, const NodeLayout& layout,
                                    const GpuView& view) {
  const std::string what = SharedPart(placed, view);
  std::vector<std::string> reasons;
  reasons.push_back(fmt::format(
      "an MPS daemon of Tranche's own serves {}; a fault of one tenant there is the fault of all",
      what));
  if (placed.placement) {
    reasons.push_back(fmt::format(
        "against all that is on {} outside of this instance, memory, SMs and faults are kept apart "
        "in hardware; among those in it memory and time are held by the limiter in each",
        view.name()));
  }
  const int most = placed.placement ? view.MpsClientsIn(placed.option.profile) : view.mps_clients;
  const int replicas = TenantsWith(placed, layout);
  reasons.push_back(
      fmt::format("MPS serves {} client processes there at most, and {} {} planned, counted as one "
                  "process each",
                  most, replicas, replicas == 1 ? "replica is" : "replicas are"));
  return reasons;
}

// What a MIG GPU can still be cut into once the plan stands.
std::string LargestLeft(const GpuView& view, int index, const NodeLayout& layout) {
  Occupancy taken = view.foreign;
  for (const auto& [placement, profile] : InstancesOn(index, layout.placed)) {
    view.geometry->Add({profile, placement}, &taken);
  }
  const MigProfile* largest = nullptr;
  for (int p = 0; p < static_cast<int>(view.geometry->profiles().size()); ++p) {
    const MigProfile& profile = view.geometry->profile(p);
    if (profile.variant != MigVariant::kPlain || !view.geometry->FitsSomewhere(taken, p)) continue;
    if (largest == nullptr || profile.compute_slices > largest->compute_slices ||
        (profile.compute_slices == largest->compute_slices && profile.memory > largest->memory)) {
      largest = &profile;
    }
  }
  return largest != nullptr ? largest->name : "";
}

// "4 requests per second over 3 replicas are 1.33 each, and this one serves up to 2.1 within ...".
std::string SpeedReason(const Placed& placed, const ReplicaNeed& need, const GpuView& view) {
  const Workload& workload = *need.workload;
  const std::optional<double> capacity = need.speed->CapacityIn(view, placed.option);
  if (!capacity) {
    return fmt::format("whether it keeps its slo is not known: how fast {} is, is not",
                       view.gpu->model.empty() ? view.gpu->name : view.gpu->model);
  }
  const int batch = workload.model->concurrency;
  return fmt::format(
      "{:.3g} requests per second {}, and it serves up to {:.3g} within its slo ({}) with {} "
      "at once; predicted with {}, and may be off by {}",
      workload.traffic->requests_per_second,
      workload.replicas == 1
          ? std::string("come to it")
          : fmt::format("over {} replicas are {:.3g} each", workload.replicas, need.per_second),
      *capacity, Speed::ObjectiveText(*workload.slo),
      batch == 1 ? "one sequence" : fmt::format("{} sequences", batch), need.speed->from(),
      FormatPercent(need.speed->error()));
}

std::string ProfileReason(const Placed& placed, const ReplicaNeed& need, const GpuView& view,
                          Bytes needed) {
  const MigProfile& profile = view.geometry->profile(placed.option.profile);
  std::string text =
      need.whole_slice ? fmt::format("all of a {} ({}) on {} is its own", profile.name,
                                     FormatBytes(profile.memory), view.name())
                       : fmt::format("{} ({}) on {} holds the {} needed", profile.name,
                                     FormatBytes(profile.memory), view.name(), FormatBytes(needed));
  if (need.compute > 0) {
    text += fmt::format(" and has {} of the SMs where {} is asked",
                        FormatPercent(placed.option.compute_fraction), FormatPercent(need.compute));
  }
  if (!need.workload->profile.empty()) return text + "; the spec wants this profile";
  const MigProfile* below = nullptr;
  for (const MigProfile& other : view.geometry->profiles()) {
    if (other.variant != MigVariant::kPlain || other.memory >= profile.memory) continue;
    if (below == nullptr || other.memory > below->memory) below = &other;
  }
  if (below != nullptr && below->memory < need.least) {
    text += fmt::format("; {} ({}) would be too small", below->name, FormatBytes(below->memory));
  }
  return text;
}

}  // namespace

std::vector<std::string> ReasonsFor(const Placed& placed, const ReplicaNeed& need,
                                    const Slice& slice, const NodeLayout& layout,
                                    const std::vector<GpuView>& views) {
  const int index = placed.gpus.front();
  const GpuView& view = views[static_cast<size_t>(index)];
  const Bytes per_gpu{slice.memory.value / placed.gpus.size()};
  const Bytes needed = NeededIn(need, RoomIn(view, placed.option, per_gpu));
  std::vector<std::string> reasons;
  if (std::string why = WhyNeeded(need, RoomIn(view, placed.option, per_gpu)); !why.empty())
    reasons.push_back(std::move(why));
  if (need.speed != nullptr) reasons.push_back(SpeedReason(placed, need, view));
  switch (placed.option.mechanism) {
    case Mechanism::kMig:
      reasons.push_back(fmt::format(
          "{}; a MIG slice keeps memory, SMs and faults apart in hardware", Asked(need)));
      reasons.push_back(ProfileReason(placed, need, view, needed));
      break;
    case Mechanism::kExclusive:
      reasons.push_back(fmt::format(
          "{}; {}", Asked(need),
          placed.gpus.size() > 1 ? fmt::format("{} GPUs that reach each other are asked for, "
                                               "and each is held whole",
                                               placed.gpus.size())
          : need.whole_gpu       ? "how much memory it needs is not said, so it holds a whole GPU"
                           : "it holds a whole GPU, as no smaller piece of this one would do"));
      break;
    case Mechanism::kVgpu:
      for (std::string& reason : VgpuReasons(placed, need, layout, views))
        reasons.push_back(std::move(reason));
      break;
    default:
      reasons.push_back(fmt::format("{}; by {} {}, and {} of memory are reserved for it",
                                    Asked(need), MechanismName(placed.option.mechanism),
                                    WithWhom(placed, layout, view), FormatBytes(needed)));
      if (placed.option.guarantees.memory == Guarantee::kNone) {
        reasons.push_back("nothing holds a tenant that takes more than it asked for");
      }
      if (placed.option.mechanism == Mechanism::kTimeSlicing && need.workload->memory_cap) {
        reasons.push_back(
            fmt::format("the limiter in its processes holds it to {} of memory; its time is what "
                        "the driver's turns give it",
                        FormatBytes(slice.memory)));
      }
      if (placed.option.mechanism == Mechanism::kMps) {
        for (std::string& reason : MpsReasons(placed, layout, view))
          reasons.push_back(std::move(reason));
        if (AsksForPartition(*need.workload)) {
          reasons.push_back(fmt::format(
              "{} of the SMs are its own, a static partition of MPS in chunks of {}, which all its "
              "processes share and no others enter",
              FormatPercent(slice.compute_fraction), view.Find(Mechanism::kMps)->partition_sms));
        }
        reasons.push_back(
            "the MPS server's own limits are of each process, at most those of the largest slice "
            "there: they hold a process that goes past its limiter, not the slice");
      }
      if (placed.option.mechanism == Mechanism::kFraction ||
          placed.option.mechanism == Mechanism::kMps) {
        reasons.push_back(
            need.workload->compute
                ? fmt::format("the limiter in its processes holds it to {} of memory and {} of the "
                              "GPU's time, {} at most",
                              FormatBytes(slice.memory),
                              FormatPercent(need.workload->compute->request.value),
                              FormatPercent(need.workload->compute->limit.value))
                : fmt::format("the limiter in its processes holds it to {} of memory; of the GPU's "
                              "time it gets what others leave",
                              FormatBytes(slice.memory)));
        const bool lends =
            need.workload->memory && need.workload->memory->limit > need.workload->memory->request;
        if (lends && need.workload->preemptible) {
          reasons.push_back(
              fmt::format("up to {} are lent to it as long as nobody else is promised them",
                          FormatBytes(need.workload->memory->limit)));
        } else if (lends) {
          reasons.push_back(
              "its memory limit is reserved, as only what is `preemptible: true` can give "
              "memory back");
        }
      }
  }
  if (placed.stays) {
    reasons.push_back("it stays on the slice that it holds");
  } else if (placed.placement) {
    const std::string left = LargestLeft(view, index, layout);
    reasons.push_back(fmt::format("at {} it leaves {} for others", SlotsText(*placed.placement),
                                  left.empty() ? "no slice" : "a " + left));
  }
  if (!need.workload->memory && need.workload->model) {
    const MemoryNeed sized =
        SizeToFit(*need.workload->model, need.workload->engine, need.model,
                  RoomIn(view, placed.option, slice.memory), need.workload->gpus);
    const Bytes room = RoomIn(view, placed.option, slice.memory) - sized.total();
    if (placed.option.mechanism != Mechanism::kTimeSlicing && room < sized.error()) {
      reasons.push_back(fmt::format("tight: {} are to spare, and the estimate may be off by {}",
                                    FormatBytes(room), FormatBytes(sized.error())));
    }
  }
  return reasons;
}

}  // namespace tranche::planning
