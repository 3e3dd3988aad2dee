#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>

#include "catalog/catalog.h"
#include "catalog/performance.h"
#include "decide/serving/language_model.h"
#include "model/spec.h"

namespace tranche::planning {

struct GpuView;
struct Option;

// What speeds are predicted with.
struct SpeedSource {
  std::shared_ptr<const PerformanceCoefficients> coefficients;
  std::string from;  // "" = built in
};

// How many requests per second one replica of a workload serves within its SLO, by where it is put:
// predicted from its model, its traffic and the GPU's speed. The same question is answered once.
// Not safe from several threads.
class Speed {
 public:
  // Whether all is stated that a prediction needs: a model, how many requests of which lengths, and
  // what is promised.
  static bool IsKnown(const Workload& workload);
  // Why a workload with an SLO is not predicted, and what to add, as a sentence; "" when it is, or
  // promises nothing.
  static std::string WhyUnknown(const Workload& workload);

  Speed(const Workload& workload, const CatalogModel* model, const Catalog& catalog,
        const SpeedSource& source);

  // Absent where the GPU's speed is not known. 0 where the SLO is broken already by one request.
  std::optional<double> CapacityIn(const GpuView& view, const Option& option) const;
  // Whether it is `per_second` or more: sooner known than what it is. Absent likewise.
  std::optional<bool> Bears(const GpuView& view, const Option& option, double per_second) const;
  // What it serves at most, whatever the SLO says of time: quickly known. Absent likewise.
  std::optional<double> MostIn(const GpuView& view, const Option& option) const;
  // What breaks the SLO there whatever the load, a sentence's end: "a first token takes 90 ms
  // alone"; "" when nothing does.
  std::string Breaks(const GpuView& view, const Option& option) const;

  int batch() const { return batch_; }
  double error() const { return coefficients_.error; }  // as a share
  // "the built-in coefficients", or the file that they are from.
  std::string from() const { return from_.empty() ? "the built-in coefficients" : from_; }
  // "ttft_p99 500ms and 20 tokens per second"
  static std::string ObjectiveText(const Slo& slo);

 private:
  std::optional<GpuRate> RateIn(const GpuView& view, const Option& option) const;
  std::string KeyOf(const GpuView& view, const Option& option) const;

  const Catalog& catalog_;
  PerformanceCoefficients::Roofline coefficients_;
  double fraction_overhead_ = 1;
  std::string from_;
  LlmWork work_;
  serving::TokenRequest request_;
  serving::TokenObjective objective_;
  int batch_ = 1;
  mutable std::map<std::string, std::optional<double>> known_;
};

}  // namespace tranche::planning
