#include "stage/plan/tiers.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <map>

#include "base/suggest.h"
#include "decide/geometry/packing.h"

namespace tranche::planning {
namespace {

bool IsNamed(const GpuSelector& selector) { return selector.index || !selector.uuid.empty(); }

bool Selects(const GpuSelector& selector, const Gpu& gpu) {
  if (selector.index) return gpu.index == *selector.index;
  if (!selector.uuid.empty()) return gpu.uuid.compare(0, selector.uuid.size(), selector.uuid) == 0;
  return gpu.model == selector.gpu;
}

std::string SelectorText(const GpuSelector& selector) {
  if (selector.index) return fmt::format("index {}", *selector.index);
  return selector.uuid.empty() ? selector.gpu : selector.uuid;
}

// "4g.40gb", "4g.40gb and 3g.40gb", "7 x 1g.10gb".
std::string LayoutText(const MigGeometry& geometry, const std::vector<PlacedProfile>& layout) {
  std::vector<std::pair<std::string, int>> counts;
  for (const PlacedProfile& placed : layout) {
    const std::string& name = geometry.profile(placed.profile).name;
    if (counts.empty() || counts.back().first != name) counts.emplace_back(name, 0);
    ++counts.back().second;
  }
  std::string text;
  for (const auto& [name, count] : counts) {
    text +=
        (text.empty() ? "" : " and ") + (count == 1 ? name : fmt::format("{} x {}", count, name));
  }
  return text;
}

// The largest plain profile that fits beside a layout, or nullptr.
const MigProfile* LargestBeside(const MigGeometry& geometry,
                                const std::vector<PlacedProfile>& layout) {
  const Occupancy taken = geometry.OccupancyOf(layout);
  const MigProfile* largest = nullptr;
  for (int p = 0; p < static_cast<int>(geometry.profiles().size()); ++p) {
    const MigProfile& profile = geometry.profile(p);
    if (profile.variant != MigVariant::kPlain || !geometry.FitsSomewhere(taken, p)) continue;
    if (largest == nullptr || std::pair(profile.compute_slices, profile.memory.value) >
                                  std::pair(largest->compute_slices, largest->memory.value)) {
      largest = &profile;
    }
  }
  return largest;
}

std::string GpusText(size_t count) { return count == 1 ? "1 GPU" : fmt::format("{} GPUs", count); }

// How many tenants a tier's GPUs hold by MIG.
void CountMig(const Tier& tier, const std::vector<const GpuView*>& gpus, TierCapacity* out) {
  if (tier.profiles.empty()) {
    out->how = fmt::format("{}, divided as its workloads need", GpusText(gpus.size()));
    out->notes.push_back("how many slices that are depends on their sizes; a `profile` fixes it");
    return;
  }
  int slices = 0;
  std::map<std::string, int> layouts, beside;
  for (const GpuView* view : gpus) {
    const auto geometry = MigGeometry::Make(view->gpu->mig_profiles);
    if (!geometry || view->fixed.empty()) continue;
    slices += static_cast<int>(view->fixed.size());
    ++layouts[LayoutText(*geometry, view->fixed)];
    const MigProfile* more = LargestBeside(*geometry, view->fixed);
    if (more != nullptr) ++beside[more->name];
  }
  out->slices = slices;
  for (const auto& [text, count] : layouts) {
    out->how += fmt::format("{}{}, {} on {}", out->how.empty() ? "" : "; ",
                            GpusText(static_cast<size_t>(count)), text, count == 1 ? "it" : "each");
  }
  for (const auto& [name, count] : beside) {
    const std::string now = fmt::format("{}", fmt::join(tier.profiles, ", "));
    out->notes.push_back(
        tier.profiles.size() == 1
            ? fmt::format("{} slices only as {} and {}: no other {} fits beside it on one GPU",
                          slices + count, now, name, now)
            : fmt::format("a {} fits beside on {} of them", name, count));
  }
}

void Count(const Tier& tier, const std::vector<const GpuView*>& gpus, TierCapacity* out) {
  const std::string count = GpusText(gpus.size());
  if (!tier.mechanism) {
    out->how = fmt::format("{}, each divided as its workloads need", count);
    if (tier.oversubscription) {
      out->notes.push_back(fmt::format("at most {} workloads share one", *tier.oversubscription));
    }
    return;
  }
  switch (*tier.mechanism) {
    case Mechanism::kMig:
      CountMig(tier, gpus, out);
      return;
    case Mechanism::kExclusive:
      out->slices = static_cast<int>(gpus.size());
      out->how = fmt::format("{}, held whole", count);
      return;
    default:
      break;
  }
  const char* name = MechanismName(*tier.mechanism);
  if (!tier.oversubscription) {
    out->how = fmt::format("{} by {}, as many on each as its memory holds", count, name);
    out->notes.push_back("`oversubscription` says how many may share one");
  } else {
    out->slices = static_cast<int>(gpus.size()) * *tier.oversubscription;
    out->how = fmt::format("{} by {}, {} on each", count, name, *tier.oversubscription);
  }
  if (tier.mechanism == Mechanism::kTimeSlicing) {
    if (tier.oversubscription && *tier.oversubscription > 1) {
      out->notes.push_back(fmt::format("oversubscribed {} times: {}", *tier.oversubscription,
                                       NotGuaranteedByTurns(tier.memory_cap)));
    }
    if (tier.time_slice) {
      out->notes.push_back(fmt::format("time slices of class {}", TimeSliceName(*tier.time_slice)));
    }
  }
}

}  // namespace

}  // namespace tranche::planning

namespace tranche {

std::vector<TierCapacity> TierCapacities(const Machine& machine, const Spec& spec,
                                         const Deployment& deployment, const Catalog& catalog) {
  return planning::CapacitiesOf(
      spec, planning::ViewsOf(machine, deployment, spec, catalog, PlanOptions(), false));
}

std::string NotGuaranteedByTurns(bool memory_capped) {
  return memory_capped
             ? "each keeps to its memory by the limiter; no share of the GPU's time is guaranteed, "
               "and a fault of one may reach the others"
             : "neither memory nor a share of the GPU's time is guaranteed, and a fault of one may "
               "reach the others";
}

}  // namespace tranche

namespace tranche::planning {

TierGpus ResolveTiers(const Machine& machine, const Spec& spec) {
  TierGpus out;
  out.tier_of.resize(machine.gpus.size());
  const auto take = [&](const Tier& tier, const GpuSelector& selector) {
    int taken = 0;
    for (size_t g = 0; g < machine.gpus.size(); ++g) {
      if (selector.count && taken == *selector.count) break;
      if (!Selects(selector, machine.gpus[g])) continue;
      if (!out.tier_of[g].empty()) {
        if (IsNamed(selector) && out.tier_of[g] != tier.name) {
          out.problems.push_back(fmt::format("gpu{} is asked for by tier '{}' and is in '{}'",
                                             machine.gpus[g].index, tier.name, out.tier_of[g]));
        }
        if (IsNamed(selector)) ++taken;
        continue;
      }
      out.tier_of[g] = tier.name;
      ++taken;
    }
    const int wanted = selector.count.value_or(1);
    if (taken < wanted) {
      out.problems.push_back(taken == 0 ? fmt::format("tier '{}': no GPU here is {}", tier.name,
                                                      SelectorText(selector))
                                        : fmt::format("tier '{}': {} of {} {} are here", tier.name,
                                                      taken, wanted, SelectorText(selector)));
    }
  };
  for (const Tier& tier : spec.tiers) {
    for (const GpuSelector& selector : tier.gpus) {
      if (IsNamed(selector)) take(tier, selector);
    }
  }
  // Those that say how many before those that take the rest.
  for (const bool counted : {true, false}) {
    for (const Tier& tier : spec.tiers) {
      for (const GpuSelector& selector : tier.gpus) {
        if (!IsNamed(selector) && selector.count.has_value() == counted) take(tier, selector);
      }
    }
  }
  return out;
}

Result<std::vector<PlacedProfile>> FixedLayout(const MigGeometry& geometry,
                                               const std::vector<std::string>& profiles) {
  std::vector<int> wanted;
  for (const std::string& name : profiles) {
    const std::optional<int> profile = geometry.Find(name);
    if (!profile) {
      std::vector<std::string> names;
      for (const MigProfile& known : geometry.profiles()) names.push_back(known.name);
      std::string hint = DidYouMean(name, names);
      return Fail(ErrorCode::kDoesNotFit, fmt::format("it has no MIG profile {}", name),
                  hint.empty() ? fmt::format("it has {}", fmt::join(names, ", ")) : hint);
    }
    wanted.push_back(*profile);
  }
  if (wanted.size() == 1) {
    const int most = CountFitting(geometry, {}, wanted.front());
    wanted.assign(static_cast<size_t>(std::max(1, most)), wanted.front());
  }
  const auto placements = CanPlace(geometry, wanted);
  if (!placements) return tl::unexpected(placements.error());
  std::vector<PlacedProfile> layout;
  for (size_t i = 0; i < wanted.size(); ++i) layout.push_back({wanted[i], (*placements)[i]});
  std::stable_sort(
      layout.begin(), layout.end(),
      [](const PlacedProfile& a, const PlacedProfile& b) { return a.placement < b.placement; });
  return layout;
}

void PutIntoTiers(const Machine& machine, const Spec& spec, std::vector<GpuView>* views) {
  if (spec.tiers.empty()) return;
  const TierGpus tiers = ResolveTiers(machine, spec);
  for (size_t v = 0; v < views->size(); ++v) {
    GpuView& view = (*views)[v];
    view.in_tiers = true;
    view.tier = tiers.tier_of[v];
    const Tier* tier = spec.FindTier(view.tier);
    if (tier == nullptr) continue;
    view.only = tier->mechanism;
    view.most_tenants = tier->oversubscription;
    if (tier->profiles.empty() || !view.geometry) continue;
    const auto layout = FixedLayout(*view.geometry, tier->profiles);
    if (!layout) {
      view.no_mig =
          fmt::format("tier '{}' cannot be laid out on it: {}", tier->name, layout.error().message);
      view.geometry.reset();
      continue;
    }
    // What stays and is not ours may be in the way of it.
    Occupancy taken = view.foreign;
    std::string in_the_way;
    for (const PlacedProfile& placed : *layout) {
      if ((SlotsOf(placed.placement) & taken.slots) == 0) continue;
      in_the_way = DescribePlacement(view.geometry->profile(placed.profile).name, placed.placement);
    }
    if (!in_the_way.empty()) {
      view.no_mig = fmt::format(
          "tier '{}' wants {} there, and an instance that is not Tranche's is in its way; --adopt "
          "lets it be replaced when nobody uses it",
          tier->name, in_the_way);
      view.geometry.reset();
      continue;
    }
    view.fixed = *layout;
    view.geometry = view.geometry->FixedAt(*layout);
  }
}

std::vector<TierCapacity> CapacitiesOf(const Spec& spec, const std::vector<GpuView>& views) {
  std::vector<TierCapacity> capacities;
  for (const Tier& tier : spec.tiers) {
    TierCapacity capacity;
    capacity.tier = tier.name;
    std::vector<const GpuView*> gpus;
    for (const GpuView& view : views) {
      if (view.tier != tier.name) continue;
      capacity.gpu_uuids.push_back(view.gpu->uuid);
      const bool no_mig = tier.mechanism == Mechanism::kMig && !view.geometry;
      if (!view.unusable.empty() || no_mig) {
        capacity.notes.push_back(
            fmt::format("{} is not counted: {}", view.name(),
                        no_mig && view.unusable.empty() ? view.no_mig : view.unusable));
        continue;
      }
      gpus.push_back(&view);
    }
    Count(tier, gpus, &capacity);
    capacities.push_back(std::move(capacity));
  }
  return capacities;
}

}  // namespace tranche::planning
