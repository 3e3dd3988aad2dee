#include "stage/plan/fleet_search.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>
#include <numeric>
#include <set>

#include "decide/fleet/linear_program.h"
#include "decide/fleet/solver.h"
#include "decide/geometry/packing.h"

namespace tranche::planning {
namespace {

constexpr double kModeChange = 1000;  // outweighs any number of instances
constexpr double kPerWatt = 1e-7;     // is outweighed by one of them

std::string OptionKey(const Option& option) {
  return fmt::format("{}:{}:{}:{:.12g};", static_cast<int>(option.mechanism), option.profile,
                     option.memory.value, option.compute_share);
}

// What makes two types one kind: the same price, room and ways. What is left over on them, and
// whether MIG is on, does not.
std::string KindKey(const SearchProblem& problem, const Bin& bin) {
  std::string key = fmt::format(
      "{}|{}|{}|{}|{}|{:.12g}|{}|{}|{}|{}|{}|", bin.price, bin.spot_price,
      static_cast<int>(bin.use),
      static_cast<int>(bin.shared_by) * 8 + static_cast<int>(bin.time_slice),
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
    for (size_t k = 0; k < kinds_.size(); ++k) PlaceKind(k, answer, &out);
    return out;
  }

 private:
  struct Kind {
    std::vector<int> bins;
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
    if (option.mechanism == Mechanism::kMig) {
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

  // Puts what the answer has on GPUs of a kind on those bins on which it changes least.
  void PlaceKind(size_t k, const fleet::Answer& answer, SearchAnswer* out) {
    std::vector<Load> loads;
    for (const fleet::Used& used : answer.used) {
      if (static_cast<size_t>(used.kind) == k) loads.push_back(LoadOf(k, used));
    }
    std::vector<int> free;
    for (const int bin : kinds_[k].bins) {
      if (!kinds_[k].spot || taken_.count(bin) == 0) free.push_back(bin);
    }
    // Several whole GPUs of one item first: they may be any.
    std::stable_sort(loads.begin(), loads.end(),
                     [](const Load& a, const Load& b) { return a.gpus > b.gpus; });
    const std::vector<int> bins = Match(loads, free);
    size_t next = 0;
    for (const Load& load : loads) {
      Choice choice;
      for (int g = 0; g < load.gpus; ++g) choice.bins.push_back(bins[next++]);
      std::sort(choice.bins.begin(), choice.bins.end());
      taken_.insert(choice.bins.begin(), choice.bins.end());
      for (const LoadItem& item : load.items) {
        choice.option = item.option;
        choice.instance = item.instance;
        out->choices[TakeItem(item.item_class)] = choice;
      }
    }
  }

  // The items with the least of their options that still go together.
  Load LoadOf(size_t k, const fleet::Used& used) const {
    Load load;
    load.gpus = used.gpus;
    for (const fleet::Used::Content& content : used.contents) {
      const size_t c = static_cast<size_t>(content.item_class);
      const int option = option_of_[c][static_cast<size_t>(content.way)];
      for (int64_t n = 0; n < content.count; ++n)
        load.items.push_back({content.item_class, option, content.instance});
    }
    const Bin& bin = ExampleOf(k);
    if (load.gpus > 1) return load;
    if (load.items.size() == 1 && bin.use == BinUse::kEmpty && bin.taken.slots == 0) {
      load.items.front() = {load.items.front().item_class, 0, -1};
      if (OptionOf(bin, load.items.front()).in_instance()) load.items.front().instance = 0;
      return load;
    }
    if (used.layout < 0) {
      TakeFractions(bin, &load);
      return load;
    }
    for (auto& [c, option, instance] : load.items) {
      if (instance >= 0) continue;
      const std::vector<Option>& options = *OptionsOf(static_cast<size_t>(c), bin.type);
      const int before = option;
      for (option = 0; option < before; ++option) {
        const bool mig = options[static_cast<size_t>(option)].mechanism == Mechanism::kMig;
        if (mig && Packs(bin, load)) break;
      }
    }
    return load;
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

  // What making a load changes on a bin.
  double ChangesOf(const Load& load, const Bin& bin) const {
    double changes = 0;
    std::array<int, Occupancy::kMaxProfiles> made{};
    bool mig = false;
    for (const int profile : InstancesOf(bin, load)) {
      mig = true;
      ++made[static_cast<size_t>(profile)];
    }
    for (size_t p = 0; p < made.size(); ++p) changes += std::max(0, made[p] - bin.reusable[p]);
    if (bin.use == BinUse::kEmpty && mig != bin.mig_on) changes += kModeChange;
    if (bin.use == BinUse::kEmpty) changes += bin.watts * kPerWatt;
    return changes;
  }

  // Bins for the loads, in their order, so that least changes in all: a transport of loads that are
  // alike to bins that are alike.
  std::vector<int> Match(const std::vector<Load>& loads, const std::vector<int>& bins) const {
    std::map<std::vector<LoadItem>, std::vector<size_t>> load_groups;
    for (size_t l = 0; l < loads.size(); ++l) {
      for (int g = 0; g < loads[l].gpus; ++g) load_groups[loads[l].items].push_back(l);
    }
    std::map<int, std::vector<int>> bin_groups;  // by type
    for (const int bin : bins)
      bin_groups[problem_.bins[static_cast<size_t>(bin)].type].push_back(bin);

    fleet::LinearProgram program;
    std::map<int, int> bin_rows;
    for (const auto& [type, group] : bin_groups) {
      bin_rows[type] = program.AddRow(0, static_cast<double>(group.size()));
    }
    std::vector<std::vector<int>> of_load(loads.size());
    std::vector<std::pair<const std::vector<size_t>*, int>> columns;
    for (const auto& [items, group] : load_groups) {
      const double count = static_cast<double>(group.size());
      const int row = program.AddRow(count, count);
      for (const auto& [type, of_type] : bin_groups) {
        const Bin& bin = problem_.bins[static_cast<size_t>(of_type.front())];
        program.AddColumn(ChangesOf(loads[group.front()], bin), 0, count,
                          {{row, 1}, {bin_rows[type], 1}});
        columns.emplace_back(&group, type);
      }
    }
    const bool solved = program.Solve();
    std::map<const std::vector<size_t>*, size_t> placed;
    std::map<int, size_t> taken;
    // Whatever the program left undone goes to any bin that is left.
    for (const bool any : {false, true}) {
      for (size_t column = 0; column < columns.size(); ++column) {
        const auto [group, type] = columns[column];
        const size_t wanted =
            any      ? group->size()
            : solved ? static_cast<size_t>(std::llround(program.value(static_cast<int>(column))))
                     : 0;
        const std::vector<int>& of_type = bin_groups.at(type);
        for (size_t n = 0; n < wanted && placed[group] < group->size(); ++n) {
          if (taken[type] == of_type.size()) break;
          of_load[(*group)[placed[group]++]].push_back(of_type[taken[type]++]);
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
};

}  // namespace

FleetView FleetOf(const SearchProblem& problem) { return FleetSearch(problem).View(); }

SearchAnswer SearchFleet(const SearchProblem& problem, const fleet::SolverLimits& limits) {
  return FleetSearch(problem).Run(limits);
}

double FleetBound(const SearchProblem& problem) { return FleetSearch(problem).Bound(); }

}  // namespace tranche::planning
