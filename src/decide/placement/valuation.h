#pragma once

#include <optional>
#include <vector>

#include "decide/placement/cluster.h"
#include "decide/placement/fragmentation.h"
#include "decide/placement/lanes.h"
#include "decide/placement/mig_valuation.h"
#include "decide/placement/policy.h"

namespace tranche::placement {

// What it takes besides the mix. The values were found by measurement; docs/benchmarks/placement.md
// has what moving each of them does.
struct ValuationOptions {
  double size_weight = 0.8;  // how much of a size's cutting-stock price counts
  double softness = 30;      // milli-GPU; 0 would expect the best-fitting workload every time
  double scarcity = 200;     // per GPU of the scarcest kind
  double scarcity_exponent = 0.25;
  double slots = 0.2;  // weight of the bonus for whole free GPUs
  // What it is multiplied with for workloads of k GPUs, as far as that does not outbid the scarcity
  // prices; 1 beyond.
  std::vector<double> slot_factors = {};
  // Of the memory that workloads ask for with a milli-GPU on average, so much is kept for each that
  // is free, as long as workloads only come.
  double memory = 0.4;
  // What room for large workloads without a GPU is worth, in milli-GPU per milli-CPU that they ask
  // of each milli-CPU that is asked for; in full where the mix would use up most of the CPU.
  double cpu_slots = 0.023;
};

// Gains are compared in whole points: differences below 20 milli-GPU are noise, and packing by
// order of nodes is worth more than them.
constexpr float kPointMilli = 20;
int PointsOfGain(float milli);

// What is free on a node is worth what the workloads that usually come could still make of it. The
// value of a placement is what it takes from the value of its node. Immutable; pure.
//
// The parts, each of which is needed:
//   - a size costs the GPU that it really takes: 810 of 1000 leaves 190 that nothing can use, so it
//     costs 1000 (the dual prices of the cutting-stock problem);
//   - CPU has a price, found per node: the one at which its CPU and its GPUs would run out
//   together;
//   - choice has a value: a soft maximum over what may come next instead of the best of it;
//   - scarce hardware costs extra: models that some workloads insist on, and node shapes that alone
//     can hold some class;
//   - whole free GPUs that could still hold a workload of k GPUs are worth a bonus, where workloads
//     come and go;
//   - a GPU that MIG divides is worth what its memory slots and compute slices can still hold
//     (mig_valuation.h), less the CPU that this would take; an empty one may become either.
class Valuation {
 public:
  Valuation(const std::vector<NodeShape>& types, const std::vector<int>& counts,
            const std::vector<WeightedRequest>& mix, const ValuationOptions& options = {},
            const std::vector<MigKind>& kinds = {});

  // What a node is worth now, by price of CPU; and the least of it, which is its value.
  struct Worth {
    Lanes lanes;
    float value = 0;
    float bonus = 0;
    float cpu_room = 0;
    float stranded = 0;
  };
  Worth Of(const Node& node) const;

  // What a placement gains, in milli-GPU: what is placed, less what the node loses in value, less
  // the price of its hardware; on the GPUs where that is most. The request fits. `churn`: workloads
  // come and go, so whole free GPUs will be wanted again.
  struct Gain {
    float milli = 0;
    GpuSet gpus = 0;
  };
  Gain Best(const Node& node, const Worth& worth, const Request& request, bool churn) const;
  // The same for one that wants an instance of MIG. Gains within a tenth of a GPU are noise, as in
  // MigValuation: there, the GPU with the most compute slices taken is best.
  struct MigGain {
    int points = 0;  // the larger, the better; only of this request's own
    MigSpot spot;
  };
  MigGain BestSpot(const Node& node, const Worth& worth, const Request& request, bool churn) const;

  const Fragmentation& fragmentation() const { return fragmentation_; }
  // For explanations and tests.
  double size_price(int gpu_milli) const;  // in milli-GPU; its own size where it was never seen
  // How much Worth::cpu_room counts: where workloads leave as well, room comes back by itself.
  float room_weight(bool churn) const { return churn ? room_in_churn_ : 1.0f; }
  double scarcity_price(int type) const { return scarcity_[static_cast<size_t>(type)]; }

 private:
  static constexpr int kSteps = 100;  // of 10 milli-GPU
  struct Slots {
    int gpus = 0;
    double worth = 0;  // of one slot
    double cpu_per_gpu = 0;
  };

  void PriceSizes(const std::vector<WeightedRequest>& mix, double weight);
  void PriceHardware(const std::vector<NodeShape>& types, const std::vector<int>& counts,
                     const std::vector<WeightedRequest>& mix, const ValuationOptions& options);
  void PriceSlots(const std::vector<WeightedRequest>& mix, const ValuationOptions& options,
                  double cpu_pressure);
  void FillTables(const std::vector<NodeShape>& types, const std::vector<WeightedRequest>& mix,
                  double softness);
  const float* Row(int model, int free_milli) const {
    return &table_[(static_cast<size_t>(table_of_[static_cast<size_t>(model)]) * (kSteps + 1) +
                    static_cast<size_t>(free_milli / (kGpuMilli / kSteps))) *
                   Lanes::kCount];
  }
  // MIG as one model of GPU sees it.
  struct Division {
    const MigKind* kind = nullptr;
    MigValuation valuation;
    Lanes per_gpu;  // what a GPU's worth of it is worth, by price of CPU
    double weight = 0;
  };
  void Divide(const std::vector<MigKind>& kinds, const std::vector<WeightedRequest>& mix);
  // What is left of a GPU in MIG mode is worth.
  Lanes WorthOfDivided(const Division& division, const MigRoom& taken) const;

  float BonusOf(const Node& node, int cpu_free, int whole_free) const;
  float CpuRoom(int cpu_free) const;
  // Free GPU that `memory` is too little for, in milli-GPU.
  float Stranded(int64_t memory, int free_milli) const;

  std::vector<std::pair<int, double>> size_values_;  // by size, ascending
  std::vector<std::pair<int, double>> size_prices_;
  Lanes cpu_prices_;
  std::vector<int> table_of_;  // by model
  std::vector<float> table_;   // [table][free, in steps][price of CPU]
  std::vector<float> scarcity_;
  std::vector<int> type_cpu_;
  double insisting_ = 0;  // part of the GPU asked for by those who do not take every model
  std::vector<Slots> slots_;
  float room_in_churn_ = 0;
  float memory_per_milli_ = 0;  // MiB that a milli-GPU comes with
  // Of sizes that ask for no GPU: CPU, and what room for one is worth.
  std::vector<std::pair<float, float>> cpu_slots_;
  std::vector<std::optional<Division>> divisions_;  // by model
  Fragmentation fragmentation_;
};

}  // namespace tranche::placement
