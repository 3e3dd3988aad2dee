#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include "engine/test_world.h"

namespace tranche {
namespace {

using testing::HasSubstr;

LeaseRequest Wish(std::optional<Bytes> memory, std::optional<double> share) {
  LeaseRequest request;
  request.program = "serve.py";
  request.memory = memory;
  if (share) request.compute = Share<Fraction>{{*share}, {1}};
  request.context_bytes = MiB(500);
  return request;
}

const Caller kMe{geteuid(), getegid()};

TEST(Leases, GoToTheFullestGpuThatHasRoom) {
  Machine machine = TestMachine({TestH100(0, false), TestH100(1, false), TestH100(2, true)});
  World world(machine);
  Engine& engine = world.Open();
  const auto first = engine.GrantLease(Wish(GiB(50), 0.5), kMe, getpid());
  ASSERT_TRUE(first) << first.error().message;
  const auto second = engine.GrantLease(Wish(GiB(10), 0.2), kMe, getpid());
  ASSERT_TRUE(second);
  EXPECT_EQ(second->gpu_uuid, first->gpu_uuid);
  const auto third = engine.GrantLease(Wish(GiB(60), 0.2), kMe, getpid());
  ASSERT_TRUE(third);
  EXPECT_NE(third->gpu_uuid, first->gpu_uuid);
  EXPECT_EQ(engine.GetStatus()->leases.size(), 3u);
}

TEST(Leases, ADryRunGrantsNothing) {
  World world(TestMachine({TestH100(0, false)}));
  LeaseRequest wish = Wish(GiB(50), 0.5);
  wish.dry_run = true;
  const auto lease = world.Open().GrantLease(wish, kMe, getpid());
  ASSERT_TRUE(lease);
  EXPECT_EQ(lease->gpu_index, 0);
  EXPECT_TRUE(world.engine().GetStatus()->leases.empty());
}

TEST(Leases, ANoNamesTheReasonOfEveryGpu) {
  Machine machine = TestMachine({TestH100(0, false), TestH100(1, true)});
  World world(machine);
  Engine& engine = world.Open();
  ASSERT_TRUE(engine.GrantLease(Wish(std::nullopt, 0.9), kMe, getpid()));
  const auto lease = engine.GrantLease(Wish(std::nullopt, 0.2), kMe, getpid());
  ASSERT_FALSE(lease);
  EXPECT_EQ(lease.error().code, ErrorCode::kDoesNotFit);
  EXPECT_THAT(lease.error().message, HasSubstr("GPU 0: 10% of its time are not promised"));
  EXPECT_THAT(lease.error().message, HasSubstr("GPU 1: it is divided by MIG"));
  LeaseRequest other = Wish(GiB(1), std::nullopt);
  other.gpu = "H100-SXM5-80GBB";
  const auto unknown = engine.GrantLease(other, kMe, getpid());
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(unknown.error().hint, HasSubstr("H100-SXM5-80GB"));
}

TEST(Leases, ThePlannerSeesThemAndTheySeeWhatIsDeployed) {
  World world(TestMachine({TestH100(0, false)}));
  Engine& engine = world.Open();
  const auto lease = engine.GrantLease(Wish(GiB(50), std::nullopt), kMe, getpid());
  ASSERT_TRUE(lease);
  const auto plan = engine.MakePlan(SpecOf({Sleeper("phi", GiB(40))}), {});
  ASSERT_TRUE(plan);
  EXPECT_FALSE(plan->feasible());
  ASSERT_TRUE(engine.EndLease(lease->id, kMe));
  ASSERT_EQ(world.Apply(SpecOf({Sleeper("phi", GiB(9))})).outcome, ApplyOutcome::kDone);
  EXPECT_FALSE(engine.GrantLease(Wish(GiB(1), std::nullopt), kMe, getpid()));
}

TEST(Leases, BelongToTheirUser) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can give files to others";
  World world(TestMachine({TestH100(0, false)}));
  Engine& engine = world.Open();
  const Caller alice{1000, 1000}, bob{1001, 1001};
  const auto lease = engine.GrantLease(Wish(GiB(10), 0.2), alice, getpid());
  ASSERT_TRUE(lease) << lease.error().message;
  EXPECT_EQ(engine.ChangeLease(lease->id, {GiB(20), {}}, bob).error().code, ErrorCode::kPermission);
  EXPECT_EQ(engine.EndLease(lease->id, bob).error().code, ErrorCode::kPermission);
  EXPECT_TRUE(engine.ChangeLease(lease->id, {GiB(20), {}}, alice));
  EXPECT_TRUE(engine.ChangeLease(lease->id, {GiB(30), {}}, Caller{0, 0}));
  EXPECT_TRUE(engine.GrantLease(Wish(GiB(10), 0.2), bob, getpid())) << "the broker gives turns";
}

TEST(Leases, GrowOnlyIntoWhatIsFree) {
  World world(TestMachine({TestH100(0, false)}));
  Engine& engine = world.Open();
  ASSERT_TRUE(engine.GrantLease(Wish(GiB(30), 0.3), kMe, getpid()));
  ASSERT_TRUE(engine.GrantLease(Wish(GiB(30), 0.3), kMe, getpid()));
  EXPECT_TRUE(engine.ChangeLease("run-1", {GiB(45), Share<Fraction>{{0.7}, {0.7}}}, kMe));
  const auto memory = engine.ChangeLease("run-1", {GiB(60), {}}, kMe);
  ASSERT_FALSE(memory);
  EXPECT_EQ(memory.error().code, ErrorCode::kDoesNotFit);
  const auto time = engine.ChangeLease("run-2", {{}, Share<Fraction>{{0.4}, {0.4}}}, kMe);
  ASSERT_FALSE(time);
  EXPECT_THAT(time.error().message, HasSubstr("30%"));
}

LeaseRequest Whole() {
  LeaseRequest request = Wish(std::nullopt, std::nullopt);
  request.mechanism = Mechanism::kExclusive;
  return request;
}

TEST(Leases, OfAWholeGpuLeaveNothingOfIt) {
  World world(TestMachine({TestH100(0, false)}));
  Engine& engine = world.Open();
  const auto whole = engine.GrantLease(Whole(), kMe, getpid());
  ASSERT_TRUE(whole) << whole.error().message;
  EXPECT_EQ(whole->mechanism, Mechanism::kExclusive);
  EXPECT_EQ(whole->guarantee().memory, Guarantee::kHardware);
  const auto beside = engine.GrantLease(Wish(GiB(1), std::nullopt), kMe, getpid());
  ASSERT_FALSE(beside);
  EXPECT_THAT(beside.error().message, HasSubstr("lease run-1 (serve.py) has it for itself"));
  EXPECT_FALSE(engine.GrantLease(Whole(), kMe, getpid()));
  const auto plan = engine.MakePlan(SpecOf({Sleeper("phi", GiB(1))}), {});
  ASSERT_TRUE(plan);
  EXPECT_FALSE(plan->feasible());
  EXPECT_EQ(engine.ChangeLease("run-1", {GiB(20), {}}, kMe).error().code, ErrorCode::kUnsupported);
  ASSERT_TRUE(engine.EndLease("run-1", kMe));
  EXPECT_TRUE(engine.GrantLease(Wish(GiB(1), std::nullopt), kMe, getpid()));
}

TEST(Leases, AWholeGpuIsOneThatNobodyUses) {
  World world(TestMachine({TestH100(0, false)}));
  Engine& engine = world.Open();
  LeaseRequest large = Whole();
  large.memory = GiB(200);
  EXPECT_FALSE(engine.GrantLease(large, kMe, getpid()));
  ASSERT_TRUE(engine.GrantLease(Wish(GiB(1), std::nullopt), kMe, getpid()));
  const auto whole = engine.GrantLease(Whole(), kMe, getpid());
  ASSERT_FALSE(whole);
  EXPECT_THAT(whole.error().message, HasSubstr("tranche run serve.py) uses it"));
}

}  // namespace
}  // namespace tranche
