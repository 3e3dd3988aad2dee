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
  bool preemptible = false;  // gives way to others
};

// As the trace has them, the first at 0; those without both times are left out.
std::vector<TimedWorkload> TimesOf(const std::vector<TracePod>& pods);
// Arrivals at a steady pace, whose lifetimes have the mean `mean_runs`.
std::vector<TimedWorkload> Paced(const std::vector<Arrival>& arrivals, double mean_runs);

// Of one GPU; absent where nobody said.
struct GpuCosts {
  std::optional<double> price_per_hour;  // whether used or not
  std::optional<double> idle_watts;
  double busy_watts = 0;  // what full use adds
};

struct TimelineOptions {
  int samples = 240;  // over the time that is simulated, evenly
  // How long a workload waits for room before it gives up; absent: as long as it takes.
  std::optional<double> patience;
  // Waiting longer than this is a miss.
  std::optional<double> wait_slo;
  // A node fails after so long, on average, and is back after `repair`. What ran there starts anew.
  std::optional<double> mtbf;
  std::optional<double> gpu_mtbf;  // the same of each GPU
  double repair = 3600;
  // What is interrupted goes on from the last multiple of this; absent: from the beginning.
  std::optional<double> checkpoint;
  // Nobody holds its place for longer at once: who has not ended by then waits for the next.
  std::optional<double> lease;
  // How GPUs are divided by MIG is decided for so long ahead, from what was asked for in the time
  // before; absent: as workloads come.
  std::optional<double> layouts_for;
  // By model; costs of models beyond are unknown.
  std::vector<GpuCosts> costs;
  uint64_t seed = 0;  // of failures
};

struct TimelineSample {
  double at = 0;
  double allocation_percent = 0;
  double fragmentation_percent = 0;
  int64_t running = 0;
  int64_t waiting = 0;
  int64_t nodes_down = 0;
  int64_t gpus_down = 0;               // of nodes that are up or not
  int64_t slo_misses = 0;              // so far
  std::optional<double> wait_seconds;  // mean of those that started since the last sample
  std::optional<double> cost;          // so far
  std::optional<double> energy_kwh;    // so far
};

struct TimelineResult {
  std::vector<TimelineSample> samples;
  double allocation_percent_mean = 0;  // over time
  int64_t started = 0;
  int64_t finished = 0;
  int64_t gave_up = 0;
  int64_t never_fits = 0;  // on no node, were it empty: refused at once
  int64_t restarted = 0;   // by failures
  int64_t preempted = 0;   // by those who do not borrow
  int64_t renewed = 0;     // leases that ended before the work did
  int64_t slo_misses = 0;
  double wait_mean = 0;  // of those that started, in seconds
  double wait_p95 = 0;
  double wait_most = 0;
  double lost_gpu_hours = 0;  // of work that had to be done again
  double duration = 0;
  // Absent unless they are known of every GPU.
  std::optional<double> cost;
  std::optional<double> energy_kwh;
};

// Simulates until the last workload ended or gave up. Who waits is served in the order of arrival,
// who borrows after the others; those for whom there is room go before those for whom there is
// none.
TimelineResult Simulate(placement::Scheduler& scheduler,
                        const std::vector<TimedWorkload>& workloads,
                        const placement::Fragmentation& fragmentation,
                        const TimelineOptions& options = {});

}  // namespace tranche::simulate
