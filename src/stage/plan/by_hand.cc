#include "stage/plan/by_hand.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "base/suggest.h"
#include "decide/geometry/mig_geometry.h"
#include "decide/geometry/packing.h"
#include "stage/plan/step_list.h"

namespace tranche {
namespace {

// A name that no workload has.
std::string RoomName(const Spec& spec) {
  std::string name = "defrag-room";
  const auto taken = [&] {
    return std::any_of(spec.workloads.begin(), spec.workloads.end(),
                       [&](const Workload& w) { return w.name == name; });
  };
  for (int n = 2; taken(); ++n) name = fmt::format("defrag-room-{}", n);
  return name;
}

std::string InstanceText(const Gpu& gpu, const std::string& profile, MigPlacement placement) {
  return fmt::format("gpu{} {}@{}", gpu.index, profile, placement.start);
}

Slice SliceOf(const Gpu& gpu, const std::string& profile, MigPlacement placement) {
  Slice slice;
  slice.gpu_uuid = gpu.uuid;
  slice.mechanism = Mechanism::kMig;
  slice.profile = profile;
  slice.placement = placement;
  if (const MigProfile* known = gpu.FindProfile(profile)) {
    slice.memory = known->memory;
    if (gpu.sm_count && *gpu.sm_count > 0) {
      slice.compute_fraction = std::min(1.0, static_cast<double>(known->sm_count) / *gpu.sm_count);
    }
  }
  return slice;
}

// Whose the instance is, or "" when it is nobody's that Tranche knows.
std::string OwnerOf(const Deployment& deployment, const Gpu& gpu, MigPlacement placement) {
  for (const DeployedReplica& replica : deployment.replicas) {
    if (replica.slice.gpu_uuid == gpu.uuid && replica.slice.placement == placement) {
      return fmt::format("workload {}/{}", replica.workload, replica.replica);
    }
  }
  return deployment.Owns(gpu.uuid, placement) ? "the layout of a tier" : "";
}

Result<std::vector<const MigInstance*>> InstancesToDestroy(const Gpu& gpu,
                                                           const Deployment& deployment,
                                                           const HandChange& change) {
  std::vector<const MigInstance*> chosen;
  for (const MigInstance& instance : gpu.mig_instances) {
    const bool meant =
        change.destroy_all || std::find(change.destroy.begin(), change.destroy.end(),
                                        instance.placement.start) != change.destroy.end();
    if (!meant) continue;
    const std::string owner = OwnerOf(deployment, gpu, instance.placement);
    if (!owner.empty()) {
      return Fail(ErrorCode::kBusy,
                  fmt::format("{} belongs to {}",
                              InstanceText(gpu, instance.profile, instance.placement), owner),
                  "take that out of the spec and apply it, or 'tranche down'");
    }
    chosen.push_back(&instance);
  }
  for (const int start : change.destroy) {
    const bool found = std::any_of(chosen.begin(), chosen.end(), [&](const MigInstance* instance) {
      return instance->placement.start == start;
    });
    if (found) continue;
    std::vector<std::string> there;
    for (const MigInstance& instance : gpu.mig_instances) {
      there.push_back(fmt::format("{}@{}", instance.profile, instance.placement.start));
    }
    return Fail(
        ErrorCode::kNotFound,
        fmt::format("gpu{} has no instance that begins at slot {}", gpu.index, start),
        there.empty() ? "it has none at all" : fmt::format("it has {}", fmt::join(there, ", ")));
  }
  return chosen;
}

// Where the new instances go, around what stays.
Result<std::vector<MigPlacement>> PlacesFor(const Gpu& gpu, const MigGeometry& geometry,
                                            Occupancy taken, const HandChange& change) {
  std::vector<int> profiles;
  for (const HandChange::Instance& wanted : change.create) {
    const std::optional<int> profile = geometry.Find(wanted.profile);
    if (!profile) {
      std::vector<std::string> names;
      for (const MigProfile& known : geometry.profiles()) names.push_back(known.name);
      const std::string meant = DidYouMean(wanted.profile, names);
      return Fail(ErrorCode::kInvalid,
                  fmt::format("gpu{} has no MIG profile {}", gpu.index, wanted.profile),
                  meant.empty() ? fmt::format("it has {}", fmt::join(names, ", ")) : meant);
    }
    profiles.push_back(*profile);
  }
  std::vector<MigPlacement> places(profiles.size());
  std::vector<int> anywhere;
  for (size_t i = 0; i < profiles.size(); ++i) {
    if (!change.create[i].start) {
      anywhere.push_back(profiles[i]);
      continue;
    }
    const MigProfile& profile = geometry.profile(profiles[i]);
    places[i] = {*change.create[i].start, profile.placements.front().size};
    if (const Status fits = geometry.CheckFits(taken, profiles[i], places[i]); !fits) {
      return tl::unexpected(fits.error());
    }
    geometry.Add({profiles[i], places[i]}, &taken);
  }
  const auto found = CanPlace(geometry, anywhere, taken);
  if (!found) return tl::unexpected(found.error());
  size_t next = 0;
  for (size_t i = 0; i < profiles.size(); ++i) {
    if (!change.create[i].start) places[i] = (*found)[next++];
  }
  return places;
}

void Renumber(Plan* plan) {
  int id = 0;
  for (Step& step : plan->steps) step.id = ++id;
  plan->id = PlanDigest(*plan);
}

}  // namespace

Result<Plan> MakeHandPlan(const Machine& machine, const Deployment& deployment, const Plan& now,
                          const HandChange& change) {
  const Gpu* gpu = machine.FindGpu(change.gpu_uuid);
  if (gpu == nullptr) {
    return Fail(ErrorCode::kNotFound, fmt::format("there is no GPU {} here", change.gpu_uuid));
  }
  if (now.HasChanges()) {
    return Fail(ErrorCode::kStale, "what is deployed is not as it was planned",
                "put that right first: 'tranche status', 'tranche apply'");
  }
  if (!gpu->mig_mode) {
    return Fail(ErrorCode::kUnsupported,
                fmt::format("gpu{} has no MIG: {}", gpu->index, gpu->mig_mode.reason()));
  }
  const auto geometry = MigGeometry::Make(gpu->mig_profiles);
  if (!geometry) return tl::unexpected(geometry.error());
  const auto destroyed = InstancesToDestroy(*gpu, deployment, change);
  if (!destroyed) return tl::unexpected(destroyed.error());
  std::vector<MigInstance> staying;
  for (const MigInstance& instance : gpu->mig_instances) {
    const bool goes =
        std::any_of(destroyed->begin(), destroyed->end(),
                    [&](const MigInstance* one) { return one->placement == instance.placement; });
    if (!goes) staying.push_back(instance);
  }
  const auto places = PlacesFor(*gpu, *geometry, geometry->OccupancyOf(staying), change);
  if (!places) return tl::unexpected(places.error());

  Plan plan = now;
  std::vector<Step> kept;
  kept.swap(plan.steps);
  std::vector<const Gpu*> gpus;
  for (const Gpu& one : machine.gpus) gpus.push_back(&one);
  planning::StepList list(gpus);
  constexpr const char* kWhy = "asked for by hand";
  for (const MigInstance* instance : *destroyed) {
    list.Instance(StepKind::kDestroyInstance, SliceOf(*gpu, instance->profile, instance->placement),
                  kWhy);
  }
  const bool on = change.mig.value_or(gpu->mig_mode->current || !change.create.empty());
  if (!on && !change.create.empty()) {
    return Fail(ErrorCode::kInvalid, "instances cannot be made with MIG mode off");
  }
  if (!on && !staying.empty()) {
    return Fail(ErrorCode::kBusy,
                fmt::format("switching MIG off would take {} instances with it", staying.size()),
                "destroy them first");
  }
  if (on != gpu->mig_mode->current) list.SwitchMig(gpu->uuid, on, kWhy);
  for (size_t i = 0; i < places->size(); ++i) {
    list.Instance(StepKind::kCreateInstance, SliceOf(*gpu, change.create[i].profile, (*places)[i]),
                  kWhy);
  }
  plan.steps = list.Take();
  for (Step& step : plan.steps) step.by_hand = true;
  plan.steps.insert(plan.steps.begin(), kept.begin(), kept.end());
  Renumber(&plan);
  return plan;
}

Spec WithRoomFor(const Spec& spec, const RoomAsk& ask) {
  Spec with_room = spec;
  Workload room;
  room.name = RoomName(spec);
  room.mechanism = Mechanism::kMig;
  room.isolation = {"none", {}, false};
  room.memory = Share<Bytes>{{uint64_t{1} << 20}, {uint64_t{1} << 20}};
  room.profile = ask.profile;
  room.gpu = ask.gpu;
  room.tier = ask.tier;
  with_room.workloads.push_back(std::move(room));
  return with_room;
}

Result<Plan> MakeDefragPlan(Plan with_room, const Spec& spec, const RoomAsk& ask) {
  const std::string name = RoomName(spec);
  const Assignment* room = with_room.FindAssignment(name, 0);
  if (!with_room.feasible() || room == nullptr) {
    const Unplaced* why = nullptr;
    for (const Unplaced& unplaced : with_room.unplaced) {
      if (why == nullptr || unplaced.workload == name) why = &unplaced;
    }
    return Fail(ErrorCode::kDoesNotFit,
                fmt::format("no moves make room for a {}{}", ask.profile,
                            why != nullptr ? ": " + why->reason : ""),
                why != nullptr ? why->nearest : "");
  }
  const Slice place = room->slice;
  const int gpu_index = room->gpu_index;
  Plan plan = std::move(with_room);
  plan.spec = spec;
  std::erase_if(plan.assignments, [&](const Assignment& a) { return a.workload == name; });
  // What was only there for the room: its own instance and who would have run in it.
  std::erase_if(plan.steps, [&](const Step& step) {
    const bool at_place = step.slice && step.gpu_uuid == place.gpu_uuid &&
                          step.slice->placement == place.placement &&
                          step.slice->profile == place.profile;
    return step.workload == name || (at_place && (step.kind == StepKind::kCreateInstance ||
                                                  step.kind == StepKind::kKeepInstance));
  });
  std::vector<std::string> restarted;
  for (const Step& step : plan.steps) {
    if (step.kind != StepKind::kStopReplica) continue;
    const Assignment* now = plan.FindAssignment(step.workload, step.replica);
    if (now == nullptr) continue;
    restarted.push_back(fmt::format(
        "{}/{} to gpu{} {}", step.workload, step.replica, now->gpu_index,
        now->slice.placement ? fmt::format("{}@{}", now->slice.profile, now->slice.placement->start)
                             : MechanismName(now->slice.mechanism)));
  }
  plan.notes.insert(
      plan.notes.begin(),
      restarted.empty()
          ? fmt::format("gpu{} has room for a {} at {} as it is", gpu_index, ask.profile,
                        SlotsText(*place.placement))
          : fmt::format("room for a {} on gpu{} at {} costs {}: {}", ask.profile, gpu_index,
                        SlotsText(*place.placement),
                        restarted.size() == 1 ? std::string("one restart")
                                              : fmt::format("{} restarts", restarted.size()),
                        fmt::join(restarted, ", ")));
  Renumber(&plan);
  return plan;
}

}  // namespace tranche
