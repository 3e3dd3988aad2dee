#include "face/cli/advise_need.h"

#include <fmt/format.h>

#include "decide/sizing/sizing.h"

namespace tranche {

std::function<Bytes(Bytes given, int gpus)> NeedOfModel(const ModelAsk& ask, ServingEngine engine,
                                                        const CatalogModel* model) {
  return [ask, engine, model](Bytes given, int gpus) {
    const Bytes all =
        SizeToFit(ask, engine, model, given * static_cast<uint64_t>(gpus), gpus).total();
    const auto each = static_cast<uint64_t>(gpus);
    return Bytes{(all.value + each - 1) / each};
  };
}

std::string NeedText(const ModelAsk& ask, ServingEngine engine) {
  const std::string what = ask.name.empty()
                               ? fmt::format("{:.4g}B parameters", ask.parameters.value_or(0) / 1e9)
                               : ask.name;
  return fmt::format("{}, {}, {} tokens x {}, served by {}", what, ask.precision, ask.context,
                     ask.concurrency, ServingEngineName(engine));
}

}  // namespace tranche
