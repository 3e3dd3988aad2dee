#pragma once

#include <optional>
#include <string>

#include "catalog/catalog.h"
#include "catalog/performance.h"

namespace tranche {

// How fast a language model answers, from what a step must move and compute.

// What a server has of a GPU.
struct GpuRate {
  double bandwidth = 0;  // bytes per second
  double flops = 0;      // per second, dense, in the precision it computes in
};
// The whole GPU; nothing where its speed is not known.
std::optional<GpuRate> RateOf(const CatalogGpu& gpu);
// A MIG instance: bandwidth by its memory slots, arithmetic by its SMs.
GpuRate RateOfInstance(const GpuRate& whole, const CatalogGpu& gpu, const MigProfile& profile);
// A share of SMs (MPS) leaves the bandwidth to whoever asks for it; a share of time takes both.
GpuRate RateOfSms(const GpuRate& whole, double share);
GpuRate RateOfTime(const GpuRate& whole, double share);

// One server on one GPU of `gpus`. Bytes are those on that GPU.
struct LlmWork {
  CatalogModel model;
  double weight_bytes = 0;  // all of them
  double expert_bytes = 0;  // the part in routed experts, of which a step touches some
  double kv_bytes_per_token = 0;
  int gpus = 1;
  bool eight_bit = false;  // computes in 8 bits, at twice the rate of 16
};

struct LlmSpeed {
  double prefill_seconds = 0;  // of one prompt
  double step_seconds = 0;     // one token for every sequence
  double first_token_seconds = 0;
  double tokens_per_second = 0;  // of all sequences
  double error = 0;              // as a share
  std::string bound;             // "bandwidth", "arithmetic" or "launches"
};

// The share of the experts that a batch touches: each token chooses its own.
double ExpertsTouched(const CatalogModel& model, double batch);

// `context` is the mean length of a sequence while it is decoded.
LlmSpeed PredictLlm(const LlmWork& work, const GpuRate& rate, int batch, int prompt, int context,
                    const PerformanceCoefficients::Roofline& coefficients);

struct LlmSlo {
  std::optional<double> first_token_seconds;
  std::optional<double> token_seconds;  // between two tokens of one sequence
};
// The largest batch up to `most` that keeps to the objective; 0 when not even one sequence does.
int LargestBatch(const LlmWork& work, const GpuRate& rate, const LlmSlo& slo, int prompt,
                 int context, int most, const PerformanceCoefficients::Roofline& coefficients);

}  // namespace tranche
