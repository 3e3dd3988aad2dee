#include <gtest/gtest.h>

#include <ostream>

#include "base/json.h"
#include "model/plan.h"

namespace tranche {
namespace {

Plan Example() {
  const Slice slice{"GPU-a",    Mechanism::kMig, "2g.20gb", MigPlacement{4, 2},
                    MiB(20096), 32.0 / 132};
  Plan plan;
  Workload phi;
  phi.name = "phi";
  phi.route = "/phi";
  plan.spec.workloads = {phi};
  plan.machine_fingerprint = "m1:0123456789abcdef";
  plan.cost_per_hour = 2.4;
  plan.cost_lower_bound_per_hour = 2.2;
  plan.peak_power_watts = 700;
  plan.notes = {"the price of an L4 is not known"};

  Assignment assignment;
  assignment.workload = "phi";
  assignment.team = "search";
  assignment.slice = slice;
  assignment.gpu_model = "H100-SXM5-80GB";
  assignment.gpu_index = 3;
  assignment.needed = GiB(17);
  assignment.guarantee = {Guarantee::kHardware, Guarantee::kHardware, Guarantee::kHardware,
                          Guarantee::kKernel};
  assignment.reasons = {"2g.20gb is the smallest profile that holds 17 GiB"};
  assignment.engine_flags = {"--memory", "17179869184"};
  assignment.cost_per_hour = 0.6;
  plan.assignments = {assignment};

  Step enable;
  enable.id = 1;
  enable.kind = StepKind::kEnableMig;
  enable.change = Change::kChange;
  enable.target = "gpu3";
  enable.why = "phi needs hardware isolation";
  enable.gpu_uuid = "GPU-a";
  enable.reversible = false;
  enable.interrupts = {{42, "python", "ana", "c0ffee"}, {43, "jupyter", "", ""}};
  Step start;
  start.id = 2;
  start.kind = StepKind::kStartReplica;
  start.change = Change::kCreate;
  start.target = "workload phi/0";
  start.why = "new";
  start.workload = "phi";
  start.slice = slice;
  Step mode;
  mode.id = 3;
  mode.kind = StepKind::kSetComputeMode;
  mode.change = Change::kChange;
  mode.target = "gpu3 compute mode exclusive_process";
  mode.gpu_uuid = "GPU-a";
  mode.compute_mode = ComputeMode::kExclusiveProcess;
  mode.compute_mode_before = ComputeMode::kDefault;
  plan.steps = {enable, start, mode};
  plan.id = PlanDigest(plan);
  return plan;
}

Plan Infeasible() {
  Plan plan = Example();
  plan.assignments.clear();
  plan.steps.clear();
  plan.cost_per_hour.reset();
  plan.unplaced = {{"phi", 0, "needs 90 GiB", "one more H100-SXM5-80GB"}};
  plan.id = PlanDigest(plan);
  return plan;
}

TEST(Plan, ReadsBackAsItWas) {
  for (const Plan& plan : {Example(), Infeasible()}) {
    const Result<Plan> read = PlanFromJson(*ParseJson(PrintJson(ToJson(plan))));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(*read, plan);
    EXPECT_EQ(PlanDigest(*read), plan.id);
  }
}

TEST(Plan, PrintsTheNamesThatArePromised) {
  const Json json = ToJson(Example());
  EXPECT_EQ(json["format_version"], "1.0");
  EXPECT_EQ(json["feasible"], true);
  EXPECT_EQ(json["cost_per_hour"], 2.4);
  EXPECT_EQ(json["cost_lower_bound_per_hour"], 2.2);
  EXPECT_EQ(json["peak_power_watts"], 700);
  const Json& placement = json["placements"][0];
  EXPECT_EQ(placement["workload"], "phi");
  EXPECT_EQ(placement["gpu_uuid"], "GPU-a");
  EXPECT_EQ(placement["gpu_model"], "H100-SXM5-80GB");
  EXPECT_EQ(placement["mechanism"], "mig");
  EXPECT_EQ(placement["profile"], "2g.20gb");
  EXPECT_EQ(placement["placement_start"], 4);
  EXPECT_EQ(placement["placement_size"], 2);
  EXPECT_EQ(placement["memory_bytes"], MiB(20096).value);
  EXPECT_EQ(placement["needed_bytes"], GiB(17).value);
  EXPECT_EQ(placement["compute_fraction"], 32.0 / 132);
  EXPECT_EQ(placement["guarantee"]["access"], "kernel");
  EXPECT_EQ(json["steps"][0]["action"], "enable_mig");
  EXPECT_EQ(json["steps"][1]["target"], "workload phi/0");
  EXPECT_EQ(json["machine_fingerprint"], "m1:0123456789abcdef");
}

TEST(Plan, LeavesOutWhatIsNotKnown) {
  Plan plan = Example();
  plan.cost_per_hour.reset();
  plan.peak_power_watts.reset();
  plan.assignments[0].cost_per_hour.reset();
  const Json json = ToJson(plan);
  EXPECT_FALSE(json.contains("cost_per_hour"));
  EXPECT_FALSE(json.contains("peak_power_watts"));
  EXPECT_FALSE(json["placements"][0].contains("cost_per_hour"));
}

TEST(Plan, AnyDifferenceGivesAnotherId) {
  Plan plan = Example();
  plan.steps[1].why = "because";
  EXPECT_NE(PlanDigest(plan), Example().id);
  EXPECT_EQ(PlanDigest(Example()), Example().id);
  plan = Example();
  plan.id = "something else";
  EXPECT_EQ(PlanDigest(plan), Example().id);
}

TEST(Plan, HasChangesWhenAStepDoesSomething) {
  Plan plan = Example();
  EXPECT_TRUE(plan.HasChanges());
  for (Step& step : plan.steps) step.change = Change::kKeep;
  EXPECT_FALSE(plan.HasChanges());
}

struct BadPlan {
  const char* pointer;
  const char* value;
  const char* message;
};
// Without this a test would be named after the addresses of its texts.
void PrintTo(const BadPlan& bad, std::ostream* out) { *out << bad.message; }

class PlanRefuses : public testing::TestWithParam<BadPlan> {};

TEST_P(PlanRefuses, WhatCannotBe) {
  Json json = ToJson(Example());
  json[Json::json_pointer(GetParam().pointer)] = *ParseJson(GetParam().value);
  const Result<Plan> plan = PlanFromJson(json);
  ASSERT_FALSE(plan);
  EXPECT_EQ(plan.error().code, ErrorCode::kInvalid);
  EXPECT_NE(plan.error().message.find(GetParam().message), std::string::npos)
      << plan.error().message;
}

INSTANTIATE_TEST_SUITE_P(
    All, PlanRefuses,
    testing::Values(BadPlan{"/format_version", R"("9")", "only '1.0' is known"},
                    BadPlan{"/feasible", "false", "contradicts"},
                    BadPlan{"/unplaced",
                            R"([{"workload": "a", "replica": 0, "reason": "", "nearest": ""}])",
                            "contradicts"},
                    BadPlan{"/cost_per_hour", "-1", "not an amount of money"},
                    BadPlan{"/placements", "{}", "not an array"},
                    BadPlan{"/placements/0/replica", "-1", "which cannot be"},
                    BadPlan{"/placements/0/gpu_index", "99999999999", "which cannot be"},
                    BadPlan{"/placements/0/guarantee/fault", R"("strong")", "is not a guarantee"},
                    BadPlan{"/placements/0/needed_bytes", "-1", "from 0 up"},
                    BadPlan{"/placements/0/reasons", "[1]", "not a string"},
                    BadPlan{"/placements/0/placement_size", "0", "outside 1"},
                    BadPlan{"/steps/0/id", "2", "numbered from 1"},
                    BadPlan{"/steps/0/action", R"("explode")", "is not known"},
                    BadPlan{"/steps/0/change", R"("perhaps")", "is not known"},
                    BadPlan{"/steps/0/gpu_uuid", R"("")", "needs gpu_uuid"},
                    BadPlan{"/steps/0/interrupts/0/pid", "0", "which cannot be"},
                    BadPlan{"/steps/1/slice", "null", "needs slice"},
                    BadPlan{"/steps/1/workload", "null", "needs workload"},
                    BadPlan{"/steps/0/action", R"("create_instance")", "needs slice"},
                    BadPlan{"/steps/2/compute_mode", R"("shy")", "no compute mode 'shy'"},
                    BadPlan{"/steps/0/action", R"("set_compute_mode")", "needs compute_mode and"},
                    BadPlan{"/machine_layout", "[]", "not an object"},
                    BadPlan{"/spec", "7", "not an object"}));

TEST(Plan, RefusesWhatIsNoPlanAtAll) {
  for (const char* text : {"null", "[]", "3", "\"plan\"", "{}"}) {
    EXPECT_FALSE(PlanFromJson(*ParseJson(text))) << text;
  }
}

}  // namespace
}  // namespace tranche
