#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <mutex>
#include <optional>
#include <set>
#include <thread>

#include "abi/slice_table.h"
#include "edge/broker/slice_store.h"
#include "edge/broker/test_tables.h"
#include "limiter/libc.h"
#include "limiter/open_table.h"
#include "limiter/slice_file.h"

namespace tranche {
namespace {

using namespace std::chrono_literals;
using limiter::OpenTable;

constexpr const char* kUuid = "GPU-00112233-4455-6677-8899-aabbccddeeff";

bool Within(std::chrono::milliseconds time, const std::function<bool()>& happens) {
  const auto until = std::chrono::steady_clock::now() + time;
  while (!happens()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::sleep_for(2ms);
  }
  return true;
}

// The program, as the daemon starts it.
class TableBrokerTest : public testing::Test {
 protected:
  TablePlace Place(const std::string& name, bool read_only = false) const {
    return {tables_.folder() + "/" + name, 8192, geteuid(), read_only};
  }
  static void Write(const Descriptor& table, char letter) {
    ASSERT_EQ(pwrite(table.get(), &letter, 1, 100), 1);
  }
  static char Read(const Descriptor& table) {
    char letter = '?';
    return pread(table.get(), &letter, 1, 100) == 1 ? letter : '!';
  }

  std::vector<pid_t> Brokers() const { return tables_.Brokers(); }

  TestTables tables_;
};

TEST_F(TableBrokerTest, HandsOutMemoryThatNobodyCanCutShort) {
  TablePlace place = Place("t");
  const auto made = tables_->Make(&place);
  ASSERT_TRUE(made) << made.error().message;
  Write(*made, 'a');
  const Descriptor got(OpenTable(place.path.c_str(), true));
  ASSERT_TRUE(got) << std::strerror(errno);
  EXPECT_EQ(Read(got), 'a');
  EXPECT_EQ(std::filesystem::read_symlink("/proc/self/fd/" + std::to_string(got.get()))
                .string()
                .rfind("/memfd:", 0),
            0u);
  EXPECT_NE(ftruncate(got.get(), 0), 0) << "whoever has it mapped would die of SIGBUS";
  EXPECT_NE(ftruncate(got.get(), 1 << 20), 0);
}

TEST_F(TableBrokerTest, LocksAreOfEachProcessAlone) {
  TablePlace place = Place("t");
  ASSERT_TRUE(tables_->Make(&place));
  const Descriptor one(OpenTable(place.path.c_str(), true));
  const Descriptor other(OpenTable(place.path.c_str(), true));
  struct flock lock = {};
  lock.l_type = F_WRLCK;
  lock.l_len = 1;
  EXPECT_EQ(fcntl(one.get(), F_OFD_SETLK, &lock), 0);
  EXPECT_NE(fcntl(other.get(), F_OFD_SETLK, &lock), 0);
}

TEST_F(TableBrokerTest, AChosenNameIsNew) {
  TablePlace one = Place("t.XXXXXX"), other = Place("t.XXXXXX");
  ASSERT_TRUE(tables_->Make(&one));
  ASSERT_TRUE(tables_->Make(&other));
  EXPECT_NE(one.path, other.path);
  TablePlace taken = one;
  EXPECT_FALSE(tables_->Make(&taken));
}

TEST_F(TableBrokerTest, PathsMayBeLongerThanASocketsName) {
  TablePlace place = Place(std::string(60, 'a') + "/" + std::string(60, 'b') + "/slice");
  const auto made = tables_->Make(&place);
  ASSERT_TRUE(made) << made.error().message;
  EXPECT_GT(place.path.size(), 108u);
  EXPECT_TRUE(Descriptor(OpenTable(place.path.c_str(), true)));
}

TEST_F(TableBrokerTest, WhatIsToBeReadCannotBeWritten) {
  TablePlace gate = Place("gate", true);
  const auto made = tables_->Make(&gate);
  ASSERT_TRUE(made);
  Write(*made, 'g');
  const Descriptor got(OpenTable(gate.path.c_str(), true));
  EXPECT_EQ(Read(got), 'g');
  EXPECT_EQ(mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, got.get(), 0), MAP_FAILED);
}

TEST_F(TableBrokerTest, OnlyItsOwnerGetsIt) {
  if (geteuid() != 0) GTEST_SKIP() << "only root can be somebody else";
  std::filesystem::create_directories(tables_.folder());
  TablePlace place = Place("t"), gate = Place("gate", true);
  place.owner = gate.owner = 1000;
  ASSERT_TRUE(tables_->Make(&place));
  ASSERT_TRUE(tables_->Make(&gate));
  const auto as = [&](uid_t uid, const TablePlace& wanted) {
    const pid_t child = fork();
    if (child == 0) {
      if (setuid(uid) != 0) _exit(99);
      const Descriptor got(OpenTable(wanted.path.c_str(), true));
      if (!got) _exit(errno == EACCES ? 2 : 3);
      const std::string again = "/proc/self/fd/" + std::to_string(got.get());
      _exit(Descriptor(open(again.c_str(), O_RDWR)) ? 1 : 0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WEXITSTATUS(status);
  };
  EXPECT_EQ(as(1000, place), 0) << "and cannot open it again behind the broker's back";
  EXPECT_EQ(as(1000, gate), 0) << "least of all to write";
  EXPECT_EQ(as(1001, place), 2);
  // Even where the path itself would let it in.
  ASSERT_EQ(chmod(place.path.c_str(), 0666), 0);
  EXPECT_EQ(as(1001, place), 2);
}

TEST_F(TableBrokerTest, TellsWhenAProcessThatOpenedATableEnds) {
  TablePlace place = Place("t");
  ASSERT_TRUE(tables_->Make(&place));
  std::mutex mutex;
  std::multiset<std::string> died;
  tables_->TellOfDeaths([&](const std::string& path) {
    const std::lock_guard lock(mutex);
    died.insert(path);
  });
  const auto deaths = [&] {
    const std::lock_guard lock(mutex);
    return died.count(place.path);
  };
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    // Many times, as the limiter does: it is one process.
    for (int i = 0; i < 3; ++i) Descriptor(OpenTable(place.path.c_str(), true));
    (void)!write(ready[1], "x", 1);
    pause();
    _exit(0);
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_EQ(deaths(), 0u);
  kill(child, SIGKILL);
  EXPECT_TRUE(Within(10s, [&] { return deaths() == 1; })) << "a zombie is dead";
  waitpid(child, nullptr, 0);
  tables_->TellOfDeaths({});
  close(ready[0]);
  close(ready[1]);
}

TEST_F(TableBrokerTest, TheNextDaemonFindsTheSameMemory) {
  TablePlace place = Place("t");
  {
    const auto made = tables_->Make(&place);
    ASSERT_TRUE(made);
    Write(*made, 'm');
  }
  const auto before = Brokers();
  tables_.NextDaemon();
  const auto found = tables_->Open(place);
  ASSERT_TRUE(found) << found.error().message;
  EXPECT_EQ(Read(*found), 'm');
  EXPECT_EQ(Brokers(), before);
  TablePlace wrong = place;
  wrong.owner += 1;
  EXPECT_EQ(tables_->Open(wrong).error().code, ErrorCode::kInvalid);
  EXPECT_EQ(tables_->Open(Place("none")).error().code, ErrorCode::kNotFound);
}

TEST_F(TableBrokerTest, ABrokerThatDiesIsReplacedAndNothingIsLost) {
  TablePlace place = Place("t"), removed = Place("r");
  const auto made = tables_->Make(&place);
  ASSERT_TRUE(made);
  ASSERT_TRUE(tables_->Make(&removed));
  tables_->Remove(removed.path);
  Write(*made, 'k');
  ASSERT_EQ(Brokers().size(), 1u);
  const pid_t first = Brokers()[0];
  kill(first, SIGKILL);
  // Whoever begins meanwhile waits for the next.
  const auto now = limiter::libc::Now();
  const Descriptor got(OpenTable(place.path.c_str(), true, now + 20'000'000'000));
  ASSERT_TRUE(got) << std::strerror(errno);
  EXPECT_EQ(Read(got), 'k');
  ASSERT_TRUE(Within(10s, [&] { return Brokers().size() == 1 && Brokers()[0] != first; }));
  EXPECT_FALSE(std::filesystem::exists(removed.path));
  TablePlace another = Place("another");
  EXPECT_TRUE(tables_->Make(&another));
}

TEST_F(TableBrokerTest, ABrokerThatDoesNotAnswerIsReplaced) {
  TablePlace place = Place("t");
  const auto made = tables_->Make(&place);
  ASSERT_TRUE(made);
  Write(*made, 's');
  ASSERT_EQ(Brokers().size(), 1u);
  const pid_t first = Brokers()[0];
  kill(first, SIGSTOP);
  TablePlace another = Place("another");
  EXPECT_TRUE(tables_->Make(&another));
  EXPECT_EQ(Read(Descriptor(OpenTable(place.path.c_str(), true))), 's');
  ASSERT_EQ(Brokers().size(), 1u);
  EXPECT_NE(Brokers()[0], first);
}

TEST_F(TableBrokerTest, EndsWhenNobodyNeedsItAnyMore) {
  TablePlace place = Place("t");
  ASSERT_TRUE(tables_->Make(&place));
  EXPECT_EQ(Brokers().size(), 1u);
  tables_->Remove(place.path);
  EXPECT_FALSE(std::filesystem::exists(place.path));
  EXPECT_FALSE(Descriptor(OpenTable(place.path.c_str(), true)));
  tables_.EndDaemon();
  EXPECT_TRUE(Within(20s, [&] { return Brokers().empty(); }));
}

TEST_F(TableBrokerTest, EndsWithItsFolder) {
  TablePlace place = Place("t");
  ASSERT_TRUE(tables_->Make(&place));
  tables_.EndDaemon();
  std::this_thread::sleep_for(2500ms);
  EXPECT_EQ(Brokers().size(), 1u) << "the next daemon will look for it";
  std::filesystem::remove_all(tables_.folder());
  EXPECT_TRUE(Within(20s, [&] { return Brokers().empty(); }));
}

// As the shim does it: a slot in a slice, given back at once when its process is killed.
TEST_F(TableBrokerTest, WhatAKilledProcessHeldIsGivenBackAtOnce) {
  const auto store =
      *SliceStore::Create(*tables_, tables_.folder(), "s", {{kUuid, GiB(1), MiB(100)}}, geteuid());
  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    uint32_t slot = 0;
    const bool joined = limiter::SliceFile::Join(store->path().c_str(), &slot) != nullptr;
    (void)!write(ready[1], joined ? "y" : "n", 1);
    pause();
    _exit(0);
  }
  char byte = '?';
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  ASSERT_EQ(byte, 'y');
  EXPECT_EQ(store->Members().size(), 1u);
  std::mutex mutex;
  std::condition_variable changed;
  bool reaped = false;
  tables_->TellOfDeaths([&](const std::string&) {
    const std::lock_guard lock(mutex);
    reaped = store->Reap() == 1;
    changed.notify_all();
  });
  kill(child, SIGKILL);
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(changed.wait_for(lock, 10s, [&] { return reaped; }));
  }
  tables_->TellOfDeaths({});
  EXPECT_TRUE(store->Members().empty());
  waitpid(child, nullptr, 0);
  close(ready[0]);
  close(ready[1]);
}

}  // namespace
}  // namespace tranche
