#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "decide/placement/fragmentation.h"
#include "decide/placement/scheduler.h"
#include "stage/simulate/load.h"

namespace tranche::simulate {

// A workload with times, in seconds from the beginning. It runs, once it has found room, for
// `runs`.
struct TimedWorkload {
  placement::Request request;
  double arrives = 0;
  double runs = 0;
};

// As the trace has them, the first at 0; those without both times are left out.
std::vector<TimedWorkload> TimesOf(const std::vector<TracePod>& pods);
// Arrivals at a steady pace, whose lifetimes have the mean `mean_runs`.
std::vector<TimedWorkload> Paced(const std::vector<Arrival>& arrivals, double mean_runs);

struct TimelineOptions {
  int samples = 240;  // over the time that is simulated, evenly
  // How long a workload waits for room before it gives up; absent: as long as it takes.
  std::optional<double> patience;
  // Waiting longer than this is a miss.
  std::optional<double> wait_slo;
  // A node fails after so long, on average, and is back after `repair`. What ran there starts anew.
  std::optional<double> mtbf;
  double repair = 3600;
  // Of one GPU that is there, whether used or not.
  std::optional<double> price_per_hour;
  // Of one GPU: idle, and what full use adds.
  std::optional<double> idle_watts;
  double busy_watts = 0;
  uint64_t seed = 0;  // of failures
};

struct TimelineSample {
  double at = 0;
  double allocation_percent = 0;
  double fragmentation_percent = 0;
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t nodes_down = 0;
  int64_t slo_misses = 0;            // so far
  std::optional<double> cost;        // so far
  std::optional<double> energy_kwh;  // so far
};

struct TimelineResult {
  std::vector<TimelineSample> samples;
  double allocation_percent_mean = 0;  // over time
  int64_t started = 0;
  int64_t finished = 0;
  int64_t gave_up = 0;
  int64_t never_fits = 0;  // on no node, were it empty: refused at once
  int64_t restarted = 0;   // by failures
  int64_t slo_misses = 0;
  double wait_mean = 0;  // of those that started, in seconds
  double wait_p95 = 0;
  double wait_most = 0;
  double duration = 0;
  std::optional<double> cost;
  std::optional<double> energy_kwh;
};

// Simulates until the last workload ended or gave up. Who waits is served in the order of arrival;
// those for whom there is room go before those for whom there is none.
TimelineResult Simulate(placement::Scheduler& scheduler,
                        const std::vector<TimedWorkload>& workloads,
                        const placement::Fragmentation& fragmentation,
                        const TimelineOptions& options = {});

}  // namespace tranche::simulate
