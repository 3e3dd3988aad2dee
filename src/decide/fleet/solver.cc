#include "decide/fleet/solver.h"

#include <algorithm>
#include <cmath>
#include <map>
#include <numeric>
#include <random>

#include "decide/fleet/bundles.h"
#include "decide/fleet/fluid_bound.h"
#include "decide/fleet/greedy.h"
#include "decide/fleet/local_search.h"
#include "decide/fleet/master.h"

namespace tranche::fleet {
namespace {

constexpr double kWholeTolerance = 1e-6;

// Prices in their greatest common divisor.
int64_t Granularity(const Problem& problem) {
  int64_t granularity = 0;
  for (const GpuKind& kind : problem.kinds) granularity = std::gcd(granularity, kind.price);
  return std::max<int64_t>(1, granularity);
}

// So many that all there is may be tried.
constexpr int64_t kFewItems = 64;

int64_t ItemsOf(const Problem& problem) {
  int64_t items = 0;
  for (const ItemClass& item : problem.classes) items += item.count;
  return items;
}

bool Better(const Answer& a, const Answer& b) {
  if (a.LeftOut() != b.LeftOut()) return a.LeftOut() < b.LeftOut();
  if (a.cost != b.cost) return a.cost < b.cost;
  return a.used.size() < b.used.size();
}

// Prices are in their greatest common divisor, so that only whole numbers can be a cost.
int64_t RoundedUp(double bound) {
  return static_cast<int64_t>(std::ceil(bound - 1e-6 * std::max(1.0, bound * 1e-3)));
}

class Solver {
 public:
  Solver(const Problem& problem, const SolverLimits& limits)
      : problem_(problem),
        limits_(limits),
        master_(problem),
        random_(limits.seed),
        small_(ItemsOf(problem) <= kFewItems) {}

  Answer Run() {
    best_ = FirstFitDecreasing(problem_);
    // Loads of shared GPUs are too many for a linear program over them.
    if (master_.shares() && !small_) {
      const int64_t left_out = best_.LeftOut();
      FluidAnswer fluid = SolveFluid(problem_, left_out);
      if (fluid.parts.empty()) return best_;
      if (left_out == 0 && best_.cost <= RoundedUp(fluid.bound)) {
        best_.lower_bound = best_.cost;
        return best_;
      }
      best_ = Improve(problem_, best_, fluid.parts, limits_.steps * kWorkPerStep, limits_.seed,
                      RoundedUp(fluid.bound));
      if (best_.LeftOut() < left_out) fluid = SolveFluid(problem_, best_.LeftOut());
      best_.lower_bound = std::min(best_.cost, RoundedUp(fluid.bound));
      return best_;
    }
    if (!master_.Solve(Master::Loads::kAll)) return best_;
    root_ = master_.bound();
    // The linear program itself has to be solved, however long that takes.
    last_step_ = master_.steps() + limits_.steps;
    if (Dive(kDiveNodes) && !master_.passed_over()) {
      best_.lower_bound = best_.cost;  // all there is was looked at
      return best_;
    }
    // Without an answer of its own there is nothing to start from.
    while (!Done() && !counts_.empty()) Again();
    best_.lower_bound = std::min(best_.cost, Bound());
    return best_;
  }

 private:
  static constexpr int64_t kWorkPerStep = 750;  // of local search
  static constexpr int kDiveNodes = 400;
  static constexpr int kAgainNodes = 60;

  bool Done() const {
    return best_.used.empty() || master_.steps() >= last_step_ ||
           (best_.LeftOut() == 0 && best_.cost <= RoundedUp(root_));
  }
  int64_t Bound() {
    const int64_t left_out = best_.LeftOut();
    if (left_out == 0) return RoundedUp(root_);
    for (size_t u = 0; u < master_.uses().size(); ++u) {
      master_.SetBounds(u, 0, LinearProgram::kInfinity);
    }
    master_.AllowLeftOut(left_out);
    return master_.Solve(Master::Loads::kAll) ? RoundedUp(master_.bound()) : 0;
  }

  // What an answer costs as the linear program sees it.
  double Worth(const Answer& answer) const {
    return static_cast<double>(answer.cost) +
           static_cast<double>(answer.LeftOut()) * static_cast<double>(master_.left_out_price());
  }

  // From the bounds that are set, at most `nodes` linear programs; whether all there is was looked
  // at.
  bool Dive(int nodes) {
    nodes_ = nodes;
    Visit();
    return nodes_ >= 0 && master_.steps() < last_step_;
  }

  double PartOf(size_t use) const {
    const double value = master_.value(use);
    return value - std::floor(value + kWholeTolerance);
  }

  // Rounds one use after the other up, and where that leads nowhere better, down.
  void Visit() {
    if (--nodes_ < 0 || master_.steps() >= last_step_ || !master_.Solve(Master::Loads::kQuickly))
      return;
    // A whole unit is the least that a better answer is better by.
    if (master_.cost() > Worth(best_) - 1 + kWholeTolerance) return;
    const int use = ToRound();
    if (use < 0) {
      Take();
      return;
    }
    const size_t u = static_cast<size_t>(use);
    const double value = master_.value(u);
    const auto [lower, upper] = BoundsOf(u);
    SetBounds(u, std::ceil(value - kWholeTolerance), upper);
    Visit();
    SetBounds(u, lower, std::floor(value + kWholeTolerance));
    Visit();
    SetBounds(u, lower, upper);
  }

  // What to round next, or -1 when all are whole: tallies first; that which misses the next whole
  // number by least; at random, a little.
  int ToRound() {
    int best = -1;
    double most = 0;
    std::uniform_real_distribution<double> noise(0, 1);
    for (size_t u = 0; u < master_.uses().size(); ++u) {
      const bool tally = master_.uses()[u].gpus == 0;
      const double part = PartOf(u);
      if (part < kWholeTolerance) continue;
      const double score = part + (tally ? 1 : 0) + (noise_ > 0 ? noise_ * noise(random_) : 0);
      if (best < 0 || score > most) {
        best = static_cast<int>(u);
        most = score;
      }
    }
    return best;
  }

  void Take() {
    std::vector<int64_t> counts;
    for (size_t u = 0; u < master_.uses().size(); ++u) {
      counts.push_back(std::llround(master_.value(u)));
    }
    Answer answer = master_.AnswerOf(counts);
    if (!Better(answer, best_)) return;
    best_ = std::move(answer);
    counts_ = std::move(counts);
  }

  // Keeps the best answer's uses but for some, and dives for what else they could be.
  void Again() {
    std::vector<int64_t> kept = counts_;
    kept.resize(master_.uses().size(), 0);
    for (size_t u = 0; u < kept.size(); ++u) {
      if (master_.uses()[u].gpus == 0) kept[u] = 0;
    }
    const int64_t gpus = std::accumulate(kept.begin(), kept.end(), int64_t{0});
    const int64_t free = std::min<int64_t>(gpus, 8 + static_cast<int64_t>(random_() % 25));
    for (int64_t n = 0; n < free; ++n) {
      // Each GPU with the same probability.
      int64_t pick = static_cast<int64_t>(random_() % static_cast<uint64_t>(gpus - n));
      size_t u = 0;
      while (pick >= kept[u]) pick -= kept[u++];
      --kept[u];
    }
    for (size_t u = 0; u < kept.size(); ++u) {
      SetBounds(u, static_cast<double>(kept[u]), LinearProgram::kInfinity);
    }
    noise_ = 0.3;
    Dive(kAgainNodes);
    for (size_t u = 0; u < master_.uses().size(); ++u) SetBounds(u, 0, LinearProgram::kInfinity);
  }

  std::pair<double, double> BoundsOf(size_t use) {
    bounds_.resize(master_.uses().size(), {0, LinearProgram::kInfinity});
    return bounds_[use];
  }
  void SetBounds(size_t use, double lower, double upper) {
    bounds_.resize(master_.uses().size(), {0, LinearProgram::kInfinity});
    bounds_[use] = {lower, upper};
    master_.SetBounds(use, lower, upper);
  }

  const Problem& problem_;
  const SolverLimits limits_;
  Master master_;
  std::mt19937_64 random_;
  const bool small_;
  int64_t last_step_ = 0;
  double noise_ = 0;
  int nodes_ = 0;
  double root_ = 0;
  Answer best_;
  std::vector<int64_t> counts_;  // of each use, in the best answer
  std::vector<std::pair<double, double>> bounds_;
};

using Wanted = std::vector<std::vector<int64_t>>;  // by class and way

// As many in each shared instance as in the program in which items may be cut.
Wanted AsItFlows(const Problem& problem, const FluidAnswer& fluid) {
  Wanted wanted;
  for (size_t c = 0; c < problem.classes.size(); ++c) {
    int64_t left = problem.classes[c].count;
    wanted.emplace_back();
    for (const double flow : fluid.flows[c]) {
      wanted.back().push_back(std::min<int64_t>(left, std::llround(flow)));
      left -= wanted.back().back();
    }
  }
  return wanted;
}

// With each tenant of an instance as large as if only its like were in it: what is left over there
// is nobody's. As many as in the program in which items may be cut, and instances are not.
Problem InWholeNumbers(const Problem& problem) {
  Problem whole = problem;
  for (ItemClass& item : whole.classes) {
    for (Way& way : item.ways) {
      if (way.use != Way::Use::kInstanceShare) continue;
      const Share& room =
          problem.kinds[static_cast<size_t>(way.kind)].rooms[static_cast<size_t>(way.shape)];
      int64_t fit = item.count;
      if (way.share.memory > 0) fit = std::min(fit, room.memory / way.share.memory);
      if (way.share.compute > 0) fit = std::min(fit, room.compute / way.share.compute);
      if (way.share.clients > 0) fit = std::min(fit, room.clients / way.share.clients);
      way.share.memory = room.memory / std::max<int64_t>(1, fit);
    }
  }
  return whole;
}

// Everybody into instances with that room who can go there.
Wanted AllInto(const Problem& problem, const Share& room) {
  Wanted wanted;
  for (const ItemClass& item : problem.classes) {
    wanted.emplace_back(item.ways.size(), 0);
    for (size_t w = 0; w < item.ways.size(); ++w) {
      const Way& way = item.ways[w];
      if (way.use != Way::Use::kInstanceShare) continue;
      const GpuKind& kind = problem.kinds[static_cast<size_t>(way.kind)];
      if (!(kind.rooms[static_cast<size_t>(way.shape)] == room)) continue;
      // The last circle is the widest.
      std::fill(wanted.back().begin(), wanted.back().end(), 0);
      wanted.back()[w] = item.count;
    }
  }
  return wanted;
}

// The rooms of all shared instances, each once, and no more than will be tried.
std::vector<Share> Rooms(const Problem& problem) {
  constexpr size_t kMostRooms = 8;
  std::vector<Share> rooms;
  for (const ItemClass& item : problem.classes) {
    for (const Way& way : item.ways) {
      if (way.use != Way::Use::kInstanceShare || rooms.size() == kMostRooms) continue;
      const Share& room =
          problem.kinds[static_cast<size_t>(way.kind)].rooms[static_cast<size_t>(way.shape)];
      if (std::find(rooms.begin(), rooms.end(), room) == rooms.end()) rooms.push_back(room);
    }
  }
  return rooms;
}

// Instances made, and how many of them for sharing have one tenant only.
struct InstanceCounts {
  int64_t made = 0;
  int64_t lonely = 0;
};

InstanceCounts InstancesOf(const Problem& problem, const Answer& answer) {
  InstanceCounts counts;
  for (const Used& used : answer.used) {
    std::map<int, int64_t> tenants;
    for (const Used::Content& content : used.contents) {
      const Way& way = problem.classes[static_cast<size_t>(content.item_class)]
                           .ways[static_cast<size_t>(content.way)];
      if (way.use == Way::Use::kInstance) counts.made += content.count;
      if (way.use == Way::Use::kInstanceShare) tenants[content.instance] += content.count;
    }
    for (const auto& [instance, count] : tenants) {
      ++counts.made;
      counts.lonely += count == 1 ? 1 : 0;
    }
  }
  return counts;
}

// First with nobody in a shared instance; where sharing could make it cheaper, with those who may
// put together in several ways. The best of all.
Answer SolveWithBundles(const Problem& problem, const SolverLimits& limits) {
  const auto solve = [&](const Bundles& bundles) {
    return bundles.Unfold(Solver(bundles.problem(), limits).Run());
  };
  Answer best = solve(Bundles(problem, {}));
  FluidAnswer fluid = SolveFluid(problem, best.LeftOut());
  if (fluid.parts.empty()) return best;  // nothing is known
  const auto may_be_better = [&] {
    return best.LeftOut() > 0 || best.cost > RoundedUp(fluid.bound) ||
           InstancesOf(problem, best).lonely > 1;
  };
  // At one cost that which divides GPUs less.
  const auto better = [&](const Answer& a, const Answer& b) {
    if (a.LeftOut() != b.LeftOut() || a.cost != b.cost) return Better(a, b);
    return InstancesOf(problem, a).made < InstancesOf(problem, b).made;
  };
  // Where not even items that may be cut would make it cheaper, there is nothing to look for.
  const bool few = ItemsOf(problem) <= kFewItems;
  if (!few && best.LeftOut() == 0 && InstancesOf(problem, best).lonely < 2) {
    const Bundles alone(problem, {});
    if (SolveFluid(alone.problem(), 0).bound <= fluid.bound + 0.5) {
      best.lower_bound = std::min(best.cost, RoundedUp(fluid.bound));
      return best;
    }
  }
  const FluidAnswer rounded = SolveFluid(InWholeNumbers(problem), best.LeftOut());
  std::vector<Wanted> ways_to_share;
  if (!rounded.flows.empty()) ways_to_share.push_back(AsItFlows(problem, rounded));
  ways_to_share.push_back(AsItFlows(problem, fluid));
  if (few) {
    for (const Share& room : Rooms(problem)) ways_to_share.push_back(AllInto(problem, room));
  }
  for (const Wanted& wanted : ways_to_share) {
    if (!may_be_better()) break;
    const Bundles bundles(problem, wanted);
    if (!bundles.any()) continue;
    Answer answer = solve(bundles);
    if (better(answer, best)) best = std::move(answer);
  }
  if (best.LeftOut() > 0) fluid = SolveFluid(problem, best.LeftOut());
  best.lower_bound = std::min(best.cost, RoundedUp(fluid.bound));
  return best;
}

}  // namespace

Answer Solve(const Problem& problem, const SolverLimits& limits) {
  // In units of what prices are multiples of, so that the bound can be rounded up.
  Problem scaled = problem;
  const int64_t granularity = Granularity(problem);
  for (GpuKind& kind : scaled.kinds) kind.price /= granularity;
  Answer answer =
      SharesInstances(problem) ? SolveWithBundles(scaled, limits) : Solver(scaled, limits).Run();
  answer.cost *= granularity;
  answer.lower_bound *= granularity;
  return answer;
}

double LowerBound(const Problem& problem) {
  Problem scaled = problem;
  const int64_t granularity = Granularity(problem);
  for (GpuKind& kind : scaled.kinds) kind.price /= granularity;
  return static_cast<double>(RoundedUp(SolveFluid(scaled, 0).bound) * granularity);
}

}  // namespace tranche::fleet
