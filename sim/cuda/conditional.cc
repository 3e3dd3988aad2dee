#include "sim/cuda/conditional.h"

#include "sim/cuda/graph.h"

namespace tranche::sim::cuda {
namespace {

constexpr unsigned int kAssignDefault = 1;
constexpr unsigned int kMostBodies = 1024;

struct Condition {
  CUgraph graph = nullptr;
  unsigned int at_launch = 0;
  bool reset = false;
  unsigned int value = 0;
};
std::map<uint64_t, Condition>& All() {
  static auto* all = new std::map<uint64_t, Condition>;
  return *all;
}

}  // namespace

CUresult ConditionalWork(Library& library, CUDA_CONDITIONAL_NODE_PARAMS* p, NodeWork* work) {
  const bool one = p->type == CU_GRAPH_COND_TYPE_WHILE, two = p->type == CU_GRAPH_COND_TYPE_IF;
  const unsigned int most = one ? 1 : two ? 2 : kMostBodies;
  if (!All().contains(p->handle) || p->size == 0 || p->size > most ||
      p->type > CU_GRAPH_COND_TYPE_SWITCH) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  work->type = CU_GRAPH_NODE_TYPE_CONDITIONAL;
  work->condition = p->handle;
  work->conditional = p->type;
  work->bodies = std::make_shared<std::vector<CUgraph>>();
  for (unsigned int i = 0; i < p->size; ++i) {
    auto graph = std::make_unique<Graph>();
    graph->handle = library.NextHandle();
    work->bodies->push_back(MakeHandle<CUgraph>(graph->handle));
    Graphs()[graph->handle] = std::move(graph);
  }
  p->phGraph_out = work->bodies->data();
  return CUDA_SUCCESS;
}

void ResetConditions(CUgraph graph) {
  for (auto& [handle, condition] : All())
    if (condition.graph == graph && condition.reset) condition.value = condition.at_launch;
}

unsigned int ConditionValue(CUgraphConditionalHandle condition) {
  const auto found = All().find(condition);
  return found == All().end() ? 0 : found->second.value;
}

void LowerCondition(CUgraphConditionalHandle condition) {
  const auto found = All().find(condition);
  if (found != All().end() && found->second.value > 0) --found->second.value;
}

CUDA_EXPORT CUresult cuGraphConditionalHandleCreate(CUgraphConditionalHandle* out, CUgraph graph,
                                                    CUcontext context, unsigned int at_launch,
                                                    unsigned int flags) {
  return Call([&](Library& library) {
    if (out == nullptr || flags > kAssignDefault || FindGraph(graph) == nullptr)
      return CUDA_ERROR_INVALID_VALUE;
    if (context != nullptr && library.Find(context) == nullptr) return CUDA_ERROR_INVALID_CONTEXT;
    *out = library.NextHandle();
    All()[*out] = {graph, at_launch, flags == kAssignDefault, 0};
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
