#include "stage/import/targets.h"
#include "stage/import/testing.h"

namespace tranche {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Config(const std::string& entry) {
  return "version: v1\nmig-configs:\n  one:\n    - " + entry + "\n";
}

struct Rule {
  std::string text;
  std::string mistake;
};

class MigPartedRules : public testing::TestWithParam<Rule> {};

TEST_P(MigPartedRules, IsToldWithItsLine) {
  EXPECT_THAT(MistakesOf(GetParam().text), HasSubstr(GetParam().mistake)) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Rules, MigPartedRules,
    testing::Values(
        Rule{"mig-configs: {a: [{devices: all, mig-enabled: false}]}\n",
             "1: the file has no version"},
        Rule{"version: v2\nmig-configs: {a: [{devices: all, mig-enabled: false}]}\n",
             "1: unknown version: 'v2'"},
        Rule{"version: v1\nmig-configs: {a: [{devices: all, mig-enabled: false}]}\nextra: 1\n",
             "3: unknown key 'extra'"},
        Rule{"version: v1\nmig-configs: {}\n", "2: mig-configs holds no configuration"},
        Rule{"version: v1\nmig-configs: {a: []}\n", "mig-configs.a is an empty list"},
        Rule{Config("{mig-enabled: false}"), "4: mig-configs.one[0] has no devices"},
        Rule{Config("{devices: some, mig-enabled: false}"), "devices is 'some', not all or a list"},
        Rule{Config("{devices: [-1], mig-enabled: false}"), "there is no GPU -1"},
        Rule{Config("{devices: [a], mig-enabled: false}"), "not a whole number"},
        Rule{Config("{devices: all}"), "has no mig-enabled"},
        Rule{Config("{devices: all, mig-enabled: perhaps}"), "not true or false"},
        Rule{Config("{devices: all, mig-enabled: true}"), "has no mig-devices"},
        Rule{Config("{devices: all, mig-enabled: false, mig-devices: {1g.10gb: 1}}"),
             "has mig-devices without MIG"},
        Rule{Config("{devices: all, mig-enabled: true, mig-devices: {1g.10gb: 0}}"),
             "every count is 0"},
        Rule{Config("{devices: all, mig-enabled: true, mig-devices: {1g.10gb: -1}}"),
             "which is not a number of slices"},
        Rule{Config("{devices: all, mig-enabled: true, mig-devices: {10gb: 1}}"),
             "'10gb' is no profile"},
        Rule{Config("{device-filter: [\"H100\"], devices: all, mig-enabled: false}"),
             "'H100' is no PCI id"},
        Rule{Config("{devices: all, mig-enabled: false, colour: red}"), "unknown key 'colour'"}));

TEST(MigParted, TellsAllMistakesAtOnceAlsoOfConfigurationsThatAreNotTaken) {
  const std::string all = MistakesOf(
      "version: v2\nmig-configs:\n  a:\n    - {devices: all, mig-enabled: false}\n  b:\n"
      "    - {devices: some, mig-enabled: true, mig-devices: {1x: 1}}\n");
  EXPECT_THAT(all, HasSubstr("1: unknown version"));
  EXPECT_THAT(all, HasSubstr("6: mig-configs.b[0].devices"));
  EXPECT_THAT(all, HasSubstr("6: mig-configs.b[0].mig-devices: '1x' is no profile"));
}

TEST(MigParted, CountsSlicesOverAllGpusThatMatch) {
  const Machine machine = MachineOf("H100-SXM5-80GB", 3);
  ImportOptions options;
  options.machine = &machine;
  const auto imported = ImportText(
      Config("{device-filter: \"0x233010DE\", devices: [0, 2], mig-enabled: true, mig-devices: "
             "{1g.10gb: 3, 3g.40gb: 1}}"),
      options);
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, HasSubstr("mig-1g-10gb"));
  EXPECT_THAT(imported->spec, HasSubstr("replicas: 6"));
  EXPECT_THAT(imported->spec, HasSubstr("replicas: 2"));
  EXPECT_THAT(imported->spec, HasSubstr("gpu: H100-SXM5-80GB"));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("gpu1, which gets no slices"));
}

TEST(MigParted, OfTwoEntriesForOneGpuTheLastCounts) {
  const Machine machine = MachineOf("H100-SXM5-80GB", 1);
  ImportOptions options;
  options.machine = &machine;
  const auto imported = ImportText(
      "version: v1\nmig-configs:\n  one:\n    - {devices: all, mig-enabled: true, mig-devices: "
      "{1g.10gb: 7}}\n    - {devices: [0], mig-enabled: true, mig-devices: {2g.20gb: 3}}\n",
      options);
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, Not(HasSubstr("1g-10gb")));
  EXPECT_THAT(imported->spec, HasSubstr("mig-2g-20gb"));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("the last one counts"));
}

TEST(MigParted, TakesOneConfigurationAndNamesTheOthers) {
  const std::string text =
      "version: v1\nmig-configs:\n  small:\n    - {devices: all, mig-enabled: true, mig-devices: "
      "{1g.10gb: 7}}\n  large:\n    - {devices: all, mig-enabled: true, mig-devices: {3g.40gb: "
      "2}}\n";
  const auto first = ImportText(text);
  ASSERT_TRUE(first);
  EXPECT_EQ(first->config, "small");
  EXPECT_THAT(first->others, testing::ElementsAre("large"));
  ImportOptions options;
  options.config = "large";
  const auto second = ImportText(text, options);
  ASSERT_TRUE(second);
  EXPECT_THAT(second->spec, HasSubstr("mig-3g-40gb"));
  options.config = "larg";
  EXPECT_THAT(MistakesOf(text, options), HasSubstr("there is no configuration 'larg'"));
}

TEST(MigParted, SlicesWithOtherEnginesAreAskedForByProfile) {
  const auto imported = ImportText(
      Config("{devices: all, mig-enabled: true, mig-devices: {1g.10gb+me: 1, 1g.10gb: 6}}"));
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, HasSubstr("profile: 1g.10gb+me\n"));
  EXPECT_THAT(imported->spec, Not(HasSubstr("profile: 1g.10gb\n")));
}

TEST(MigParted, SlicesThatASpecCannotAskForAreNoted) {
  const auto imported = ImportText(Config(
      "{devices: all, mig-enabled: true, mig-devices: {\"2g.48gb+gfx,me\": 1, 1c.3g.40gb: 2}}"));
  ASSERT_TRUE(imported);
  EXPECT_THAT(NotesOf(*imported), HasSubstr("no driver has a profile of that name"));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("one compute instance in each GPU instance"));
}

TEST(MigParted, HoldGivesEachSliceSomethingToRun) {
  ImportOptions options;
  options.hold = true;
  const auto imported =
      ImportText(Config("{devices: all, mig-enabled: true, mig-devices: {1g.10gb: 2}}"), options);
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, HasSubstr("command: [sleep, infinity]"));
}

TEST(ProfileNames, AreReadAsTheGrammarHasThem) {
  using importing::ParseProfileName;
  for (const char* name : {"1g.5gb", "7g.80gb", "1c.3g.40gb", "1g.10gb+me", "1g.24gb+gfx",
                           "1g.24gb+me.all", "1g.24gb-me", "2g.48gb+gfx,me"}) {
    const auto parsed = ParseProfileName(name);
    ASSERT_TRUE(parsed) << name;
    EXPECT_EQ(parsed->plain(), name);
  }
  EXPECT_EQ(ParseProfileName("1g.10gb.me")->plain(), "1g.10gb+me");
  for (const char* name : {"", "g.10gb", "1g.gb", "1g.10gb+", "1g.10gb+xx", "1g10gb", "0g.5gb",
                           "-1g.5gb", "4c.3g.40gb", "1g.10gb ", "1g.99999999999gb", "99g.10gb"}) {
    EXPECT_FALSE(ParseProfileName(name)) << name;
  }
}

}  // namespace
}  // namespace tranche
