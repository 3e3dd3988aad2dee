#include "stage/plan/vgpu.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <map>
#include <set>
#include <tuple>

#include "base/suggest.h"
#include "catalog/vgpu_catalog.h"

namespace tranche::planning {
namespace {

constexpr double kTolerance = 1e-9;

VgpuAsk AskOf(const Workload& workload) { return workload.vgpu.value_or(VgpuAsk()); }

bool IsDeployed(const VgpuThere& there, const Deployment& deployment) {
  return there.ours && !there.workload.empty() &&
         deployment.FindReplica(there.workload, there.replica) != nullptr;
}

// How turns are taken where the workload is: as it asks, or so that its isolation is kept, or as
// they are now. Equal share wastes no time while fewer run than could, and then gives no less than
// fixed share would.
std::optional<VgpuScheduler> WantedScheduler(const Workload& workload) {
  const VgpuAsk ask = AskOf(workload);
  if (ask.scheduler) return ask.scheduler;
  if (workload.isolation.axes.compute > Guarantee::kNone) return VgpuScheduler::kEqualShare;
  return std::nullopt;
}
VgpuScheduler SchedulerOn(const GpuView& view, const Workload& workload) {
  return WantedScheduler(workload).value_or(
      view.gpu->vgpu->scheduler.value_or(VgpuScheduler::kBestEffort));
}

// A part of the GPU among other sizes is taken to be a power of two of it: those pack into their
// places whatever their number, the largest first.
int PartsMixed(const VgpuOffer& offer) {
  return static_cast<int>(std::bit_floor(static_cast<unsigned>(std::max(1, offer.most_mixed))));
}

// Only those of one group share a GPU: the same size or none (sizes are mixed there), the same
// turns.
int GroupOf(bool mixed, Bytes framebuffer, VgpuScheduler scheduler) {
  const int size = mixed ? 0 : 1 + static_cast<int>(framebuffer.value >> 28);
  return size * 4 + static_cast<int>(scheduler);
}
// Likewise of those that share an instance of MIG, in which turns are taken as the driver will.
int GroupInInstance(const VgpuOffer& offer) {
  return GroupOf(false, offer.framebuffer, VgpuScheduler::kBestEffort);
}

// Several of the type take turns in an instance of MIG.
bool TakesTurnsInInstance(const VgpuOffer& offer) {
  return offer.mig_slices > 0 && offer.most_per_instance > 1;
}

Guarantees GivenBy(const GpuView& view, const VgpuOffer& offer, VgpuScheduler scheduler) {
  Guarantees given = view.Find(Mechanism::kVgpu)->guarantees;
  // Those that share an instance are kept apart in hardware from all but each other.
  if (TakesTurnsInInstance(offer)) return given;
  if (offer.mig_slices > 0) {
    given.memory = given.compute = given.fault = Guarantee::kHardware;
  } else if (scheduler != VgpuScheduler::kBestEffort) {
    given.compute = std::max(given.compute, Guarantee::kKernel);
  }
  return given;
}

// Why no vGPU at all can be made on the GPU for this replica, or "".
std::string WhyNone(const GpuView& view, const ReplicaNeed& need) {
  const Workload& workload = *need.workload;
  const Capability* capability = view.Find(Mechanism::kVgpu);
  if (capability == nullptr) return "vgpu is not offered here";
  if (!capability->available) return "no vgpu: " + capability->reason;
  if (!view.gpu->vgpu) return "what virtual GPUs it can have is not known";
  if (view.only && *view.only != Mechanism::kVgpu)
    return fmt::format("tier '{}' divides it by {}", view.tier, MechanismName(*view.only));
  if (workload.gpus > 1) return "a virtual machine gets one vGPU per replica";
  if (need.whole_gpu) return "how large the vGPU is to be is not said";
  if (!view.foreign_processes.empty()) return WhoIs(view.foreign_processes) + " on it";
  const GpuVgpu& vgpu = *view.gpu->vgpu;
  if (vgpu.functions == 0 && !view.gpu->mig_instances.empty()) {
    return "its virtual functions are not made yet, and making them destroys the MIG instances "
           "that are "
           "on it; take those away first";
  }
  return "";
}

// Why a type is none for this replica, or "".
std::string WhyNotType(const GpuView& view, const ReplicaNeed& need, const VgpuOffer& offer) {
  const Workload& workload = *need.workload;
  const VgpuAsk ask = AskOf(workload);
  const GpuVgpu& vgpu = *view.gpu->vgpu;
  const bool mig = offer.mig_slices > 0;
  if (!need.whole_slice && offer.guest() < need.least) {
    return fmt::format("{} leaves its machine {} of {} at least", offer.name,
                       FormatBytes(offer.guest()), FormatBytes(offer.framebuffer));
  }
  const VgpuScheduler scheduler = SchedulerOn(view, workload);
  if (!GivenBy(view, offer, scheduler).Satisfies(workload.isolation.axes)) {
    return fmt::format("{} does not give {}{}", offer.name, IsolationText(workload.isolation),
                       TakesTurnsInInstance(offer) ? " among those in its MIG instance"
                       : mig                       ? ""
                             : fmt::format(" under {}", VgpuSchedulerName(scheduler)));
  }
  if (workload.isolation.low_jitter && (!mig || TakesTurnsInInstance(offer)))
    return fmt::format("{} takes turns, and jitter: low is asked", offer.name);
  if (ask.scheduler && *ask.scheduler != VgpuScheduler::kBestEffort && TakesTurnsInInstance(offer))
    return fmt::format("how turns are taken in a MIG instance, as {} takes them, cannot be set",
                       offer.name);
  if (mig) {
    if (!view.geometry) return "no MIG: " + view.no_mig;
    if (!view.mig_on && vgpu.functions > 0) {
      return "its MIG mode is off, and goes on only before its virtual functions are made: take "
             "them away with sriov-manage -d";
    }
    // Which of the free instances of its size it gets is the driver's to choose.
    if (!view.foreign.counts.empty() && view.foreign.slots != 0)
      return "there are MIG instances on it that are not Tranche's, and the driver might choose "
             "one";
    if (!view.foreign_vgpus.empty())
      return "there are vGPUs on it that are not Tranche's, and the driver chooses their instances";
    const std::optional<int> profile = view.geometry->Find(offer.mig_profile);
    if (!profile) return fmt::format("it has no MIG profile {}", offer.mig_profile);
    const double compute = view.ComputeOf(*profile) / offer.most_per_instance;
    if (compute + kTolerance < need.compute)
      return fmt::format("{} has {} of the SMs", offer.name, FormatPercent(compute));
    return "";
  }
  if (!view.no_whole.empty()) return view.no_whole;
  if (view.mig_on && vgpu.functions > 0) {
    return "its MIG mode is on, and goes off only while it has no virtual functions: take them "
           "away with sriov-manage -d";
  }
  if (view.mig_on && !view.geometry) return "its MIG mode is on and cannot be changed";
  if (ask.mixed_sizes) {
    if (offer.most_mixed == 0)
      return fmt::format("how many {} there may be among other sizes is not known", offer.name);
    if (vgpu.functions > 0 && !vgpu.mixed) return "mixed sizes: " + vgpu.mixed.reason();
    if (!view.foreign_vgpus.empty() && !vgpu.mixed.value_or(false)) {
      return "sizes are not mixed on it, and that changes only while it has no vGPUs";
    }
  } else if (vgpu.mixed.value_or(false) && !view.foreign_vgpus.empty()) {
    return "sizes are mixed on it, which needs vgpu: {mixed_sizes: true}";
  }
  const double share = 1.0 / (ask.mixed_sizes ? PartsMixed(offer) : offer.most);
  const bool promised = scheduler != VgpuScheduler::kBestEffort;
  if (need.compute > share + kTolerance && promised) {
    return fmt::format("{} has {} of its time for sure", offer.name, FormatPercent(share));
  }
  return "";
}

std::string TypesOf(const GpuView& view, VgpuSeries series) {
  std::string text;
  for (const VgpuOffer& offer : view.gpu->vgpu->offers) {
    if (offer.series == series) text += (text.empty() ? "" : ", ") + offer.name;
  }
  return text.empty() ? fmt::format("none of series {}", VgpuSeriesName(series)) : text;
}

Option OptionOf(const GpuView& view, const ReplicaNeed& need, int index) {
  const VgpuOffer& offer = view.gpu->vgpu->offers[static_cast<size_t>(index)];
  const Workload& workload = *need.workload;
  const VgpuScheduler scheduler = SchedulerOn(view, workload);
  Option option;
  option.mechanism = Mechanism::kVgpu;
  option.vgpu = index;
  option.guarantees = GivenBy(view, offer, scheduler);
  if (offer.mig_slices > 0) {
    option.profile = *view.geometry->Find(offer.mig_profile);
    const MigProfile& profile = view.geometry->profile(option.profile);
    option.memory = profile.memory;
    option.compute_fraction = view.ComputeOf(option.profile);
    option.memory_share =
        static_cast<double>(profile.placements.front().size) / view.geometry->memory_slots();
    option.compute_share =
        static_cast<double>(profile.compute_slices) / view.geometry->compute_slices();
    if (!TakesTurnsInInstance(offer)) return option;
    // As on a GPU that is shared by time: its part is what it has while all that could be there
    // run.
    const int parts = offer.most_per_instance;
    option.vgpu_group = GroupInInstance(offer);
    option.memory = Bytes{profile.memory.value / static_cast<uint64_t>(parts)};
    option.memory_share /= parts;
    option.compute_fraction /= parts;
    option.compute_share = option.compute_fraction;
    return option;
  }
  const bool mixed = AskOf(workload).mixed_sizes;
  const int parts = mixed ? PartsMixed(offer) : offer.most;
  // What a type takes of the GPU is its part of it, not its bytes: those of a board's own count are
  // a little more than NVML's.
  option.memory = Bytes{view.free_undivided.value / static_cast<uint64_t>(parts)};
  option.memory_share = option.compute_share = 1.0 / parts;
  option.compute_fraction = 1.0 / parts;  // while all that could be there run
  option.vgpu_group = GroupOf(mixed, offer.framebuffer, scheduler);
  return option;
}

std::string SchedulerReason(const GpuView& view, const Placed& placed, const ReplicaNeed& need) {
  const VgpuOffer& offer = OfferOf(view, placed.option);
  if (TakesTurnsInInstance(offer)) {
    return fmt::format(
        "MIG keeps its {} apart from the rest of {} in hardware; those in it take turns as the "
        "driver will: of its time it gets what the others leave, and nothing for sure",
        offer.mig_profile, view.name());
  }
  if (offer.mig_slices > 0) {
    return fmt::format(
        "MIG backs it: its SMs and memory are its own, kept apart in hardware, by a {}",
        offer.mig_profile);
  }
  const std::optional<VgpuScheduler> wanted = WantedScheduler(*need.workload);
  const int parts = AskOf(*need.workload).mixed_sizes ? PartsMixed(offer) : offer.most;
  std::string text;
  switch (SchedulerOn(view, *need.workload)) {
    case VgpuScheduler::kBestEffort:
      text =
          "best-effort turns: of the GPU's time it gets what the others leave, and nothing for "
          "sure";
      break;
    case VgpuScheduler::kEqualShare:
      text = fmt::format("equal-share turns: of the GPU's time 1 / those that run, {} at least",
                         FormatPercent(1.0 / parts));
      break;
    case VgpuScheduler::kFixedShare:
      text = fmt::format("fixed-share turns: {} of the GPU's time, whoever else runs",
                         FormatPercent(1.0 / parts));
      break;
  }
  if (!wanted && !view.gpu->vgpu->scheduler) {
    text += fmt::format(
        "; how turns are taken there is not known ({}), and best effort is "
        "taken to be",
        view.gpu->vgpu->scheduler.reason());
  }
  return text;
}

std::string LicenceReason(VgpuSeries series, const Plan& plan) {
  const VgpuLicence& licence = BuiltInVgpuCatalog().LicenceOf(series);
  if (!licence.price_per_hour || licence.currency != plan.spec.currency) {
    return fmt::format("series {} needs {} for each {}; what it costs in {} is not known",
                       VgpuSeriesName(series), licence.name, licence.per_gpu ? "GPU" : "machine",
                       plan.spec.currency);
  }
  return fmt::format("series {} needs {} for each {}, {} per hour ({}; {} confidence)",
                     VgpuSeriesName(series), licence.name, licence.per_gpu ? "GPU" : "machine",
                     FormatMoney(*licence.price_per_hour, plan.spec.currency), licence.source,
                     ConfidenceName(licence.confidence));
}

}  // namespace

const VgpuOffer& OfferOf(const GpuView& view, const Option& option) {
  return view.gpu->vgpu->offers[static_cast<size_t>(option.vgpu)];
}

Bytes RoomIn(const GpuView& view, const Option& option, Bytes slice) {
  return option.vgpu >= 0 ? OfferOf(view, option).guest() : slice;
}

void AddVgpuOptions(const GpuView& view, const ReplicaNeed& need, Candidates* out) {
  out->refusal = WhyNone(view, need);
  if (!out->refusal.empty()) return;
  const Workload& workload = *need.workload;
  const VgpuAsk ask = AskOf(workload);
  const auto& offers = view.gpu->vgpu->offers;
  std::string refusal;
  bool of_series = false;
  // The smallest first: they take the least.
  for (int i = static_cast<int>(offers.size()) - 1; i >= 0; --i) {
    const VgpuOffer& offer = offers[static_cast<size_t>(i)];
    if (workload.profile.empty() ? offer.series != ask.series
                                 : offer.name != ShortVgpuName(workload.profile)) {
      continue;
    }
    // With media engines there is one: only who asks for it gets it.
    if (workload.profile.empty() && offer.name.ends_with("ME")) continue;
    of_series = true;
    std::string why_not = WhyNotType(view, need, offer);
    if (why_not.empty())
      out->options.push_back(OptionOf(view, need, i));
    else
      refusal = std::move(why_not);  // of the largest, in the end
  }
  std::stable_sort(out->options.begin(), out->options.end(), [](const Option& a, const Option& b) {
    return std::max(a.memory_share, a.compute_share) < std::max(b.memory_share, b.compute_share);
  });
  if (!out->options.empty()) return;
  if (of_series) {
    out->refusal = std::move(refusal);
    return;
  }
  if (workload.profile.empty()) {
    out->refusal =
        fmt::format("its driver offers no type of series {}", VgpuSeriesName(ask.series));
    return;
  }
  std::vector<std::string> names;
  for (const VgpuOffer& offer : offers) names.push_back(offer.name);
  const std::string similar = DidYouMean(workload.profile, names);
  out->refusal = fmt::format("its driver offers no {}: {}", workload.profile,
                             similar.empty() ? TypesOf(view, ask.series) : similar);
}

void CollectVgpus(const Deployment& deployment, GpuView& view) {
  if (!view.gpu->vgpu) return;
  for (const VgpuThere& there : view.gpu->vgpu->there) {
    if (!IsDeployed(there, deployment)) view.foreign_vgpus.push_back(&there);
  }
  if (view.foreign_vgpus.empty()) return;
  view.no_whole_but_vgpu = fmt::format(
      "there {} on it that no plan made: {} ({})",
      view.foreign_vgpus.size() == 1 ? "is a vGPU"
                                     : fmt::format("are {} vGPUs", view.foreign_vgpus.size()),
      view.foreign_vgpus.front()->id, view.foreign_vgpus.front()->type);
}

void PutForeignVgpus(const GpuView& view, Bin* bin) {
  for (const VgpuThere* there : view.foreign_vgpus) {
    if (there->mig_slices > 0) continue;
    const VgpuOffer* offer = view.gpu->vgpu->FindOffer(there->type);
    const bool mixed = view.gpu->vgpu->mixed.value_or(false);
    // One that is not known may be of any size: nothing is put beside it.
    const int parts = offer == nullptr ? 1 : mixed ? PartsMixed(*offer) : offer->most;
    bin->use = BinUse::kShared;
    bin->shared_by = Mechanism::kVgpu;
    bin->vgpu_group = GroupOf(mixed, there->framebuffer.value_or(Bytes{}),
                              view.gpu->vgpu->scheduler.value_or(VgpuScheduler::kBestEffort));
    bin->memory_used += view.free_undivided.value / static_cast<uint64_t>(parts);
    bin->compute_used += 1.0 / parts;
    ++bin->tenants;
  }
}

void FillVgpuInstances(const std::vector<GpuView>& views, std::vector<Placed>* placed) {
  struct Group {
    int most = 0;
    std::map<MigPlacement, int> there;
    std::vector<Placed*> to_place;
    std::set<int> numbers;  // of the instances that the search has for them
  };
  std::map<std::tuple<int, int, int>, Group> groups;  // by GPU, profile and group
  for (Placed& one : *placed) {
    if (one.option.vgpu < 0 || !one.option.in_instance()) continue;
    const int gpu = one.gpus.front();
    Group& group = groups[{gpu, one.option.profile, one.option.vgpu_group}];
    group.most = OfferOf(views[static_cast<size_t>(gpu)], one.option).most_per_instance;
    if (one.placement) {
      ++group.there[*one.placement];
    } else {
      group.to_place.push_back(&one);
      group.numbers.insert(one.instance);
    }
  }
  for (auto& [key, group] : groups) {
    size_t next = 0;
    for (auto& [placement, tenants] : group.there) {
      for (; tenants < group.most && next < group.to_place.size(); ++tenants)
        group.to_place[next++]->placement = placement;
    }
    // Filled up they are no more than before.
    auto number = group.numbers.begin();
    for (int in_it = 0; next < group.to_place.size(); ++next, ++in_it) {
      if (in_it == group.most) {
        in_it = 0;
        ++number;
      }
      group.to_place[next]->instance = *number;
    }
  }
}

VgpuHostState HostStateFor(bool by_mig, const std::vector<const Workload*>& tenants) {
  VgpuHostState state;
  state.functions = true;
  state.mixed = false;
  for (const Workload* tenant : tenants) {
    state.mixed = state.mixed || AskOf(*tenant).mixed_sizes;
    if (const auto wanted = WantedScheduler(*tenant)) state.scheduler = wanted;
  }
  // Those that MIG backs take no turns with each other, or within an instance as the driver will.
  if (by_mig) state.scheduler.reset();
  return state;
}

VgpuHostState VgpuHostBefore(const Deployment& deployment, const Gpu& gpu) {
  VgpuHostState before;
  for (const Baseline& baseline : deployment.baselines) {
    if (baseline.gpu_uuid == gpu.uuid && baseline.vgpu_host) before = *baseline.vgpu_host;
  }
  const bool others = gpu.vgpu && std::any_of(gpu.vgpu->there.begin(), gpu.vgpu->there.end(),
                                              [&](const VgpuThere& there) {
                                                return !IsDeployed(there, deployment);
                                              });
  if (others) {
    before.functions = true;
    before.mixed = gpu.vgpu->mixed.value_or(false);
  }
  return before;
}

std::vector<std::string> VgpuReasons(const Placed& placed, const ReplicaNeed& need,
                                     const NodeLayout& layout, const std::vector<GpuView>& views) {
  const GpuView& view = views[static_cast<size_t>(placed.gpus.front())];
  const VgpuOffer& offer = OfferOf(view, placed.option);
  const VgpuAsk ask = AskOf(*need.workload);
  std::vector<std::string> reasons;
  reasons.push_back(fmt::format(
      "the spec wants vgpu; the machine is yours, Tranche makes the device and says what libvirt "
      "wants for it (`tranche export libvirt`)"));
  std::string size =
      fmt::format("{} on {}: {} of framebuffer, of which its machine gets {} at least", offer.name,
                  view.name(), FormatBytes(offer.framebuffer), FormatBytes(offer.guest()));
  if (!need.workload->profile.empty()) {
    size += "; the spec wants this type";
  } else {
    const VgpuOffer* below = nullptr;
    for (const VgpuOffer& other : view.gpu->vgpu->offers) {
      const bool smaller = other.series == offer.series && other.mig_slices == 0 &&
                           offer.mig_slices == 0 && other.framebuffer < offer.framebuffer;
      if (smaller && (below == nullptr || other.framebuffer > below->framebuffer)) below = &other;
    }
    if (below != nullptr && below->guest() < need.least)
      size += fmt::format("; {} would leave it {}", below->name, FormatBytes(below->guest()));
  }
  reasons.push_back(std::move(size));
  if (offer.mig_slices == 0) {
    const auto others =
        std::count_if(layout.placed.begin(), layout.placed.end(), [&](const Placed& other) {
          return &other != &placed && other.gpus.front() == placed.gpus.front() &&
                 other.need != placed.need;
        });
    reasons.push_back(
        ask.mixed_sizes
            ? fmt::format("it is one of {} parts of {}, on which sizes are mixed; {} beside it",
                          PartsMixed(offer), view.name(),
                          others == 1 ? "one other is" : fmt::format("{} others are", others))
            : fmt::format("{} holds {} of it and no other size; {} beside it", view.name(),
                          offer.most,
                          others == 1 ? "one other is" : fmt::format("{} others are", others)));
  }
  if (TakesTurnsInInstance(offer)) {
    const auto others =
        std::count_if(layout.placed.begin(), layout.placed.end(), [&](const Placed& other) {
          return other.gpus.front() == placed.gpus.front() && other.need != placed.need &&
                 other.placement == placed.placement;
        });
    reasons.push_back(
        fmt::format("a {} holds {} of it and no other size; {} beside it", offer.mig_profile,
                    offer.most_per_instance,
                    others == 1 ? "one other is" : fmt::format("{} others are", others)));
  }
  reasons.push_back(SchedulerReason(view, placed, need));
  return reasons;
}

void DescribeVgpus(const NodeLayout& layout, const std::vector<ReplicaNeed>& needs,
                   const std::vector<GpuView>& views, Plan* plan) {
  const VgpuCatalog& catalog = BuiltInVgpuCatalog();
  std::map<std::pair<int, VgpuSeries>, int> on_gpu;  // how many share a licence for the GPU
  for (const Placed& placed : layout.placed) {
    if (placed.option.vgpu < 0) continue;
    const GpuView& view = views[static_cast<size_t>(placed.gpus.front())];
    ++on_gpu[{placed.gpus.front(), OfferOf(view, placed.option).series}];
  }
  if (on_gpu.empty()) return;
  std::map<int, std::vector<bool>> parts_taken;  // of GPUs on which sizes are mixed
  std::vector<size_t> order;
  for (size_t i = 0; i < layout.placed.size(); ++i) {
    if (layout.placed[i].option.vgpu >= 0) order.push_back(i);
  }
  const auto framebuffer = [&](size_t i) {
    const Placed& placed = layout.placed[i];
    return OfferOf(views[static_cast<size_t>(placed.gpus.front())], placed.option).framebuffer;
  };
  std::stable_sort(order.begin(), order.end(),
                   [&](size_t a, size_t b) { return framebuffer(a) > framebuffer(b); });
  double cost = 0;
  bool all_known = true;
  std::map<VgpuSeries, bool> told;
  for (const size_t i : order) {
    const Placed& placed = layout.placed[i];
    const ReplicaNeed& need = needs[placed.need];
    const int gpu = placed.gpus.front();
    const GpuView& view = views[static_cast<size_t>(gpu)];
    const VgpuOffer& offer = OfferOf(view, placed.option);
    const VgpuAsk ask = AskOf(*need.workload);
    const auto assignment =
        std::find_if(plan->assignments.begin(), plan->assignments.end(), [&](const Assignment& a) {
          return a.workload == need.workload->name && a.replica == need.replica;
        });
    if (assignment == plan->assignments.end()) continue;
    AssignedVgpu vgpu;
    vgpu.series = offer.series;
    vgpu.framebuffer = offer.framebuffer;
    vgpu.guest_memory = offer.guest();
    if (offer.mig_slices == 0) {
      if (WantedScheduler(*need.workload) || view.gpu->vgpu->scheduler)
        vgpu.scheduler = SchedulerOn(view, *need.workload);
      if (ask.mixed_sizes) {
        // The largest first, each at the first place that is free and aligned to its size: that is
        // the order in which they are made, and where a driver puts them then.
        constexpr size_t kParts = 256;
        std::vector<bool>& taken =
            parts_taken.emplace(gpu, std::vector<bool>(kParts)).first->second;
        vgpu.parts = PartsMixed(offer);
        const size_t size = kParts / static_cast<size_t>(*vgpu.parts);
        for (size_t at = 0; at + size <= kParts; at += size) {
          const auto from = taken.begin() + static_cast<std::ptrdiff_t>(at);
          const auto to = from + static_cast<std::ptrdiff_t>(size);
          if (std::find(from, to, true) != to) continue;
          std::fill(from, to, true);
          vgpu.part = static_cast<int>(at / size) + 1;
          break;
        }
      }
    }
    const VgpuLicence& licence = catalog.LicenceOf(offer.series);
    vgpu.licence = licence.name;
    if (licence.price_per_hour && licence.currency == plan->spec.currency) {
      const int sharers = licence.per_gpu ? on_gpu[{gpu, offer.series}] : 1;
      vgpu.licence_cost_per_hour = *licence.price_per_hour / sharers;
      cost += *vgpu.licence_cost_per_hour;
    } else {
      all_known = false;
    }
    if (vgpu.part && vgpu.parts) {
      assignment->reasons.push_back(fmt::format(
          "where sizes are mixed each has its place: part {} of {} of {}, made the largest first",
          *vgpu.part, *vgpu.parts, view.name()));
    }
    if (!told[offer.series]) {
      told[offer.series] = true;
      plan->notes.push_back(LicenceReason(offer.series, *plan));
    }
    assignment->vgpu = std::move(vgpu);
  }
  if (all_known) plan->licence_cost_per_hour = cost;
  plan->notes.push_back(all_known
                            ? fmt::format("licences cost {} per hour beside the GPUs",
                                          FormatMoney(cost, plan->spec.currency))
                            : "what the licences cost is not known, and in no cost of this plan");
}

}  // namespace tranche::planning
