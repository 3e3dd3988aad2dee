#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "sim/cuda/objects.h"

// Capturing streams into graphs, for those who give work to streams.
namespace tranche::sim::cuda {

// Work as a node of a graph keeps it.
struct NodeWork {
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  uint64_t cost_ns = 0;
  uint64_t blocks = 0;
  CUDA_KERNEL_NODE_PARAMS_v2 kernel = {};
  // For memory nodes.
  CUdeviceptr address = 0;
  uint64_t bytes = 0;
  int device = 0;
  CUgraph child = nullptr;
  // A kernel that counts, or a conditional node: of which condition, and the bodies of the latter,
  // as graphs and, once instantiated, as steps.
  CUgraphConditionalHandle condition = 0;
  CUgraphConditionalNodeType conditional = CU_GRAPH_COND_TYPE_IF;
  std::shared_ptr<std::vector<CUgraph>> bodies;
  std::vector<std::vector<NodeWork>> inside;
  bool enabled = true;  // of a graph that is instantiated
  // What a launch does when it comes to this node.
  std::function<void(Stream*)> run;
};

// Adds work to what the stream captures, behind what it captured last.
CUresult AddCaptured(Stream* stream, NodeWork work, CUgraphNode* made = nullptr);
// The stream waits for an event that was recorded in a capture: it takes part in it.
CUresult JoinCapture(Stream* stream, const Event& event);

// cuMemAllocAsync and cuMemFreeAsync on a stream that captures: nodes of the graph.
CUresult AllocateCaptured(Stream* stream, uint64_t bytes, CUdeviceptr* pointer);
CUresult FreeCaptured(Stream* stream, CUdeviceptr pointer);

}  // namespace tranche::sim::cuda
