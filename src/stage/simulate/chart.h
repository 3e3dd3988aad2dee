#pragma once

#include <string>
#include <vector>

#include "stage/simulate/serving.h"
#include "stage/simulate/timeline.h"

namespace tranche::simulate {

struct NamedTimeline {
  std::string name;
  TimelineResult result;
};

// One page that needs nothing else: a table of totals, and a chart over time (inline SVG) of
// allocation, fragmentation, waiting, SLO misses, and of cost and energy where they are known.
std::string TimelinePage(const std::string& title, const std::vector<NamedTimeline>& timelines);

struct NamedServing {
  std::string name;
  ServingResult result;
};

// The same of model servers.
std::string ServingPage(const std::string& title, const std::vector<NamedServing>& servings);

}  // namespace tranche::simulate
