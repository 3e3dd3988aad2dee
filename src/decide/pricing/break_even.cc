#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "decide/pricing/cost.h"

namespace tranche {
namespace {

// How many whole pieces of `size` hold `amount`. Rounding must not cost a piece.
int Pieces(double amount, double size) { return static_cast<int>(std::ceil(amount / size - 1e-9)); }

double PerMillion(double per_hour, double tokens_per_second) {
  return per_hour / (tokens_per_second * 3600) * 1e6;
}

}  // namespace

TrafficCost CostAtTraffic(const BreakEvenAsk& ask, double traffic) {
  TrafficCost cost;
  cost.tokens_per_second = traffic;
  cost.parts = std::max(1, Pieces(traffic, ask.shared_tokens_per_second));
  cost.gpus = std::max(1, Pieces(traffic, ask.tokens_per_second));
  cost.shared_per_hour = cost.parts * ask.price_per_hour / ask.tenants;
  cost.alone_per_hour = cost.gpus * ask.price_per_hour;
  cost.shared_per_million = PerMillion(cost.shared_per_hour, traffic);
  cost.alone_per_million = PerMillion(cost.alone_per_hour, traffic);
  return cost;
}

Result<BreakEven> FindBreakEven(const BreakEvenAsk& ask) {
  const std::pair<const char*, double> positive[] = {
      {"the price per hour", ask.price_per_hour},
      {"tokens per second on a GPU of its own", ask.tokens_per_second},
      {"tokens per second in a part", ask.shared_tokens_per_second}};
  for (const auto& [what, value] : positive) {
    if (!std::isfinite(value) || value <= 0)
      return Fail(ErrorCode::kInvalid, fmt::format("{} {} is not above 0", what, value));
  }
  if (ask.tenants < 2) {
    return Fail(ErrorCode::kInvalid, "a GPU that is shared has at least 2 tenants",
                "say into how many parts it is divided: --tenants 3");
  }
  BreakEven result;
  result.part_per_hour = ask.price_per_hour / ask.tenants;
  result.cost_per_million_alone = PerMillion(ask.price_per_hour, ask.tokens_per_second);
  result.cost_per_million_shared = PerMillion(result.part_per_hour, ask.shared_tokens_per_second);
  // A part costs 1/tenants of a GPU. The first GPU's worth of traffic is the one where it is
  // decided: k parts are cheaper than the GPU while k < tenants. Where the parts together do what
  // the GPU does alone, or more, the GPU is never cheaper.
  if (ask.shared_tokens_per_second * ask.tenants >= ask.tokens_per_second * (1 - 1e-9))
    return result;
  result.parts = ask.tenants - 1;
  result.tokens_per_second = result.parts * ask.shared_tokens_per_second;
  result.utilization = *result.tokens_per_second / ask.tokens_per_second;
  return result;
}

}  // namespace tranche
