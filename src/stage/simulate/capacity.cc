#include "stage/simulate/capacity.h"

#include <fmt/format.h>

#include <algorithm>
#include <numeric>

#include "stage/simulate/replay.h"

namespace tranche::simulate {
namespace {

using placement::NodeShape;

std::optional<double> PriceOf(const NodeShape& shape, const std::vector<GpuCosts>& costs) {
  const size_t model = static_cast<size_t>(shape.model);
  if (shape.gpus == 0) return 0;
  if (model >= costs.size() || !costs[model].price_per_hour) return std::nullopt;
  return shape.gpus * *costs[model].price_per_hour;
}

class Search {
 public:
  Search(const Fleet& kinds, const std::vector<TimedWorkload>& workloads,
         const std::vector<placement::WeightedRequest>& mix, const std::string& policy,
         const TimelineOptions& options, const CapacityTarget& target, int most_nodes,
         const std::function<void(const std::string&)>& progress)
      : kinds_(kinds),
        workloads_(workloads),
        mix_(mix),
        fragmentation_(mix),
        policy_(policy),
        options_(options),
        target_(target),
        most_nodes_(most_nodes),
        progress_(progress) {
    for (const NodeShape& shape : kinds.nodes) {
      if (std::find(shapes_.begin(), shapes_.end(), shape) == shapes_.end()) {
        shapes_.push_back(shape);
      }
    }
  }

  CapacityFindings Go() {
    CapacityFindings findings;
    for (size_t kind = 0; kind < shapes_.size(); ++kind) {
      std::vector<int> counts(shapes_.size(), 0);
      const std::string never = WhyNever(shapes_[kind]);
      if (!never.empty()) {
        findings.none.push_back({shapes_[kind], never});
        continue;
      }
      const auto count = Least(&counts, kind, 1, most_nodes_);
      if (!count) {
        findings.none.push_back(
            {shapes_[kind], fmt::format("{} of them do not hold it either", most_nodes_)});
        continue;
      }
      findings.answers.push_back(AnswerOf(counts));
    }
    if (shapes_.size() > 1) {
      if (auto mixed = Mixed(); mixed) findings.answers.push_back(std::move(*mixed));
    }
    std::stable_sort(findings.answers.begin(), findings.answers.end(),
                     [](const CapacityAnswer& a, const CapacityAnswer& b) {
                       const double left = a.cost_per_hour.value_or(a.gpus);
                       const double right = b.cost_per_hour.value_or(b.gpus);
                       return left != right ? left < right : a.nodes.size() < b.nodes.size();
                     });
    return findings;
  }

 private:
  // Workloads that such a node could not hold if it were empty: they would miss however many there
  // are.
  std::string WhyNever(const NodeShape& shape) const {
    const placement::Cluster one({shape}, kinds_.kinds);
    size_t never = 0;
    for (const TimedWorkload& workload : workloads_) {
      never += Fits(one.node(0), workload.request) ? 0 : 1;
    }
    if (static_cast<double>(never) <= target_.may_miss * static_cast<double>(workloads_.size())) {
      return "";
    }
    return fmt::format("{} of {} workloads fit no such node", never, workloads_.size());
  }

  TimelineResult Run(const std::vector<int>& counts) const {
    Fleet fleet{{}, kinds_.models, kinds_.kinds, kinds_.mig_profiles};
    std::string what;
    for (size_t kind = 0; kind < counts.size(); ++kind) {
      fleet.nodes.insert(fleet.nodes.end(), static_cast<size_t>(counts[kind]), shapes_[kind]);
      what += fmt::format("{}{}", kind == 0 ? "" : "+", counts[kind]);
    }
    progress_(what + " nodes");
    const placement::Cluster cluster = ShuffledCluster(fleet, options_.seed);
    placement::Scheduler scheduler(cluster, MakePolicy(policy_, cluster, mix_, options_.seed));
    return Simulate(scheduler, workloads_, fragmentation_, options_);
  }

  double Missed(const TimelineResult& result) const {
    // Whoever gave up before the objective had passed was not served either.
    const bool counted =
        options_.wait_slo && options_.patience && *options_.patience > *options_.wait_slo;
    const int64_t missed = result.slo_misses + result.never_fits + (counted ? 0 : result.gave_up);
    return static_cast<double>(missed) / static_cast<double>(workloads_.size());
  }

  bool Holds(const std::vector<int>& counts) const {
    if (std::accumulate(counts.begin(), counts.end(), 0) == 0) return false;
    const TimelineResult result = Run(counts);
    if (target_.most_allocation &&
        result.allocation_percent_mean > 100 * *target_.most_allocation) {
      return false;
    }
    return Missed(result) <= target_.may_miss;
  }

  // Sets the count of one kind to the least with which all hold together.
  std::optional<int> Least(std::vector<int>* counts, size_t kind, int first, int most) const {
    const auto count = SmallestThatHolds(first, most, [&](int n) {
      (*counts)[kind] = n;
      return Holds(*counts);
    });
    if (count) (*counts)[kind] = *count;
    return count;
  }

  std::optional<CapacityAnswer> Mixed() const {
    // As the fleet is mixed now, but as many times as it takes.
    std::vector<int> base(shapes_.size(), 0);
    for (const NodeShape& shape : kinds_.nodes) {
      ++base[static_cast<size_t>(std::find(shapes_.begin(), shapes_.end(), shape) -
                                 shapes_.begin())];
    }
    std::vector<int> counts;
    const int all = static_cast<int>(kinds_.nodes.size());
    if (all > most_nodes_) return std::nullopt;
    const auto times = SmallestThatHolds(1, most_nodes_ / all, [&](int n) {
      counts = base;
      for (int& count : counts) count *= n;
      return Holds(counts);
    });
    if (!times) return std::nullopt;
    counts = base;
    for (int& count : counts) count *= *times;
    std::vector<size_t> order(shapes_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    const auto dear = [this](size_t kind) {
      return PriceOf(shapes_[kind], options_.costs).value_or(shapes_[kind].gpus);
    };
    std::stable_sort(order.begin(), order.end(),
                     [&](size_t a, size_t b) { return dear(a) > dear(b); });
    for (const size_t kind : order) {
      if (counts[kind] == 0) continue;
      // What holds now is known to; of less, the least.
      int good = counts[kind];
      int bad = -1;
      while (good - bad > 1) {
        counts[kind] = bad + (good - bad) / 2;
        (Holds(counts) ? good : bad) = counts[kind];
      }
      counts[kind] = good;
    }
    size_t kinds = 0;
    for (const int count : counts) kinds += count > 0 ? 1 : 0;
    if (kinds < 2) return std::nullopt;  // found as one kind alone
    CapacityAnswer answer = AnswerOf(counts);
    answer.mixed = true;
    return answer;
  }

  CapacityAnswer AnswerOf(const std::vector<int>& counts) const {
    CapacityAnswer answer;
    double cost = 0;
    bool known = true;
    for (size_t kind = 0; kind < counts.size(); ++kind) {
      if (counts[kind] == 0) continue;
      answer.nodes.push_back({shapes_[kind], counts[kind]});
      answer.gpus += counts[kind] * shapes_[kind].gpus;
      const auto price = PriceOf(shapes_[kind], options_.costs);
      known = known && price.has_value();
      cost += counts[kind] * price.value_or(0);
    }
    if (known) answer.cost_per_hour = cost;
    answer.result = Run(counts);
    answer.missed_share = Missed(answer.result);
    for (size_t kind = 0; kind < counts.size(); ++kind) {
      std::vector<int> less = counts;
      if (less[kind] == 0 || std::accumulate(less.begin(), less.end(), 0) == 1) continue;
      --less[kind];
      const double missed = Missed(Run(less));
      answer.missed_share_with_less = std::min(missed, answer.missed_share_with_less.value_or(1));
    }
    return answer;
  }

  const Fleet& kinds_;
  const std::vector<TimedWorkload>& workloads_;
  const std::vector<placement::WeightedRequest>& mix_;
  const placement::Fragmentation fragmentation_;
  const std::string& policy_;
  const TimelineOptions& options_;
  const CapacityTarget& target_;
  const int most_nodes_;
  const std::function<void(const std::string&)>& progress_;
  std::vector<NodeShape> shapes_;
};

}  // namespace

std::optional<int> SmallestThatHolds(int first, int most, const std::function<bool(int)>& holds) {
  int bad = first - 1;
  int good = first;
  while (!holds(good)) {
    if (good >= most) return std::nullopt;
    bad = good;
    good = std::min(most, 2 * good);
  }
  while (good - bad > 1) {
    const int middle = bad + (good - bad) / 2;
    (holds(middle) ? good : bad) = middle;
  }
  return good;
}

CapacityFindings FindCapacity(const Fleet& kinds, const std::vector<TimedWorkload>& workloads,
                              const std::vector<placement::WeightedRequest>& mix,
                              const std::string& policy, const TimelineOptions& options,
                              const CapacityTarget& target, int most_nodes,
                              const std::function<void(const std::string&)>& progress) {
  return Search(kinds, workloads, mix, policy, options, target, most_nodes, progress).Go();
}

}  // namespace tranche::simulate
