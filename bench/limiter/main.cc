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
#include <fstream>
#include <iterator>
#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "base/json.h"
#include "base/subprocess.h"
#include "client.h"

extern "C" char** environ;

// What the limiter costs a program, against the same program without it, on a simulated GPU whose
// calls cost next to nothing:
//
//   limiter_bench [--rival LIBRARY [NAME=VALUE...]]
//
// LIBRARY: somebody else's, for LD_PRELOAD, with what it wants in its environment. The setups take
// turns, several rounds, and the median of each is compared within the run. Programs are started
// within a setup, so that what is counted is the limiter's part of it; `tranche run` itself, which
// looks at the program and makes the slice, is counted apart.
namespace tranche::bench {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;

constexpr int kRounds = 7;
constexpr int kStarts = 300;
constexpr int kStartsInARow = 15;

struct Setup {
  std::string name;
  std::vector<std::string> before;     // the program's own words come after these
  std::vector<std::string> variables;  // of its environment
};

// By benchmark: nanoseconds by the clock, and of the calling thread's CPU time where that is known.
struct Times {
  std::map<std::string, std::vector<double>> real;
  std::map<std::string, std::vector<double>> cpu;
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

void RunWithin(const Setup& setup, std::vector<std::string> words) {
  std::vector<std::string> argv = setup.before;
  argv.insert(argv.end(), words.begin(), words.end());
  Run(argv, setup.variables);
}

std::string TextOf(const std::string& path) {
  std::ifstream file(path);
  return {std::istreambuf_iterator<char>(file), {}};
}

double MedianOf(const std::string& lines) {
  std::istringstream in(lines);
  std::vector<double> values;
  for (double value = 0; in >> value;) values.push_back(value);
  return Median(std::move(values));
}

// One round. `results`: a file for what the programs measured.
void Measure(const Setup& setup, const std::string& self, const std::string& results,
             Times* times) {
  RunWithin(setup, {self, "--client", "--benchmark_out_format=json", "--benchmark_out=" + results,
                    "--benchmark_min_time=0.05"});
  const std::string output = TextOf(results);
  const auto json = ParseJson(output);
  if (!json) {
    std::fprintf(stderr, "%s: %s\n", json.error().message.c_str(), output.c_str());
    std::exit(1);
  }
  for (const Json& one : (*json)["benchmarks"]) {
    times->real[one["name"]].push_back(one["real_time"]);
    times->cpu[one["name"]].push_back(one["cpu_time"]);
  }
  const auto starts = [&](const char* how, int count) {
    RunWithin(setup, {self, how, std::to_string(count), results});
    return MedianOf(TextOf(results));
  };
  times->real["Start"].push_back(starts("--starts", kStartsInARow));
  times->real[fmt::format("Start{}", kStarts)].push_back(starts("--starts-at-once", kStarts));
  const auto begin = std::chrono::steady_clock::now();
  RunWithin(setup, {self, "--start"});
  times->real["StartAndPrepare"].push_back(Since(begin));
}

int Main(int argc, char** argv) {
  std::vector<std::string> rival;
  if (argc >= 3 && std::strcmp(argv[1], "--rival") == 0) {
    rival = {argv + 3, argv + argc};
    rival.push_back("LD_PRELOAD=" + fs::absolute(argv[2]).string());
  } else if (argc != 1) {
    std::fprintf(stderr, "usage: limiter_bench [--rival LIBRARY [NAME=VALUE...]]\n");
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
  if (!rival.empty()) setups.push_back({"rival", exec, rival});

  std::map<std::string, Times> all;  // by setup
  for (int round = 0; round < kRounds; ++round) {
    for (const Setup& setup : setups) {
      std::fprintf(stderr, "round %d of %d: %s\n", round + 1, kRounds, setup.name.c_str());
      Measure(setup, self, folder.path + "/results", &all[setup.name]);
    }
  }
  Json json = {{"format_version", "1.0"},
               {"unit", "ns"},
               {"rounds", kRounds},
               {"cpus", sysconf(_SC_NPROCESSORS_ONLN)}};
  for (const auto& [setup, times] : all) {
    for (const auto& [name, values] : times.real) {
      json["median"][setup][name] = Median(values);
      json["added"][setup][name] = Median(values) - Median(all["none"].real[name]);
    }
    for (const auto& [name, values] : times.cpu)
      json["added_cpu"][setup][name] = Median(values) - Median(all["none"].cpu[name]);
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
  if (argc == 4 && std::strncmp(argv[1], "--starts", 8) == 0)
    return tranche::bench::StartOthers(argv[0], std::atoi(argv[2]),
                                       std::strcmp(argv[1], "--starts-at-once") == 0, argv[3]);
  return tranche::bench::Main(argc, argv);
}
