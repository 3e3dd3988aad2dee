#pragma once

#include <vector>

#include "decide/placement/mig_valuation.h"

namespace tranche::placement {

// The valuation for a machine rather than a cluster: of one kind of GPU, of which instances are
// made one at a time. So `plan` and the daemon choose where an instance starts, and on which of
// several GPUs, as the simulator does. Immutable; pure.
class SliceValue {
 public:
  // Up to kMostSlots memory slots. `asked`, beside `profiles`: how often each was asked for.
  // Profiles that differ in engines only are the same to it.
  SliceValue(int slots, int compute, const std::vector<MigShape>& profiles,
             const std::vector<double>& asked);

  static constexpr int kMostSlots = 16;

  // In GPUs.
  double WorthOf(const MigRoom& taken) const { return valuation_.worth(taken); }
  double PriceOf(int profile) const {
    return valuation_.price(shape_of_[static_cast<size_t>(profile)]);
  }
  // What is gained by instances of that price where the GPU is worth `after` and not `before`, in
  // tenths of a GPU: less than that is noise. Of places with equal points on one GPU the one that
  // keeps the largest profiles possible is best, of GPUs the fullest.
  static int PointsAt(double price, double before, double after) {
    return MigValuation::PointsOf(price + after - before);
  }
  int PointsOf(int profile, double before, double after) const {
    return PointsAt(PriceOf(profile), before, after);
  }

 private:
  // Profiles that are alike, once.
  struct Distinct {
    std::vector<MigShape> shapes;
    std::vector<double> weights;
    std::vector<int> shape_of;  // by profile
  };
  static Distinct DistinctOf(const std::vector<MigShape>& profiles,
                             const std::vector<double>& asked);
  SliceValue(int slots, int compute, Distinct distinct);

  std::vector<int> shape_of_;
  MigValuation valuation_;
};

}  // namespace tranche::placement
