#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "decide/pricing/price_list.h"

namespace tranche {

// Reads a price file, or every .csv and .json file of a folder in the order of their names.
Result<PriceList> LoadPrices(const std::string& path, const Catalog& catalog);

// The prices that this machine's owner keeps: `prices.csv`, `prices.json` or the folder `prices` in
// the first of these directories that has any. An empty list when none has.
Result<PriceList> LoadConfiguredPrices(const std::vector<std::string>& directories,
                                       const Catalog& catalog);

}  // namespace tranche
