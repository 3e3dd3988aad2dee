#include "sim/cuda/mps_client.h"

#include <gtest/gtest.h>

namespace tranche::sim::cuda {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(MpsClientTest, TheEnvironmentOnlyLowersWhatTheServerGives) {
  EXPECT_EQ(ThreadPercentage(100, std::nullopt), 100u);
  EXPECT_EQ(ThreadPercentage(100, "30"), 30u);
  EXPECT_EQ(ThreadPercentage(50, "80"), 50u);
  EXPECT_EQ(ThreadPercentage(50, "12.5"), 12u);
  for (const char* odd : {"0", "-3", "101", "", "many", "nan"})
    EXPECT_EQ(ThreadPercentage(70, odd), 70u) << odd;
}

// As measured on a GPU of 188 SMs.
TEST(MpsClientTest, ClientsHaveWholePairsOfSms) {
  EXPECT_EQ(SmsOfClient(188, 50), 94u);
  EXPECT_EQ(SmsOfClient(188, 25), 46u);
  EXPECT_EQ(SmsOfClient(188, 75), 140u);
  EXPECT_EQ(SmsOfClient(188, 100), 188u);
  EXPECT_EQ(SmsOfClient(188, 1), 2u);
}

TEST(MpsClientTest, MemoryLimitsByOrdinalAndUuid) {
  const std::vector<std::string> seen = {"GPU-a", "GPU-b"};
  using Limits = std::vector<uint64_t>;
  EXPECT_EQ(MemoryLimits("0=4G", seen), (Limits{4 * kGiB, kNoLimit}));
  EXPECT_EQ(MemoryLimits("GPU-b=512M,0=1G", seen), (Limits{kGiB, kGiB / 2}));
  EXPECT_EQ(MemoryLimits("0=4G,2=1G", seen), (Limits{kNoLimit, kNoLimit}))
      << "a device that is not seen makes all void";
  EXPECT_EQ(MemoryLimits("0=4", seen), (Limits{kNoLimit, kNoLimit})) << "no unit";
  EXPECT_EQ(MemoryLimits("0=1.5G", seen), (Limits{kNoLimit, kNoLimit}));
  EXPECT_EQ(MemoryLimits("", seen), (Limits{kNoLimit, kNoLimit}));
}

TEST(MpsClientTest, SaysItsPriorityOrTakesTheServers) {
  EXPECT_FALSE(BelowNormal(0, std::nullopt));
  EXPECT_TRUE(BelowNormal(1, std::nullopt));
  EXPECT_TRUE(BelowNormal(0, "1"));
  EXPECT_FALSE(BelowNormal(1, "0"));
  EXPECT_TRUE(BelowNormal(1, "low")) << "no number";
}

}  // namespace
}  // namespace tranche::sim::cuda
