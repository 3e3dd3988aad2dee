#include "edge/store/state_lock.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <string>

namespace tranche {
namespace {

class StateLockTest : public testing::Test {
 protected:
  void SetUp() override {
    std::string pattern = testing::TempDir() + "lockXXXXXX";
    ASSERT_NE(mkdtemp(pattern.data()), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
};

TEST_F(StateLockTest, SecondHolderIsRefusedAndToldWhoTheFirstIs) {
  const Result<StateLock> first = StateLock::Acquire(directory_);
  ASSERT_TRUE(first);
  const Result<StateLock> second = StateLock::Acquire(directory_);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  EXPECT_NE(second.error().message.find("pid " + std::to_string(getpid())), std::string::npos)
      << second.error().message;
}

TEST_F(StateLockTest, LettingGoFreesIt) {
  { ASSERT_TRUE(StateLock::Acquire(directory_)); }
  EXPECT_TRUE(StateLock::Acquire(directory_));
}

TEST_F(StateLockTest, MakesAMissingDirectory) {
  EXPECT_TRUE(StateLock::Acquire(directory_ + "/a/b"));
}

TEST_F(StateLockTest, DeathOfTheHolderFreesIt) {
  const pid_t child = fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    const Result<StateLock> held = StateLock::Acquire(directory_);
    kill(getpid(), SIGKILL);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(StateLock::Acquire(directory_));
}

}  // namespace
}  // namespace tranche
