#include <fmt/format.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <string>
#include <vector>

#include "decide/geometry/packing.h"
#include "decide/serving/published_scenarios.h"

// How many A100-80 the published scenarios of ParvaGPU (SC'24) need, with real MIG placement, and
// how many of their requests miss the objective when they come at random.
//
//   serving_bench FOLDER [--arrivals [SHARE]] [--plan]
//
// FOLDER holds prof_data/ and SLO/. By default a replica bears what was measured of it, as was
// published; with --arrivals what it serves with 0.01 (or SHARE) of misses under random arrivals.
// --plan prints where everything goes.
namespace tranche::bench {
namespace {

using namespace serving;

struct Options {
  std::string folder;
  double may_miss = 1;
  bool plan = false;
};

std::string Line(const fleet::Used& used, const ReplicasAnswer& answer,
                 const published::Scenario& scenario, const published::Gpus& gpus) {
  std::string line;
  const std::vector<int> profiles = published::ProfilesOn(used, answer, scenario, gpus);
  size_t at = 0;
  for (const fleet::Used::Content& content : used.contents) {
    const ReplicasAnswer::Item& item = answer.items[static_cast<size_t>(content.item_class)];
    const size_t way = static_cast<size_t>(item.ways[static_cast<size_t>(content.way)]);
    const published::Model& model = scenario.models[static_cast<size_t>(item.service)];
    for (int64_t n = 0; n < content.count; ++n) {
      const ProfilePoint& point = model.settings[way].point;
      line += fmt::format("{}{} {} ({} x batch {})", line.empty() ? "" : ", ",
                          gpus.geometry.profile(profiles[at++]).name, model.name, point.processes,
                          point.batch);
    }
  }
  return line;
}

void Run(const Options& options, const published::Gpus& gpus, int number) {
  const std::clock_t start = std::clock();
  const auto scenario = published::Read(options.folder, number, gpus, options.may_miss, {});
  if (!scenario) {
    std::fprintf(stderr, "%s has no SLO/ with six scenarios\n", options.folder.c_str());
    std::exit(1);
  }
  const std::clock_t known = std::clock();
  const ReplicasAnswer answer = ChooseReplicas(scenario->problem);
  const std::clock_t chosen = std::clock();
  for (const fleet::Used& used : answer.layout.used) {
    if (!CanPlace(gpus.geometry, published::ProfilesOn(used, answer, *scenario, gpus))) {
      std::fprintf(stderr, "a GPU that cannot be divided so\n");
      std::exit(1);
    }
    if (options.plan) fmt::print("S{}: {}\n", number + 1, Line(used, answer, *scenario, gpus));
  }
  double longest = 0;
  std::string misses;
  for (size_t m = 0; m < scenario->models.size(); ++m) {
    const QueueOutcome outcome = published::Confirm(*scenario, answer, m, {200000, 7}, &longest);
    if (outcome.missed == 0) continue;
    misses += fmt::format("{}{} {:.2f}", misses.empty() ? "" : ", ", scenario->models[m].name,
                          100 * outcome.missed_share());
  }
  const auto seconds = [](std::clock_t from, std::clock_t to) {
    return static_cast<double>(to - from) / CLOCKS_PER_SEC;
  };
  fmt::print(
      "| S{} | {} | {} | {} | {} | {:.0f} | {:.0f} | {} | {:.0f} % | {} | {:.2f} + {:.2f} |\n",
      number + 1, published::kGpus[number], answer.cost, answer.lower_bound,
      published::kSlices[number], answer.takes, answer.takes_lower_bound,
      answer.impossible.empty() && answer.layout.LeftOut() == 0 ? "yes" : "NO", 100 * longest,
      misses.empty() ? "none" : misses, seconds(start, known), seconds(known, chosen));
  std::fflush(stdout);
}

int Main(int argc, char** argv) {
  Options options;
  for (int i = 1; i < argc; ++i) {
    const std::string argument = argv[i];
    if (argument == "--arrivals") {
      options.may_miss = 0.01;
      if (i + 1 < argc && std::atof(argv[i + 1]) > 0) options.may_miss = std::atof(argv[++i]);
    } else if (argument == "--plan") {
      options.plan = true;
    } else {
      options.folder = argument;
    }
  }
  if (options.folder.empty()) {
    std::fprintf(stderr, "serving_bench FOLDER [--arrivals] [--plan]\n");
    return 64;
  }
  const auto catalog = Catalog::Load();
  if (!catalog) return 1;
  const published::Gpus gpus = published::GpusOf(**catalog);
  fmt::print(
      "| scenario | GPUs published | here | bound | GPCs published | here | bound | all placed | "
      "longest batch, of the objective | misses, % | CPU seconds |\n"
      "|---|---|---|---|---|---|---|---|---|---|---|\n");
  for (int number = 0; number < published::kScenarios; ++number) Run(options, gpus, number);
  return 0;
}

}  // namespace
}  // namespace tranche::bench

int main(int argc, char** argv) { return tranche::bench::Main(argc, argv); }
