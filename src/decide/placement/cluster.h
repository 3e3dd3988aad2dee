#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "decide/placement/mig_kind.h"

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
  // Id of the MIG profile that it wants an instance of, on one GPU; 0 = none. `gpu_milli` is then
  // about its part of the compute slices, and `models` are those that have the profile.
  int mig = 0;

  int total_milli() const { return gpus * gpu_milli; }
  bool cpu_only() const { return gpus == 0; }
  bool whole() const { return gpu_milli == kGpuMilli && mig == 0; }
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
  // For shares and whole GPUs: nothing of one that is in MIG mode.
  std::array<int16_t, kMaxGpusPerNode> gpu_free{};
  // Running workloads by what they ask of GPUs: [0] a share, [k] k whole GPUs.
  std::array<uint16_t, kMaxGpusPerNode + 1> running{};
  // Equal for nodes that are equal in type, free CPU, free GPUs and MemoryInSight; the order of the
  // GPUs does not matter.
  uint64_t state = 0;
  const MigKind* mig = nullptr;  // the cluster's; absent where MIG cannot divide them
  std::array<MigGpu, kMaxGpusPerNode> mig_gpus{};

  // With the compute slices that instances of MIG left over.
  int free_milli() const {
    int sum = 0;
    for (int g = 0; g < gpus; ++g) sum += gpu_free[static_cast<size_t>(g)];
    if (mig != nullptr) {
      for (size_t g = 0; g < gpus; ++g) sum += mig_free_milli(g);
    }
    return sum;
  }
  // Compute slices of a GPU in MIG mode that nobody has; 0 of any other.
  int mig_free_milli(size_t g) const {
    const MigGpu& gpu = mig_gpus[g];
    if (mig == nullptr || gpu.down || (gpu.slots == 0 && !gpu.fixed)) return 0;
    return kGpuMilli * (mig->compute - gpu.compute) / mig->compute;
  }
  // Whether an instance at that place (index into mig->places) may be had on GPU `g`.
  bool HasPlace(size_t g, size_t place) const;
};

// Free memory as far as it may be short: no more than half of the node's.
int64_t MemoryInSight(const Node& node);
// GPUs of the node that have `milli` free.
int CountWithFree(const Node& node, int milli);
bool Fits(const Node& node, const Request& request);
// Whether an instance at `place` of that kind would do for who asks for the profile `id`: it is one
// of that profile or, where layouts are fixed, one that is at least as large.
bool Serves(const MigKind& kind, const MigGpu& gpu, size_t place, int id);
// A GPU and a place on it for an instance; place -1 where there is none.
struct MigSpot {
  int gpu = 0;
  int place = -1;
};
// Of the GPUs that have room, the one with the most compute slices taken; there the smallest
// instance that serves, the lowest place among equals.
MigSpot TightestSpot(const Node& node, const Request& request);
// The node after the request took (sign 1) or gave back (-1) those GPUs, but for its `state`.
void Take(Node* node, const Request& request, GpuSet gpus, int place, int sign);
// Of the GPUs that have enough left, those with the least; the lowest index among equals.
GpuSet TightestGpus(const Node& node, const Request& request);

// Nodes and what is free on them. Their order means something: among nodes that are equally good,
// policies take the first.
class Cluster {
 public:
  // Shapes within the limits above; the reader of a file has checked them.
  // `kinds`: by model; models beyond it cannot be divided by MIG.
  explicit Cluster(const std::vector<NodeShape>& nodes, std::vector<MigKind> kinds = {});

  int size() const { return static_cast<int>(nodes_.size()); }
  const Node& node(int index) const { return nodes_[static_cast<size_t>(index)]; }
  const std::vector<Node>& nodes() const { return nodes_; }

  // Distinct shapes, and how many nodes have each.
  const std::vector<NodeShape>& types() const { return types_; }
  const std::vector<int>& type_counts() const { return type_counts_; }
  int64_t total_gpu_milli() const { return total_gpu_milli_; }
  int64_t total_cpu_milli() const { return total_cpu_milli_; }
  int64_t used_gpu_milli() const {
    return used_gpu_milli_ + used_mig_parts_ * kGpuMilli / kMigParts;
  }
  const std::vector<MigKind>& kinds() const { return *kinds_; }

  // The request must fit there. `place`: of its MIG instance.
  void Add(int node, const Request& request, GpuSet gpus, int place = -1);
  void Remove(int node, const Request& request, GpuSet gpus, int place = -1);
  // A node that is down keeps what runs on it until it is removed, and takes nothing.
  void SetUp(int node, bool up);
  // One GPU of a node, on which nothing runs.
  void SetGpuUp(int node, int gpu, bool up);
  // From now on only these places exist on the GPU, and nobody gets a share or all of it; those in
  // use are among them, and nothing but instances of MIG runs on it. No place at all: shares and
  // whole GPUs only.
  void FixLayout(int node, int gpu, uint32_t places);

 private:
  // A part of a GPU that every number of compute slices divides.
  static constexpr int64_t kMigParts = 28;

  void Change(int index, const Request& request, GpuSet gpus, int place, int sign);

  std::vector<Node> nodes_;
  std::vector<NodeShape> types_;
  std::vector<int> type_counts_;
  int64_t total_gpu_milli_ = 0;
  int64_t total_cpu_milli_ = 0;
  int64_t used_gpu_milli_ = 0;
  int64_t used_mig_parts_ = 0;
  std::shared_ptr<const std::vector<MigKind>> kinds_;  // shared by copies: nodes point into it
};

}  // namespace tranche::placement
