#include "stage/simulate/layouts.h"

#include <algorithm>
#include <cmath>

namespace tranche::simulate {
namespace {

using placement::MigKind;
using placement::MigRoomOfProfile;

// The part of a GPU that nobody else can have.
double SizeOf(const MigKind& kind, const MigRoomOfProfile& profile) {
  return std::max(static_cast<double>(profile.compute) / kind.compute,
                  static_cast<double>(profile.slots) / kind.slots);
}

// A layout that keeps `in_use` and holds what is still to be found room for, which it takes from
// `missing` (by profile id).
uint32_t Fill(const MigKind& kind, uint32_t in_use, std::vector<double>* missing) {
  uint32_t layout = in_use;
  uint16_t slots = 0;
  int compute = 0;
  const auto take = [&](size_t place) {
    const MigRoomOfProfile& profile =
        kind.profiles[static_cast<size_t>(kind.places[place].profile)];
    layout |= uint32_t{1} << place;
    slots = static_cast<uint16_t>(slots | kind.places[place].slots);
    compute += profile.compute;
    (*missing)[static_cast<size_t>(profile.id)] -= 1;
  };
  for (size_t place = 0; place < kind.places.size(); ++place) {
    if ((in_use >> place & 1) != 0) take(place);
  }
  // Whoever is missed most, in GPUs, while a whole one of it is missed; then whatever still fits.
  for (const double least : {0.5, 0.0, -1e9}) {
    for (;;) {
      int best = -1;
      double most = 0;
      for (size_t place = 0; place < kind.places.size(); ++place) {
        const auto& profile = kind.profiles[static_cast<size_t>(kind.places[place].profile)];
        const double wanted = (*missing)[static_cast<size_t>(profile.id)];
        const bool fits =
            (slots & kind.places[place].slots) == 0 && compute + profile.compute <= kind.compute;
        if (!fits || wanted <= least) continue;
        // Of what nobody misses, the largest: it serves the smaller ones as well.
        const double value = least < 0 ? profile.slots : wanted * SizeOf(kind, profile);
        if (best >= 0 && value <= most) continue;
        best = static_cast<int>(place);
        most = value;
      }
      if (best < 0) break;
      take(static_cast<size_t>(best));
    }
  }
  return layout;
}

}  // namespace

void FixLayouts(placement::Scheduler& scheduler, const Demand& demand,
                const std::vector<std::vector<uint32_t>>& in_use) {
  struct Gpu {
    int node = 0;
    int gpu = 0;
    uint32_t in_use = 0;
  };
  std::vector<Gpu> divided;
  std::vector<Gpu> idle;
  std::vector<Gpu> others;
  double asked = 0;  // GPUs for instances
  std::vector<double> missing = demand.instances;
  std::vector<bool> counted(missing.size(), false);
  const placement::Cluster& cluster = scheduler.cluster();
  for (int n = 0; n < cluster.size(); ++n) {
    const placement::Node& node = cluster.node(n);
    if (node.mig == nullptr) continue;
    for (const MigRoomOfProfile& profile : node.mig->profiles) {
      const size_t ids = static_cast<size_t>(profile.id) + 1;
      missing.resize(std::max(missing.size(), ids), 0.0);
      counted.resize(missing.size(), false);
    }
    for (const MigRoomOfProfile& profile : node.mig->profiles) {
      const size_t id = static_cast<size_t>(profile.id);
      if (counted[id]) continue;
      counted[id] = true;
      asked += missing[id] * SizeOf(*node.mig, profile);
    }
    for (int g = 0; g < node.gpus; ++g) {
      const auto& gpu = node.mig_gpus[static_cast<size_t>(g)];
      const uint32_t used = in_use[static_cast<size_t>(n)][static_cast<size_t>(g)];
      const bool shared = !gpu.fixed && gpu.slots == 0 && !gpu.down &&
                          node.gpu_free[static_cast<size_t>(g)] < placement::kGpuMilli;
      (used != 0 ? divided : shared ? others : idle).push_back({n, g, used});
    }
  }
  const double gpus = static_cast<double>(divided.size() + idle.size() + others.size());
  const double all = asked + demand.other_gpus;
  const double wanted = all > 0 ? std::ceil(gpus * asked / all - 1e-9) : 0;
  // What is asked for fills those that are divided, and no more.
  for (double& instances : missing) instances *= asked > 0 ? wanted / asked : 0;
  for (const Gpu& gpu : idle) {
    (static_cast<double>(divided.size()) < wanted ? divided : others).push_back(gpu);
  }
  for (const Gpu& gpu : divided) {
    const MigKind& kind = *cluster.node(gpu.node).mig;
    scheduler.FixLayout(gpu.node, gpu.gpu, Fill(kind, gpu.in_use, &missing));
  }
  for (const Gpu& gpu : others) scheduler.FixLayout(gpu.node, gpu.gpu, 0);
}

}  // namespace tranche::simulate
