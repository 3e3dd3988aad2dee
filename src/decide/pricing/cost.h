#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "catalog/catalog.h"
#include "catalog/overheads.h"

namespace tranche {

// What sharing saves, in pure arithmetic. Money is a plain number of whatever currency the caller
// holds; rates are per hour. Every function refuses (kInvalid) what makes no sense instead of
// returning an infinite or negative sum.

// 8760 hours of a year / 12: what monthly prices are made of.
inline constexpr double kHoursPerMonth = 730;

// The cost of a million tokens on something that costs `price_per_hour` and makes so many tokens
// per second while it works, which is the share `utilization` of the time that is paid for.
Result<double> CostPerMillionTokens(double price_per_hour, double tokens_per_second,
                                    double utilization = 1);

// GPUs that are shared by `tenants` workloads each instead of being held by one.
struct ShareAsk {
  int gpus = 1;
  double price_per_hour = 0;  // of one GPU
  int tenants = 1;            // per GPU
  Mechanism mechanism = Mechanism::kExclusive;
  double throughput = 1;  // of all tenants of a GPU together, against one alone
  // Share of a GPU's throughput that one tenant wants; absent: as much as it gets.
  std::optional<double> utilization;
};

struct ShareCost {
  double baseline_per_hour = 0;    // of one workload on its own GPU
  double cost_per_hour = 0;        // of one workload: its part of the price, of what is left of
                                   // the GPU once sharing took its overhead
  double price_part_per_hour = 0;  // its part of the price alone: what is on the bill
  double saving_fraction = 0;      // of the baseline; negative when sharing costs more
  double gpu_hours_recovered = 0;  // per day, over all GPUs
  double gpus_freed = 0;           // of those that as many workloads would hold alone
  // Each tenant gets at most this share of a GPU's throughput when all want it at once. Who wants
  // more has outgrown the arrangement.
  double break_even_utilization = 0;
  std::optional<bool> fits;  // whether the tenants' wishes fit; absent when nobody said
};

Result<ShareCost> CostOfSharing(const ShareAsk& ask);

// One way to run the workloads, and what it costs.
struct PricedOption {
  Mechanism mechanism = Mechanism::kExclusive;
  std::string profile;  // of kMig
  bool spot = false;
  int per_gpu = 1;  // workloads on one GPU
  int gpus = 1;
  double cost_per_hour = 0;
  double cost_per_month = 0;
  double cost_per_workload_per_hour = 0;
  double saving_fraction = 0;     // against exclusive on demand
  double throughput_per_gpu = 1;  // of the tenants together; from the overheads
  std::string limit;              // why not more on one GPU
};

struct CompareAsk {
  const CatalogGpu* gpu = nullptr;
  std::optional<double> price_per_hour;
  std::optional<double> spot_price_per_hour;
  int workloads = 1;
  Bytes memory;                       // of one workload
  std::optional<int> tenants;         // at most so many per GPU; absent: what memory holds
  std::vector<Mechanism> mechanisms;  // to look at; empty = all that the GPU can
  double hours_per_month = kHoursPerMonth;
};

struct Comparison {
  std::vector<PricedOption> options;  // exclusive first, then as asked; each on demand, then spot
  // Mechanisms that are left out, and why.
  std::vector<std::pair<Mechanism, std::string>> left_out;
};

// kInvalid without any price; kDoesNotFit when one workload is larger than the GPU.
Result<Comparison> CompareSharing(const CompareAsk& ask, const SharingOverheads& overheads);

// What a MIG slice costs.
struct SliceCost {
  std::string profile;
  int most = 0;  // per GPU
  Bytes memory;
  double compute_fraction = 0;  // of the GPU's SMs; 0 when unknown
  double cost_per_hour = 0;     // the GPU's price over `most`: all there are, all in use
  double part_per_hour = 0;     // the price by the memory slots that it takes
};
Result<std::vector<SliceCost>> CostOfSlices(const CatalogGpu& gpu, double price_per_hour);

// At which traffic sharing stops paying: one workload that has `tokens_per_second` on a whole GPU,
// or `shared_tokens_per_second` in each of `tenants` equal parts of one.
struct BreakEvenAsk {
  double price_per_hour = 0;
  double tokens_per_second = 0;         // alone
  double shared_tokens_per_second = 0;  // in one part
  int tenants = 1;
};

struct BreakEven {
  // Up to this traffic parts of a shared GPU are cheaper than GPUs of one's own, always in whole
  // parts and whole GPUs. Absent: they stay cheaper, or as cheap, at any traffic.
  std::optional<double> tokens_per_second;
  double utilization = 0;  // that traffic as a share of the GPU alone; 0 when absent
  int parts = 0;           // how many parts that traffic takes
  double part_per_hour = 0;
  double cost_per_million_alone = 0;  // both flat out
  double cost_per_million_shared = 0;
};
Result<BreakEven> FindBreakEven(const BreakEvenAsk& ask);

// What serving `traffic` (tokens per second) costs per hour in whole parts, and on whole GPUs.
struct TrafficCost {
  double tokens_per_second = 0;
  int parts = 0, gpus = 0;
  double shared_per_hour = 0, alone_per_hour = 0;
  double shared_per_million = 0, alone_per_million = 0;
};
TrafficCost CostAtTraffic(const BreakEvenAsk& ask, double traffic);

}  // namespace tranche
