#pragma once

#include <optional>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "stage/simulate/timeline.h"

namespace tranche {

// What the options say of costs. All absent: nobody asked.
struct SimulateCosts {
  std::string prices_file;               // --prices
  std::optional<double> price_per_hour;  // --price-per-hour: of every GPU
  std::optional<double> idle_watts;      // of every GPU
  std::optional<double> busy_watts;      // of every GPU; absent: the most its model may draw
  std::string currency = "USD";          // of the file, once it was read
};

// The costs of each of these models of GPU, which are names as the user writes them. kNotFound or
// kInvalid where what was asked for is not known of one of them.
Result<std::vector<simulate::GpuCosts>> CostsOf(const std::vector<std::string>& models,
                                                const Catalog& catalog, SimulateCosts* costs);

}  // namespace tranche
