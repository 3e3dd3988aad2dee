#pragma once

#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "decide/pricing/cost.h"
#include "decide/pricing/price_list.h"
#include "face/cli/render/answer.h"

namespace tranche {

// How what `tranche cost` found looks to people and to programs. Pure.

// A price per hour, and where it comes from ("" = the command line).
struct KnownPrice {
  double per_hour = 0;
  std::string from;
};

Answer ViewPrices(const PriceList& list);

struct TokensCost {
  KnownPrice price;  // of what makes the tokens
  int tenants = 1;   // who share that price
  double tokens_per_second = 0;
  double utilization = 1;
  double cost_per_million = 0;
};
Answer ViewTokensCost(const TokensCost& cost, const std::string& currency);

Answer ViewShareCost(const ShareAsk& ask, const ShareCost& cost, const SharingOverhead& overhead,
                     const KnownPrice& price, const std::string& currency);

Answer ViewSliceCosts(const CatalogGpu& gpu, const std::vector<SliceCost>& slices,
                      const KnownPrice& price, const std::string& currency);

// One comparison per GPU; savings are told against the cheapest way without sharing among all.
struct GpuComparison {
  std::string gpu;
  Comparison comparison;
};
Answer ViewComparison(const std::vector<GpuComparison>& comparisons, const CompareAsk& ask,
                      const std::string& currency);

Answer ViewBreakEven(const BreakEvenAsk& ask, const BreakEven& found, const KnownPrice& price,
                     const std::optional<TrafficCost>& at, const std::string& currency);

}  // namespace tranche
