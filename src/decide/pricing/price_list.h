#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"

namespace tranche {

// What one GPU costs per hour somewhere.
struct Price {
  std::string gpu;   // catalog key; "" when the catalog does not know it
  std::string name;  // as the file names it
  double per_hour = 0;
  bool spot = false;  // may be taken away
  int gpus = 1;       // of the instance that it is a part of; cannot be had alone when above 1
  std::string instance;
  std::string provider;
  std::string region;
  std::string source;  // "prices.csv:12"
  bool operator==(const Price&) const = default;
};

struct PriceList {
  std::string currency = "USD";
  std::vector<Price> prices;
  std::vector<std::string> notes;  // what of the files was left out, and why

  // Adds another list. kInvalid when its currency is another: money of two kinds has no sum.
  Status Append(PriceList other);
};

// The forms that are read; which one a file has shows in its header or first byte.
//   own       CSV with at least `gpu` and `price_per_hour` (or `price_hour`), and any of `count`
//             (GPUs that the price is for, 1), `spot` (false), `spot_price_per_hour`, `provider`,
//             `region`, `instance`, `currency`
//   SkyPilot  catalog v8 CSV: AcceleratorName, AcceleratorCount, Price, SpotPrice, Region, GpuInfo
//   gpuhunt   v2 CSV, or JSON of the same names: gpu_name, gpu_count, gpu_memory, price, spot,
//             location
//   JSON      a list of objects with the keys of a CSV, or a map {"H100-SXM5-80GB": 2.40}
// Columns are found by name, never by place. A row without a GPU (a CPU instance) is left out. What
// makes no sense (a price that is no number, zero or negative) is kInvalid, all of it at once, with
// file and line.
Result<PriceList> ParsePrices(std::string_view text, const std::string& file,
                              const Catalog& catalog);

// Which of the prices are meant.
struct PriceFilter {
  std::string gpu;  // catalog key
  bool spot = false;
  std::string provider;  // "" = any
  std::string region;    // "" = any
};

// The lowest that matches. kNotFound says what is missing and what there is instead.
Result<Price> FindPrice(const PriceList& list, const PriceFilter& filter);

// The catalog's GPU for a name in a price list, which leaves memory and form factor open: "A100"
// with 80 GB is the A100-SXM4-80GB. nullptr when there is none.
const CatalogGpu* GpuOfPriceName(const Catalog& catalog, const std::string& name,
                                 std::optional<double> memory_gb);

}  // namespace tranche
