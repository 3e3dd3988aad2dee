#include <gtest/gtest.h>

#include <string>

#include "limiter/policy/label.h"
#include "world.h"

// What a load of code takes is known only afterwards. It is measured by what the process itself
// holds, so that whatever others do to the same GPU at the same time is theirs.
namespace tranche::limiter_memory {
namespace {

constexpr uint64_t kCode = 60 * kMiB;

class LimiterMeasure : public testing::Test {
 protected:
  // A process that stops in the middle of its first load, when it has looked at the GPU before.
  std::unique_ptr<Tenant> StopsWithin(World::Variables more = {}) {
    more.emplace_back("TRANCHE_TEST_STOP_AT",
                      std::to_string(static_cast<int>(limiter::Label::kMeasuring)));
    return world_.Limited(*slice_, TRANCHE_LABELLED_SHIM, more);
  }
  Reply Ask(Tenant& tenant, const Command& command, int expected = 0) {
    Reply reply;
    EXPECT_TRUE(tenant.Ask(command, &reply)) << command;
    EXPECT_EQ(reply.answer, expected) << command;
    return reply;
  }
  // Loads code in the one, and has the other do something when it is half done; what the load was
  // answered.
  int LoadWhile(Tenant& loader, Tenant& other, const Command& command) {
    loader.Tell({Op::kLoadModule, 0, kCode});
    EXPECT_TRUE(loader.AwaitStop());
    Ask(other, command);
    loader.GoOn();
    Reply reply;
    EXPECT_TRUE(loader.Hear(&reply));
    return reply.answer;
  }

  World world_{SmallMachine()};
  std::unique_ptr<Slice> slice_ = world_.MakeSlice(), others_ = world_.MakeSlice();
};

// Both what comes and what goes, so that nothing is refused and nothing is saved.
TEST_F(LimiterMeasure, WhatAnotherSliceDoesDuringALoadIsItsOwn) {
  const auto neighbour = world_.Limited(*others_);
  Ask(*neighbour, {Op::kRetain});
  const auto first = StopsWithin();
  Ask(*first, {Op::kRetain});
  const uint64_t before = slice_->Used();
  EXPECT_EQ(LoadWhile(*first, *neighbour, {Op::kLinear, 0, 450 * kMiB}), 0);
  EXPECT_EQ(slice_->Used() + others_->Used(), world_.Used());
  EXPECT_EQ(slice_->Used(), before + kCode);
  Ask(*first, {Op::kUnloadModule});
  EXPECT_EQ(slice_->Used(), before);

  const auto second = StopsWithin();
  Ask(*second, {Op::kRetain});
  EXPECT_EQ(LoadWhile(*second, *neighbour, {Op::kFree}), 0);
  EXPECT_EQ(slice_->Used() + others_->Used(), world_.Used());
}

// What is there already costs little to look up, and what it loads then is measured as well.
TEST_F(LimiterMeasure, LookingUpTakesWhatItLoads) {
  const auto neighbour = world_.Limited(*others_);
  Ask(*neighbour, {Op::kRetain});
  const auto tenant = StopsWithin({{"TRANCHE_TEST_STOP_TIME", "3"}});
  Ask(*tenant, {Op::kRetain});
  Ask(*tenant, {Op::kLoadModule, 0, 3 * kMiB});
  Ask(*tenant, {Op::kLoadLibrary, 0, kCode});
  const uint64_t before = slice_->Used();
  tenant->Tell({Op::kUseLibrary});
  ASSERT_TRUE(tenant->AwaitStop());
  Ask(*neighbour, {Op::kLinear, 0, 100 * kMiB});
  tenant->GoOn();
  Reply reply;
  ASSERT_TRUE(tenant->Hear(&reply));
  EXPECT_EQ(reply.answer, 0);
  EXPECT_EQ(slice_->Used(), before + kCode);
  for (int again = 0; again < 3; ++again) Ask(*tenant, {Op::kUseLibrary});
  EXPECT_EQ(slice_->Used() + others_->Used(), world_.Used());
}

TEST_F(LimiterMeasure, WhatAnotherProcessOfTheSliceDoesIsChargedOnce) {
  const auto neighbour = world_.Limited(*slice_);
  Ask(*neighbour, {Op::kRetain});
  const auto loader = StopsWithin();
  Ask(*loader, {Op::kRetain});
  EXPECT_EQ(LoadWhile(*loader, *neighbour, {Op::kLinear, 0, 100 * kMiB}), 0);
  EXPECT_EQ(slice_->Used(), world_.Used());
}

TEST_F(LimiterMeasure, WhatOtherThreadsDoIsChargedOnce) {
  const auto tenant = world_.Limited(*slice_);
  Ask(*tenant, {Op::kRetain});
  const uint64_t before = slice_->Used();
  Ask(*tenant, {Op::kLoadBesideThreads, 0, 5 * kMiB});
  EXPECT_EQ(slice_->Used(), world_.Used());
  EXPECT_EQ(slice_->Used(), before + 16 * 4 * kMiB) << "whole granules of code, of two threads";
}

// Without NVML only what is free can be looked at. Then the measure may be wrong, and whoever is
// refused for that has a second try.
TEST_F(LimiterMeasure, WithoutNvmlALoadThatAnotherSliceDisturbsIsTriedAgain) {
  const auto neighbour = world_.Limited(*others_);
  Ask(*neighbour, {Op::kRetain});
  const auto loader = StopsWithin({{"TRANCHE_REAL_LIBNVIDIA_ML", "/there/is/none"}});
  Ask(*loader, {Op::kRetain});
  EXPECT_EQ(LoadWhile(*loader, *neighbour, {Op::kLinear, 0, 440 * kMiB}), 0);
  EXPECT_EQ(slice_->Used() + others_->Used(), world_.Used());
  // What does not fit is refused all the same.
  Ask(*loader, {Op::kLinear, 0, kLimit - slice_->Used() - kCode / 2});
  Ask(*loader, {Op::kLoadModule, 0, kCode}, 2);
  EXPECT_EQ(slice_->table()->devices[0].counters.refused, 1u);
  EXPECT_EQ(slice_->table()->devices[0].counters.undone, 1u);
}

}  // namespace
}  // namespace tranche::limiter_memory
