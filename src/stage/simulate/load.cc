#include "stage/simulate/load.h"

#include <map>

#include "decide/placement/random.h"

namespace tranche::simulate {

std::vector<Arrival> Inflated(const std::vector<TracePod>& pods, int64_t gpu_milli, double ratio,
                              uint64_t seed) {
  placement::Random random(seed);
  std::vector<Arrival> arrivals;
  int64_t asked = 0;
  int64_t asked_once = 0;
  for (const TracePod& pod : pods) {
    arrivals.push_back({pod.request});
    asked_once += pod.request.total_milli();
  }
  asked = asked_once;
  random.Shuffle(arrivals);
  const int64_t most = static_cast<int64_t>(ratio * static_cast<double>(gpu_milli));
  if (asked_once == 0) return arrivals;  // nothing that could grow
  while (asked <= most) {
    const placement::Request& drawn = pods[random.Below(pods.size())].request;
    if (asked + drawn.total_milli() > most) break;
    arrivals.push_back({drawn});
    asked += drawn.total_milli();
  }
  while (asked > most && !arrivals.empty()) {
    const auto at = arrivals.begin() + static_cast<ptrdiff_t>(random.Below(arrivals.size()));
    asked -= at->request.total_milli();
    arrivals.erase(at);
  }
  return arrivals;
}

std::vector<Arrival> ComingAndGoing(const std::vector<TracePod>& pods, int64_t gpu_milli,
                                    double load, int count, uint64_t seed) {
  placement::Random random(seed);
  double asked = 0;
  for (const TracePod& pod : pods) asked += pod.request.total_milli();
  const double mean = asked / static_cast<double>(pods.size());
  const double lifetime = mean > 0 ? load * static_cast<double>(gpu_milli) / mean : 0;
  std::vector<Arrival> arrivals;
  for (int i = 0; i < count; ++i) {
    const TracePod& drawn = pods[random.Below(pods.size())];
    arrivals.push_back({drawn.request, lifetime * random.Exponential(), drawn.preemptible});
  }
  return arrivals;
}

std::vector<placement::WeightedRequest> MixOf(const std::vector<TracePod>& pods) {
  std::map<placement::Request, double> counts;
  for (const TracePod& pod : pods) counts[pod.request] += 1;
  std::vector<placement::WeightedRequest> mix;
  for (const auto& [request, count] : counts) mix.push_back({request, count});
  return mix;
}

}  // namespace tranche::simulate
