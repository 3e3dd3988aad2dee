#include "decide/performance/sharing.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "decide/performance/minimize.h"

namespace tranche {
namespace {

using Sharing = PerformanceCoefficients::Sharing;

// How strongly a fit of few measurements keeps to what is usual: that the least time of a program
// is its host's, that its GPU work shrinks to an eighth of that with the batch, and how sharp.
constexpr double kHostPrior = 0.03;
constexpr double kBasePrior = 0.03;
constexpr double kUsualBase = -2.0;  // log of the base against the least time
constexpr double kItemPrior = 0.01;
constexpr double kSharpnessPrior = 0.2;

// A coefficient keeps to where it started as if it had been measured once to this; few measurements
// of one's own refine what is built in rather than replace it.
constexpr double kStartPrior = 0.1;

// Where residuals stop counting for more the larger they are.
constexpr double kOutlier = 0.04;

double Norm(double a, double b, double p) {
  // By the larger, so that no power overflows.
  const double large = std::max(a, b);
  if (large <= 0) return 0;
  const double small = std::min(a, b) / large;
  return large * std::pow(1 + std::pow(small, p), 1 / p);
}

double MigCost(int slices, const std::map<int, double>& cost) {
  const auto above = cost.lower_bound(slices);
  if (above == cost.end()) return cost.empty() ? 7.0 / std::max(1, slices) : cost.rbegin()->second;
  if (above->first == slices || above == cost.begin()) return above->second;
  const auto below = std::prev(above);
  // Between two sizes that were fitted, along a power law.
  const double t = std::log(static_cast<double>(slices) / below->first) /
                   std::log(static_cast<double>(above->first) / below->first);
  return std::exp((1 - t) * std::log(below->second) + t * std::log(above->second));
}

bool IsAlone(const SharePlace& place) {
  return place.tenants <= 1 && place.share >= 1 &&
         (place.mechanism == Mechanism::kExclusive || place.compute_slices >= 7 ||
          place.mechanism != Mechanism::kMig);
}

double Cauchy(double residual) { return std::log1p(residual * residual / (kOutlier * kOutlier)); }

struct Program {
  std::string name;
  std::vector<Observation> alone, shared;
};

std::vector<Program> ByProgram(const std::vector<Observation>& observations) {
  std::vector<Program> programs;
  std::map<std::string, size_t> index;
  for (const Observation& seen : observations) {
    if (!(seen.seconds > 0) || !(seen.batch > 0)) continue;
    const auto [at, added] = index.emplace(seen.program, programs.size());
    if (added) programs.push_back({seen.program, {}, {}});
    Program& program = programs[at->second];
    (IsAlone(seen.place) ? program.alone : program.shared).push_back(seen);
  }
  return programs;
}

// The mean of what was measured alone at that batch; 0 when nothing was.
double AloneAt(const Program& program, double batch) {
  double sum = 0;
  int count = 0;
  for (const Observation& seen : program.alone) {
    if (seen.batch != batch) continue;
    sum += seen.seconds;
    ++count;
  }
  return count > 0 ? sum / count : 0;
}

double Predicted(const WorkloadCurve& curve, const Observation& seen, double alone,
                 const Sharing& coefficients) {
  const double by_curve = SecondsOf(curve, seen.batch, seen.place, coefficients);
  if (alone <= 0) return by_curve;
  return alone * by_curve / SecondsOf(curve, seen.batch, {}, coefficients);
}

// Where the free coefficients are in the vector that is fitted.
struct Free {
  std::vector<int> slices;  // of mig_cost
  bool mps = false, turns = false, fractions = false;
};

std::vector<double> Pack(const Free& free, const Sharing& c) {
  std::vector<double> x;
  for (const int slices : free.slices) x.push_back(std::log(MigCost(slices, c.mig_cost)));
  if (free.mps) x.push_back(c.mps_exponent);
  if (free.turns) x.push_back(std::log(c.time_slicing_overhead));
  if (free.fractions) x.push_back(std::log(c.fraction_overhead));
  return x;
}

Sharing Unpack(const Free& free, const std::vector<double>& x, Sharing c) {
  size_t i = 0;
  for (const int slices : free.slices) c.mig_cost[slices] = std::exp(std::clamp(x[i++], 0.0, 4.6));
  if (free.mps) c.mps_exponent = std::clamp(x[i++], 0.0, 3.0);
  if (free.turns) c.time_slicing_overhead = std::exp(std::clamp(x[i++], 0.0, 2.3));
  if (free.fractions) c.fraction_overhead = std::exp(std::clamp(x[i++], 0.0, 2.3));
  // More slices never cost more.
  double before = 100;
  for (auto& [slices, cost] : c.mig_cost) before = cost = std::min(cost, before);
  return c;
}

}  // namespace

double GpuCost(const SharePlace& place, const Sharing& c) {
  const double others = std::max(0, place.tenants - 1) * std::clamp(place.busy, 0.0, 1.0);
  const double at_once = 1 + others;
  const double mps = others > 0 ? std::max(1.0, std::pow(at_once, c.mps_exponent)) : 1;
  const double share = std::clamp(place.share, 0.01, 1.0);
  switch (place.mechanism) {
    case Mechanism::kExclusive:
      return mps;  // several processes of one tenant
    case Mechanism::kMig:
      return MigCost(place.compute_slices, c.mig_cost) * mps;
    case Mechanism::kMps:
      return std::max(mps, 1 / share);
    case Mechanism::kFraction:
      // Held to its share, unless the others leave more.
      return c.fraction_overhead / std::max(share, 1 / at_once);
    case Mechanism::kTimeSlicing:
    case Mechanism::kVgpu:
      return at_once * (others > 0 ? c.time_slicing_overhead : 1);
  }
  return 1;
}

double SecondsOf(const WorkloadCurve& curve, double batch, const SharePlace& place,
                 const Sharing& c) {
  const double gpu = curve.GpuSeconds(batch);
  const bool turns =
      place.mechanism == Mechanism::kTimeSlicing || place.mechanism == Mechanism::kVgpu;
  // Turns are given to contexts, not to kernels: a program with gaps keeps its turn through them.
  if (turns) return Norm(curve.host, gpu, curve.sharpness) * GpuCost(place, c);
  const double sharpness = place.tenants > 1 && place.busy > 0
                               ? std::max(curve.sharpness, c.shared_sharpness)
                               : curve.sharpness;
  return Norm(curve.host, gpu * GpuCost(place, c), sharpness);
}

WorkloadCurve FitCurve(const std::vector<Observation>& observations, const Sharing& c) {
  double least = 1e300, most = 0, largest = 1;
  for (const Observation& seen : observations) {
    if (!(seen.seconds > 0)) continue;
    least = std::min(least, seen.seconds);
    most = std::max(most, seen.seconds);
    largest = std::max(largest, seen.batch);
  }
  if (most <= 0) return {};
  const double usual_item = std::log(most / largest);
  const auto curve_of = [](const std::vector<double>& x) {
    const auto value = [](double log) { return std::exp(std::clamp(log, -40.0, 20.0)); };
    return WorkloadCurve{value(x[0]), value(x[1]), value(x[2]), std::clamp(value(x[3]), 0.6, 20.0)};
  };
  const auto cost = [&](const std::vector<double>& x) {
    const WorkloadCurve curve = curve_of(x);
    double sum = 0;
    for (const Observation& seen : observations) {
      if (!(seen.seconds > 0)) continue;
      const double off = std::log(SecondsOf(curve, seen.batch, seen.place, c) / seen.seconds);
      sum += off * off;
    }
    const auto prior = [](double weight, double by) { return weight * weight * by * by; };
    return sum + prior(kHostPrior, x[0] - std::log(least)) +
           prior(kBasePrior, x[1] - std::log(least) - kUsualBase) +
           prior(kItemPrior, x[2] - usual_item) +
           prior(kSharpnessPrior, x[3] - std::log(c.sharpness));
  };
  std::vector<double> best;
  double best_cost = 0;
  // Programs that wait for their host, and programs that do not.
  for (const auto& [host, base] : {std::pair{0.0, -1.5}, {-0.7, -0.7}}) {
    std::vector<double> x = {std::log(least) + host, std::log(least) + base, usual_item,
                             std::log(c.sharpness)};
    // Again from where it stopped: a simplex may have collapsed on the way.
    for (int round = 0; round < 3; ++round) x = Minimize(cost, x, 0.4, 600);
    const double now = cost(x);
    if (best.empty() || now < best_cost) {
      best = x;
      best_cost = now;
    }
  }
  return curve_of(best);
}

SharedSpeed PredictSharing(const WorkloadCurve& curve, double batch, const SharePlace& place,
                           const Sharing& c, double alone, bool measured) {
  SharedSpeed speed;
  const double whole = SecondsOf(curve, batch, {}, c);
  speed.seconds = SecondsOf(curve, batch, place, c);
  if (alone > 0 && whole > 0) speed.seconds *= alone / whole;
  speed.slowdown = whole > 0 ? SecondsOf(curve, batch, place, c) / whole : 1;
  speed.per_second = speed.seconds > 0 ? 1 / speed.seconds : 0;
  speed.together = speed.per_second * std::max(1, place.tenants);
  speed.error = IsAlone(place) && alone > 0 ? 0.02 : measured ? c.error : c.error_unmeasured;
  speed.why = fmt::format(
      "its GPU work takes {:.2f} times as long there, and is {:.0f} % of a unit on the whole GPU",
      GpuCost(place, c), whole > 0 ? 100 * std::min(1.0, curve.GpuSeconds(batch) / whole) : 0);
  return speed;
}

double Median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto middle = values.begin() + static_cast<ptrdiff_t>(values.size() / 2);
  std::nth_element(values.begin(), middle, values.end());
  if (values.size() % 2 == 1) return *middle;
  return (*middle + *std::max_element(values.begin(), middle)) / 2;
}

Refit RefitSharing(const std::vector<Observation>& observations,
                   const PerformanceCoefficients& start) {
  Refit refit;
  refit.coefficients = start;
  struct Row {
    WorkloadCurve curve;
    Observation seen;
    double alone;
  };
  std::vector<Row> rows;
  Free free;
  for (const Program& program : ByProgram(observations)) {
    if (program.alone.empty() || program.shared.empty()) continue;
    ++refit.programs;
    const WorkloadCurve curve = FitCurve(program.alone, start.sharing);
    for (const Observation& seen : program.shared) {
      rows.push_back({curve, seen, AloneAt(program, seen.batch)});
      const SharePlace& place = seen.place;
      if (place.mechanism == Mechanism::kMig && place.compute_slices < 7 &&
          std::find(free.slices.begin(), free.slices.end(), place.compute_slices) ==
              free.slices.end()) {
        free.slices.push_back(place.compute_slices);
      }
      const bool turns = place.mechanism == Mechanism::kTimeSlicing;
      free.turns = free.turns || (turns && place.tenants > 1);
      free.fractions = free.fractions || place.mechanism == Mechanism::kFraction;
      free.mps =
          free.mps || (place.tenants > 1 && !turns && place.mechanism != Mechanism::kFraction);
    }
  }
  refit.used = rows.size();
  if (rows.empty()) return refit;
  std::sort(free.slices.begin(), free.slices.end());
  const std::vector<double> origin = Pack(free, start.sharing);
  const auto cost = [&](const std::vector<double>& x) {
    const Sharing c = Unpack(free, x, start.sharing);
    double sum = 0;
    for (size_t i = 0; i < x.size(); ++i) {
      const double moved = (x[i] - origin[i]) / kStartPrior;
      sum += moved * moved;
    }
    for (const Row& row : rows)
      sum += Cauchy(std::log(Predicted(row.curve, row.seen, row.alone, c) / row.seen.seconds));
    return sum;
  };
  std::vector<double> x = origin;
  for (int round = 0; round < 3; ++round) x = Minimize(cost, x, 0.1, 200);
  refit.coefficients.sharing = Unpack(free, x, start.sharing);
  std::vector<double> errors;
  for (const Row& row : rows) {
    errors.push_back(std::abs(
        Predicted(row.curve, row.seen, row.alone, refit.coefficients.sharing) / row.seen.seconds -
        1));
  }
  refit.median_error = Median(errors);
  return refit;
}

HeldOut HoldOutPrograms(const std::vector<Observation>& observations,
                        const PerformanceCoefficients& start, bool with_exclusive) {
  HeldOut held;
  const std::vector<Program> programs = ByProgram(observations);
  // A program of which nothing is known takes what the median of the others takes, at its batch.
  const auto usual = [&](const Program& left_out, const Observation& seen) {
    std::vector<double> like, any;
    for (const Program& other : programs) {
      if (other.name == left_out.name) continue;
      for (const Observation& theirs : other.shared) {
        if (!(theirs.place == seen.place)) continue;
        any.push_back(theirs.seconds);
        if (theirs.batch == seen.batch) like.push_back(theirs.seconds);
      }
    }
    return Median(like.empty() ? any : like);
  };
  for (const Program& program : programs) {
    if (program.alone.empty()) continue;
    std::vector<Observation> others;
    for (const Observation& seen : observations) {
      if (seen.program != program.name) others.push_back(seen);
    }
    const Sharing c =
        with_exclusive ? RefitSharing(others, start).coefficients.sharing : start.sharing;
    const WorkloadCurve curve = with_exclusive ? FitCurve(program.alone, c) : WorkloadCurve{};
    for (const Observation& seen : program.shared) {
      const double predicted = with_exclusive
                                   ? Predicted(curve, seen, AloneAt(program, seen.batch), c)
                                   : usual(program, seen);
      if (!(predicted > 0)) continue;
      held.errors.push_back(std::abs(predicted / seen.seconds - 1));
      held.programs.push_back(program.name);
    }
  }
  return held;
}

}  // namespace tranche
