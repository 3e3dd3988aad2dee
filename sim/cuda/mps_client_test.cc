#include "sim/cuda/mps_client.h"

#include <gtest/gtest.h>

namespace tranche::sim::cuda {
namespace {

constexpr uint64_t kGiB = uint64_t{1} << 30;

TEST(MpsClientTest, TheEnvironmentOnlyLowersWhatTheServerGives) {
  EXPECT_EQ(ThreadPercentage(100, std::nullopt), 100);
  EXPECT_EQ(ThreadPercentage(100, "30"), 30);
  EXPECT_EQ(ThreadPercentage(50, "80"), 50);
  EXPECT_EQ(ThreadPercentage(50, "12.5"), 12.5);
  for (const char* odd : {"0", "-3", "101", "", "many", "nan"})
    EXPECT_EQ(ThreadPercentage(70, odd), 70) << odd;
}

TEST(MpsClientTest, TheNamespacesPercentageIsWhatCounts) {
  EXPECT_EQ(ThreadPercentageIn(30, "80"), 30) << "although the client wants more";
  EXPECT_EQ(ThreadPercentageIn(30, "10"), 30) << "or less";
  EXPECT_EQ(ThreadPercentageIn(std::nullopt, "10"), 10);
  EXPECT_EQ(ThreadPercentageIn(std::nullopt, std::nullopt), 100);
}

TEST(MpsClientTest, LooksWhereItIsToldToOrWhereDaemonsAre) {
  using Directories = std::vector<std::string>;
  EXPECT_EQ(MpsPipeDirectories("/my/pipe"), (Directories{"/my/pipe"}));
  EXPECT_EQ(MpsPipeDirectories(std::nullopt), (Directories{"/tmp/nvidia-mps", "/run/nvidia-mps"}));
}

TEST(MpsClientTest, APartitionIsOfTheGpuThatItNames) {
  const std::vector<std::string> seen = {"GPU-aaaa-1", "GPU-aaab-2"};
  EXPECT_EQ(PartitionOn("GPU-aaaa-1/Dx4A", "GPU-aaaa-1", seen), "Dx4A");
  EXPECT_EQ(PartitionOn("GPU-aaaa/Dx/4A", "GPU-aaaa-1", seen), "Dx/4A") << "what it is unique by";
  EXPECT_EQ(PartitionOn("GPU-aaa/Dx4A", "GPU-aaaa-1", seen), "") << "two begin so";
  EXPECT_EQ(PartitionOn("GPU-aaaa-1/Dx4A", "GPU-aaab-2", seen), "");
  for (const auto& none : {std::optional<std::string>(), std::optional<std::string>("Dx4A")})
    EXPECT_EQ(PartitionOn(none, "GPU-aaaa-1", seen), "");
}

// As measured on a GPU of 188 SMs.
TEST(MpsClientTest, ClientsHaveWholePairsOfSms) {
  EXPECT_EQ(SmsOfClient(188, 50), 94u);
  EXPECT_EQ(SmsOfClient(188, 25), 46u);
  EXPECT_EQ(SmsOfClient(188, 75), 140u);
  EXPECT_EQ(SmsOfClient(188, 100), 188u);
  EXPECT_EQ(SmsOfClient(188, 1), 2u);
  EXPECT_EQ(SmsOfClient(188, 12.5), 22u);
}

TEST(MpsClientTest, MemoryLimitsByOrdinalAndUuid) {
  const std::vector<std::string> seen = {"GPU-a", "GPU-b"};
  using Limits = std::vector<uint64_t>;
  EXPECT_EQ(MemoryLimits("0=4G", seen), (Limits{4 * kGiB, kNoLimit}));
  EXPECT_EQ(MemoryLimits("GPU-b=512M,0=1G", seen), (Limits{kGiB, kGiB / 2}));
  EXPECT_EQ(MemoryLimits("GPU-b=2G", seen), (Limits{kNoLimit, 2 * kGiB}));
  EXPECT_EQ(MemoryLimits("0=4G,2=1G", seen), std::nullopt)
      << "a device that is not seen makes all void, the server's limits as well";
  EXPECT_EQ(MemoryLimits("0=4", seen), (Limits{kNoLimit, kNoLimit})) << "no unit";
  EXPECT_EQ(MemoryLimits("0=1.5G", seen), (Limits{kNoLimit, kNoLimit}));
  EXPECT_EQ(MemoryLimits("", seen), (Limits{kNoLimit, kNoLimit}));
}

TEST(MpsClientTest, SaysItsPriorityOrTakesTheServers) {
  EXPECT_FALSE(BelowNormal(false, std::nullopt));
  EXPECT_TRUE(BelowNormal(true, std::nullopt));
  EXPECT_TRUE(BelowNormal(false, "1"));
  EXPECT_FALSE(BelowNormal(true, "0"));
  EXPECT_TRUE(BelowNormal(true, "low")) << "no number";
}

}  // namespace
}  // namespace tranche::sim::cuda
