#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "catalog/catalog.h"
#include "decide/geometry/mig_geometry.h"

// For tests only: the rules of MIG said once more, in the plainest way, and answers found by trying
// everything. Shares no code with the engine that it is held against.
namespace tranche::brute {

using Set = std::set<PlacedProfile>;

inline int MostOf(const std::vector<MigProfile>& table, int EngineCounts::*engine) {
  int most = 0;
  for (const MigProfile& profile : table)
    most = std::max(most, profile.engines.*engine * profile.max_instances);
  return most;
}

inline bool Legal(const std::vector<MigProfile>& table,
                  const std::vector<PlacedProfile>& instances) {
  std::set<int> slots;
  std::vector<int> count(table.size(), 0);
  int slices = 0, dec = 0, enc = 0, jpeg = 0, ofa = 0, all_slices = 0;
  for (const MigProfile& profile : table) all_slices = std::max(all_slices, profile.compute_slices);
  for (const PlacedProfile& instance : instances) {
    const MigProfile& profile = table.at(static_cast<size_t>(instance.profile));
    bool listed = false;
    for (const MigPlacement& placement : profile.placements)
      listed |= placement == instance.placement;
    if (!listed) return false;
    for (int i = 0; i < instance.placement.size; ++i) {
      if (!slots.insert(instance.placement.start + i).second) return false;
    }
    if (++count[static_cast<size_t>(instance.profile)] > profile.max_instances) return false;
    slices += profile.compute_slices;
    dec += profile.engines.decoder;
    enc += profile.engines.encoder;
    jpeg += profile.engines.jpeg;
    ofa += profile.engines.ofa;
  }
  return slices <= all_slices && dec <= MostOf(table, &EngineCounts::decoder) &&
         enc <= MostOf(table, &EngineCounts::encoder) &&
         jpeg <= MostOf(table, &EngineCounts::jpeg) && ofa <= MostOf(table, &EngineCounts::ofa);
}

inline bool Legal(const std::vector<MigProfile>& table, const Set& set) {
  return Legal(table, std::vector<PlacedProfile>(set.begin(), set.end()));
}

inline std::vector<PlacedProfile> Pairs(const std::vector<MigProfile>& table,
                                        const std::vector<int>& profiles) {
  std::vector<PlacedProfile> pairs;
  for (int profile : profiles) {
    for (const MigPlacement& placement : table.at(static_cast<size_t>(profile)).placements) {
      pairs.push_back({profile, placement});
    }
  }
  return pairs;
}

// Every legal set of (profile, placement) pairs, the empty one included: each pair is in or out.
inline std::vector<Set> AllSets(const std::vector<MigProfile>& table,
                                const std::vector<int>& profiles) {
  const std::vector<PlacedProfile> pairs = Pairs(table, profiles);
  std::vector<Set> sets;
  Set current;
  const std::function<void(size_t)> decide = [&](size_t index) {
    if (index == pairs.size()) {
      sets.push_back(current);
      return;
    }
    decide(index + 1);
    current.insert(pairs[index]);
    if (Legal(table, current)) decide(index + 1);
    current.erase(pairs[index]);
  };
  decide(0);
  return sets;
}

// Those to which no pair can be added.
inline std::set<Set> MaximalSets(const std::vector<MigProfile>& table,
                                 const std::vector<int>& profiles) {
  const std::vector<PlacedProfile> pairs = Pairs(table, profiles);
  std::set<Set> maximal;
  for (const Set& set : AllSets(table, profiles)) {
    const bool grows = std::any_of(pairs.begin(), pairs.end(), [&](const PlacedProfile& pair) {
      Set more = set;
      return more.insert(pair).second && Legal(table, more);
    });
    if (!grows) maximal.insert(set);
  }
  return maximal;
}

// The fewest of `wanted` that must move, over every assignment of placements; absent when there is
// none.
inline std::optional<int> FewestMoves(
    const std::vector<MigProfile>& table, std::vector<PlacedProfile> fixed,
    const std::vector<std::pair<int, std::optional<MigPlacement>>>& wanted) {
  std::optional<int> best;
  const std::function<void(size_t, int)> place = [&](size_t index, int moves) {
    if (best && moves >= *best) return;
    if (index == wanted.size()) {
      best = moves;
      return;
    }
    const auto& [profile, at] = wanted[index];
    for (const MigPlacement& placement : table.at(static_cast<size_t>(profile)).placements) {
      fixed.push_back({profile, placement});
      if (Legal(table, fixed)) place(index + 1, moves + (at && *at != placement ? 1 : 0));
      fixed.pop_back();
    }
  };
  place(0, 0);
  return best;
}

// The most instances of one profile that can stand beside `fixed`: each of its placements is in or
// out.
inline int MostBeside(const std::vector<MigProfile>& table, std::vector<PlacedProfile> fixed,
                      int profile) {
  const std::vector<PlacedProfile> pairs = Pairs(table, {profile});
  int most = 0;
  const std::function<void(size_t, int)> decide = [&](size_t index, int count) {
    most = std::max(most, count);
    if (index == pairs.size()) return;
    decide(index + 1, count);
    fixed.push_back(pairs[index]);
    if (Legal(table, fixed)) decide(index + 1, count + 1);
    fixed.pop_back();
  };
  decide(0, 0);
  return most;
}

// Fixtures: every MIG table of the catalog.
inline std::shared_ptr<const Catalog> LoadedCatalog() {
  static const std::shared_ptr<const Catalog> catalog = Catalog::Load().value();
  return catalog;
}

inline std::vector<const CatalogGpu*> MigGpus() {
  std::vector<const CatalogGpu*> gpus;
  for (const CatalogGpu& gpu : LoadedCatalog()->gpus()) {
    if (gpu.mig_capable) gpus.push_back(&gpu);
  }
  return gpus;
}

inline MigGeometry GeometryOf(const std::string& gpu) {
  return MigGeometry::Make(LoadedCatalog()->FindGpu(gpu).value()->mig_profiles).value();
}

}  // namespace tranche::brute
