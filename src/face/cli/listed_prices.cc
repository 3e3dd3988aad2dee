#include "face/cli/listed_prices.h"

#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "face/cli/price_files.h"

namespace tranche {
namespace {

// "prices.csv" of "prices.csv:12".
std::string FileOf(const std::string& source) { return source.substr(0, source.rfind(':')); }

class Filler {
 public:
  Filler(const ListedPrices& from, const PriceList& list) : from_(from), list_(list) {}

  void Fill(Spec* spec) {
    const bool spot = std::any_of(spec->workloads.begin(), spec->workloads.end(),
                                  [](const Workload& workload) { return workload.preemptible; });
    for (FleetEntry& entry : spec->fleet) {
      if (!entry.price_per_hour) entry.price_per_hour = Find(entry.gpu, false);
      // What is owned, or costs nothing more, is not to be had for less.
      const bool free = entry.price_per_hour && *entry.price_per_hour == 0;
      if (spot && !free && !entry.spot_price_per_hour) {
        entry.spot_price_per_hour = Find(entry.gpu, true);
      }
    }
    if (!spec->fleet.empty()) return;
    std::set<std::string> listed;
    for (const Price& price : list_.prices) {
      if (!price.gpu.empty()) listed.insert(price.gpu);
    }
    for (const std::string& gpu : listed) {
      if (spec->prices.count(gpu) > 0) continue;
      if (const auto price = Find(gpu, false)) spec->prices[gpu] = *price;
    }
  }
  const std::set<std::string>& files() const { return files_; }

 private:
  std::optional<double> Find(const std::string& gpu, bool spot) {
    const auto price = FindPrice(list_, {gpu, spot, from_.provider, from_.region});
    if (!price) return std::nullopt;
    files_.insert(FileOf(price->source));
    return price->per_hour;
  }

  const ListedPrices& from_;
  const PriceList& list_;
  std::set<std::string> files_;
};

}  // namespace

Status FillInPrices(const ListedPrices& from, const Catalog& catalog, Context& context,
                    Spec* spec) {
  auto list = from.file.empty() ? LoadConfiguredPrices(context.world().configurations, catalog)
                                : LoadPrices(from.file, catalog);
  if (!list) return tl::unexpected<Error>(list.error());
  if (list->prices.empty()) return {};
  if (list->currency != spec->currency) {
    const std::string what =
        fmt::format("the price list is in {}, the spec in {}", list->currency, spec->currency);
    if (!from.file.empty()) {
      return Fail(ErrorCode::kInvalid, what,
                  fmt::format("Tranche does not convert money; set currency: {} in the spec, with "
                              "its own prices in that currency too",
                              list->currency));
    }
    context.Say(what + ", so it is not used.");
    return {};
  }
  Filler filler(from, *list);
  filler.Fill(spec);
  if (!filler.files().empty()) {
    context.Say(fmt::format("Prices that the spec leaves out are from {}.",
                            fmt::join(filler.files(), ", ")));
  }
  return {};
}

}  // namespace tranche
