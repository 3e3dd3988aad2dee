#pragma once

#include <optional>
#include <string>
#include <vector>

#include "face/cli/render/answer.h"
#include "stage/simulate/capacity.h"
#include "stage/simulate/chart.h"
#include "stage/simulate/compare.h"
#include "stage/simulate/serving.h"

namespace tranche {

// What the policies made of the same workloads, side by side.
Answer ViewComparison(const simulate::Fleet& fleet, const std::vector<simulate::TracePod>& pods,
                      const simulate::CompareOptions& options,
                      const std::vector<simulate::PolicyOutcome>& outcomes);

// What happened over time; with -o csv every sample.
Answer ViewTimelines(const simulate::Fleet& fleet, size_t workloads,
                     const std::vector<simulate::NamedTimeline>& timelines);

// How many nodes of which kind.
struct CapacityView {
  size_t workloads = 0;
  std::string policy;
  simulate::CapacityTarget target;
  std::optional<double> wait_slo;
  std::string currency;
};
Answer ViewCapacity(const simulate::Fleet& kinds, const CapacityView& asked,
                    const simulate::CapacityFindings& findings);

// Servers of one kind, and how they did.
struct ServingRow {
  std::string name;  // "H100-SXM5-80GB:3g.40gb"
  std::string none;  // why there are none; "" otherwise
  int replicas = 0;
  double gpus_per_replica = 1;
  int most_sequences = 0;
  int64_t kv_tokens = 0;
  simulate::ServingResult result;
  std::optional<double> cost_per_hour;
  std::optional<double> missed_share_with_less;  // with one replica less
};
struct ServingsAnswer {
  size_t requests = 0;
  double seconds = 0;  // in which they come
  std::string model;
  bool find_capacity = false;
  double may_miss = 0;
  double error = 0;          // of the predicted speeds, as a share
  std::string coefficients;  // which they are predicted with
  std::string currency;
  std::vector<ServingRow> rows;
};
Answer ViewServings(const ServingsAnswer& servings);

}  // namespace tranche
