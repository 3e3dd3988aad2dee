#pragma once

#include <map>
#include <memory>
#include <vector>

#include "sim/cuda/capture.h"
#include "sim/cuda/library.h"

namespace tranche::sim::cuda {

struct Node {
  uint64_t handle = 0;
  NodeWork work;
  std::vector<uint64_t> after;  // handles
};

struct Graph {
  uint64_t handle = 0;
  std::map<uint64_t, Node> nodes;  // by handle, so in the order in which they were added
};

// What a launch of a graph does, in order. Lives until it is destroyed.
struct GraphExec {
  std::atomic<bool> alive{false};
  std::vector<NodeWork> steps;
  std::map<uint64_t, size_t> step_of;  // node of the graph -> step
  CUgraph graph = nullptr;             // that it was made of
  bool only_kernels = true;
  uint64_t kernel_ns = 0;  // of all kernels
  uint64_t blocks = 0;
  unsigned long long flags = 0;
};

Slots<GraphExec, 1 << 16>& Execs();
// After its steps changed: what a launch needs to know of all of them.
void Summarise(GraphExec* exec);
// Nodes behind those they depend on; false when they depend on each other.
bool Order(const Graph& graph, std::vector<const Node*>* order);
// Adds a node for that work, with the library's lock.
CUresult AddTo(CUgraph graph, NodeWork work, const CUgraphNode* after, size_t count,
               CUgraphNode* made);
CUresult KernelWork(const CUDA_KERNEL_NODE_PARAMS_v2& params, NodeWork* work);
CUDA_KERNEL_NODE_PARAMS_v2 Current(const CUDA_KERNEL_NODE_PARAMS_v1& params);

// Under the library's lock.
std::map<uint64_t, std::unique_ptr<Graph>>& Graphs();
Graph* FindGraph(CUgraph handle);
Node* FindNode(CUgraphNode handle, Graph** owner);
CUresult AddNode(Library& library, Graph* graph, NodeWork work, const CUgraphNode* after,
                 size_t count, CUgraphNode* made);

}  // namespace tranche::sim::cuda
