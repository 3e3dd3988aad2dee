#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/subprocess.h"
#include "client.h"

extern "C" char** environ;

// What the limiter costs a program, against the same program without it, on a simulated GPU whose
// calls cost next to nothing:
//
//   limiter_bench [--rival LIBRARY]     LIBRARY: somebody else's, for LD_PRELOAD
//
// The setups take turns, several rounds, and the median of each is compared within the run.
namespace tranche::bench {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int kRounds = 7;
constexpr int kStarts = 300;

struct Setup {
  std::string name;
  std::vector<std::string> before;     // the program's own words come after these
  std::vector<std::string> variables;  // of its environment
};

struct Folder {
  std::string path;
  ~Folder() { fs::remove_all(path); }
};

std::vector<std::string> Environment(const std::vector<std::string>& more) {
  std::vector<std::string> all;
  for (char** entry = environ; *entry != nullptr; ++entry) all.emplace_back(*entry);
  all.insert(all.end(), more.begin(), more.end());
  return all;
}

std::string Run(const std::vector<std::string>& argv, const std::vector<std::string>& variables) {
  SpawnOptions options;
  options.argv = argv;
  options.environment = Environment(variables);
  const auto result = RunProgram(options, 300s);
  if (!result || result->end.exit_code != 0) {
    std::fprintf(stderr, "%s failed: %s\n", argv[0].c_str(),
                 result ? result->output.c_str() : result.error().message.c_str());
    std::exit(1);
  }
  return result->output;
}

double Median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  return values.empty() ? 0 : values[values.size() / 2];
}

double Since(std::chrono::steady_clock::time_point begin) {
  return std::chrono::duration<double, std::nano>(std::chrono::steady_clock::now() - begin).count();
}

// Nanoseconds by name of the benchmark, of one setup and one round.
std::map<std::string, double> Measure(const Setup& setup, const std::string& self) {
  std::vector<std::string> argv = setup.before;
  argv.insert(argv.end(),
              {self, "--client", "--benchmark_format=json", "--benchmark_min_time=0.05"});
  const std::string output = Run(argv, setup.variables);
  std::map<std::string, double> times;
  const auto json = ParseJson(output.substr(std::min(output.find("{\n"), output.size())));
  if (!json) {
    std::fprintf(stderr, "%s\n", output.c_str());
    std::exit(1);
  }
  for (const Json& one : (*json)["benchmarks"]) times[one["name"]] = one["real_time"];
  argv = setup.before;
  argv.insert(argv.end(), {self, "--start"});
  const auto begin = std::chrono::steady_clock::now();
  Run(argv, setup.variables);
  times["Start"] = Since(begin);
  return times;
}

// So many programs at once, until the last has ended.
double StartMany(const Setup& setup, const std::string& self) {
  std::vector<std::string> argv = setup.before;
  argv.insert(
      argv.end(),
      {"sh", "-c", fmt::format("for i in $(seq {}); do {} --start & done; wait", kStarts, self)});
  const auto begin = std::chrono::steady_clock::now();
  Run(argv, setup.variables);
  return Since(begin);
}

int Main(int argc, char** argv) {
  std::optional<std::string> rival;
  if (argc == 3 && std::strcmp(argv[1], "--rival") == 0) {
    rival = fs::absolute(argv[2]);
  } else if (argc != 1) {
    std::fprintf(stderr, "usage: limiter_bench [--rival LIBRARY]\n");
    return 64;
  }
  char path[PATH_MAX] = {};
  if (readlink("/proc/self/exe", path, sizeof(path) - 1) < 0) return 1;
  const std::string self = path, bin = fs::path(self).parent_path();
  char pattern[] = "/tmp/limiter_bench.XXXXXX";
  if (mkdtemp(pattern) == nullptr) return 1;
  const Folder folder{pattern};
  const std::string machine = folder.path + "/machine";
  Run({bin + "/tranche-sim", "create", machine, "--gpu", "H100-SXM5-80GB"}, {});
  const std::vector<std::string> exec = {bin + "/tranche-sim", "exec", machine, "--"};
  const auto limited = [&](const std::vector<std::string>& options) {
    std::vector<std::string> words = exec;
    words.insert(words.end(), {bin + "/tranche", "run", "--local"});
    words.insert(words.end(), options.begin(), options.end());
    words.push_back("--");
    return words;
  };
  std::vector<Setup> setups = {{"none", exec, {}},
                               {"memory", limited({"--memory", "70GiB"}), {}},
                               {"metered", limited({"--memory", "70GiB", "--compute", "100%"}), {}},
                               {"capped", limited({"--memory", "70GiB", "--compute", "50%"}), {}}};
  if (rival) setups.push_back({"rival", exec, {"LD_PRELOAD=" + *rival}});

  std::map<std::string, std::map<std::string, std::vector<double>>> all;  // by setup and benchmark
  for (int round = 0; round < kRounds; ++round) {
    for (const Setup& setup : setups) {
      std::fprintf(stderr, "round %d of %d: %s\n", round + 1, kRounds, setup.name.c_str());
      for (const auto& [name, ns] : Measure(setup, self)) all[setup.name][name].push_back(ns);
      all[setup.name][fmt::format("Start{}", kStarts)].push_back(StartMany(setup, self));
    }
  }
  Json json = {{"format_version", "1.0"}, {"unit", "ns"}, {"rounds", kRounds}};
  for (const auto& [setup, benchmarks] : all) {
    for (const auto& [name, values] : benchmarks) {
      json["median"][setup][name] = Median(values);
      json["added"][setup][name] = Median(values) - Median(all["none"][name]);
    }
  }
  std::printf("%s\n", PrintJson(json).c_str());
  return 0;
}

}  // namespace
}  // namespace tranche::bench

int main(int argc, char** argv) {
  if (argc >= 2 && std::strcmp(argv[1], "--client") == 0)
    return tranche::bench::RunClient(argc - 1, argv + 1);
  if (argc >= 2 && std::strcmp(argv[1], "--start") == 0) return tranche::bench::StartClient();
  return tranche::bench::Main(argc, argv);
}
