#include "limiter/small_memory.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <thread>
#include <vector>

#include "limiter/libc.h"

namespace tranche::limiter {
namespace {

constexpr int64_t kLong = 60000000000;

TEST(Granule, HasRoomWhereNothingLies) {
  Granule granule = {};
  EXPECT_TRUE(granule.HasRoom(kGranule));
  granule.Mark(7 * kGranule + 512, 1, true);
  EXPECT_TRUE(granule.HasRoom(kGranule - 1024));
  EXPECT_FALSE(granule.HasRoom(kGranule - 1023));
  granule.Mark(7 * kGranule + kGranule - 70000, 70000, true);
  EXPECT_TRUE(granule.HasRoom(kGranule - 1024 - 70144));
  EXPECT_FALSE(granule.HasRoom(kGranule - 1024 - 70143));
  granule.Mark(7 * kGranule + kGranule - 70000, 70000, false);
  granule.Mark(7 * kGranule + 512, 1, false);
  EXPECT_TRUE(granule.HasRoom(kGranule));
}

TEST(GranuleStore, LooksAtOneContextOnly) {
  auto store = std::make_unique<GranuleStore>();
  std::vector<Granule*> full;
  for (uint64_t i = 0; i < 500; ++i) {
    full.push_back(store->Take(i, 1));
    full.back()->Mark(0, kGranule, true);
  }
  EXPECT_FALSE(store->HasRoom(1, 512));
  Granule* other = store->Take(1000, 2);
  EXPECT_FALSE(store->HasRoom(1, 512));
  EXPECT_TRUE(store->HasRoom(2, kGranule));
  store->Give(other);
  EXPECT_FALSE(store->HasRoom(2, 512));
  full[250]->Mark(4096, 512, false);
  EXPECT_TRUE(store->HasRoom(1, 512));
  EXPECT_FALSE(store->HasRoom(1, 513));
}

TEST(SmallGate, OneIsAlone) {
  SmallGate gate = {};
  int inside = 0;  // of those who are alone: a race if there are two
  std::atomic<int> shared = 0;
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&, t] {
      for (int i = 0; i < 2000; ++i) {
        if (t == 0 || i % 50 == 0) {
          ASSERT_TRUE(gate.EnterAlone(libc::Now() + kLong));
          ++inside;
          EXPECT_EQ(shared.load(), 0);
          gate.LeaveAlone();
        } else {
          gate.Enter();
          ++shared;
          --shared;
          gate.Leave();
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(inside, 2000 + 3 * 40);
}

TEST(SmallGate, WaitsNoLongerThanItIsTold) {
  SmallGate gate = {};
  gate.Enter();
  EXPECT_FALSE(gate.EnterAlone(libc::Now() + 1000));
  gate.Enter();
  gate.Leave();
  gate.Leave();
  EXPECT_TRUE(gate.EnterAlone(libc::Now() + kLong));
  EXPECT_FALSE(gate.EnterAlone(libc::Now() + 1000));
  gate.LeaveAlone();
}

}  // namespace
}  // namespace tranche::limiter
