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

TEST_F(LimiterShare, WhatASparseArrayUsesOutlivesItsHandle) {
  const auto owner = world_.Limited(*slice_);
  Do(*owner, {Op::kRetain});
  const uint64_t before = world_.Used();
  for (uint32_t place = 0; place < 3; ++place) {
    Do(*owner, {Op::kCreateHandle, 0, 50 * kMiB});
    Do(*owner, {Op::kMapArray, place});
    Do(*owner, {Op::kReleaseHandle});
  }
  EXPECT_EQ(world_.Used(), before + 150 * kMiB);
  // Another piece takes its place.
  Do(*owner, {Op::kCreateHandle, 0, 20 * kMiB});
  Do(*owner, {Op::kMapArray, 2});
  Do(*owner, {Op::kReleaseHandle});
  EXPECT_EQ(world_.Used(), before + 120 * kMiB);
  Do(*owner, {Op::kUnmapArray, 0});
  EXPECT_EQ(world_.Used(), before + 70 * kMiB);
  Do(*owner, {Op::kEndMapped});
  EXPECT_EQ(world_.Used(), before);
}

// What another interface holds, which is no business of the limiter until it comes into CUDA: a
// process without one stands for it.
class LimiterExternal : public LimiterShare {
 protected:
  static constexpr uint64_t kBytes = 100 * kMiB;
  uint64_t Unmetered() { return slice_->table()->devices[0].counters.unmetered; }
  Reply Ask(Tenant& tenant, const Command& command, int expected = 0) {
    Reply reply;
    EXPECT_TRUE(tenant.Ask(command, &reply)) << command;
    EXPECT_EQ(reply.answer, expected) << command;
    return reply;
  }
};

TEST_F(LimiterExternal, IsChargedToWhoeverImportsItAndTold) {
  const auto maker = world_.Unlimited();
  Ask(*maker, {Op::kRetain});
  const uint64_t context = world_.Used();
  Ask(*maker, {Op::kLinear, 0, kBytes});
  const auto guest = world_.Limited(*slice_);
  Ask(*guest, {Op::kRetain});
  EXPECT_EQ(Unmetered(), 0u);
  Ask(*guest, {Op::kImport, 0, kBytes});
  const auto expect_equal = [&] { EXPECT_EQ(slice_->Used(), world_.Used() - context); };
  expect_equal();
  EXPECT_EQ(Unmetered(), 1u);
  // Mapping it takes nothing, and what is mapped is freed by itself.
  Ask(*guest, {Op::kMapImported, 0, kBytes});
  expect_equal();
  Ask(*guest, {Op::kFreeMapped});
  expect_equal();
  // What is left is the slice's, and no more.
  Ask(*guest, {Op::kLinear, 0, kLimit - slice_->Used() + kMiB}, 2);
  Ask(*guest, {Op::kLinear, 0, (kLimit - slice_->Used()) / (2 * kMiB) * (2 * kMiB)});
  Ask(*guest, {Op::kImport, 0, 3 * kMiB}, 2);
  Ask(*guest, {Op::kFree});
  Ask(*guest, {Op::kEndImport});
  Ask(*maker, {Op::kFree});
  expect_equal();
  EXPECT_EQ(Unmetered(), 1u);
}

TEST_F(LimiterExternal, GoesWithItsContextOrItsProcess) {
  for (const bool killed : {false, true}) {
    const auto guest = world_.Limited(*slice_);
    Do(*guest, {Op::kRetain});
    const uint64_t before = slice_->Used();
    Ask(*guest, {Op::kImport, 0, kBytes});
    EXPECT_EQ(slice_->Used(), before + kBytes);
    if (killed)
      guest->Kill();
    else
      Do(*guest, {Op::kRelease});
    slice_->Reap();
    EXPECT_EQ(slice_->Used(), 0u);
  }
}

// Two GPUs that reach each other, and memory of one that a process opens in a context on the other.
class LimiterShareAcross : public testing::Test {
 protected:
  Reply Ask(Tenant& tenant, const Command& command, int expected = 0) {
    Reply reply;
    EXPECT_TRUE(tenant.Ask(command, &reply)) << command;
    EXPECT_EQ(reply.answer, expected) << command;
    return reply;
  }
  // The GPU that its contexts are on comes first.
  std::unique_ptr<Tenant> On(const Slice& slice, uint32_t gpu) {
    return world_.Limited(slice, TRANCHE_SHIM,
                          {{"CUDA_VISIBLE_DEVICES", gpu == 0 ? "0,1" : "1,0"}});
  }

  World world_{sim::SpecOf("T4", 2)};
};

TEST_F(LimiterShareAcross, PhysicalMemoryIsChargedOnceWhereItWasMade) {
  const auto slice = world_.MakeSlice({0, 1});
  const auto expect_true = [&] {
    for (const uint32_t gpu : {0u, 1u}) EXPECT_EQ(slice->Used(gpu), world_.Used(gpu)) << gpu;
  };
  const auto owner = On(*slice, 0), guest = On(*slice, 1);
  Ask(*owner, {Op::kRetain});
  Ask(*guest, {Op::kRetain});
  Ask(*owner, {Op::kCreateHandle, 0, 150 * kMiB});
  const uint64_t here = world_.Used(0), there = world_.Used(1);
  const Reply shared = Ask(*owner, {Op::kShare, 1});
  Ask(*guest, {Op::kOpenShared, 0, 0, shared.shared});
  Ask(*guest, {Op::kMapShared});
  expect_true();
  EXPECT_EQ(world_.Used(0), here);
  EXPECT_EQ(world_.Used(1), there);
  Ask(*guest, {Op::kUnmap});
  Ask(*guest, {Op::kCloseShared});
  expect_true();
  guest->Kill();
  slice->Reap();
  expect_true();
  EXPECT_EQ(world_.Used(0), here);
  Ask(*owner, {Op::kReleaseHandle});
  EXPECT_EQ(world_.Used(0), here - 150 * kMiB);
  expect_true();
}

TEST_F(LimiterShareAcross, MemoryIsChargedOnceWhereItWasAllocated) {
  const auto slice = world_.MakeSlice({0, 1});
  const auto expect_true = [&] {
    for (const uint32_t gpu : {0u, 1u}) EXPECT_EQ(slice->Used(gpu), world_.Used(gpu)) << gpu;
  };
  const auto owner = On(*slice, 0), guest = On(*slice, 1);
  Ask(*owner, {Op::kRetain});
  Ask(*guest, {Op::kRetain});
  Ask(*owner, {Op::kLinear, 0, 150 * kMiB});
  const uint64_t here = world_.Used(0), there = world_.Used(1);
  const Reply shared = Ask(*owner, {Op::kShare, 0});
  // Twice, as a program may; what is opened last is closed first.
  for (int times = 0; times < 2; ++times) {
    Ask(*guest, {Op::kOpenShared, 0, 0, shared.shared});
    expect_true();
  }
  EXPECT_EQ(world_.Used(0), here);
  EXPECT_EQ(world_.Used(1), there);
  EXPECT_EQ(slice->table()->devices[0].turns_off, 1u) << "the GPUs reach each other now";
  Ask(*guest, {Op::kCloseShared});
  Ask(*guest, {Op::kCloseShared});
  Ask(*guest, {Op::kCloseShared}, 1);
  expect_true();
  EXPECT_EQ(world_.Used(0), here);
  // A guest that dies with it open takes nothing along.
  Ask(*guest, {Op::kOpenShared, 0, 0, shared.shared});
  guest->Kill();
  slice->Reap();
  expect_true();
  EXPECT_EQ(world_.Used(0), here);
  Ask(*owner, {Op::kFree});
  EXPECT_EQ(world_.Used(0), here - 150 * kMiB);
  expect_true();
}

TEST_F(LimiterShareAcross, AnotherSliceOpensItAndIsChargedNothing) {
  const auto first = world_.MakeSlice({0}), second = world_.MakeSlice({1});
  const auto owner = On(*first, 0), guest = On(*second, 1);
  Ask(*owner, {Op::kRetain});
  Ask(*guest, {Op::kRetain});
  Ask(*owner, {Op::kLinear, 0, 150 * kMiB});
  const Reply shared = Ask(*owner, {Op::kShare, 0});
  const auto expect_true = [&] {
    EXPECT_EQ(first->Used(), world_.Used(0));
    EXPECT_EQ(second->Used(), world_.Used(1));
  };
  Ask(*guest, {Op::kOpenShared, 0, 0, shared.shared});
  expect_true();
  // All of its own part is still there.
  const uint64_t rest = (kLimit - second->Used()) / (2 * kMiB) * (2 * kMiB);
  Ask(*guest, {Op::kLinear, 0, rest});
  expect_true();
  // The owner dies; its memory is on no account any more, whoever had it open.
  owner->Kill();
  first->Reap();
  EXPECT_EQ(first->Used(), 0u);
  EXPECT_EQ(second->Used(), world_.Used(1));
  Ask(*guest, {Op::kCloseShared});
  EXPECT_EQ(second->Used(), world_.Used(1));
}

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
