#include <fmt/format.h>

#include <algorithm>

#include "decide/pricing/cost.h"

namespace tranche {
namespace {

// Clients of one MPS server through CUDA 13.0; later ones allow 60.
constexpr int kMpsClients = 48;

struct Capacity {
  int per_gpu = 0;
  std::string profile;
  std::string limit;  // what bounds it
  std::string no;     // why the GPU cannot
};

// The smallest plain slice that holds the workload, by memory slots and then compute.
const MigProfile* SmallestSlice(const CatalogGpu& gpu, Bytes memory) {
  const MigProfile* best = nullptr;
  const auto key = [](const MigProfile& profile) {
    return std::pair(profile.placements.front().size, -profile.max_instances);
  };
  for (const MigProfile& profile : gpu.mig_profiles) {
    if (profile.variant != MigVariant::kPlain || profile.memory < memory) continue;
    if (best == nullptr || key(profile) < key(*best)) best = &profile;
  }
  return best;
}

Capacity CapacityOf(const CatalogGpu& gpu, Mechanism mechanism, Bytes memory) {
  if (mechanism == Mechanism::kExclusive) return {1, "", "one workload has the GPU", ""};
  if (mechanism == Mechanism::kMig) {
    if (!gpu.mig_capable) return {0, "", "", gpu.key + " has no MIG"};
    const MigProfile* profile = SmallestSlice(gpu, memory);
    if (profile == nullptr)
      return {0, "", "", fmt::format("no slice of {} holds {}", gpu.key, FormatBytes(memory))};
    return {profile->max_instances, profile->name,
            fmt::format("{} fits {} times", profile->name, profile->max_instances), ""};
  }
  if (mechanism == Mechanism::kVgpu && !gpu.vgpu_capable)
    return {0, "", "", gpu.key + " has no vGPU"};
  const auto by_memory = static_cast<int>(
      std::min<uint64_t>(gpu.memory->value / std::max<uint64_t>(1, memory.value), 1000));
  if (mechanism == Mechanism::kMps && by_memory > kMpsClients)
    return {kMpsClients, "", fmt::format("MPS serves {} processes", kMpsClients), ""};
  return {by_memory, "", fmt::format("{} of memory hold {}", FormatBytes(*gpu.memory), by_memory),
          ""};
}

}  // namespace

Result<Comparison> CompareSharing(const CompareAsk& ask, const SharingOverheads& overheads) {
  const CatalogGpu& gpu = *ask.gpu;
  if (!ask.price_per_hour && !ask.spot_price_per_hour) {
    return Fail(ErrorCode::kInvalid, "no price of " + gpu.key,
                "give one with --price-per-hour or --prices FILE");
  }
  if (!gpu.memory) return Fail(ErrorCode::kInvalid, "the memory of " + gpu.key + " is not known");
  if (ask.memory > *gpu.memory) {
    return Fail(ErrorCode::kDoesNotFit,
                fmt::format("a workload of {} does not fit a {} with {}", FormatBytes(ask.memory),
                            gpu.key, FormatBytes(*gpu.memory)),
                "take a larger GPU, or divide the model over several");
  }
  std::vector<Mechanism> mechanisms = ask.mechanisms;
  if (mechanisms.empty()) mechanisms.assign(kAllMechanisms.begin(), kAllMechanisms.end());
  const auto exclusive = std::find(mechanisms.begin(), mechanisms.end(), Mechanism::kExclusive);
  if (exclusive != mechanisms.end()) mechanisms.erase(exclusive);
  mechanisms.insert(mechanisms.begin(), Mechanism::kExclusive);

  // Savings are against what people have today: a GPU each, on demand where that price is known.
  const double baseline = ask.price_per_hour.value_or(ask.spot_price_per_hour.value_or(0));
  Comparison comparison;
  for (const Mechanism mechanism : mechanisms) {
    const Capacity capacity = CapacityOf(gpu, mechanism, ask.memory);
    if (!capacity.no.empty()) {
      comparison.left_out.emplace_back(mechanism, capacity.no);
      continue;
    }
    PricedOption option;
    option.mechanism = mechanism;
    option.profile = capacity.profile;
    option.per_gpu = capacity.per_gpu;
    option.limit = capacity.limit;
    if (ask.tenants && *ask.tenants < option.per_gpu) {
      option.per_gpu = mechanism == Mechanism::kExclusive ? 1 : *ask.tenants;
      option.limit = "as asked";
    }
    option.gpus = (ask.workloads + option.per_gpu - 1) / option.per_gpu;
    option.throughput_per_gpu = overheads.Of(mechanism).throughput;
    for (const bool spot : {false, true}) {
      const auto& price = spot ? ask.spot_price_per_hour : ask.price_per_hour;
      if (!price) continue;
      option.spot = spot;
      option.cost_per_hour = option.gpus * *price;
      option.cost_per_month = option.cost_per_hour * ask.hours_per_month;
      option.cost_per_workload_per_hour = option.cost_per_hour / ask.workloads;
      option.saving_fraction = 1 - option.cost_per_hour / (baseline * ask.workloads);
      comparison.options.push_back(option);
    }
  }
  return comparison;
}

}  // namespace tranche
