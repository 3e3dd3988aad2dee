#include "edge/runtime/log_file.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <thread>

namespace tranche {
namespace {

class LogFileTest : public testing::Test {
 protected:
  void SetUp() override {
    directory_ = testing::TempDir() + "log_file_test." + std::to_string(getpid());
    std::filesystem::create_directories(directory_);
    path_ = directory_ + "/log";
  }
  void TearDown() override { std::filesystem::remove_all(directory_); }

  void Write(const std::string& text) { std::ofstream(path_, std::ios::app) << text; }
  static std::string Read(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
  }

  std::string directory_, path_;
};

TEST_F(LogFileTest, TheLastLines) {
  Write("one\ntwo\nthree\n");
  EXPECT_EQ(ReadLog(path_, 2, {})->text, "two\nthree\n");
  EXPECT_EQ(ReadLog(path_, 2, {})->next, 14u);
  EXPECT_EQ(ReadLog(path_, 9, {})->text, "one\ntwo\nthree\n");
  EXPECT_EQ(ReadLog(path_, 0, {})->text, "");
  Write("half");
  EXPECT_EQ(ReadLog(path_, 1, {})->text, "half");
  EXPECT_EQ(ReadLog(path_, 2, {})->text, "three\nhalf");
}

TEST_F(LogFileTest, TheLastLinesOfALongLog) {
  std::string text;
  for (int i = 0; i < 20000; ++i) text += "line " + std::to_string(i) + "\n";
  Write(text);
  EXPECT_EQ(ReadLog(path_, 2, {})->text, "line 19998\nline 19999\n");
  const auto many = ReadLog(path_, 5000, {});
  EXPECT_TRUE(many->text.starts_with("line 15000\n"));
  // The cap wins over the number of lines.
  EXPECT_LE(ReadLog(path_, 20000, {}, KiB(4))->text.size(), 4096u);
}

TEST_F(LogFileTest, FollowsFromWhereItStopped) {
  Write("one\n");
  const auto first = ReadLog(path_, 10, {});
  Write("two\nthree\n");
  const auto second = ReadLog(path_, 0, first->next);
  EXPECT_EQ(second->text, "two\nthree\n");
  EXPECT_EQ(ReadLog(path_, 1, first->next)->text, "two\n");
  const auto third = ReadLog(path_, 0, second->next);
  EXPECT_EQ(third->text, "");
  EXPECT_EQ(third->next, second->next);
}

TEST_F(LogFileTest, CutsAtALineWhereItCan) {
  Write("short\n" + std::string(100, 'x') + "\n");
  EXPECT_EQ(ReadLog(path_, 0, 0, Bytes{50})->text, "short\n");
  EXPECT_EQ(ReadLog(path_, 0, 6, Bytes{50})->text, std::string(50, 'x'));
}

TEST_F(LogFileTest, AfterARotationItStartsAgain) {
  Write("a long line before\n");
  const auto before = ReadLog(path_, 10, {});
  ASSERT_TRUE(*RotateLog(path_, Bytes{5}, 2));
  Write("new\n");
  EXPECT_EQ(ReadLog(path_, 0, before->next)->text, "new\n");
}

TEST_F(LogFileTest, NoLogIsNotFound) {
  const auto none = ReadLog(path_, 1, {});
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kNotFound);
  EXPECT_EQ(RotateLog(path_, Bytes{1}, 1), false);
}

TEST_F(LogFileTest, ALinkIsNotFollowed) {
  std::ofstream(directory_ + "/secret") << "secret";
  std::filesystem::create_symlink(directory_ + "/secret", path_);
  EXPECT_FALSE(ReadLog(path_, 1, {}));
  EXPECT_FALSE(RotateLog(path_, Bytes{1}, 1));
  EXPECT_EQ(Read(directory_ + "/secret"), "secret");
}

TEST_F(LogFileTest, KeepsAsManyAsAsked) {
  for (int i = 0; i < 5; ++i) {
    Write("log " + std::to_string(i) + "\n");
    EXPECT_TRUE(*RotateLog(path_, Bytes{3}, 2));
  }
  EXPECT_FALSE(*RotateLog(path_, Bytes{3}, 2));
  EXPECT_EQ(Read(path_), "");
  EXPECT_EQ(Read(path_ + ".1"), "log 4\n");
  EXPECT_EQ(Read(path_ + ".2"), "log 3\n");
  EXPECT_FALSE(std::filesystem::exists(path_ + ".3"));
}

TEST_F(LogFileTest, WritersNeedNotBeTold) {
  const int fd = open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0640);
  ASSERT_GE(fd, 0);
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    const std::string line(99, 'x');
    while (!stop) {
      [[maybe_unused]] const ssize_t wrote = write(fd, (line + "\n").data(), 100);
    }
  });
  for (int rotations = 0; rotations < 20;) rotations += *RotateLog(path_, Bytes{2000}, 3) ? 1 : 0;
  stop = true;
  writer.join();
  close(fd);
  // Every file begins with a whole line, and there is no hole of zeros where it was truncated under
  // its writer. Only the end may be cut, where the copy met a write.
  const std::string line = std::string(99, 'x') + "\n";
  for (const char* suffix : {"", ".1", ".2", ".3"}) {
    std::string text = Read(path_ + suffix);
    text.resize(text.size() - text.size() % line.size());
    for (size_t at = 0; at < text.size(); at += line.size()) {
      ASSERT_EQ(text.substr(at, line.size()), line) << suffix << " at " << at;
    }
  }
  struct stat info;
  ASSERT_EQ(stat((path_ + ".1").c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0640u);
}

}  // namespace
}  // namespace tranche
