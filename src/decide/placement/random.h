#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tranche::placement {

// xoshiro256**: the same numbers everywhere, unlike the distributions and shuffles of the standard
// library.
class Random {
 public:
  explicit Random(uint64_t seed);

  uint64_t Next();
  // 0..count-1, each as likely as the others; count > 0.
  uint64_t Below(uint64_t count);
  // [0, 1)
  double Uniform();
  // Of mean 1.
  double Exponential();

  template <typename T>
  void Shuffle(std::vector<T>& items) {
    for (std::size_t i = items.size(); i > 1; --i) std::swap(items[i - 1], items[Below(i)]);
  }

 private:
  uint64_t state_[4];
};

}  // namespace tranche::placement
