#include "sim/mps/configuration.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "sim/test/scratch.h"

namespace tranche::sim::mps {
namespace {

using testing::HasSubstr;

class MpsConfigurationTest : public testing::Test {
 protected:
  Result<Configuration> Read(const std::string& text) {
    std::ofstream(file_) << text;
    return ReadConfiguration(file_);
  }
  std::string Mistakes(const std::string& text) {
    const auto read = Read(text);
    return read ? "none" : read.error().message;
  }

  ScratchDir scratch_;
  const std::string file_ = scratch_.path() + "/mps.toml";
};

TEST_F(MpsConfigurationTest, ServersNamespacesPartitionsAndFeatures) {
  const auto read = Read(R"(
schema_version = "1.0"
[servers.training]
allowed_devices = "0,GPU-74d43ed3"
pinned_memory_limit = "20G"
uid = 1000
locality_domains = false
[servers.training.namespaces.batch]
active_thread_percentage = "30"
client_priority = "1"
[[servers.inference.devices]]
uuid = "GPU-74d43ed3"
[[servers.inference.devices.sm_partitions]]
name = "large"
chunks = 4
include_remainder = true
[features.memacct]
enabled = false
audit_log = true
[features.context-share]
enabled = true
default_socket = "/run/share"
)");
  ASSERT_TRUE(read) << read.error().message;
  ASSERT_EQ(read->servers.size(), 2u);
  const Configuration::Server& inference = read->servers[0];
  const Configuration::Server& training = read->servers[1];
  EXPECT_EQ(training.wish.name, "training");
  EXPECT_EQ(training.wish.uid, 1000u);
  EXPECT_EQ(training.wish.allowed_devices, "0,GPU-74d43ed3");
  EXPECT_EQ(training.limits.memory, "20G");
  ASSERT_EQ(training.namespaces.size(), 1u);
  EXPECT_EQ(training.namespaces[0].name, "batch");
  EXPECT_EQ(training.namespaces[0].limits.percentage, "30");
  EXPECT_EQ(training.namespaces[0].limits.priority, "1");
  EXPECT_EQ(inference.wish.uid, geteuid());
  ASSERT_EQ(inference.partitions.size(), 1u);
  EXPECT_EQ(inference.partitions[0].name, "large");
  EXPECT_EQ(inference.partitions[0].device, "GPU-74d43ed3");
  EXPECT_EQ(inference.partitions[0].chunks, "4");
  EXPECT_TRUE(inference.partitions[0].include_remainder);
  EXPECT_TRUE(read->audit_log);
  ASSERT_EQ(read->features.size(), 2u);
  EXPECT_FALSE(read->features[0].enabled);
}

TEST_F(MpsConfigurationTest, AllMistakesAreNamedWithTheirLines) {
  const std::string mistakes = Mistakes(R"(
version = 1
[servers.a]
pinned_memory_limit = 20
memory = "20G"
uid = -1
locality_domains = "yes"
[servers.a.namespaces.b]
threads = "30"
[[servers.a.devices]]
[[servers.a.devices.sm_partitions]]
chunks = "4"
[features]
magic = true
)");
  EXPECT_THAT(mistakes, HasSubstr(":2: unknown key 'version'"));
  EXPECT_THAT(mistakes, HasSubstr("schema_version is to be \"1.0\""));
  EXPECT_THAT(mistakes, HasSubstr(":4: servers.a.pinned_memory_limit is no string"));
  EXPECT_THAT(mistakes, HasSubstr(":5: unknown key 'servers.a.memory'"));
  EXPECT_THAT(mistakes, HasSubstr(":6: servers.a.uid is no whole number"));
  EXPECT_THAT(mistakes, HasSubstr(":7: servers.a.locality_domains is neither true nor false"));
  EXPECT_THAT(mistakes, HasSubstr(":9: unknown key 'servers.a.namespaces.b.threads'"));
  EXPECT_THAT(mistakes, HasSubstr("servers.a.devices.uuid is missing"));
  EXPECT_THAT(mistakes, HasSubstr("servers.a.devices.sm_partitions.name is missing"));
  EXPECT_THAT(mistakes, HasSubstr("servers.a.devices.sm_partitions.chunks is no whole number"));
  EXPECT_THAT(mistakes, HasSubstr(":14: unknown key 'features.magic'"));
}

TEST_F(MpsConfigurationTest, WhatIsNoTomlOrNotThereIsSaid) {
  EXPECT_THAT(Mistakes("[servers"), HasSubstr("is no TOML"));
  EXPECT_THAT(Mistakes("schema_version = \"2.0\"\n"), HasSubstr("schema_version is to be"));
  EXPECT_THAT(Mistakes("schema_version = \"1.0\"\nservers = 3\n"),
              HasSubstr("servers is no table"));
  const auto missing = ReadConfiguration(scratch_.path() + "/none.toml");
  ASSERT_FALSE(missing);
  EXPECT_THAT(missing.error().message, HasSubstr("Cannot read"));
}

}  // namespace
}  // namespace tranche::sim::mps
