#include "stage/import/testing.h"

namespace tranche {
namespace {

using testing::HasSubstr;

std::string Shared(const std::string& kind, const std::string& resource) {
  return "version: v1\nsharing:\n  " + kind + ":\n    resources:\n      - " + resource + "\n";
}

struct Rule {
  std::string text;
  std::string mistake;  // with its line
};

class DevicePluginRules : public testing::TestWithParam<Rule> {};

TEST_P(DevicePluginRules, IsToldWithItsLine) {
  EXPECT_THAT(MistakesOf(GetParam().text), HasSubstr(GetParam().mistake)) << GetParam().text;
}

INSTANTIATE_TEST_SUITE_P(
    Rules, DevicePluginRules,
    testing::Values(
        Rule{"version: v2\nsharing: {}\n", "1: unknown version: 'v2'"},
        Rule{"version: v1\nsharing:\n  timeSlicing:\n    resources: []\n",
             "4: sharing.timeSlicing: no resources specified"},
        Rule{"version: v1\nsharing:\n  mps:\n    renameByDefault: true\n",
             "4: sharing.mps: no resources specified"},
        Rule{Shared("timeSlicing", "replicas: 4"),
             "5: sharing.timeSlicing.resources[0] has no name"},
        Rule{Shared("timeSlicing", "name: nvidia.com/gpu"), "has no replicas"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 1}"),
             "number of replicas must be >= 2, and is 1"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: -1}"),
             "number of replicas must be >= 2, and is -1"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 2.5}"), "not a whole number"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: \"4\"}"),
             "not a whole number"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 99999}"), "more than 10000"},
        Rule{Shared("timeSlicing", "{name: GPU_x, replicas: 2}"), "is no name of a resource"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/" + std::string(60, 'a') + ", replicas: 2}"),
             "longer than 63 characters"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 2, devices: some}"),
             "devices is 'some', not all"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 2, devices: -2}"),
             "devices is '-2', not all"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 2, devices: 2.0}"),
             "devices is '2.0', not all"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 2, devices: 0}"),
             "devices is '0', not all"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 2, devices: [GPU-1]}"),
             "'GPU-1' names no device"},
        Rule{Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 2, devices: []}"),
             "is an empty list"},
        Rule{Shared("mps", "{name: nvidia.com/gpu, replicas: 49}"), "at most 48 clients"},
        Rule{Shared("mps", "{name: nvidia.com/mig-1g.10gb, replicas: 2}"),
             "MPS on MIG devices is not possible"},
        Rule{"version: v1\nflags:\n  migStrategy: mixed\nsharing:\n  mps:\n    resources:\n      - "
             "{name: nvidia.com/gpu, replicas: 2}\n",
             "3: sharing.mps is not possible with migStrategy mixed"},
        Rule{"version: v1\nflags: {migStrategy: double}\n", "not one of none, single, mixed"},
        Rule{"version: v1\nflags: {failOnInitError: maybe}\n", "not true or false"},
        Rule{"version: v1\nflags: {plugin: {deviceListStrategy: [envvar, magic]}}\n",
             "'magic', not one of envvar"},
        Rule{"version: v1\nflags: {plugin: {deviceIDStrategy: name}}\n", "not one of uuid, index"},
        Rule{"version: v1\nsharing: {}\nimex: {channelIDs: [1]}\n",
             "3: imex.channelIDs is neither"},
        Rule{"version: v1\nsharing: [1]\n", "sharing is a list, not a map"}));

TEST(DevicePlugin, TellsAllMistakesAtOnce) {
  const std::string all = MistakesOf(
      "version: v3\nflags: {migStrategy: double}\nsharing:\n  timeSlicing:\n    resources:\n"
      "      - {name: nvidia.com/gpu, replicas: 1}\n      - {replicas: 3}\n");
  EXPECT_THAT(all, HasSubstr("1: unknown version"));
  EXPECT_THAT(all, HasSubstr("2: flags.migStrategy"));
  EXPECT_THAT(all, HasSubstr("6: "));
  EXPECT_THAT(all, HasSubstr("7: "));
}

TEST(DevicePlugin, TimeSlicingBecomesReplicasOfTheWholeMachine) {
  const Machine machine = MachineOf("L40S", 2);
  ImportOptions options;
  options.machine = &machine;
  const auto imported =
      ImportText(Shared("timeSlicing", "{name: nvidia.com/gpu, replicas: 4}"), options);
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, HasSubstr("mechanism: time-slicing"));
  EXPECT_THAT(imported->spec, HasSubstr("gpu: L40S"));
  EXPECT_THAT(imported->spec, HasSubstr("replicas: 8"));
  EXPECT_THAT(imported->spec, HasSubstr("isolation: none"));
}

TEST(DevicePlugin, MpsHasThePercentThatThePluginSets) {
  // 100 / 3 without the rest.
  const auto imported = ImportText(Shared("mps", "{name: gpu, replicas: 3}"));
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, HasSubstr("compute: 33%"));
  EXPECT_THAT(imported->spec, HasSubstr("mechanism: mps"));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("flags.mpsRoot"));
}

TEST(DevicePlugin, OfBothMechanismsItIsMps) {
  const auto imported = ImportText(
      "version: v1\nsharing:\n  timeSlicing: {resources: [{name: nvidia.com/gpu, replicas: 4}]}\n"
      "  mps: {resources: [{name: nvidia.com/gpu, replicas: 2}]}\n");
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, HasSubstr("mechanism: mps"));
  EXPECT_THAT(imported->spec, testing::Not(HasSubstr("time-slicing")));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("with both, the plugin uses MPS"));
}

TEST(DevicePlugin, WhatTheSpecDoesNotSayIsNoted) {
  const auto imported = ImportText(
      "version: v1\nflags: {migStrategy: none, plugin: {passDeviceSpecs: true}}\n"
      "resources: {gpus: [{pattern: \"*\", name: nvidia.com/gpu}]}\nsharings: 1\n"
      "sharing: {timeSlicing: {renameByDefault: true, failRequestsGreaterThanOne: true, resources: "
      "[{name: nvidia.com/gpu, replicas: 2, rename: mine, devices: [\"0\", \"0:1\"]}]}}\n"
      "imex: {channelIDs: [0]}\n");
  ASSERT_TRUE(imported) << MistakesOf("");
  const std::string notes = NotesOf(*imported);
  for (const char* what : {"2: flags.migStrategy", "2: flags.plugin", "3: resources", "4: sharings",
                           "renameByDefault", "failRequestsGreaterThanOne", "rename: the plugin",
                           "devices: the plugin shares all", "6: imex"}) {
    EXPECT_THAT(notes, HasSubstr(what));
  }
  EXPECT_THAT(notes, HasSubstr("did you mean 'sharing'?"));
}

TEST(DevicePlugin, ReplicasWithoutResourcesAreReadAndNoted) {
  const auto imported = ImportText("version: v1\nsharing:\n  timeSlicing:\n    replicas: 3\n");
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, HasSubstr("replicas: 3"));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("4: sharing.timeSlicing.replicas: the plugin refuses"));
}

}  // namespace
}  // namespace tranche
