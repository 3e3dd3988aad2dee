#include "decide/fleet/best_load.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace tranche::fleet {
namespace {

double BruteForce(int64_t memory, int64_t compute, const std::vector<LoadItem>& items, size_t i) {
  if (i == items.size()) return 0;
  double best = 0;
  for (int64_t n = 0; n <= items[i].most; ++n) {
    const int64_t m = memory - n * items[i].memory, c = compute - n * items[i].compute;
    if (m < 0 || c < 0) break;
    best = std::max(best, static_cast<double>(n) * items[i].value + BruteForce(m, c, items, i + 1));
  }
  return best;
}

RC_GTEST_PROP(BestLoad, IsWorthAsMuchAsAnyThatFits, ()) {
  std::vector<LoadItem> items;
  const int count = *rc::gen::inRange(1, 5);
  for (int i = 0; i < count; ++i) {
    items.push_back({*rc::gen::inRange<int64_t>(0, 50), *rc::gen::inRange<int64_t>(0, 50),
                     *rc::gen::inRange(0, 40) / 4.0, *rc::gen::inRange<int64_t>(0, 5)});
  }
  const BestLoad load = FindBestLoad(80, 100, items, 100000);
  RC_ASSERT(std::abs(load.value - BruteForce(80, 100, items, 0)) < 1e-6);
  RC_ASSERT(std::abs(load.bound - load.value) < 1e-6);
  int64_t memory = 0, compute = 0;
  double value = 0;
  for (size_t i = 0; i < items.size(); ++i) {
    RC_ASSERT(load.counts[i] <= items[i].most);
    memory += load.counts[i] * items[i].memory;
    compute += load.counts[i] * items[i].compute;
    value += static_cast<double>(load.counts[i]) * items[i].value;
  }
  RC_ASSERT(memory <= 80 && compute <= 100);
  RC_ASSERT(std::abs(value - load.value) < 1e-6);
}

TEST(BestLoad, SaysHowMuchBetterItCouldBeWhenItGivesUp) {
  std::vector<LoadItem> items;
  for (int i = 0; i < 30; ++i) items.push_back({7 + i, 9 + (i * 5) % 11, 10.0 + i % 7, 3});
  const BestLoad proven = FindBestLoad(100, 100, items, 1000000);
  const BestLoad hasty = FindBestLoad(100, 100, items, 5);
  EXPECT_LE(hasty.value, proven.value);
  EXPECT_GE(hasty.bound, proven.value);
}

}  // namespace
}  // namespace tranche::fleet
