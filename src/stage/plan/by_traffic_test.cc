#include "stage/plan/by_traffic.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

// Replicas, batches and slices that follow from traffic and an SLO.
namespace tranche::planning {
namespace {

using std::chrono::milliseconds;
using testing::HasSubstr;

Workload Chat(const std::string& name, double per_second, const std::string& isolation) {
  Workload workload = Model(name, "llama-3.1-8b", "bf16", 4096, 1, ServingEngine::kVllm);
  workload.kind = WorkloadKind::kInference;
  workload.isolation = {isolation, *IsolationWordAxes(isolation), false};
  workload.traffic = Traffic{per_second, 512, 128};
  workload.slo = Slo{};
  workload.slo->ttft_p99 = milliseconds(500);
  workload.slo->tokens_per_second = 20;
  workload.model->concurrency = 16;
  workload.by_traffic = {true, false, true};
  return workload;
}

Machine Priced(const std::vector<std::string>& gpus) {
  Machine machine = MachineWith(gpus);
  for (Gpu& gpu : machine.gpus) gpu.price_per_hour = gpu.model == "L40S" ? 1.1 : 2.4;
  return machine;
}

std::string Why(const Plan& plan) {
  std::string text;
  for (const std::string& reason : plan.assignments.front().reasons) text += reason + "\n";
  return text;
}

TEST(ByTraffic, ReplicasGrowWithTraffic) {
  const Machine machine = Priced(std::vector<std::string>(8, "H100-SXM5-80GB"));
  int last = 0;
  double last_cost = 0;
  for (const double per_second : {0.5, 20.0, 60.0}) {
    const Spec spec = SpecOf({Chat("chat", per_second, "hardware")});
    const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), {});
    ASSERT_TRUE(plan.feasible()) << per_second << ": " << plan.unplaced.front().reason;
    const Workload& chosen = plan.spec.workloads.front();
    EXPECT_EQ(static_cast<int>(plan.assignments.size()), chosen.replicas);
    EXPECT_GE(*plan.cost_per_hour, last_cost);
    EXPECT_GE(chosen.replicas, 1);
    last = chosen.replicas;
    last_cost = *plan.cost_per_hour;
    EXPECT_THAT(Why(plan), HasSubstr("within its slo (ttft_p99 500ms, 20 tokens per second)"));
  }
  EXPECT_GT(last, 1);
  EXPECT_GT(last_cost, 2.4);
}

TEST(ByTraffic, TheChoiceStandsWhenAskedAgain) {
  const Machine machine = Priced({"H100-SXM5-80GB", "H100-SXM5-80GB"});
  Workload chat = Chat("chat", 20, "hardware");
  chat.by_traffic.batch = true;
  const Spec spec = SpecOf({chat, Hardware("other", GiB(9), 3)});
  const Plan plan = MakePlan(machine, spec, {}, TestCatalog(), {});
  ASSERT_TRUE(plan.feasible()) << plan.unplaced.front().reason;
  ExpectSound(machine, plan.spec, {}, plan);
  EXPECT_EQ(MakePlan(machine, spec, {}, TestCatalog(), {}), plan);
  const World world = Applied(machine, {}, plan);
  EXPECT_FALSE(MakePlan(world.machine, spec, world.deployment, TestCatalog(), {}).HasChanges());
}

TEST(ByTraffic, WhatIsStatedIsNotChosen) {
  const Machine machine = Priced({"H100-SXM5-80GB", "H100-SXM5-80GB"});
  Workload chat = Chat("chat", 4, "hardware");
  chat.replicas = 3;
  chat.model->concurrency = 16;
  chat.by_traffic = {};
  const Plan plan = MakePlan(machine, SpecOf({chat}), {}, TestCatalog(), {});
  ASSERT_TRUE(plan.feasible()) << plan.unplaced.front().reason;
  EXPECT_EQ(plan.assignments.size(), 3u);
  EXPECT_EQ(plan.spec.workloads.front().model->concurrency, 16);
  // One replica of so many has to bear it all, and needs a larger slice for it.
  chat.replicas = 1;
  chat.traffic->requests_per_second = 9;
  chat.model->concurrency = 32;
  const Plan one = MakePlan(machine, SpecOf({chat}), {}, TestCatalog(), {});
  ASSERT_TRUE(one.feasible()) << one.unplaced.front().reason;
  EXPECT_GT(one.assignments.front().slice.compute_fraction,
            plan.assignments.front().slice.compute_fraction);
  chat.traffic->requests_per_second = 200;
  const Plan none = MakePlan(machine, SpecOf({chat}), {}, TestCatalog(), {});
  ASSERT_FALSE(none.feasible());
  EXPECT_THAT(none.unplaced.front().reason, HasSubstr("requests per second within its slo"));
}

TEST(ByTraffic, AnImpossibleSloSaysWhatBreaksIt) {
  const Machine machine = Priced({"H100-SXM5-80GB"});
  Workload chat = Chat("chat", 1, "hardware");
  chat.slo->ttft_p99 = milliseconds(2);
  const Plan plan = MakePlan(machine, SpecOf({chat}), {}, TestCatalog(), {});
  ASSERT_FALSE(plan.feasible());
  EXPECT_THAT(plan.unplaced.front().reason, HasSubstr("ttft_p99 2ms"));
  EXPECT_THAT(plan.unplaced.front().reason, HasSubstr("a first token takes"));
  EXPECT_THAT(plan.unplaced.front().nearest, HasSubstr("ttft_p99"));
}

TEST(ByTraffic, TooFewGpusLeaveTheReplicasThatDoNotFit) {
  const Machine machine = Priced({"H100-SXM5-80GB"});
  const Plan plan =
      MakePlan(machine, SpecOf({Chat("chat", 500, "hardware")}), {}, TestCatalog(), {});
  ASSERT_FALSE(plan.feasible());
  EXPECT_GT(plan.spec.workloads.front().replicas, 1);
  EXPECT_EQ(plan.unplaced.size() + plan.assignments.size(),
            static_cast<size_t>(plan.spec.workloads.front().replicas));
}

TEST(ByTraffic, TheCheaperGpuIsChosenWhereItBearsTheSame) {
  const Machine machine = Priced({"H100-SXM5-80GB", "L40S"});
  Workload chat = Chat("chat", 0.4, "none");
  const Plan plan = MakePlan(machine, SpecOf({chat}), {}, TestCatalog(), {});
  ASSERT_TRUE(plan.feasible()) << plan.unplaced.front().reason;
  EXPECT_EQ(plan.assignments.front().gpu_model, "L40S");
}

TEST(ByTraffic, AnSloThatCannotBePredictedIsToldWithWhatIsMissing) {
  const Machine machine = Priced({"H100-SXM5-80GB"});
  const auto notes = [&](const Workload& workload) {
    return MakePlan(machine, SpecOf({workload}), {}, TestCatalog(), {}).notes;
  };
  Workload chat = Chat("chat", 1, "hardware");
  EXPECT_THAT(notes(chat), testing::Not(testing::Contains(HasSubstr("slo"))));
  chat.by_traffic = {};
  chat.traffic->output_tokens = 0;
  EXPECT_THAT(notes(chat), testing::Contains(testing::AllOf(
                               HasSubstr("whether chat keeps its slo (ttft_p99 500ms"),
                               HasSubstr("does not say how long answers are"),
                               HasSubstr("add, for example, traffic.output_tokens: 256"))));
  chat.traffic.reset();
  EXPECT_THAT(notes(chat), testing::Contains(HasSubstr("nothing says how many requests come")));
  Workload own = Hardware("own", GiB(9));
  own.slo = chat.slo;
  EXPECT_THAT(notes(own), testing::Contains(HasSubstr("it names no model whose speed is known")));
}

// Of a machine that was found to be half as fast more is needed, and the plan says by whose word.
TEST(ByTraffic, SpeedsAreByTheCoefficientsThatAreGiven) {
  const Machine machine = Priced({"H100-SXM5-80GB", "H100-SXM5-80GB"});
  const Spec spec = SpecOf({Chat("chat", 4, "hardware")});
  const Plan built_in = MakePlan(machine, spec, {}, TestCatalog(), {});
  EXPECT_THAT(Why(built_in), HasSubstr("predicted with the built-in coefficients"));
  auto slow = *DefaultPerformance();
  slow.roofline.bandwidth_efficiency /= 2;
  slow.roofline.compute_efficiency /= 2;
  PlanOptions options;
  options.coefficients = std::make_shared<const PerformanceCoefficients>(slow);
  options.coefficients_from = "mine.yaml";
  const Plan mine = MakePlan(machine, spec, {}, TestCatalog(), options);
  EXPECT_THAT(Why(mine), HasSubstr("predicted with mine.yaml"));
  const auto compute = [](const Plan& plan) {
    double sum = 0;
    for (const Assignment& assignment : plan.assignments) sum += assignment.slice.compute_fraction;
    return sum;
  };
  EXPECT_GT(compute(mine), 1.2 * compute(built_in));
}

}  // namespace
}  // namespace tranche::planning
