#include <gtest/gtest.h>

#include <memory>
#include <string>

#include "limiter/policy/label.h"
#include "world.h"

// A process of a slice is killed at each labelled place of the limiter. The others go on as if it
// had never been, and after one look the ledger says what the machine holds.
namespace tranche::limiter_memory {
namespace {

using limiter::Label;

constexpr uint64_t kHeld = 30 * kMiB;
// Room for a context more: a green one.
constexpr uint64_t kMore = 250 * kMiB;

// Passes by all labels. Killed, it gets no further.
void Live(Tenant& tenant, Tenant& neighbour) {
  Reply reply;
  const Command all[] = {
      {Op::kRetain},
      {Op::kLinear, 0, 4096},
      {Op::kLinear, 0, 3 * kMiB},
      {Op::kFree},
      {Op::kFree},
      {Op::kGraph, 0, 3 * kMiB},
      {Op::kTrimGraphs},
      {Op::kCreateHandle, 0, 4 * kMiB},
      {Op::kMap},
      {Op::kUnmap},
      {Op::kBind},
      {Op::kUnbind},
      {Op::kReleaseHandle},
      {Op::kArray, 0, 3 * kMiB},
      {Op::kDestroyArray},
      {Op::kAsync, 0, 3 * kMiB},
      {Op::kFreeAsync},
      {Op::kSynchronize},
      {Op::kLoadModule, 0, 5 * kMiB},
      {Op::kUnloadModule},
      {Op::kCreateGreen},
      {Op::kDestroyGreen},
      {Op::kSetHeap, 0, 20 * kMiB},
      // Full but for a hole.
      {Op::kLinear, 0, 4096},
      {Op::kLinear, 0, kMore},
      {Op::kLinear, 0, 100 * kMiB},
      {Op::kLinear, 0, 40 * kMiB},
      {Op::kLinear, 0, 20 * kMiB},
      {Op::kLinear, 0, 10 * kMiB},
      {Op::kLinear, 0, 5 * kMiB},
      {Op::kLinear, 0, 2 * kMiB},
      {Op::kLinear, 0, 2 * kMiB},
      {Op::kLinear, 0, 2 * kMiB},
      {Op::kLinear, 0, 4096},
      {Op::kAsync, 0, 4096},
  };
  for (const Command& command : all) {
    if (!tenant.Ask(command, &reply)) return;
  }
  // Another one dies, and a refusal makes this one look for the dead.
  neighbour.Kill();
  if (!tenant.Ask({Op::kLinear, 0, 300 * kMiB}, &reply)) return;
  tenant.Ask({Op::kRelease}, &reply);
}

void KillAt(int label) {
  World world(SmallMachine());
  const auto slice = world.MakeSlice();
  slice->Meter();
  slice->table()->devices[0].memory_limit = kLimit + kMore;
  const auto neighbour = world.Limited(*slice);
  const auto doomed = world.Limited(*slice);
  Reply reply;
  ASSERT_TRUE(neighbour->Ask({Op::kRetain}, &reply) && reply.answer == 0);
  ASSERT_TRUE(neighbour->Ask({Op::kLinear, 0, kHeld}, &reply) && reply.answer == 0);
  const uint64_t before = world.Used();
  {
    const auto tenant = world.Limited(*slice, TRANCHE_LABELLED_SHIM,
                                      {{"TRANCHE_TEST_DIE_AT", std::to_string(label)}});
    Live(*tenant, *doomed);
    EXPECT_FALSE(tenant->Ask({Op::kSynchronize}, &reply)) << "it never came to that place";
  }
  // The neighbour takes all that the dead one held, before anybody else looks after it.
  uint64_t taken = 0;
  for (const uint64_t bytes : {100 * kMiB, 50 * kMiB, 20 * kMiB, 10 * kMiB, 4 * kMiB, 2 * kMiB}) {
    while (neighbour->Ask({Op::kLinear, 0, bytes}, &reply) && reply.answer == 0) taken += bytes;
    ASSERT_EQ(reply.answer, 2 /* OUT_OF_MEMORY */);
  }
  EXPECT_EQ(taken, (kLimit + kMore - before) / (2 * kMiB) * (2 * kMiB));
  EXPECT_EQ(world.Used(), slice->Used());
  // And a newcomer finds a slot.
  const auto next = world.Limited(*slice);
  EXPECT_TRUE(next->Ask({Op::kRetain}, &reply) && reply.answer == 2);
  slice->Reap();
  EXPECT_EQ(world.Used(), slice->Used());
}

TEST(LimiterKill, AtAnyPlaceTheOthersGoOnAndTheLedgerIsTrue) {
  constexpr const char* kNames[] = {
#define TRANCHE_LABEL_NAME(name) #name,
      TRANCHE_LABELS(TRANCHE_LABEL_NAME)
#undef TRANCHE_LABEL_NAME
  };
  for (int label = 0; label < static_cast<int>(Label::kCount); ++label) {
    SCOPED_TRACE(kNames[label]);
    KillAt(label);
    if (HasFailure()) return;
  }
}

}  // namespace
}  // namespace tranche::limiter_memory
