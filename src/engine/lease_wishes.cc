#include "engine/lease_wishes.h"

#include <algorithm>
#include <cmath>

namespace tranche {
namespace {

constexpr int kWholeMilli = placement::kGpuMilli;

// What it takes of such a GPU, in the resource of which it takes more; 0 when it said neither.
int MilliOf(Mechanism mechanism, const std::optional<Bytes>& memory,
            const std::optional<Share<Fraction>>& compute, Bytes usable) {
  if (mechanism == Mechanism::kExclusive) return kWholeMilli;
  double share = compute ? compute->request.value : 0;
  if (memory && usable.value > 0) {
    share = std::max(share, static_cast<double>(memory->value) / static_cast<double>(usable.value));
  }
  return static_cast<int>(std::ceil(share * kWholeMilli - 1e-6));
}

int FreeMilli(Bytes usable, double memory_free, double time_free) {
  const double memory = usable.value > 0 ? memory_free / static_cast<double>(usable.value) : 0;
  return static_cast<int>(
      std::floor(std::clamp(std::min(memory, time_free), 0.0, 1.0) * kWholeMilli + 1e-6));
}

}  // namespace

void LeaseWishes::Add(const LeaseRequest& request) {
  lately_.push_back(request);
  if (lately_.size() > kMost) lately_.pop_front();
}

int LeaseWishes::PointsOn(Bytes usable, Bytes free, double time_free, const LeaseRequest& request,
                          const std::vector<Lease>& leases) const {
  if (request.mechanism == Mechanism::kExclusive) return 0;  // only empty ones will do
  const int placed = MilliOf(request.mechanism, request.memory, request.compute, usable);
  std::map<int, double> weights = {{placed, 1}};
  for (const LeaseRequest& asked : lately_) {
    weights[MilliOf(asked.mechanism, asked.memory, asked.compute, usable)] += 1;
  }
  for (const Lease& lease : leases) {
    if (!lease.workload.empty()) continue;
    weights[MilliOf(lease.mechanism, lease.memory, lease.compute, usable)] += 1;
  }
  std::vector<placement::ShareWeight> shares;
  for (const auto& [milli, weight] : weights) shares.push_back({milli, weight});
  const double memory_after = static_cast<double>(free.value) -
                              static_cast<double>(request.memory.value_or(Bytes{0}).value);
  const double time_after = time_free - (request.compute ? request.compute->request.value : 0);
  return placement::ShareValue(shares).PointsOf(
      placed, FreeMilli(usable, static_cast<double>(free.value), time_free),
      FreeMilli(usable, memory_after, time_after));
}

}  // namespace tranche
