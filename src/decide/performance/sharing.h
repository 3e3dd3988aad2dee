#pragma once

#include <string>
#include <vector>

#include "catalog/performance.h"
#include "model/mechanism.h"

namespace tranche {

// How a program runs on a GPU when it is alone and when it is not. Times are seconds of one unit of
// work: a batch, an iteration, a request.

// Where a program runs, and with whom.
struct SharePlace {
  Mechanism mechanism = Mechanism::kExclusive;
  int compute_slices = 7;  // kMig: of seven; a GPU of four slices has 7/4 for each
  int tenants = 1;         // that work at once: on the GPU, or within the instance by MPS
  double share = 1;        // of the GPU's time (kFraction), or the cap on SMs (kMps)
  double busy = 1;         // the part of the time that each of the others works

  bool operator==(const SharePlace&) const = default;
};

// A program by how long a unit takes: the host's part, which sharing leaves alone, and the GPU's,
// which grows with the batch and with sharing.
struct WorkloadCurve {
  double host = 0;
  double gpu_base = 0, gpu_per_item = 0;
  double sharpness = 2;

  double GpuSeconds(double batch) const { return gpu_base + gpu_per_item * batch; }
};

struct Observation {
  std::string program;  // measurements of one program, of whatever batch, are fitted together
  double batch = 1;
  SharePlace place;
  double seconds = 0;
};

// How many times longer GPU work takes there.
double GpuCost(const SharePlace& place, const PerformanceCoefficients::Sharing& coefficients);
// How long a unit takes there.
double SecondsOf(const WorkloadCurve& curve, double batch, const SharePlace& place,
                 const PerformanceCoefficients::Sharing& coefficients);

// The curve behind what was measured of one program; at least one observation. Measurements on the
// whole GPU, with no one else, at several batches tell host and GPU apart; one alone leaves that to
// the prior that most of it is the host's where that does not contradict it.
WorkloadCurve FitCurve(const std::vector<Observation>& observations,
                       const PerformanceCoefficients::Sharing& coefficients);

struct SharedSpeed {
  double seconds = 0;     // of a unit
  double per_second = 0;  // units of this tenant
  double together = 0;    // units of all tenants alike, on the GPU
  double slowdown = 1;    // against being alone on the whole GPU
  double error = 0;       // of `seconds`, as a share: half of all checked were within it
  std::string why;
};
// `alone` is the measured time on the whole GPU at that batch, when there is one: it is then scaled
// rather than the curve believed. `measured` says whether the curve rests on measurements.
SharedSpeed PredictSharing(const WorkloadCurve& curve, double batch, const SharePlace& place,
                           const PerformanceCoefficients::Sharing& coefficients, double alone = 0,
                           bool measured = true);

// Coefficients that make the predictions of `observations` best, starting from `start`: what each
// program does under sharing, predicted from its measurements on the whole GPU. Robust against
// programs that behave like no other. What no observation says anything about stays as it was.
struct Refit {
  PerformanceCoefficients coefficients;
  double median_error = 0;  // on what was fitted
  size_t used = 0;          // observations under sharing
  size_t programs = 0;
};
Refit RefitSharing(const std::vector<Observation>& observations,
                   const PerformanceCoefficients& start);

// Errors of predictions for programs that the coefficients were not fitted to: every program is
// left out once.
struct HeldOut {
  std::vector<double> errors;  // |predicted / measured - 1|, of every observation under sharing
  std::vector<std::string> programs;  // beside them
};
HeldOut HoldOutPrograms(const std::vector<Observation>& observations,
                        const PerformanceCoefficients& start, bool with_exclusive);

double Median(std::vector<double> values);

}  // namespace tranche
