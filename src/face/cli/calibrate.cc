#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>

#include "base/json.h"
#include "face/cli/coefficients_file.h"
#include "face/cli/context.h"
#include "face/cli/files.h"
#include "face/cli/measurements.h"
#include "face/cli/verb.h"

namespace tranche {
namespace {

constexpr size_t kLargestFile = size_t{16} << 20;

struct Place {
  const char* name;
  SharePlace place;
};

// What people ask about a program: how it would fare there.
std::vector<Place> PlacesToShow() {
  return {{"mig 1g", {Mechanism::kMig, 1, 1}},
          {"mig 2g", {Mechanism::kMig, 2, 1}},
          {"mig 3g", {Mechanism::kMig, 3, 1}},
          {"2 by mps", {Mechanism::kMps, 7, 2}},
          {"4 by mps", {Mechanism::kMps, 7, 4}},
          {"4 in turns", {Mechanism::kTimeSlicing, 7, 4}},
          {"a fraction of 25 %", {Mechanism::kFraction, 7, 4, 0.25}}};
}

class CalibrateVerb final : public Verb {
 public:
  Info info() const override {
    return {
        "calibrate",
        "Fits the speed predictions to measurements of your own machine",
        {"tranche calibrate measured.csv --out mine.yaml",
         "tranche size --model qwen3-8b --gpu A100-80 --coefficients mine.yaml",
         "tranche calibrate measured.csv -o json"},
        "The file has one measurement a line: program, batch, mechanism, slice, tenants, share, "
        "and seconds, milliseconds or per_second of one unit of work. One measurement of a program "
        "alone on a GPU already says how it will share; several batches say it better. What it "
        "does under sharing then corrects the coefficients for this kind of machine."};
  }

  void Declare(Arguments& arguments) override {
    arguments.Positional("FILE", file_, "measurements, as CSV or JSON; - is standard input", true)
        .Option("--coefficients", "FILE", coefficients_, "start from these (default: built in)")
        .Option("--out", "FILE", out_, "write the coefficients here");
  }

  Result<int> Run(Context& context) override {
    // What was fitted before is no measurement: unless it is said, the start is what is built in.
    const auto start = coefficients_.empty() ? ConfiguredCoefficients({})
                                             : LoadCoefficients(coefficients_, context);
    if (!start) return tl::unexpected<Error>(start.error());
    const auto text = ReadWholeFile(file_, kLargestFile);
    if (!text) return tl::unexpected<Error>(text.error());
    const auto observations = ParseMeasurements(*text, file_ == "-" ? "<stdin>" : file_);
    if (!observations) return tl::unexpected<Error>(observations.error());
    Refit refit = RefitSharing(*observations, *start->values);
    if (refit.used > 0) Mark(*start->values, &refit);
    if (!out_.empty()) {
      const auto written = WriteWholeFile(out_, PrintPerformance(refit.coefficients));
      if (!written) return tl::unexpected<Error>(written.error());
    }
    context.Print(View(*observations, refit));
    return 0;
  }

 private:
  // Says of each coefficient that moved where it is from now.
  void Mark(const PerformanceCoefficients& start, Refit* refit) const {
    PerformanceCoefficients& c = refit->coefficients;
    const std::string from =
        fmt::format("fitted to {}: {} measurements under sharing of {} programs",
                    file_ == "-" ? "standard input" : file_, refit->used, refit->programs);
    const auto mark = [&](const char* key, bool moved) {
      if (moved) c.sources[std::string("sharing.") + key] = from;
    };
    mark("mig_cost", c.sharing.mig_cost != start.sharing.mig_cost);
    mark("mps_exponent", c.sharing.mps_exponent != start.sharing.mps_exponent);
    mark("time_slicing_overhead",
         c.sharing.time_slicing_overhead != start.sharing.time_slicing_overhead);
    mark("fraction_overhead", c.sharing.fraction_overhead != start.sharing.fraction_overhead);
    // On few measurements the fit looks better than the next program will.
    if (refit->used >= 20) {
      c.sharing.error = std::clamp(refit->median_error, 0.01, 10.0);
      mark("error", true);
    }
  }

  Answer View(const std::vector<Observation>& observations, const Refit& refit) const {
    const auto& c = refit.coefficients.sharing;
    std::map<std::string, std::vector<Observation>> alone;
    std::map<std::string, size_t> shared;
    for (const Observation& seen : observations) {
      const bool whole =
          seen.place.tenants == 1 && seen.place.share >= 1 &&
          (seen.place.mechanism != Mechanism::kMig || seen.place.compute_slices == 7);
      if (whole)
        alone[seen.program].push_back(seen);
      else
        ++shared[seen.program];
    }
    Answer answer;
    Table table;
    table.title = "What each program would take, times what it takes alone";
    table.columns = {{"program", "PROGRAM"},
                     {"batch", "BATCH", Align::kRight},
                     {"seconds", "ALONE", Align::kRight},
                     {"gpu_fraction", "ON THE GPU", Align::kRight}};
    for (const Place& place : PlacesToShow()) {
      std::string key = place.name;
      std::replace_if(
          key.begin(), key.end(),
          [](char ch) { return !std::isalnum(static_cast<unsigned char>(ch)); }, '_');
      std::string heading = place.name;
      std::transform(heading.begin(), heading.end(), heading.begin(),
                     [](unsigned char ch) { return static_cast<char>(std::toupper(ch)); });
      table.columns.push_back({key, heading, Align::kRight});
    }
    Json programs = Json::array();
    std::vector<std::string> unmeasured;
    for (const auto& [program, count] : shared) {
      if (!alone.contains(program)) unmeasured.push_back(program);
    }
    for (const auto& [program, seen] : alone) {
      const WorkloadCurve curve = FitCurve(seen, c);
      const Observation& last = *std::max_element(
          seen.begin(), seen.end(), [](const auto& a, const auto& b) { return a.batch < b.batch; });
      const double whole = SecondsOf(curve, last.batch, {}, c);
      const double on_gpu = std::min(1.0, curve.GpuSeconds(last.batch) / whole);
      std::vector<Cell> cells = {
          program,
          fmt::format("{:g}", last.batch),
          {fmt::format("{:.4g} s", last.seconds), fmt::format("{}", last.seconds)},
          {FormatPercent(on_gpu), fmt::format("{:.4f}", on_gpu)}};
      Json predictions = Json::array();
      for (const Place& place : PlacesToShow()) {
        const SharedSpeed speed = PredictSharing(curve, last.batch, place.place, c, last.seconds);
        cells.push_back(fmt::format("{:.2f}", speed.slowdown));
        predictions.push_back({{"place", place.name},
                               {"seconds", speed.seconds},
                               {"slowdown", speed.slowdown},
                               {"together_per_second", speed.together},
                               {"error_fraction", speed.error}});
      }
      table.rows.push_back(std::move(cells));
      programs.push_back(
          {{"program", program},
           {"batch", last.batch},
           {"measurements_alone", seen.size()},
           {"measurements_shared", shared.contains(program) ? shared.at(program) : 0},
           {"host_seconds", curve.host},
           {"gpu_base_seconds", curve.gpu_base},
           {"gpu_seconds_per_item", curve.gpu_per_item},
           {"predictions", std::move(predictions)}});
    }
    Json cost = Json::object();
    for (const auto& [slices, value] : c.mig_cost) cost[std::to_string(slices)] = value;
    answer.json = {{"format_version", "1.0"},
                   {"measurements", observations.size()},
                   {"measurements_used", refit.used},
                   {"programs_used", refit.programs}};
    if (refit.used > 0) answer.json["median_error_fraction"] = refit.median_error;
    answer.json["coefficients"] = {{"mig_cost", std::move(cost)},
                                   {"mps_exponent", c.mps_exponent},
                                   {"time_slicing_overhead", c.time_slicing_overhead},
                                   {"fraction_overhead", c.fraction_overhead},
                                   {"error", c.error}};
    answer.json["programs"] = std::move(programs);
    if (!table.rows.empty()) answer.blocks.emplace_back(std::move(table));
    std::string text = "\n";
    if (refit.used == 0) {
      text +=
          "No program was measured both alone and under sharing, so the coefficients stay as "
          "they were; the table uses what was measured alone.\n";
    } else {
      text += fmt::format(
          "Fitted to {} measurements under sharing of {} programs; half of them are predicted "
          "within {}.\n",
          refit.used, refit.programs, FormatPercent(refit.median_error));
    }
    text += fmt::format("Half of all predictions were within {}.\n", FormatPercent(c.error));
    if (!unmeasured.empty()) {
      text +=
          fmt::format("Not used, because never measured alone: {}.\n", fmt::join(unmeasured, ", "));
    }
    if (out_.empty()) {
      text +=
          "'--out FILE' keeps the coefficients; --coefficients FILE uses them, and so does "
          "everything that predicts when they are coefficients.yaml in the configuration.\n";
    } else {
      text += fmt::format("Wrote {}.\n", out_);
    }
    answer.blocks.emplace_back(std::move(text));
    return answer;
  }

  std::string file_, coefficients_, out_;
};

}  // namespace

std::unique_ptr<Verb> MakeCalibrateVerb() { return std::make_unique<CalibrateVerb>(); }

}  // namespace tranche
