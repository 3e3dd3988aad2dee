#include "edge/driver/timeslice/smi_time_slices.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace tranche {
namespace {

namespace fs = std::filesystem;

// A program of this name in a folder of its own, which keeps one value and is asked as nvidia-smi
// is.
class SmiTimeSlicesTest : public testing::Test {
 protected:
  void SetUp() override {
    folder_ =
        fs::temp_directory_path() / ("tranche-time-slices-" + std::to_string(::getpid()) + "-" +
                                     testing::UnitTest::GetInstance()->current_test_info()->name());
    fs::create_directories(folder_);
  }
  void TearDown() override { fs::remove_all(folder_); }

  void Install(const std::string& script) {
    const fs::path program = folder_ / "nvidia-smi";
    std::ofstream(program) << "#!/bin/sh\n" << script;
    fs::permissions(program, fs::perms::owner_all);
  }

  std::unique_ptr<TimeSlices> Make() {
    return MakeSmiTimeSlices(folder_.string(), {"PATH=/usr/bin:/bin", "KEPT=" + folder_.string()});
  }

  fs::path folder_;
};

TEST_F(SmiTimeSlicesTest, SetsAndReadsBack) {
  Install(R"(echo "$*" >> "$KEPT/asked"
case "$4" in
  --set-timeslice=*) echo "${4#*=}" > "$KEPT/value" ;;
  -l) case $(cat "$KEPT/value") in 0) word=Default ;; 1) word=Short ;; 3) word=Long ;; esac
      echo '| GPU     Name             Value    |'
      echo "|   0     Timeslice        $word  |" ;;
esac
)");
  const auto slices = Make();
  for (const TimeSlice time_slice : {TimeSlice::kShort, TimeSlice::kLong, TimeSlice::kDefault}) {
    ASSERT_TRUE(slices->Set("GPU-1", time_slice));
    const auto read = slices->Get("GPU-1");
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, time_slice);
  }
  std::ifstream asked(folder_ / "asked");
  std::string first;
  std::getline(asked, first);
  EXPECT_EQ(first, "compute-policy -i GPU-1 --set-timeslice=1");
}

TEST_F(SmiTimeSlicesTest, SaysWhyNot) {
  struct Case {
    const char* says;
    ErrorCode code;
  };
  for (const Case& one :
       {Case{"Failed to set timeslice: Insufficient Permissions", ErrorCode::kPermission},
        Case{"Setting timeslice is not supported for GPU 00000000:01:00.0",
             ErrorCode::kUnsupported},
        Case{"GPU is lost", ErrorCode::kFailed}}) {
    Install(std::string("echo '") + one.says + "'; exit 4\n");
    const Status set = Make()->Set("GPU-1", TimeSlice::kShort);
    ASSERT_FALSE(set);
    EXPECT_EQ(set.error().code, one.code) << one.says;
    EXPECT_NE(set.error().message.find(one.says), std::string::npos) << set.error().message;
    EXPECT_FALSE(set.error().hint.empty());
  }
}

TEST_F(SmiTimeSlicesTest, WithoutTheProgramNothingIsSupported) {
  const auto read = Make()->Get("GPU-1");
  ASSERT_FALSE(read);
  EXPECT_EQ(read.error().code, ErrorCode::kUnsupported);
}

TEST(ReadComputePolicy, ReadsWhateverTheTableLooksLike) {
  EXPECT_EQ(*ReadComputePolicy("| 0     Timeslice        Medium   |\n"), TimeSlice::kMedium);
  EXPECT_EQ(*ReadComputePolicy("GPU 00000000:01:00.0\n  Timeslice : 3\n"), TimeSlice::kLong);
  EXPECT_EQ(*ReadComputePolicy("  TIMESLICE=DEFAULT\n"), TimeSlice::kDefault);
  for (const char* wrong : {"", "No devices were found\n", "| 0   Timeslice   N/A |\n",
                            "| 0   Timeslice   9 |\n", "timeslice"}) {
    const auto read = ReadComputePolicy(wrong);
    ASSERT_FALSE(read) << wrong;
    EXPECT_EQ(read.error().code, ErrorCode::kUnsupported);
  }
}

}  // namespace
}  // namespace tranche
