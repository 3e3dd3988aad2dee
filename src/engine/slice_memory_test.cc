#include "engine/slice_memory.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include "engine/test_world.h"

namespace tranche {
namespace {

StepReceipt Of(StepKind kind, Change change, Mechanism mechanism, const std::string& profile,
               bool by_hand = false) {
  StepReceipt receipt;
  receipt.step.kind = kind;
  receipt.step.change = change;
  receipt.step.by_hand = by_hand;
  receipt.step.slice = Slice{"GPU-0", mechanism, profile, MigPlacement{0, 1}, GiB(9), 0.1};
  return receipt;
}

StepReceipt Starts(const std::string& profile, Change change = Change::kCreate) {
  return Of(StepKind::kStartReplica, change, Mechanism::kMig, profile);
}

TEST(SliceMemory, CountsWhatIsNewAndForgetsSlowly) {
  Receipt newest, older;
  newest.steps = {Starts("1g.10gb"), Starts("1g.10gb"), Starts("3g.40gb")};
  older.steps = {Starts("3g.40gb")};
  const auto seen = SlicesSeen({newest, older});
  EXPECT_EQ(seen.size(), 2u);
  EXPECT_DOUBLE_EQ(seen.at("1g.10gb"), 2);
  EXPECT_GT(seen.at("3g.40gb"), 1.9);
  EXPECT_LT(seen.at("3g.40gb"), 2);
}

// Who moves or starts again was asked for before; its instance is no second wish either.
TEST(SliceMemory, CountsEveryWishOnce) {
  Receipt receipt;
  receipt.steps = {Starts("1g.10gb", Change::kChange),
                   Of(StepKind::kCreateInstance, Change::kCreate, Mechanism::kMig, "2g.20gb"),
                   Of(StepKind::kStartReplica, Change::kCreate, Mechanism::kExclusive, ""),
                   Of(StepKind::kStartReplica, Change::kCreate, Mechanism::kMps, "2g.20gb")};
  EXPECT_TRUE(SlicesSeen({receipt}).empty());
  receipt.steps = {
      Of(StepKind::kCreateInstance, Change::kCreate, Mechanism::kMig, "2g.20gb", true)};
  EXPECT_EQ(SlicesSeen({receipt}).at("2g.20gb"), 1);
}

int StartOf(const Plan& plan) { return plan.assignments.at(0).slice.placement->start; }

// The daemon keeps free what it was asked for before, and a restart makes it forget nothing.
TEST(SliceMemory, DecidesWhereAnInstanceStarts) {
  World world(TestMachine());
  world.Open();
  const Spec small = SpecOf({Sleeper("small", GiB(9))});
  EXPECT_EQ(StartOf(world.MakePlan(small)), 6);
  for (int round = 0; round < 9; ++round) {
    Workload halves = Sleeper(fmt::format("half-{}", round), GiB(35));
    halves.replicas = 2;
    ASSERT_EQ(world.Apply(SpecOf({halves})).outcome, ApplyOutcome::kDone);
    ASSERT_TRUE(world.engine().Down(world.Options(), {}));
  }
  EXPECT_EQ(StartOf(world.MakePlan(small)), 0) << "the second half stays whole for another";
  world.Close();
  world.Open();
  EXPECT_EQ(StartOf(world.MakePlan(small)), 0);
}

}  // namespace
}  // namespace tranche
