#include "edge/runtime/environment.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tranche {
namespace {

using testing::HasSubstr;
using testing::Not;

ReplicaLaunch Launch() {
  ReplicaLaunch launch;
  launch.mark = {"d1", "phi", 2, 7};
  launch.device_uuid = "MIG-1";
  launch.port = 8100;
  return launch;
}

TEST(EnvironmentTest, IsWhatIsDocumentedAndNoMore) {
  const Variables inherited = {{"PATH", "/p"},
                               {"LANG", "C.UTF-8"},
                               {"TZ", "UTC"},
                               {"SECRET", "x"},
                               {"LD_LIBRARY_PATH", "/l"},
                               {"TRANCHE_SIM_DIR", "/sim"},
                               {"LD_PRELOAD", "x.so"},
                               {"TRANCHE_STATE_DIR", "/state"}};
  const auto environment = ComposeEnvironment(Launch(), inherited, {"ana", "/home/ana"}, {});
  ASSERT_TRUE(environment);
  EXPECT_EQ(*environment, (Variables{{"PATH", "/p"},
                                     {"LANG", "C.UTF-8"},
                                     {"TZ", "UTC"},
                                     {"LD_LIBRARY_PATH", "/l"},
                                     {"TRANCHE_SIM_DIR", "/sim"},
                                     {"HOME", "/home/ana"},
                                     {"USER", "ana"},
                                     {"LOGNAME", "ana"},
                                     {"CUDA_VISIBLE_DEVICES", "MIG-1"},
                                     {"CUDA_DEVICE_ORDER", "PCI_BUS_ID"},
                                     {"NVIDIA_VISIBLE_DEVICES", "MIG-1"},
                                     {"PORT", "8100"},
                                     {"TRANCHE_REPLICA", "d1/phi/2/7"}}));
}

TEST(EnvironmentTest, ThereIsAlwaysAPathAndAHome) {
  const auto environment = ComposeEnvironment(Launch(), {}, {}, {});
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->at("PATH"), "/usr/local/bin:/usr/bin:/bin");
  EXPECT_EQ(environment->at("HOME"), "/");
}

TEST(EnvironmentTest, TheWorkloadWinsOverWhatIsInheritedAndItsSecretsOverBoth) {
  auto launch = Launch();
  launch.env = {{"PATH", "/mine"}, {"TOKEN", "open"}, {"URL", "http://localhost:${PORT}/"}};
  const auto environment = ComposeEnvironment(launch, {{"PATH", "/p"}}, {}, {{"TOKEN", "secret"}});
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->at("PATH"), "/mine");
  EXPECT_EQ(environment->at("TOKEN"), "secret");
  EXPECT_EQ(environment->at("URL"), "http://localhost:8100/");
}

TEST(EnvironmentTest, NobodyTakesAnotherDeviceOrAnotherMark) {
  auto launch = Launch();
  launch.env = {
      {"CUDA_VISIBLE_DEVICES", "0,1,2"}, {"NVIDIA_VISIBLE_DEVICES", "all"}, {"PORT", "1"}};
  const auto environment = ComposeEnvironment(
      launch, {}, {}, {{"TRANCHE_REPLICA", "x/y/0/0"}, {"CUDA_VISIBLE_DEVICES", "0"}});
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->at("CUDA_VISIBLE_DEVICES"), "MIG-1");
  EXPECT_EQ(environment->at("NVIDIA_VISIBLE_DEVICES"), "MIG-1");
  EXPECT_EQ(environment->at("PORT"), "8100");
  EXPECT_EQ(environment->at("TRANCHE_REPLICA"), "d1/phi/2/7");
}

TEST(EnvironmentTest, WithoutADeviceCudaSeesNone) {
  auto launch = Launch();
  launch.device_uuid = "";
  launch.port.reset();
  const auto environment = ComposeEnvironment(launch, {}, {}, {{"PORT", "1"}});
  ASSERT_TRUE(environment);
  EXPECT_EQ(environment->at("CUDA_VISIBLE_DEVICES"), "");
  EXPECT_EQ(environment->at("NVIDIA_VISIBLE_DEVICES"), "void");
  EXPECT_FALSE(environment->contains("PORT"));
}

TEST(EnvironmentTest, AVariableNeedsAName) {
  auto launch = Launch();
  launch.env = {{"A=B", "c"}};
  const auto environment = ComposeEnvironment(launch, {}, {}, {});
  ASSERT_FALSE(environment);
  EXPECT_EQ(environment.error().code, ErrorCode::kInvalid);
}

TEST(EnvironmentTest, APortIsPutInEverywhere) {
  EXPECT_EQ(ExpandPort("${PORT}:${PORT}/$PORT ${PORTS}", 80), "80:80/$PORT ${PORTS}");
  EXPECT_EQ(ExpandPort("", {}), "");
  EXPECT_EQ(ExpandPort("plain", {}), "plain");
  const auto none = ExpandPort("--port=${PORT}", {});
  ASSERT_FALSE(none);
  EXPECT_THAT(none.error().message, HasSubstr("--port=${PORT}"));
}

TEST(EnvironmentTest, AnEnvFileIsReadAsShellsWriteIt) {
  const auto variables = ParseEnvFile(
      "# comment\n\nA=1\n  export B = two words \nC=\"quoted # "
      "$HOME\"\nD='it'\nE=\nF=a=b\r\nG=\"odd\nA=last",
      "secrets.env");
  ASSERT_TRUE(variables) << variables.error().message;
  EXPECT_EQ(*variables, (Variables{{"A", "last"},
                                   {"B", "two words"},
                                   {"C", "quoted # $HOME"},
                                   {"D", "it"},
                                   {"E", ""},
                                   {"F", "a=b"},
                                   {"G", "\"odd"}}));
}

TEST(EnvironmentTest, AMistakeInAnEnvFileNamesTheLineAndNotTheSecret) {
  for (const char* text :
       {"A=1\nhunter2\n", "A=1\nhunter2 x=3\n", "A=1\n=hunter2\n", "A=1\n1hunter2=x\n"}) {
    const auto variables = ParseEnvFile(text, "secrets.env");
    ASSERT_FALSE(variables) << text;
    EXPECT_EQ(variables.error().code, ErrorCode::kInvalid);
    EXPECT_THAT(variables.error().message, HasSubstr("secrets.env:2"));
    EXPECT_THAT(variables.error().message + variables.error().hint, Not(HasSubstr("hunter2")));
  }
}

TEST(ReplicaMarkTest, IsReadBack) {
  const ReplicaMark mark = {"d-1", "phi", 3, 18446744073709551615u};
  EXPECT_EQ(mark.Text(), "d-1/phi/3/18446744073709551615");
  EXPECT_EQ(ParseReplicaMark(mark.Text()), mark);
}

TEST(ReplicaMarkTest, AnythingElseIsRefused) {
  for (const char* text :
       {"", "a", "a/b", "a/b/1", "a/b/1/", "a/b//1", "/b/1/1", "a//1/1", "a/b/-1/1", "a/b/1/-1",
        "a/b/1/2/3", "a/b/1x/2", "a/b/99999999999/1", "a/b/ 1/2"}) {
    EXPECT_FALSE(ParseReplicaMark(text)) << text;
  }
}

}  // namespace
}  // namespace tranche
