#include "limiter/turnstile.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <string>
#include <thread>
#include <vector>

#include "limiter/libc.h"
#include "limiter/slice_file.h"
#include "limiter/table_lock.h"

namespace tranche::limiter {
namespace {

class TurnstileTest : public testing::Test {
 protected:
  void SetUp() override {
    const int fd = mkstemp(path_.data());
    ASSERT_GE(fd, 0);
    ASSERT_EQ(ftruncate(fd, static_cast<off_t>(TRANCHE_SLICE_BYTES)), 0);
    void* memory = mmap(nullptr, TRANCHE_SLICE_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    ASSERT_NE(memory, MAP_FAILED);
    close(fd);
    slice_ = static_cast<TrancheSlice*>(memory);
    slice_->magic = TRANCHE_SLICE_MAGIC;
    slice_->version = TRANCHE_SLICE_VERSION;
    slice_->bytes = TRANCHE_SLICE_BYTES;
    slice_->device_count = 1;
  }
  void TearDown() override {
    munmap(slice_, TRANCHE_SLICE_BYTES);
    unlink(path_.c_str());
  }

  void SetLimit(uint32_t ppm) {
    ASSERT_TRUE(
        SliceFile::SetShares(path_.c_str(), slice_, 0, Turnstile::kOwnLine, ppm, ppm, ppm, 0));
  }
  ComputeTable* table() { return ComputeOf(&slice_->devices[0]); }
  const TenantLine& line() { return table()->device.tenants[Turnstile::kOwnLine]; }
  // While others may write to the line.
  bool SomeoneWaits() {
    const TableLock lock(table(), path_.c_str(), ComputeTable::kOutside);
    return line().waiting != 0;
  }

  // A process of the slice that does `body` and then waits to be killed; returns when it is dead.
  template <typename Body>
  void InAKilledProcess(const Body& body) {
    int ready[2];
    ASSERT_EQ(pipe(ready), 0);
    const pid_t child = fork();
    if (child == 0) {
      uint32_t slot = 0;
      TrancheSlice* slice = SliceFile::Join(path_.c_str(), &slot);
      if (slice == nullptr) _exit(1);
      body(slice, slot);
      if (write(ready[1], "y", 1) != 1) _exit(1);
      for (;;) pause();
    }
    char byte = 0;
    close(ready[1]);
    ASSERT_EQ(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    kill(child, SIGKILL);
    waitpid(child, nullptr, 0);
  }

  std::string path_ = testing::TempDir() + "turnstile.XXXXXX";
  TrancheSlice* slice_ = nullptr;
};

TEST_F(TurnstileTest, UnmeteredUntilThereAreShares) {
  Turnstile gate(slice_, 0, 0, path_.c_str());
  EXPECT_FALSE(gate.metered());
  SetLimit(300000);
  EXPECT_TRUE(gate.metered());
}

TEST_F(TurnstileTest, TheDeadHoldNoLock) {
  SetLimit(kWhole);
  uint32_t own = 0;
  ASSERT_NE(SliceFile::Join(path_.c_str(), &own), nullptr);
  InAKilledProcess([&](TrancheSlice* slice, uint32_t slot) {
    // Never freed.
    new TableLock(ComputeOf(&slice->devices[0]), path_.c_str(), slot);
  });
  EXPECT_NE(table()->lock, 0u);
  Turnstile gate(slice_, 0, own, path_.c_str());
  gate.Enter(1000);
  gate.Leave({1000, -1});
  EXPECT_EQ(table()->counters.lock_taken_from_dead, 1u);
  EXPECT_EQ(table()->lock, 0u);
}

TEST_F(TurnstileTest, WhoeverComesIntoADeadOnesSlotFindsItEmpty) {
  SetLimit(kWhole);
  InAKilledProcess([&](TrancheSlice* slice, uint32_t slot) {
    Turnstile(slice, 0, slot, path_.c_str()).Enter(5 * kMillisecond);
    new TableLock(ComputeOf(&slice->devices[0]), path_.c_str(), slot);
  });
  EXPECT_EQ(line().units, 1u);
  InAKilledProcess([&](TrancheSlice* slice, uint32_t slot) {
    Turnstile(slice, 0, slot, path_.c_str()).Enter(kMillisecond);
  });
  EXPECT_EQ(line().units, 1u) << "only its own";
  EXPECT_EQ(SliceFile::Reap(path_.c_str(), slice_), 1u);
  EXPECT_EQ(line().units, 0u);
  EXPECT_EQ(line().in_flight, 0);
}

TEST_F(TurnstileTest, AHigherLimitActsAtOnceOnWhoWaitsForTheLower) {
  SetLimit(1);  // a millionth: what is beyond the first burst waits for hours
  Turnstile gate(slice_, 0, 0, path_.c_str());
  gate.Enter(kBucket);
  std::atomic<bool> through = false;
  std::thread waiter([&] {
    Turnstile(slice_, 0, 0, path_.c_str()).Enter(kMillisecond);
    through = true;
  });
  while (!SomeoneWaits()) std::this_thread::yield();
  EXPECT_FALSE(through);
  SetLimit(kWhole);
  waiter.join();
  EXPECT_EQ(table()->counters.waits, 1u);
  EXPECT_EQ(table()->counters.handovers, 1u);
}

TEST_F(TurnstileTest, ThreadsAndProcessesLeaveNothingBehind) {
  SetLimit(kWhole);
  constexpr int kThreads = 4, kUnits = 500;
  const auto work = [&](TrancheSlice* slice, uint32_t slot) {
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
      threads.emplace_back([&] {
        Turnstile gate(slice, 0, slot, path_.c_str());
        for (int k = 0; k < kUnits; ++k) {
          gate.Enter(10 * kMicrosecond);
          gate.Leave({10 * kMicrosecond, 0});
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
  };
  uint32_t own = 0;
  ASSERT_NE(SliceFile::Join(path_.c_str(), &own), nullptr);
  InAKilledProcess(work);
  work(slice_, own);
  EXPECT_EQ(line().units, 0u);
  EXPECT_EQ(line().in_flight, 0);
  EXPECT_EQ(table()->counters.leases, 2u * kThreads * kUnits);
  EXPECT_EQ(table()->lock, 0u);
}

TEST_F(TurnstileTest, WhatTheGpuSaysItTookIsCharged) {
  SetLimit(kWhole);
  Turnstile gate(slice_, 0, 0, path_.c_str());
  // The first landing has nothing to compare with.
  for (int i = 0; i < 3; ++i) {
    gate.Enter(kMillisecond);
    gate.Leave({kMillisecond, 1000});
  }
  const int64_t before = gate.Charged();
  gate.Enter(kMillisecond);
  const int64_t until = libc::Now() + 3 * kMillisecond;
  while (libc::Now() < until) {
  }
  gate.Leave({kMillisecond, 1000});
  EXPECT_EQ(gate.Charged() - before, 1000);
}

TEST_F(TurnstileTest, ContendedIsWhenOthersWantTheGpu) {
  SetLimit(kWhole);
  ASSERT_TRUE(SliceFile::SetShares(path_.c_str(), slice_, 0, 1, kWhole, kWhole, kWhole, 0));
  Turnstile own(slice_, 0, 0, path_.c_str()), other(slice_, 0, 1, path_.c_str(), 1);
  own.Enter(kMillisecond);
  EXPECT_FALSE(own.Contended());
  EXPECT_TRUE(other.Contended());
  own.Leave({kMillisecond});
  EXPECT_FALSE(other.Contended());
}

// A pause of the program's own is bridged by launching further ahead; one for the GPU is not.
TEST_F(TurnstileTest, WhoDidNotWaitPausedByItself) {
  SetLimit(kWhole);
  Turnstile gate(slice_, 0, 0, path_.c_str());
  const auto pauses = [&](bool waited) {
    gate.Enter(kMillisecond, waited);
    gate.Leave({kMillisecond});
    const int64_t until = libc::Now() + 2 * kMillisecond;
    while (libc::Now() < until) {
    }
  };
  for (int i = 0; i < 3; ++i) pauses(true);
  EXPECT_EQ(line().host_pause, 0);
  for (int i = 0; i < 3; ++i) pauses(false);
  EXPECT_GT(line().host_pause, 0);
}

TEST_F(TurnstileTest, NoMoreIsEverChargedThanTheClockSays) {
  SetLimit(kWhole);
  Turnstile gate(slice_, 0, 0, path_.c_str());
  const int64_t begun = libc::Now();
  for (int i = 0; i < 10; ++i) {
    gate.Enter(kMillisecond);
    gate.Leave({kMillisecond, 3600 * int64_t{1000} * kMillisecond});
  }
  EXPECT_LE(gate.Charged(), libc::Now() - begun);
}

TEST_F(TurnstileTest, IsUnderMpsOnlyWhileAllOfItsProcessesAre) {
  SetLimit(1000000);
  Turnstile first(slice_, 0, 0, path_.c_str()), second(slice_, 0, 1, path_.c_str());
  EXPECT_FALSE(first.mps());
  first.Say(Sharing::kMps);
  EXPECT_TRUE(first.mps());
  second.Say(Sharing::kMps);
  EXPECT_TRUE(second.mps());
  Turnstile third(slice_, 0, 2, path_.c_str());
  third.Say(Sharing::kTimeSlice);
  EXPECT_FALSE(first.mps()) << "turns hold the shares of any mixture";
  third.Forget();
  EXPECT_TRUE(first.mps()) << "it died";
  first.Forget();
  second.Forget();
  EXPECT_FALSE(first.mps());
}

TEST_F(TurnstileTest, UnderMpsIsChargedByThePartOfTheGpuThatItFills) {
  SetLimit(1000000);
  Turnstile gate(slice_, 0, 0, path_.c_str());
  gate.Say(Sharing::kMps);
  const Admission admission = gate.Enter(Unit{kMillisecond, true, 250000, true});
  EXPECT_EQ(admission.admitted, kMillisecond / 4);
  EXPECT_TRUE(gate.AloneSince(admission));
  const Admission beside = gate.Enter(Unit{kMillisecond, true, 500000, true});
  EXPECT_EQ(line().units, 2u);
  gate.Leave({admission.admitted});
  EXPECT_EQ(gate.Charged(), kMillisecond / 4) << "whatever time has passed";
  gate.Leave({beside.admitted, -1, 0, Seen::kByMarker, 7});
  EXPECT_EQ(gate.Charged(), kMillisecond / 4 + 7) << "what it was seen to take";
  EXPECT_EQ(line().units, 0u);
  EXPECT_EQ(line().in_flight, 0);
}

TEST_F(TurnstileTest, UnderMpsNothingIsMeasuredBesideAnotherProcessOfTheSlice) {
  SetLimit(1000000);
  Turnstile own(slice_, 0, 0, path_.c_str()), other(slice_, 0, 1, path_.c_str());
  own.Say(Sharing::kMps);
  other.Say(Sharing::kMps);
  const Admission first = own.Enter(Unit{1000, true, 100000, true});
  EXPECT_TRUE(own.AloneSince(first));
  const Admission second = other.Enter(Unit{1000, true, 100000, true});
  EXPECT_FALSE(own.AloneSince(first));
  EXPECT_FALSE(other.AloneSince(second));
  own.Leave({first.admitted});
  EXPECT_FALSE(other.AloneSince(second)) << "it was not alone when it began";
  other.Leave({second.admitted});
}

TEST_F(TurnstileTest, UnderMpsTheDeadTakeNothingWithThem) {
  SetLimit(300000);
  Turnstile gate(slice_, 0, 9, path_.c_str());
  gate.Say(Sharing::kMps);
  InAKilledProcess([&](TrancheSlice* slice, uint32_t slot) {
    Turnstile own(slice, 0, slot, path_.c_str());
    own.Say(Sharing::kMps);
    own.Enter(Unit{5 * kMillisecond, true, 500000, true});
  });
  EXPECT_EQ(line().units, 1u);
  SliceFile::Reap(path_.c_str(), slice_);
  EXPECT_EQ(line().units, 0u);
  EXPECT_EQ(line().in_flight, 0);
  EXPECT_EQ(gate.Charged(), 5 * kMillisecond / 2);
  EXPECT_TRUE(gate.mps());
}

TEST_F(TurnstileTest, WhoWaitsGoesOnWhenThePolicyChanges) {
  SetLimit(300000);
  Turnstile gate(slice_, 0, 0, path_.c_str());
  gate.Say(Sharing::kMps);
  // More than the bucket holds, so that the next one waits.
  const Admission all = gate.Enter(Unit{10 * kBucket, true, 1000000, true});
  std::thread waiter([&] {
    Turnstile other(slice_, 0, 1, path_.c_str());
    const Admission next = other.Enter(Unit{kMillisecond, true, 1000000, true});
    other.Leave({next.admitted});
  });
  while (!SomeoneWaits()) libc::Yield();
  gate.Say(Sharing::kTimeSlice);
  EXPECT_FALSE(gate.mps());
  // What was in flight is complete, and had taken nothing.
  gate.Leave({all.admitted, 0});
  ASSERT_TRUE(
      SliceFile::SetShares(path_.c_str(), slice_, 0, Turnstile::kOwnLine, 1000000, 1000000, 1, 0));
  waiter.join();
  EXPECT_EQ(line().units, 0u);
  EXPECT_EQ(line().in_flight, 0);
}

}  // namespace
}  // namespace tranche::limiter
