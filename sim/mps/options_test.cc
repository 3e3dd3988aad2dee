#include "sim/mps/options.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tranche::sim::mps {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using Act = Options::Act;

constexpr int kOld = 13000, kPartitions = 13010, kNamed = 13040;

Options Read(const Words& arguments, int version = kNamed,
             const std::optional<std::string>& variable = std::nullopt) {
  const auto options = ReadOptions(arguments, version, variable);
  EXPECT_TRUE(options) << options.error().message;
  return options.value_or(Options{});
}
std::string Refused(const Words& arguments, int version = kNamed,
                    const std::optional<std::string>& variable = std::nullopt) {
  const auto options = ReadOptions(arguments, version, variable);
  return options ? "taken" : options.error().message;
}

TEST(MpsOptionsTest, WithoutAnyItTalks) {
  EXPECT_EQ(Read({}).act, Act::kTalk);
  EXPECT_EQ(Read({"-d"}).act, Act::kBackground);
  EXPECT_EQ(Read({"--foreground"}).act, Act::kForeground);
  EXPECT_EQ(Read({"--version"}).act, Act::kVersion);
  EXPECT_EQ(Read({"-q"}).act, Act::kQuit);
}

TEST(MpsOptionsTest, AProtocolIsChosenInAnySpelling) {
  EXPECT_EQ(Read({"-d"}).protocol, 2);
  for (const Words& words : {Words{"-d", "-p", "3"}, Words{"-p3", "-d"},
                             Words{"-d", "--protocol", "3"}, Words{"--protocol=3", "--daemon"}})
    EXPECT_EQ(Read(words).protocol, 3) << Join(words, " ");
  EXPECT_EQ(Read({"-d"}, kNamed, "3").protocol, 3);
  EXPECT_EQ(Read({"-d", "-p", "3"}, kNamed, "2").protocol, 2) << "the variable wins";
  EXPECT_THAT(Refused({"-d", "-p", "4"}), HasSubstr("no protocol '4'"));
  EXPECT_THAT(Refused({"-d", "-p"}), HasSubstr("needs a value"));
  EXPECT_THAT(Refused({"-d"}, kNamed, "new"), HasSubstr("no protocol 'new'"));
}

TEST(MpsOptionsTest, AnOlderProgramKnowsLess) {
  EXPECT_EQ(Read({"-d"}, kOld, "3").protocol, 2) << "nor the variable";
  EXPECT_TRUE(Read({"-d", "-S"}, kPartitions).static_partitions);
  EXPECT_THAT(Refused({"-d", "-S"}, kOld), HasSubstr("Unknown option '-S'"));
  for (const char* option : {"-p", "--protocol=3", "-q", "--quit", "-m", "-a", "--help", "server"})
    EXPECT_THAT(Refused({option}, kPartitions), HasSubstr("Unknown option")) << option;
  EXPECT_THAT(UsageOfOptions(kOld), testing::Not(HasSubstr("-S")));
  EXPECT_THAT(UsageOfOptions(kNamed), HasSubstr("--protocol"));
}

TEST(MpsOptionsTest, ACommandIsWhatFollows) {
  const Options options = Read({"-p", "2", "server", "list", "--format=csv"});
  EXPECT_EQ(options.act, Act::kCommand);
  EXPECT_THAT(options.command, ElementsAre("server", "list", "--format=csv"));
  EXPECT_THAT(Refused({"-d", "server", "list"}), HasSubstr("A daemon takes no command"));
}

TEST(MpsOptionsTest, WhatIsOfOneProtocolIsRefusedInTheOther) {
  EXPECT_THAT(Refused({"-d", "-p", "3", "-S"}), HasSubstr("of protocol 2"));
  EXPECT_THAT(Refused({"-d", "-a", "mps.toml"}), HasSubstr("protocol 3"));
  EXPECT_EQ(Read({"-d", "-p3", "--apply=mps.toml"}).configuration, "mps.toml");
  EXPECT_TRUE(Read({"-d", "-p3", "--multiuser"}).any_user);
}

}  // namespace
}  // namespace tranche::sim::mps
