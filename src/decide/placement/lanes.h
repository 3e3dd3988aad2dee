#pragma once

#include <cstring>

namespace tranche::placement {

// Numbers that are worked on together: one per price of CPU. Vectors of the compiler's, so that
// each operation is six instructions on the smallest x86-64, in one order everywhere.
class Lanes {
 public:
  static constexpr int kCount = 24;

  static Lanes Of(float value) {
    Lanes all;
    for (Four& four : all.four_) four = Four{value, value, value, value};
    return all;
  }
  static Lanes Load(const float* from) {
    Lanes all;
    std::memcpy(all.four_, from, sizeof all.four_);
    return all;
  }
  void Store(float* to) const { std::memcpy(to, four_, sizeof four_); }

  Lanes& operator+=(const Lanes& other) {
    for (int i = 0; i < kFours; ++i) four_[i] += other.four_[i];
    return *this;
  }
  Lanes& operator-=(const Lanes& other) {
    for (int i = 0; i < kFours; ++i) four_[i] -= other.four_[i];
    return *this;
  }
  Lanes& operator*=(float by) {
    for (Four& four : four_) four *= Four{by, by, by, by};
    return *this;
  }
  friend Lanes operator+(Lanes a, const Lanes& b) { return a += b; }
  friend Lanes operator-(Lanes a, const Lanes& b) { return a -= b; }
  friend Lanes operator*(Lanes a, float by) { return a *= by; }

  static Lanes Larger(const Lanes& a, const Lanes& b) {
    Lanes all;
    for (int i = 0; i < kFours; ++i) {
      all.four_[i] = a.four_[i] > b.four_[i] ? a.four_[i] : b.four_[i];
    }
    return all;
  }
  float Least() const {
    Four least = four_[0];
    for (int i = 1; i < kFours; ++i) least = four_[i] < least ? four_[i] : least;
    const float a = least[0] < least[1] ? least[0] : least[1];
    const float b = least[2] < least[3] ? least[2] : least[3];
    return a < b ? a : b;
  }
  // e to the power of each, for x <= 0; below -80 it is 0. Within 2e-7 of the true value.
  Lanes Exponential() const {
    Lanes all;
    for (int i = 0; i < kFours; ++i) all.four_[i] = Exponential(four_[i]);
    return all;
  }

  float operator[](int i) const { return four_[i / 4][i % 4]; }

 private:
  static constexpr int kFours = kCount / 4;
  using Four = float __attribute__((vector_size(16)));
  using FourInts = int __attribute__((vector_size(16)));

  static Four All(float x) { return Four{x, x, x, x}; }
  static Four Exponential(Four x) {
    const Four floor = All(-80.0f);
    const FourInts gone = x < floor;
    x = x < floor ? floor : x;
    // 2^n * e^f with f in [-ln2/2, ln2/2]: adding 1.5 * 2^23 rounds to whole numbers.
    const Four shifted = x * All(1.44269504f) + All(12582912.0f);
    const Four n = shifted - All(12582912.0f);
    const Four f = x - n * All(0.693359375f) + n * All(2.12194440e-4f);
    Four sum = All(1.0f / 720);
    sum = sum * f + All(1.0f / 120);
    sum = sum * f + All(1.0f / 24);
    sum = sum * f + All(1.0f / 6);
    sum = sum * f + All(0.5f);
    sum = sum * f + All(1.0f);
    sum = sum * f + All(1.0f);
    FourInts bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    bits = (bits - 0x4b400000 + 127) << 23;
    Four power;
    std::memcpy(&power, &bits, sizeof power);
    Four result = sum * power;
    std::memcpy(&bits, &result, sizeof bits);
    bits &= ~gone;
    std::memcpy(&result, &bits, sizeof bits);
    return result;
  }

  Four four_[kFours];
};

}  // namespace tranche::placement
