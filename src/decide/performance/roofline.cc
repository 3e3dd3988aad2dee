#include "decide/performance/roofline.h"

#include <algorithm>
#include <cmath>

namespace tranche {

std::optional<GpuRate> RateOf(const CatalogGpu& gpu) {
  if (!gpu.bandwidth || !gpu.fp16_flops) return std::nullopt;
  return GpuRate{*gpu.bandwidth, *gpu.fp16_flops};
}

GpuRate RateOfInstance(const GpuRate& whole, const CatalogGpu& gpu, const MigProfile& profile) {
  double memory = 1, compute = 1;
  if (gpu.mig_memory_slots > 0 && !profile.placements.empty())
    memory = static_cast<double>(profile.placements.front().size) / gpu.mig_memory_slots;
  if (gpu.sm_count && profile.sm_count > 0)
    compute = static_cast<double>(profile.sm_count) / *gpu.sm_count;
  else if (gpu.mig_compute_slices > 0)
    compute = static_cast<double>(profile.compute_slices) / gpu.mig_compute_slices;
  return {whole.bandwidth * std::min(1.0, memory), whole.flops * std::min(1.0, compute)};
}

GpuRate RateOfSms(const GpuRate& whole, double share) {
  // Few SMs cannot ask for all of the bandwidth: about half of them saturate it.
  return {whole.bandwidth * std::min(1.0, 2 * share), whole.flops * share};
}

GpuRate RateOfTime(const GpuRate& whole, double share) {
  return {whole.bandwidth * share, whole.flops * share};
}

double ExpertsTouched(const CatalogModel& model, double batch) {
  if (model.experts <= 0) return 1;
  const double chosen = static_cast<double>(model.experts_per_token) / model.experts;
  return 1 - std::pow(1 - chosen, std::max(1.0, batch));
}

LlmSpeed PredictLlm(const LlmWork& work, const GpuRate& rate, int batch, int prompt, int context,
                    const PerformanceCoefficients::Roofline& c) {
  LlmSpeed speed;
  const CatalogModel& model = work.model;
  const double flops = c.compute_efficiency * rate.flops * (work.eight_bit ? 2 : 1);
  const double bandwidth = c.bandwidth_efficiency * rate.bandwidth;
  const double sequences = std::max(1, batch);
  const double overhead =
      c.step_seconds +
      model.layers * (c.layer_seconds + (work.gpus > 1 ? c.all_reduce_seconds : 0));
  const double bytes = (work.weight_bytes - work.expert_bytes) +
                       work.expert_bytes * ExpertsTouched(model, sequences) +
                       sequences * context * work.kv_bytes_per_token;
  const double moving = bytes / bandwidth;
  const double arithmetic = 2 * model.active_parameters * sequences / work.gpus / flops;
  speed.step_seconds = std::max(moving, arithmetic) + overhead;
  speed.bound = overhead > std::max(moving, arithmetic) ? "launches"
                : moving >= arithmetic                  ? "bandwidth"
                                                        : "arithmetic";
  const double tokens = std::max(1, prompt);
  const double attention = 2.0 * model.layers * model.heads * model.head_dim * tokens * tokens;
  const double prefill_flops = (2 * model.active_parameters * tokens + attention) / work.gpus;
  const double prefill_bytes =
      (work.weight_bytes - work.expert_bytes) + work.expert_bytes * ExpertsTouched(model, tokens);
  speed.prefill_seconds = std::max(prefill_flops / flops, prefill_bytes / bandwidth) + overhead;
  speed.first_token_seconds = speed.prefill_seconds + speed.step_seconds;
  speed.tokens_per_second = sequences / speed.step_seconds;
  speed.error = c.error;
  return speed;
}

int LargestBatch(const LlmWork& work, const GpuRate& rate, const LlmSlo& slo, int prompt,
                 int context, int most, const PerformanceCoefficients::Roofline& c) {
  const auto keeps = [&](int batch) {
    const LlmSpeed speed = PredictLlm(work, rate, batch, prompt, context, c);
    return (!slo.first_token_seconds || speed.first_token_seconds <= *slo.first_token_seconds) &&
           (!slo.token_seconds || speed.step_seconds <= *slo.token_seconds);
  };
  if (most < 1 || !keeps(1)) return 0;
  // A larger batch is never faster, so the last that keeps is found by halving.
  int good = 1, bad = most + 1;
  while (bad - good > 1) {
    const int middle = good + (bad - good) / 2;
    (keeps(middle) ? good : bad) = middle;
  }
  return good;
}

}  // namespace tranche
