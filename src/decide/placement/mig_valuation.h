#pragma once

#include <cstdint>
#include <optional>
#include <vector>

namespace tranche::placement {

// A MIG profile as far as room goes: compute slices, memory slots, and the slots at which an
// instance may start.
struct MigShape {
  int compute = 0;
  int slots = 0;
  std::vector<int> starts;
  bool operator==(const MigShape&) const = default;
};

// What of a GPU in MIG mode is taken; bit i of `slots` is memory slot i.
struct MigRoom {
  uint32_t slots = 0;
  int compute = 0;
  bool operator==(const MigRoom&) const = default;
};

// How often each of these comes, as far as nobody has seen it: as much of a GPU is asked for by
// each size. Sums up to 1, so that it soon gives way to what is seen.
std::vector<double> PriorOf(int slots, int compute, const std::vector<MigShape>& shapes);

// valuation.h's idea for GPUs that are divided by MIG, which run out of memory slots and compute
// slices: a GPU in a given state is worth what the profiles that usually come could still make of
// it, softly, at their prices; a profile's price is its dual in the linear programme that covers
// the mix with layouts. So a 1g goes where it spoils nothing, and a 3g costs the half that nobody
// else gets. Immutable; pure.
class MigValuation {
 public:
  // Up to 16 slots. `weights`, beside `shapes`: how often each comes; 0 for one that never did.
  MigValuation(int slots, int compute, std::vector<MigShape> shapes, std::vector<double> weights,
               double size_weight = 0.8, double softness = 0.03);

  struct Choice {
    int start = 0;
    // In GPUs: the price of what is placed, less what the GPU loses.
    double gain = 0;
    // The gain in tenths of a GPU: what is less is noise. Of several GPUs the one with the most
    // points is best, then the one with the most compute slices taken, then the first.
    int points = 0;
  };
  static int PointsOf(double gain);
  // Where on a GPU an instance does least harm: has the most points, and of those keeps the most
  // outlook; absent where it does not fit. The lowest start among equals.
  std::optional<Choice> Best(const MigRoom& taken, int shape) const;

  bool Fits(const MigRoom& taken, int shape, int start) const;
  MigRoom With(const MigRoom& taken, int shape, int start) const;
  // In GPUs.
  double price(int shape) const { return prices_[static_cast<size_t>(shape)]; }
  double worth(const MigRoom& taken) const { return worth_[Index(taken)]; }
  // How large the largest shape is that still fits, and then how many shapes at how many starts:
  // the more, the better. For ties.
  int OutlookOf(const MigRoom& taken) const;

 private:
  // A way to make one instance more.
  struct Way {
    int shape = 0;
    int start = 0;
    uint32_t slots = 0;
    int compute = 0;
  };

  size_t Index(const MigRoom& taken) const {
    return taken.slots * static_cast<size_t>(compute_ + 1) + static_cast<size_t>(taken.compute);
  }
  // The most valuable layout at these prices, as numbers of each shape.
  double BestLayout(const std::vector<double>& prices, std::vector<double>* layout) const;
  void FindWays();
  bool Fits(const MigRoom& taken, const Way& way) const {
    return (taken.slots & way.slots) == 0 && taken.compute + way.compute <= compute_;
  }
  static MigRoom With(const MigRoom& taken, const Way& way) {
    return {taken.slots | way.slots, taken.compute + way.compute};
  }
  void Price(const std::vector<double>& weights, double size_weight);
  void Value(const std::vector<double>& weights, double softness);

  int slots_;
  int compute_;
  std::vector<MigShape> shapes_;
  std::vector<double> prices_;
  std::vector<double> worth_;  // by Index
  std::vector<Way> ways_;      // all, by shape
  // What instances can make of an empty GPU, by Index, the fullest first.
  std::vector<MigRoom> reachable_;
};

}  // namespace tranche::placement
