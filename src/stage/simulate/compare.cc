#include "stage/simulate/compare.h"

#include <algorithm>
#include <cmath>

namespace tranche::simulate {
namespace {

MeanAndSpread Summary(const std::vector<double>& values) {
  MeanAndSpread summary;
  const double n = static_cast<double>(values.size());
  for (const double value : values) summary.mean += value / n;
  if (values.size() < 2) return summary;
  double squares = 0;
  for (const double value : values) {
    squares += (value - summary.mean) * (value - summary.mean);
  }
  summary.sd = std::sqrt(squares / (n - 1));
  return summary;
}

void AddScaled(const std::vector<int64_t>& counts, double by, std::vector<double>* sums) {
  sums->resize(std::max(sums->size(), counts.size()), 0.0);
  for (size_t i = 0; i < counts.size(); ++i) (*sums)[i] += static_cast<double>(counts[i]) * by;
}

}  // namespace

std::vector<PolicyOutcome> ComparePolicies(
    const Fleet& fleet, const std::vector<TracePod>& pods, const CompareOptions& options,
    Clock& clock, const std::function<void(const std::string&, size_t, size_t)>& progress) {
  const std::vector<placement::WeightedRequest> mix = MixOf(pods);
  const placement::Fragmentation fragmentation(mix);
  std::vector<PolicyOutcome> outcomes;
  std::vector<std::vector<double>> allocations(options.policies.size());
  std::vector<double> decisions(options.policies.size(), 0.0);
  for (const std::string& policy : options.policies) {
    outcomes.emplace_back();
    outcomes.back().policy = policy;
  }
  const double part = 1.0 / static_cast<double>(options.seeds.size());
  const size_t replays = options.seeds.size() * options.policies.size();
  size_t done = 0;
  for (const uint64_t seed : options.seeds) {
    const placement::Cluster cluster = ShuffledCluster(fleet, seed);
    const std::vector<Arrival> arrivals =
        options.departures
            ? ComingAndGoing(pods, cluster.total_gpu_milli(), options.load, options.arrivals, seed)
            : Inflated(pods, cluster.total_gpu_milli(), options.load, seed);
    for (size_t p = 0; p < options.policies.size(); ++p) {
      progress(options.policies[p], done++, replays);
      const Duration begin = clock.Monotonic();
      placement::Scheduler scheduler(cluster, MakePolicy(options.policies[p], cluster, mix, seed));
      const ReplayResult result =
          Replay(scheduler, arrivals, fragmentation, {options.repack, options.departures});
      const double seconds = std::chrono::duration<double>(clock.Monotonic() - begin).count();
      PolicyOutcome& outcome = outcomes[p];
      allocations[p].push_back(result.allocation_percent);
      outcome.fragmentation_percent += part * result.fragmentation_percent;
      outcome.placed += part * static_cast<double>(result.placed);
      outcome.refused += part * static_cast<double>(result.refused);
      outcome.cpu_only_placed += part * static_cast<double>(result.cpu_only_placed);
      outcome.moved += part * static_cast<double>(result.moved);
      outcome.seconds += part * seconds;
      decisions[p] += part * static_cast<double>(arrivals.size());
      AddScaled(result.asked_by_gpus, part, &outcome.asked_by_gpus);
      AddScaled(result.refused_by_gpus, part, &outcome.refused_by_gpus);
    }
  }
  for (size_t p = 0; p < outcomes.size(); ++p) {
    outcomes[p].allocation_percent = Summary(allocations[p]);
    if (outcomes[p].seconds > 0) {
      outcomes[p].placements_per_second = decisions[p] / outcomes[p].seconds;
    }
  }
  return outcomes;
}

}  // namespace tranche::simulate
