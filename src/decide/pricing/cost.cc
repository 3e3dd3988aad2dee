#include "decide/pricing/cost.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

namespace tranche {
namespace {

constexpr double kSecondsPerHour = 3600;
constexpr double kMillion = 1e6;
constexpr double kHoursPerDay = 24;

Status CheckPositive(const char* what, double value) {
  if (std::isfinite(value) && value > 0) return {};
  return Fail(ErrorCode::kInvalid, fmt::format("{} {} is not above 0", what, value));
}

}  // namespace

Result<double> CostPerMillionTokens(double price_per_hour, double tokens_per_second,
                                    double utilization) {
  if (auto ok = CheckPositive("the price per hour", price_per_hour); !ok)
    return tl::unexpected<Error>(ok.error());
  if (auto ok = CheckPositive("tokens per second", tokens_per_second); !ok)
    return tl::unexpected<Error>(ok.error());
  if (!(utilization > 0 && utilization <= 1)) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("utilization {} is not a share of the time", utilization));
  }
  return price_per_hour / (tokens_per_second * kSecondsPerHour * utilization) * kMillion;
}

Result<ShareCost> CostOfSharing(const ShareAsk& ask) {
  if (auto ok = CheckPositive("the price per hour", ask.price_per_hour); !ok)
    return tl::unexpected<Error>(ok.error());
  if (auto ok = CheckPositive("the throughput left", ask.throughput); !ok)
    return tl::unexpected<Error>(ok.error());
  if (ask.gpus < 1 || ask.tenants < 1)
    return Fail(ErrorCode::kInvalid, "GPUs and tenants are at least 1");
  if (ask.mechanism == Mechanism::kExclusive && ask.tenants > 1) {
    return Fail(ErrorCode::kInvalid,
                fmt::format("an exclusive GPU has one tenant, not {}", ask.tenants),
                "name the mechanism by which they share it");
  }
  ShareCost cost;
  cost.baseline_per_hour = ask.price_per_hour;
  cost.price_part_per_hour = ask.price_per_hour / ask.tenants;
  cost.cost_per_hour = cost.price_part_per_hour / ask.throughput;
  cost.saving_fraction = 1 - cost.cost_per_hour / cost.baseline_per_hour;
  cost.gpus_freed = ask.gpus * (1 - 1.0 / ask.tenants);
  cost.gpu_hours_recovered = cost.gpus_freed * kHoursPerDay;
  cost.break_even_utilization = std::min(1.0, ask.throughput / ask.tenants);
  if (ask.utilization) cost.fits = *ask.utilization <= cost.break_even_utilization + 1e-9;
  return cost;
}

}  // namespace tranche
