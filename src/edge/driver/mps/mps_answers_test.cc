#include "edge/driver/mps/mps_answers.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tranche::mps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr const char* kUuid = "GPU-74d43ed3-cdf7-e667-3644-bf5b4f46ed65";

// As NVIDIA's documentation of release 615 prints it.
constexpr const char* kPartitions =
    "GPU           Partition                              free  used  free  used  clients\n"
    "                                                     chunk chunk SM    SM\n"
    "GPU-74d43ed3  -                                      0     10    0     80    -\n"
    "GPU-74d43ed3  Dx4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA   -     5     -     40    Yes\n"
    "GPU-74d43ed3  Cx4A/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA   -     3     -     24    -\n";

TEST(MpsAnswers, PartitionsAreListedWithShortUuidsAndWithoutSomeNumbers) {
  const auto partitions = ReadPartitions(kPartitions, kUuid);
  ASSERT_TRUE(partitions) << partitions.error().message;
  EXPECT_EQ(partitions->chunks, 10);
  EXPECT_EQ(partitions->sms, 80);
  EXPECT_THAT(
      partitions->list,
      ElementsAre(MpsPartition{std::string(kUuid) + "/Dx4AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 5},
                  MpsPartition{std::string(kUuid) + "/Cx4A/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", 3}));
}

TEST(MpsAnswers, PartitionsOfAnotherGpuAreNotThisOnes) {
  const auto none = ReadPartitions(kPartitions, "GPU-11111111-cdf7-e667-3644-bf5b4f46ed65");
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kUnsupported);
}

TEST(MpsAnswers, ADaemonWithoutPartitionsSaysSoInItsWords) {
  const auto none = ReadPartitions("Static SM partitioning is not enabled\n", kUuid);
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().code, ErrorCode::kUnsupported);
  EXPECT_THAT(none.error().message, HasSubstr("is not enabled"));
  const auto garbage = ReadPartitions("GPU-74d43ed3  -  a b c d -\n", kUuid);
  ASSERT_FALSE(garbage);
  EXPECT_EQ(garbage.error().code, ErrorCode::kFailed);
}

TEST(MpsAnswers, ANewPartitionIsNamedWithAndWithoutASentence) {
  const std::string name = std::string(kUuid) + "/Dx4A/AAA";
  EXPECT_EQ(ReadNewPartition("Partition " + name + " created\n", kUuid), name);
  EXPECT_EQ(ReadNewPartition(name + "\n", kUuid), name);
  EXPECT_EQ(ReadNewPartition("GPU-74d43ed3/Dx4A/AAA\n", kUuid), name);
  EXPECT_EQ(ReadNewPartition("Not enough free SM chunks\n", kUuid), std::nullopt);
  EXPECT_EQ(ReadNewPartition("Failed: GPU-1234/x\n", kUuid), std::nullopt);
}

TEST(MpsAnswers, ServersOfBothProtocols) {
  EXPECT_THAT(*ReadServers("4242\n4300\n"),
              ElementsAre(MpsServer{4242, "", false}, MpsServer{4300, "", false}));
  EXPECT_THAT(*ReadServers(""), IsEmpty());
  EXPECT_FALSE(ReadServers("Cannot find\n"));
  const auto named = ReadNamedServers(
      "training,1000,48201,Ready,/run/nvidia-mps/training,GPU-abcd-1234,GPU-efgh-5678,-\n"
      "uid_0,0,48202,Fault,/run/nvidia-mps/uid_0,-,-\n"
      "soon,0,-,Initializing,/run/nvidia-mps/soon,-,-\n");
  ASSERT_TRUE(named) << named.error().message;
  EXPECT_THAT(*named,
              ElementsAre(MpsServer{48201, "training", false}, MpsServer{48202, "uid_0", true}));
  EXPECT_FALSE(ReadNamedServers("No servers\n"));
}

TEST(MpsAnswers, ClientsOfBothProtocols) {
  EXPECT_THAT(*ReadClients("51023\n51087\n"), ElementsAre(51023, 51087));
  EXPECT_THAT(*ReadNamedClients("51023,training,0,default,python train.py, again\n"
                                "51023,training,1,default,python train.py, again\n"
                                "51087,training,0,high_priority,python eval.py\n"),
              ElementsAre(51023, 51087));
  EXPECT_FALSE(ReadNamedClients("PID,SERVER\n"));
}

TEST(MpsAnswers, ALimitThatIsNotSetIsAbsent) {
  const auto namespaces = ReadNamespaces(
      "small,shared,Ready,20G,30.00,0,/dev/shm/mps/shared/small\n"
      "free,shared,Ready,-,-,0,/dev/shm/mps/shared/free\n"
      "default,shared,Ready,512M,50.00,1,/dev/shm/mps/shared/default\n");
  ASSERT_TRUE(namespaces) << namespaces.error().message;
  EXPECT_THAT(
      *namespaces,
      ElementsAre(MpsNamespace{"small", GiB(20), 30.0, "/dev/shm/mps/shared/small"},
                  MpsNamespace{"free", std::nullopt, std::nullopt, "/dev/shm/mps/shared/free"},
                  MpsNamespace{"default", MiB(512), 50.0, "/dev/shm/mps/shared/default"}));
  EXPECT_FALSE(ReadNamespaces("small,shared,Ready\n"));
}

}  // namespace
}  // namespace tranche::mps
