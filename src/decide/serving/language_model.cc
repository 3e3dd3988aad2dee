#include "decide/serving/language_model.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche::serving {
namespace {

constexpr int kHalvings = 8;       // of what a full server does
constexpr double kMostLoad = 0.9;  // above it queues grow for hours before they settle

std::string InMs(double seconds) {
  const double ms = seconds * 1000;
  return ms < 10 ? fmt::format("{:.1f} ms", ms) : fmt::format("{:.0f} ms", ms);
}

bool Keeps(const TokenServer& server, const TokenObjective& objective, double per_second,
           const QueueRun& run) {
  const QueueOutcome outcome = SimulateTokens(server, per_second, 0, 0, run);
  return (!objective.first_p50 || outcome.first_p50 <= *objective.first_p50) &&
         (!objective.first_p99 || outcome.first_p99 <= *objective.first_p99) &&
         (!objective.answer_p99 || outcome.p99 <= *objective.answer_p99);
}

}  // namespace

TokenServer TokenServerOf(const LlmWork& work, const GpuRate& rate, const TokenRequest& request,
                          int batch, const PerformanceCoefficients::Roofline& coefficients) {
  TokenServer server;
  server.batch = std::max(1, batch);
  server.output_tokens = std::max(1, request.output_tokens);
  const int prompt = std::max(1, request.prompt_tokens);
  const int mean = prompt + server.output_tokens / 2;
  for (int n = 1; n <= server.batch; ++n) {
    const LlmSpeed speed = PredictLlm(work, rate, n, prompt, mean, coefficients);
    server.prefill_seconds = speed.prefill_seconds;
    server.seconds.push_back(
        std::max(speed.step_seconds, server.seconds.empty() ? 0 : server.seconds.back()));
  }
  return server;
}

std::string BrokenAlready(const TokenServer& server, const TokenObjective& objective) {
  if (server.seconds.empty()) return "it serves nothing";
  const double first = server.prefill_seconds;
  for (const std::optional<double>& wanted : {objective.first_p50, objective.first_p99}) {
    if (wanted && first > *wanted) {
      return fmt::format("a first token takes {} alone", InMs(first));
    }
  }
  const double step = server.seconds.back();
  if (objective.tokens_per_second && step * *objective.tokens_per_second > 1) {
    return fmt::format("{} {:.3g} tokens per second{}",
                       server.batch == 1 ? "a sequence alone sees"
                                         : fmt::format("each of {} sequences sees", server.batch),
                       1 / step, server.batch == 1 ? "" : " at once");
  }
  const double answer = first + server.seconds.front() * (server.output_tokens - 1);
  if (objective.answer_p99 && answer > *objective.answer_p99) {
    return fmt::format("an answer takes {} alone", InMs(answer));
  }
  return "";
}

bool Bears(const TokenServer& server, const TokenObjective& objective, double per_second,
           const QueueRun& run) {
  return BrokenAlready(server, objective).empty() &&
         per_second <= kMostLoad * server.MostPerSecond() &&
         Keeps(server, objective, std::max(per_second, 1e-9), run);
}

double TokenCapacity(const TokenServer& server, const TokenObjective& objective,
                     const QueueRun& run) {
  if (!BrokenAlready(server, objective).empty()) return 0;
  double low = 0, high = kMostLoad * server.MostPerSecond();
  if (!objective.first_p50 && !objective.first_p99 && !objective.answer_p99) return high;
  if (Keeps(server, objective, high, run)) return high;
  for (int i = 0; i < kHalvings; ++i) {
    const double middle = (low + high) / 2;
    (Keeps(server, objective, middle, run) ? low : high) = middle;
  }
  return low;
}

}  // namespace tranche::serving
