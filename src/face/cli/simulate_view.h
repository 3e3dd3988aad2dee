#pragma once

#include <vector>

#include "face/cli/render/answer.h"
#include "stage/simulate/chart.h"
#include "stage/simulate/compare.h"

namespace tranche {

// What the policies made of the same workloads, side by side.
Answer ViewComparison(const simulate::Fleet& fleet, const std::vector<simulate::TracePod>& pods,
                      const simulate::CompareOptions& options,
                      const std::vector<simulate::PolicyOutcome>& outcomes);

// What happened over time; with -o csv every sample.
Answer ViewTimelines(const simulate::Fleet& fleet, size_t workloads,
                     const std::vector<simulate::NamedTimeline>& timelines);

}  // namespace tranche
