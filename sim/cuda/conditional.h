#pragma once

#include "sim/cuda/capture.h"
#include "sim/cuda/library.h"

// Conditions of graphs: numbers that kernels on the GPU change, and nodes that run other graphs
// depending on them. It is when a launch comes to such a node that it is decided, on the host.
namespace tranche::sim::cuda {

// All under the library's lock.

// A conditional node, with the new graphs that are its bodies; `p` learns them.
CUresult ConditionalWork(Library& library, CUDA_CONDITIONAL_NODE_PARAMS* p, NodeWork* work);
// A launch of that graph begins.
void ResetConditions(CUgraph graph);
// 0 when there is no such condition.
unsigned int ConditionValue(CUgraphConditionalHandle condition);
void LowerCondition(CUgraphConditionalHandle condition);

}  // namespace tranche::sim::cuda
