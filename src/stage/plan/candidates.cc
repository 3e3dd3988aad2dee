#include "stage/plan/candidates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "base/suggest.h"
#include "stage/plan/vgpu.h"

namespace tranche::planning {
namespace {

constexpr double kTolerance = 1e-9;

// As they are tried: of two that would do as well, the one that needs less beside it.
constexpr Mechanism kInOrder[] = {Mechanism::kExclusive, Mechanism::kMig, Mechanism::kTimeSlicing,
                                  Mechanism::kFraction, Mechanism::kMps};

// The limiter holds what is reserved.
bool HasLimiter(Mechanism mechanism) {
  return mechanism == Mechanism::kFraction || mechanism == Mechanism::kMps;
}

// Whether `a` can stand wherever `b` can and takes no more of anything: then `b` is never needed.
bool Replaces(const MigProfile& a, const MigProfile& b) {
  if (a.compute_slices > b.compute_slices || a.memory > b.memory ||
      a.max_instances < b.max_instances || a.engines.decoder > b.engines.decoder ||
      a.engines.encoder > b.engines.encoder || a.engines.jpeg > b.engines.jpeg ||
      a.engines.ofa > b.engines.ofa) {
    return false;
  }
  return std::all_of(b.placements.begin(), b.placements.end(), [&](MigPlacement large) {
    return std::any_of(a.placements.begin(), a.placements.end(), [&](MigPlacement small) {
      return small.start >= large.start && small.start + small.size <= large.start + large.size;
    });
  });
}

// Why a replica there could not bear the requests that come to it, or "".
std::string TooSlow(const GpuView& view, const ReplicaNeed& need, const Option& option) {
  if (need.speed == nullptr) return "";
  const std::optional<bool> bears = need.speed->Bears(view, option, need.per_second);
  if (bears.value_or(true)) return "";  // not known: a reason says so
  const std::string where = option.profile >= 0 ? view.geometry->profile(option.profile).name
                                                : MechanismName(option.mechanism);
  const std::string breaks = need.speed->Breaks(view, option);
  if (!breaks.empty()) return fmt::format("{} is too slow: {}", where, breaks);
  return fmt::format("{} serves {:.3g} requests per second within its slo, not {:.3g}", where,
                     need.speed->CapacityIn(view, option).value_or(0), need.per_second);
}

// Whether an instance of the profile may be made for a workload that asks for `asked`. The other
// variants trade engines, and a GPU has one +me: only who asks for one gets it.
bool IsOffered(const MigProfile& profile, const std::string& asked) {
  if (profile.max_instances == 0) return false;  // not in the layout of its tier
  return asked.empty() ? profile.variant == MigVariant::kPlain : profile.name == asked;
}

std::string NoProfile(const MigGeometry& geometry, const std::string& asked) {
  std::vector<std::string> names;
  for (const MigProfile& profile : geometry.profiles()) names.push_back(profile.name);
  std::string nearest = DidYouMean(asked, names);
  return fmt::format("it has no MIG profile {}: {}", asked,
                     nearest.empty() ? fmt::format("{}", fmt::join(names, ", ")) : nearest);
}

void AddMigOptions(const GpuView& view, const ReplicaNeed& need, Candidates* out) {
  const MigGeometry& geometry = *view.geometry;
  const std::string& asked = need.workload->profile;
  std::vector<int> suitable;
  Bytes largest;
  double most_compute = 0;
  for (int i = 0; i < static_cast<int>(geometry.profiles().size()); ++i) {
    const MigProfile& profile = geometry.profile(i);
    if (!IsOffered(profile, asked)) continue;
    const double fraction = view.ComputeOf(i);
    largest = std::max(largest, profile.memory);
    most_compute = std::max(most_compute, fraction);
    if (profile.memory < need.least || fraction + kTolerance < need.compute) continue;
    suitable.push_back(i);
  }
  if (suitable.empty() && !asked.empty()) {
    out->refusal = geometry.Find(asked)
                       ? fmt::format("{} has {} and {} of the SMs", asked, FormatBytes(largest),
                                     FormatPercent(most_compute))
                       : NoProfile(geometry, asked);
    return;
  }
  if (suitable.empty()) {
    out->refusal =
        largest < need.least
            ? fmt::format("its largest MIG slice has {}", FormatBytes(largest))
            : fmt::format("no MIG slice with that memory has {} of the SMs (the largest has {})",
                          FormatPercent(need.compute), FormatPercent(most_compute));
    return;
  }
  const auto size = [&](int i) { return geometry.profile(i).placements.front().size; };
  std::sort(suitable.begin(), suitable.end(), [&](int a, int b) {
    const MigProfile& x = geometry.profile(a);
    const MigProfile& y = geometry.profile(b);
    return std::tuple(size(a), x.compute_slices, x.memory, x.sm_count, a) <
           std::tuple(size(b), y.compute_slices, y.memory, y.sm_count, b);
  });
  std::vector<int> kept;
  for (const int i : suitable) {
    const bool replaced = !need.every_slice && std::any_of(kept.begin(), kept.end(), [&](int k) {
      return Replaces(geometry.profile(k), geometry.profile(i));
    });
    if (replaced) continue;
    const MigProfile& profile = geometry.profile(i);
    Option option;
    option.mechanism = Mechanism::kMig;
    option.profile = i;
    option.memory = profile.memory;
    option.compute_fraction = view.ComputeOf(i);
    option.memory_share = static_cast<double>(size(i)) / geometry.memory_slots();
    option.compute_share = static_cast<double>(profile.compute_slices) / geometry.compute_slices();
    option.guarantees = view.Find(Mechanism::kMig)->guarantees;
    std::string too_slow = TooSlow(view, need, option);
    if (!too_slow.empty()) {
      out->refusal = std::move(too_slow);  // of the largest, in the end
      continue;
    }
    kept.push_back(i);
    out->options.push_back(option);
  }
  if (!out->options.empty()) out->refusal.clear();
}

// Ways to share an instance with others, by MPS. Of no use where nothing can sit beside it: one
// that is the whole GPU is only made for who asks for it.
void AddSharedInstanceOptions(const GpuView& view, const ReplicaNeed& need, Candidates* out) {
  const Workload& workload = *need.workload;
  const Capability* mps = view.Find(Mechanism::kMps);
  const Capability* mig = view.Find(Mechanism::kMig);
  if (!view.geometry || mps == nullptr || !mps->available || mig == nullptr || !mig->available) {
    return;
  }
  if (!view.no_whole_but_vgpu.empty()) return;
  // A profile alone asks for an instance of one's own.
  const bool wanted =
      workload.mechanism ? *workload.mechanism == Mechanism::kMps : workload.profile.empty();
  // How many replicas there are to be is worked out for slices that are not shared.
  if (!wanted || need.every_slice || need.whole_gpu || need.whole_slice || workload.gpus > 1 ||
      workload.isolation.low_jitter) {
    return;
  }
  if (view.only && *view.only != Mechanism::kMps) return;
  const Guarantees guarantees = WithinInstance(mps->guarantees);
  if (!guarantees.Satisfies(workload.isolation.axes)) return;
  const MigGeometry& geometry = *view.geometry;
  for (int i = 0; i < static_cast<int>(geometry.profiles().size()); ++i) {
    const MigProfile& profile = geometry.profile(i);
    const bool all = profile.compute_slices == geometry.compute_slices();
    if (!IsOffered(profile, workload.profile) || (all && workload.profile.empty())) continue;
    const double compute = view.ComputeOf(i);
    if (need.reserved > profile.memory || need.compute > compute + kTolerance ||
        view.MpsClientsIn(i) < 1) {
      continue;
    }
    const double part = static_cast<double>(need.reserved.value) /
                        static_cast<double>(std::max<uint64_t>(1, profile.memory.value));
    Option option;
    option.mechanism = Mechanism::kMps;
    option.profile = i;
    option.memory = need.reserved;
    option.memory_share = part * profile.placements.front().size / geometry.memory_slots();
    option.compute_share = need.compute;
    option.compute_fraction = need.compute > 0 ? need.compute : compute;
    option.guarantees = guarantees;
    if (TooSlow(view, need, option).empty()) out->options.push_back(option);
  }
}

// Why an instance of the very profile that is asked for cannot be shared here.
std::string NoSharedInstance(const GpuView& view, const ReplicaNeed& need) {
  const Capability* mps = view.Find(Mechanism::kMps);
  if (mps == nullptr) return "mps is not offered here";
  if (!mps->available) return fmt::format("no mps: {}", mps->reason);
  if (!view.geometry) return "no MIG: " + view.no_mig;
  const std::string& asked = need.workload->profile;
  const std::optional<int> profile = view.geometry->Find(asked);
  if (!profile) return NoProfile(*view.geometry, asked);
  return fmt::format("{} has {} and {} of the SMs", asked,
                     FormatBytes(view.geometry->profile(*profile).memory),
                     FormatPercent(view.ComputeOf(*profile)));
}

// The part of the GPU's SMs in the chunks that hold so much of them.
double InChunks(const GpuView& view, double compute) {
  const int chunk = view.Find(Mechanism::kMps)->partition_sms;
  const int sms = view.gpu->sm_count.value_or(0);
  if (chunk == 0 || sms == 0) return compute;
  return std::ceil(compute * sms / chunk - kTolerance) * chunk / sms;
}

// Why it cannot have a static partition, or not be beside those that have one; "" when it can.
std::string NoPartition(const GpuView& view, const ReplicaNeed& need) {
  const Workload& workload = *need.workload;
  if (!AsksForPartition(workload)) {
    return view.mps_partitioned
               ? "other workloads of the spec ask for SMs of their own (isolation: {compute: "
                 "driver}), which an MPS server gives to all its clients or to none"
               : "";
  }
  if (view.Find(Mechanism::kMps)->partition_sms == 0) {
    return "its MPS control program has no static partitions (they come with CUDA 13.1, for Ampere "
           "and newer)";
  }
  if (!view.gpu->sm_count) return "how many SMs it has cannot be read";
  if (need.compute <= 0) return "SMs of its own are asked, but not how many: say `compute: 30%`";
  const double share = InChunks(view, need.compute);
  if (share <= 1 + kTolerance) return "";
  return fmt::format("{} of its SMs are not to be had in whole chunks",
                     FormatPercent(need.compute));
}

// What a replica takes of each GPU's memory outside MIG.
Bytes MemoryTaken(Mechanism mechanism, const ReplicaNeed& need) {
  return HasLimiter(mechanism) ? need.reserved : need.least_per_gpu();
}

// Why the mechanism is no way for this replica on this GPU, or "".
std::string WhyNot(Mechanism mechanism, const GpuView& view, const ReplicaNeed& need) {
  const Workload& workload = *need.workload;
  const char* name = MechanismName(mechanism);
  if (workload.mechanism && *workload.mechanism != mechanism) {
    return fmt::format("the spec wants {}", MechanismName(*workload.mechanism));
  }
  const Capability* capability = view.Find(mechanism);
  if (capability == nullptr) return fmt::format("{} is not offered here", name);
  if (!capability->available) return fmt::format("no {}: {}", name, capability->reason);
  if (!view.no_whole_but_vgpu.empty()) return view.no_whole_but_vgpu;
  if (view.only && *view.only != mechanism) {
    return fmt::format("tier '{}' divides it by {}", view.tier, MechanismName(*view.only));
  }
  if (workload.memory_cap) {
    const Capability* limiter = view.Find(Mechanism::kFraction);
    if (limiter == nullptr || !limiter->available) {
      return fmt::format("memory_cap needs the limiter: {}",
                         limiter != nullptr ? limiter->reason : "it is not offered here");
    }
  }
  if (mechanism == Mechanism::kMps) {
    if (std::string why = NoPartition(view, need); !why.empty()) return why;
  }
  if (!GivenBy(*capability, workload).Satisfies(workload.isolation.axes)) {
    return fmt::format("{} does not give {}", name, IsolationText(workload.isolation));
  }
  const bool whole = mechanism == Mechanism::kExclusive;
  if (need.whole_gpu && !whole)
    return fmt::format("{} says nothing of its memory, so it gets a whole GPU", workload.name);
  if (workload.gpus > 1 && !whole) {
    return mechanism == Mechanism::kMig
               ? fmt::format(
                     "{} GPUs that reach each other are asked, and MIG slices have no peer access",
                     workload.gpus)
               : fmt::format("{} whole GPUs are asked", workload.gpus);
  }
  if (workload.isolation.low_jitter && !whole && mechanism != Mechanism::kMig) {
    return fmt::format("{} lets other tenants stretch a kernel, and jitter: low is asked", name);
  }
  if (mechanism == Mechanism::kMig) return view.geometry ? "" : "no MIG: " + view.no_mig;
  if (!workload.profile.empty()) return fmt::format("the spec wants a {}", workload.profile);
  if (!view.no_whole.empty()) return view.no_whole;
  if (view.mig_on && view.gpu->mig_mode && !view.geometry)
    return "its MIG mode is on and cannot be changed";
  if (whole && !view.foreign_processes.empty()) {
    return fmt::format("{} {} it", WhoIs(view.foreign_processes),
                       view.foreign_processes.size() == 1 ? "uses" : "use");
  }
  if (!whole && !view.free_unknown.empty()) return view.free_unknown;
  if (!whole && need.compute > 1 + kTolerance) return "more than a whole GPU is asked";
  if ((whole ? 1 : need.compute) > 1 - view.compute_promised + kTolerance) {
    return fmt::format("{} of its time are promised to programs outside the spec",
                       FormatPercent(view.compute_promised));
  }
  return MemoryTaken(mechanism, need) > view.free_undivided
             ? fmt::format("it has {}{}", FormatBytes(view.free_undivided),
                           view.foreign_processes.empty() ? "" : " left")
             : "";
}

// Why not, or "" when it was added.
std::string AddUndividedOption(Mechanism mechanism, const GpuView& view, const ReplicaNeed& need,
                               Candidates* out) {
  Option option;
  option.mechanism = mechanism;
  option.guarantees = GivenBy(*view.Find(mechanism), *need.workload);
  if (mechanism == Mechanism::kTimeSlicing) {
    option.time_slice = need.workload->time_slice.value_or(TimeSlice::kDefault);
  }
  if (mechanism == Mechanism::kExclusive) {
    option.memory = UsableMemory(*view.gpu);
  } else {
    option.memory = MemoryTaken(mechanism, need);
    option.memory_share = static_cast<double>(option.memory.value) /
                          static_cast<double>(std::max<uint64_t>(1, view.gpu->memory_total.value));
    option.compute_share = need.compute;
    // Without an ask nothing holds a tenant back from the whole of it.
    option.compute_fraction = need.compute > 0 ? need.compute : 1;
    if (mechanism == Mechanism::kMps && AsksForPartition(*need.workload)) {
      option.compute_share = option.compute_fraction = InChunks(view, need.compute);
    }
    // So many tenants at most is the same as that each takes so much of the GPU's time.
    if (view.most_tenants) {
      option.compute_share = std::max(option.compute_share, 1.0 / *view.most_tenants);
    }
  }
  std::string too_slow = TooSlow(view, need, option);
  if (too_slow.empty()) out->options.push_back(option);
  return too_slow;
}

}  // namespace

bool AsksForPartition(const Workload& workload) {
  return workload.mechanism == Mechanism::kMps && workload.profile.empty() &&
         workload.isolation.axes.compute >= Guarantee::kDriver;
}

Guarantees GivenBy(const Capability& capability, const Workload& workload) {
  Guarantees given = capability.guarantees;
  if (AsksForPartition(workload) && capability.mechanism == Mechanism::kMps &&
      capability.partition_sms > 0) {
    given.compute = std::max(given.compute, Guarantee::kDriver);
  }
  if (workload.memory_cap) given.memory = std::max(given.memory, Guarantee::kCooperative);
  return given;
}

// What MPS gives within an instance: the walls are around the instance, and nothing but the limiter
// is between those in it; the kernel's limits on memory are not for MIG.
Guarantees WithinInstance(Guarantees guarantees) {
  guarantees.memory = std::min(guarantees.memory, Guarantee::kCooperative);
  return guarantees;
}

std::string IsolationText(const IsolationAsk& isolation) {
  if (isolation.word != "axes") {
    return isolation.word == "none" ? "no isolation" : isolation.word + " isolation";
  }
  std::string text;
  const auto add = [&](const char* axis, Guarantee guarantee) {
    if (guarantee == Guarantee::kNone) return;
    text += fmt::format("{}{} {}", text.empty() ? "" : ", ", GuaranteeName(guarantee), axis);
  };
  add("memory", isolation.axes.memory);
  add("compute", isolation.axes.compute);
  add("fault", isolation.axes.fault);
  add("access", isolation.axes.access);
  return text.empty() ? "no isolation" : text + " isolation";
}

bool MayShareFaultDomain(const Workload& a, const Workload& b) {
  return a.team == b.team || (a.trusted && b.trusted);
}

Candidates CandidatesOn(const GpuView& view, const ReplicaNeed& need, const Catalog& catalog) {
  Candidates out;
  const Workload& workload = *need.workload;
  if (!workload.gpu.empty()) {
    const Result<const CatalogGpu*> asked = catalog.FindGpu(workload.gpu);
    const std::string& key = asked ? (*asked)->key : workload.gpu;
    if (key != view.gpu->model) {
      out.refusal = fmt::format("the spec wants a {}", key);
      out.other_model = true;
      return out;
    }
  }
  if (view.in_tiers && view.tier != workload.tier) {
    out.refusal =
        workload.tier.empty()
            ? fmt::format("it is in tier '{}', and {} names no tier", view.tier, workload.name)
        : view.tier.empty() ? fmt::format("it is not in tier '{}'", workload.tier)
                            : fmt::format("it is in tier '{}', not '{}'", view.tier, workload.tier);
    out.other_model = true;
    return out;
  }
  if (!view.unusable.empty()) {
    out.refusal = view.unusable;
    return out;
  }
  // vGPUs are made for virtual machines, not for processes.
  if (workload.mechanism == Mechanism::kVgpu) {
    AddVgpuOptions(view, need, &out);
    return out;
  }
  // Of what is offered here, and of what is not.
  std::vector<std::string> refusals, not_offered;
  for (const Mechanism mechanism : kInOrder) {
    std::string why_not = WhyNot(mechanism, view, need);
    if (why_not.empty() && mechanism == Mechanism::kMig) {
      AddMigOptions(view, need, &out);
      why_not = std::exchange(out.refusal, "");
    } else if (why_not.empty()) {
      why_not = AddUndividedOption(mechanism, view, need, &out);
    }
    // What the spec itself excludes explains nothing about this GPU.
    const bool excluded = (workload.mechanism && *workload.mechanism != mechanism) ||
                          (!workload.profile.empty() && mechanism != Mechanism::kMig);
    const Capability* capability = view.Find(mechanism);
    auto& reasons = capability != nullptr && capability->available ? refusals : not_offered;
    if (!why_not.empty() && !excluded &&
        std::find(reasons.begin(), reasons.end(), why_not) == reasons.end()) {
      reasons.push_back(std::move(why_not));
    }
  }
  AddSharedInstanceOptions(view, need, &out);
  if (!out.options.empty()) return out;
  if (!workload.profile.empty() && workload.mechanism == Mechanism::kMps) {
    refusals = {NoSharedInstance(view, need)};
  }
  refusals.insert(refusals.end(), not_offered.begin(), not_offered.end());
  // Two reasons say enough: the first is that of the whole GPU, the second that of MIG or of a
  // share.
  for (size_t i = 0; i < refusals.size() && i < 2; ++i) {
    out.refusal += (i == 0 ? "" : "; ") + refusals[i];
  }
  if (out.refusal.empty()) out.refusal = "no mechanism is offered on it";
  return out;
}

}  // namespace tranche::planning
