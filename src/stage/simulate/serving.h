#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "decide/performance/roofline.h"
#include "stage/simulate/requests.h"
#include "stage/simulate/timeline.h"

namespace tranche::simulate {

// One replica of a model server. A step works on every sequence it has (continuous batching); a
// prompt is worked on alone; a sequence is let in where there is KV cache for all of it.
struct LlmServer {
  LlmWork work;
  GpuRate rate;
  PerformanceCoefficients::Roofline coefficients;
  int most_sequences = 1;
  int64_t kv_tokens = 0;
  double gpus = 1;  // of GPUs that it has: 2 with tensor parallelism of 2, 1/7 as a slice
};

struct ServingOptions {
  int replicas = 1;
  int samples = 240;
  std::optional<double> first_token_slo;  // seconds
  std::optional<double> token_slo;        // between tokens, the mean of a request
  // A replica fails after so long, on average, and is back after `repair`: what it worked on begins
  // anew elsewhere.
  std::optional<double> mtbf;
  double repair = 3600;
  GpuCosts costs;
  uint64_t seed = 0;  // of failures
};

struct ServingSample {
  double at = 0;
  int64_t running = 0;  // sequences
  int64_t waiting = 0;
  int64_t replicas_down = 0;
  double busy_percent = 0;                    // of the replicas, since the last sample
  double tokens_per_second = 0;               // of answers, since the last sample
  std::optional<double> first_token_seconds;  // mean of those since the last sample
  int64_t slo_misses = 0;                     // so far
  std::optional<double> cost;                 // so far
  std::optional<double> energy_kwh;           // so far
};

struct Spread {
  double mean = 0, p50 = 0, p95 = 0, p99 = 0;
};

struct ServingResult {
  std::vector<ServingSample> samples;
  int64_t requests = 0;
  int64_t finished = 0;
  int64_t too_long = 0;  // for the KV cache of a replica: refused at once, and a miss
  int64_t restarted = 0;
  int64_t slo_misses = 0;
  Spread wait;         // before work on the prompt begins
  Spread first_token;  // from the arrival on
  Spread token;        // mean between tokens, of answers of two and more
  double duration = 0;
  double tokens_per_second = 0;  // of answers, over the duration
  double busy_percent = 0;
  int gpus = 0;  // that hold the replicas
  std::optional<double> cost;
  std::optional<double> cost_per_million_tokens;  // of answers
  std::optional<double> energy_kwh;

  double missed_share() const {
    return requests == 0 ? 0 : static_cast<double>(slo_misses) / static_cast<double>(requests);
  }
};

// GPUs that so many replicas take.
int GpusOf(const LlmServer& server, int replicas);

// Every request goes to the replica with the fewest, until all are answered.
ServingResult Serve(const std::vector<LlmRequest>& requests, const LlmServer& server,
                    const ServingOptions& options);

}  // namespace tranche::simulate
