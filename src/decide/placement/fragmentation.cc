#include "decide/placement/fragmentation.h"

#include <algorithm>
#include <array>
#include <map>
#include <tuple>

namespace tranche::placement {

Fragmentation::Fragmentation(const std::vector<WeightedRequest>& mix) {
  using Key = std::tuple<int, int, int, ModelSet, int>;
  std::map<Key, double> weights;
  double total = 0;
  for (const auto& [request, weight] : mix) {
    weights[{request.cpu_milli, request.gpu_milli, request.gpus, request.models, request.mig}] +=
        weight;
    total += weight;
  }
  std::vector<std::pair<Key, double>> sorted(weights.begin(), weights.end());
  std::sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) {
    return a.second != b.second ? a.second > b.second : a.first > b.first;
  });
  double sum = 0;
  size_t count = 0;
  while (count < sorted.size() && sum < 0.95 * total) sum += sorted[count++].second;
  for (size_t i = 0; i < count; ++i) {
    const auto& [key, weight] = sorted[i];
    const auto& [cpu, milli, gpus, models, mig] = key;
    if (gpus == 0) {
      cpu_only_ += weight / sum;
    } else {
      shapes_.push_back({cpu, milli, gpus, models, weight / sum, mig});
    }
  }
}

double Fragmentation::OfMigNode(const Node& node) const {
  std::array<int, kMaxGpusPerNode> free{};
  int all = 0;
  for (size_t g = 0; g < node.gpus; ++g) {
    free[g] = node.gpu_free[g] + node.mig_free_milli(g);
    all += free[g];
  }
  double lost = cpu_only_ * all;
  for (const Shape& shape : shapes_) {
    int wasted = 0;
    int usable = 0;
    for (size_t g = 0; g < node.gpus; ++g) {
      bool fits = false;
      if (shape.mig == 0) {
        fits = node.gpu_free[g] >= shape.gpu_milli;
      } else {
        for (size_t place = 0; place < node.mig->places.size() && !fits; ++place) {
          fits = Serves(*node.mig, node.mig_gpus[g], place, shape.mig) && node.HasPlace(g, place);
        }
      }
      wasted += fits ? 0 : free[g];
      usable += fits ? 1 : 0;
    }
    const bool never = node.cpu_free < shape.cpu_milli || (shape.models >> node.model & 1) == 0 ||
                       usable < shape.gpus;
    lost += shape.share * (never ? all : wasted);
  }
  return lost;
}

double Fragmentation::OfNode(const Node& node) const {
  if (node.mig != nullptr) return OfMigNode(node);
  // What is free, sorted, and the sum of what is smaller than each.
  int free[kMaxGpusPerNode];
  const int count = node.gpus;
  for (int g = 0; g < count; ++g) {
    int at = g;
    const int milli = node.gpu_free[static_cast<size_t>(g)];
    for (; at > 0 && free[at - 1] > milli; --at) free[at] = free[at - 1];
    free[at] = milli;
  }
  int below[kMaxGpusPerNode + 1];
  below[0] = 0;
  for (int g = 0; g < count; ++g) below[g + 1] = below[g] + free[g];
  const int all = below[count];
  if (all == 0) return 0;

  double lost = cpu_only_ * all;
  for (const Shape& shape : shapes_) {
    int wasted = all;
    if (node.cpu_free >= shape.cpu_milli && (shape.models >> node.model & 1) != 0) {
      int smaller = 0;
      while (smaller < count && free[smaller] < shape.gpu_milli) ++smaller;
      if (count - smaller >= shape.gpus) wasted = below[smaller];
    }
    lost += shape.share * wasted;
  }
  return lost;
}

double Fragmentation::OfCluster(const Cluster& cluster) const {
  double sum = 0;
  for (const Node& node : cluster.nodes()) sum += OfNode(node);
  return sum;
}

}  // namespace tranche::placement
