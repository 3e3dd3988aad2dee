#include <gtest/gtest.h>

#include <functional>
#include <ostream>

#include "base/json.h"
#include "model/deployment.h"

namespace tranche {
namespace {

Slice MigSlice(int start) {
  return {"GPU-a", Mechanism::kMig, "2g.20gb", MigPlacement{start, 2}, MiB(20096), 32.0 / 132};
}

Deployment Example() {
  Deployment deployment;
  deployment.plan_id = "p1:0123456789abcdef";
  deployment.instances = {{"GPU-a", "2g.20gb", {0, 2}}, {"GPU-a", "2g.20gb", {2, 2}}};
  deployment.replicas = {{"phi", 0, "w1:aa", MigSlice(0)},
                         {"phi", 1, "w1:aa", MigSlice(2), true, {4711}, "/phi"}};
  deployment.replicas.push_back(
      {"train", 0, "w1:bb", {"GPU-b", Mechanism::kExclusive, "", {}, GiB(158), 1}});
  deployment.replicas.back().slice.more_gpu_uuids = {"GPU-c"};
  deployment.baselines = {{"GPU-a", false, {{"GPU-a", "7g.80gb", {0, 8}}}}};
  deployment.baselines[0].compute_mode = ComputeMode::kDefault;
  deployment.compute_modes = {{"GPU-d", ComputeMode::kExclusiveProcess}};
  return deployment;
}

TEST(Deployment, ReadsBackAsItWas) {
  const Json json = *ParseJson(PrintJson(ToJson(Example())));
  const Result<Deployment> read = DeploymentFromJson(json);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, Example());
}

TEST(Deployment, KnowsWhatIsOurs) {
  const Deployment deployment = Example();
  EXPECT_TRUE(deployment.Owns("GPU-a", {2, 2}));
  EXPECT_FALSE(deployment.Owns("GPU-a", {4, 2}));
  EXPECT_FALSE(deployment.Owns("GPU-b", {2, 2}));
  EXPECT_EQ(deployment.FindReplica("phi", 1)->slice.placement->start, 2);
  EXPECT_EQ(deployment.FindReplica("phi", 2), nullptr);
}

TEST(Slice, WithoutAProfileLeavesTheKeyOut) {
  const Json json = ToJson(Slice{"GPU-b", Mechanism::kExclusive, "", {}, GiB(79), 1});
  EXPECT_FALSE(json.contains("profile"));
  EXPECT_FALSE(json.contains("placement_start"));
  EXPECT_EQ(json["memory_bytes"], GiB(79).value);
}

struct BadSlice {
  const char* change;  // a JSON merge patch
  const char* message;
};
// Without this a test would be named after the addresses of its texts.
void PrintTo(const BadSlice& bad, std::ostream* out) { *out << bad.message; }

class SliceRefuses : public testing::TestWithParam<BadSlice> {};

TEST_P(SliceRefuses, WhatCannotBe) {
  Json json = ToJson(MigSlice(0));
  json.merge_patch(*ParseJson(GetParam().change));
  const Result<Slice> slice = SliceFromJson(json);
  ASSERT_FALSE(slice);
  EXPECT_EQ(slice.error().code, ErrorCode::kInvalid);
  EXPECT_NE(slice.error().message.find(GetParam().message), std::string::npos)
      << slice.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    All, SliceRefuses,
    testing::Values(BadSlice{R"({"mechanism": "migg"})", "is not a mechanism"},
                    BadSlice{R"({"placement_start": null, "placement_size": null})",
                             "needs placement_start"},
                    BadSlice{R"({"placement_start": -1})", "outside 0"},
                    BadSlice{R"({"placement_size": 4294967296})", "outside 1"},
                    BadSlice{R"({"mechanism": "exclusive"})", "only a mig slice"},
                    BadSlice{R"({"mechanism": "mps", "profile": null})", "both a profile and"},
                    BadSlice{R"({"mechanism": "mps", "placement_start": null,
                                 "placement_size": null})",
                             "both a profile and a placement"},
                    BadSlice{R"({"memory_bytes": -5})", "from 0 up"},
                    BadSlice{R"({"compute_fraction": 1e300})", "outside 0 to 1"},
                    BadSlice{R"({"more_gpu_uuids": [7]})", "not a string"},
                    BadSlice{R"({"gpu_uuid": {}})", "not a string"}));

// By MPS a slice may be a part of an instance that others share.
TEST(Slice, OfASharedInstanceIsReadBack) {
  Slice slice = MigSlice(0);
  slice.mechanism = Mechanism::kMps;
  slice.memory = GiB(4);
  const Result<Slice> read = SliceFromJson(ToJson(slice));
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, slice);
}

TEST(Deployment, RefusesAnotherFormat) {
  Json json = ToJson(Example());
  json["format_version"] = "2.0";
  EXPECT_EQ(DeploymentFromJson(json).error().message,
            "deployment.format_version is '2.0'; only '1.0' is known");
}

TEST(Deployment, NamesTheBrokenPlace) {
  Json json = ToJson(Example());
  json["replicas"][1]["pids"] = {0};
  EXPECT_EQ(DeploymentFromJson(json).error().message,
            "deployment.replicas[1].pids holds something that is no pid");
  json = ToJson(Example());
  json["compute_modes"][0]["compute_mode"] = "shy";
  EXPECT_EQ(DeploymentFromJson(json).error().message,
            "deployment.compute_modes[0].compute_mode: there is no compute mode 'shy'");
  json = ToJson(Example());
  json["baselines"][0]["instances"][0].erase("profile");
  EXPECT_EQ(DeploymentFromJson(json).error().message,
            "deployment.baselines[0].instances[0].profile is missing");
}

}  // namespace
}  // namespace tranche
