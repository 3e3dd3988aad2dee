#pragma once

#include <map>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tranche {

// What speeds are predicted with. The embedded values were fitted to public measurements; whoever
// measured their own machine has their own (`tranche calibrate`).
struct PerformanceCoefficients {
  // GPU work of one tenant, by how it is shared. See decide/performance/sharing.h.
  struct Sharing {
    // Of a MIG instance by its compute slices of seven: how many times longer GPU work takes.
    std::map<int, double> mig_cost;
    // How sharply a program turns from waiting for its host to waiting for the GPU: the exponent of
    // the p-norm that joins both. The first is of a program alone, the second of several at once.
    double sharpness = 2, shared_sharpness = 8;
    // n tenants of MPS make each other's GPU work n^x times longer.
    double mps_exponent = 0.957;
    // A turn of time-slicing costs so much more than its share.
    double time_slicing_overhead = 1.11;
    // What the limiter of fractions adds to a program's GPU work.
    double fraction_overhead = 1.03;
    // How far a prediction may be off, as a share: half of those checked were within this.
    double error = 0.08;
    // The same for a program of which nothing was measured.
    double error_unmeasured = 0.5;
  } sharing;

  // Language models. See decide/performance/roofline.h.
  struct Roofline {
    double bandwidth_efficiency = 0.7;  // of the datasheet's bytes per second, in decoding
    double compute_efficiency = 0.5;    // of its dense FLOPs per second, in prefill
    double layer_seconds = 8e-6;        // of launches and small kernels, per layer and step
    double step_seconds = 0.5e-3;       // of scheduling and sampling, per step
    double all_reduce_seconds = 20e-6;  // per layer over several GPUs
    double error = 0.35;
  } roofline;

  // Where each came from, by "sharing.mig_cost".
  std::map<std::string, std::string> sources;
};

// Strict, as all data: what is missing, unknown or out of range is told with its place. `file` is
// what to call the text.
Result<PerformanceCoefficients> ParsePerformance(std::string_view text, const std::string& file);
// The embedded values.
Result<PerformanceCoefficients> DefaultPerformance();
// What ParsePerformance reads back.
std::string PrintPerformance(const PerformanceCoefficients& coefficients);

}  // namespace tranche
