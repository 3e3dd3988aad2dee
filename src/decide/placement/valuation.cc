#include "decide/placement/valuation.h"

#include <algorithm>
#include <bit>
#include <climits>
#include <cmath>
#include <map>

#include "decide/placement/cutting_stock.h"

namespace tranche::placement {
namespace {

constexpr double kDearestCpu = 0.34;  // milli-GPU per milli-CPU

// Sums over a mix that every part needs.
struct Totals {
  double gpu_milli = 0;  // asked for, in weights
  double cpu_milli = 0;
  double gpus = 1e-9;
};

Totals TotalsOf(const std::vector<WeightedRequest>& mix) {
  Totals totals;
  for (const auto& [request, weight] : mix) {
    totals.gpu_milli += weight * request.total_milli();
    totals.gpus += weight * request.gpus;
    totals.cpu_milli += weight * request.cpu_milli;
  }
  return totals;
}

double GpuMilliOf(const std::vector<NodeShape>& types, const std::vector<int>& counts) {
  double sum = 0;
  for (size_t t = 0; t < types.size(); ++t) sum += double{kGpuMilli} * types[t].gpus * counts[t];
  return sum;
}

// How much of its CPU the cluster would use if the mix filled 96 % of its GPUs.
double CpuPressure(const std::vector<NodeShape>& types, const std::vector<int>& counts,
                   const Totals& totals) {
  double cpu = 0;
  for (size_t t = 0; t < types.size(); ++t) {
    cpu += static_cast<double>(types[t].cpu_milli) * counts[t];
  }
  if (totals.gpu_milli <= 0 || cpu <= 0) return 0;
  return 0.96 * GpuMilliOf(types, counts) * totals.cpu_milli / totals.gpu_milli / cpu;
}

// 0 up to `from`, 1 from `to` on, straight between.
double Ramp(double x, double from, double to) {
  return std::clamp((x - from) / (to - from), 0.0, 1.0);
}

double Find(const std::vector<std::pair<int, double>>& sorted, int key, double otherwise) {
  const auto at = std::lower_bound(sorted.begin(), sorted.end(), std::make_pair(key, -1e300));
  return at != sorted.end() && at->first == key ? at->second : otherwise;
}

}  // namespace

int PointsOfGain(float milli) { return static_cast<int>(std::floor(milli / kPointMilli + 0.9f)); }

Valuation::Valuation(const std::vector<NodeShape>& types, const std::vector<int>& counts,
                     const std::vector<WeightedRequest>& mix, const ValuationOptions& options,
                     const std::vector<MigKind>& kinds)
    : fragmentation_(mix) {
  const double pressure = CpuPressure(types, counts, TotalsOf(mix));
  // The least that CPU costs anywhere: nothing, unless the mix would use up all of it.
  const double floor = 0.005 * Ramp(pressure, 0.90, 0.95);
  float prices[Lanes::kCount];
  for (int l = 0; l < Lanes::kCount; ++l) {
    const double x = static_cast<double>(l) / (Lanes::kCount - 1);
    prices[l] = static_cast<float>(floor + (kDearestCpu - floor) * x * x);
  }
  cpu_prices_ = Lanes::Load(prices);
  for (const NodeShape& type : types) type_cpu_.push_back(type.cpu_milli);
  PriceSizes(mix, options.size_weight);
  Divide(kinds, mix);
  FillTables(types, mix, options.softness);
  PriceHardware(types, counts, mix, options);
  PriceSlots(mix, options, pressure);
}

void Valuation::PriceSizes(const std::vector<WeightedRequest>& mix, double weight) {
  std::map<int, double> demand;  // by size in steps
  std::map<int, int> sizes;      // milli-GPU to steps
  for (const auto& [request, count] : mix) {
    if (request.cpu_only() || request.whole() || request.mig != 0 || count <= 0) continue;
    const int step = kGpuMilli / kSteps;
    const int steps = (request.gpu_milli + step - 1) / step;
    demand[steps] += count * request.gpus;
    sizes[request.gpu_milli] = steps;
  }
  std::vector<StockDemand> demands;
  for (const auto& [steps, count] : demand) demands.push_back({steps, count});
  const std::vector<double> prices = CuttingStockPrices(kSteps, demands);
  for (const auto& [milli, steps] : sizes) {
    const auto at =
        std::find_if(demands.begin(), demands.end(),
                     [wanted = steps](const StockDemand& d) { return d.size == wanted; });
    const double price = kGpuMilli * prices[static_cast<size_t>(at - demands.begin())];
    size_prices_.emplace_back(milli, price);
    size_values_.emplace_back(milli, milli + weight * (price - milli));
  }
}

double Valuation::size_price(int gpu_milli) const {
  return Find(size_prices_, gpu_milli, gpu_milli);
}

void Valuation::FillTables(const std::vector<NodeShape>& types,
                           const std::vector<WeightedRequest>& mix, double softness) {
  // Workloads that make the same of a GPU are one candidate.
  struct Candidate {
    int steps = 0;
    double value = 0;
    double cpu = 0;  // per GPU
    ModelSet models = kAnyModel;
    float weight = 0;
  };
  struct Key {
    int milli;
    double cpu;
    ModelSet models;
    auto operator<=>(const Key&) const = default;
  };
  std::map<Key, double> weights;
  for (const auto& [request, weight] : mix) {
    if (request.cpu_only() || request.mig != 0 || weight <= 0) continue;
    weights[{request.gpu_milli, static_cast<double>(request.cpu_milli) / request.gpus,
             request.models}] += weight * request.gpus;
  }
  std::vector<Candidate> all;
  for (const auto& [key, weight] : weights) {
    const int step = kGpuMilli / kSteps;
    all.push_back({(key.milli + step - 1) / step, Find(size_values_, key.milli, key.milli), key.cpu,
                   key.models, static_cast<float>(weight)});
  }

  // Models on which the same candidates can run share a table.
  int models = 0;
  for (const NodeShape& type : types) models = std::max(models, type.model + 1);
  std::map<std::pair<std::vector<bool>, const MigKind*>, int> known;
  table_of_.assign(static_cast<size_t>(models), 0);
  const float sharpness = static_cast<float>(1 / softness);
  for (int model = 0; model < models; ++model) {
    const size_t index = static_cast<size_t>(model);
    const Division* division =
        index < divisions_.size() && divisions_[index] ? &*divisions_[index] : nullptr;
    std::vector<bool> runs;
    for (const Candidate& c : all) runs.push_back((c.models >> model & 1) != 0);
    const auto [at, fresh] = known.try_emplace({runs, division ? division->kind : nullptr},
                                               static_cast<int>(known.size()));
    table_of_[static_cast<size_t>(model)] = at->second;
    if (!fresh) continue;

    // Those that differ only in other models they could run on are one here.
    std::map<std::tuple<int, double, double>, float> merged;
    for (size_t i = 0; i < all.size(); ++i) {
      if (runs[i]) merged[{all[i].steps, all[i].value, all[i].cpu}] += all[i].weight;
    }
    std::vector<Candidate> mine;  // ascending in steps
    for (const auto& [key, weight] : merged) {
      mine.push_back({std::get<0>(key), std::get<1>(key), std::get<2>(key), kAnyModel, weight});
    }
    const size_t begin = table_.size();
    table_.resize(begin + static_cast<size_t>(kSteps + 1) * Lanes::kCount, 0.0f);
    std::vector<Lanes> worth(mine.size(), Lanes::Of(0));
    for (int r = 1; r <= kSteps; ++r) {
      float* row = &table_[begin + static_cast<size_t>(r) * Lanes::kCount];
      const Lanes before = Lanes::Load(row - Lanes::kCount);
      Lanes most = Lanes::Of(-1e30f);
      float total = 0;
      size_t count = 0;
      for (; count < mine.size() && mine[count].steps <= r; ++count) {
        const Candidate& c = mine[count];
        // A whole GPU leaves nothing, and takes nothing less than all.
        const Lanes rest =
            Lanes::Load(&table_[begin + static_cast<size_t>(r - c.steps) * Lanes::kCount]);
        worth[count] =
            rest + Lanes::Of(static_cast<float>(c.value)) - cpu_prices_ * static_cast<float>(c.cpu);
        most = Lanes::Larger(most, worth[count]);
        total += c.weight;
      }
      if (count == 0) {
        before.Store(row);
        continue;
      }
      Lanes sum = Lanes::Of(0);
      for (size_t i = 0; i < count; ++i) {
        sum += ((worth[i] - most) * sharpness).Exponential() * mine[i].weight;
      }
      for (int l = 0; l < Lanes::kCount; ++l) {
        const float soft =
            most[l] + static_cast<float>(softness) * std::log(std::max(sum[l], 1e-30f) / total);
        row[l] = std::max({before[l], 0.0f, soft});
      }
    }
    if (division == nullptr) continue;
    // An empty GPU may become one that MIG divides.
    float* empty = &table_[begin + static_cast<size_t>(kSteps) * Lanes::kCount];
    const Lanes divided = division->per_gpu * static_cast<float>(division->valuation.worth({}));
    double others = 0;
    for (const Candidate& c : mine) others += c.weight;
    const double part = division->weight / (division->weight + others);
    for (int l = 0; l < Lanes::kCount; ++l) {
      const double most = std::max(empty[l], divided[l]);
      const double sum = part * std::exp((divided[l] - most) / softness) +
                         (1 - part) * std::exp((empty[l] - most) / softness);
      const float soft = static_cast<float>(most + softness * std::log(sum));
      empty[l] = std::max({0.0f, soft, empty[l - Lanes::kCount]});
    }
  }
}

void Valuation::Divide(const std::vector<MigKind>& kinds, const std::vector<WeightedRequest>& mix) {
  divisions_.resize(kinds.size());
  for (size_t model = 0; model < kinds.size(); ++model) {
    const MigKind& kind = kinds[model];
    std::vector<double> weights(kind.profiles.size(), 0.0);
    double slices = 0;  // asked for
    double cpu = 0;
    double weight_sum = 0;
    for (const auto& [request, weight] : mix) {
      const int profile = request.mig != 0 ? kind.Find(request.mig) : -1;
      if (profile < 0) continue;
      weights[static_cast<size_t>(profile)] += weight;
      slices += weight * kind.profiles[static_cast<size_t>(profile)].compute;
      cpu += weight * request.cpu_milli;
      weight_sum += weight;
    }
    if (slices <= 0) continue;
    std::vector<MigShape> shapes;
    for (const MigRoomOfProfile& profile : kind.profiles) {
      shapes.push_back({profile.compute, profile.slots, {}});
    }
    for (const MigPlace& place : kind.places) {
      shapes[static_cast<size_t>(place.profile)].starts.push_back(std::countr_zero(place.slots));
    }
    const std::vector<double> prior = PriorOf(kind.slots, kind.compute, shapes);
    for (size_t i = 0; i < weights.size(); ++i) weights[i] += prior[i];
    const double cpu_per_gpu = cpu / slices * kind.compute;
    const Lanes costs = cpu_prices_ * static_cast<float>(-cpu_per_gpu);
    const Lanes per_gpu =
        Lanes::Larger(Lanes::Of(0), Lanes::Of(static_cast<float>(kGpuMilli)) + costs);
    divisions_[model] =
        Division{&kind, MigValuation(kind.slots, kind.compute, std::move(shapes), weights), per_gpu,
                 weight_sum};
  }
}

Lanes Valuation::WorthOfDivided(const Division& division, const MigRoom& taken) const {
  return division.per_gpu * static_cast<float>(division.valuation.worth(taken));
}

void Valuation::PriceHardware(const std::vector<NodeShape>& types, const std::vector<int>& counts,
                              const std::vector<WeightedRequest>& mix,
                              const ValuationOptions& options) {
  scarcity_.assign(types.size(), 0.0f);
  const double all = GpuMilliOf(types, counts);
  const double asked = TotalsOf(mix).gpu_milli;
  if (asked <= 0) return;
  std::vector<double> pressure(types.size(), 0.0);
  const auto milli = [&](size_t t) { return double{kGpuMilli} * types[t].gpus * counts[t]; };
  for (const auto& [request, weight] : mix) {
    if (request.cpu_only()) continue;
    const double wanted = weight * request.total_milli() / asked * all;
    double of_models = 0;  // GPU of the models it can run on
    double large = 0;      // of which: on nodes with enough GPUs
    double able = 0;       // of which: that would hold it when empty
    for (size_t t = 0; t < types.size(); ++t) {
      if ((request.models >> types[t].model & 1) == 0) continue;
      of_models += milli(t);
      if (types[t].gpus < request.gpus) continue;
      large += milli(t);
      if (types[t].cpu_milli >= request.cpu_milli && types[t].memory_mib >= request.memory_mib) {
        able += milli(t);
      }
    }
    const bool bound = able > 0 && able < 0.5 * large;
    if (of_models < all) insisting_ += wanted / all;
    for (size_t t = 0; t < types.size(); ++t) {
      if ((request.models >> types[t].model & 1) == 0) continue;
      if (of_models < all) pressure[t] += wanted / of_models;
      if (bound && types[t].gpus >= request.gpus && types[t].cpu_milli >= request.cpu_milli &&
          types[t].memory_mib >= request.memory_mib) {
        pressure[t] += wanted / able;
      }
    }
  }
  for (size_t t = 0; t < types.size(); ++t) {
    if (pressure[t] <= 0) continue;
    scarcity_[t] = static_cast<float>(
        options.scarcity * std::pow(std::min(1.0, pressure[t]), options.scarcity_exponent));
  }
}

void Valuation::PriceSlots(const std::vector<WeightedRequest>& mix, const ValuationOptions& options,
                           double cpu_pressure) {
  // Where CPU is plenty, room for those without a GPU is found anyway.
  const double rate = options.cpu_slots * Ramp(cpu_pressure, 0.76, 0.84);
  room_in_churn_ = static_cast<float>(Ramp(cpu_pressure, 0.90, 0.96));
  const Totals totals = TotalsOf(mix);
  for (const auto& [request, weight] : mix) {
    if (request.cpu_only()) continue;
    memory_per_milli_ += static_cast<float>(
        options.memory * weight * static_cast<double>(request.memory_mib) / totals.gpu_milli);
  }
  std::map<int, double> by_cpu;
  for (const auto& [request, weight] : mix) {
    // Small ones find room between the others; a bonus for them as well makes cliffs.
    if (request.cpu_only() && request.cpu_milli > 1.5 * totals.cpu_milli / totals.gpus) {
      by_cpu[request.cpu_milli] += weight * request.cpu_milli;
    }
  }
  for (const auto& [cpu, sum] : by_cpu) {
    const double worth = rate * cpu * sum / totals.cpu_milli;
    if (worth >= 0.5) cpu_slots_.emplace_back(static_cast<float>(cpu), static_cast<float>(worth));
  }
  const double asked = TotalsOf(mix).gpu_milli;
  if (asked <= 0) return;
  struct Sums {
    double milli = 0;
    double cpu = 0;
    double gpus = 0;
  };
  std::map<int, Sums> by_gpus;
  for (const auto& [request, weight] : mix) {
    if (request.gpus < 2 || !request.whole()) continue;
    Sums& sums = by_gpus[request.gpus];
    sums.milli += weight * request.total_milli();
    sums.cpu += weight * request.cpu_milli;
    sums.gpus += weight * request.gpus;
  }
  // The bonus must stay below the price of what some insist on, or everybody else flees from
  // breaking a node of eight GPUs onto the model that those need.
  const double most = 1.5 + 6.5 * (1 - Ramp(insisting_, 0, 0.02));
  for (const auto& [gpus, sums] : by_gpus) {
    const double share = sums.milli / asked;
    const size_t k = static_cast<size_t>(gpus);
    const double asked_for = k < options.slot_factors.size() ? options.slot_factors[k] : 1;
    const double factor = std::min(asked_for, most);
    slots_.push_back({gpus, factor * options.slots * kGpuMilli * gpus * std::pow(share, 0.75),
                      std::max(1.0, sums.cpu / sums.gpus)});
  }
}

float Valuation::BonusOf(const Node& node, int cpu_free, int whole_free) const {
  double bonus = 0;
  for (const Slots& slots : slots_) {
    if (slots.gpus > node.gpus) continue;
    const double x =
        std::min<double>(whole_free, std::max(0, cpu_free) / slots.cpu_per_gpu) / slots.gpus;
    const double whole = std::floor(x);
    bonus += slots.worth * (whole + (x - whole) * (x - whole));
  }
  return static_cast<float>(bonus);
}

float Valuation::CpuRoom(int cpu_free) const {
  float room = 0;
  for (const auto& [cpu, worth] : cpu_slots_) {
    const float x = static_cast<float>(cpu_free) / cpu;
    const float whole = static_cast<float>(static_cast<int>(x));
    room += worth * (whole + (x - whole) * (x - whole));
  }
  return room;
}

float Valuation::Stranded(int64_t memory, int free_milli) const {
  const float needs = static_cast<float>(free_milli) * memory_per_milli_;
  if (needs <= 0 || needs <= static_cast<float>(memory)) return 0;
  return (needs - static_cast<float>(std::max<int64_t>(memory, 0))) / memory_per_milli_;
}

Valuation::Worth Valuation::Of(const Node& node) const {
  Worth worth{cpu_prices_ * static_cast<float>(node.cpu_free)};
  for (size_t g = 0; g < node.gpus; ++g) {
    worth.lanes += Lanes::Load(Row(node.model, node.gpu_free[g]));
  }
  if (node.mig != nullptr && divisions_[node.model]) {
    for (size_t g = 0; g < node.gpus; ++g) {
      const MigGpu& gpu = node.mig_gpus[g];
      if (gpu.slots == 0 || gpu.fixed) continue;
      worth.lanes += WorthOfDivided(*divisions_[node.model], {gpu.slots, gpu.compute});
    }
  }
  worth.value = worth.lanes.Least();
  worth.bonus = BonusOf(node, node.cpu_free, CountWithFree(node, kGpuMilli));
  worth.cpu_room = CpuRoom(node.cpu_free);
  worth.stranded = Stranded(MemoryInSight(node), node.free_milli());
  return worth;
}

Valuation::Gain Valuation::Best(const Node& node, const Worth& worth, const Request& request,
                                bool churn) const {
  const size_t type = node.type;
  const int cpu_after = node.cpu_free - request.cpu_milli;
  const int whole = CountWithFree(node, kGpuMilli);
  const Lanes rest = worth.lanes - cpu_prices_ * static_cast<float>(request.cpu_milli);
  // What is left of CPU and memory is the same whichever GPUs it gets.
  float room_change = room_weight(churn) * (CpuRoom(cpu_after) - worth.cpu_room);
  if (!churn) {
    room_change += worth.stranded - Stranded(MemoryInSight(node) - request.memory_mib,
                                             node.free_milli() - request.total_milli());
  }
  const auto bonus_change = [&](int whole_after) {
    return churn ? BonusOf(node, cpu_after, whole_after) - worth.bonus : 0.0f;
  };

  if (request.cpu_only()) {
    // It pays for its part of the node.
    const float part = static_cast<float>(node.gpus) * static_cast<float>(request.cpu_milli) /
                       static_cast<float>(std::max(1, type_cpu_[type]));
    return {rest.Least() - worth.value + bonus_change(whole) + room_change - scarcity_[type] * part,
            0};
  }
  const float placed = static_cast<float>(request.total_milli());
  const float fixed = placed - scarcity_[type] * placed / kGpuMilli - worth.value + room_change;
  if (request.whole() || request.gpus > 1) {
    const GpuSet gpus = TightestGpus(node, request);
    Lanes after = rest;
    int whole_after = whole;
    for (size_t g = 0; g < node.gpus; ++g) {
      if ((gpus >> g & 1) == 0) continue;
      const int free = node.gpu_free[g];
      after += Lanes::Load(Row(node.model, free - request.gpu_milli)) -
               Lanes::Load(Row(node.model, free));
      whole_after -= free == kGpuMilli ? 1 : 0;
    }
    return {after.Least() + fixed + bonus_change(whole_after), gpus};
  }
  Gain best{-1e30f, 0};
  for (size_t g = 0; g < node.gpus; ++g) {
    const int free = node.gpu_free[g];
    if (free < request.gpu_milli) continue;
    bool met = false;
    for (size_t before = 0; before < g; ++before) met |= node.gpu_free[before] == free;
    if (met) continue;
    const Lanes after = rest + (Lanes::Load(Row(node.model, free - request.gpu_milli)) -
                                Lanes::Load(Row(node.model, free)));
    const float milli = after.Least() + fixed + bonus_change(whole - (free == kGpuMilli ? 1 : 0));
    if (milli > best.milli) best = {milli, static_cast<GpuSet>(1u << g)};
  }
  return best;
}

Valuation::MigGain Valuation::BestSpot(const Node& node, const Worth& worth, const Request& request,
                                       bool churn) const {
  // One that nobody learned of yet: as tight as can be.
  const MigSpot tightest = TightestSpot(node, request);
  const auto taken = [&](const MigSpot& spot) {
    return static_cast<int>(node.mig_gpus[static_cast<size_t>(spot.gpu)].compute);
  };
  if (node.model >= divisions_.size() || !divisions_[node.model]) {
    return {taken(tightest), tightest};
  }
  const Division& division = *divisions_[node.model];
  const int wanted = division.kind->Find(request.mig);
  const float price = static_cast<float>(kGpuMilli * division.valuation.price(wanted));
  const int cpu_after = node.cpu_free - request.cpu_milli;
  const int whole = CountWithFree(node, kGpuMilli);
  const Lanes rest = worth.lanes - cpu_prices_ * static_cast<float>(request.cpu_milli);
  float fixed = price - worth.value + room_weight(churn) * (CpuRoom(cpu_after) - worth.cpu_room) -
                scarcity_[node.type] * static_cast<float>(request.total_milli()) / kGpuMilli;
  if (!churn) {
    fixed += worth.stranded - Stranded(MemoryInSight(node) - request.memory_mib,
                                       node.free_milli() - request.total_milli());
  }
  MigGain best{INT_MIN, {}};
  MigRoom best_after;
  for (size_t g = 0; g < node.gpus; ++g) {
    const MigGpu& gpu = node.mig_gpus[g];
    // An equal GPU before it gave the same.
    bool met = false;
    for (size_t before = 0; before < g && !met; ++before) {
      met = node.mig_gpus[before] == gpu && node.gpu_free[before] == node.gpu_free[g];
    }
    if (met) continue;
    for (size_t place = 0; place < division.kind->places.size(); ++place) {
      if (!Serves(*division.kind, gpu, place, request.mig) || !node.HasPlace(g, place)) continue;
      const auto& at = division.kind->places[place];
      const auto& profile = division.kind->profiles[static_cast<size_t>(at.profile)];
      const MigRoom after{gpu.slots | uint32_t{at.slots}, gpu.compute + profile.compute};
      float milli = fixed;
      if (gpu.fixed) {
        // What is lost is the instance, at its own price.
        milli +=
            rest.Least() - static_cast<float>(kGpuMilli * division.valuation.price(at.profile));
      } else {
        const bool opened = gpu.slots == 0;
        const Lanes before = opened ? Lanes::Load(Row(node.model, kGpuMilli))
                                    : WorthOfDivided(division, {gpu.slots, gpu.compute});
        milli += (rest + (WorthOfDivided(division, after) - before)).Least();
        if (churn) milli += BonusOf(node, cpu_after, whole - (opened ? 1 : 0)) - worth.bonus;
      }
      const int points = static_cast<int>(std::floor(milli / 100 + 0.9f)) * 16 + gpu.compute;
      if (points < best.points) continue;
      if (points == best.points) {
        // On one GPU, that which leaves the most outlook.
        const bool same_gpu = best.spot.place >= 0 && best.spot.gpu == static_cast<int>(g);
        if (!same_gpu || gpu.fixed ||
            division.valuation.OutlookOf(after) <= division.valuation.OutlookOf(best_after)) {
          continue;
        }
      }
      best = {points, {static_cast<int>(g), static_cast<int>(place)}};
      best_after = after;
    }
  }
  return best;
}

}  // namespace tranche::placement
