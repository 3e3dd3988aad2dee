#include "stage/plan/layout.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <set>

#include "decide/geometry/packing.h"
#include "stage/plan/fleet_search.h"
#include "stage/plan/vgpu.h"

namespace tranche::planning {
namespace {

// Prices are compared to the ten-thousandth of a unit that a fleet's are rounded to.
constexpr double kPriceTolerance = 1e-3;
// To look for a layout in which instances are shared, or whether one more fits into a fleet.
constexpr int64_t kStepsToShare = 4000;

// The part of a GPU that a replica takes, in milli: of the resource of which it takes more, by the
// least way that is no instance of MIG. Absent where there is no such way.
std::optional<int> PartOf(const Candidates& candidates) {
  for (const Option& option : candidates.options) {
    if (option.profile >= 0) continue;
    const double share = std::max(option.memory_share, option.compute_share);
    return static_cast<int>(std::ceil(placement::kGpuMilli * share - 1e-6));
  }
  return std::nullopt;
}

// What a workload asks of its virtual GPU; "" where it is none.
std::string VgpuKey(const Workload& workload) {
  if (workload.mechanism != Mechanism::kVgpu) return "";
  const VgpuAsk ask = workload.vgpu.value_or(VgpuAsk());
  return fmt::format("{}{}{}", VgpuSeriesName(ask.series),
                     ask.scheduler ? VgpuSchedulerName(*ask.scheduler) : "", ask.mixed_sizes);
}

// What a GPU has of virtual GPUs, as far as candidates go.
std::string VgpuKey(const GpuView& view) {
  if (!view.gpu->vgpu) return "";
  const GpuVgpu& vgpu = *view.gpu->vgpu;
  std::string key =
      fmt::format("|vgpu {} {} {} {} {}", vgpu.functions > 0, vgpu.there.empty(),
                  view.foreign_vgpus.size(), vgpu.mixed ? static_cast<int>(*vgpu.mixed) : -1,
                  vgpu.scheduler ? static_cast<int>(*vgpu.scheduler) : -1);
  for (const VgpuOffer& offer : vgpu.offers)
    key += fmt::format(",{}:{}:{}:{}:{}:{}", offer.name, offer.guest().value, offer.most,
                       offer.most_mixed, offer.mig_profile, offer.most_per_instance);
  return key;
}

// Replicas of one class may stand in for each other.
std::string ClassKey(const ReplicaNeed& need) {
  const Workload& w = *need.workload;
  const Guarantees& axes = w.isolation.axes;
  const std::string speed =
      need.speed ? fmt::format("{}|{}|{:.17g}|{}|{}", w.name, need.speed->batch(), need.per_second,
                               need.every_slice, Speed::ObjectiveText(*w.slo))
                 : std::string();
  return fmt::format(
      "{}|{}/{}|{}|{}|{:.17g}|{}|{}|{},{},{},{}|{}|{}|{}|{}", w.gpu,
      w.mechanism ? MechanismName(*w.mechanism) : "", w.profile, need.least.value,
      need.reserved.value, need.compute, w.gpus, need.whole_gpu, static_cast<int>(axes.memory),
      static_cast<int>(axes.compute), static_cast<int>(axes.fault), static_cast<int>(axes.access),
      w.isolation.low_jitter, w.trusted, w.team,
      fmt::format("{}|{}|{}|{}|{}|{}", w.preemptible, speed, w.tier,
                  w.time_slice ? TimeSliceName(*w.time_slice) : "", w.memory_cap, VgpuKey(w)));
}

// Everything that tells one GPU from another as far as candidates go. Reasons in words do not.
std::string ViewKey(const GpuView& view) {
  const Gpu& gpu = *view.gpu;
  std::string key = fmt::format(
      "{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", view.tier, gpu.model,
      gpu.model.empty() ? gpu.name : "", gpu.memory_total.value, gpu.sm_count.value_or(0),
      view.mig_on, view.geometry.has_value(), view.no_whole.empty(), view.unusable.empty(),
      view.foreign_processes.size(), view.free_undivided.value, view.free_unknown.empty());
  for (const Capability& capability : view.capabilities) {
    const Guarantees& g = capability.guarantees;
    key +=
        fmt::format("|{}:{}:{}{}{}{}", static_cast<int>(capability.mechanism), capability.available,
                    static_cast<int>(g.memory), static_cast<int>(g.compute),
                    static_cast<int>(g.fault), static_cast<int>(g.access));
  }
  for (const MigProfile& profile : gpu.mig_profiles) {
    key += fmt::format("|{}:{}:{}:{}", profile.name, profile.memory.value, profile.sm_count,
                       profile.max_instances);
    for (const MigPlacement placement : profile.placements) {
      key += fmt::format(",{}+{}", placement.start, placement.size);
    }
  }
  return key + VgpuKey(view);
}

std::string BinKey(const Bin& bin, const GpuView& view) {
  std::string key = fmt::format(
      "{}#{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}|{}", ViewKey(view), bin.price, bin.spot_price,
      static_cast<int>(bin.use),
      bin.vgpu_group * 64 + static_cast<int>(bin.shared_by) * 8 + static_cast<int>(bin.time_slice),
      bin.memory_used, bin.compute_used, bin.team, bin.all_trusted, bin.taken.slots,
      bin.taken.compute_slices, bin.instance_profile,
      bin.shared_by == Mechanism::kMps ? bin.tenants : 0);
  for (const uint8_t count : bin.taken.counts) key += static_cast<char>('0' + count);
  for (const PlacedProfile& there : bin.left_over)
    key += fmt::format("|{}@{}", there.profile, there.placement.start);
  const EngineCounts& engines = bin.taken.engines;
  return key +
         fmt::format("|{},{},{},{}", engines.decoder, engines.encoder, engines.jpeg, engines.ofa);
}

void PutTenant(const ReplicaNeed& need, const Option& option, int team, Bin* bin) {
  bin->shared_by = option.mechanism;
  bin->time_slice = option.time_slice;
  bin->vgpu_group = option.vgpu_group;
  bin->memory_used += option.memory.value;
  bin->compute_used += option.compute_share;
  ++bin->tenants;
  bin->team = bin->team == -1 || bin->team == team ? team : -2;
  bin->all_trusted = bin->all_trusted && need.workload->trusted;
}

// The ways to share an instance of the profile: one or none.
std::vector<Option> ToShare(const std::vector<Option>& options, int profile) {
  std::vector<Option> to_share;
  for (const Option& option : options) {
    if (option.in_instance() && option.profile == profile) to_share.push_back(option);
  }
  return to_share;
}

bool MayShareInstances(const SearchProblem& problem) {
  for (const ItemClass& item : problem.classes) {
    for (const auto& [type, options] : item.options) {
      for (const Option& option : options) {
        if (option.in_instance()) return true;
      }
    }
  }
  return false;
}

// What Search came to, or an answer in which several share an instance, where such is cheaper or
// there is no other.
SearchOutcome WithSharedInstances(const SearchProblem& problem, const SearchLimits& limits,
                                  SearchOutcome outcome, SearchAnswer* answer) {
  const bool found = outcome == SearchOutcome::kFound;
  if ((found && limits.first_will_do) || !MayShareInstances(problem)) return outcome;
  if (found) {
    const double bound = FleetBound(problem);
    if (answer->price <= bound + kPriceTolerance) return outcome;
    answer->lower_bound = std::min(answer->lower_bound, bound);
    answer->exact = false;
  }
  SearchAnswer shared = SearchFleet(problem, {.steps = kStepsToShare});
  const bool all = std::none_of(shared.choices.begin(), shared.choices.end(),
                                [](const Choice& choice) { return choice.bins.empty(); });
  if (!all || (found && shared.price >= answer->price - kPriceTolerance)) return outcome;
  *answer = std::move(shared);
  return SearchOutcome::kFound;
}

int TeamNumber(const std::string& team, std::map<std::string, int>* numbers) {
  return numbers->emplace(team, static_cast<int>(numbers->size())).first->second;
}

}  // namespace

LayoutSolver::LayoutSolver(const std::vector<GpuView>& views, const std::vector<ReplicaNeed>& needs,
                           const Deployment& deployment, const Catalog& catalog,
                           const fleet::SolverLimits& fleet_limits,
                           std::map<std::string, double> slices_seen)
    : views_(views),
      needs_(needs),
      deployment_(deployment),
      catalog_(catalog),
      fleet_limits_(fleet_limits),
      slices_seen_(std::move(slices_seen)) {}

const Candidates& LayoutSolver::CandidatesOf(const ReplicaNeed& need, size_t view) const {
  const std::string key = ClassKey(need);
  auto known = candidates_.find(key);
  if (known == candidates_.end()) {
    std::vector<Candidates> all;
    for (const GpuView& one : views_) all.push_back(CandidatesOn(one, need, catalog_));
    known = candidates_.emplace(key, std::move(all)).first;
  }
  return known->second[view];
}

// A replica whose spec did not change stays wherever it can go on; a changed one starts anew
// anyway, so it stays only where it would be put today.
std::optional<LayoutSolver::Pin> LayoutSolver::PinOf(size_t index) const {
  const ReplicaNeed& need = needs_[index];
  const DeployedReplica* before = deployment_.FindReplica(need.workload->name, need.replica);
  if (before == nullptr) return std::nullopt;
  const bool same = before->digest == need.digest;
  Pin pin;
  std::vector<std::string> uuids = {before->slice.gpu_uuid};
  uuids.insert(uuids.end(), before->slice.more_gpu_uuids.begin(),
               before->slice.more_gpu_uuids.end());
  if (static_cast<int>(uuids.size()) != need.workload->gpus) return std::nullopt;
  for (const std::string& uuid : uuids) {
    const auto view = std::find_if(views_.begin(), views_.end(),
                                   [&](const GpuView& v) { return v.gpu->uuid == uuid; });
    if (view == views_.end() || !view->unusable.empty()) return std::nullopt;
    pin.gpus.push_back(static_cast<int>(view - views_.begin()));
  }
  const size_t first = static_cast<size_t>(pin.gpus.front());
  const GpuView& view = views_[first];
  const Capability* capability = view.Find(before->slice.mechanism);
  if (capability == nullptr || !capability->available) return std::nullopt;
  if (before->slice.mechanism == Mechanism::kVgpu) {
    // A changed one keeps its device where it is given the same one again.
    if (!same || (view.in_tiers && view.tier != need.workload->tier)) return std::nullopt;
    for (const Option& option : CandidatesOf(need, first).options) {
      if (OfferOf(view, option).name != before->slice.vgpu_type) continue;
      pin.option = option;
      pin.placement = before->slice.placement;
      return (option.profile >= 0) == pin.placement.has_value() ? std::optional(pin) : std::nullopt;
    }
    return std::nullopt;
  }
  Guarantees given = GivenBy(*capability, *need.workload);
  if (before->slice.mechanism == Mechanism::kMps && before->slice.placement)
    given = WithinInstance(given);
  if (!given.Satisfies(need.workload->isolation.axes)) return std::nullopt;
  if (view.in_tiers && view.tier != need.workload->tier) return std::nullopt;
  if (view.only && *view.only != before->slice.mechanism) return std::nullopt;

  // On a shared GPU or instance what all tenants need together decides, so a changed one is looked
  // at anew.
  const bool shared = before->slice.mechanism != Mechanism::kMig &&
                      before->slice.mechanism != Mechanism::kExclusive;
  if (shared && !same) return std::nullopt;

  int profile = -1;
  if (before->slice.mechanism == Mechanism::kMig || before->slice.placement) {
    if (!view.geometry || !before->slice.placement) return std::nullopt;
    profile = view.geometry->Find(before->slice.profile).value_or(-1);
    if (profile < 0) return std::nullopt;
    pin.placement = before->slice.placement;
    if (!view.geometry->Fits(view.foreign, profile, *pin.placement)) return std::nullopt;
  } else if (!view.no_whole.empty()) {
    return std::nullopt;
  }
  for (const Option& option : CandidatesOf(need, first).options) {
    if (option.mechanism != before->slice.mechanism || option.profile != profile) continue;
    pin.option = option;
    return pin;
  }
  if (!same) return std::nullopt;
  pin.option.mechanism = before->slice.mechanism;
  pin.option.profile = profile;
  pin.option.memory = before->slice.memory;
  pin.option.compute_fraction = before->slice.compute_fraction;
  pin.option.compute_share = need.compute;
  pin.option.guarantees = given;
  if (pin.option.mechanism == Mechanism::kTimeSlicing) {
    pin.option.time_slice = need.workload->time_slice.value_or(TimeSlice::kDefault);
  }
  return pin;
}

std::map<MigPlacement, int> InstancesOn(int gpu, const std::vector<Placed>& placed) {
  std::map<MigPlacement, int> instances;
  for (const Placed& one : placed) {
    if (one.placement && one.gpus.front() == gpu)
      instances.emplace(*one.placement, one.option.profile);
  }
  return instances;
}

std::vector<Bin> LayoutSolver::SharedInstances(const std::vector<GpuView>& views,
                                               const Pins& pins) const {
  std::map<std::pair<int, MigPlacement>, Bin> bins;
  std::map<std::string, int> teams;
  for (const ReplicaNeed& need : needs_) TeamNumber(need.workload->team, &teams);
  for (const auto& [need, pin] : pins) {
    if (!pin.option.in_instance()) continue;
    const GpuView& view = views[static_cast<size_t>(pin.gpus.front())];
    const auto [bin, is_new] = bins.emplace(std::pair(pin.gpus.front(), *pin.placement), Bin{});
    if (is_new) {
      const MigProfile& profile = view.geometry->profile(pin.option.profile);
      bin->second.price = 0;  // its GPU is paid for
      bin->second.use = BinUse::kShared;
      bin->second.memory = profile.memory.value;
      bin->second.compute_used = 1 - view.ComputeOf(pin.option.profile);
      bin->second.mps_clients = view.MpsClientsIn(pin.option.profile);
      bin->second.instance_of = pin.gpus.front();
      bin->second.instance_profile = pin.option.profile;
      bin->second.placement = *pin.placement;
      bin->second.memory_part =
          static_cast<double>(pin.placement->size) / view.geometry->memory_slots();
    }
    PutTenant(needs_[need], pin.option, TeamNumber(needs_[need].workload->team, &teams),
              &bin->second);
  }
  std::vector<Bin> shared;
  for (auto& [at, bin] : bins) shared.push_back(std::move(bin));
  return shared;
}

Bin LayoutSolver::BinOf(const GpuView& view, size_t index, const Pins& pins) const {
  Bin bin;
  bin.price = view.price_per_hour.value_or(1);
  if (view.spot_price_per_hour) bin.spot_price = *view.spot_price_per_hour;
  bin.mig_on = view.mig_on;
  bin.memory = view.free_undivided.value;
  bin.compute_used = view.compute_promised;
  bin.geometry = view.geometry ? &*view.geometry : nullptr;
  bin.taken = view.foreign;
  const Capability* mps = view.Find(Mechanism::kMps);
  const bool has_mps = mps != nullptr && mps->available;
  if (has_mps) bin.mps_clients = view.mps_clients;
  if (view.geometry && (has_mps || view.gpu->vgpu)) {
    for (int p = 0; p < static_cast<int>(view.geometry->profiles().size()); ++p) {
      bin.rooms.push_back({view.geometry->profile(p).memory.value, view.ComputeOf(p),
                           has_mps ? view.MpsClientsIn(p) : 0});
    }
  }
  PutForeignVgpus(view, &bin);
  std::map<std::string, int> teams;
  for (const ReplicaNeed& need : needs_) TeamNumber(need.workload->team, &teams);
  std::set<MigPlacement> held;
  for (const auto& [need, pin] : pins) {
    if (std::find(pin.gpus.begin(), pin.gpus.end(), static_cast<int>(index)) == pin.gpus.end())
      continue;
    if (pin.placement) {
      bin.use = BinUse::kMig;
      if (pin.option.mechanism == Mechanism::kVgpu) bin.shared_by = Mechanism::kVgpu;
      if (held.insert(*pin.placement).second)
        view.geometry->Add({pin.option.profile, *pin.placement}, &bin.taken);
      continue;
    }
    switch (pin.option.mechanism) {
      case Mechanism::kExclusive:
        bin.use = BinUse::kWhole;
        break;
      default:
        bin.use = BinUse::kShared;
        PutTenant(needs_[need], pin.option, TeamNumber(needs_[need].workload->team, &teams), &bin);
    }
  }
  if (view.geometry) {
    for (const MigInstance& instance : view.gpu->mig_instances) {
      const bool ours = deployment_.Owns(view.gpu->uuid, instance.placement);
      const bool removable =
          std::find(view.removable.begin(), view.removable.end(), instance) != view.removable.end();
      const std::optional<int> profile = view.geometry->Find(instance.profile);
      if ((ours || removable) && profile && held.count(instance.placement) == 0) {
        ++bin.reusable[static_cast<size_t>(*profile)];
        bin.left_over.push_back({*profile, instance.placement});
      }
    }
  }
  return bin;
}

SearchProblem LayoutSolver::ProblemOf(const std::vector<const ReplicaNeed*>& items,
                                      const std::vector<GpuView>& views, const Pins& pins) const {
  SearchProblem problem;
  // A price that is not known is taken to be that of the dearest GPU, and a little more: what is
  // known decides. Where none is, every GPU counts the same.
  double dearest = 0;
  for (const GpuView& view : views) dearest = std::max(dearest, view.price_per_hour.value_or(0));
  // What is not known of power is taken likewise, but decides nothing beyond a tie.
  int hottest = 0;
  for (const GpuView& view : views) hottest = std::max(hottest, view.watts.value_or(0));
  std::map<std::string, int> types;
  std::vector<size_t> example;  // of each type, a view
  for (size_t v = 0; v < views.size(); ++v) {
    Bin bin = BinOf(views[v], v, pins);
    if (!views[v].price_per_hour) bin.price = dearest > 0 ? dearest * 1.01 : 1;
    bin.watts = views[v].watts.value_or(hottest > 0 ? hottest + 1 : 0);
    const auto [type, is_new] =
        types.emplace(BinKey(bin, views[v]), static_cast<int>(types.size()));
    if (is_new) example.push_back(v);
    bin.type = type->second;
    problem.bins.push_back(bin);
  }
  const size_t gpu_types = example.size();
  for (Bin& bin : SharedInstances(views, pins)) {
    const size_t v = static_cast<size_t>(bin.instance_of);
    const auto [type, is_new] =
        types.emplace("instance " + BinKey(bin, views[v]), static_cast<int>(types.size()));
    if (is_new) example.push_back(v);
    bin.type = type->second;
    problem.bins.push_back(std::move(bin));
  }
  std::map<std::string, int> classes, teams;
  for (const ReplicaNeed& need : needs_) TeamNumber(need.workload->team, &teams);
  for (const ReplicaNeed* need : items) {
    const auto [index, is_new] = classes.emplace(ClassKey(*need), static_cast<int>(classes.size()));
    problem.items.push_back(index->second);
    if (!is_new) continue;
    ItemClass item;
    item.gpus = std::max(1, need->workload->gpus);
    item.team = TeamNumber(need->workload->team, &teams);
    item.trusted = need->workload->trusted;
    item.preemptible = need->workload->preemptible;
    for (size_t type = 0; type < example.size(); ++type) {
      const Candidates found = &views == &views_
                                   ? CandidatesOf(*need, example[type])
                                   : CandidatesOn(views[example[type]], *need, catalog_);
      std::vector<Option> options = found.options;
      if (type >= gpu_types) {
        const auto bin = std::find_if(problem.bins.begin(), problem.bins.end(), [&](const Bin& b) {
          return b.type == static_cast<int>(type);
        });
        options = ToShare(found.options, bin->instance_profile);
      }
      if (!options.empty()) item.options.emplace(static_cast<int>(type), std::move(options));
    }
    problem.classes.push_back(std::move(item));
  }
  return problem;
}

const placement::ShareValue& LayoutSolver::ShareValueOn(size_t view) const {
  const auto known = share_values_.find(view);
  if (known != share_values_.end()) return known->second;
  std::map<int, double> asked;  // by milli-GPU
  for (const ReplicaNeed& need : needs_) {
    if (const auto milli = PartOf(CandidatesOf(need, view))) asked[*milli] += 1;
  }
  std::vector<placement::ShareWeight> shares;
  for (const auto& [milli, weight] : asked) shares.push_back({milli, weight});
  return share_values_.emplace(view, placement::ShareValue(shares)).first->second;
}

const placement::SliceValue* LayoutSolver::SliceValueOn(size_t view) const {
  const auto known = slice_values_.find(view);
  if (known != slice_values_.end()) return known->second.get();
  const std::optional<MigGeometry>& geometry = views_[view].geometry;
  if (!geometry || geometry->memory_slots() > placement::SliceValue::kMostSlots) {
    return slice_values_.emplace(view, nullptr).first->second.get();
  }
  std::vector<placement::MigShape> shapes;
  std::vector<double> asked;
  std::string key = fmt::format("{}:{}", geometry->memory_slots(), geometry->compute_slices());
  for (const MigProfile& profile : geometry->profiles()) {
    shapes.push_back({profile.compute_slices, profile.placements.front().size, {}});
    for (const MigPlacement at : profile.placements) shapes.back().starts.push_back(at.start);
    const auto seen = slices_seen_.find(profile.name);
    asked.push_back(seen != slices_seen_.end() ? seen->second : 0);
  }
  for (const ReplicaNeed& need : needs_) {
    const std::vector<Option>& options = CandidatesOf(need, view).options;
    const auto least = std::find_if(options.begin(), options.end(),
                                    [](const Option& option) { return option.own_instance(); });
    if (least != options.end()) asked[static_cast<size_t>(least->profile)] += 1;
  }
  for (size_t p = 0; p < shapes.size(); ++p) {
    key += fmt::format("|{},{}:{}:{:.17g}", shapes[p].compute, shapes[p].slots,
                       fmt::join(shapes[p].starts, ","), asked[p]);
  }
  auto& value = slice_values_of_[key];
  if (value == nullptr) {
    value = std::make_shared<const placement::SliceValue>(
        geometry->memory_slots(), geometry->compute_slices(), shapes, asked);
  }
  return slice_values_.emplace(view, value).first->second.get();
}

SearchProblem LayoutSolver::ProblemOf(const std::vector<const ReplicaNeed*>& items) const {
  return ProblemOf(items, views_, {});
}

SearchOutcome LayoutSolver::TrySearch(const std::vector<size_t>& needs, const Pins& pins,
                                      const SearchLimits& limits, SearchAnswer* answer,
                                      Sharing sharing) const {
  std::vector<const ReplicaNeed*> items;
  for (const size_t need : needs) {
    if (pins.count(need) == 0) items.push_back(&needs_[need]);
  }
  SearchProblem problem = ProblemOf(items, views_, pins);
  for (size_t view = 0; view < views_.size(); ++view) {
    const int type = problem.bins[view].type;
    if (problem.share_values.count(type) == 0)
      problem.share_values.emplace(type, ShareValueOn(view));
    if (problem.slice_values.count(type) == 0 && SliceValueOn(view) != nullptr)
      problem.slice_values.emplace(type, slice_values_.at(view));
  }
  const SearchOutcome outcome = Search(problem, limits, answer);
  return sharing == Sharing::kNone ? outcome
                                   : WithSharedInstances(problem, limits, outcome, answer);
}

bool LayoutSolver::MoveFewest(const std::vector<size_t>& needs, const Pins& pins, Pins* kept,
                              SearchAnswer* answer, bool* gave_up) const {
  SearchAnswer anyhow;
  const SearchOutcome outcome = TrySearch(needs, {}, {}, &anyhow);
  if (outcome != SearchOutcome::kFound) {
    *gave_up = outcome == SearchOutcome::kGaveUp;
    return false;
  }
  std::vector<size_t> pinned;
  for (const auto& [need, pin] : pins) pinned.push_back(need);
  // Sets of moves by size. Beyond this many it is no longer exact, and everything may move.
  int tries = 200;
  for (size_t moves = 1; moves < pinned.size() && tries > 0; ++moves) {
    std::vector<bool> moved(pinned.size(), false);
    std::fill(moved.begin(), moved.begin() + static_cast<std::ptrdiff_t>(moves), true);
    do {
      Pins rest;
      for (size_t i = 0; i < pinned.size(); ++i) {
        if (!moved[i]) rest.emplace(pinned[i], pins.at(pinned[i]));
      }
      if (TrySearch(needs, rest, {.nodes = 5000}, answer, Sharing::kNone) ==
          SearchOutcome::kFound) {
        *kept = std::move(rest);
        return true;
      }
    } while (--tries > 0 && std::prev_permutation(moved.begin(), moved.end()));
  }
  kept->clear();
  *answer = std::move(anyhow);
  return true;
}

NodeLayout LayoutSolver::Solve() const {
  std::vector<size_t> all(needs_.size());
  std::iota(all.begin(), all.end(), size_t{0});
  Pins pins;
  for (const size_t need : all) {
    if (std::optional<Pin> pin = PinOf(need)) pins.emplace(need, *std::move(pin));
  }
  if (all.size() - pins.size() > kMostForSearch) return SolveFleet(pins);
  NodeLayout layout;
  SearchAnswer answer;
  const SearchOutcome outcome = TrySearch(all, pins, {}, &answer);
  bool gave_up = outcome == SearchOutcome::kGaveUp;
  if (outcome != SearchOutcome::kFound) {
    Pins kept;
    if (pins.empty() || !MoveFewest(all, pins, &kept, &answer, &gave_up)) {
      return PlaceWhatFits(pins, gave_up);
    }
    pins = std::move(kept);
  }
  layout.exact = answer.exact;
  layout.lower_bound = answer.lower_bound;
  layout.placed = Settle(all, pins, std::move(answer));
  return layout;
}

NodeLayout LayoutSolver::SolveFleet(const Pins& pinned) const {
  const auto solve = [&](const Pins& pins) {
    std::vector<const ReplicaNeed*> items;
    for (size_t need = 0; need < needs_.size(); ++need) {
      if (pins.count(need) == 0) items.push_back(&needs_[need]);
    }
    return SearchFleet(ProblemOf(items, views_, pins), fleet_limits_);
  };
  const auto left_out = [](const SearchAnswer& answer) {
    return std::count_if(answer.choices.begin(), answer.choices.end(),
                         [](const Choice& choice) { return choice.bins.empty(); });
  };
  // What runs moves only where otherwise something would find no room.
  Pins pins = pinned;
  SearchAnswer answer = solve(pins);
  if (left_out(answer) > 0 && !pins.empty()) {
    SearchAnswer anyhow = solve({});
    if (left_out(anyhow) < left_out(answer)) {
      answer = std::move(anyhow);
      pins.clear();
    }
  }
  NodeLayout layout;
  std::vector<size_t> placed;
  SearchAnswer kept;
  size_t item = 0;
  for (size_t need = 0; need < needs_.size(); ++need) {
    if (pins.count(need) > 0) {
      placed.push_back(need);
      continue;
    }
    Choice& choice = answer.choices[item++];
    if (choice.bins.empty()) {
      layout.unplaced.push_back(need);
      continue;
    }
    placed.push_back(need);
    kept.choices.push_back(std::move(choice));
  }
  layout.exact = answer.exact;
  layout.gave_up = !answer.exact && !layout.unplaced.empty();
  layout.lower_bound = answer.lower_bound;
  layout.placed = Settle(placed, pins, std::move(kept));
  return layout;
}

// In the order of the spec, each that still fits beside those before it. What runs keeps its place.
NodeLayout LayoutSolver::PlaceWhatFits(const Pins& pins, bool gave_up) const {
  NodeLayout layout;
  layout.gave_up = gave_up;
  std::vector<size_t> accepted;
  for (const auto& [need, pin] : pins) accepted.push_back(need);
  std::set<std::string> refused;  // no replica of these classes fits any more
  SearchAnswer answer;
  TrySearch(accepted, pins, {}, &answer);
  for (size_t need = 0; need < needs_.size(); ++need) {
    if (pins.count(need) > 0) continue;
    const std::string key = ClassKey(needs_[need]);
    if (refused.count(key) == 0) {
      accepted.push_back(need);
      SearchAnswer with;
      const SearchOutcome outcome =
          TrySearch(accepted, pins, {.nodes = 20000, .first_will_do = true}, &with);
      if (outcome == SearchOutcome::kFound) {
        answer = std::move(with);
        continue;
      }
      layout.gave_up = layout.gave_up || outcome == SearchOutcome::kGaveUp;
      accepted.pop_back();
      refused.insert(key);
    }
    layout.unplaced.push_back(need);
  }
  layout.placed = Settle(accepted, pins, std::move(answer));
  return layout;
}

// Identical items are interchangeable, so one that moves within its class may as well stay.
void LayoutSolver::GiveBackOldPlaces(const std::vector<size_t>& items,
                                     const std::vector<Bin>& shared, SearchAnswer* answer) const {
  const auto stood_there = [&](size_t need, const Choice& choice) {
    const DeployedReplica* before =
        deployment_.FindReplica(needs_[need].workload->name, needs_[need].replica);
    if (before == nullptr) return false;
    const Spot spot = SpotOf(need, choice, shared);
    const GpuView& view = views_[spot.view];
    if (before->slice.gpu_uuid != view.gpu->uuid) return false;
    const Option& option = spot.option;
    if (option.vgpu >= 0 && OfferOf(view, option).name != before->slice.vgpu_type) return false;
    return option.mechanism == before->slice.mechanism &&
           (option.profile < 0 ||
            view.geometry->profile(option.profile).name == before->slice.profile);
  };
  for (size_t i = 0; i < items.size(); ++i) {
    const ReplicaNeed& need = needs_[items[i]];
    if (deployment_.FindReplica(need.workload->name, need.replica) == nullptr) continue;
    if (stood_there(items[i], answer->choices[i])) continue;
    for (size_t k = 0; k < items.size(); ++k) {
      if (k == i || ClassKey(needs_[items[i]]) != ClassKey(needs_[items[k]])) continue;
      if (!stood_there(items[i], answer->choices[k])) continue;
      if (stood_there(items[k], answer->choices[k]) && !stood_there(items[k], answer->choices[i]))
        continue;
      std::swap(answer->choices[i], answer->choices[k]);
      break;
    }
  }
}

LayoutSolver::Spot LayoutSolver::SpotOf(size_t need, const Choice& choice,
                                        const std::vector<Bin>& shared) const {
  const size_t bin = static_cast<size_t>(choice.bins.front());
  const size_t option = static_cast<size_t>(choice.option);
  if (bin < views_.size()) return {bin, CandidatesOf(needs_[need], bin).options[option], {}};
  const Bin& instance = shared[bin - views_.size()];
  const size_t view = static_cast<size_t>(instance.instance_of);
  return {view,
          ToShare(CandidatesOf(needs_[need], view).options, instance.instance_profile)[option],
          instance.placement};
}

std::vector<Placed> LayoutSolver::Settle(const std::vector<size_t>& needs, const Pins& pins,
                                         SearchAnswer answer) const {
  std::vector<size_t> items;
  for (const size_t need : needs) {
    if (pins.count(need) == 0) items.push_back(need);
  }
  const std::vector<Bin> shared = SharedInstances(views_, pins);
  GiveBackOldPlaces(items, shared, &answer);
  std::vector<Placed> placed;
  for (const auto& [need, pin] : pins) {
    placed.push_back({need, pin.gpus, pin.option, pin.placement, nullptr, false, -1});
  }
  for (size_t i = 0; i < items.size(); ++i) {
    const Choice& choice = answer.choices[i];
    const Spot spot = SpotOf(items[i], choice, shared);
    std::vector<int> gpus = choice.bins;
    gpus.front() = static_cast<int>(spot.view);
    placed.push_back(
        {items[i], std::move(gpus), spot.option, spot.placement, nullptr, false, choice.instance});
  }
  std::sort(placed.begin(), placed.end(),
            [](const Placed& a, const Placed& b) { return a.need < b.need; });
  for (Placed& one : placed) {
    const ReplicaNeed& need = needs_[one.need];
    one.before = deployment_.FindReplica(need.workload->name, need.replica);
  }
  FillVgpuInstances(views_, &placed);
  PlaceInstances(pins, &placed);
  for (Placed& one : placed) {
    if (one.before == nullptr) continue;
    const Slice& was = one.before->slice;
    const GpuView& view = views_[static_cast<size_t>(one.gpus.front())];
    const std::string profile =
        one.placement ? view.geometry->profile(one.option.profile).name : std::string();
    const std::string vgpu = one.option.vgpu >= 0 ? OfferOf(view, one.option).name : "";
    one.stays = was.vgpu_type == vgpu && was.profile == profile && was.gpu_uuid == view.gpu->uuid &&
                was.mechanism == one.option.mechanism && was.placement == one.placement &&
                was.more_gpu_uuids.size() + 1 == one.gpus.size();
    for (size_t g = 1; one.stays && g < one.gpus.size(); ++g) {
      one.stays = was.more_gpu_uuids[g - 1] == views_[static_cast<size_t>(one.gpus[g])].gpu->uuid;
    }
  }
  return placed;
}

// The exact places of the instances that are not pinned: where their replica stood, else where an
// instance is left over, else where the policy values most what is left.
void LayoutSolver::PlaceInstances(const Pins& pins, std::vector<Placed>* placed) const {
  for (size_t v = 0; v < views_.size(); ++v) {
    const GpuView& view = views_[v];
    // Instances to place, each with those who are to be in it: one, or all who share it.
    std::vector<std::vector<Placed*>> here;
    std::map<int, size_t> shared;  // into here
    for (Placed& one : *placed) {
      if (one.option.profile < 0 || one.placement || one.gpus.front() != static_cast<int>(v)) {
        continue;
      }
      const bool joins = one.option.in_instance() && shared.count(one.instance) > 0;
      if (!joins) here.emplace_back();
      if (one.option.in_instance()) shared.emplace(one.instance, here.size() - 1);
      here[joins ? shared.at(one.instance) : here.size() - 1].push_back(&one);
    }
    if (here.empty()) continue;
    const Bin bin = BinOf(view, v, pins);
    std::set<MigPlacement> spoken_for;
    std::vector<WantedInstance> wanted;
    for (const std::vector<Placed*>& tenants : here) {
      WantedInstance instance{tenants.front()->option.profile, std::nullopt};
      for (const Placed* one : tenants) {
        if (instance.at || one->before == nullptr ||
            one->before->slice.gpu_uuid != view.gpu->uuid || !one->before->slice.placement ||
            one->before->slice.profile != view.geometry->profile(instance.profile).name) {
          continue;
        }
        if (spoken_for.insert(*one->before->slice.placement).second)
          instance.at = one->before->slice.placement;
      }
      wanted.push_back(instance);
    }
    std::vector<PlacedProfile> left_over;
    for (const PlacedProfile& there : bin.left_over) {
      if (spoken_for.count(there.placement) == 0) left_over.push_back(there);
    }
    const PackingChoice choice = ChoiceOf(SliceValueOn(v), bin.taken, wanted, std::move(left_over));
    const auto placements = PackProfiles(*view.geometry, bin.taken, wanted, choice);
    // The search has packed the same set, so there is an answer.
    for (size_t i = 0; placements && i < here.size(); ++i) {
      for (Placed* one : here[i]) one->placement = (*placements)[i];
    }
  }
}

bool LayoutSolver::WouldFit(const std::vector<Placed>& placed, const ReplicaNeed& extra,
                            const GpuView* more) const {
  std::vector<GpuView> views = views_;
  if (more != nullptr) views.push_back(*more);
  std::vector<const ReplicaNeed*> items;
  for (const Placed& one : placed) items.push_back(&needs_[one.need]);
  items.push_back(&extra);
  const bool same = more == nullptr;
  const SearchProblem problem = ProblemOf(items, same ? views_ : views, {});
  if (items.size() > kMostForSearch) {
    const SearchAnswer answer =
        SearchFleet(problem, {.steps = std::min(kStepsToShare, fleet_limits_.steps)});
    return std::none_of(answer.choices.begin(), answer.choices.end(),
                        [](const Choice& choice) { return choice.bins.empty(); });
  }
  SearchAnswer answer;
  const SearchLimits limits{.nodes = 5000, .first_will_do = true};
  const SearchOutcome outcome = Search(problem, limits, &answer);
  return WithSharedInstances(problem, limits, outcome, &answer) == SearchOutcome::kFound;
}

}  // namespace tranche::planning
