#include "agent/listen.h"

#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tranche {
namespace {

class ListenTest : public testing::Test {
 protected:
  void SetUp() override {
    char pattern[] = "/tmp/listen.XXXXXX";
    ASSERT_NE(mkdtemp(pattern), nullptr);
    directory_ = pattern;
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  std::string directory_;
};

TEST_F(ListenTest, MakesTheFolderAndAMemberOnlySocket) {
  const std::string path = directory_ + "/run/tranche.sock";
  const auto fd = ListenOnSocket(path, getegid());
  ASSERT_TRUE(fd) << fd.error().message;
  struct stat there {};
  ASSERT_EQ(stat(path.c_str(), &there), 0);
  EXPECT_TRUE(S_ISSOCK(there.st_mode));
  EXPECT_EQ(there.st_mode & 0777u, 0660u);
  close(*fd);
}

TEST_F(ListenTest, ReplacesWhatADeadDaemonLeft) {
  const std::string path = directory_ + "/s";
  const auto first = ListenOnSocket(path, std::nullopt);
  ASSERT_TRUE(first);
  close(*first);
  const auto second = ListenOnSocket(path, std::nullopt);
  ASSERT_TRUE(second) << second.error().message;
  close(*second);
}

TEST_F(ListenTest, DoesNotTakeTheSocketOfALivingDaemon) {
  const std::string path = directory_ + "/s";
  const auto first = ListenOnSocket(path, std::nullopt);
  ASSERT_TRUE(first);
  const auto second = ListenOnSocket(path, std::nullopt);
  ASSERT_FALSE(second);
  EXPECT_EQ(second.error().code, ErrorCode::kBusy);
  close(*first);
}

TEST_F(ListenTest, DoesNotRemoveAFile) {
  const std::string path = directory_ + "/s";
  std::ofstream(path) << "precious";
  EXPECT_FALSE(ListenOnSocket(path, std::nullopt));
  EXPECT_TRUE(std::filesystem::is_regular_file(path));
}

TEST_F(ListenTest, SaysThatAPathIsTooLong) {
  const auto fd = ListenOnSocket(directory_ + "/" + std::string(200, 'x'), std::nullopt);
  ASSERT_FALSE(fd);
  EXPECT_EQ(fd.error().code, ErrorCode::kInvalid);
}

}  // namespace
}  // namespace tranche
