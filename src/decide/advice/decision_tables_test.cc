// Every row of the decision tables that are published on sharing GPUs, as one of ours. Where two
// tables disagree, the row says which is right and why.

#include <gtest/gtest.h>

#include <algorithm>

#include "catalog/overheads.h"
#include "decide/advice/advice.h"
#include "decide/sizing/sizing.h"

namespace tranche {
namespace {

const Catalog& Loaded() {
  static const auto catalog = Catalog::Load().value();
  return *catalog;
}
const AdviceRules& Rules() {
  static const AdviceRules rules = AdviceRules::Load().value();
  return rules;
}

// A workload in the words of the tables.
struct Case {
  AdviceAsk ask;

  explicit Case(const char* gpu) { ask.gpu = Loaded().FindGpu(gpu).value(); }
  Case Model(double billions, const char* precision, int context = 4096, int sequences = 1) && {
    ModelAsk model;
    model.parameters = billions * 1e9;
    model.precision = precision;
    model.context = context;
    model.concurrency = sequences;
    ask.context = context;
    ask.concurrency = sequences;
    ask.divisible = true;
    ask.need = [model](Bytes given, int gpus) {
      const auto each = static_cast<uint64_t>(gpus);
      const Bytes all = SizeToFit(model, ServingEngine::kVllm, nullptr, given * each, gpus).total();
      return Bytes{(all.value + each - 1) / each};
    };
    return std::move(*this);
  }
  Case Memory(Bytes memory) && {
    ask.need = [memory](Bytes, int) { return memory; };
    return std::move(*this);
  }
  Case Kind(WorkloadKind kind) && {
    ask.kind = kind;
    return std::move(*this);
  }
  Case Isolation(const char* word) && {
    ask.isolation = word;
    return std::move(*this);
  }
  Case Trusted() && {
    ask.trusted = true;
    return std::move(*this);
  }
  Case Slo() && {
    ask.latency_slo = std::chrono::milliseconds(50);
    return std::move(*this);
  }
  Case Steady() && {
    ask.steady = true;
    return std::move(*this);
  }
  Case Uses(double sms) && {
    ask.sm_utilization = sms;
    return std::move(*this);
  }
  Case Over(int gpus) && {
    ask.gpus = gpus;
    return std::move(*this);
  }
  Case Machines() && {
    ask.virtual_machines = true;
    return std::move(*this);
  }
  Case Locked() && {
    ask.mig_locked = true;
    return std::move(*this);
  }
  Case Resized() && {
    ask.resized = true;
    return std::move(*this);
  }
  Case Speculative() && {
    ask.speculative = true;
    return std::move(*this);
  }
};

struct Row {
  const char* table;
  const char* row;
  Case given;
  Mechanism advised;
  const char* profile = "";   // "" = not looked at
  const char* question = "";  // whose answer decides; "" = not looked at
};

constexpr auto kMig = Mechanism::kMig;
constexpr auto kMps = Mechanism::kMps;
constexpr auto kTurns = Mechanism::kTimeSlicing;
constexpr auto kFraction = Mechanism::kFraction;
constexpr auto kExclusive = Mechanism::kExclusive;
constexpr auto kVgpu = Mechanism::kVgpu;
constexpr auto kBatch = WorkloadKind::kBatch;
constexpr auto kNotebook = WorkloadKind::kNotebook;
constexpr auto kTraining = WorkloadKind::kTraining;

Case H100() { return Case("H100-SXM5-80GB"); }
Case A100() { return Case("A100-SXM4-80GB"); }
Case L40s() { return Case("L40S"); }

std::vector<Row> DecisionMatrix() {
  const char* table = "fractional GPUs, decision matrix";
  return {
      // "Low-traffic endpoints: time-slicing" says another guide. Both are right: time-slicing
      // where
      // no isolation is asked (below), MIG where a model is to have its own memory.
      {table, "single small model, low traffic, 7B INT4, H100/A100: MIG 1g.10gb",
       H100().Model(7, "int4"), kMig, "1g.10gb"},
      {table, "the same on an A100", A100().Model(7, "int4"), kMig, "1g.10gb"},
      {table, "multiple small models, isolated, 7B FP16: MIG 2g.20gb",
       H100().Model(7, "fp16").Isolation("hardware"), kMig, "2g.20gb"},
      {table, "multiple small models, isolated, 13B FP16: MIG 3g.40gb",
       A100().Model(13, "fp16").Isolation("hardware"), kMig, "3g.40gb"},
      // MPS is right where the models are one's own; with tenants who do not trust each other the
      // same page says "do not use MPS as a substitute for MIG".
      {table, "multiple models, L40S, 7B-13B INT4: MPS",
       L40s().Model(13, "int4").Trusted().Steady(), kMps},
      {table, "multiple models, RTX 4090, 7B-13B INT4: MPS",
       Case("RTX4090").Model(7, "int4").Trusted().Steady(), kMps},
      {table, "the same for tenants who do not trust each other: a GPU each",
       L40s().Model(13, "int4").Steady(), kExclusive, "", ""},
      {table, "multi-tenant inference as a service: MIG",
       H100().Memory(GiB(16)).Isolation("hardware"), kMig},
      {table, "development, testing, experiments: time-slicing",
       L40s().Kind(kNotebook).Isolation("none").Memory(GiB(8)), kTurns},
      {table, "development on a GPU with MIG: time-slicing all the same",
       H100().Kind(kNotebook).Isolation("none").Memory(GiB(8)), kTurns},
      {table, "enterprise VM deployment: vGPU", A100().Memory(GiB(8)).Machines(), kVgpu},
      {table, "large model, full throughput, 70B FP16: full GPU", H100().Model(70, "fp16"),
       kExclusive, "", "fits_gpu"},
  };
}

std::vector<Row> FourOptions() {
  const char* table = "fractional GPUs, four options";
  return {
      {table, "MIG: multi-tenant, hard isolation", A100().Memory(GiB(8)).Isolation("hardware"),
       kMig},
      {table, "MPS: concurrent inference, controlled environment",
       L40s().Memory(GiB(8)).Trusted().Steady(), kMps},
      {table, "vGPU: enterprise VM deployments", Case("L4").Memory(GiB(8)).Machines(), kVgpu},
      {table, "time-slicing: dev/test, low-traffic endpoints",
       Case("T4").Memory(GiB(4)).Isolation("none"), kTurns},
  };
}

std::vector<Row> BestFor() {
  const char* table = "fractional GPUs, H100 profiles, best for";
  const auto of = [](double billions, const char* precision) {
    return H100().Model(billions, precision).Isolation("hardware");
  };
  return {
      {table, "1g.10gb: 7B INT4", of(7, "int4"), kMig, "1g.10gb"},
      {table, "1g.10gb: 3B FP16", of(3, "fp16"), kMig, "1g.10gb"},
      {table, "2g.20gb: 7B FP16", of(7, "fp16"), kMig, "2g.20gb"},
      {table, "2g.20gb: 13B INT4", of(13, "int4"), kMig, "2g.20gb"},
      {table, "3g.40gb: 13B FP16", of(13, "fp16"), kMig, "3g.40gb"},
      {table, "3g.40gb: 30B INT4", of(30, "int4"), kMig, "3g.40gb"},
      {table, "4g.40gb: 30B INT4 with more compute", of(30, "int4").Uses(0.47), kMig, "4g.40gb"},
      {table, "7g.80gb: full GPU, no sharing", of(70, "int4"), kExclusive},
  };
}

std::vector<Row> WhenNot() {
  const char* table = "fractional GPUs, when not to";
  return {
      {table, "the model does not fit the slice: 70B FP16", H100().Model(70, "fp16"), kExclusive,
       "", "fits_gpu"},
      {table, "a 70B INT4 model fits the GPU and no slice of it",
       H100().Model(70, "int4").Isolation("hardware"), kExclusive},
      {table, "SM utilization already above 80 %", H100().Memory(GiB(8)).Uses(0.85), kExclusive, "",
       "busy"},
      {table, "the limit itself", H100().Memory(GiB(8)).Uses(0.80), kExclusive, "", "busy"},
      {table, "speculative decoding", H100().Memory(GiB(8)).Speculative(), kExclusive, "",
       "speculative"},
      {table, "tensor parallelism", H100().Model(7, "fp16").Over(2), kExclusive, "",
       "several_gpus"},
      {table, "long contexts in large batches", H100().Model(7, "int4", 131072, 16), kExclusive},
  };
}

std::vector<Row> WhenToUseEach() {
  const char* table = "MIG, time-slicing and MPS, when to use each";
  return {
      {table, "multi-tenant SaaS: MIG", H100().Memory(GiB(16)).Isolation("hardware"), kMig},
      {table, "development and testing: time-slicing",
       L40s().Kind(kNotebook).Memory(GiB(8)).Isolation("none"), kTurns},
      // "Batch: time-slicing" say two others. Measured on an A100, three to seven tenants under MPS
      // do 1.6 to 1.9 times what one does alone, in turns 0.9 times: MPS, where it may be.
      {table, "batch inference, high throughput: MPS",
       A100().Kind(kBatch).Memory(GiB(8)).Isolation("none").Trusted(), kMps},
      {table, "production API, mixed model sizes: MIG", H100().Model(13, "fp16").Slo().Trusted(),
       kMig, "3g.40gb"},
      {table, "low-traffic endpoints, cost: time-slicing",
       L40s().Model(7, "int4").Isolation("none"), kTurns},
  };
}

std::vector<Row> FourMechanisms() {
  const char* table = "four mechanisms";
  return {
      {table, "distributed training: no sharing", H100().Kind(kTraining).Memory(GiB(60)).Over(8),
       kExclusive, "", "several_gpus"},
      {table, "training on one GPU that it fills", A100().Kind(kTraining).Memory(GiB(20)),
       kExclusive, "", "busy"},
      {table, "online inference, trusted co-tenancy: MPS", L40s().Memory(GiB(10)).Trusted().Slo(),
       kMps},
      {table, "online inference, replicas of one service: MPS",
       H100().Memory(GiB(10)).Trusted().Steady(), kMps},
      {table, "online inference, isolated multi-tenancy: MIG",
       H100().Memory(GiB(10)).Isolation("hardware").Slo(), kMig},
      {table, "notebooks: time-slicing",
       Case("T4").Kind(kNotebook).Memory(GiB(4)).Isolation("none"), kTurns},
      {table, "or HAMi, which is what we call fraction, where memory is to be kept",
       Case("T4").Kind(kNotebook).Memory(GiB(4)).Trusted(), kFraction},
      {table, "batch with a relaxed latency budget: time-slicing",
       Case("V100-SXM2-16GB").Kind(kBatch).Memory(GiB(4)).Isolation("none"), kTurns},
      {table, "regulated environments: MIG",
       Case("B200-180GB").Memory(GiB(16)).Isolation("hardware"), kMig},
      {table, "hardware isolation where MIG does not exist: the whole GPU",
       Case("L4").Memory(GiB(8)).Isolation("hardware"), kExclusive},
      {table, "slices that must change their size: not MIG",
       H100().Memory(GiB(8)).Resized().Trusted().Steady(), kMps},
      {table, "clouds that lock MIG: not MIG", A100().Memory(GiB(8)).Locked().Trusted().Steady(),
       kMps},
      // Time-slicing for a latency objective is the trap that this one names.
      {table, "time-slicing under a P99 objective", L40s().Memory(GiB(8)).Isolation("none").Slo(),
       kExclusive, "", "latency"},
  };
}

std::vector<Row> KubernetesRecipe() {
  const char* table = "Kubernetes recipe, decision framework";
  return {
      {table, "MIG: production multi-tenant", H100().Memory(GiB(9)).Isolation("hardware"), kMig},
      {table, "MIG: guaranteed memory and compute", A100().Memory(GiB(9)).Isolation("hardware"),
       kMig},
      {table, "MIG: different customers on the same hardware",
       Case("H200-SXM5-141GB").Memory(GiB(9)).Isolation("hardware"), kMig},
      {table, "MIG: customers who do not trust each other, process isolation",
       A100().Memory(GiB(9)), kMig},
      {table, "MPS: cooperative processes of one application",
       L40s().Memory(GiB(9)).Trusted().Steady(), kMps},
      {table, "MPS: batch inference with many small models",
       A100().Kind(kBatch).Memory(GiB(9)).Trusted(), kMps},
      {table, "MPS: older GPUs without MIG, V100",
       Case("V100-SXM2-16GB").Memory(GiB(4)).Trusted().Steady(), kMps},
      {table, "MPS: older GPUs without MIG, T4", Case("T4").Memory(GiB(4)).Trusted().Steady(),
       kMps},
      {table, "time-slicing: development and testing",
       A100().Kind(kNotebook).Memory(GiB(8)).Isolation("none"), kTurns},
      {table, "time-slicing: CI access for unit tests",
       Case("L4").Kind(kBatch).Memory(GiB(4)).Isolation("none"), kTurns},
      {table, "time-slicing: budget, any GPU", Case("RTX5090").Memory(GiB(4)).Isolation("none"),
       kTurns},
      {table, "time-slicing: bursty, idle most of the time",
       L40s().Memory(GiB(8)).Isolation("none"), kTurns},
      // "3g.40gb for 13-34B": 13B in FP16 and 34B in INT4, not 34B in FP16 (68 GB).
      {table, "1g.10gb for quantised 7B models", A100().Model(7, "int4").Isolation("hardware"),
       kMig, "1g.10gb"},
      {table, "3g.40gb for 13B", A100().Model(13, "fp16").Isolation("hardware"), kMig, "3g.40gb"},
      {table, "3g.40gb for 34B, quantised", A100().Model(34, "int4").Isolation("hardware"), kMig,
       "3g.40gb"},
      {table, "34B in FP16 is the whole GPU", A100().Model(34, "fp16").Isolation("hardware"),
       kExclusive},
      {table, "7g.80gb for 70B+: the whole GPU, and only quantised", A100().Model(70, "int4"),
       kExclusive},
  };
}

std::vector<Row> OnPremises() {
  const char* table = "on premises, tiers";
  return {
      {table, "tier 1, production with strict SLAs: MIG", H100().Memory(GiB(16)).Slo(), kMig},
      {table, "tier 2, staging: MIG", H100().Memory(GiB(8)).Isolation("hardware"), kMig},
      {table, "tier 2, staging in virtual machines: vGPU, MIG-backed",
       H100().Memory(GiB(8)).Isolation("hardware").Machines(), kVgpu, "", "vgpu_hardware"},
      {table, "tier 3, development: time-slicing",
       H100().Kind(kNotebook).Memory(GiB(8)).Isolation("none"), kTurns},
      {table, "tier 3, batch: time-slicing", L40s().Kind(kBatch).Memory(GiB(8)).Isolation("none"),
       kTurns},
      {table, "vGPU where virtual machines are the way of the house",
       Case("A40").Memory(GiB(8)).Machines(), kVgpu},
      {table, "vGPU cannot isolate in hardware without MIG",
       Case("L40S").Memory(GiB(8)).Isolation("hardware").Machines(), kExclusive, "",
       "vgpu_hardware"},
      {table, "no vGPU on GeForce", Case("RTX4090").Memory(GiB(8)).Machines(), kExclusive, "",
       "vgpu_gate"},
      {table, "production with an SLA: not time-slicing",
       H100().Memory(GiB(8)).Isolation("none").Slo(), kMig, "", "latency"},
  };
}

std::vector<Row> AllRows() {
  std::vector<Row> all;
  for (auto* table : {DecisionMatrix, FourOptions, BestFor, WhenNot, WhenToUseEach, FourMechanisms,
                      KubernetesRecipe, OnPremises}) {
    for (Row& row : table()) all.push_back(std::move(row));
  }
  return all;
}

TEST(DecisionTableTest, EveryRow) {
  for (const Row& row : AllRows()) {
    SCOPED_TRACE(std::string(row.table) + ": " + row.row);
    const auto advice = Advise(row.given.ask, Rules());
    ASSERT_TRUE(advice) << advice.error().message;
    ASSERT_TRUE(advice->mechanism);
    EXPECT_STREQ(MechanismName(*advice->mechanism), MechanismName(row.advised));
    if (*row.profile != 0) {
      EXPECT_EQ(advice->profile, row.profile)
          << "needs " << FormatBytes(advice->memory.value_or(Bytes{}));
    }
    if (*row.question != 0) {
      // It is the question that turned the walk.
      const bool decided =
          std::any_of(advice->path.begin(), advice->path.end(),
                      [&row](const AdviceStep& step) { return step.name == row.question; });
      EXPECT_TRUE(decided) << advice->path.back().name;
    }
  }
}

// "Cost analysis: fractional vs full GPU vs spot", best for.
TEST(DecisionTableTest, PayingStrategies) {
  const auto of = [](Case given) { return Advise(given.ask, Rules()).value(); };
  const Advice large = of(H100().Model(70, "fp16"));
  EXPECT_EQ(large.mechanism, kExclusive);
  EXPECT_FALSE(large.spot);
  const Advice several = of(A100().Model(7, "int4"));
  EXPECT_EQ(several.mechanism, kMig);
  EXPECT_FALSE(several.spot);
  Case batch = A100().Kind(kBatch).Memory(GiB(60)).Uses(0.9);
  batch.ask.interruptible = true;
  EXPECT_EQ(of(batch).mechanism, kExclusive);
  EXPECT_TRUE(of(batch).spot);
  Case small = A100().Kind(kBatch).Model(7, "int4");
  small.ask.interruptible = true;
  EXPECT_EQ(of(small).mechanism, kMig);
  EXPECT_TRUE(of(small).spot);
  // Who must keep a latency cannot be taken away.
  small.ask.latency_slo = std::chrono::milliseconds(50);
  EXPECT_FALSE(of(small).spot);
}

// "The isolation matrix: four mechanisms x four axes", against what the catalog promises at best.
// Two of its cells are weaker here: faults are "partial" there for time-slicing and HAMi because
// data stays apart; a reset still clears every context, so nothing is promised.
TEST(DecisionTableTest, IsolationMatrix) {
  struct Line {
    Mechanism mechanism;
    Guarantee memory, compute, fault;
  };
  const Line kMatrix[] = {
      {kTurns, Guarantee::kNone, Guarantee::kNone, Guarantee::kNone},
      {kMps, Guarantee::kCooperative, Guarantee::kCooperative, Guarantee::kNone},
      {kMig, Guarantee::kHardware, Guarantee::kHardware, Guarantee::kHardware},
      {kFraction, Guarantee::kCooperative, Guarantee::kCooperative, Guarantee::kNone},
  };
  for (const Line& line : kMatrix) {
    const Guarantees& floor = Loaded().FindMechanism(line.mechanism).floor;
    EXPECT_EQ(floor.memory, line.memory) << MechanismName(line.mechanism);
    EXPECT_EQ(floor.compute, line.compute) << MechanismName(line.mechanism);
    EXPECT_EQ(floor.fault, line.fault) << MechanismName(line.mechanism);
  }
  // "MPS: compute none" leaves out its percentage; it is a limit that the client may leave out too.
  EXPECT_EQ(Loaded().FindMechanism(kMps).guarantees.compute, Guarantee::kDriver);
}

// "Comparison matrix": partitions and overheads.
TEST(DecisionTableTest, PartitionsAndOverheads) {
  EXPECT_EQ(Loaded().FindMechanism(kMig).max_tenants, 7);
  EXPECT_EQ(Loaded().FindMechanism(kMps).max_tenants, 48);
  EXPECT_EQ(Loaded().FindMechanism(kTurns).max_tenants, 0);
  const auto overheads = SharingOverheads::Load().value();
  const auto within = [&overheads](Mechanism mechanism, double left) {
    const SharingOverhead& overhead = overheads.Of(mechanism);
    return overhead.from <= left && left <= overhead.to;
  };
  EXPECT_TRUE(within(kMig, 1.0));
  EXPECT_TRUE(within(kMps, 0.95));
  for (const double left : {0.85, 0.90, 0.92, 0.95}) EXPECT_TRUE(within(kTurns, left)) << left;
  for (const double left : {0.85, 0.95}) EXPECT_TRUE(within(kVgpu, left)) << left;
}

// The table of hardware gates: which mechanism exists on which GPU at all.
struct Gate {
  const char* gpu;
  bool mig;
};
constexpr Gate kGates[] = {{"T4", false},
                           {"V100-SXM2-16GB", false},
                           {"A10", false},
                           {"L4", false},
                           {"L40S", false},
                           {"RTX4090", false},
                           {"RTX5090", false},
                           {"A30", true},
                           {"A100-SXM4-40GB", true},
                           {"A100-SXM4-80GB", true},
                           {"A100-PCIE-80GB", true},
                           {"H100-SXM5-80GB", true},
                           {"H100-PCIE-80GB", true},
                           {"H200-SXM5-141GB", true},
                           {"B200-180GB", true}};

TEST(DecisionTableTest, HardwareGates) {
  for (const Gate& gate : kGates) {
    SCOPED_TRACE(gate.gpu);
    const Case given = Case(gate.gpu).Memory(GiB(4)).Isolation("none").Trusted();
    const auto against = [&given](Mechanism mechanism) {
      return !ReasonsAgainst(given.ask, Rules(), mechanism).value().empty();
    };
    EXPECT_EQ(against(kMig), !gate.mig);
    EXPECT_FALSE(against(kTurns));
    EXPECT_FALSE(against(kMps));
    EXPECT_FALSE(against(kFraction));
    EXPECT_FALSE(against(kExclusive));
  }
}

// "MPS on Kepler and later": before Volta without separate address spaces, so not here.
TEST(DecisionTableTest, NoMpsBeforeVolta) {
  CatalogGpu pascal = *Loaded().FindGpu("V100-SXM2-16GB").value();
  pascal.key = "P100";
  pascal.compute_capability = "6.0";
  Case given = Case("T4").Memory(GiB(4)).Trusted().Steady();
  given.ask.gpu = &pascal;
  const auto reasons = ReasonsAgainst(given.ask, Rules(), kMps).value();
  ASSERT_EQ(reasons.size(), 1u);
  EXPECT_EQ(reasons[0].name, "mps_gate");
  EXPECT_EQ(Advise(given.ask, Rules())->mechanism, kFraction);
}

// "Max instances" and the size of one of seven (or four).
TEST(DecisionTableTest, SmallestSlices) {
  const std::pair<const char*, const char*> kSmallest[] = {
      {"H100-SXM5-80GB", "1g.10gb"}, {"H100-PCIE-80GB", "1g.10gb"},
      {"A100-SXM4-80GB", "1g.10gb"}, {"A100-PCIE-80GB", "1g.10gb"},
      {"A100-SXM4-40GB", "1g.5gb"},  {"H200-SXM5-141GB", "1g.18gb"},
      {"B200-180GB", "1g.23gb"},     {"A30", "1g.6gb"}};
  for (const auto& [gpu, profile] : kSmallest) {
    const auto advice = Advise(Case(gpu).Memory(GiB(4)).Isolation("hardware").ask, Rules());
    EXPECT_EQ(advice->profile, profile) << gpu;
    EXPECT_EQ(advice->tenants_per_gpu, std::string(gpu) == "A30" ? 4 : 7) << gpu;
  }
}

}  // namespace
}  // namespace tranche
