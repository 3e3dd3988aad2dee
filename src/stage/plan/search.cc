#include "stage/plan/search.h"

#include <algorithm>
#include <array>
#include <cmath>
#include <numeric>
#include <set>
#include <unordered_map>
#include <unordered_set>

namespace tranche::planning {
namespace {

constexpr double kTolerance = 1e-9;
constexpr int kModeChange = 1000;  // outweighs any number of instances

// Costs compare in this order: money, changes of what is there, fragmentation, work, energy.
struct Cost {
  double price = 0;
  // Of what is there: GPUs whose MIG mode is switched off, as what was set up for slices stays so,
  // and items that take over none of the instances that are left over (the others go, so the more
  // are taken over the fewer are destroyed). To make something where nothing was changes nothing.
  int changes = 0;
  double waste = 0;  // shares of GPUs taken
  int spoilt = 0;    // tenths of GPUs that the policy values less afterwards, beyond what was taken
  int set_up = 0;    // instances made, and GPUs whose MIG mode is switched on
  double watts = 0;  // of the GPUs used

  bool Below(const Cost& other) const {
    if (std::abs(price - other.price) > kTolerance) return price < other.price;
    if (changes != other.changes) return changes < other.changes;
    if (std::abs(waste - other.waste) > kTolerance) return waste < other.waste;
    if (spoilt != other.spoilt) return spoilt < other.spoilt;
    if (set_up != other.set_up) return set_up < other.set_up;
    return watts < other.watts - kTolerance;
  }
};

placement::MigRoom RoomOf(const Occupancy& taken) { return {taken.slots, taken.compute_slices}; }

struct BinState {
  BinUse use = BinUse::kEmpty;
  Mechanism shared_by = Mechanism::kTimeSlicing;
  TimeSlice time_slice = TimeSlice::kDefault;
  int vgpu_group = 0;
  std::array<uint8_t, Occupancy::kMaxProfiles> counts{};  // of new instances
  uint64_t memory_used = 0;
  double compute_used = 0;
  int tenants = 0;
  double memory_share = 0, compute_share = 0;  // taken, for the bound
  int team = -1;
  bool all_trusted = true;
  bool spot = false;  // only the preemptible so far, at that price
  double worth = 0;   // of what is left of a bin that MIG divides, where there is a value for it
};

uint64_t Mix(uint64_t hash, uint64_t value) {
  hash ^= value + 0x9e3779b97f4a7c15u + (hash << 6) + (hash >> 2);
  hash *= 0xff51afd7ed558ccdu;
  return hash ^ (hash >> 33);
}

uint64_t CountsHash(const BinState& state) {
  uint64_t hash = 7;
  for (const uint8_t count : state.counts) hash = Mix(hash, count);
  return hash;
}

uint64_t StateHash(int type, const BinState& state) {
  uint64_t hash = Mix(static_cast<uint64_t>(type), static_cast<uint64_t>(state.use));
  if (state.use == BinUse::kEmpty) return hash;
  hash = Mix(hash,
             static_cast<uint64_t>(state.shared_by) * 8 + static_cast<uint64_t>(state.time_slice));
  hash = Mix(hash, CountsHash(state));
  hash = Mix(hash, state.memory_used);
  hash = Mix(hash, static_cast<uint64_t>(state.vgpu_group));
  hash = Mix(hash, static_cast<uint64_t>(std::llround(state.compute_used * 1e9)));
  if (state.shared_by == Mechanism::kMps) hash = Mix(hash, static_cast<uint64_t>(state.tenants));
  return Mix(hash, static_cast<uint64_t>(state.team * 4 + (state.all_trusted ? 1 : 0) +
                                         (state.spot ? 2 : 0)));
}

class Searcher {
 public:
  Searcher(const SearchProblem& problem, const SearchLimits& limits)
      : problem_(problem), limits_(limits) {
    FindValues();
    for (const Bin& bin : problem.bins) {
      states_.push_back(StartOf(bin));
      if (const placement::SliceValue* value = SliceValueOf(bin.type))
        states_.back().worth = value->WorthOf(RoomOf(bin.taken));
      if (bin.instance_of >= 0) instances_.insert(bin.type);
    }
    OrderItems();
    SumUpWhatRemains();
    for (const Bin& bin : problem.bins) {
      if (bin.use != BinUse::kEmpty) cost_.price += bin.price;
    }
    chosen_.resize(problem.items.size());
  }

  SearchOutcome Run(SearchAnswer* answer) {
    Visit(0);
    if (!found_) return gave_up_ ? SearchOutcome::kGaveUp : SearchOutcome::kImpossible;
    answer->choices = best_;
    answer->price = best_cost_.price;
    answer->lower_bound = gave_up_ ? std::min(best_cost_.price, RootBound()) : best_cost_.price;
    answer->exact = !gave_up_ || best_cost_.price <= RootBound() + kTolerance;
    return SearchOutcome::kFound;
  }

 private:
  struct Move {
    int bin = 0;
    int option = 0;
    Cost cost;        // added
    double room = 0;  // in the bin before; the least first
  };

  // By type, so that each is looked up once.
  void FindValues() {
    int types = 0;
    for (const Bin& bin : problem_.bins) types = std::max(types, bin.type + 1);
    values_.resize(static_cast<size_t>(types));
    for (const auto& [type, value] : problem_.share_values) {
      if (type < types) values_[static_cast<size_t>(type)].shares = &value;
    }
    for (const auto& [type, value] : problem_.slice_values) {
      if (type < types) values_[static_cast<size_t>(type)].slices = value.get();
    }
  }

  static BinState StartOf(const Bin& bin) {
    BinState state;
    state.use = bin.use;
    state.shared_by = bin.shared_by;
    state.time_slice = bin.time_slice;
    state.vgpu_group = bin.vgpu_group;
    state.memory_used = bin.memory_used;
    state.compute_used = bin.compute_used;
    state.tenants = bin.tenants;
    state.team = bin.team;
    state.all_trusted = bin.all_trusted;
    if (bin.geometry != nullptr) {
      int slots = 0;
      for (SlotMask mask = bin.taken.slots; mask != 0; mask &= mask - 1) ++slots;
      state.memory_share = static_cast<double>(slots) / bin.geometry->memory_slots();
      state.compute_share =
          static_cast<double>(bin.taken.compute_slices) / bin.geometry->compute_slices();
    }
    if (bin.use == BinUse::kWhole) state.memory_share = state.compute_share = 1;
    if (bin.use == BinUse::kShared) {
      state.memory_share = static_cast<double>(bin.memory_used) /
                           static_cast<double>(std::max<uint64_t>(1, bin.memory));
      state.compute_share = bin.compute_used;
    }
    if (bin.instance_of >= 0) state.memory_share = 1 - bin.memory_part * (1 - state.memory_share);
    return state;
  }

  // A way to share an instance that is not there yet.
  bool IsLeftOut(int type, const Option& option) const {
    return option.in_instance() && instances_.count(type) == 0;
  }

  // The least that an item of the class takes of any bin, in each dimension.
  std::pair<double, double> LeastShares(const ItemClass& item) const {
    double memory = 1, compute = 1;
    for (const auto& [type, options] : item.options) {
      for (const Option& option : options) {
        if (IsLeftOut(type, option)) continue;
        memory = std::min(memory, option.memory_share);
        compute = std::min(compute, option.compute_share);
      }
    }
    return {memory * item.gpus, compute * item.gpus};
  }

  // The hardest first: most GPUs, fewest bins to go to, largest part of one.
  void OrderItems() {
    std::vector<double> hardness(problem_.classes.size());
    for (size_t c = 0; c < problem_.classes.size(); ++c) {
      const ItemClass& item = problem_.classes[c];
      int bins = 0;
      for (const Bin& bin : problem_.bins) bins += item.options.count(bin.type) > 0 ? 1 : 0;
      const auto [memory, compute] = LeastShares(item);
      hardness[c] = item.gpus * 1000.0 + std::max(memory, compute) * 100 - bins * 0.01;
    }
    order_.resize(problem_.items.size());
    std::iota(order_.begin(), order_.end(), 0);
    std::stable_sort(order_.begin(), order_.end(), [&](int a, int b) {
      const int x = problem_.items[static_cast<size_t>(a)];
      const int y = problem_.items[static_cast<size_t>(b)];
      if (x == y) return false;
      if (hardness[static_cast<size_t>(x)] != hardness[static_cast<size_t>(y)]) {
        return hardness[static_cast<size_t>(x)] > hardness[static_cast<size_t>(y)];
      }
      return x < y;
    });
  }

  void SumUpWhatRemains() {
    remaining_.assign(order_.size() + 1, {0, 0});
    for (size_t i = order_.size(); i-- > 0;) {
      const auto [memory, compute] = LeastShares(ClassAt(i));
      remaining_[i] = {remaining_[i + 1].first + memory, remaining_[i + 1].second + compute};
    }
    const bool any_preemptible =
        std::any_of(problem_.classes.begin(), problem_.classes.end(),
                    [](const ItemClass& item) { return item.preemptible; });
    for (const Bin& bin : problem_.bins) {
      if (bin.use != BinUse::kEmpty) continue;
      prices_of_empty_.push_back(any_preemptible ? std::min(bin.price, bin.spot_price) : bin.price);
    }
    std::sort(prices_of_empty_.begin(), prices_of_empty_.end());
  }

  const ItemClass& ClassAt(size_t depth) const {
    return problem_
        .classes[static_cast<size_t>(problem_.items[static_cast<size_t>(order_[depth])])];
  }

  // What the items from `depth` on add to the price at least; absent when they cannot fit at all.
  std::optional<double> PriceToGo(size_t depth) const {
    double memory = remaining_[depth].first, compute = remaining_[depth].second;
    int empty = 0;
    for (const BinState& state : states_) {
      if (state.use == BinUse::kEmpty) {
        ++empty;
      } else {
        memory -= std::max(0.0, 1 - state.memory_share);
        compute -= std::max(0.0, 1 - state.compute_share);
      }
    }
    const int more = static_cast<int>(std::ceil(std::max(memory, compute) - 1e-6));
    if (more > empty) return std::nullopt;
    double price = 0;
    for (int i = 0; i < more; ++i) price += prices_of_empty_[static_cast<size_t>(i)];
    return price;
  }

  double RootBound() const {
    double price = 0;
    for (const Bin& bin : problem_.bins) price += bin.use != BinUse::kEmpty ? bin.price : 0;
    return price + root_to_go_;
  }

  // What is left of a bin is worth when so many instances are made beside what is taken, where
  // PackProfiles puts them; absent where they have no room.
  std::optional<double> WorthOf(const Bin& bin, const BinState& state) {
    const uint64_t key = Mix(static_cast<uint64_t>(bin.type), CountsHash(state));
    const auto known = worths_.find(key);
    if (known != worths_.end()) return known->second;
    std::vector<WantedInstance> wanted;
    for (int p = 0; p < Occupancy::kMaxProfiles; ++p) {
      wanted.insert(wanted.end(), state.counts[static_cast<size_t>(p)], {p, std::nullopt});
    }
    const placement::SliceValue* value = SliceValueOf(bin.type);
    const PackingChoice choice = ChoiceOf(value, bin.taken, wanted, bin.left_over);
    std::optional<double> worth;
    if (const auto placements = PackProfiles(*bin.geometry, bin.taken, wanted, choice)) {
      Occupancy packing = bin.taken;
      for (size_t i = 0; i < wanted.size(); ++i) {
        bin.geometry->Add({wanted[i].profile, (*placements)[i]}, &packing);
      }
      worth = value != nullptr ? value->WorthOf(RoomOf(packing)) : 0;
    }
    worths_.emplace(key, worth);
    return worth;
  }

  const placement::SliceValue* SliceValueOf(int type) const {
    return values_[static_cast<size_t>(type)].slices;
  }

  static bool GoesOnSpot(const Bin& bin, const ItemClass& item) {
    return item.preemptible && bin.spot_price < bin.price;
  }

  // Puts the option into the state if it goes there.
  bool Put(const Bin& bin, const ItemClass& item, const Option& option, BinState* state) {
    state->spot = GoesOnSpot(bin, item) && (state->use == BinUse::kEmpty || state->spot);
    const bool divided = bin.taken.slots != 0;  // and stays so
    if (divided && !option.own_instance()) return false;
    if (IsLeftOut(bin.type, option)) return false;
    const bool vgpu = option.mechanism == Mechanism::kVgpu;
    switch (option.own_instance() ? Mechanism::kMig : option.mechanism) {
      case Mechanism::kExclusive:
        if (state->use != BinUse::kEmpty) return false;
        state->use = BinUse::kWhole;
        state->memory_share = state->compute_share = 1;
        return true;
      case Mechanism::kMig:
        if (state->use != BinUse::kEmpty && state->use != BinUse::kMig) return false;
        // The driver chooses which free instance a vGPU gets, so all there are for vGPUs or none.
        if (state->use == BinUse::kMig && (state->shared_by == Mechanism::kVgpu) != vgpu)
          return false;
        if (vgpu) state->shared_by = option.mechanism;
        state->use = BinUse::kMig;
        ++state->counts[static_cast<size_t>(option.profile)];
        state->memory_share += option.memory_share;
        state->compute_share += option.compute_share;
        if (const auto worth = WorthOf(bin, *state)) {
          state->worth = *worth;
          return true;
        }
        return false;
      default:
        break;
    }
    if (state->use == BinUse::kEmpty) {
      state->use = BinUse::kShared;
      state->shared_by = option.mechanism;
      state->time_slice = option.time_slice;
      state->vgpu_group = option.vgpu_group;
    } else if (state->use != BinUse::kShared || state->shared_by != option.mechanism ||
               state->time_slice != option.time_slice || state->vgpu_group != option.vgpu_group) {
      return false;
    }
    const bool one_fault_domain = option.mechanism != Mechanism::kTimeSlicing && !vgpu;
    if (one_fault_domain && state->team != -1 && state->team != item.team &&
        !(state->all_trusted && item.trusted)) {
      return false;
    }
    state->team = state->team == -1 || state->team == item.team ? item.team : -2;
    state->all_trusted = state->all_trusted && item.trusted;
    state->memory_used += option.memory.value;
    state->compute_used += option.compute_share;
    ++state->tenants;
    state->memory_share += option.memory_share;
    state->compute_share += option.compute_share;
    if (option.mechanism == Mechanism::kMps && state->tenants > bin.mps_clients) return false;
    return state->memory_used <= bin.memory && state->compute_used <= 1 + kTolerance;
  }

  // Of putting the option into the bin: from `before` to `after`.
  Cost CostOf(const Bin& bin, const BinState& before, const BinState& after, const ItemClass& item,
              const Option& option) const {
    Cost cost;
    const bool mig = option.own_instance();
    cost.changes = 1;
    if (before.use == BinUse::kEmpty) {
      cost.price = GoesOnSpot(bin, item) ? bin.spot_price : bin.price;
      cost.watts = bin.watts;
      if (bin.mig_on && !mig) cost.changes += kModeChange;
      if (!bin.mig_on && mig) cost.set_up = kModeChange;
    }
    if (before.spot && !item.preemptible) cost.price = bin.price - bin.spot_price;
    if (mig) {
      const size_t p = static_cast<size_t>(option.profile);
      if (before.counts[p] < bin.reusable[p]) {
        cost.changes = 0;
      } else {
        ++cost.set_up;
      }
    }
    // A share counts in eighths, so that a few bytes never decide between one mechanism and
    // another.
    const double share = std::max(option.memory_share, option.compute_share);
    const bool exact = mig || option.mechanism == Mechanism::kVgpu;
    cost.waste = exact ? option.memory_share : std::ceil(share * 8 - kTolerance) / 8;
    cost.spoilt = std::max(0, -PointsOf(bin, option, before, after));
    return cost;
  }

  // What the policy sees gained by it, in tenths of a GPU; 0 where it has no value for such a bin.
  int PointsOf(const Bin& bin, const Option& option, const BinState& before,
               const BinState& after) const {
    if (option.mechanism == Mechanism::kExclusive) return 0;
    if (option.own_instance()) {
      const placement::SliceValue* value = SliceValueOf(bin.type);
      return value != nullptr ? value->PointsOf(option.profile, before.worth, after.worth) : 0;
    }
    const placement::ShareValue* value = values_[static_cast<size_t>(bin.type)].shares;
    if (value == nullptr) return 0;
    const auto free = [](const BinState& state) {
      const double share = 1 - std::max(state.memory_share, state.compute_share);
      return static_cast<int>(std::floor(placement::kGpuMilli * std::max(0.0, share) + 1e-6));
    };
    const double placed = std::max(option.memory_share, option.compute_share);
    const int milli = static_cast<int>(std::ceil(placement::kGpuMilli * placed - 1e-6));
    return value->PointsOf(milli, free(before), free(after));
  }

  void Visit(size_t depth) {
    if (Stopped()) return;
    ++nodes_;
    if (depth == order_.size()) {
      if (found_ && !cost_.Below(best_cost_)) return;
      found_ = true;
      best_ = chosen_;
      best_cost_ = cost_;
      nodes_at_first_ = nodes_at_first_ < 0 ? nodes_ : nodes_at_first_;
      return;
    }
    const std::optional<double> to_go = PriceToGo(depth);
    if (depth == 0) root_to_go_ = to_go.value_or(0);
    if (!to_go) return;
    if (found_) {
      Cost bound = cost_;
      bound.price += *to_go;
      if (!bound.Below(best_cost_)) return;
    }
    if (!seen_.insert(NodeHash(depth)).second) return;

    const ItemClass& item = ClassAt(depth);
    if (item.gpus > 1) {
      PlaceOnSeveral(depth, item);
    } else {
      PlaceOnOne(depth, item);
    }
  }

  bool Stopped() {
    if (found_ && limits_.first_will_do) return true;
    int64_t limit = limits_.nodes;
    if (found_) {
      const bool proven = best_cost_.price <= RootBound() + kTolerance;
      limit = nodes_at_first_ + (proven ? limits_.polishing : limits_.proving);
    }
    if (nodes_ >= limit) gave_up_ = true;
    return gave_up_;
  }

  uint64_t NodeHash(size_t depth) const {
    // Bins of one type are interchangeable, so their order does not matter.
    std::vector<uint64_t> hashes;
    for (size_t b = 0; b < states_.size(); ++b) {
      hashes.push_back(StateHash(problem_.bins[b].type, states_[b]));
    }
    std::sort(hashes.begin(), hashes.end());
    uint64_t hash = depth;
    for (const uint64_t h : hashes) hash = Mix(hash, h);
    return hash;
  }

  void PlaceOnOne(size_t depth, const ItemClass& item) {
    std::vector<Move> moves;
    std::unordered_set<uint64_t> tried;  // bins alike
    for (size_t b = 0; b < states_.size(); ++b) {
      const Bin& bin = problem_.bins[b];
      const auto options = item.options.find(bin.type);
      if (options == item.options.end()) continue;
      if (!tried.insert(StateHash(bin.type, states_[b])).second) continue;
      for (size_t o = 0; o < options->second.size(); ++o) {
        const Option& option = options->second[o];
        BinState after = states_[b];
        if (!Put(bin, item, option, &after)) continue;
        // Of moves that are alike, the one into the fullest bin first, and there the least option:
        // the first of them.
        moves.push_back({static_cast<int>(b), static_cast<int>(o),
                         CostOf(bin, states_[b], after, item, option),
                         2 - std::max(states_[b].memory_share, states_[b].compute_share)});
      }
    }
    std::stable_sort(moves.begin(), moves.end(), [](const Move& a, const Move& b) {
      if (a.cost.Below(b.cost)) return true;
      if (b.cost.Below(a.cost)) return false;
      return a.room < b.room - kTolerance;
    });
    for (const Move& move : moves) {
      const size_t b = static_cast<size_t>(move.bin);
      const BinState before = states_[b];
      const Cost cost_before = cost_;
      Put(problem_.bins[b], item,
          item.options.at(problem_.bins[b].type)[static_cast<size_t>(move.option)], &states_[b]);
      Add(move.cost);
      chosen_[static_cast<size_t>(order_[depth])] = {{move.bin}, move.option};
      Visit(depth + 1);
      states_[b] = before;
      cost_ = cost_before;
      if (Stopped()) return;
    }
  }

  void PlaceOnSeveral(size_t depth, const ItemClass& item) {
    for (const auto& [type, options] : item.options) {
      for (size_t o = 0; o < options.size(); ++o) {
        if (options[o].mechanism != Mechanism::kExclusive) continue;
        std::vector<int> bins;
        for (size_t b = 0; b < states_.size() && static_cast<int>(bins.size()) < item.gpus; ++b) {
          if (problem_.bins[b].type == type && states_[b].use == BinUse::kEmpty) {
            bins.push_back(static_cast<int>(b));
          }
        }
        if (static_cast<int>(bins.size()) < item.gpus) continue;
        const Cost cost_before = cost_;
        std::vector<BinState> before;
        for (const int bin : bins) {
          const size_t b = static_cast<size_t>(bin);
          before.push_back(states_[b]);
          Put(problem_.bins[b], item, options[o], &states_[b]);
          Add(CostOf(problem_.bins[b], before.back(), states_[b], item, options[o]));
        }
        chosen_[static_cast<size_t>(order_[depth])] = {bins, static_cast<int>(o)};
        Visit(depth + 1);
        for (size_t i = 0; i < bins.size(); ++i) states_[static_cast<size_t>(bins[i])] = before[i];
        cost_ = cost_before;
        if (Stopped()) return;
      }
    }
  }

  void Add(const Cost& cost) {
    cost_.price += cost.price;
    cost_.changes += cost.changes;
    cost_.waste += cost.waste;
    cost_.spoilt += cost.spoilt;
    cost_.set_up += cost.set_up;
    cost_.watts += cost.watts;
  }

  const SearchProblem& problem_;
  const SearchLimits& limits_;
  std::vector<BinState> states_;
  std::set<int> instances_;                           // types of bins that are shared instances
  std::vector<int> order_;                            // of items
  std::vector<std::pair<double, double>> remaining_;  // least shares of the items from here on
  std::vector<double> prices_of_empty_;               // ascending
  struct Values {
    const placement::ShareValue* shares = nullptr;
    const placement::SliceValue* slices = nullptr;
  };
  std::vector<Values> values_;  // by type
  std::unordered_map<uint64_t, std::optional<double>> worths_;
  std::unordered_set<uint64_t> seen_;
  std::vector<Choice> chosen_;
  Cost cost_;
  int64_t nodes_ = 0;
  int64_t nodes_at_first_ = -1;
  double root_to_go_ = 0;
  bool found_ = false;
  bool gave_up_ = false;
  std::vector<Choice> best_;
  Cost best_cost_;
};

}  // namespace

PackingChoice ChoiceOf(const placement::SliceValue* value, const Occupancy& taken,
                       const std::vector<WantedInstance>& wanted,
                       std::vector<PlacedProfile> left_over) {
  PackingChoice choice{std::move(left_over), {}};
  if (value == nullptr) return choice;
  double price = 0;
  for (const WantedInstance& one : wanted) price += value->PriceOf(one.profile);
  choice.value = [=, before = value->WorthOf(RoomOf(taken))](const Occupancy& after) {
    return static_cast<double>(
        placement::SliceValue::PointsAt(price, before, value->WorthOf(RoomOf(after))));
  };
  return choice;
}

SearchOutcome Search(const SearchProblem& problem, const SearchLimits& limits,
                     SearchAnswer* answer) {
  return Searcher(problem, limits).Run(answer);
}

}  // namespace tranche::planning
