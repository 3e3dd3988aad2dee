#pragma once

#include <memory>
#include <string>
#include <vector>

#include "decide/placement/published.h"
#include "decide/placement/random.h"
#include "decide/placement/scheduler.h"
#include "decide/placement/tranche_policy.h"

// Random clusters and workloads for the tests of this folder.
namespace tranche::placement::testing {

inline std::vector<NodeShape> RandomNodes(Random& random, int count) {
  const std::vector<NodeShape> shapes = {{96000, 393216, 8, 0},
                                         {128000, 786432, 8, 1},
                                         {64000, 262144, 2, 2},
                                         {16000, 65536, 1, 2},
                                         {32000, 131072, 4, 0}};
  std::vector<NodeShape> nodes;
  for (int i = 0; i < count; ++i) nodes.push_back(shapes[random.Below(shapes.size())]);
  return nodes;
}

inline Request RandomRequest(Random& random) {
  const int cpu[] = {1000, 3152, 8000, 11900, 32000};
  const int shares[] = {50, 160, 320, 470, 500, 650, 810, 813, 1000, 1000};
  Request request;
  request.cpu_milli = cpu[random.Below(5)];
  request.memory_mib = 1024 << random.Below(7);
  const uint64_t kind = random.Below(12);
  if (kind == 0) return request;
  request.gpus = kind == 1 ? 2 : kind == 2 ? 8 : kind == 3 ? 4 : 1;
  request.gpu_milli = request.gpus > 1 ? kGpuMilli : shares[random.Below(10)];
  if (random.Below(5) == 0) request.models = ModelSet{1} << random.Below(3);
  return request;
}

// The profiles 1g (id 1), 1g with two slots (2), 2g (3), 3g (4), 4g (5), 7g (6) of a GPU with seven
// compute slices and eight memory slots.
inline MigKind SevenSlices() {
  MigKind kind;
  kind.compute = 7;
  kind.slots = 8;
  const std::vector<std::pair<MigRoomOfProfile, std::vector<int>>> table = {
      {{1, 1, 1}, {0, 1, 2, 3, 4, 5, 6}},
      {{2, 1, 2}, {0, 2, 4, 6}},
      {{3, 2, 2}, {0, 2, 4}},
      {{4, 3, 4}, {0, 4}},
      {{5, 4, 4}, {0}},
      {{6, 7, 8}, {0}}};
  for (const auto& [profile, starts] : table) {
    for (const int start : starts) {
      kind.places.push_back({static_cast<int>(kind.profiles.size()),
                             static_cast<uint16_t>(((1u << profile.slots) - 1) << start)});
    }
    kind.profiles.push_back(profile);
  }
  return kind;
}

inline Request InstanceOf(int profile, int cpu_milli = 1000) {
  const int slices[] = {0, 1, 1, 2, 3, 4, 7};
  return {cpu_milli, 1024, 1, (1000 * slices[profile] + 6) / 7, kAnyModel, profile};
}

inline std::vector<WeightedRequest> RandomMix(Random& random, int count) {
  std::vector<WeightedRequest> mix;
  for (int i = 0; i < count; ++i) {
    mix.push_back({RandomRequest(random), 1 + static_cast<double>(random.Below(20))});
  }
  return mix;
}

inline const std::vector<std::string>& AllPolicies() {
  static const std::vector<std::string> names = {"random",  "bestfit", "dotprod", "clustering",
                                                 "packing", "fgd",     "tranche", "tranche, told"};
  return names;
}

inline std::unique_ptr<Policy> MakeNamed(const std::string& name, const Cluster& cluster,
                                         const std::vector<WeightedRequest>& mix) {
  if (name == "random") return MakeRandomPolicy(1);
  if (name == "bestfit") return MakeBestFitPolicy();
  if (name == "dotprod") return MakeDotProductPolicy();
  if (name == "clustering") return MakeClusteringPolicy();
  if (name == "packing") return MakePackingPolicy();
  if (name == "fgd") return MakeFgdPolicy(mix);
  TrancheOptions options;
  if (name == "tranche, told") {
    options.known = mix;
    options.learns = false;
  }
  return MakeTranchePolicy(cluster, options);
}

}  // namespace tranche::placement::testing
