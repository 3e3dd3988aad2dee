#include <gtest/gtest.h>

#include <random>

#include "world.h"

// Small arrays, which share granules with each other and with small linear memory, nobody being
// told with which.
namespace tranche::limiter_memory {
namespace {

class LimiterArrays : public testing::Test {
 protected:
  Reply Ask(Tenant& tenant, const Command& command) {
    Reply reply;
    EXPECT_TRUE(tenant.Ask(command, &reply)) << command;
    return reply;
  }
  // Anything, by two processes; look() after each step. Then all of it goes.
  template <typename Look>
  void Churn(const World::Variables& more, uint32_t seed, const Look& look) {
    constexpr Op kOps[] = {Op::kSmallArray, Op::kSmallArray,    Op::kDestroyArray,
                           Op::kMipmap,     Op::kDestroyMipmap, Op::kLinear,
                           Op::kLinear,     Op::kFree,          Op::kFree,
                           Op::kArray,      Op::kLoadModule,    Op::kUnloadModule};
    constexpr uint64_t kSizes[] = {1, 4096, 70000, 300000, kMiB, 3 * kMiB / 2, 2 * kMiB - 512};
    constexpr int kSteps = 300;
    std::mt19937 random(seed);
    const std::unique_ptr<Tenant> tenants[] = {world_.Limited(*slice_, TRANCHE_SHIM, more),
                                               world_.Limited(*slice_, TRANCHE_SHIM, more)};
    for (const auto& tenant : tenants) ASSERT_EQ(Ask(*tenant, {Op::kRetain}).answer, 0);
    const uint64_t before = slice_->Used();
    ASSERT_EQ(before, world_.Used());
    for (int i = 0; i < kSteps; ++i) {
      const Command command = {kOps[random() % std::size(kOps)],
                               static_cast<uint32_t>(random() % 9),
                               kSizes[random() % std::size(kSizes)]};
      SCOPED_TRACE(testing::Message() << "step " << i << ": " << command);
      Ask(*tenants[random() % 2], command);
      ASSERT_LE(world_.Used(), kLimit);
      look();
      if (HasFailure()) return;
    }
    for (const auto& tenant : tenants) {
      for (const Op op : {Op::kDestroyArray, Op::kDestroyMipmap, Op::kFree, Op::kUnloadModule})
        while (Ask(*tenant, {op}).answer == 0) {
        }
    }
    EXPECT_EQ(slice_->Used(), before);
    EXPECT_EQ(world_.Used(), before);
  }

  World world_{SmallMachine()};
  std::unique_ptr<Slice> slice_ = world_.MakeSlice();
};

TEST_F(LimiterArrays, AreChargedWhatTheyTake) {
  for (const uint32_t seed : {1u, 2u, 3u})
    Churn({}, seed, [&] { EXPECT_EQ(slice_->Used(), world_.Used()); });
}

// Without NVML nobody says what the process holds: then each is charged for a granule.
TEST_F(LimiterArrays, WithoutNvmlAreNeverChargedTooLittle) {
  Churn({{"TRANCHE_REAL_LIBNVIDIA_ML", "/there/is/none"}}, 4,
        [&] { EXPECT_GE(slice_->Used(), world_.Used()); });
}

TEST_F(LimiterArrays, ThirtyOfThemShareAGranule) {
  const auto tenant = world_.Limited(*slice_);
  Ask(*tenant, {Op::kRetain});
  const uint64_t before = slice_->Used();
  for (int i = 0; i < 30; ++i) EXPECT_EQ(Ask(*tenant, {Op::kSmallArray, 0, 4096}).answer, 0);
  EXPECT_EQ(slice_->Used(), before + 2 * kMiB);
  // Beside managed memory nobody knows; so what is known is kept, and nothing is undercharged.
  EXPECT_EQ(Ask(*tenant, {Op::kManaged, 0, 2 * kMiB}).answer, 0);
  EXPECT_EQ(Ask(*tenant, {Op::kSmallArray, 0, 4096}).answer, 0);
  EXPECT_GE(slice_->Used(), world_.Used());
  EXPECT_EQ(Ask(*tenant, {Op::kFree}).answer, 0);
  EXPECT_EQ(Ask(*tenant, {Op::kSmallArray, 0, 4096}).answer, 0);
  EXPECT_EQ(slice_->Used(), world_.Used());
  // They go with their context.
  Ask(*tenant, {Op::kRelease});
  EXPECT_EQ(slice_->Used(), 0u);
}

}  // namespace
}  // namespace tranche::limiter_memory
