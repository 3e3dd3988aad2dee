#include "stage/plan/candidates.h"

#include <fmt/format.h>

#include <algorithm>

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

int SmsOf(const GpuView& view) {
  if (view.gpu->sm_count) return *view.gpu->sm_count;
  int most = 0;
  for (const MigProfile& profile : view.gpu->mig_profiles) most = std::max(most, profile.sm_count);
  return most;
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
  const std::string where = option.mechanism == Mechanism::kMig
                                ? view.geometry->profile(option.profile).name
                                : MechanismName(option.mechanism);
  const std::string breaks = need.speed->Breaks(view, option);
  if (!breaks.empty()) return fmt::format("{} is too slow: {}", where, breaks);
  return fmt::format("{} serves {:.3g} requests per second within its slo, not {:.3g}", where,
                     need.speed->CapacityIn(view, option).value_or(0), need.per_second);
}

void AddMigOptions(const GpuView& view, const ReplicaNeed& need, Candidates* out) {
  const MigGeometry& geometry = *view.geometry;
  const int sms = SmsOf(view);
  std::vector<int> suitable;
  Bytes largest;
  double most_compute = 0;
  for (int i = 0; i < static_cast<int>(geometry.profiles().size()); ++i) {
    const MigProfile& profile = geometry.profile(i);
    // The other variants trade engines that no spec asks for, and a GPU has one +me.
    if (profile.variant != MigVariant::kPlain) continue;
    const double fraction = sms > 0 ? static_cast<double>(profile.sm_count) / sms : 0;
    largest = std::max(largest, profile.memory);
    most_compute = std::max(most_compute, fraction);
    if (profile.memory < need.least || fraction + kTolerance < need.compute) continue;
    suitable.push_back(i);
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
    option.compute_fraction = sms > 0 ? static_cast<double>(profile.sm_count) / sms : 0;
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
  if (!capability->guarantees.Satisfies(workload.isolation.axes)) {
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
  option.guarantees = view.Find(mechanism)->guarantees;
  if (mechanism == Mechanism::kExclusive) {
    option.memory = UsableMemory(*view.gpu);
  } else {
    option.memory = MemoryTaken(mechanism, need);
    option.memory_share = static_cast<double>(option.memory.value) /
                          static_cast<double>(std::max<uint64_t>(1, view.gpu->memory_total.value));
    option.compute_share = need.compute;
    // Without an ask nothing holds a tenant back from the whole of it.
    option.compute_fraction = need.compute > 0 ? need.compute : 1;
  }
  std::string too_slow = TooSlow(view, need, option);
  if (too_slow.empty()) out->options.push_back(option);
  return too_slow;
}

}  // namespace

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
  if (!view.unusable.empty()) {
    out.refusal = view.unusable;
    return out;
  }
  // Of what is offered here, and of what is not.
  std::vector<std::string> refusals, not_offered;
  // vGPUs are made for virtual machines, not for processes.
  for (const Mechanism mechanism : kInOrder) {
    std::string why_not = WhyNot(mechanism, view, need);
    if (why_not.empty() && mechanism == Mechanism::kMig) {
      AddMigOptions(view, need, &out);
      why_not = std::exchange(out.refusal, "");
    } else if (why_not.empty()) {
      why_not = AddUndividedOption(mechanism, view, need, &out);
    }
    // What the spec itself excludes explains nothing about this GPU.
    const bool excluded = workload.mechanism && *workload.mechanism != mechanism;
    const Capability* capability = view.Find(mechanism);
    auto& reasons = capability != nullptr && capability->available ? refusals : not_offered;
    if (!why_not.empty() && !excluded &&
        std::find(reasons.begin(), reasons.end(), why_not) == reasons.end()) {
      reasons.push_back(std::move(why_not));
    }
  }
  if (!out.options.empty()) return out;
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
