#include "face/cli/views.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

Terminal Plain() {
  return Terminal(false, 0, ColorChoice::kNever, [](const std::string&) { return std::nullopt; });
}

std::string Text(const Answer& answer, OutputFormat format = OutputFormat::kTable) {
  return RenderAnswer(answer, format, Plain());
}

Slice MigSlice(int start) {
  Slice slice;
  slice.gpu_uuid = "GPU-1";
  slice.mechanism = Mechanism::kMig;
  slice.profile = "2g.20gb";
  slice.placement = MigPlacement{start, 2};
  slice.memory = GiB(20);
  slice.compute_fraction = 0.25;
  return slice;
}

Step MakeStep(int id, Change change, const std::string& target) {
  Step step;
  step.id = id;
  step.change = change;
  step.target = target;
  step.why = "it is new";
  return step;
}

TEST(PlanView, TotalsCountTheSteps) {
  Plan plan;
  plan.steps = {MakeStep(1, Change::kCreate, "gpu0 2g.20gb@0"),
                MakeStep(2, Change::kCreate, "workload phi/0"),
                MakeStep(3, Change::kKeep, "workload qwen/0"),
                MakeStep(4, Change::kDestroy, "gpu0 1g.10gb@6")};
  EXPECT_EQ(PlanTotals(plan), "Plan: 2 to create, 1 to keep, 0 to change, 1 to destroy.");
  plan.cost_per_hour = 2.4;
  EXPECT_EQ(PlanTotals(plan),
            "Plan: 2 to create, 1 to keep, 0 to change, 1 to destroy. Cost 2.40 USD per hour.");
  plan.unplaced = {{"big", 0, "no GPU has 500 GiB", "80 GiB on gpu0"}};
  EXPECT_EQ(PlanTotals(plan), "Plan: 1 of 1 replicas does not fit; nothing would be changed.");
}

TEST(PlanView, NamesWhoIsInterruptedAndWhatCannotBeUndone) {
  Plan plan;
  Step step = MakeStep(1, Change::kDestroy, "gpu0 1g.10gb@6");
  step.reversible = false;
  step.interrupts = {{4242, "python3 \x1b[31mtrain.py", "ana", "c0ffee"}};
  plan.steps = {step};
  const std::string text = Text(ViewPlan(plan, false, Plain()));
  EXPECT_NE(text.find("  -! gpu0 1g.10gb@6  it is new (cannot be undone)\n"), std::string::npos)
      << text;
  EXPECT_NE(
      text.find("interrupts pid 4242 (python3 ?[31mtrain.py) of user ana in container c0ffee"),
      std::string::npos)
      << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(PlanView, SaysWhyNotAndWhatWouldFit) {
  Plan plan;
  plan.unplaced = {{"big", 1, "no GPU has 500 GiB", "80 GiB on gpu0"}};
  const std::string text = Text(ViewPlan(plan, false, Plain()));
  EXPECT_NE(text.find("x big/1: no GPU has 500 GiB\n    nearest: 80 GiB on gpu0\n"),
            std::string::npos)
      << text;
}

TEST(Guarantees, AreShortWhereTheyAgree) {
  using G = Guarantee;
  EXPECT_EQ(GuaranteesText({G::kHardware, G::kHardware, G::kHardware, G::kHardware}), "hardware");
  EXPECT_EQ(GuaranteesText({G::kHardware, G::kHardware, G::kHardware, G::kKernel}),
            "hardware, access kernel");
  EXPECT_EQ(GuaranteesText({G::kDriver, G::kCooperative, G::kNone, G::kNone}),
            "memory driver, compute cooperative, fault none, access none");
}

TEST(SliceName, SaysGpuAndPlace) {
  EXPECT_EQ(SliceName(MigSlice(4), 1), "gpu1 2g.20gb@4");
  Slice whole;
  whole.gpu_uuid = "GPU-1";
  EXPECT_EQ(SliceName(whole, 0), "gpu0 (exclusive)");
  whole.more_gpu_uuids = {"GPU-2", "GPU-3"};
  EXPECT_EQ(SliceName(whole, 0), "gpu0 and 2 more (exclusive)");
}

Machine TwoInstances() {
  Machine machine;
  machine.hostname = "node";
  Gpu gpu;
  gpu.uuid = "GPU-1";
  gpu.model = "H100-SXM5-80GB";
  gpu.memory_total = GiB(80);
  gpu.mig_mode = MigMode{true, true};
  gpu.memory_slots = 8;
  gpu.memory_used = Reading<Bytes>::Absent("no permission");
  for (const int start : {0, 2}) {
    MigInstance instance;
    instance.profile = "2g.20gb";
    instance.placement = {start, 2};
    instance.memory = GiB(20);
    gpu.mig_instances.push_back(instance);
  }
  gpu.health.problems = {"row remapping is pending"};
  machine.gpus = {gpu};
  return machine;
}

TEST(MachineView, TellsOursFromOthers) {
  Deployment deployment;
  deployment.instances = {{"GPU-1", "2g.20gb", {0, 2}}};
  deployment.replicas = {{"phi", 0, "d", MigSlice(0)}};
  const std::string text = Text(ViewMachine(TwoInstances(), &deployment, false));
  EXPECT_NE(text.find("[22|22|....]"), std::string::npos) << text;
  EXPECT_NE(text.find("phi/0"), std::string::npos);
  EXPECT_NE(text.find("not ours"), std::string::npos);
  EXPECT_NE(text.find("gpu0: row remapping is pending"), std::string::npos);
  // Nobody can say whose they are: then it is not said.
  EXPECT_EQ(Text(ViewMachine(TwoInstances(), nullptr, false)).find("not ours"), std::string::npos);
}

TEST(MachineView, UnknownIsNeverZero) {
  const std::string csv = Text(ViewMachine(TwoInstances(), nullptr, false), OutputFormat::kCsv);
  EXPECT_NE(csv.find("0,H100-SXM5-80GB,,85899345920,,on,"), std::string::npos) << csv;
}

SystemStatus OneReplica(ReplicaState state) {
  SystemStatus status;
  ReplicaStatus replica;
  replica.workload = "phi";
  replica.state = state;
  replica.slice = MigSlice(0);
  replica.route = "/phi";
  replica.started_at = Time(std::chrono::seconds(1000));
  status.replicas = {replica};
  status.router = {true, "http://127.0.0.1:8080", ""};
  return status;
}

TEST(StatusView, ShowsStateAgeAndRoute) {
  const SystemStatus status = OneReplica(ReplicaState::kHealthy);
  const std::string text = Text(ViewStatus(status, Time(std::chrono::seconds(1000 + 3725))));
  EXPECT_NE(text.find("1h2m  http://127.0.0.1:8080/phi"), std::string::npos) << text;
  EXPECT_NE(text.find("1 healthy. Routes at http://127.0.0.1:8080."), std::string::npos);
}

TEST(StatusView, SaysWhenThereIsNothing) {
  EXPECT_EQ(Text(ViewStatus(SystemStatus{}, Time())), "Nothing is deployed.\n");
  const std::string csv = Text(ViewStatus(SystemStatus{}, Time()), OutputFormat::kCsv);
  EXPECT_EQ(csv.rfind("workload,state,", 0), 0u);
}

TEST(ReceiptView, SaysWhereTheRoutesAreOrWhatWasUndone) {
  Receipt receipt;
  receipt.steps = {{MakeStep(1, Change::kCreate, "workload phi/0"), StepOutcome::kDone, "pid 7",
                    Time(), Time(std::chrono::milliseconds(20))}};
  receipt.finished = Time(std::chrono::milliseconds(20));
  const SystemStatus status = OneReplica(ReplicaState::kHealthy);
  EXPECT_EQ(Text(ViewReceipt(receipt, &status, Plain())),
            "Done: 1 steps in 20ms.\n  phi at http://127.0.0.1:8080/phi\n");
  receipt.outcome = ApplyOutcome::kRolledBack;
  receipt.steps[0].outcome = StepOutcome::kUndone;
  const std::string text = Text(ViewReceipt(receipt, nullptr, Plain()));
  EXPECT_NE(text.find("undone"), std::string::npos);
  EXPECT_NE(text.find("the machine is as it was"), std::string::npos);
}

}  // namespace
}  // namespace tranche
