#include "decide/placement/random.h"

#include <cmath>

namespace tranche::placement {
namespace {

uint64_t Rotated(uint64_t x, int by) { return x << by | x >> (64 - by); }

}  // namespace

Random::Random(uint64_t seed) {
  for (uint64_t& word : state_) {  // SplitMix64, so that small seeds differ in every bit
    seed += 0x9e3779b97f4a7c15u;
    uint64_t z = seed;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    word = z ^ (z >> 31);
  }
}

uint64_t Random::Next() {
  const uint64_t result = Rotated(state_[1] * 5, 7) * 9;
  const uint64_t t = state_[1] << 17;
  state_[2] ^= state_[0];
  state_[3] ^= state_[1];
  state_[1] ^= state_[2];
  state_[0] ^= state_[3];
  state_[2] ^= t;
  state_[3] = Rotated(state_[3], 45);
  return result;
}

uint64_t Random::Below(uint64_t count) {
  // Without the bias of a plain remainder: the incomplete last range is drawn again.
  const uint64_t limit = ~uint64_t{0} - ~uint64_t{0} % count;
  uint64_t drawn = Next();
  while (drawn >= limit) drawn = Next();
  return drawn % count;
}

double Random::Uniform() { return static_cast<double>(Next() >> 11) * 0x1.0p-53; }

double Random::Exponential() { return -std::log1p(-Uniform()); }

}  // namespace tranche::placement
