#pragma once

#include <vector>

#include "decide/placement/cluster.h"
#include "decide/placement/policy.h"

namespace tranche::placement {

// The measure of Weng et al., "Beware of Fragmentation" (ATC 2023): free GPU that a typical
// workload cannot use, in expectation over the workloads that usually come.
class Fragmentation {
 public:
  // The most frequent of `mix` that together make up 95 % of it. Memory plays no part.
  explicit Fragmentation(const std::vector<WeightedRequest>& mix);

  // In milli-GPU. Of GPUs that MIG may divide, or does, free is what no instance has of the compute
  // slices, and whoever wants an instance cannot use those on which none would fit.
  double OfNode(const Node& node) const;
  double OfCluster(const Cluster& cluster) const;
  int shapes() const { return static_cast<int>(shapes_.size()); }

 private:
  struct Shape {
    int cpu_milli = 0;
    int gpu_milli = 0;
    int gpus = 0;
    ModelSet models = kAnyModel;
    double share = 0;
    int mig = 0;
  };

  double OfMigNode(const Node& node) const;

  std::vector<Shape> shapes_;
  double cpu_only_ = 0;  // their share: to them every free GPU is lost
};

}  // namespace tranche::placement
