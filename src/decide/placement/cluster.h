#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace tranche::placement {

constexpr int kGpuMilli = 1000;      // a whole GPU
constexpr int kMaxGpusPerNode = 16;  // what GpuSet and Node hold
constexpr int kMaxModels = 64;       // what ModelSet holds

// Bit i is GPU i of a node.
using GpuSet = uint16_t;
// Bit i is the model with index i.
using ModelSet = uint64_t;
constexpr ModelSet kAnyModel = ~ModelSet{0};

// What a node has when it is empty.
struct NodeShape {
  int cpu_milli = 0;
  int64_t memory_mib = 0;
  int gpus = 0;
  int model = 0;
  auto operator<=>(const NodeShape&) const = default;
};

// What one workload needs, all of it on one node: `gpus` GPUs with `gpu_milli` of each. Workloads
// that ask for the same are of one class.
struct Request {
  int cpu_milli = 0;
  int64_t memory_mib = 0;
  int gpus = 0;
  int gpu_milli = 0;            // of each GPU, 1..1000; 0 where gpus is 0
  ModelSet models = kAnyModel;  // which it can run on; of no meaning where gpus is 0

  int total_milli() const { return gpus * gpu_milli; }
  bool cpu_only() const { return gpus == 0; }
  bool whole() const { return gpu_milli == kGpuMilli; }
  auto operator<=>(const Request&) const = default;
};

// A node as it is now.
struct Node {
  int cpu_free = 0;
  int cpu_total = 0;
  int64_t memory_free = 0;
  int64_t memory_total = 0;
  uint8_t gpus = 0;
  uint8_t model = 0;
  bool up = true;
  uint16_t type = 0;  // index into Cluster::types()
  std::array<int16_t, kMaxGpusPerNode> gpu_free{};
  // Running workloads by what they ask of GPUs: [0] a share, [k] k whole GPUs.
  std::array<uint16_t, kMaxGpusPerNode + 1> running{};
  // Equal for nodes that are equal in type, free CPU, free GPUs and MemoryInSight; the order of the
  // GPUs does not matter.
  uint64_t state = 0;

  int free_milli() const {
    int sum = 0;
    for (int g = 0; g < gpus; ++g) sum += gpu_free[static_cast<size_t>(g)];
    return sum;
  }
};

// Free memory as far as it may be short: no more than half of the node's.
int64_t MemoryInSight(const Node& node);
// GPUs of the node that have `milli` free.
int CountWithFree(const Node& node, int milli);
bool Fits(const Node& node, const Request& request);
// Of the GPUs that have enough left, those with the least; the lowest index among equals.
GpuSet TightestGpus(const Node& node, const Request& request);

// Nodes and what is free on them. Their order means something: among nodes that are equally good,
// policies take the first.
class Cluster {
 public:
  // Shapes within the limits above; the reader of a file has checked them.
  explicit Cluster(const std::vector<NodeShape>& nodes);

  int size() const { return static_cast<int>(nodes_.size()); }
  const Node& node(int index) const { return nodes_[static_cast<size_t>(index)]; }
  const std::vector<Node>& nodes() const { return nodes_; }

  // Distinct shapes, and how many nodes have each.
  const std::vector<NodeShape>& types() const { return types_; }
  const std::vector<int>& type_counts() const { return type_counts_; }
  int64_t total_gpu_milli() const { return total_gpu_milli_; }
  int64_t total_cpu_milli() const { return total_cpu_milli_; }
  int64_t used_gpu_milli() const { return used_gpu_milli_; }

  // The request must fit there.
  void Add(int node, const Request& request, GpuSet gpus);
  void Remove(int node, const Request& request, GpuSet gpus);
  // A node that is down keeps what runs on it until it is removed, and takes nothing.
  void SetUp(int node, bool up);

 private:
  void Change(int index, const Request& request, GpuSet gpus, int sign);

  std::vector<Node> nodes_;
  std::vector<NodeShape> types_;
  std::vector<int> type_counts_;
  int64_t total_gpu_milli_ = 0;
  int64_t total_cpu_milli_ = 0;
  int64_t used_gpu_milli_ = 0;
};

}  // namespace tranche::placement
