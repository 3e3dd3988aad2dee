#include <gtest/gtest.h>

#include <memory>
#include <random>
#include <vector>

#include "world.h"

// Several processes of one slice, all at once.
namespace tranche::limiter_memory {
namespace {

constexpr int kCommands = 2500;

// Those whose cost is known before.
constexpr Op kOps[] = {
    Op::kRetain,       Op::kRelease,       Op::kCreateContext, Op::kDestroyContext,
    Op::kLinear,       Op::kLinear,        Op::kManaged,       Op::kPitch,
    Op::kFree,         Op::kFree,          Op::kFree,          Op::kAsync,
    Op::kAsync,        Op::kFreeAsync,     Op::kSynchronize,   Op::kCreatePool,
    Op::kFromPool,     Op::kDestroyPool,   Op::kKeepAll,       Op::kKeepNone,
    Op::kCreateHandle, Op::kReleaseHandle, Op::kMap,           Op::kUnmap,
    Op::kArray,        Op::kDestroyArray,  Op::kGraph,         Op::kTrimGraphs};
constexpr uint64_t kSizes[] = {1,         4096,      300000,    kMiB,      2 * kMiB,  5 * kMiB,
                               20 * kMiB, 33 * kMiB, 64 * kMiB, 90 * kMiB, 200 * kMiB};

template <typename T, size_t n>
T AnyOf(const T (&all)[n], std::mt19937* random) {
  return all[(*random)() % n];
}

TEST(LimiterCrowd, NeverHoldsMoreThanTheLimit) {
  constexpr size_t kTenants = 4;
  World world(SmallMachine());
  const auto slice = world.MakeSlice();
  std::mt19937 random(20261121);
  std::vector<std::unique_ptr<Tenant>> tenants(kTenants);
  std::vector<bool> busy(kTenants);
  int granted = 0, refused = 0;
  for (int i = 0; i < kCommands; ++i) {
    const size_t at = random() % kTenants;
    if (tenants[at] == nullptr || random() % 200 == 0) {
      // Killed in the middle of whatever it does.
      tenants[at] = world.Limited(*slice);
      busy[at] = false;
    }
    Reply reply;
    if (busy[at]) {
      ASSERT_TRUE(tenants[at]->Hear(&reply)) << "the process died";
      (reply.answer == 0 ? granted : refused) += 1;
    }
    tenants[at]->Tell(
        {AnyOf(kOps, &random), static_cast<uint32_t>(random() % 8), AnyOf(kSizes, &random)});
    busy[at] = true;
    ASSERT_LE(world.Used(), kLimit);
  }
  for (size_t at = 0; at < kTenants; ++at) {
    Reply reply;
    if (busy[at]) {
      ASSERT_TRUE(tenants[at]->Hear(&reply)) << "the process died";
    }
  }
  EXPECT_GT(granted, kCommands / 10);
  EXPECT_GT(refused, kCommands / 20);
  slice->Reap();
  // What small arrays and pools are charged for may be more, never less.
  EXPECT_GE(slice->Used(), world.Used());
  tenants.clear();
  slice->Reap();
  EXPECT_EQ(slice->Used(), 0u);
  EXPECT_EQ(world.Used(), 0u);
}

}  // namespace
}  // namespace tranche::limiter_memory
