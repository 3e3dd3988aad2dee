#include "decide/serving/replicas.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <list>
#include <map>
#include <numeric>
#include <optional>
#include <random>
#include <set>

#include "decide/fleet/greedy.h"
#include "decide/fleet/linear_program.h"
#include "decide/fleet/solver.h"

namespace tranche::serving {
namespace {

using fleet::LinearProgram;
using fleet::Way;

constexpr double kTolerance = 1e-7;
constexpr double kInfinity = LinearProgram::kInfinity;
constexpr int kMostRounds = 100;
constexpr int64_t kFleetSteps = 4000;
constexpr int64_t kMostReplicas = 1'000'000;  // of one service

// Replicas of which any of some ways will do.
struct Part {
  std::vector<int> ways;
  int64_t count = 0;
  auto operator<=>(const Part&) const = default;
};
// Replicas that together bear a service's traffic.
using Variant = std::vector<Part>;

double LeastTakes(const Service& service, const Part& part) {
  double least = 0;
  for (size_t i = 0; i < part.ways.size(); ++i) {
    const double takes = service.ways[static_cast<size_t>(part.ways[i])].takes;
    if (i == 0 || takes < least) least = takes;
  }
  return least * static_cast<double>(part.count);
}

double TakesOf(const Service& service, const Variant& variant) {
  double takes = 0;
  for (const Part& part : variant) takes += LeastTakes(service, part);
  return takes;
}

// As many as all GPUs of a kind hold.
int64_t MostOf(const fleet::GpuKind& kind, const Way& way, int gpus) {
  constexpr int64_t kPlenty = 1'000'000'000;
  int64_t each = 1;
  if (way.use == Way::Use::kInstance) {
    each = 0;
    for (const std::vector<int>& layout : kind.layouts) {
      each = std::max<int64_t>(each, layout[static_cast<size_t>(way.shape)]);
    }
  } else if (way.use == Way::Use::kShare) {
    each = kPlenty;
    if (way.share.memory > 0) each = std::min(each, kind.memory / way.share.memory);
    if (way.share.compute > 0) each = std::min(each, kind.compute / way.share.compute);
    if (way.share.clients > 0) each = std::min(each, kind.clients / way.share.clients);
  } else {
    return kind.count / std::max(1, gpus);
  }
  return std::min(kPlenty, each * kind.count);
}

// The numbers of replicas worth a try, where they are few: as few as some of the ways need, all of
// one group, each of which bears its even part; or as many as are given.
std::vector<Variant> FixedVariants(const Service& service,
                                   const std::vector<fleet::GpuKind>& kinds) {
  std::vector<Variant> variants;
  if (!service.even) {
    Part all{{}, service.replicas};
    for (size_t w = 0; w < service.ways.size(); ++w) all.ways.push_back(static_cast<int>(w));
    variants.push_back({all});
    return variants;
  }
  std::set<std::pair<int, int64_t>> counts;
  for (const ReplicaWay& way : service.ways) {
    if (way.per_second <= 0) continue;
    const double needed = std::ceil(service.per_second / way.per_second - 1e-9);
    if (needed > kMostReplicas) continue;
    counts.emplace(way.group, service.replicas > 0
                                  ? service.replicas
                                  : std::max<int64_t>(1, static_cast<int64_t>(needed)));
  }
  for (const auto& [group, count] : counts) {
    Part part{{}, count};
    int64_t room = 0;
    for (size_t w = 0; w < service.ways.size(); ++w) {
      const ReplicaWay& way = service.ways[w];
      if (way.group == group && way.per_second > 0 &&
          way.per_second * static_cast<double>(count) >= service.per_second * (1 - 1e-9)) {
        part.ways.push_back(static_cast<int>(w));
        room += MostOf(kinds[static_cast<size_t>(way.way.kind)], way.way, service.gpus);
      }
    }
    if (!part.ways.empty() && room >= count) variants.push_back({part});
  }
  return variants;
}

bool IsFixed(const Service& service) { return service.even || service.replicas > 0; }

Variant VariantOf(const std::vector<int64_t>& counts) {
  Variant variant;
  for (size_t w = 0; w < counts.size(); ++w) {
    if (counts[w] > 0) variant.push_back({{static_cast<int>(w)}, counts[w]});
  }
  return variant;
}

// The linear program: which variant of each service, which layouts of which GPUs. Shared GPUs are
// filled to the brim, as if tenants could be cut.
class Master {
 public:
  Master(const ReplicasProblem& problem, double takes_price)
      : problem_(problem), takes_price_(takes_price) {
    const std::vector<size_t> counted = fleet::CountedBy({problem.kinds, {}});
    for (size_t k = 0; k < problem.kinds.size(); ++k) {
      count_rows_.push_back(
          counted[k] < k
              ? count_rows_[counted[k]]
              : program_.AddRow(-kInfinity, static_cast<double>(problem.kinds[k].count)));
      kinds_.emplace_back();
    }
    for (const Service& service : problem.services) {
      service_rows_.push_back(program_.AddRow(1, 1));
      variants_.emplace_back();
      for (const ReplicaWay& way : service.ways) AddRowsFor(way.way);
    }
    for (size_t k = 0; k < problem.kinds.size(); ++k) AddLayouts(k);
    for (size_t s = 0; s < problem.services.size(); ++s) {
      const Service& service = problem.services[s];
      if (IsFixed(service)) {
        for (const Variant& variant : FixedVariants(service, problem_.kinds)) Add(s, variant);
      } else {
        // Something to begin with: by part of a GPU, and by each way alone.
        std::vector<Offer> offers = OffersOf(service, [&](const ReplicaWay& way) {
          return PriceOfPart(problem_.kinds[static_cast<size_t>(way.way.kind)], way.way);
        });
        const Cover any = CheapestCover(service.per_second, offers);
        if (!any.counts.empty()) Add(s, VariantOf(any.counts));
        for (size_t w = 0; w < offers.size(); ++w) {
          std::vector<Offer> alone = offers;
          for (size_t o = 0; o < alone.size(); ++o) alone[o].most = o == w ? alone[o].most : 0;
          const Cover cover = CheapestCover(service.per_second, alone);
          if (!cover.counts.empty()) Add(s, VariantOf(cover.counts));
        }
      }
    }
  }

  // With all covers that are worth it. False when there is no solution within the bounds.
  bool Solve() {
    for (int round = 0;; ++round) {
      if (!program_.Solve()) return false;
      bound_ = program_.objective();
      if (round == kMostRounds || !AddCovers()) return true;
    }
  }
  // Of the last Solve; when rounds ran out, with what covers could still save taken off.
  double bound() const { return bound_ - not_proven_; }

  struct Choice {
    Variant variant;
    int column = 0;
  };
  const std::vector<Choice>& variants(size_t service) const { return variants_[service]; }
  double value(const Choice& choice) const { return program_.value(choice.column); }
  void Fix(const Choice& choice) { program_.SetBounds(choice.column, 1, 1); }
  void Forbid(const Choice& choice) { program_.SetBounds(choice.column, 0, 0); }
  void Free(const Choice& choice) { program_.SetBounds(choice.column, 0, kInfinity); }
  int64_t steps() const { return program_.steps(); }

 private:
  struct KindRows {
    std::map<int, int> shapes;  // row of each that anybody wants
    int memory = -1, compute = -1;
  };

  void AddRowsFor(const Way& way) {
    KindRows& rows = kinds_[static_cast<size_t>(way.kind)];
    if (way.use == Way::Use::kInstance && rows.shapes.count(way.shape) == 0) {
      rows.shapes[way.shape] = program_.AddRow(0, kInfinity);
    }
    if (way.use == Way::Use::kShare && rows.memory < 0) {
      rows.memory = program_.AddRow(0, kInfinity);
      rows.compute = program_.AddRow(0, kInfinity);
    }
  }

  void AddLayouts(size_t k) {
    const fleet::GpuKind& kind = problem_.kinds[k];
    for (const std::vector<int>& layout : kind.layouts) {
      std::vector<LinearProgram::Entry> entries = {{count_rows_[k], 1}};
      for (const auto& [shape, row] : kinds_[k].shapes) {
        const int count = layout[static_cast<size_t>(shape)];
        if (count > 0) entries.push_back({row, static_cast<double>(count)});
      }
      if (entries.size() > 1) {
        program_.AddColumn(static_cast<double>(kind.price), 0, kInfinity, entries);
      }
    }
    if (kinds_[k].memory >= 0) {
      program_.AddColumn(static_cast<double>(kind.price), 0, kInfinity,
                         {{count_rows_[k], 1}, {kinds_[k].memory, 1}, {kinds_[k].compute, 1}});
    }
  }

  // What one replica by a way takes of the rows; returns what it costs by itself.
  double Take(const Service& service, const Way& way, double count,
              std::map<int, double>* takes) const {
    const size_t k = static_cast<size_t>(way.kind);
    const fleet::GpuKind& kind = problem_.kinds[k];
    switch (way.use) {
      case Way::Use::kInstance:
        (*takes)[kinds_[k].shapes.at(way.shape)] -= count;
        return 0;
      case Way::Use::kWhole:
        (*takes)[count_rows_[k]] += count * service.gpus;
        return static_cast<double>(kind.price) * service.gpus * count;
      case Way::Use::kShare:
        (*takes)[kinds_[k].memory] -= count * static_cast<double>(way.share.memory) /
                                      static_cast<double>(std::max<int64_t>(1, kind.memory));
        (*takes)[kinds_[k].compute] -= count * static_cast<double>(way.share.compute) /
                                       static_cast<double>(std::max<int64_t>(1, kind.compute));
        return 0;
      case Way::Use::kInstanceShare:
        return 0;  // replicas that bear traffic share no instance
    }
    return 0;
  }

  static std::vector<LinearProgram::Entry> EntriesOf(const std::map<int, double>& takes) {
    std::vector<LinearProgram::Entry> entries;
    for (const auto& [row, value] : takes) entries.push_back({row, value});
    return entries;
  }

  void Add(size_t s, const Variant& variant) {
    const Service& service = problem_.services[s];
    for (const Choice& there : variants_[s]) {
      if (there.variant == variant) return;
    }
    std::map<int, double> takes = {{service_rows_[s], 1}};
    double cost = 0;
    for (const Part& part : variant) {
      const double count = static_cast<double>(part.count);
      if (part.ways.size() == 1) {
        const ReplicaWay& way = service.ways[static_cast<size_t>(part.ways[0])];
        cost += Take(service, way.way, count, &takes) + takes_price_ * way.takes * count;
        continue;
      }
      const int row = program_.AddRow(0, kInfinity);
      takes[row] -= count;
      for (const int w : part.ways) {
        const ReplicaWay& way = service.ways[static_cast<size_t>(w)];
        std::map<int, double> one = {{row, 1}};
        const double price = Take(service, way.way, 1, &one) + takes_price_ * way.takes;
        program_.AddColumn(price, 0, kInfinity, EntriesOf(one));
      }
    }
    const int column = program_.AddColumn(cost, 0, kInfinity, EntriesOf(takes));
    variants_[s].push_back({variant, column});
  }

  // Each way at a price, as often as all GPUs could hold it.
  template <typename PriceOf>
  std::vector<Offer> OffersOf(const Service& service, const PriceOf& price_of) const {
    std::vector<Offer> offers;
    for (const ReplicaWay& way : service.ways) {
      offers.push_back(
          {way.per_second, price_of(way),
           MostOf(problem_.kinds[static_cast<size_t>(way.way.kind)], way.way, service.gpus)});
    }
    return offers;
  }

  bool AddCovers() {
    bool added = false;
    not_proven_ = 0;
    for (size_t s = 0; s < problem_.services.size(); ++s) {
      const Service& service = problem_.services[s];
      if (IsFixed(service)) continue;
      const Cover cover = CheapestCover(
          service.per_second, OffersOf(service, [&](const ReplicaWay& way) {
            std::map<int, double> takes;
            double price = Take(service, way.way, 1, &takes) + takes_price_ * way.takes;
            for (const auto& [row, value] : takes) {
              price -= program_.price(row) * value;
            }
            return std::max(0.0, price);
          }));
      if (cover.counts.empty()) continue;
      const double worth = program_.price(service_rows_[s]);
      if (cover.price < worth - kTolerance * std::max(1.0, std::abs(worth))) {
        const size_t before = variants_[s].size();
        Add(s, VariantOf(cover.counts));
        if (variants_[s].size() > before) added = true;
      }
      not_proven_ += std::max(0.0, worth - cover.bound);
    }
    return added;
  }

  const ReplicasProblem& problem_;
  const double takes_price_;
  LinearProgram program_;
  std::vector<int> count_rows_, service_rows_;
  std::vector<KindRows> kinds_;
  std::vector<std::vector<Choice>> variants_;
  double bound_ = 0, not_proven_ = 0;
};

int64_t Granularity(const ReplicasProblem& problem) {
  int64_t granularity = 0;
  for (const fleet::GpuKind& kind : problem.kinds) granularity = std::gcd(granularity, kind.price);
  return std::max<int64_t>(1, granularity);
}

// Less of the GPU decides only between equal costs: all of it together must not make up for one
// step of price.
double TakesPrice(const ReplicasProblem& problem) {
  double most = 0;
  for (const Service& service : problem.services) {
    double of_service = 0;
    for (const ReplicaWay& way : service.ways) {
      const double n = service.replicas > 0 ? static_cast<double>(service.replicas)
                       : way.per_second > 0 ? std::ceil(service.per_second / way.per_second)
                                            : 0;
      of_service = std::max(of_service, n * way.takes);
    }
    most += of_service;
  }
  return most > 0 ? 0.25 * static_cast<double>(Granularity(problem)) / most : 0;
}

bool Bearable(const Service& service, const std::vector<fleet::GpuKind>& kinds) {
  if (IsFixed(service)) {
    const std::vector<Variant> variants = FixedVariants(service, kinds);
    return std::any_of(variants.begin(), variants.end(),
                       [](const Variant& variant) { return !variant.front().ways.empty(); });
  }
  return std::any_of(service.ways.begin(), service.ways.end(),
                     [](const ReplicaWay& way) { return way.per_second > 0; });
}

class Chooser {
 public:
  Chooser(const ReplicasProblem& problem, const ReplicasLimits& limits, std::vector<int> services,
          ReplicasProblem possible)
      : problem_(problem),
        limits_(limits),
        services_(std::move(services)),
        possible_(std::move(possible)),
        master_(possible_, TakesPrice(possible_)),
        random_(limits.seed) {}

  // Nothing when the linear program has no solution: some service does not find enough GPUs.
  std::optional<ReplicasAnswer> Run() {
    if (!master_.Solve()) return std::nullopt;
    const double root = master_.bound();
    for (int dive = 0; dive < limits_.dives; ++dive) {
      if (dive > 0 && (best_ || dive >= kMostTries) && master_.steps() + work_ > limits_.steps)
        break;
      Dive(dive == 0 ? 0 : 0.1 * (1 + dive % 6));
      if (best_ && best_->layout.LeftOut() == 0 && AtBound(root)) break;
    }
    // Whole GPUs cost more than their parts: what the linear program does not like may still do.
    for (size_t s = 0; s < possible_.services.size(); ++s) {
      for (size_t v = 0; v < master_.variants(s).size(); ++v) {
        if ((best_ && AtBound(root)) || master_.steps() + work_ > limits_.steps) break;
        Dive(0, std::pair(s, master_.variants(s)[v]));
      }
    }
    if (!best_) return std::nullopt;
    best_->lower_bound = std::min(best_->cost, CostBound());
    for (const Service& service : possible_.services) {
      best_->takes_lower_bound += LeastOf(service);
    }
    return best_;
  }

 private:
  static constexpr int kMostTries = 3;

  // Of what GPUs cost alone, in whole steps of their prices.
  int64_t CostBound() const {
    Master costs(possible_, 0);
    if (!costs.Solve()) return 0;
    const int64_t granularity = Granularity(possible_);
    const double units = costs.bound() / static_cast<double>(granularity);
    return static_cast<int64_t>(std::ceil(units - 1e-6 * std::max(1.0, units * 1e-3))) *
           granularity;
  }

  // Whether what the linear program still sees is nothing to improve on the best by.
  bool NoBetter() const {
    return best_ && best_->layout.LeftOut() == 0 && AtBound(master_.bound());
  }

  bool AtBound(double root) const {
    const double all = static_cast<double>(best_->cost) + TakesPrice(possible_) * best_->takes;
    return all <= root + 1e-6 * std::max(1.0, root);
  }

  double LeastOf(const Service& service) const {
    if (IsFixed(service)) {
      const std::vector<Variant> variants = FixedVariants(service, possible_.kinds);
      double least = std::numeric_limits<double>::infinity();
      for (const Variant& variant : variants) least = std::min(least, TakesOf(service, variant));
      return least;
    }
    std::vector<Offer> offers;
    for (const ReplicaWay& way : service.ways) {
      offers.push_back({way.per_second, way.takes, std::numeric_limits<int64_t>::max()});
    }
    return CheapestCover(service.per_second, offers).bound;
  }

  // Fixes one service after the other to the variant that the linear program likes best, then lays
  // out what that makes.
  void Dive(double noise,
            const std::optional<std::pair<size_t, Master::Choice>>& first = std::nullopt) {
    std::vector<const Variant*> chosen(possible_.services.size(), nullptr);
    std::vector<Master::Choice> fixed;
    std::uniform_real_distribution<double> draw(0, 1);
    bool solved = true;
    std::vector<std::pair<size_t, Master::Choice>> whole;
    const auto fix = [&](size_t s, const Master::Choice& choice) {
      master_.Fix(choice);
      fixed.push_back(choice);
      kept_.push_back(choice.variant);
      chosen[s] = &kept_.back();
    };
    if (first) fix(first->first, first->second);
    for (size_t done = first ? 1 : 0; solved && done < chosen.size();) {
      solved = master_.Solve();
      if (!solved && !whole.empty()) {
        // What was fixed last leaves the others no room.
        for (const auto& [s, choice] : whole) {
          master_.Forbid(choice);
          chosen[s] = nullptr;
          --done;
        }
        whole.clear();
        solved = master_.Solve();
      }
      if (!solved || NoBetter()) break;
      whole.clear();
      // All that are whole already at once, and the best of the others.
      std::optional<std::pair<size_t, Master::Choice>> best;
      double most = -1;
      for (size_t s = 0; s < chosen.size(); ++s) {
        if (chosen[s] != nullptr) continue;
        for (const Master::Choice& choice : master_.variants(s)) {
          const double value = master_.value(choice);
          if (value <= kTolerance) continue;
          const double score = value + (noise > 0 ? noise * draw(random_) : 0);
          if (value >= 1 - 1e-6 && noise == 0) whole.emplace_back(s, choice);
          if (score > most) {
            most = score;
            best.emplace(s, choice);
          }
        }
      }
      if (!best) break;
      if (whole.empty()) whole.push_back(*best);
      for (const auto& [s, choice] : whole) {
        fix(s, choice);
        ++done;
      }
    }
    for (const Master::Choice& choice : fixed) master_.Free(choice);
    if (std::none_of(chosen.begin(), chosen.end(), [](const Variant* v) { return v == nullptr; })) {
      LayOut(chosen);
    }
    kept_.clear();
  }

  void LayOut(const std::vector<const Variant*>& chosen) {
    ReplicasAnswer answer;
    fleet::Problem fleet;
    fleet.kinds = possible_.kinds;
    for (size_t s = 0; s < chosen.size(); ++s) {
      const Service& service = possible_.services[s];
      for (const Part& part : *chosen[s]) {
        fleet::ItemClass item;
        item.count = part.count;
        item.gpus = service.gpus;
        for (const int w : part.ways) item.ways.push_back(service.ways[static_cast<size_t>(w)].way);
        fleet.classes.push_back(std::move(item));
        answer.items.push_back({services_[s], part.ways, part.count});
      }
    }
    fleet::SolverLimits limits;
    limits.steps = kFleetSteps;
    limits.seed = limits_.seed;
    answer.layout = fleet::Solve(fleet, limits);
    work_ += kFleetSteps / 4;
    answer.cost = answer.layout.cost;
    for (const fleet::Used& used : answer.layout.used) {
      for (const fleet::Used::Content& content : used.contents) {
        const ReplicasAnswer::Item& item = answer.items[static_cast<size_t>(content.item_class)];
        const int way = item.ways[static_cast<size_t>(content.way)];
        answer.takes += static_cast<double>(content.count) *
                        problem_.services[static_cast<size_t>(item.service)]
                            .ways[static_cast<size_t>(way)]
                            .takes;
      }
    }
    const auto rank = [](const ReplicasAnswer& one) {
      return std::tuple(one.layout.LeftOut(), one.cost, one.takes);
    };
    if (!best_ || rank(answer) < rank(*best_)) best_ = std::move(answer);
  }

  const ReplicasProblem& problem_;
  const ReplicasLimits limits_;
  const std::vector<int> services_;  // of the problem, that are possible
  const ReplicasProblem possible_;
  Master master_;
  std::mt19937_64 random_;
  std::list<Variant> kept_;
  int64_t work_ = 0;
  std::optional<ReplicasAnswer> best_;
};

}  // namespace

ReplicasAnswer ChooseReplicas(const ReplicasProblem& problem, const ReplicasLimits& limits) {
  std::vector<int> services, impossible;
  for (size_t s = 0; s < problem.services.size(); ++s) {
    (Bearable(problem.services[s], problem.kinds) ? services : impossible)
        .push_back(static_cast<int>(s));
  }
  // Where there are not GPUs enough, the last service that is asked for gives way.
  for (;; services.pop_back()) {
    ReplicasProblem possible;
    possible.kinds = problem.kinds;
    for (const int s : services) {
      possible.services.push_back(problem.services[static_cast<size_t>(s)]);
    }
    std::optional<ReplicasAnswer> answer;
    if (services.empty()) {
      answer.emplace();
    } else {
      answer = Chooser(problem, limits, services, std::move(possible)).Run();
    }
    if (answer && answer->layout.LeftOut() == 0) {
      std::sort(impossible.begin(), impossible.end());
      answer->impossible = impossible;
      return *std::move(answer);
    }
    impossible.push_back(services.back());
  }
}

}  // namespace tranche::serving
