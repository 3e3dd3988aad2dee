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
};

// What of a GPU in MIG mode is taken; bit i of `slots` is memory slot i.
struct MigRoom {
  uint32_t slots = 0;
  int compute = 0;
  bool operator==(const MigRoom&) const = default;
};

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
  // Where on a GPU an instance does least harm; absent where it does not fit. The lowest start
  // among equals.
  std::optional<Choice> Best(const MigRoom& taken, int shape) const;

  bool Fits(const MigRoom& taken, int shape, int start) const;
  MigRoom With(const MigRoom& taken, int shape, int start) const;
  // In GPUs.
  double price(int shape) const { return prices_[static_cast<size_t>(shape)]; }
  double worth(const MigRoom& taken) const { return worth_[Index(taken)]; }

 private:
  size_t Index(const MigRoom& taken) const {
    return taken.slots * static_cast<size_t>(compute_ + 1) + static_cast<size_t>(taken.compute);
  }
  // The most valuable layout at these prices, as numbers of each shape.
  double BestLayout(const std::vector<double>& prices, std::vector<double>* layout) const;
  void Price(const std::vector<double>& weights, double size_weight);
  void Value(const std::vector<double>& weights, double softness);

  int slots_;
  int compute_;
  std::vector<MigShape> shapes_;
  std::vector<double> prices_;
  std::vector<double> worth_;  // by Index
};

}  // namespace tranche::placement
