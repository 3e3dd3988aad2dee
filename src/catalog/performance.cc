#include "catalog/performance.h"

#include <fmt/format.h>

#include "catalog/field_reader.h"

extern "C" {
extern const char catalog_performance_yaml[], catalog_performance_yaml_end[];
}

namespace tranche {
namespace {

using catalog::FieldReader;
using catalog::Mistakes;

// A number with where it came from: {value: 0.7, source: '...'}.
double ReadValue(FieldReader& fields, const char* section, const char* key, double least,
                 double most, Mistakes* mistakes, PerformanceCoefficients* coefficients) {
  FieldReader entry(fields.Map(key), mistakes);
  const double value = entry.Number("value", least, most);
  coefficients->sources[fmt::format("{}.{}", section, key)] = entry.Text("source");
  return value;
}

void ReadMigCost(FieldReader& fields, Mistakes* mistakes, PerformanceCoefficients* coefficients) {
  FieldReader entry(fields.Map("mig_cost"), mistakes);
  coefficients->sources["sharing.mig_cost"] = entry.Text("source");
  const YamlNode& values = entry.Map("value");
  double before = 1e9;
  for (const auto& [key, node] : values.members) {
    const auto slices = catalog::IntOf(key, 1, 7);
    const auto cost = catalog::NumberOf(node, 1, 100);
    if (!slices || !cost || *cost > before) {
      mistakes->Add(key, "must be compute slices from 1 to 7 with falling costs from 100 to 1");
      return;
    }
    before = *cost;
    coefficients->sharing.mig_cost[*slices] = *cost;
  }
  const auto& cost = coefficients->sharing.mig_cost;
  if (!cost.contains(1) || !cost.contains(7)) mistakes->Add(values, "needs 1 and 7 slices");
}

}  // namespace

Result<PerformanceCoefficients> ParsePerformance(std::string_view text, const std::string& file) {
  auto document = catalog::ParseData(file, text);
  if (!document) return tl::unexpected(document.error());
  Mistakes mistakes(file);
  PerformanceCoefficients coefficients;
  {
    FieldReader top(*document, &mistakes);
    FieldReader sharing(top.Map("sharing"), &mistakes);
    auto& s = coefficients.sharing;
    const auto shared = [&](const char* key, double least, double most) {
      return ReadValue(sharing, "sharing", key, least, most, &mistakes, &coefficients);
    };
    ReadMigCost(sharing, &mistakes, &coefficients);
    s.sharpness = shared("sharpness", 1, 50);
    s.shared_sharpness = shared("shared_sharpness", 1, 50);
    s.mps_exponent = shared("mps_exponent", 0, 3);
    s.time_slicing_overhead = shared("time_slicing_overhead", 1, 10);
    s.fraction_overhead = shared("fraction_overhead", 1, 10);
    s.error = shared("error", 0, 10);
    s.error_unmeasured = shared("error_unmeasured", 0, 10);
    FieldReader roofline(top.Map("roofline"), &mistakes);
    auto& r = coefficients.roofline;
    const auto lined = [&](const char* key, double least, double most) {
      return ReadValue(roofline, "roofline", key, least, most, &mistakes, &coefficients);
    };
    r.bandwidth_efficiency = lined("bandwidth_efficiency", 0.01, 1);
    r.compute_efficiency = lined("compute_efficiency", 0.01, 1);
    r.layer_seconds = lined("layer_seconds", 0, 1);
    r.step_seconds = lined("step_seconds", 0, 10);
    r.all_reduce_seconds = lined("all_reduce_seconds", 0, 1);
    r.error = lined("error", 0, 10);
  }
  if (!mistakes.empty()) return tl::unexpected(mistakes.status().error());
  return coefficients;
}

Result<PerformanceCoefficients> DefaultPerformance() {
  return ParsePerformance(
      {catalog_performance_yaml,
       static_cast<size_t>(catalog_performance_yaml_end - catalog_performance_yaml)},
      "performance.yaml");
}

std::string PrintPerformance(const PerformanceCoefficients& coefficients) {
  std::string out =
      "# What Tranche predicts speeds with. Each value has its source; edit either and pass the "
      "file with --coefficients.\n";
  const auto source = [&](const std::string& key) {
    const auto found = coefficients.sources.find(key);
    std::string text = found == coefficients.sources.end() ? "not said" : found->second;
    for (size_t at = 0; (at = text.find('\'', at)) != std::string::npos; at += 2)
      text.insert(at, 1, '\'');
    return text;
  };
  const auto line = [&](const char* section, const char* key, double value) {
    out += fmt::format("  {}: {{value: {:.6g}, source: '{}'}}\n", key, value,
                       source(fmt::format("{}.{}", section, key)));
  };
  const auto& s = coefficients.sharing;
  std::string cost;
  for (const auto& [slices, value] : s.mig_cost) {
    cost += fmt::format("{}{}: {:.6g}", cost.empty() ? "" : ", ", slices, value);
  }
  out += fmt::format("sharing:\n  mig_cost: {{value: {{{}}}, source: '{}'}}\n", cost,
                     source("sharing.mig_cost"));
  line("sharing", "sharpness", s.sharpness);
  line("sharing", "shared_sharpness", s.shared_sharpness);
  line("sharing", "mps_exponent", s.mps_exponent);
  line("sharing", "time_slicing_overhead", s.time_slicing_overhead);
  line("sharing", "fraction_overhead", s.fraction_overhead);
  line("sharing", "error", s.error);
  line("sharing", "error_unmeasured", s.error_unmeasured);
  const auto& r = coefficients.roofline;
  out += "roofline:\n";
  line("roofline", "bandwidth_efficiency", r.bandwidth_efficiency);
  line("roofline", "compute_efficiency", r.compute_efficiency);
  line("roofline", "layer_seconds", r.layer_seconds);
  line("roofline", "step_seconds", r.step_seconds);
  line("roofline", "all_reduce_seconds", r.all_reduce_seconds);
  line("roofline", "error", r.error);
  return out;
}

}  // namespace tranche
