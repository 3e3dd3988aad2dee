#include "decide/placement/cluster.h"

#include <algorithm>
#include <map>

namespace tranche::placement {
namespace {

// SplitMix64's finaliser: every bit of the input reaches every bit of the output.
uint64_t Mixed(uint64_t x) {
  x += 0x9e3779b97f4a7c15u;
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
  return x ^ (x >> 31);
}

uint64_t StateOf(const Node& node) {
  uint64_t gpus = 0;  // a sum, so that the order of GPUs does not matter
  for (int g = 0; g < node.gpus; ++g) {
    gpus += Mixed(static_cast<uint64_t>(node.gpu_free[static_cast<size_t>(g)]) + 1);
  }
  const uint64_t rest = static_cast<uint64_t>(node.cpu_free) << 20 |
                        static_cast<uint64_t>(node.type) << 1 | (node.up ? 1 : 0);
  return gpus + Mixed(rest) + 3 * Mixed(static_cast<uint64_t>(MemoryInSight(node)));
}

}  // namespace

int64_t MemoryInSight(const Node& node) {
  return std::min(node.memory_free, node.memory_total / 2);
}

int CountWithFree(const Node& node, int milli) {
  int count = 0;
  for (size_t g = 0; g < node.gpus; ++g) count += node.gpu_free[g] >= milli ? 1 : 0;
  return count;
}

bool Fits(const Node& node, const Request& request) {
  if (!node.up || node.cpu_free < request.cpu_milli || node.memory_free < request.memory_mib) {
    return false;
  }
  if (request.gpus == 0) return true;
  if ((request.models >> node.model & 1) == 0) return false;
  return CountWithFree(node, request.gpu_milli) >= request.gpus;
}

GpuSet TightestGpus(const Node& node, const Request& request) {
  GpuSet chosen = 0;
  for (int taken = 0; taken < request.gpus; ++taken) {
    int best = -1;
    for (int g = 0; g < node.gpus; ++g) {
      const int left = node.gpu_free[static_cast<size_t>(g)];
      if (left < request.gpu_milli || (chosen >> g & 1) != 0) continue;
      if (best < 0 || left < node.gpu_free[static_cast<size_t>(best)]) best = g;
    }
    if (best < 0) return 0;
    chosen = static_cast<GpuSet>(chosen | 1u << best);
  }
  return chosen;
}

Cluster::Cluster(const std::vector<NodeShape>& nodes) {
  std::map<NodeShape, uint16_t> known;
  nodes_.reserve(nodes.size());
  for (const NodeShape& shape : nodes) {
    const auto [at, fresh] = known.try_emplace(shape, static_cast<uint16_t>(types_.size()));
    if (fresh) {
      types_.push_back(shape);
      type_counts_.push_back(0);
    }
    ++type_counts_[at->second];
    Node node;
    node.cpu_free = node.cpu_total = shape.cpu_milli;
    node.memory_free = node.memory_total = shape.memory_mib;
    node.gpus = static_cast<uint8_t>(shape.gpus);
    node.model = static_cast<uint8_t>(shape.model);
    node.type = at->second;
    std::fill_n(node.gpu_free.begin(), shape.gpus, static_cast<int16_t>(kGpuMilli));
    node.state = StateOf(node);
    nodes_.push_back(node);
    total_gpu_milli_ += int64_t{kGpuMilli} * shape.gpus;
    total_cpu_milli_ += shape.cpu_milli;
  }
}

void Cluster::Change(int index, const Request& request, GpuSet gpus, int sign) {
  Node& node = nodes_[static_cast<size_t>(index)];
  node.cpu_free -= sign * request.cpu_milli;
  node.memory_free -= sign * request.memory_mib;
  for (size_t g = 0; g < node.gpus; ++g) {
    if ((gpus >> g & 1) == 0) continue;
    node.gpu_free[g] = static_cast<int16_t>(node.gpu_free[g] - sign * request.gpu_milli);
  }
  if (!request.cpu_only()) {
    uint16_t& running = node.running[request.whole() ? static_cast<size_t>(request.gpus) : 0];
    running = static_cast<uint16_t>(running + sign);
  }
  node.state = StateOf(node);
  used_gpu_milli_ += sign * request.total_milli();
}

void Cluster::Add(int node, const Request& request, GpuSet gpus) { Change(node, request, gpus, 1); }

void Cluster::Remove(int node, const Request& request, GpuSet gpus) {
  Change(node, request, gpus, -1);
}

void Cluster::SetUp(int index, bool up) {
  Node& node = nodes_[static_cast<size_t>(index)];
  node.up = up;
  node.state = StateOf(node);
}

}  // namespace tranche::placement
