#pragma once

#include <optional>
#include <string>

#include "decide/performance/roofline.h"
#include "decide/serving/queue_simulation.h"

// How many requests a replica of a language model serves within its objectives, predicted.
namespace tranche::serving {

struct TokenObjective {
  // Seconds to the first token, of half of the requests and of 99 in 100; to the whole answer.
  std::optional<double> first_p50, first_p99, answer_p99;
  std::optional<double> tokens_per_second;  // that one sequence sees in a full batch

  bool operator==(const TokenObjective&) const = default;
};

struct TokenRequest {
  int prompt_tokens = 1;
  int output_tokens = 1;
};

// The replica that does so on GPUs of that rate, with `batch` sequences at once.
TokenServer TokenServerOf(const LlmWork& work, const GpuRate& rate, const TokenRequest& request,
                          int batch, const PerformanceCoefficients::Roofline& coefficients);

// What of the objective one request alone, or a full batch, breaks already: "a first token takes
// 120 ms alone"; "" when nothing.
std::string BrokenAlready(const TokenServer& server, const TokenObjective& objective);

// Whether it serves so many requests per second within the objective, under random arrivals.
bool Bears(const TokenServer& server, const TokenObjective& objective, double per_second,
           const QueueRun& run);
// The most requests per second within the objective, under random arrivals; 0 when none are. What
// promises no time at all is loaded to nine tenths of what it serves at most.
double TokenCapacity(const TokenServer& server, const TokenObjective& objective,
                     const QueueRun& run);

}  // namespace tranche::serving
