#include "stage/plan/fleet_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <optional>
#include <set>
#include <tuple>

#include "decide/fleet/linear_program.h"
#include "decide/fleet/solver.h"
#include "decide/geometry/packing.h"

namespace tranche::planning {
namespace {

// What a load makes of a bin, in the order of Search: an instance that is not taken over counts 1,
// and so does what would be destroyed for it; the others decide between equals only.
constexpr double kModeOff = 1000;
constexpr double kTaken = 0.1;     // of a GPU
constexpr double kModeOn = 0.005;  // is more than the most that a GPU draws
constexpr double kPerWatt = 1e-6;

std::string OptionKey(const Option& option) {
  return fmt::format("{}:{}:{}:{:.12g}:{};", static_cast<int>(option.mechanism), option.profile,
                     option.memory.value, option.compute_share, option.vgpu_group);
}

// What makes two types one kind: the same price, room and ways. What is left over on them, and
// whether MIG is on, does not.
std::string KindKey(const SearchProblem& problem, const Bin& bin) {
  std::string key = fmt::format(
      "{}|{}|{}|{}|{}|{:.12g}|{}|{}|{}|{}|{}|", bin.price, bin.spot_price,
      static_cast<int>(bin.use),
      bin.vgpu_group * 64 + static_cast<int>(bin.shared_by) * 8 + static_cast<int>(bin.time_slice),
      bin.memory - std::min(bin.memory, bin.memory_used), bin.compute_used, bin.team,
      bin.all_trusted, bin.taken.slots, bin.mps_clients - bin.tenants, bin.instance_profile);
  for (const uint8_t count : bin.taken.counts) key += static_cast<char>('0' + count);
  if (bin.geometry != nullptr) {
    for (const MigProfile& profile : bin.geometry->profiles()) {
      key += fmt::format("|{}:{}", profile.name, profile.placements.size());
    }
  }
  for (size_t c = 0; c < problem.classes.size(); ++c) {
    const auto found = problem.classes[c].options.find(bin.type);
    if (found == problem.classes[c].options.end()) continue;
    key += fmt::format("/{}=", c);
    for (const Option& option : found->second) key += OptionKey(option);
  }
  return key;
}

// The sets of instances of `profiles` that go beside what is taken and to which none can be added,
// by how many of each.
std::vector<std::vector<int>> MaximalSets(const Bin& bin, const std::vector<int>& profiles) {
  const auto packs = [&](const std::vector<int>& counts) {
    std::vector<WantedInstance> wanted;
    for (size_t p = 0; p < profiles.size(); ++p) {
      wanted.insert(wanted.end(), static_cast<size_t>(counts[p]), {profiles[p], std::nullopt});
    }
    return PackProfiles(*bin.geometry, bin.taken, wanted).has_value();
  };
  std::set<std::vector<int>> sets = {std::vector<int>(profiles.size(), 0)};
  std::vector<std::vector<int>> maximal;
  std::vector<std::vector<int>> next(sets.begin(), sets.end());
  while (!next.empty()) {
    std::vector<std::vector<int>> larger;
    for (const std::vector<int>& counts : next) {
      bool extended = false;
      for (size_t p = 0; p < profiles.size(); ++p) {
        std::vector<int> more = counts;
        ++more[p];
        if (sets.count(more) > 0) {
          extended = true;
        } else if (packs(more)) {
          extended = true;
          sets.insert(more);
          larger.push_back(std::move(more));
        }
      }
      const bool empty = std::all_of(counts.begin(), counts.end(), [](int n) { return n == 0; });
      if (!extended && !empty) maximal.push_back(counts);
    }
    next = std::move(larger);
  }
  return maximal;
}

class FleetSearch {
 public:
  explicit FleetSearch(const SearchProblem& problem) : problem_(problem) {
    MakeKinds();
    MakeClasses();
  }

  FleetView View() const {
    FleetView view;
    view.problem = fleet_;
    for (size_t c = 0; c < fleet_.classes.size(); ++c) {
      view.ways.emplace_back();
      for (size_t w = 0; w < fleet_.classes[c].ways.size(); ++w) {
        const size_t kind = static_cast<size_t>(fleet_.classes[c].ways[w].kind);
        view.ways[c].push_back({ExampleOf(kind).type, option_of_[c][w]});
      }
    }
    return view;
  }

  // Of the bins that are used before anything is placed.
  double PriceBefore() const {
    double before = 0;
    for (const Bin& bin : problem_.bins) before += bin.use != BinUse::kEmpty ? bin.price : 0;
    return before;
  }

  double Bound() const { return PriceBefore() + fleet::LowerBound(fleet_) / kFleetPriceUnits; }

  SearchAnswer Run(const fleet::SolverLimits& limits) {
    const fleet::Answer answer = fleet::Solve(fleet_, limits);
    SearchAnswer out;
    out.choices.resize(problem_.items.size());
    const double before = PriceBefore();
    out.price = before + static_cast<double>(answer.cost) / kFleetPriceUnits;
    out.lower_bound = before + static_cast<double>(answer.lower_bound) / kFleetPriceUnits;
    out.exact = answer.lower_bound == answer.cost;
    PlaceAll(answer, &out);
    return out;
  }

 private:
  struct Kind {
    std::vector<int> bins;
    std::set<int> types;        // of the bins
    std::vector<int> profiles;  // of the fleet kind's shapes
    bool spot = false;          // the same bins as the kind before, at their spot price
  };
  // One GPU's items, by class, each with its option, and the instance that it shares.
  struct LoadItem {
    int item_class = 0;
    int option = 0;
    int instance = -1;
    auto operator<=>(const LoadItem&) const = default;
  };
  struct Load {
    size_t kind = 0;  // that the solver put it on, whose options its items name
    int gpus = 1;
    std::vector<LoadItem> items;
  };

  const Bin& ExampleOf(size_t kind) const {
    return problem_.bins[static_cast<size_t>(kinds_[kind].bins.front())];
  }
  const std::vector<Option>* OptionsOf(size_t item_class, int type) const {
    const auto found = problem_.classes[item_class].options.find(type);
    return found == problem_.classes[item_class].options.end() ? nullptr : &found->second;
  }

  void MakeKinds() {
    std::map<std::string, size_t> known;
    std::map<int, size_t> of_type;
    for (size_t b = 0; b < problem_.bins.size(); ++b) {
      const Bin& bin = problem_.bins[b];
      if (bin.use == BinUse::kWhole) continue;
      auto kind = of_type.find(bin.type);
      if (kind == of_type.end()) {
        const auto [entry, is_new] = known.emplace(KindKey(problem_, bin), kinds_.size());
        if (is_new) kinds_.emplace_back();
        kind = of_type.emplace(bin.type, entry->second).first;
      }
      kinds_[kind->second].bins.push_back(static_cast<int>(b));
      kinds_[kind->second].types.insert(bin.type);
    }
    WithSpot();
    for (size_t k = 0; k < kinds_.size(); ++k) {
      const Bin& bin = ExampleOf(k);
      fleet::GpuKind kind;
      const double price = kinds_[k].spot ? bin.spot_price : bin.price;
      kind.price = bin.use == BinUse::kEmpty ? std::llround(price * kFleetPriceUnits) : 0;
      const bool before = k + 1 < kinds_.size() && kinds_[k + 1].spot;
      if (before || kinds_[k].spot) kind.pool = static_cast<int>(before ? k : k - 1);
      kind.count = static_cast<int64_t>(kinds_[k].bins.size());
      if (bin.taken.slots == 0 && bin.use != BinUse::kMig) {
        kind.memory = static_cast<int64_t>(bin.memory - std::min(bin.memory, bin.memory_used));
        kind.compute = Compute(1 - bin.compute_used, 0.5);
        if (bin.mps_clients < kAnyClients)
          kind.clients = std::max(0, bin.mps_clients - bin.tenants);
      }
      if (bin.geometry != nullptr && bin.use != BinUse::kShared) {
        std::set<int> profiles;
        for (size_t c = 0; c < problem_.classes.size(); ++c) {
          const std::vector<Option>* options = OptionsOf(c, bin.type);
          for (size_t o = 0; options != nullptr && o < options->size(); ++o) {
            if ((*options)[o].profile >= 0) profiles.insert((*options)[o].profile);
          }
        }
        kinds_[k].profiles.assign(profiles.begin(), profiles.end());
        if (!profiles.empty()) kind.layouts = MaximalSets(bin, kinds_[k].profiles);
        AddRooms(k, &kind);
      }
      fleet_.kinds.push_back(std::move(kind));
    }
  }

  // What those have together who share an instance of each shape.
  void AddRooms(size_t k, fleet::GpuKind* kind) const {
    const Bin& bin = ExampleOf(k);
    for (const int profile : kinds_[k].profiles) {
      const SharedRoom room = bin.RoomOf(profile);
      kind->rooms.push_back(
          {static_cast<int64_t>(room.memory), Compute(room.compute, 0.5), room.clients});
    }
  }

  // Each kind that is to be had for less by the preemptible, once more.
  void WithSpot() {
    std::vector<Kind> kinds;
    for (Kind& kind : kinds_) {
      const Bin& bin = problem_.bins[static_cast<size_t>(kind.bins.front())];
      kinds.push_back(std::move(kind));
      if (bin.use != BinUse::kEmpty || !(bin.spot_price < bin.price)) continue;
      kinds.push_back(kinds.back());
      kinds.back().spot = true;
    }
    kinds_ = std::move(kinds);
  }

  static int64_t Compute(double share, double rounding) {
    return static_cast<int64_t>(
        std::floor(share * static_cast<double>(fleet::kWholeCompute) + rounding));
  }

  void MakeClasses() {
    option_of_.resize(problem_.classes.size());
    for (size_t c = 0; c < problem_.classes.size(); ++c) {
      fleet::ItemClass item;
      item.gpus = problem_.classes[c].gpus;
      item.count = std::count(problem_.items.begin(), problem_.items.end(), static_cast<int>(c));
      for (size_t k = 0; k < kinds_.size(); ++k) {
        if (kinds_[k].spot && !problem_.classes[c].preemptible) continue;
        const std::vector<Option>* options = OptionsOf(c, ExampleOf(k).type);
        for (size_t o = 0; options != nullptr && o < options->size(); ++o) {
          AddWays(c, k, static_cast<int>(o), (*options)[o], &item);
        }
      }
      fleet_.classes.push_back(std::move(item));
    }
  }

  bool OthersHaveInstances() const {
    const auto has = [](const Option& option) {
      return option.mechanism != Mechanism::kVgpu && option.profile >= 0;
    };
    for (const ItemClass& item : problem_.classes) {
      for (const auto& [type, options] : item.options) {
        if (std::any_of(options.begin(), options.end(), has)) return true;
      }
    }
    return false;
  }

  void AddWays(size_t c, size_t k, int o, const Option& option, fleet::ItemClass* item) {
    const Bin& bin = ExampleOf(k);
    fleet::Way way;
    way.kind = static_cast<int>(k);
    const auto add = [&] {
      item->ways.push_back(way);
      option_of_[c].push_back(o);
    };
    if (option.mechanism == Mechanism::kExclusive) {
      way.use = fleet::Way::Use::kWhole;
      if (bin.use == BinUse::kEmpty && bin.taken.slots == 0) add();
      return;
    }
    if (item->gpus > 1) return;
    const bool vgpu = option.mechanism == Mechanism::kVgpu;
    if (option.profile >= 0 && bin.instance_of < 0) {
      // The driver chooses which instance a vGPU gets, so all of a GPU are for vGPUs or none. What
      // is there already is looked at here, of what is to come only whether it might be both.
      if (bin.use == BinUse::kMig && (bin.shared_by == Mechanism::kVgpu) != vgpu) return;
      if (vgpu && OthersHaveInstances()) return;
    }
    if (option.own_instance()) {
      const auto& profiles = kinds_[k].profiles;
      const auto at = std::find(profiles.begin(), profiles.end(), option.profile);
      if (fleet_.kinds[k].layouts.empty() || at == profiles.end()) return;
      way.shape = static_cast<int>(at - profiles.begin());
      add();
      return;
    }
    way.share = {static_cast<int64_t>(option.memory.value), Compute(option.compute_share, 1e-6),
                 option.mechanism == Mechanism::kMps ? 1 : 0};
    const ItemClass& asked = problem_.classes[c];
    const int base = static_cast<int>(option.mechanism) << 20;
    if (option.in_instance() && bin.instance_of < 0) {
      // One that is to be made: nobody is in it yet.
      const auto& profiles = kinds_[k].profiles;
      const auto at = std::find(profiles.begin(), profiles.end(), option.profile);
      if (fleet_.kinds[k].layouts.empty() || at == profiles.end()) return;
      way.use = fleet::Way::Use::kInstanceShare;
      way.shape = static_cast<int>(at - profiles.begin());
      if (!fleet_.kinds[k].rooms[static_cast<size_t>(way.shape)].Holds(way.share)) return;
      if (vgpu) {
        way.circle = base + option.vgpu_group;
        add();
        return;
      }
      way.circle = base + 2 + asked.team;
      add();
      way.circle = base + 1;
      if (asked.trusted) add();
      return;
    }
    if (bin.use == BinUse::kShared && bin.shared_by != option.mechanism) return;
    way.use = fleet::Way::Use::kShare;
    if (!fleet_.kinds[k].whole().Holds(way.share)) return;
    // Time slices share no fault domain; everybody else is alone with the team, or trusted among
    // the trusted.
    if (vgpu) {
      if (bin.use == BinUse::kShared && bin.vgpu_group != option.vgpu_group) return;
      way.circle = base + option.vgpu_group;
      add();
      return;
    }
    if (option.mechanism == Mechanism::kTimeSlicing) {
      if (bin.use == BinUse::kShared && bin.time_slice != option.time_slice) return;
      way.circle = base + static_cast<int>(option.time_slice);
      add();
      return;
    }
    if (bin.team == -1 || bin.team == asked.team) {
      way.circle = base + 2 + asked.team;
      add();
    }
    if (asked.trusted && bin.all_trusted) {
      way.circle = base + 1;
      add();
    }
  }

  // Puts what the answer has on GPUs on those bins on which it changes least, then takes least,
  // then draws least: of its kind, or of another that costs the same and where it goes as well.
  void PlaceAll(const fleet::Answer& answer, SearchAnswer* out) {
    std::vector<std::vector<Load>> loads(kinds_.size());
    std::vector<size_t> wanted(kinds_.size(), 0);  // GPUs
    for (const fleet::Used& used : answer.used) {
      const size_t k = static_cast<size_t>(used.kind);
      loads[k].push_back(LoadOf(k, used));
      wanted[k] += static_cast<size_t>(used.gpus);
    }
    std::vector<bool> placed(kinds_.size(), false);
    for (size_t k = 0; k < kinds_.size(); ++k) {
      if (placed[k]) continue;
      std::vector<size_t> alike;
      for (size_t other = k; other < kinds_.size(); ++other) {
        if (!placed[other] && MayStandIn(k, other)) alike.push_back(other);
      }
      for (const size_t one : alike) placed[one] = true;
      PlaceKinds(alike, loads, wanted, placed, out);
    }
  }

  bool MayStandIn(size_t a, size_t b) const {
    if (a == b) return true;
    const auto free = [&](size_t k) {
      return ExampleOf(k).use == BinUse::kEmpty && ExampleOf(k).taken.slots == 0;
    };
    return free(a) && free(b) && kinds_[a].spot == kinds_[b].spot &&
           fleet_.kinds[a].price == fleet_.kinds[b].price;
  }

  void PlaceKinds(const std::vector<size_t>& alike, const std::vector<std::vector<Load>>& of_kind,
                  const std::vector<size_t>& wanted, const std::vector<bool>& placed,
                  SearchAnswer* out) {
    std::vector<Load> loads;
    Room room;
    for (const size_t k : alike) {
      loads.insert(loads.end(), of_kind[k].begin(), of_kind[k].end());
      room.bins.emplace_back();
      for (const int bin : kinds_[k].bins) {
        if (taken_.count(bin) == 0) room.bins.back().push_back(bin);
      }
      // The same GPUs on other terms are still to be placed.
      size_t kept = 0;
      for (size_t other = 0; other < kinds_.size(); ++other) {
        if (!placed[other] && kinds_[other].bins == kinds_[k].bins) kept += wanted[other];
      }
      room.most.push_back(room.bins.back().size() - std::min(room.bins.back().size(), kept));
    }
    // Several whole GPUs of one item first: they are of its own kind.
    std::stable_sort(loads.begin(), loads.end(),
                     [](const Load& a, const Load& b) { return a.gpus > b.gpus; });
    const std::vector<int> bins = Match(loads, room);
    size_t next = 0;
    for (const Load& load : loads) {
      Choice choice;
      for (int g = 0; g < load.gpus; ++g) choice.bins.push_back(bins[next++]);
      std::sort(choice.bins.begin(), choice.bins.end());
      taken_.insert(choice.bins.begin(), choice.bins.end());
      const Bin& bin = problem_.bins[static_cast<size_t>(choice.bins.front())];
      for (const LoadItem& item : Fitted(load, bin)->items) {
        choice.option = item.option;
        choice.instance = item.instance;
        out->choices[TakeItem(item.item_class)] = choice;
      }
    }
  }

  Load LoadOf(size_t k, const fleet::Used& used) const {
    Load load;
    load.kind = k;
    load.gpus = used.gpus;
    for (const fleet::Used::Content& content : used.contents) {
      const size_t c = static_cast<size_t>(content.item_class);
      const int option = option_of_[c][static_cast<size_t>(content.way)];
      for (int64_t n = 0; n < content.count; ++n)
        load.items.push_back({content.item_class, option, content.instance});
    }
    return load;
  }

  // The same items as they go on such a bin, with those of their options that change and then take
  // least; absent where they do not.
  const std::optional<Load>& Fitted(const Load& load, const Bin& bin) {
    const auto key = std::tuple(load.kind, load.gpus, load.items, bin.type);
    const auto known = fitted_.find(key);
    if (known != fitted_.end()) return known->second;
    return fitted_.emplace(key, Fit(load, bin)).first->second;
  }

  std::optional<Load> Fit(const Load& load, const Bin& bin) const {
    const bool at_home = kinds_[load.kind].types.count(bin.type) > 0;
    if (load.gpus > 1) return at_home ? std::optional(load) : std::nullopt;
    if (load.items.size() == 1 && bin.use == BinUse::kEmpty && bin.taken.slots == 0) {
      return FitOne(load, bin);
    }
    Load fitted = load;
    if (!at_home && !Translate(bin, &fitted)) return std::nullopt;
    if (InstancesOf(bin, fitted).empty()) {
      TakeFractions(bin, &fitted);
    } else {
      ChooseProfiles(bin, &fitted);
    }
    return fitted;
  }

  // Whoever has the GPU for itself may have it by any of its options.
  std::optional<Load> FitOne(const Load& load, const Bin& bin) const {
    const LoadItem& item = load.items.front();
    const std::vector<Option>* options = OptionsOf(static_cast<size_t>(item.item_class), bin.type);
    std::optional<Load> best;
    double least = 0;
    for (size_t o = 0; options != nullptr && o < options->size(); ++o) {
      Load fitted = load;
      const bool in_instance = (*options)[o].in_instance();
      fitted.items.front() = {item.item_class, static_cast<int>(o), in_instance ? 0 : -1};
      const double cost = CostOf(fitted, bin);
      if (best && cost >= least) continue;
      best = std::move(fitted);
      least = cost;
    }
    return best;
  }

  // The options of another kind's GPU that do the same; false where there are none or they have no
  // room.
  bool Translate(const Bin& bin, Load* load) const {
    const Bin& home = ExampleOf(load->kind);
    uint64_t memory = bin.memory_used;
    double compute = bin.compute_used;
    int clients = bin.tenants;
    bool divided = false;
    for (LoadItem& item : load->items) {
      const Option& now = OptionOf(home, item);
      const std::vector<Option>* options =
          OptionsOf(static_cast<size_t>(item.item_class), bin.type);
      // Which virtual GPUs go together is not looked at here.
      const bool bound = now.in_instance() || now.mechanism == Mechanism::kVgpu;
      if (options == nullptr || bound) return false;
      const auto like = std::find_if(options->begin(), options->end(), [&](const Option& option) {
        return option.mechanism == now.mechanism && option.time_slice == now.time_slice &&
               !option.in_instance();
      });
      if (like == options->end()) return false;
      item.option = static_cast<int>(like - options->begin());
      divided = divided || like->mechanism == Mechanism::kMig;
      memory += like->memory.value;
      compute += like->compute_share;
      clients += like->mechanism == Mechanism::kMps ? 1 : 0;
    }
    if (divided) return bin.geometry != nullptr && Packs(bin, *load);
    return memory <= bin.memory && compute <= 1 + 1e-9 && clients <= bin.mps_clients;
  }

  // Of the profiles that would do, one that is left over, else the least; as far as all still go
  // together.
  void ChooseProfiles(const Bin& bin, Load* load) const {
    std::array<int, Occupancy::kMaxProfiles> left_over{};
    for (size_t p = 0; p < left_over.size(); ++p) left_over[p] = bin.reusable[p];
    for (LoadItem& item : load->items) {
      if (item.instance >= 0) continue;
      const std::vector<Option>& options =
          *OptionsOf(static_cast<size_t>(item.item_class), bin.type);
      const int before = item.option;
      const auto take = [&](bool only_left_over) {
        for (int o = 0; o < static_cast<int>(options.size()); ++o) {
          const Option& other = options[static_cast<size_t>(o)];
          if (!other.own_instance() ||
              other.mechanism != options[static_cast<size_t>(before)].mechanism) {
            continue;
          }
          if (only_left_over ? left_over[static_cast<size_t>(other.profile)] == 0 : o > before)
            continue;
          item.option = o;
          if (Packs(bin, *load)) return true;
        }
        item.option = before;
        return false;
      };
      if (!take(true)) take(false);
      int& one = left_over[static_cast<size_t>(OptionOf(bin, item).profile)];
      one = std::max(0, one - 1);
    }
  }

  // What MPS does for them fractions do as well, without a server: where all have that choice, they
  // take it.
  void TakeFractions(const Bin& bin, Load* load) const {
    if (bin.use != BinUse::kEmpty) return;
    Load changed = *load;
    for (LoadItem& item : changed.items) {
      const Option& now = OptionOf(bin, item);
      if (now.mechanism != Mechanism::kMps) return;
      const std::vector<Option>& options =
          *OptionsOf(static_cast<size_t>(item.item_class), bin.type);
      const auto fraction = std::find_if(options.begin(), options.end(), [&](const Option& o) {
        return o.mechanism == Mechanism::kFraction && o.memory == now.memory &&
               o.compute_share == now.compute_share;
      });
      if (fraction == options.end()) return;
      item.option = static_cast<int>(fraction - options.begin());
    }
    *load = std::move(changed);
  }

  const Option& OptionOf(const Bin& bin, const LoadItem& item) const {
    return (*OptionsOf(static_cast<size_t>(item.item_class),
                       bin.type))[static_cast<size_t>(item.option)];
  }

  // The instances that a load is in, those that are shared once.
  std::vector<int> InstancesOf(const Bin& bin, const Load& load) const {
    std::vector<int> profiles;
    std::set<int> shared;
    for (const LoadItem& item : load.items) {
      const Option& option = OptionOf(bin, item);
      if (option.profile < 0 || bin.instance_of >= 0) continue;
      if (item.instance < 0 || shared.insert(item.instance).second)
        profiles.push_back(option.profile);
    }
    return profiles;
  }

  bool Packs(const Bin& bin, const Load& load) const {
    std::vector<WantedInstance> wanted;
    for (const int profile : InstancesOf(bin, load)) wanted.push_back({profile, std::nullopt});
    return PackProfiles(*bin.geometry, bin.taken, wanted).has_value();
  }

  // What a load, as it goes there, makes of a bin.
  double CostOf(const Load& load, const Bin& bin) const {
    double cost = 0;
    std::array<int, Occupancy::kMaxProfiles> made{};
    bool mig = false;
    for (const int profile : InstancesOf(bin, load)) {
      mig = true;
      ++made[static_cast<size_t>(profile)];
    }
    for (size_t p = 0; p < made.size(); ++p) cost -= std::min<int>(made[p], bin.reusable[p]);
    if (load.gpus == 1) {
      for (const LoadItem& item : load.items) {
        const Option& option = OptionOf(bin, item);
        const double share = std::max(option.memory_share, option.compute_share);
        cost += kTaken *
                (option.own_instance() ? option.memory_share : std::ceil(share * 8 - 1e-9) / 8);
      }
    }
    if (bin.use != BinUse::kEmpty) return cost;
    if (mig != bin.mig_on) cost += mig ? kModeOn : kModeOff;
    return cost + bin.watts * kPerWatt;
  }

  // Bins that loads may go on, by kind, and how many of each kind at most.
  struct Room {
    std::vector<std::vector<int>> bins;
    std::vector<size_t> most;
  };

  // Bins for the loads, in their order, so that it costs least in all: a transport of loads that
  // are alike to bins that are alike.
  std::vector<int> Match(const std::vector<Load>& loads, const Room& room) {
    using Key = std::tuple<size_t, int, std::vector<LoadItem>>;
    std::map<Key, std::vector<size_t>> load_groups;
    for (size_t l = 0; l < loads.size(); ++l) {
      for (int g = 0; g < loads[l].gpus; ++g)
        load_groups[{loads[l].kind, loads[l].gpus, loads[l].items}].push_back(l);
    }
    struct BinGroup {
      std::vector<int> bins;
      int row = 0;
      int kind_row = 0;
      size_t kind = 0;
      size_t taken = 0;
    };
    fleet::LinearProgram program;
    std::map<int, BinGroup> bin_groups;  // by type
    std::vector<size_t> left = room.most;
    for (size_t kind = 0; kind < room.bins.size(); ++kind) {
      const int kind_row = program.AddRow(0, static_cast<double>(room.most[kind]));
      for (const int bin : room.bins[kind]) {
        BinGroup& group = bin_groups[problem_.bins[static_cast<size_t>(bin)].type];
        group.bins.push_back(bin);
        group.kind = kind;
        group.kind_row = kind_row;
      }
    }
    for (auto& [type, group] : bin_groups)
      group.row = program.AddRow(0, static_cast<double>(group.bins.size()));
    std::vector<std::vector<int>> of_load(loads.size());
    std::vector<std::pair<const std::vector<size_t>*, BinGroup*>> columns;
    for (const auto& [key, group] : load_groups) {
      const double count = static_cast<double>(group.size());
      const int row = program.AddRow(count, count);
      for (auto& [type, of_type] : bin_groups) {
        const Bin& bin = problem_.bins[static_cast<size_t>(of_type.bins.front())];
        const std::optional<Load>& fitted = Fitted(loads[group.front()], bin);
        if (!fitted) continue;
        program.AddColumn(CostOf(*fitted, bin), 0, count,
                          {{row, 1}, {of_type.row, 1}, {of_type.kind_row, 1}});
        columns.emplace_back(&group, &of_type);
      }
    }
    const bool solved = program.Solve();
    std::map<const std::vector<size_t>*, size_t> placed;
    // Whatever the program left undone goes to any bin that is left.
    for (const bool any : {false, true}) {
      for (size_t column = 0; column < columns.size(); ++column) {
        const auto [group, of_type] = columns[column];
        const size_t wanted =
            any      ? group->size()
            : solved ? static_cast<size_t>(std::llround(program.value(static_cast<int>(column))))
                     : 0;
        for (size_t n = 0; n < wanted && placed[group] < group->size(); ++n) {
          if (of_type->taken == of_type->bins.size() || left[of_type->kind] == 0) break;
          --left[of_type->kind];
          of_load[(*group)[placed[group]++]].push_back(of_type->bins[of_type->taken++]);
        }
      }
    }
    std::vector<int> in_order;
    for (const std::vector<int>& of : of_load)
      in_order.insert(in_order.end(), of.begin(), of.end());
    return in_order;
  }

  // The next item of a class that has no place yet.
  size_t TakeItem(int item_class) {
    size_t& next = next_item_[item_class];
    while (problem_.items[next] != item_class) ++next;
    return next++;
  }

  const SearchProblem& problem_;
  fleet::Problem fleet_;
  std::vector<Kind> kinds_;
  std::vector<std::vector<int>> option_of_;  // of each class, by way
  std::map<int, size_t> next_item_;
  std::set<int> taken_;  // bins
  std::map<std::tuple<size_t, int, std::vector<LoadItem>, int>, std::optional<Load>> fitted_;
};

}  // namespace

FleetView FleetOf(const SearchProblem& problem) { return FleetSearch(problem).View(); }

SearchAnswer SearchFleet(const SearchProblem& problem, const fleet::SolverLimits& limits) {
  return FleetSearch(problem).Run(limits);
}

double FleetBound(const SearchProblem& problem) { return FleetSearch(problem).Bound(); }

}  // namespace tranche::planning
