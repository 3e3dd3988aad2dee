#include "stage/plan/speed.h"

#include <fmt/format.h>

#include <algorithm>

#include "decide/sizing/shape.h"
#include "decide/sizing/weights.h"
#include "stage/plan/candidates.h"

namespace tranche::planning {
namespace {

// Enough that the hundredth slowest of a thousand says what the 99th percentile is about.
constexpr serving::QueueRun kRun{1000, 1};

std::optional<double> InSeconds(const std::optional<Duration>& duration) {
  if (!duration) return std::nullopt;
  return std::chrono::duration<double>(*duration).count();
}

}  // namespace

bool Speed::IsKnown(const Workload& workload) {
  return workload.model && workload.traffic && workload.slo &&
         workload.traffic->requests_per_second > 0 && workload.traffic->prompt_tokens > 0 &&
         workload.traffic->output_tokens > 0;
}

std::string Speed::WhyUnknown(const Workload& workload) {
  if (!workload.slo || IsKnown(workload)) return "";
  std::vector<std::string> missing, add;
  if (!workload.model) {
    missing.emplace_back("it names no model whose speed is known");
    add.emplace_back("model: llama-3.1-8b");
  }
  if (!workload.traffic || workload.traffic->requests_per_second <= 0) {
    missing.emplace_back("nothing says how many requests come");
    add.emplace_back("traffic: {requests_per_second: 4, prompt_tokens: 512, output_tokens: 256}");
  } else if (workload.traffic->prompt_tokens <= 0 || workload.traffic->output_tokens <= 0) {
    const bool prompt = workload.traffic->prompt_tokens <= 0;
    const bool output = workload.traffic->output_tokens <= 0;
    missing.push_back(fmt::format("its traffic does not say how long {} are",
                                  prompt && output ? "prompts and answers"
                                  : prompt         ? "prompts"
                                                   : "answers"));
    if (prompt) add.emplace_back("traffic.prompt_tokens: 512");
    if (output) add.emplace_back("traffic.output_tokens: 256");
  }
  return fmt::format(
      "whether {} keeps its slo ({}) is not predicted, and nothing is sized by it: {}; add, for "
      "example, {}",
      workload.name, ObjectiveText(*workload.slo), fmt::join(missing, ", and "),
      fmt::join(add, " and "));
}

Speed::Speed(const Workload& workload, const CatalogModel* model, const Catalog& catalog,
             const SpeedSource& source)
    : catalog_(catalog),
      coefficients_(source.coefficients->roofline),
      fraction_overhead_(source.coefficients->sharing.fraction_overhead),
      from_(source.from),
      batch_(workload.model->concurrency) {
  const ModelAsk& ask = *workload.model;
  const int gpus = std::max(1, workload.gpus);
  work_.model = model != nullptr ? *model : TypicalModel(ask.parameters.value_or(0));
  work_.weight_bytes = WeightsPerGpu(work_.model, ask.precision, gpus).total();
  work_.expert_bytes =
      std::min(work_.weight_bytes, ExpertBytesPerGpu(work_.model, ask.precision, gpus));
  work_.kv_bytes_per_token =
      KvBytesPerToken(work_.model, BytesPerKvValue(ask.kv_precision, ask.precision), gpus) / gpus;
  work_.gpus = gpus;
  work_.eight_bit = ask.precision == "fp8" || ask.precision == "int8";
  request_ = {workload.traffic->prompt_tokens, workload.traffic->output_tokens};
  const Slo& slo = *workload.slo;
  objective_ = {InSeconds(slo.ttft_p50), InSeconds(slo.ttft_p99), InSeconds(slo.latency_p99),
                slo.tokens_per_second};
}

std::string Speed::ObjectiveText(const Slo& slo) {
  std::string text;
  const auto add = [&](const std::string& one) { text += (text.empty() ? "" : ", ") + one; };
  if (slo.ttft_p50) add("ttft_p50 " + FormatDuration(*slo.ttft_p50));
  if (slo.ttft_p99) add("ttft_p99 " + FormatDuration(*slo.ttft_p99));
  if (slo.latency_p99) add("latency_p99 " + FormatDuration(*slo.latency_p99));
  if (slo.tokens_per_second) add(fmt::format("{:g} tokens per second", *slo.tokens_per_second));
  return text;
}

std::optional<GpuRate> Speed::RateIn(const GpuView& view, const Option& option) const {
  const Result<const CatalogGpu*> gpu = catalog_.FindGpu(view.gpu->model);
  if (view.gpu->model.empty() || !gpu) return std::nullopt;
  const std::optional<GpuRate> whole = RateOf(**gpu);
  if (!whole) return std::nullopt;
  switch (option.mechanism) {
    case Mechanism::kMig:
      return RateOfInstance(*whole, **gpu, view.geometry->profile(option.profile));
    case Mechanism::kMps: {
      GpuRate rate = RateOfSms(*whole, option.compute_share);
      if (!option.in_instance()) return rate;
      const GpuRate instance =
          RateOfInstance(*whole, **gpu, view.geometry->profile(option.profile));
      rate.bandwidth = std::min(rate.bandwidth, instance.bandwidth);
      return rate;
    }
    case Mechanism::kFraction:
      return RateOfTime(*whole, option.compute_share / fraction_overhead_);
    case Mechanism::kTimeSlicing:
      return GpuRate{};  // gives no tenant any part
    default:
      return whole;
  }
}

std::string Speed::KeyOf(const GpuView& view, const Option& option) const {
  return fmt::format(
      "{}|{}|{}|{:.6f}", view.gpu->model, static_cast<int>(option.mechanism),
      option.profile >= 0 ? view.geometry->profile(option.profile).name : std::string(),
      option.compute_share);
}

std::optional<double> Speed::CapacityIn(const GpuView& view, const Option& option) const {
  const std::string key = KeyOf(view, option);
  const auto known = known_.find(key);
  if (known != known_.end()) return known->second;
  std::optional<double> capacity;
  if (const std::optional<GpuRate> rate = RateIn(view, option)) {
    capacity = rate->bandwidth > 0
                   ? serving::TokenCapacity(
                         serving::TokenServerOf(work_, *rate, request_, batch_, coefficients_),
                         objective_, kRun)
                   : 0;
  }
  return known_.emplace(key, capacity).first->second;
}

std::optional<bool> Speed::Bears(const GpuView& view, const Option& option,
                                 double per_second) const {
  if (known_.count(KeyOf(view, option)) == 0) {
    const std::optional<GpuRate> rate = RateIn(view, option);
    if (!rate) return std::nullopt;
    if (rate->bandwidth <= 0) return false;
    const serving::TokenServer server =
        serving::TokenServerOf(work_, *rate, request_, batch_, coefficients_);
    if (!serving::BrokenAlready(server, objective_).empty()) return false;
    if (per_second > server.MostPerSecond()) return false;
    if (per_second > 0 && serving::Bears(server, objective_, per_second, kRun)) return true;
    // At the edge a little less may be harder to bear than a little more: what was found to be the
    // capacity decides, as it did when it was chosen.
  }
  const double capacity = CapacityIn(view, option).value_or(0);
  return capacity > 0 && capacity >= per_second * (1 - 1e-9);
}

std::optional<double> Speed::MostIn(const GpuView& view, const Option& option) const {
  const std::optional<GpuRate> rate = RateIn(view, option);
  if (!rate) return std::nullopt;
  if (rate->bandwidth <= 0) return 0;
  return serving::TokenServerOf(work_, *rate, request_, batch_, coefficients_).MostPerSecond();
}

std::string Speed::Breaks(const GpuView& view, const Option& option) const {
  const std::optional<GpuRate> rate = RateIn(view, option);
  if (!rate) return "";
  if (rate->bandwidth <= 0) {
    return option.mechanism == Mechanism::kTimeSlicing
               ? "time-slicing promises no tenant any part of the time"
               : fmt::format("without a share of compute {} promises no part of the time",
                             MechanismName(option.mechanism));
  }
  return serving::BrokenAlready(
      serving::TokenServerOf(work_, *rate, request_, batch_, coefficients_), objective_);
}

}  // namespace tranche::planning
