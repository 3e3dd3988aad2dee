#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "decide/performance/sharing.h"

// How well the sharing model predicts programs that its coefficients were not fitted to, on public
// measurements. Usage: sharing_model_bench FOLDER, where FOLDER has calibration/, parvagpu/ and
// miso/. Prints tables; nothing is written.

namespace tranche {
namespace {

using Row = std::map<std::string, std::string>;

std::vector<Row> ReadCsv(const std::filesystem::path& path) {
  std::vector<Row> rows;
  std::ifstream file(path);
  std::string line;
  std::vector<std::string> names;
  while (std::getline(file, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    std::vector<std::string> cells(1);
    for (const char c : line) {
      if (c == ',')
        cells.emplace_back();
      else
        cells.back() += c;
    }
    if (names.empty()) {
      names = cells;
      continue;
    }
    Row& row = rows.emplace_back();
    for (size_t i = 0; i < names.size() && i < cells.size(); ++i) row[names[i]] = cells[i];
  }
  return rows;
}

// Eleven models on MIG instances, one to five processes in each. Rows of 0 ran out of memory.
std::vector<Observation> ParvaGpu(const std::filesystem::path& folder) {
  std::vector<Observation> seen;
  std::vector<std::filesystem::path> files;
  for (const auto& file : std::filesystem::directory_iterator(folder / "parvagpu" / "prof_data"))
    files.push_back(file.path());
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    for (const Row& row : ReadCsv(file)) {
      const double throughput = std::stod(row.at("Throughput"));
      if (throughput <= 0) continue;
      Observation observation;
      observation.program = file.stem();
      observation.batch = std::stod(row.at("Batch size"));
      observation.place.mechanism = Mechanism::kMig;
      observation.place.compute_slices = std::stoi(row.at("Mig instance"));
      observation.place.tenants = std::stoi(row.at("Workload Number"));
      // Latency is rounded to milliseconds; the throughput of a process is not.
      observation.seconds = observation.batch / throughput;
      seen.push_back(observation);
    }
  }
  return seen;
}

std::vector<Observation> Miso(const std::filesystem::path& folder) {
  std::vector<Observation> seen;
  for (const Row& row : ReadCsv(folder / "miso" / "iter_time_by_slice.csv")) {
    const std::string& name = row.at("workload");
    const size_t digits = name.find_last_not_of("0123456789") + 1;
    Observation observation;
    observation.program = name.substr(0, digits);
    observation.batch = std::stod(name.substr(digits));
    observation.place.mechanism = Mechanism::kMig;
    observation.place.compute_slices = std::stoi(row.at("slice"));
    observation.seconds = std::stod(row.at("median_iter"));
    seen.push_back(observation);
  }
  return seen;
}

// Every batch a program of its own: nothing is learnt from its other batches.
std::vector<Observation> Apart(std::vector<Observation> observations) {
  for (Observation& seen : observations) seen.program += fmt::format("/{}", seen.batch);
  return observations;
}

double Quantile(std::vector<double> values, double q) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  return values[static_cast<size_t>(q * static_cast<double>(values.size() - 1))];
}

void PrintHeldOut(const char* name, const std::vector<Observation>& observations,
                  const PerformanceCoefficients& start, bool with_exclusive) {
  const HeldOut held = HoldOutPrograms(observations, start, with_exclusive);
  fmt::print("{:<46} {:>5} {:>8.1f} % {:>8.1f} %\n", name, held.errors.size(),
             100 * Median(held.errors), 100 * Quantile(held.errors, 0.9));
  if (!with_exclusive) return;
  std::map<std::string, std::vector<double>> by_program;
  for (size_t i = 0; i < held.errors.size(); ++i)
    by_program[held.programs[i]].push_back(held.errors[i]);
  if (by_program.size() > 15) return;
  for (const auto& [program, errors] : by_program)
    fmt::print("    {:<42} {:>5} {:>8.1f} %\n", program, errors.size(), 100 * Median(errors));
}

// One program under three mechanisms, all of it given: does the model hold all of it at once?
void PrintCalibration(const std::filesystem::path& folder, const PerformanceCoefficients& c) {
  std::vector<Observation> seen;
  for (const Row& row : ReadCsv(folder / "calibration" / "nos_a100_yolos.csv")) {
    Observation observation;
    observation.program = "yolos";
    const std::string& mechanism = row.at("mechanism");
    observation.place.tenants = std::stoi(row.at("pods"));
    if (mechanism == "time-slicing") {
      observation.place.mechanism = Mechanism::kTimeSlicing;
    } else if (mechanism == "mps") {
      observation.place.mechanism = Mechanism::kMps;
    } else {
      observation.place.mechanism = Mechanism::kMig;
      observation.place.compute_slices = 1;
      observation.place.tenants = 1;  // the others are in instances of their own
    }
    observation.seconds = std::stod(row.at("avg_latency_s"));
    seen.push_back(observation);
  }
  const WorkloadCurve curve = FitCurve(seen, c.sharing);
  const auto rows = ReadCsv(folder / "calibration" / "nos_a100_yolos.csv");
  double worst = 0;
  for (size_t i = 0; i < seen.size(); ++i) {
    const double predicted = PredictSharing(curve, 1, seen[i].place, c.sharing).seconds;
    const double off = predicted / seen[i].seconds - 1;
    worst = std::max(worst, std::abs(off));
    fmt::print("  {:<14} {:>2} tenants {:>8.4f} s, predicted {:>8.4f} s {:>+6.1f} %\n",
               rows[i].at("mechanism"), rows[i].at("pods"), seen[i].seconds, predicted, 100 * off);
  }
  fmt::print("  worst {:.1f} %\n\n", 100 * worst);

  // A language model: time between tokens, alone and beside one alike, each held to 60 % of the
  // SMs.
  const auto llm = ReadCsv(folder / "calibration" / "llm_mps_a100.csv");
  std::vector<Observation> tokens(2);
  tokens[0].seconds = std::stod(llm[0].at("tpot_median_ms")) / 1e3;
  tokens[1].seconds = std::stod(llm[1].at("tpot_median_ms")) / 1e3;
  tokens[1].place = {Mechanism::kMps, 7, 2, 0.6, 1};
  const WorkloadCurve step = FitCurve(tokens, c.sharing);
  for (size_t i = 0; i < 2; ++i) {
    const double predicted = PredictSharing(step, 1, tokens[i].place, c.sharing).seconds;
    fmt::print("  {:<48} {:>6.1f} ms a token, predicted {:>6.1f} {:>+5.1f} %\n",
               llm[i].at("config").substr(0, 48), tokens[i].seconds * 1e3, predicted * 1e3,
               100 * (predicted / tokens[i].seconds - 1));
  }
  // Requests come as before, so as many tokens are made as long as the server keeps up.
  const double made = std::stod(llm[0].at("output_tok_s"));
  const double shared = std::stod(llm[1].at("output_tok_s"));
  fmt::print("  tokens per second beside it {:.0f}, predicted {:.0f} {:+.1f} %\n", shared, made,
             100 * (made / shared - 1));
}

int Main(int argc, char** argv) {
  if (argc != 2) {
    fmt::print(stderr, "usage: sharing_model_bench FOLDER\n");
    return 64;
  }
  const std::filesystem::path folder = argv[1];
  const auto loaded = DefaultPerformance();
  if (!loaded) {
    fmt::print(stderr, "{}\n", loaded.error().message);
    return 1;
  }
  fmt::print("calibration/, the embedded coefficients\n");
  PrintCalibration(folder, *loaded);
  const auto parva = ParvaGpu(folder), miso = Miso(folder);
  // The embedded coefficients were fitted to parvagpu, so nothing of them may help there: every
  // slice costs what its name says.
  PerformanceCoefficients nominal = *loaded;
  nominal.sharing.mig_cost = {{1, 7.0}, {2, 3.5}, {3, 7.0 / 3}, {4, 1.75}, {7, 1.0}};
  nominal.sharing.mps_exponent = 1;
  fmt::print("\n{:<46} {:>5} {:>10} {:>10}\n", "each program left out of the fit once", "n",
             "median", "90 %");
  PrintHeldOut("parvagpu, exclusive speeds given", parva, nominal, true);
  PrintHeldOut("miso, exclusive speeds given", miso, *loaded, true);
  PrintHeldOut("parvagpu, each batch apart", Apart(parva), nominal, true);
  PrintHeldOut("miso, each batch apart", Apart(miso), *loaded, true);
  PrintHeldOut("parvagpu, nothing given", parva, *loaded, false);
  PrintHeldOut("miso, nothing given", miso, *loaded, false);
  for (const auto& [name, observations] : {std::pair{"parvagpu", parva}, {"miso", miso}}) {
    const Refit refit = RefitSharing(observations, *loaded);
    fmt::print("\nfitted to all of {} ({} rows of {} programs): median {:.1f} %\n", name,
               refit.used, refit.programs, 100 * refit.median_error);
    for (const auto& [slices, cost] : refit.coefficients.sharing.mig_cost)
      fmt::print("  {}g {:.3f}", slices, cost);
    fmt::print("  mps exponent {:.3f}\n", refit.coefficients.sharing.mps_exponent);
  }
  return 0;
}

}  // namespace
}  // namespace tranche

int main(int argc, char** argv) { return tranche::Main(argc, argv); }
