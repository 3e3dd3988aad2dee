#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

// How long planning takes. The figures of a run are in README.md; none is asserted.

namespace tranche::planning {
namespace {

void ThreeModelsOnOneH100(benchmark::State& state) {
  const Machine machine = MachineWith({"H100-SXM5-80GB"});
  const Spec spec = ThreeModels();
  const Catalog& catalog = TestCatalog();
  for (auto _ : state) {
    Plan plan = MakePlan(machine, spec, {}, catalog, {});
    if (!plan.feasible()) state.SkipWithError("the example does not fit");
    benchmark::DoNotOptimize(plan);
  }
}
BENCHMARK(ThreeModelsOnOneH100)->Unit(benchmark::kMillisecond);

Machine Node() { return MachineWith(std::vector<std::string>(8, "H100-SXM5-80GB")); }

// 56 workloads that fill eight GPUs to the last slice.
Spec FiftySixAlike() {
  std::vector<Workload> workloads;
  for (int i = 0; i < 56; ++i) workloads.push_back(Hardware(fmt::format("w{}", i), GiB(9)));
  return SpecOf(std::move(workloads));
}

// 56 workloads of 56 sizes and all kinds: slices, whole GPUs, shared ones.
Spec FiftySixDifferent() {
  std::vector<Workload> workloads;
  for (int i = 0; i < 56; ++i) {
    const Bytes memory = MiB(static_cast<uint64_t>(1500 + 137 * i));
    const std::string name = fmt::format("w{}", i);
    if (i % 14 == 13) {
      workloads.push_back(Hardware(name, memory * 3));
    } else if (i % 4 == 0) {
      workloads.push_back(Shared(name, memory));
    } else {
      workloads.push_back(Hardware(name, memory));
    }
  }
  return SpecOf(std::move(workloads));
}

// One more than fits: every way has to be excluded, and the nearest that would fit looked for.
Spec FiftySevenAlike() {
  Spec spec = FiftySixAlike();
  spec.workloads.push_back(Hardware("too-much", GiB(9)));
  return spec;
}

void EightGpus(benchmark::State& state, Spec (*make)(), bool feasible) {
  const Machine machine = Node();
  const Spec spec = make();
  const Catalog& catalog = TestCatalog();
  for (auto _ : state) {
    Plan plan = MakePlan(machine, spec, {}, catalog, {});
    if (plan.feasible() != feasible) state.SkipWithError("not as expected");
    benchmark::DoNotOptimize(plan);
  }
}
BENCHMARK_CAPTURE(EightGpus, with_56_alike, FiftySixAlike, true)->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(EightGpus, with_56_different, FiftySixDifferent, true)
    ->Unit(benchmark::kMillisecond);
BENCHMARK_CAPTURE(EightGpus, with_one_too_many, FiftySevenAlike, false)
    ->Unit(benchmark::kMillisecond);

void KeepFiveOfSeven(benchmark::State& state) {
  const Catalog& catalog = TestCatalog();
  std::vector<Workload> workloads;
  for (int i = 0; i < 7; ++i) workloads.push_back(Hardware(fmt::format("w{}", i), GiB(9)));
  const Machine empty = MachineWith({"H100-SXM5-80GB"});
  const World world = Applied(empty, {}, MakePlan(empty, SpecOf(workloads), {}, catalog, {}));
  workloads.erase(workloads.begin() + 4);
  workloads.erase(workloads.begin() + 1);
  const Spec spec = SpecOf(workloads);
  for (auto _ : state) {
    Plan plan = MakePlan(world.machine, spec, world.deployment, catalog, {});
    if (Count(plan, StepKind::kDestroyInstance) != 2) state.SkipWithError("not two destroyed");
    benchmark::DoNotOptimize(plan);
  }
}
BENCHMARK(KeepFiveOfSeven)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace tranche::planning
