#include "limiter/free_ranges.h"

#include <gtest/gtest.h>

#include <random>
#include <vector>

namespace tranche::limiter {
namespace {

TEST(FreeRanges, NeighboursBecomeOne) {
  FreeRanges free = {};
  free.Add(100, 10);
  free.Add(120, 10);
  EXPECT_FALSE(free.Fits(11));
  free.Add(110, 10);
  EXPECT_TRUE(free.Fits(30));
  free.Remove(105, 5);
  EXPECT_TRUE(free.Fits(20));
  EXPECT_FALSE(free.Fits(21));
  free.Clear();
  EXPECT_FALSE(free.Fits(1));
}

TEST(FreeRanges, SaysWhatAMapOfAllPlacesSays) {
  constexpr uint64_t kPlaces = 600;
  std::mt19937 random(1);
  FreeRanges free = {};
  std::vector<bool> is_free(kPlaces);
  for (int i = 0; i < 3000; ++i) {
    const uint64_t base = random() % kPlaces,
                   bytes = 1 + random() % std::min<uint64_t>(20, kPlaces - base);
    const bool add = random() % 2 == 0;
    add ? free.Add(base, bytes) : free.Remove(base, bytes);
    for (uint64_t at = base; at < base + bytes; ++at) is_free[at] = add;
    uint64_t run = 0, longest = 0;
    for (const bool one : is_free) longest = std::max(longest, run = one ? run + 1 : 0);
    ASSERT_TRUE(longest == 0 || free.Fits(longest)) << i;
    ASSERT_FALSE(free.Fits(longest + 1)) << i;
  }
}

}  // namespace
}  // namespace tranche::limiter
