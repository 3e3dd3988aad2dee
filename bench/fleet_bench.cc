#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <map>
#include <random>
#include <string>
#include <tuple>
#include <vector>

#include "catalog/catalog.h"
#include "decide/fleet/greedy.h"
#include "decide/fleet/solver.h"
#include "decide/geometry/layouts.h"

// How near the cheapest the fleet solver comes, and how long it takes: workloads of random size on
// MIG slices of six kinds of GPUs, 20 instances of a seed each.
//
//   fleet_bench [--shared] [WORKLOADS...]        100 1000 5000
//
// With --shared a third of the workloads may also share a GPU that is not divided.
namespace tranche::bench {
namespace {

constexpr int kInstances = 20;

struct Kind {
  const char* gpu;
  int64_t cents;  // per hour, of the order of what clouds ask
  double speed;   // of an SM, beside one of an A100
};
constexpr Kind kKinds[] = {{"A30", 55, 0.95},           {"A100-SXM4-40GB", 129, 1},
                           {"A100-SXM4-80GB", 179, 1},  {"H100-SXM5-80GB", 269, 2},
                           {"H200-SXM5-141GB", 350, 2}, {"B200-180GB", 499, 2.5}};

struct Slice {
  int shape;
  Bytes memory;
  double compute;  // SMs of an A100
};

struct Machines {
  std::vector<fleet::GpuKind> kinds;
  std::vector<std::vector<Slice>> slices;
  std::vector<double> compute;  // of a whole GPU of each kind, in SMs of an A100
};

Machines MachinesOf(const Catalog& catalog, bool shared) {
  Machines machines;
  for (const Kind& known : kKinds) {
    const auto gpu = catalog.FindGpu(known.gpu);
    if (!gpu) {
      std::fprintf(stderr, "%s\n", gpu.error().message.c_str());
      std::exit(1);
    }
    const MigGeometry geometry = *MigGeometry::Make((*gpu)->mig_profiles);
    LayoutOptions options;
    options.double_memory = true;
    fleet::GpuKind kind;
    kind.price = known.cents;
    kind.count = 1'000'000;
    std::vector<Slice> slices;
    const std::vector<int> profiles = ProfilesFor(geometry, options);
    for (size_t s = 0; s < profiles.size(); ++s) {
      const MigProfile& profile = geometry.profile(profiles[s]);
      slices.push_back({static_cast<int>(s), profile.memory, profile.sm_count * known.speed});
    }
    std::map<std::vector<int>, bool> seen;
    for (const InstanceLayout& layout : MaximalLayouts(geometry, options)) {
      std::vector<int> counts(profiles.size(), 0);
      for (const PlacedProfile& placed : layout) {
        const auto at = std::find(profiles.begin(), profiles.end(), placed.profile);
        ++counts[static_cast<size_t>(at - profiles.begin())];
      }
      if (seen.emplace(counts, true).second) kind.layouts.push_back(counts);
    }
    if (shared) kind.memory = static_cast<int64_t>((*gpu)->memory->value >> 20);
    machines.compute.push_back(*(*gpu)->sm_count * known.speed);
    machines.kinds.push_back(std::move(kind));
    machines.slices.push_back(std::move(slices));
  }
  return machines;
}

// Memory lognormal around 12 GiB, compute around 14 SMs of an A100; what no slice holds is drawn
// again. Those whom the same slices suit are one class.
fleet::Problem Instance(const Machines& machines, int workloads, bool shared, uint64_t seed) {
  std::mt19937_64 random(seed);
  std::lognormal_distribution<double> memory(std::log(12.0), 0.9), compute(std::log(14.0), 0.7);
  // By the slices that suit, and by memory and compute where it may share.
  using Class = std::tuple<std::vector<std::pair<int, int>>, int64_t, double>;
  std::map<Class, int64_t> classes;
  for (int n = 0; n < workloads;) {
    const double gib = memory(random), sms = compute(random);
    std::vector<std::pair<int, int>> ways;
    for (size_t k = 0; k < machines.slices.size(); ++k) {
      for (const Slice& slice : machines.slices[k]) {
        if (static_cast<double>(slice.memory.value) < gib * 1073741824.0 || slice.compute < sms) {
          continue;
        }
        ways.emplace_back(static_cast<int>(k), slice.shape);
      }
    }
    if (ways.empty()) continue;
    const bool shares = shared && random() % 3 == 0;
    ++classes[{ways, shares ? static_cast<int64_t>(gib * 1024) : 0, shares ? sms : 0}];
    ++n;
  }
  fleet::Problem problem;
  problem.kinds = machines.kinds;
  for (const auto& [what, count] : classes) {
    const auto& [ways, mib, sms] = what;
    fleet::ItemClass item;
    item.count = count;
    for (const auto& [kind, shape] : ways) {
      fleet::Way way;
      way.kind = kind;
      way.shape = shape;
      item.ways.push_back(way);
    }
    for (size_t k = 0; mib > 0 && k < machines.kinds.size(); ++k) {
      fleet::Way way;
      way.kind = static_cast<int>(k);
      way.use = fleet::Way::Use::kShare;
      way.share = {mib, static_cast<int64_t>(sms / machines.compute[k] * 1e9)};
      if (way.share.memory > machines.kinds[k].memory) continue;
      if (way.share.compute > fleet::kWholeCompute) continue;
      item.ways.push_back(way);
    }
    problem.classes.push_back(std::move(item));
  }
  return problem;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return (values[values.size() / 2] + values[(values.size() - 1) / 2]) / 2;
}

void Measure(const Machines& machines, int workloads, bool shared) {
  std::vector<double> gaps, seconds, greedy_gaps, counts;
  for (int i = 0; i < kInstances; ++i) {
    const fleet::Problem problem =
        Instance(machines, workloads, shared, static_cast<uint64_t>(i + 1));
    const std::clock_t start = std::clock();
    const fleet::Answer answer = fleet::Solve(problem);
    const double took = static_cast<double>(std::clock() - start) / CLOCKS_PER_SEC;
    const std::string wrong = fleet::WhatIsWrong(problem, answer);
    if (!wrong.empty() || answer.LeftOut() != 0) {
      std::fprintf(stderr, "instance %d: %s\n", i, wrong.empty() ? "left out" : wrong.c_str());
      std::exit(1);
    }
    const double bound = static_cast<double>(answer.lower_bound);
    gaps.push_back(100 * (static_cast<double>(answer.cost) - bound) / bound);
    greedy_gaps.push_back(
        100 * (static_cast<double>(fleet::FirstFitDecreasing(problem).cost) - bound) / bound);
    seconds.push_back(took);
    counts.push_back(static_cast<double>(problem.classes.size()));
  }
  fmt::print("| {} | {:.0f} | {:.3f} | {:.3f} | {:.1f} | {:.2f} | {:.2f} |\n", workloads,
             Median(counts), Median(gaps), *std::max_element(gaps.begin(), gaps.end()),
             Median(greedy_gaps), Median(seconds),
             *std::max_element(seconds.begin(), seconds.end()));
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  const auto catalog = Catalog::Load();
  if (!catalog) {
    std::fprintf(stderr, "%s\n", catalog.error().message.c_str());
    return 1;
  }
  bool shared = false;
  std::vector<int> sizes;
  for (int i = 1; i < argc; ++i) {
    if (std::string(argv[i]) == "--shared") {
      shared = true;
    } else {
      sizes.push_back(std::atoi(argv[i]));
    }
  }
  const Machines machines = MachinesOf(**catalog, shared);
  if (sizes.empty()) sizes = {100, 1000, 5000};
  fmt::print(
      "| workloads | classes | gap, median % | gap, worst % | first-fit-decreasing, median % | "
      "CPU seconds, median | CPU seconds, worst |\n|---|---|---|---|---|---|---|\n");
  for (const int size : sizes) Measure(machines, size, shared);
  return 0;
}

}  // namespace
}  // namespace tranche::bench

int main(int argc, char** argv) { return tranche::bench::Main(argc, argv); }
