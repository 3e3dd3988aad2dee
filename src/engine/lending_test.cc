#include "engine/lending.h"

#include <gtest/gtest.h>
#include <rapidcheck/gtest.h>

namespace tranche {
namespace {

TEST(LendMemory, OneBorrowerHasWhatIsFreeUpToItsLimit) {
  const std::vector<Borrower> one = {{"a", GiB(10), GiB(30)}};
  EXPECT_EQ(LendMemory(GiB(5), one).at("a"), GiB(15));
  EXPECT_EQ(LendMemory(GiB(50), one).at("a"), GiB(30));
  EXPECT_EQ(LendMemory(GiB(0), one).at("a"), GiB(10)) << "its own is never lent to others";
}

TEST(LendMemory, WhatOneDoesNotWantIsTheOthers) {
  const auto may_hold =
      LendMemory(GiB(12), {{"a", GiB(1), GiB(2)}, {"b", GiB(1), GiB(40)}, {"c", GiB(1), GiB(50)}});
  EXPECT_EQ(may_hold.at("a"), GiB(2));
  EXPECT_EQ(may_hold.at("b"), may_hold.at("c"));
  EXPECT_EQ(may_hold.at("b") + may_hold.at("c"), GiB(13));
}

RC_GTEST_PROP(LendMemory, NeverLendsMoreThanIsFree, ()) {
  std::vector<Borrower> borrowers;
  const int count = *rc::gen::inRange(0, 6);
  for (int i = 0; i < count; ++i) {
    const Bytes reserved = MiB(static_cast<uint64_t>(*rc::gen::inRange(0, 5000)));
    borrowers.push_back({std::to_string(i), reserved,
                         reserved + MiB(static_cast<uint64_t>(*rc::gen::inRange(0, 5000)))});
  }
  const Bytes free = MiB(static_cast<uint64_t>(*rc::gen::inRange(0, 20000)));
  const auto may_hold = LendMemory(free, borrowers);
  Bytes lent, wished;
  for (const Borrower& borrower : borrowers) {
    RC_ASSERT(may_hold.at(borrower.id) >= borrower.reserved);
    RC_ASSERT(may_hold.at(borrower.id) <= borrower.limit);
    lent += may_hold.at(borrower.id) - borrower.reserved;
    wished += borrower.limit - borrower.reserved;
  }
  RC_ASSERT(lent <= free);
  // Nothing that somebody would have is left, but for what a granule rounds off.
  RC_ASSERT(lent + MiB(2) * static_cast<uint64_t>(count + 1) > std::min(free, wished));
}

}  // namespace
}  // namespace tranche
