#include <gtest/gtest.h>

#include "world.h"

// Memory that one process of a slice gives to another is held once, whoever looks at it.
namespace tranche::limiter_memory {
namespace {

class LimiterShare : public testing::Test {
 protected:
  Reply Do(Tenant& tenant, const Command& command, int expected = 0) {
    Reply reply;
    EXPECT_TRUE(tenant.Ask(command, &reply)) << command;
    EXPECT_EQ(reply.answer, expected) << command;
    EXPECT_EQ(world_.Used(), slice_->Used()) << command;
    return reply;
  }

  World world_{SmallMachine()};
  std::unique_ptr<Slice> slice_ = world_.MakeSlice();
};

class LimiterShareBy : public LimiterShare, public testing::WithParamInterface<uint32_t> {};

TEST_P(LimiterShareBy, WhatTwoProcessesSeeIsHeldOnce) {
  const bool by_handle = GetParam() == 1;
  const auto owner = world_.Limited(*slice_), guest = world_.Limited(*slice_);
  Do(*owner, {Op::kRetain});
  Do(*guest, {Op::kRetain});
  Do(*owner, {by_handle ? Op::kCreateHandle : Op::kLinear, 0, 150 * kMiB});
  const uint64_t held = world_.Used();
  const Reply shared = Do(*owner, {Op::kShare, GetParam()});
  Do(*guest, {Op::kOpenShared, 0, 0, shared.shared});
  if (by_handle) Do(*guest, {Op::kMapShared});
  EXPECT_EQ(world_.Used(), held);
  // Both have room for what is left, and no more.
  Do(*guest, {Op::kLinear, 0, 100 * kMiB}, 2);
  Do(*guest, {Op::kLinear, 0, 40 * kMiB});
  Do(*guest, {Op::kFree});
  if (by_handle) Do(*guest, {Op::kUnmap});
  Do(*guest, {Op::kCloseShared});
  EXPECT_EQ(world_.Used(), held);
  Do(*owner, {by_handle ? Op::kReleaseHandle : Op::kFree});
  EXPECT_EQ(world_.Used(), held - 150 * kMiB);
}

TEST_P(LimiterShareBy, AGuestThatDiesTakesNothingAlong) {
  const bool by_handle = GetParam() == 1;
  const auto owner = world_.Limited(*slice_), guest = world_.Limited(*slice_);
  Do(*owner, {Op::kRetain});
  Do(*owner, {by_handle ? Op::kCreateHandle : Op::kLinear, 0, 150 * kMiB});
  const uint64_t held = world_.Used();
  Do(*guest, {Op::kRetain});
  const Reply shared = Do(*owner, {Op::kShare, GetParam()});
  Do(*guest, {Op::kOpenShared, 0, 0, shared.shared});
  guest->Kill();
  slice_->Reap();
  EXPECT_EQ(world_.Used(), held);
  EXPECT_EQ(slice_->Used(), held);
}

TEST_F(LimiterShare, WhatIsBoundToAMulticastObjectOutlivesItsHandle) {
  const auto owner = world_.Limited(*slice_);
  Do(*owner, {Op::kRetain});
  const uint64_t before = world_.Used();
  Do(*owner, {Op::kCreateHandle, 0, 150 * kMiB});
  Do(*owner, {Op::kBind});
  Do(*owner, {Op::kReleaseHandle});
  EXPECT_EQ(world_.Used(), before + 150 * kMiB);
  Do(*owner, {Op::kUnbind});
  EXPECT_EQ(world_.Used(), before);
}

INSTANTIATE_TEST_SUITE_P(Way, LimiterShareBy, testing::Values(0u, 1u),
                         [](const auto& way) { return way.param == 1 ? "Handle" : "Address"; });

}  // namespace
}  // namespace tranche::limiter_memory
