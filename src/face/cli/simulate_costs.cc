#include "face/cli/simulate_costs.h"

#include <fmt/format.h>

#include "face/cli/price_files.h"

namespace tranche {

Result<std::vector<simulate::GpuCosts>> CostsOf(const std::vector<std::string>& models,
                                                const Catalog& catalog, SimulateCosts* costs) {
  PriceList list;
  if (!costs->prices_file.empty()) {
    auto loaded = LoadPrices(costs->prices_file, catalog);
    if (!loaded) return tl::unexpected<Error>(loaded.error());
    list = std::move(*loaded);
    costs->currency = list.currency;
  }
  std::vector<simulate::GpuCosts> all;
  for (const std::string& model : models) {
    simulate::GpuCosts& of = all.emplace_back();
    const auto gpu = catalog.FindGpu(model);
    of.price_per_hour = costs->price_per_hour;
    if (!costs->prices_file.empty()) {
      const auto price = FindPrice(list, {gpu ? (*gpu)->key : model, false, "", ""});
      if (!price) return tl::unexpected<Error>(price.error());
      of.price_per_hour = price->per_hour;
    }
    if (!costs->idle_watts) continue;
    std::optional<double> busy = costs->busy_watts;
    if (!busy && gpu && (*gpu)->tdp_watts) busy = *(*gpu)->tdp_watts;
    if (!busy) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("how much power a {} may draw is not known", model),
                  "say it: --busy-watts 400");
    }
    if (*busy < *costs->idle_watts) {
      return Fail(ErrorCode::kInvalid,
                  fmt::format("--idle-watts {:g} is more than the {:g} W that a {} may draw",
                              *costs->idle_watts, *busy, model),
                  "--idle-watts 60");
    }
    of.idle_watts = costs->idle_watts;
    of.busy_watts = *busy - *costs->idle_watts;
  }
  return all;
}

}  // namespace tranche
