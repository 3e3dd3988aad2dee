#include "stage/plan/steps.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <numeric>
#include <set>

#include "stage/plan/compute_modes.h"
#include "stage/plan/step_list.h"
#include "stage/plan/vgpu.h"

namespace tranche::planning {
namespace {

bool Overlap(MigPlacement a, MigPlacement b) {
  return a.start < b.start + b.size && b.start < a.start + a.size;
}

// Whether an instance of one profile cannot be there together with one of the other although there
// is room for both: engines for media are few. `+me` is the only one of its kind, `+me.all` takes
// them all, and `-me` wants none.
bool CompeteForEngines(const std::string& a, const std::string& b) {
  const auto is = [](const std::string& profile, const char* part) {
    return profile.find(part) != std::string::npos;
  };
  if (is(a, "-me") || is(b, "-me")) return false;
  return is(a, "me.all") || is(b, "me.all") || (is(a, "+me") && is(b, "+me"));
}

// Of one GPU: whether the old one has to go before the new one is made.
bool Excludes(const Slice& wanted, MigPlacement there, const std::string& profile) {
  return Overlap(*wanted.placement, there) || CompeteForEngines(wanted.profile, profile);
}

std::vector<std::string> UuidsOf(const Slice& slice) {
  std::vector<std::string> uuids = {slice.gpu_uuid};
  uuids.insert(uuids.end(), slice.more_gpu_uuids.begin(), slice.more_gpu_uuids.end());
  return uuids;
}

// What becomes of one replica of the layout.
enum class Fate {
  kKeep,     // same spec, same slice
  kChange,   // new spec, same slice
  kRestore,  // same spec and slice, but the instance is gone
  kMove,     // another slice
  kNew
};

class Differ {
 public:
  Differ(const NodeLayout& layout, const std::vector<ReplicaNeed>& needs,
         const std::vector<GpuView>& views, const Deployment& deployment, const Spec& spec)
      : layout_(layout),
        needs_(needs),
        views_(views),
        deployment_(deployment),
        spec_(spec),
        list_(GpusOf(views)) {
    for (const Placed& placed : layout.placed) {
      slices_.push_back(SliceOf(placed, needs[placed.need], views));
      fates_.push_back(FateOf(placed, slices_.back()));
    }
    FindNewKindsOfMps();
    FindRemadeVgpus();
    FindUnheld();
    FindModeChanges();
    for (size_t v = 0; v < views.size(); ++v) mps_.push_back(MpsAccessOn(v, layout, views[v]));
    FindLeavers();
  }

  std::vector<Step> Run() {
    Keep();
    SwitchModes(false);  // GPUs on which nothing of ours has to end first
    MakeRoom();
    SetComputeModesBack(true);
    SetVgpuHostsBack(true);
    SwitchModes(true);
    // The driver is bound anew for virtual functions, which takes all instances: they come after.
    SetVgpuHosts();
    Create();
    SetTimeSlices();
    SetComputeModes();
    // From here on every slice of the new layout is there.
    Start();
    Route();
    // From here on nothing new comes to be.
    TakeAway();
    return list_.Take();
  }

 private:
  // A deployed replica whose slice is given up.
  struct Leaver {
    const DeployedReplica* replica;
    bool removed;  // from the spec; otherwise it starts elsewhere
    bool early;    // its slice is needed for something new
    bool stopped = false;
  };

  static std::vector<const Gpu*> GpusOf(const std::vector<GpuView>& views) {
    std::vector<const Gpu*> gpus;
    for (const GpuView& view : views) gpus.push_back(view.gpu);
    return gpus;
  }

  const GpuView* ViewOf(const std::string& uuid) const {
    const auto view = std::find_if(views_.begin(), views_.end(),
                                   [&](const GpuView& v) { return v.gpu->uuid == uuid; });
    return view != views_.end() ? &*view : nullptr;
  }

  bool IsThere(const Slice& slice) const {
    if (!slice.placement) return true;
    const GpuView* view = ViewOf(slice.gpu_uuid);
    const MigInstance* instance =
        view != nullptr ? view->gpu->FindInstance(*slice.placement) : nullptr;
    return instance != nullptr && instance->profile == slice.profile;
  }

  Fate FateOf(const Placed& placed, const Slice& slice) const {
    if (placed.before == nullptr) return Fate::kNew;
    if (!placed.stays) return Fate::kMove;
    // Of its spec a virtual machine's device has nothing but its type and its place.
    if (slice.mechanism == Mechanism::kVgpu)
      return IsThere(slice) && VgpuIsThere(placed) ? Fate::kKeep : Fate::kRestore;
    if (placed.before->digest != needs_[placed.need].digest) return Fate::kChange;
    return IsThere(slice) ? Fate::kKeep : Fate::kRestore;
  }

  // Whether sizes are mixed changes only while a GPU has no vGPUs: all there are made anew then.
  void FindRemadeVgpus() {
    for (const GpuView& view : views_) {
      const auto tenants = VgpuTenants(view);
      if (tenants.empty() || !view.gpu->vgpu->mixed || view.gpu->vgpu->functions == 0) continue;
      if (HostStateFor(ByMig(view), tenants).mixed == *view.gpu->vgpu->mixed) continue;
      for (size_t i = 0; i < slices_.size(); ++i) {
        if (slices_[i].gpu_uuid == view.gpu->uuid && slices_[i].mechanism == Mechanism::kVgpu &&
            fates_[i] == Fate::kKeep)
          fates_[i] = Fate::kMove;
      }
    }
  }

  bool VgpuIsThere(const Placed& placed) const {
    const Gpu& gpu = *views_[static_cast<size_t>(placed.gpus.front())].gpu;
    return gpu.vgpu &&
           std::any_of(gpu.vgpu->there.begin(), gpu.vgpu->there.end(), [&](const VgpuThere& there) {
             return there.ours && there.type == placed.before->slice.vgpu_type &&
                    there.workload == placed.before->workload &&
                    there.replica == placed.before->replica;
           });
  }

  // An MPS server divides the SMs among all its clients or among none, so when that changes they
  // all go before the first one comes.
  void FindNewKindsOfMps() {
    for (size_t v = 0; v < views_.size(); ++v) {
      const GpuView& view = views_[v];
      if (WasPartitioned(view, deployment_) == view.mps_partitioned) continue;
      for (size_t i = 0; i < slices_.size(); ++i) {
        const bool here = slices_[i].gpu_uuid == view.gpu->uuid && !slices_[i].placement &&
                          slices_[i].mechanism == Mechanism::kMps;
        if (here && fates_[i] == Fate::kChange) fates_[i] = Fate::kMove;
      }
    }
  }

  void FindModeChanges() {
    for (size_t i = 0; i < slices_.size(); ++i) {
      for (const std::string& uuid : UuidsOf(slices_[i])) {
        const bool mig = slices_[i].placement.has_value();
        const GpuView* view = ViewOf(uuid);
        if (view == nullptr || view->mig_on == mig) continue;
        modes_.emplace(uuid, std::pair(mig, NameOf(i)));
      }
    }
    for (const Slice& slice : unheld_) {
      const GpuView* view = ViewOf(slice.gpu_uuid);
      if (!view->mig_on) {
        modes_.emplace(slice.gpu_uuid, std::pair(true, fmt::format("tier '{}'", view->tier)));
      }
    }
  }

  // What the fixed layouts of tiers have beside the slices of the replicas.
  void FindUnheld() {
    for (const GpuView& view : views_) {
      if (!view.unusable.empty()) continue;
      for (const PlacedProfile& fixed : view.fixed) {
        MigInstance instance;
        instance.profile = view.geometry->profile(fixed.profile).name;
        instance.placement = fixed.placement;
        instance.memory = view.geometry->profile(fixed.profile).memory;
        if (!IsWanted(view.gpu->uuid, instance)) {
          unheld_.push_back(SliceOfInstance(view, instance));
        }
      }
    }
  }

  std::string NameOf(size_t i) const { return needs_[layout_.placed[i].need].name(); }

  bool Needed(const DeployedReplica& replica) const {
    const std::vector<std::string> uuids = UuidsOf(replica.slice);
    for (const std::string& uuid : uuids) {
      if (modes_.count(uuid) > 0 || LetsOthersIn(uuid)) return true;
      if (replica.slice.mechanism != Mechanism::kMps && IsKeptForMps(uuid)) return true;
    }
    for (size_t i = 0; i < slices_.size(); ++i) {
      const bool same = needs_[layout_.placed[i].need].workload->name == replica.workload &&
                        needs_[layout_.placed[i].need].replica == replica.replica;
      if (same || fates_[i] == Fate::kKeep || fates_[i] == Fate::kChange) continue;
      for (const std::string& uuid : UuidsOf(slices_[i])) {
        if (std::find(uuids.begin(), uuids.end(), uuid) == uuids.end()) continue;
        if (!slices_[i].placement || !replica.slice.placement) return true;
        if (Excludes(slices_[i], *replica.slice.placement, replica.slice.profile)) return true;
      }
    }
    return std::any_of(unheld_.begin(), unheld_.end(), [&](const Slice& slice) {
      return slice.gpu_uuid == replica.slice.gpu_uuid && !IsThere(slice) &&
             replica.slice.placement &&
             Excludes(slice, *replica.slice.placement, replica.slice.profile);
    });
  }

  // An old slice of a moved replica that its own new one overlaps is needed, too.
  bool OverlapsItself(const DeployedReplica& replica, const Slice& now) const {
    // Of virtual GPUs there is one for a replica.
    if (now.mechanism == Mechanism::kVgpu && replica.slice.mechanism == Mechanism::kVgpu)
      return true;
    return now.gpu_uuid == replica.slice.gpu_uuid && now.placement && replica.slice.placement &&
           Excludes(now, *replica.slice.placement, replica.slice.profile);
  }

  void FindLeavers() {
    for (const DeployedReplica& replica : deployment_.replicas) {
      Leaver leaver{&replica, true, Needed(replica)};
      for (size_t i = 0; i < slices_.size(); ++i) {
        if (layout_.placed[i].before != &replica) continue;
        leaver.removed = false;
        if (fates_[i] == Fate::kMove) {
          leaver.early = leaver.early || OverlapsItself(replica, slices_[i]);
          leavers_.push_back(leaver);
        }
        // One to be restored has nothing left to run on: stop what may be left of it at once.
        if (fates_[i] == Fate::kRestore) {
          leaver.early = true;
          leavers_.push_back(leaver);
        }
      }
      if (leaver.removed) leavers_.push_back(leaver);
    }
  }

  // Who is to be in the instance of a slice: "a/0", "a/0, b/0 and b/1".
  std::string Tenants(size_t of) const {
    std::vector<std::string> names;
    for (size_t i = 0; i < slices_.size(); ++i) {
      if (slices_[i].gpu_uuid == slices_[of].gpu_uuid &&
          slices_[i].placement == slices_[of].placement) {
        names.push_back(NameOf(i));
      }
    }
    std::string text = names.front();
    for (size_t i = 1; i < names.size(); ++i) {
      text += (i + 1 < names.size() ? ", " : " and ") + names[i];
    }
    return text;
  }

  std::ptrdiff_t InInstanceOf(size_t of) const {
    return std::count_if(slices_.begin(), slices_.end(), [&](const Slice& slice) {
      return slice.gpu_uuid == slices_[of].gpu_uuid && slice.placement == slices_[of].placement;
    });
  }
  bool IsShared(size_t of) const { return InInstanceOf(of) > 1; }
  // How many vGPUs are to be in the instance of a slice; 1 where it is of anything else.
  std::ptrdiff_t VgpusIn(size_t of) const {
    const bool vgpu = slices_[of].mechanism == Mechanism::kVgpu && slices_[of].placement;
    return vgpu ? InInstanceOf(of) : 1;
  }

  // The instance that a slice is in: itself, or what its tenants share.
  Slice InstanceOf(const Slice& slice) const {
    if (slice.mechanism == Mechanism::kMig) return slice;
    MigInstance instance;
    instance.profile = slice.profile;
    instance.placement = *slice.placement;
    const GpuView* view = ViewOf(slice.gpu_uuid);
    const MigProfile* profile = view->gpu->FindProfile(slice.profile);
    if (profile != nullptr) instance.memory = profile->memory;
    return SliceOfInstance(*view, instance);
  }

  void Keep() {
    std::set<std::pair<std::string, MigPlacement>> shown;
    for (size_t i = 0; i < slices_.size(); ++i) {
      if (!slices_[i].placement || !IsThere(slices_[i])) continue;
      if (!shown.emplace(slices_[i].gpu_uuid, *slices_[i].placement).second) continue;
      const bool ours = deployment_.Owns(slices_[i].gpu_uuid, *slices_[i].placement);
      std::string why =
          fmt::format("{} {} it", NameOf(i), fates_[i] == Fate::kNew ? "takes" : "holds");
      if (fates_[i] == Fate::kMove) why = fmt::format("{} moves to it", NameOf(i));
      if (slices_[i].mechanism == Mechanism::kMps || IsShared(i)) why = Tenants(i) + " share it";
      if (!ours) why += "; it was not Tranche's and is adopted";
      list_.Instance(StepKind::kKeepInstance, InstanceOf(slices_[i]), std::move(why));
    }
    for (const Slice& slice : unheld_) {
      if (!IsThere(slice)) continue;
      const bool ours = deployment_.Owns(slice.gpu_uuid, *slice.placement);
      list_.Instance(StepKind::kKeepInstance, slice,
                     fmt::format("it is in the layout of tier '{}'{}", ViewOf(slice.gpu_uuid)->tier,
                                 ours ? "" : "; it was not Tranche's and is adopted"));
    }
    for (size_t i = 0; i < slices_.size(); ++i) {
      if (fates_[i] != Fate::kKeep) continue;
      const DeployedReplica& before = *layout_.placed[i].before;
      list_.Replica(StepKind::kKeepReplica, Change::kKeep, before.workload, before.replica,
                    before.slice,
                    before.stopped ? "nothing changed; it stays stopped" : "nothing changed");
    }
  }

  bool HasOursToEnd(const std::string& uuid) const {
    for (const Leaver& leaver : leavers_) {
      const std::vector<std::string> uuids = UuidsOf(leaver.replica->slice);
      if (std::find(uuids.begin(), uuids.end(), uuid) != uuids.end()) return true;
    }
    const GpuView* view = ViewOf(uuid);
    return view != nullptr && !view->gpu->mig_instances.empty();
  }

  void SwitchModes(bool after_making_room) {
    for (const GpuView& view : views_) {
      const auto mode = modes_.find(view.gpu->uuid);
      // A compute mode that was set for MPS goes back first.
      const bool later = HasOursToEnd(view.gpu->uuid) ||
                         deployment_.FindComputeMode(view.gpu->uuid) != nullptr ||
                         deployment_.FindVgpuHost(view.gpu->uuid) != nullptr;
      if (mode == modes_.end() || later != after_making_room) continue;
      const auto& [on, who] = mode->second;
      list_.SwitchMig(view.gpu->uuid, on,
                      on ? fmt::format("{} gets a MIG slice of it; nothing else runs on it", who)
                         : fmt::format("{} gets it undivided", who));
    }
  }

  void Stop(Leaver& leaver) {
    if (leaver.stopped) return;
    leaver.stopped = true;
    const DeployedReplica& replica = *leaver.replica;
    const bool gone = !IsThere(replica.slice);
    std::string why = leaver.removed ? "it is not in the spec any more"
                      : gone         ? "its slice is gone; it starts again once the slice is back"
                                     : "it moves to another slice";
    list_.Replica(StepKind::kStopReplica, leaver.removed ? Change::kDestroy : Change::kChange,
                  replica.workload, replica.replica, replica.slice, std::move(why), replica.pids);
  }

  bool IsWanted(const std::string& uuid, const MigInstance& instance) const {
    const auto is_it = [&](const Slice& slice) {
      return slice.gpu_uuid == uuid && slice.placement == instance.placement &&
             slice.profile == instance.profile;
    };
    return std::any_of(slices_.begin(), slices_.end(), is_it) ||
           std::any_of(unheld_.begin(), unheld_.end(), is_it);
  }

  // Whether something new needs the room of the instance.
  bool IsInTheWay(const std::string& uuid, const MigInstance& instance) const {
    if (modes_.count(uuid) > 0) return true;
    const auto needs_it = [&](const Slice& slice) {
      return slice.gpu_uuid == uuid && slice.placement && !IsThere(slice) &&
             Excludes(slice, instance.placement, instance.profile);
    };
    return std::any_of(slices_.begin(), slices_.end(), needs_it) ||
           std::any_of(unheld_.begin(), unheld_.end(), needs_it);
  }

  Slice SliceOfInstance(const GpuView& view, const MigInstance& instance) const {
    Slice slice;
    slice.gpu_uuid = view.gpu->uuid;
    slice.mechanism = Mechanism::kMig;
    slice.profile = instance.profile;
    slice.placement = instance.placement;
    slice.memory = instance.memory;
    const MigProfile* profile = view.gpu->FindProfile(instance.profile);
    if (profile != nullptr && view.gpu->sm_count && *view.gpu->sm_count > 0) {
      slice.compute_fraction =
          std::min(1.0, static_cast<double>(profile->sm_count) / *view.gpu->sm_count);
    }
    return slice;
  }

  void Destroy(bool in_the_way) {
    for (const GpuView& view : views_) {
      for (const MigInstance& instance : view.gpu->mig_instances) {
        if (IsWanted(view.gpu->uuid, instance)) continue;
        const bool ours = deployment_.Owns(view.gpu->uuid, instance.placement);
        const bool blocks = IsInTheWay(view.gpu->uuid, instance);
        if (blocks != in_the_way || (!ours && !blocks)) continue;
        const bool removable = std::find(view.removable.begin(), view.removable.end(), instance) !=
                               view.removable.end();
        if (!ours && !removable) continue;
        list_.Instance(
            StepKind::kDestroyInstance, SliceOfInstance(view, instance),
            !ours    ? "it is not Tranche's, but idle and in the way; adopted to be made room of"
            : blocks ? "its room is needed"
                     : "no workload needs it any more");
      }
    }
  }

  void MakeRoom() {
    for (Leaver& leaver : leavers_) {
      if (leaver.early) Stop(leaver);
    }
    // Replicas that only restart keep their instance; nothing of theirs is in the way.
    Destroy(true);
  }

  // Into instances that are there, before others are made that the driver might choose.
  void FillSharedInstances() {
    for (size_t i = 0; i < slices_.size(); ++i) {
      const bool vgpu = slices_[i].mechanism == Mechanism::kVgpu && slices_[i].placement;
      if (vgpu && IsShared(i) && IsThere(slices_[i])) StartOne(i);
    }
  }

  void Create() {
    FillSharedInstances();
    // Those that vGPUs share go from full to less so: in one that has room the driver might put
    // who is to be in the next.
    std::vector<size_t> order(slices_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return VgpusIn(a) > VgpusIn(b); });
    std::set<std::pair<std::string, MigPlacement>> made;
    for (const size_t i : order) {
      if (!slices_[i].placement || IsThere(slices_[i])) continue;
      if (!made.emplace(slices_[i].gpu_uuid, *slices_[i].placement).second) continue;
      list_.Instance(StepKind::kCreateInstance, InstanceOf(slices_[i]),
                     fates_[i] == Fate::kRestore
                         ? fmt::format("{} ran on it and it is gone", Tenants(i))
                         : fmt::format("for {}", Tenants(i)));
      // While it is the only one that is free of its size: which one a vGPU gets is the driver's to
      // choose.
      if (slices_[i].mechanism == Mechanism::kVgpu) StartAllIn(slices_[i]);
    }
    for (const Slice& slice : unheld_) {
      if (IsThere(slice)) continue;
      list_.Instance(StepKind::kCreateInstance, slice,
                     fmt::format("the layout of tier '{}'", ViewOf(slice.gpu_uuid)->tier));
    }
  }

  // Virtual GPUs first, the largest of them first: where sizes are mixed each then finds a place
  // that is aligned to its size.
  void Start() {
    std::vector<size_t> order(slices_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto rank = [&](size_t i) {
      return slices_[i].mechanism == Mechanism::kVgpu ? slices_[i].memory : Bytes{};
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return rank(a) > rank(b); });
    for (const size_t i : order) StartOne(i);
  }

  // Who shares an instance: before another is made that the driver might put them into.
  void StartAllIn(const Slice& instance) {
    for (size_t i = 0; i < slices_.size(); ++i) {
      const bool in_it =
          slices_[i].gpu_uuid == instance.gpu_uuid && slices_[i].placement == instance.placement;
      if (in_it) StartOne(i);
    }
  }

  void StartOne(size_t i) {
    if (!begun_.insert(i).second) return;
    {
      const ReplicaNeed& need = needs_[layout_.placed[i].need];
      const std::string& workload = need.workload->name;
      const auto start = [&](Change change, std::string why) {
        list_.Replica(StepKind::kStartReplica, change, workload, need.replica, slices_[i],
                      std::move(why));
      };
      switch (fates_[i]) {
        case Fate::kKeep:
          break;
        case Fate::kNew:
          start(Change::kCreate, "it is new");
          break;
        case Fate::kChange: {
          const DeployedReplica& before = *layout_.placed[i].before;
          list_.Replica(StepKind::kStopReplica, Change::kChange, workload, need.replica,
                        before.slice, "its spec changed; its slice stays", before.pids);
          start(Change::kChange, "with the new spec, on the same slice");
          break;
        }
        case Fate::kRestore:
          start(Change::kChange, "its slice is back");
          break;
        case Fate::kMove:
          for (Leaver& leaver : leavers_) {
            if (leaver.replica == layout_.placed[i].before) Stop(leaver);
          }
          start(Change::kChange, "on its new slice");
          break;
      }
    }
  }

  void Route() {
    std::vector<std::string> routes;
    for (const Workload& workload : spec_.workloads) {
      if (!workload.route.empty() && workload.replicas > 0) routes.push_back(workload.route);
    }
    // A route that was not recorded may have been there.
    const auto was_routed = [](const DeployedReplica& r) { return !r.route || !r.route->empty(); };
    bool before = false, touched = false;
    for (const DeployedReplica& replica : deployment_.replicas)
      before = before || was_routed(replica);
    for (const Leaver& leaver : leavers_) touched = touched || was_routed(*leaver.replica);
    for (size_t i = 0; i < slices_.size(); ++i) {
      if (fates_[i] == Fate::kKeep) continue;
      const Placed& placed = layout_.placed[i];
      touched = touched || !needs_[placed.need].workload->route.empty() ||
                (placed.before != nullptr && was_routed(*placed.before));
    }
    if (!touched) return;
    if (routes.empty()) {
      if (before)
        list_.Routes(StepKind::kUnroute, Change::kDestroy, "routes", "no workload has a route");
      return;
    }
    std::string target = "routes";
    for (size_t i = 0; i < routes.size(); ++i) target += (i == 0 ? " " : ", ") + routes[i];
    list_.Routes(StepKind::kRoute, before ? Change::kChange : Change::kCreate, target,
                 "so that requests reach the replicas of this plan");
  }

  void TakeAway() {
    for (Leaver& leaver : leavers_) Stop(leaver);
    Destroy(false);
    SetComputeModesBack(false);
    SetVgpuHostsBack(false);
    for (const GpuView& view : views_) {
      const SetTimeSlice* set = deployment_.FindTimeSlice(view.gpu->uuid);
      if (set == nullptr || TimeSliceWanted(view).has_value()) continue;
      list_.TimeSlices(Change::kDestroy, view.gpu->uuid, set->time_slice,
                       TimeSliceBefore(view.gpu->uuid), "no workload asks for one any more");
    }
  }

  // Those of the new layout on it.
  std::vector<const Workload*> VgpuTenants(const GpuView& view) const {
    std::vector<const Workload*> tenants;
    for (size_t i = 0; i < slices_.size(); ++i) {
      if (slices_[i].gpu_uuid == view.gpu->uuid && slices_[i].mechanism == Mechanism::kVgpu)
        tenants.push_back(needs_[layout_.placed[i].need].workload);
    }
    return tenants;
  }

  bool ByMig(const GpuView& view) const {
    return std::any_of(slices_.begin(), slices_.end(), [&](const Slice& slice) {
      return slice.gpu_uuid == view.gpu->uuid && slice.placement;
    });
  }

  void SetVgpuHosts() {
    for (const GpuView& view : views_) {
      const auto tenants = VgpuTenants(view);
      if (tenants.empty()) continue;
      const VgpuHostState now = view.gpu->vgpu->state();
      const VgpuHostState wanted = HostStateFor(ByMig(view), tenants);
      const bool same = now.functions && now.mixed == wanted.mixed &&
                        (!wanted.scheduler || now.scheduler == wanted.scheduler);
      if (same) continue;
      const bool first = deployment_.FindVgpuHost(view.gpu->uuid) == nullptr;
      list_.VgpuHosts(first ? Change::kCreate : Change::kChange, view.gpu->uuid, now, wanted,
                      now.functions
                          ? "its vGPUs ask for it"
                          : "its vGPUs need places, and the driver is bound anew for them");
    }
  }

  // Of GPUs that have no vGPUs of ours any more; `for_mig`: whose MIG mode changes, which it does
  // only without virtual functions.
  void SetVgpuHostsBack(bool for_mig) {
    for (const GpuView& view : views_) {
      const SetVgpuHost* set = deployment_.FindVgpuHost(view.gpu->uuid);
      if (set == nullptr || !VgpuTenants(view).empty()) continue;
      if ((modes_.count(view.gpu->uuid) > 0) != for_mig) continue;
      list_.VgpuHosts(Change::kDestroy, view.gpu->uuid, set->state,
                      VgpuHostBefore(deployment_, *view.gpu),
                      "no workload has a vGPU on it any more");
    }
  }

  // What the workloads on it ask for; nothing where none does.
  std::optional<TimeSlice> TimeSliceWanted(const GpuView& view) const {
    for (size_t i = 0; i < slices_.size(); ++i) {
      const bool here = slices_[i].gpu_uuid == view.gpu->uuid;
      const std::optional<TimeSlice>& asked = needs_[layout_.placed[i].need].workload->time_slice;
      if (here && slices_[i].mechanism == Mechanism::kTimeSlicing && asked) return asked;
    }
    return std::nullopt;
  }

  // What it was before Tranche first set it.
  TimeSlice TimeSliceBefore(const std::string& uuid) const {
    for (const Baseline& baseline : deployment_.baselines) {
      if (baseline.gpu_uuid == uuid && baseline.time_slice) return *baseline.time_slice;
    }
    return TimeSlice::kDefault;
  }

  // Before anything starts, since only processes that start later get it.
  void SetTimeSlices() {
    for (const GpuView& view : views_) {
      const std::optional<TimeSlice> wanted = TimeSliceWanted(view);
      if (!wanted) continue;
      const SetTimeSlice* set = deployment_.FindTimeSlice(view.gpu->uuid);
      std::optional<TimeSlice> now;
      if (set != nullptr) now = set->time_slice;
      if (view.gpu->time_slice) now = *view.gpu->time_slice;
      if (set != nullptr && now == wanted) continue;
      list_.TimeSlices(set == nullptr ? Change::kCreate : Change::kChange, view.gpu->uuid,
                       now.value_or(TimeSlice::kDefault), *wanted,
                       fmt::format("its workloads ask for it; each of them gets {} time slices",
                                   TimeSliceName(*wanted)));
    }
  }

  // Before the first client starts the server, which is then the one process there.
  void SetComputeModes() {
    constexpr ComputeMode kWanted = ComputeMode::kExclusiveProcess;
    for (size_t v = 0; v < views_.size(); ++v) {
      const Gpu& gpu = *views_[v].gpu;
      if (!IsKeptForMps(gpu.uuid)) continue;
      list_.ComputeModes(
          deployment_.FindComputeMode(gpu.uuid) == nullptr ? Change::kCreate : Change::kChange,
          gpu.uuid, gpu.compute_mode.value_or(ComputeMode::kDefault), kWanted,
          "so that a program that does not find the MPS server is refused");
    }
  }

  // What is not shared through MPS any more. `for_others`: before somebody else comes there, after
  // the last client has gone; otherwise there is time until the end.
  void SetComputeModesBack(bool for_others) {
    for (size_t v = 0; v < views_.size(); ++v) {
      const Gpu& gpu = *views_[v].gpu;
      const SetComputeMode* set = deployment_.FindComputeMode(gpu.uuid);
      if (set == nullptr || mps_[v].exclusive || LetsOthersIn(gpu.uuid) != for_others) continue;
      // What somebody else has made of it since is theirs.
      const bool as_set = !gpu.compute_mode || *gpu.compute_mode == set->compute_mode;
      list_.ComputeModes(Change::kDestroy, gpu.uuid, set->compute_mode,
                         as_set ? ComputeModeBefore(deployment_, gpu.uuid) : *gpu.compute_mode,
                         "no MPS server has it to itself any more");
    }
  }

  // Whether its compute mode is set for MPS, so that everybody else goes first.
  bool IsKeptForMps(const std::string& uuid) const {
    for (size_t v = 0; v < views_.size(); ++v) {
      const Gpu& gpu = *views_[v].gpu;
      if (gpu.uuid != uuid) continue;
      return mps_[v].exclusive &&
             !(gpu.compute_mode && *gpu.compute_mode == ComputeMode::kExclusiveProcess);
    }
    return false;
  }

  // Whether its compute mode goes back for somebody who comes, so that its MPS clients go first.
  bool LetsOthersIn(const std::string& uuid) const {
    for (size_t v = 0; v < views_.size(); ++v) {
      if (views_[v].gpu->uuid != uuid) continue;
      return deployment_.FindComputeMode(uuid) != nullptr && !mps_[v].exclusive && ComesTo(uuid);
    }
    return false;
  }

  // Whether anything of the layout comes to that GPU that was not there.
  bool ComesTo(const std::string& uuid) const {
    if (modes_.count(uuid) > 0) return true;
    for (size_t i = 0; i < slices_.size(); ++i) {
      const std::vector<std::string> uuids = UuidsOf(slices_[i]);
      if (fates_[i] != Fate::kKeep && std::find(uuids.begin(), uuids.end(), uuid) != uuids.end())
        return true;
    }
    return false;
  }

  const NodeLayout& layout_;
  const std::vector<ReplicaNeed>& needs_;
  const std::vector<GpuView>& views_;
  const Deployment& deployment_;
  const Spec& spec_;
  StepList list_;
  std::vector<Slice> slices_;                                  // beside layout_.placed
  std::vector<Slice> unheld_;                                  // of fixed layouts, held by nobody
  std::vector<Fate> fates_;                                    // likewise
  std::map<std::string, std::pair<bool, std::string>> modes_;  // MIG as wanted, for whom; by GPU
  std::vector<Leaver> leavers_;
  std::vector<MpsAccess> mps_;  // beside views_
  std::set<size_t> begun_;      // slices whose replica a step starts, or that need none
};

}  // namespace

Slice SliceOf(const Placed& placed, const ReplicaNeed& need, const std::vector<GpuView>& views) {
  const GpuView& view = views[static_cast<size_t>(placed.gpus.front())];
  // A slice that is kept is kept to the byte, whatever the driver says of its profile by now.
  if (placed.stays && placed.before->digest == need.digest) return placed.before->slice;
  Slice slice;
  slice.gpu_uuid = view.gpu->uuid;
  slice.mechanism = placed.option.mechanism;
  slice.placement = placed.placement;
  slice.memory = Bytes{};
  for (size_t g = 0; g < placed.gpus.size(); ++g) {
    const GpuView& one = views[static_cast<size_t>(placed.gpus[g])];
    if (g > 0) slice.more_gpu_uuids.push_back(one.gpu->uuid);
    slice.memory += placed.option.mechanism == Mechanism::kExclusive ? UsableMemory(*one.gpu)
                    : placed.option.vgpu >= 0 ? OfferOf(one, placed.option).framebuffer
                                              : placed.option.memory;
  }
  slice.compute_fraction = std::min(1.0, placed.option.compute_fraction);
  if (placed.option.vgpu >= 0) slice.vgpu_type = OfferOf(view, placed.option).name;
  if (placed.option.profile >= 0)
    slice.profile = view.geometry->profile(placed.option.profile).name;
  return slice;
}

std::vector<Step> StepsTo(const NodeLayout& layout, const std::vector<ReplicaNeed>& needs,
                          const std::vector<GpuView>& views, const Deployment& deployment,
                          const Spec& spec) {
  return Differ(layout, needs, views, deployment, spec).Run();
}

}  // namespace tranche::planning
