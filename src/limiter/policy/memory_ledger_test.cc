#include "limiter/policy/memory_ledger.h"

#include <gtest/gtest.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <random>
#include <thread>
#include <vector>

namespace tranche::limiter {
namespace {

constexpr uint64_t kUnit = uint64_t{2} << 20;

class MemoryLedgerTest : public testing::Test {
 protected:
  MemoryLedgerTest() : slice_(new TrancheSlice()), ledger_(slice_.get(), 0) {
    slice_->slots_used = 4;
    ledger_.SetLimit(10 * kUnit);
  }
  Verdict Reserve(uint32_t slot, uint64_t bytes, int patience = 0) {
    return ledger_.Reserve(slot, bytes, [&](uint32_t, uint32_t) { return patience-- > 0; });
  }

  std::unique_ptr<TrancheSlice> slice_;
  MemoryLedger ledger_;
};

TEST_F(MemoryLedgerTest, GrantsUpToTheLastByteAndNotOneMore) {
  EXPECT_EQ(Reserve(0, 10 * kUnit), Verdict::kGranted);
  EXPECT_EQ(Reserve(0, 1), Verdict::kOverLimit);
  EXPECT_EQ(ledger_.Used(), 10 * kUnit);
  ledger_.Release(0, 1);
  EXPECT_EQ(Reserve(1, 2), Verdict::kOverLimit);
  EXPECT_EQ(Reserve(1, 1), Verdict::kGranted);
}

TEST_F(MemoryLedgerTest, ProcessesOfOneSliceShareIt) {
  EXPECT_EQ(Reserve(0, 6 * kUnit), Verdict::kGranted);
  EXPECT_EQ(Reserve(3, 4 * kUnit), Verdict::kGranted);
  EXPECT_EQ(Reserve(2, 1), Verdict::kOverLimit);
  EXPECT_EQ(ledger_.HeldBy(3), 4 * kUnit);
}

TEST_F(MemoryLedgerTest, AShrunkLimitRefusesWhatIsNewAndKeepsWhatIsHeld) {
  EXPECT_EQ(Reserve(0, 6 * kUnit), Verdict::kGranted);
  ledger_.SetLimit(3 * kUnit);
  EXPECT_EQ(Reserve(1, 1), Verdict::kOverLimit);
  EXPECT_EQ(ledger_.Used(), 6 * kUnit);
  ledger_.Release(0, 4 * kUnit);
  EXPECT_EQ(Reserve(1, kUnit), Verdict::kGranted);
}

// HAMi-core moved slots when one died, and lost sight of what the moved process held.
TEST_F(MemoryLedgerTest, ADeadNeighboursSlotMovesNobody) {
  EXPECT_EQ(Reserve(0, 2 * kUnit), Verdict::kGranted);
  EXPECT_EQ(Reserve(1, 2 * kUnit), Verdict::kGranted);
  EXPECT_EQ(Reserve(2, 2 * kUnit), Verdict::kGranted);
  ledger_.Empty(0);
  EXPECT_EQ(Reserve(2, 2 * kUnit), Verdict::kGranted);
  EXPECT_EQ(ledger_.HeldBy(2), 4 * kUnit);
  EXPECT_EQ(ledger_.Used(), 6 * kUnit);
  EXPECT_EQ(Reserve(3, 5 * kUnit), Verdict::kOverLimit);
}

TEST_F(MemoryLedgerTest, ReleasingTooMuchStopsAtNothing) {
  EXPECT_EQ(Reserve(0, kUnit), Verdict::kGranted);
  ledger_.Release(0, 5 * kUnit);
  EXPECT_EQ(ledger_.Used(), 0u);
}

TEST_F(MemoryLedgerTest, AbsurdSizesAndSpoiledWordsWrapNothing) {
  EXPECT_EQ(Reserve(0, UINT64_MAX), Verdict::kOverLimit);
  EXPECT_EQ(Reserve(0, UINT64_MAX - kUnit), Verdict::kOverLimit);
  slice_->devices[0].held[1] = UINT64_MAX;
  EXPECT_EQ(Reserve(0, 1), Verdict::kOverLimit);
  slice_->devices[0].held[1] = 0;
  slice_->slots_used = UINT64_MAX;
  EXPECT_EQ(Reserve(0, kUnit), Verdict::kGranted);
}

// A process killed while it asked blocks others until it is reaped, and no longer.
TEST_F(MemoryLedgerTest, AWishThatNobodyFollowsUpBlocksUntilReaped) {
  slice_->devices[0].asking[0] = 10 * kUnit;
  EXPECT_EQ(Reserve(1, kUnit, 3), Verdict::kContended);
  EXPECT_EQ(slice_->devices[0].asking[1], 0u);
  int asked = 0;
  EXPECT_EQ(ledger_.Reserve(1, kUnit,
                            [&](uint32_t who, uint32_t) {
                              EXPECT_EQ(who, 0u);
                              if (++asked == 2) ledger_.Empty(who);
                              return asked < 5;
                            }),
            Verdict::kGranted);
}

// Killed between the two words of a grant: counted twice until reaped, never not at all.
TEST_F(MemoryLedgerTest, HalfAGrantCountsAtLeastWhatIsHeld) {
  slice_->devices[0].asking[0] = 4 * kUnit;
  slice_->devices[0].held[0] = 4 * kUnit;
  EXPECT_GE(ledger_.Used(), 4 * kUnit);
  ledger_.Empty(0);
  EXPECT_EQ(Reserve(1, 10 * kUnit), Verdict::kGranted);
}

// Slots as threads: never over the limit at any instant, and never refused while it would fit.
TEST_F(MemoryLedgerTest, ThreadsNeverHoldMoreThanTheLimit) {
  constexpr uint32_t kThreads = 4;
  constexpr uint64_t kEach = 2 * kUnit;  // four of them fit
  std::atomic<uint64_t> held{0}, most{0}, refused{0};
  std::vector<std::thread> threads;
  for (uint32_t slot = 0; slot < kThreads; ++slot) {
    threads.emplace_back([&, slot] {
      for (int i = 0; i < 3000; ++i) {
        const auto wait = [](uint32_t, uint32_t) {
          std::this_thread::yield();
          return true;
        };
        if (ledger_.Reserve(slot, kEach, wait) != Verdict::kGranted) {
          ++refused;
          continue;
        }
        const uint64_t now = held += kEach;
        uint64_t seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        held -= kEach;
        ledger_.Release(slot, kEach);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_LE(most, 10 * kUnit);
  EXPECT_EQ(refused, 0u);
  EXPECT_EQ(ledger_.Used(), 0u);
}

// As the limiter reserves: at once if nothing is in the way, else in turn with the other threads of
// the same process.
TEST_F(MemoryLedgerTest, ThreadsOfOneProcessNeedNoLockWhereThereIsRoom) {
  constexpr uint64_t kEach = 3 * kUnit;  // three of them fit
  std::atomic<uint64_t> held{0}, most{0};
  std::atomic<int> granted{0};
  std::mutex turn[2];
  std::vector<std::thread> threads;
  for (uint32_t t = 0; t < 4; ++t) {
    threads.emplace_back([&, slot = t % 2] {
      const auto wait = [](uint32_t, uint32_t) {
        std::this_thread::yield();
        return true;
      };
      const auto reserve = [&] {
        if (ledger_.ReserveAtOnce(slot, kEach)) return true;
        const std::lock_guard<std::mutex> lock(turn[slot]);
        return ledger_.Reserve(slot, kEach, wait) == Verdict::kGranted;
      };
      for (int won = 0; won < 1000;) {
        if (!reserve()) {
          std::this_thread::yield();
          continue;
        }
        ++won, ++granted;
        const uint64_t now = held += kEach;
        uint64_t seen = most;
        while (seen < now && !most.compare_exchange_weak(seen, now)) {
        }
        held -= kEach;
        ledger_.Release(slot, kEach);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(granted, 4000);
  EXPECT_LE(most, 10 * kUnit);
  EXPECT_EQ(ledger_.Used(), 0u);
}

// The last unit: with room for one, at any instant at most one has it, and everyone gets it in the
// end.
TEST_F(MemoryLedgerTest, TheLastUnitGoesToOneAtATime) {
  ledger_.SetLimit(kUnit);
  std::atomic<int> holders{0}, twice{0};
  std::vector<std::thread> threads;
  for (uint32_t slot = 0; slot < 4; ++slot) {
    threads.emplace_back([&, slot] {
      const auto wait = [](uint32_t, uint32_t) {
        std::this_thread::yield();
        return true;
      };
      for (int won = 0; won < 500;) {
        if (ledger_.Reserve(slot, kUnit, wait) != Verdict::kGranted) {
          std::this_thread::yield();
          continue;
        }
        if (holders.fetch_add(1) != 0) ++twice;
        ++won;
        holders.fetch_sub(1);
        ledger_.Release(slot, kUnit);
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(twice, 0);
}

}  // namespace
}  // namespace tranche::limiter
