#include "edge/broker/slice_store.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <random>

#include "limiter/policy/memory_ledger.h"
#include "limiter/slice_file.h"

namespace tranche {
namespace {

using limiter::MemoryLedger;
using limiter::SliceFile;
using limiter::Verdict;

constexpr const char* kUuid = "GPU-00112233-4455-6677-8899-aabbccddeeff";

class SliceStoreTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tranche-slice.XXXXXX";
    folder_ = mkdtemp(name);
    store_ = *SliceStore::Create(tables_, folder_ + "/slices", "s", {{kUuid, GiB(1), MiB(100)}});
  }
  void TearDown() override {
    store_.reset();
    std::filesystem::remove_all(folder_);
  }

  // A process of the slice: does `body(table, slot)` and then what it likes. -1: it could not join.
  template <typename Body>
  pid_t Tenant(const Body& body) {
    const pid_t child = fork();
    if (child != 0) return child;
    uint32_t slot = 0;
    TrancheSlice* table = SliceFile::Join(store_->path().c_str(), &slot);
    if (table == nullptr) _exit(1);
    body(table, slot);
    _exit(0);
  }
  static bool Reserve(TrancheSlice* table, uint32_t slot, uint64_t bytes) {
    return MemoryLedger(table, 0).Reserve(slot, bytes, [](uint32_t, uint32_t attempt) {
      return attempt < 1000000;
    }) == Verdict::kGranted;
  }
  static void Kill(pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  static int ExitCode(pid_t pid) {
    int status = 0;
    waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  }
  static void Until(const std::function<bool()>& condition) {
    for (int i = 0; i < 30000 && !condition(); ++i) usleep(1000);
    ASSERT_TRUE(condition());
  }

  std::string folder_;
  FileTables tables_;
  std::unique_ptr<SliceStore> store_;
};

TEST_F(SliceStoreTest, AMembersShareComesBackWhenItDies) {
  const pid_t tenant = Tenant([](TrancheSlice* table, uint32_t slot) {
    Reserve(table, slot, GiB(1).value);
    for (;;) pause();
  });
  Until([&] { return store_->Used(0) == GiB(1); });
  EXPECT_EQ(store_->Reap(), 0u);
  ASSERT_EQ(store_->Members().size(), 1u);
  EXPECT_EQ(store_->Members()[0].pid, static_cast<uint64_t>(tenant));
  Kill(tenant);
  EXPECT_EQ(store_->Reap(), 1u);
  EXPECT_EQ(store_->Used(0), Bytes{0});
  EXPECT_TRUE(store_->Members().empty());
}

// Not even a zombie, whose pid is still there, nor its forked child, which has no part in its
// memory.
TEST_F(SliceStoreTest, ADeadMembersShareIsNotKeptByItsZombieOrItsChild) {
  int ends[2];
  ASSERT_EQ(pipe(ends), 0);
  const pid_t tenant = Tenant([&](TrancheSlice* table, uint32_t slot) {
    Reserve(table, slot, MiB(2).value);
    if (fork() == 0) {
      close(ends[1]);
      char byte;
      while (read(ends[0], &byte, 1) > 0) continue;
      _exit(0);
    }
    for (;;) pause();
  });
  Until([&] { return store_->Used(0) == MiB(2); });
  kill(tenant, SIGKILL);
  siginfo_t info;
  waitid(P_PID, static_cast<id_t>(tenant), &info, WEXITED | WNOWAIT);
  EXPECT_EQ(store_->Reap(), 1u);
  EXPECT_EQ(store_->Used(0), Bytes{0});
  waitpid(tenant, nullptr, 0);
  close(ends[0]);
  close(ends[1]);
}

TEST_F(SliceStoreTest, JoiningLeavesNoDescriptorOpen) {
  EXPECT_EQ(ExitCode(Tenant([](TrancheSlice* table, uint32_t slot) {
              // Whatever a program closes, its slot stays its own.
              for (int fd = 3; fd < 256; ++fd) {
                if (fcntl(fd, F_GETFD) != -1) {
                  char path[64], target[512];
                  std::snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
                  const ssize_t n = readlink(path, target, sizeof(target) - 1);
                  if (n > 0 && std::string(target, static_cast<size_t>(n)).find("slices") !=
                                   std::string::npos)
                    _exit(3);
                }
              }
              if (!Reserve(table, slot, 1)) _exit(4);
            })),
            0);
}

TEST_F(SliceStoreTest, EverySlotCanBeTakenOnceAndAgainAfterwards) {
  const auto full = [&] {
    std::vector<pid_t> tenants;
    for (int i = 0; i < 20; ++i) {
      tenants.push_back(Tenant([](TrancheSlice* table, uint32_t slot) {
        Reserve(table, slot, MiB(2).value);
        for (;;) pause();
      }));
    }
    Until([&] { return store_->Used(0) == MiB(2) * 20; });
    for (const pid_t tenant : tenants) Kill(tenant);
    EXPECT_EQ(store_->Reap(), 20u);
  };
  full();
  full();
  EXPECT_EQ(store_->Used(0), Bytes{0});
}

TEST_F(SliceStoreTest, WhatIsNoTableIsRefused) {
  uint32_t slot = 7;
  EXPECT_EQ(SliceFile::Join((folder_ + "/none").c_str(), &slot), nullptr);
  const auto spoil = [&](off_t at, char value) {
    const int fd = open(store_->path().c_str(), O_RDWR);
    char before = 0;
    EXPECT_EQ(pread(fd, &before, 1, at), 1);
    EXPECT_EQ(pwrite(fd, &value, 1, at), 1);
    EXPECT_EQ(SliceFile::Join(store_->path().c_str(), &slot), nullptr);
    EXPECT_EQ(pwrite(fd, &before, 1, at), 1);
    close(fd);
  };
  spoil(offsetof(TrancheSlice, magic), 0);
  spoil(offsetof(TrancheSlice, version), 77);
  spoil(offsetof(TrancheSlice, bytes), 1);
  spoil(offsetof(TrancheSlice, device_count), 100);
  ASSERT_EQ(truncate(store_->path().c_str(), 4096), 0);
  EXPECT_EQ(SliceFile::Join(store_->path().c_str(), &slot), nullptr);
  EXPECT_EQ(slot, 7u);
  ASSERT_EQ(truncate(store_->path().c_str(), static_cast<off_t>(TRANCHE_SLICE_BYTES)), 0);
}

// Killed anywhere between asking and giving back: the others go on, and what is left is the truth.
TEST_F(SliceStoreTest, AKillStormLeavesNothingBehindAndStopsNobody) {
  const pid_t survivor = Tenant([](TrancheSlice* table, uint32_t slot) {
    // Its own share always fits; it ends when it was granted so often.
    for (int i = 0; i < 20000; ++i) {
      if (!Reserve(table, slot, MiB(2).value)) _exit(5);
      MemoryLedger(table, 0).Release(slot, MiB(2).value);
    }
  });
  std::mt19937 random(1);
  for (int i = 0; i < 40; ++i) {
    const pid_t victim = Tenant([](TrancheSlice* table, uint32_t slot) {
      for (;;) {
        if (Reserve(table, slot, MiB(4).value)) MemoryLedger(table, 0).Release(slot, MiB(4).value);
      }
    });
    Until([&] { return !store_->Members().empty(); });
    usleep(random() % 2000);
    Kill(victim);
    store_->Reap();
    EXPECT_LE(store_->Used(0), GiB(1));
  }
  EXPECT_EQ(ExitCode(survivor), 0);
  store_->Reap();
  EXPECT_EQ(store_->Used(0), Bytes{0});
}

TEST(ParseUuidTest, OnlyUuids) {
  const auto uuid = ParseUuid(kUuid);
  ASSERT_TRUE(uuid);
  EXPECT_EQ((*uuid)[0], 0x00);
  EXPECT_EQ((*uuid)[15], 0xff);
  EXPECT_FALSE(ParseUuid("GPU-0"));
  EXPECT_FALSE(ParseUuid("GPU-00112233-4455-6677-8899-aabbccddeeffa"));
  EXPECT_FALSE(ParseUuid("zz112233-4455-6677-8899-aabbccddeeff"));
}

}  // namespace
}  // namespace tranche
