#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <filesystem>
#include <fstream>
#include <iostream>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "decide/placement/random.h"
#include "decide/placement/tranche_policy.h"
#include "placement/bound.h"
#include "stage/simulate/compare.h"
#include "stage/simulate/mig_fleet.h"
#include "stage/simulate/replay.h"
#include "stage/simulate/trace.h"

// The figures of docs/benchmarks/placement.md, as tables for that page:
//   placement_bench published DIR   all policies as published, the published means beside them
//   placement_bench ours DIR        ours and FGD, arrivals only, with the limit of any such policy
//   placement_bench departures DIR [LOAD [ARRIVALS [LAST SEED]]]
//   placement_bench repack DIR
//   placement_bench speed DIR
//   placement_bench mig             GPUs that MIG divides, with generated workloads
// DIR holds openb_node_list_gpu_node.csv, openb_pod_list_*.csv and perhaps published_summary.csv.

namespace tranche::bench {
namespace {

using simulate::Arrival;
using simulate::CompareOptions;
using simulate::Fleet;
using simulate::PolicyOutcome;
using simulate::TracePod;

std::string ReadFile(const std::string& path) {
  std::ifstream file(path);
  std::ostringstream text;
  text << file.rdbuf();
  return text.str();
}

struct Trace {
  std::string name;
  std::vector<TracePod> pods;
};

struct Traces {
  Fleet fleet;
  std::vector<Trace> traces;
  // Published means of allocation at 130 %, by trace and policy.
  std::map<std::string, std::map<std::string, double>> published;
};

std::map<std::string, std::map<std::string, double>> ReadPublished(const std::string& path) {
  const std::map<std::string, std::string> names = {
      {"01-Random", "random"},      {"02-DotProd", "dotprod"}, {"03-GpuClustering", "clustering"},
      {"04-GpuPacking", "packing"}, {"05-BestFit", "bestfit"}, {"06-FGD", "fgd"}};
  std::map<std::string, std::map<std::string, double>> published;
  std::istringstream lines(ReadFile(path));
  std::string line;
  while (std::getline(lines, line)) {
    std::vector<std::string> cells;
    std::istringstream parts(line);
    for (std::string cell; std::getline(parts, cell, ',');) cells.push_back(cell);
    if (cells.size() < 6 || cells[1] != "alloc_ratio_pct" || cells[2] != "130") continue;
    const auto name = names.find(cells[3]);
    if (name == names.end()) continue;
    published[cells[0].substr(std::string("openb_pod_list_").size())][name->second] =
        std::stod(cells[5]);
  }
  return published;
}

Traces Load(const std::string& dir) {
  Traces all;
  const auto fleet = simulate::ParseNodes(ReadFile(dir + "/openb_node_list_gpu_node.csv"), "nodes");
  if (!fleet) {
    fmt::print(stderr, "{}\n", fleet.error().message);
    std::exit(1);
  }
  all.fleet = *fleet;
  const std::string prefix = "openb_pod_list_";
  for (const auto& entry : std::filesystem::directory_iterator(dir)) {
    const std::string stem = entry.path().stem().string();
    if (stem.rfind(prefix, 0) != 0) continue;
    const auto pods = simulate::ParsePods(ReadFile(entry.path().string()), stem, all.fleet);
    if (!pods) {
      fmt::print(stderr, "{}\n", pods.error().message);
      std::exit(1);
    }
    all.traces.push_back({stem.substr(prefix.size()), *pods});
  }
  std::sort(all.traces.begin(), all.traces.end(),
            [](const Trace& a, const Trace& b) { return a.name < b.name; });
  all.published = ReadPublished(dir + "/published_summary.csv");
  return all;
}

std::vector<uint64_t> Seeds(uint64_t first, uint64_t last) {
  std::vector<uint64_t> seeds;
  for (uint64_t seed = first; seed <= last; ++seed) seeds.push_back(seed);
  return seeds;
}

std::map<std::string, PolicyOutcome> Compare(const Traces& all, const Trace& trace,
                                             const CompareOptions& options) {
  SystemClock clock;
  std::map<std::string, PolicyOutcome> outcomes;
  for (PolicyOutcome& outcome :
       simulate::ComparePolicies(all.fleet, trace.pods, options, clock, [](auto&&...) {})) {
    outcomes[outcome.policy] = std::move(outcome);
  }
  return outcomes;
}

void Published(const Traces& all) {
  CompareOptions options;
  options.policies = {"random", "dotprod", "clustering", "packing", "bestfit", "fgd"};
  options.seeds = Seeds(42, 51);
  fmt::print("| trace | {} |\n|---|---|---|---|---|---|---|\n", fmt::join(options.policies, " | "));
  double worst = 0;
  double worst_fgd = 0;
  for (const Trace& trace : all.traces) {
    const auto published = all.published.find(trace.name);
    fmt::print("| {} |", trace.name);
    const auto outcomes = Compare(all, trace, options);
    for (const std::string& policy : options.policies) {
      const double mean = outcomes.at(policy).allocation_percent.mean;
      fmt::print(" {:.2f}", mean);
      if (published != all.published.end()) {
        const double off = mean - published->second.at(policy);
        fmt::print(" ({:+.2f})", off);
        double& most = policy == "fgd" ? worst_fgd : worst;
        most = std::max(most, std::abs(off));
      }
      fmt::print(" |");
    }
    fmt::print("\n");
  }
  fmt::print("\nfarthest from published: {:.2f}; FGD {:.2f}\n", worst, worst_fgd);
}

// What no policy that takes as many of the first arrivals as ours can pass; the mean over seeds.
double MeanBound(const Traces& all, const Trace& trace, const std::vector<uint64_t>& seeds) {
  double sum = 0;
  for (const uint64_t seed : seeds) {
    const placement::Cluster cluster = simulate::ShuffledCluster(all.fleet, seed);
    const auto arrivals = simulate::Inflated(trace.pods, cluster.total_gpu_milli(), 1.3, seed);
    placement::Scheduler scheduler(cluster, simulate::MakePolicy("tranche", cluster, {}, seed));
    // Until the first refusal of somebody with the same constraint on models.
    std::map<placement::ModelSet, bool> refused;
    std::vector<bool> accepted;
    for (const Arrival& arrival : arrivals) {
      const bool placed = scheduler.Place(scheduler.Intern(arrival.request)).has_value();
      if (!placed && !arrival.request.cpu_only()) refused[arrival.request.models] = true;
      const auto key = arrival.request.cpu_only() ? placement::kAnyModel : arrival.request.models;
      accepted.push_back(placed && !refused[key]);
    }
    const double bound = AllocationBound(cluster, arrivals, accepted);
    if (bound < 0) return -1;
    sum += bound;
  }
  return sum / static_cast<double>(seeds.size());
}

void Ours(const Traces& all) {
  CompareOptions options;
  options.policies = {"fgd", "tranche"};
  options.seeds = Seeds(42, 51);
  fmt::print(
      "| trace | FGD | ours | ours - FGD | limit | CPU-only placed: FGD | ours |\n"
      "|---|---|---|---|---|---|---|\n");
  double sum = 0;
  double least = 100;
  for (const Trace& trace : all.traces) {
    const auto outcomes = Compare(all, trace, options);
    const PolicyOutcome& fgd = outcomes.at("fgd");
    const PolicyOutcome& ours = outcomes.at("tranche");
    const double gain = ours.allocation_percent.mean - fgd.allocation_percent.mean;
    sum += gain;
    least = std::min(least, gain);
    fmt::print("| {} | {:.2f}+-{:.2f} | {:.2f}+-{:.2f} | {:+.2f} | {:.2f} | {:.0f} | {:.0f} |\n",
               trace.name, fgd.allocation_percent.mean, fgd.allocation_percent.sd,
               ours.allocation_percent.mean, ours.allocation_percent.sd, gain,
               MeanBound(all, trace, Seeds(42, 44)), fgd.cpu_only_placed, ours.cpu_only_placed);
    std::fflush(stdout);
  }
  fmt::print("\nmean {:+.2f}, least {:+.2f}\n", sum / static_cast<double>(all.traces.size()),
             least);
}

// Refused of those that wanted `gpus` whole GPUs, in percent.
std::string RefusedOf(const PolicyOutcome& outcome, size_t gpus) {
  if (outcome.asked_by_gpus[gpus] == 0) return "-";
  return fmt::format("{:.1f}", 100 * outcome.refused_by_gpus[gpus] / outcome.asked_by_gpus[gpus]);
}

// What no policy can pass where workloads come and go: at any time the best that the linear
// programme makes of all who would be there had nobody been refused. Mean over moments of the
// second half.
double DeparturesBound(const Traces& all, const Trace& trace, double load, int count,
                       const std::vector<uint64_t>& seeds) {
  constexpr int kMoments = 12;
  double sum = 0;
  for (const uint64_t seed : seeds) {
    const placement::Cluster cluster = simulate::ShuffledCluster(all.fleet, seed);
    const auto arrivals =
        simulate::ComingAndGoing(trace.pods, cluster.total_gpu_milli(), load, count, seed);
    for (int moment = 0; moment < kMoments; ++moment) {
      const double now = count * (0.5 + 0.5 * (moment + 0.5) / kMoments);
      std::vector<Arrival> there;
      for (int i = 0; i <= static_cast<int>(now); ++i) {
        if (i + arrivals[static_cast<size_t>(i)].lifetime > now) {
          there.push_back(arrivals[static_cast<size_t>(i)]);
        }
      }
      const double bound = AllocationBound(cluster, there, std::vector<bool>(there.size(), false));
      if (bound < 0) return -1;
      sum += bound / kMoments;
    }
  }
  return sum / static_cast<double>(seeds.size());
}

void Departures(const Traces& all, double load, int arrivals, uint64_t last_seed) {
  CompareOptions options;
  options.policies = {"fgd", "tranche"};
  options.seeds = Seeds(42, last_seed);
  options.departures = true;
  options.load = load;
  options.arrivals = arrivals;
  fmt::print(
      "| trace | FGD | ours | ours - FGD | limit - FGD | refused 8 GPUs %: FGD | ours "
      "|\n|---|---|---|---|---|---|---|\n");
  double sum = 0;
  double least = 100;
  double without_spec = 0;
  double most = 0;
  int others = 0;
  for (const Trace& trace : all.traces) {
    const auto outcomes = Compare(all, trace, options);
    const PolicyOutcome& fgd = outcomes.at("fgd");
    const PolicyOutcome& ours = outcomes.at("tranche");
    const double gain = ours.allocation_percent.mean - fgd.allocation_percent.mean;
    sum += gain;
    least = std::min(least, gain);
    if (trace.name.rfind("gpuspec", 0) != 0) {
      without_spec += gain;
      ++others;
    }
    const double room =
        DeparturesBound(all, trace, load, arrivals, options.seeds) - fgd.allocation_percent.mean;
    most += room;
    fmt::print("| {} | {:.2f} | {:.2f} | {:+.2f} | {:+.2f} | {} | {} |\n", trace.name,
               fgd.allocation_percent.mean, ours.allocation_percent.mean, gain, room,
               RefusedOf(fgd, 8), RefusedOf(ours, 8));
    std::fflush(stdout);
  }
  fmt::print("\nmean {:+.2f}, least {:+.2f}, without gpuspec {:+.2f}; limit: mean {:+.2f}\n",
             sum / static_cast<double>(all.traces.size()), least, without_spec / others,
             most / static_cast<double>(all.traces.size()));
}

void Repack(const Traces& all) {
  fmt::print(
      "| trace | | FGD | FGD, 5 % moved | ours | ours, 5 % moved | moves of FGD, ours |\n"
      "|---|---|---|---|---|---|---|\n");
  for (const Trace& trace : all.traces) {
    for (const bool departures : {false, true}) {
      CompareOptions options;
      options.policies = {"fgd", "tranche"};
      options.seeds = Seeds(42, 44);
      options.departures = departures;
      options.load = departures ? 1.1 : 1.3;
      const auto still = Compare(all, trace, options);
      options.repack = 0.05;
      const auto moved = Compare(all, trace, options);
      fmt::print("| {} | {} | {:.2f} | {:.2f} | {:.2f} | {:.2f} | {:.0f}, {:.0f} |\n", trace.name,
                 departures ? "coming and going" : "only coming",
                 still.at("fgd").allocation_percent.mean, moved.at("fgd").allocation_percent.mean,
                 still.at("tranche").allocation_percent.mean,
                 moved.at("tranche").allocation_percent.mean, moved.at("fgd").moved,
                 moved.at("tranche").moved);
      std::fflush(stdout);
    }
  }
}

double Percentile(std::vector<double>& values, double share) {
  const auto at =
      values.begin() + static_cast<ptrdiff_t>(share * static_cast<double>(values.size()));
  std::nth_element(values.begin(), at, values.end());
  return *at;
}

void Latencies(const char* what, const std::vector<placement::NodeShape>& nodes,
               const std::vector<Arrival>& arrivals,
               const std::vector<placement::WeightedRequest>& mix, const std::string& policy) {
  using Clock = std::chrono::steady_clock;
  const placement::Cluster cluster(nodes);
  placement::Scheduler scheduler(cluster, simulate::MakePolicy(policy, cluster, mix, 1));
  std::vector<double> micros;
  micros.reserve(arrivals.size());
  const auto begin = Clock::now();
  for (const Arrival& arrival : arrivals) {
    const auto before = Clock::now();
    scheduler.Place(scheduler.Intern(arrival.request));
    micros.push_back(std::chrono::duration<double, std::micro>(Clock::now() - before).count());
  }
  const double seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  const double most = *std::max_element(micros.begin(), micros.end());
  fmt::print("| {} | {} | {:.0f} | {:.3f} | {:.1f} | {:.1f} | {:.0f} |\n", what, policy,
             static_cast<double>(arrivals.size()) / seconds, seconds, Percentile(micros, 0.5),
             Percentile(micros, 0.99), most);
}

void Speed(const Traces& all) {
  fmt::print(
      "| | policy | placements/s | seconds | median us | p99 us | most us |\n"
      "|---|---|---|---|---|---|---|\n");
  for (const Trace& trace : all.traces) {
    int64_t gpus = 0;
    for (const auto& node : all.fleet.nodes) gpus += node.gpus;
    const auto arrivals = simulate::Inflated(trace.pods, 1000 * gpus, 1.3, 42);
    placement::Random random(42);
    auto nodes = all.fleet.nodes;
    random.Shuffle(nodes);
    for (const char* policy : {"fgd", "tranche"}) {
      if (std::string(policy) == "fgd" && trace.name != "default") continue;
      Latencies(fmt::format("{}, 1,213 nodes", trace.name).c_str(), nodes, arrivals,
                simulate::MixOf(trace.pods), policy);
    }
    if (trace.name != "default") continue;
    // The same cluster sixteen times and a bit: 100,000 GPUs, filled to 130 % of them.
    std::vector<placement::NodeShape> many;
    int64_t many_gpus = 0;
    for (size_t i = 0; many_gpus < 100000; ++i) {
      many.push_back(all.fleet.nodes[i % all.fleet.nodes.size()]);
      many_gpus += many.back().gpus;
    }
    random.Shuffle(many);
    const auto flood = simulate::Inflated(trace.pods, 1000 * many_gpus, 1.3, 42);
    Latencies(fmt::format("default, {} nodes with {} GPUs", many.size(), many_gpus).c_str(), many,
              flood, simulate::MixOf(trace.pods), "tranche");
  }
}

// Nodes that MIG can divide, and what comes to them. `mig` is "" for shares and whole GPUs.
struct MigClass {
  int weight;
  const char* mig;
  int gpus;
  int gpu_milli;
  int cpu_milli;
};
struct MigWorld {
  const char* name;
  std::vector<std::pair<int, const char*>> nodes;  // of eight H100, or four L40S
  std::vector<MigClass> classes;
};

std::vector<MigWorld> MigWorlds() {
  const char* h100 = "n,192000,2097152,8,H100-SXM5-80GB\n";
  const char* few_cores = "n,96000,2097152,8,H100-SXM5-80GB\n";
  const char* l40s = "n,64000,262144,4,L40S\n";
  return {{"instances of 1g to 4g",
           {{10, h100}},
           {{40, "1g.10gb", 1, 0, 3000},
            {30, "2g.20gb", 1, 0, 6000},
            {20, "3g.40gb", 1, 0, 8000},
            {10, "4g.40gb", 1, 0, 8000}}},
          {"of every size",
           {{10, h100}},
           {{20, "1g.10gb", 1, 0, 2000},
            {20, "1g.20gb", 1, 0, 2000},
            {20, "2g.20gb", 1, 0, 6000},
            {20, "3g.40gb", 1, 0, 8000},
            {10, "4g.40gb", 1, 0, 8000},
            {10, "7g.80gb", 1, 0, 16000}}},
          {"instances, shares and whole GPUs",
           {{10, h100}, {5, l40s}},
           {{30, "1g.10gb", 1, 0, 3000},
            {20, "2g.20gb", 1, 0, 4000},
            {20, "3g.40gb", 1, 0, 6000},
            {30, "", 1, 470, 4000},
            {20, "", 1, 810, 4000},
            {20, "", 1, 1000, 8000},
            {5, "", 4, 1000, 32000}}},
          {"the same with few cores",
           {{20, few_cores}},
           {{30, "1g.10gb", 1, 0, 6000},
            {20, "2g.20gb", 1, 0, 12000},
            {20, "3g.40gb", 1, 0, 6000},
            {10, "", 1, 1000, 8000},
            {5, "", 2, 1000, 16000}}}};
}

void Mig() {
  const auto catalog = Catalog::Load();
  SystemClock clock;
  fmt::print("| what comes | | best fit | FGD | ours | ours - FGD |\n|---|---|---|---|---|---|\n");
  for (const MigWorld& world : MigWorlds()) {
    std::string nodes = "sn,cpu_milli,memory_mib,gpu,model\n";
    for (const auto& [count, line] : world.nodes) {
      for (int i = 0; i < count; ++i) nodes += line;
    }
    Fleet fleet = *simulate::ParseNodes(nodes, "nodes");
    simulate::AddMig(**catalog, &fleet);
    std::string pods = "name,cpu_milli,memory_mib,num_gpu,gpu_milli,mig_profile\n";
    for (const MigClass& of : world.classes) {
      for (int i = 0; i < of.weight; ++i) {
        pods += fmt::format("p,{},16384,{},{},{}\n", of.cpu_milli, of.gpus, of.gpu_milli, of.mig);
      }
    }
    const auto parsed = *simulate::ParsePods(pods, "pods", fleet);
    for (const double load : {1.2, 1.1, 0.95}) {
      CompareOptions options;
      options.policies = {"bestfit", "fgd", "tranche"};
      options.seeds = Seeds(1, 5);
      options.departures = load < 1.2;
      options.arrivals = 12000;
      options.load = load;
      const auto outcomes =
          simulate::ComparePolicies(fleet, parsed, options, clock, [](auto&&...) {});
      const auto mean = [&](size_t i) { return outcomes[i].allocation_percent.mean; };
      fmt::print("| {} | {} | {:.2f} | {:.2f} | {:.2f} | {:+.2f} |\n", world.name,
                 options.departures ? fmt::format("coming and going, {:g} %", 100 * load)
                                    : std::string("only coming, 120 %"),
                 mean(0), mean(1), mean(2), mean(2) - mean(1));
      std::fflush(stdout);
    }
  }
}

}  // namespace
}  // namespace tranche::bench

int main(int argc, char** argv) {
  using namespace tranche::bench;
  const std::vector<std::string> words(argv + 1, argv + argc);
  if (words.size() == 1 && words[0] == "mig") {
    Mig();
    return 0;
  }
  if (words.size() < 2) {
    std::cerr << "placement_bench published|ours|departures|repack|speed DIR, or mig\n";
    return 64;
  }
  const Traces all = Load(words[1]);
  if (words[0] == "published") {
    Published(all);
  } else if (words[0] == "ours") {
    Ours(all);
  } else if (words[0] == "departures") {
    Departures(all, words.size() > 2 ? std::stod(words[2]) : 1.1,
               words.size() > 3 ? std::stoi(words[3]) : 30000,
               words.size() > 4 ? std::stoull(words[4]) : 46);
  } else if (words[0] == "repack") {
    Repack(all);
  } else if (words[0] == "speed") {
    Speed(all);
  } else {
    std::cerr << "placement_bench published|ours|departures|repack|speed DIR, or mig\n";
    return 64;
  }
  return 0;
}
