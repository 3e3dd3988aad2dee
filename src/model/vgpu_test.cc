#include "model/vgpu.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"
#include "model/deployment.h"
#include "model/plan.h"

namespace tranche {
namespace {

using testing::HasSubstr;

TEST(VgpuNames, AreTypesOrNot) {
  for (const char* good : {"A40-8C", "A100-1-5C", "A30-2-12CME", "RTX6000-Ada-48Q", "T4-2B4",
                           "RTX Pro 6000 Blackwell DC-4-96Q"})
    EXPECT_TRUE(IsVgpuType(good)) << good;
  // What would become part of paths or orders to the kernel least of all.
  for (const char* bad : {"", "A40", "-8C", "A40-8X", "A40-08C", "A40-8C/../..", "A40-8C\n",
                          "A40-C", "A40-8CMEX", "1g.10gb", "../A40-8C", "A40-99999C"})
    EXPECT_FALSE(IsVgpuType(bad)) << bad;
  EXPECT_EQ(ShortVgpuName("NVIDIA A40-8C"), "A40-8C");
  EXPECT_EQ(ShortVgpuName("GRID A100-1-5C"), "A100-1-5C");
  EXPECT_EQ(ShortVgpuName("A40-8C"), "A40-8C");
  for (const VgpuSeries series : kAllVgpuSeries)
    EXPECT_EQ(*ParseVgpuSeries(VgpuSeriesName(series)), series);
  for (const VgpuScheduler scheduler : kAllVgpuSchedulers)
    EXPECT_EQ(*ParseVgpuScheduler(VgpuSchedulerName(scheduler)), scheduler);
  EXPECT_THAT(ParseVgpuScheduler("equal-shar").error().hint, HasSubstr("equal-share"));
}

GpuVgpu Example() {
  GpuVgpu vgpu;
  vgpu.functions = 16;
  vgpu.mixed = Reading<bool>::Absent("nobody says");
  vgpu.scheduler = VgpuScheduler::kFixedShare;
  vgpu.offers.push_back({"A40-8C", VgpuSeries::kC, GiB(8), GiB(1), 0, "", 6, 4});
  VgpuThere there;
  there.id = there.function = "0000:41:00.4";
  there.type = "A40-8C";
  there.workload = "db";
  there.ours = true;
  there.holders = {4242};
  vgpu.there.push_back(there);
  return vgpu;
}

TEST(VgpuCodec, WhatIsNotKnownStaysSo) {
  const Json json = ToJson(Example());
  EXPECT_FALSE(json.contains("mixed_sizes"));
  EXPECT_EQ(json["unavailable"]["mixed_sizes"], "nobody says");
  const auto read = GpuVgpuFromJson(json);
  ASSERT_TRUE(read) << read.error().message;
  EXPECT_EQ(*read, Example());
  EXPECT_EQ(read->state(), (VgpuHostState{true, false, VgpuScheduler::kFixedShare}));
}

TEST(VgpuCodec, HowManyAnInstanceHoldsIsSaidWhereItIsMoreThanOne) {
  GpuVgpu vgpu = Example();
  EXPECT_FALSE(ToJson(vgpu)["types"][0].contains("most_per_instance"));
  vgpu.offers[0].most_per_instance = 3;
  Json json = ToJson(vgpu);
  EXPECT_EQ(json["types"][0]["most_per_instance"], 3);
  EXPECT_EQ(*GpuVgpuFromJson(json), vgpu);
  json["types"][0]["most_per_instance"] = 0;
  EXPECT_FALSE(GpuVgpuFromJson(json)) << "none would divide nothing";
}

TEST(VgpuCodec, RefusesWhatCannotBe) {
  const auto with = [](const char* key, Json value) {
    Json json = ToJson(Example());
    json[key] = std::move(value);
    return GpuVgpuFromJson(json).has_value();
  };
  EXPECT_FALSE(with("interface", "usb"));
  EXPECT_FALSE(with("functions", -1));
  EXPECT_FALSE(with("scheduler", "fair"));
  Json offer = ToJson(Example())["types"];
  offer[0]["most"] = 0;
  EXPECT_FALSE(with("types", offer)) << "it would be divided by";
  offer[0]["most"] = 6;
  offer[0]["reserved_bytes"] = GiB(9).value;
  EXPECT_FALSE(with("types", offer)) << "less than nothing would be left";
  Json there = ToJson(Example())["vgpus"];
  there[0]["holders"] = Json::array({"all"});
  EXPECT_FALSE(with("vgpus", there));
}

TEST(VgpuCodec, SlicesAndStepsSayAllThatIsNeeded) {
  Slice slice;
  slice.gpu_uuid = "GPU-a";
  slice.mechanism = Mechanism::kVgpu;
  slice.vgpu_type = "A40-8C";
  slice.memory = GiB(8);
  EXPECT_EQ(*SliceFromJson(ToJson(slice)), slice);
  Json json = ToJson(slice);
  json["vgpu_type"] = "../../etc/passwd";
  EXPECT_FALSE(SliceFromJson(json));
  json.erase("vgpu_type");
  EXPECT_FALSE(SliceFromJson(json));
  json = ToJson(slice);
  json["mechanism"] = "time-slicing";
  EXPECT_FALSE(SliceFromJson(json)) << "only a vGPU has a type";
  slice.placement = MigPlacement{0, 1};
  EXPECT_FALSE(SliceFromJson(ToJson(slice))) << "of which profile?";
  slice.profile = "1g.5gb";
  EXPECT_EQ(*SliceFromJson(ToJson(slice)), slice);

  Step step;
  step.id = 1;
  step.kind = StepKind::kSetVgpuHost;
  step.change = Change::kCreate;
  step.gpu_uuid = "GPU-a";
  EXPECT_FALSE(StepFromJson(ToJson(step)));
  step.vgpu_host = VgpuHostState{true, true, VgpuScheduler::kEqualShare};
  step.vgpu_host_before = VgpuHostState{};
  EXPECT_EQ(*StepFromJson(ToJson(step)), step);
  step = Step();
  step.id = 1;
  step.kind = StepKind::kCreateVgpu;
  step.change = Change::kCreate;
  step.workload = "db";
  step.slice = slice;
  EXPECT_EQ(*StepFromJson(ToJson(step)), step);
  step.slice->mechanism = Mechanism::kMig;
  step.slice->vgpu_type.clear();
  EXPECT_FALSE(StepFromJson(ToJson(step)));

  Deployment deployment;
  deployment.vgpu_hosts = {{"GPU-a", {true, true, VgpuScheduler::kEqualShare}}};
  deployment.baselines.emplace_back().gpu_uuid = "GPU-a";
  deployment.baselines.back().vgpu_host = VgpuHostState{};
  EXPECT_EQ(*DeploymentFromJson(ToJson(deployment)), deployment);
}

}  // namespace
}  // namespace tranche
