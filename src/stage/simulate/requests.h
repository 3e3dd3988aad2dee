#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tranche::simulate {

// One question to a language model.
struct LlmRequest {
  double arrives = 0;  // seconds from the beginning
  int prompt = 1;      // tokens
  int answer = 1;
};

// Reads `arrived_at` (seconds), `num_prefill_tokens` and `num_decode_tokens` by the names of the
// columns; other columns are left alone. All mistakes in one error, each with its line. Sorted by
// time.
Result<std::vector<LlmRequest>> ParseRequests(std::string_view text, const std::string& name);

// Requests that are drawn: at random moments, with lengths that are exponential, of these means.
struct RequestLoad {
  double per_second = 1;   // on average over a day
  double duration = 3600;  // seconds
  // The busiest moment of the day, at 15:00, as a multiple of the mean, 1 to 2; 1 is the same rate
  // all day. The simulation begins at midnight.
  double daily_peak = 1;
  double prompt = 512;
  double answer = 128;
  int longest = 1 << 20;  // of prompt and answer together
};
std::vector<LlmRequest> DrawRequests(const RequestLoad& load, uint64_t seed);

// As if `ratio` times as many came: in less time, or more.
void Quicken(std::vector<LlmRequest>* requests, double ratio);

}  // namespace tranche::simulate
