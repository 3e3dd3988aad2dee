#include <algorithm>

#include "sim/cuda/conditional.h"
#include "sim/cuda/graph.h"
#include "sim/cuda/memory.h"
#include "sim/cuda/streams.h"
#include "sim/cuda/work.h"

// Nodes by their parameters: adding any kind, changing them in a graph or in one that is
// instantiated, and bringing the latter up to date with another graph.
namespace tranche::sim::cuda {
namespace {

CUresult CopyWork(const CUDA_MEMCPY3D& copy, NodeWork* work) {
  work->type = CU_GRAPH_NODE_TYPE_MEMCPY;
  work->run = [copy](Stream* on) {
    Call([&](Library& library) { return Copy3D(library, copy); });
    const uint64_t takes = CopyTime(copy);
    if (takes > 0) GiveCopy(on, takes);
  };
  return CUDA_SUCCESS;
}

// Of either version of the parameters.
template <typename Parameters>
CUresult FillWork(const Parameters& p, NodeWork* work) {
  const bool right = (p.elementSize == 1 || p.elementSize == 2 || p.elementSize == 4) &&
                     p.width > 0 && p.width < kMaxBytes && p.height < kMaxBytes >> 20;
  if (!right || p.dst == 0) return CUDA_ERROR_INVALID_VALUE;
  work->type = CU_GRAPH_NODE_TYPE_MEMSET;
  work->run = [=](Stream*) {
    Call([&](Library& library) {
      for (size_t row = 0; row < std::max<size_t>(1, p.height); ++row) {
        const CUdeviceptr to = p.dst + row * p.pitch;
        const Range range = Locate(library, to, p.width * p.elementSize);
        if (range.allocation == nullptr) return CUDA_ERROR_INVALID_VALUE;
        range.allocation->contents->Fill(range.offset, p.value, p.elementSize, p.width);
      }
      return CUDA_SUCCESS;
    });
  };
  return CUDA_SUCCESS;
}

template <typename Parameters>
CUresult HostWork(const Parameters& p, NodeWork* work) {
  if (p.fn == nullptr) return CUDA_ERROR_INVALID_VALUE;
  work->type = CU_GRAPH_NODE_TYPE_HOST;
  work->run = [function = p.fn, data = p.userData](Stream* on) {
    WhenDone(on, [=] { function(data); });
  };
  return CUDA_SUCCESS;
}

CUresult EventWork(CUgraphNodeType type, CUevent event, NodeWork* work) {
  if (Library::Get().events().Find(event) == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  work->type = type;
  work->run = [=](Stream* on) {
    if (type == CU_GRAPH_NODE_TYPE_EVENT_RECORD) {
      cuEventRecord(event, reinterpret_cast<CUstream>(on));
    } else {
      cuStreamWaitEvent(reinterpret_cast<CUstream>(on), event, 0);
    }
  };
  return CUDA_SUCCESS;
}

// Parameters that say what memory they made are written to.
CUresult WorkOf(CUgraphNodeParams* p, NodeWork* work) {
  switch (p->type) {
    case CU_GRAPH_NODE_TYPE_KERNEL:
      return KernelWork(
          {p->kernel.func, p->kernel.gridDimX, p->kernel.gridDimY, p->kernel.gridDimZ,
           p->kernel.blockDimX, p->kernel.blockDimY, p->kernel.blockDimZ, p->kernel.sharedMemBytes,
           p->kernel.kernelParams, p->kernel.extra, p->kernel.kern, p->kernel.ctx},
          work);
    case CU_GRAPH_NODE_TYPE_MEMCPY:
      return CopyWork(p->memcpy.copyParams, work);
    case CU_GRAPH_NODE_TYPE_MEMSET:
      return FillWork(p->memset, work);
    case CU_GRAPH_NODE_TYPE_HOST:
      return HostWork(p->host, work);
    case CU_GRAPH_NODE_TYPE_GRAPH:
      work->type = p->type;
      work->child = p->graph.graph;
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_EMPTY:
      return CUDA_SUCCESS;
    case CU_GRAPH_NODE_TYPE_CONDITIONAL:
      return Call(
          [&](Library& library) { return ConditionalWork(library, &p->conditional, work); });
    case CU_GRAPH_NODE_TYPE_WAIT_EVENT:
      return EventWork(p->type, p->eventWait.event, work);
    case CU_GRAPH_NODE_TYPE_EVENT_RECORD:
      return EventWork(p->type, p->eventRecord.event, work);
    case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
      if (p->alloc.bytesize == 0 || p->alloc.bytesize > kMaxBytes ||
          p->alloc.poolProps.location.type != CU_MEM_LOCATION_TYPE_DEVICE) {
        return CUDA_ERROR_INVALID_VALUE;
      }
      work->type = p->type;
      work->bytes = p->alloc.bytesize;
      work->device = p->alloc.poolProps.location.id;
      return CallOnDevice(work->device, [&](Library& library, const auto&) {
        p->alloc.dptr = work->address = library.NextAddress(work->bytes);
        return CUDA_SUCCESS;
      });
    case CU_GRAPH_NODE_TYPE_MEM_FREE:
      work->type = p->type;
      work->address = p->free.dptr;
      return CUDA_SUCCESS;
    default:
      return CUDA_ERROR_NOT_SUPPORTED;
  }
}

CUresult AddAny(CUgraphNode* made, CUgraph graph, const CUgraphNode* after, size_t count,
                CUgraphNodeParams* params) {
  if (params == nullptr || made == nullptr) return CUDA_ERROR_INVALID_VALUE;
  NodeWork work;
  const CUresult right = WorkOf(params, &work);
  return right == CUDA_SUCCESS ? AddTo(graph, std::move(work), after, count, made) : right;
}

// Of a graph: it must be of that kind already.
CUresult SetNode(CUgraphNode handle, NodeWork work) {
  return Call([&](Library&) {
    Node* node = FindNode(handle, nullptr);
    if (node == nullptr || node->work.type != work.type) return CUDA_ERROR_INVALID_VALUE;
    node->work = std::move(work);
    return CUDA_SUCCESS;
  });
}

// Of a graph that is instantiated. Memory nodes stay as they are.
CUresult SetStep(CUgraphExec handle, CUgraphNode node, NodeWork work) {
  return Call([&](Library&) {
    GraphExec* exec = Execs().Find(handle);
    const auto step =
        exec == nullptr ? std::map<uint64_t, size_t>::iterator{} : exec->step_of.find(Number(node));
    if (exec == nullptr || step == exec->step_of.end()) return CUDA_ERROR_INVALID_VALUE;
    NodeWork& old = exec->steps[step->second];
    if (old.type != work.type || work.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
        work.type == CU_GRAPH_NODE_TYPE_MEM_FREE) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    work.enabled = old.enabled;
    old = std::move(work);
    Summarise(exec);
    return CUDA_SUCCESS;
  });
}

template <typename Make, typename Set>
CUresult Changed(const Make& make, const Set& set) {
  NodeWork work;
  const CUresult right = make(&work);
  return right == CUDA_SUCCESS ? set(std::move(work)) : right;
}

// The nodes of both, in order, must be of the same kinds and depend on the same.
CUresult Update(CUgraphExec handle, CUgraph graph_handle, CUgraphExecUpdateResultInfo* info) {
  return Call([&](Library&) {
    GraphExec* exec = Execs().Find(handle);
    const Graph* graph = FindGraph(graph_handle);
    if (exec == nullptr || graph == nullptr || info == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *info = {};
    const auto refuse = [&](CUgraphExecUpdateResult why, uint64_t node) {
      info->result = why;
      info->errorNode = MakeHandle<CUgraphNode>(node);
      return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
    };
    std::vector<const Node*> order;
    if (!Order(*graph, &order) || order.size() != exec->steps.size())
      return refuse(CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED, 0);
    for (size_t i = 0; i < order.size(); ++i) {
      const NodeWork& now = order[i]->work;
      const NodeWork& before = exec->steps[i];
      if (now.type != before.type || now.type == CU_GRAPH_NODE_TYPE_GRAPH)
        return refuse(CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED, order[i]->handle);
      const bool memory = now.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC;
      if (memory && (now.bytes != before.bytes || now.device != before.device))
        return refuse(CU_GRAPH_EXEC_UPDATE_ERROR_PARAMETERS_CHANGED, order[i]->handle);
    }
    exec->step_of.clear();
    for (size_t i = 0; i < order.size(); ++i) {
      NodeWork& step = exec->steps[i];
      // Memory of its own stays where it is.
      const bool memory =
          step.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC || step.type == CU_GRAPH_NODE_TYPE_MEM_FREE;
      const bool enabled = step.enabled;
      if (!memory) step = order[i]->work;
      step.enabled = enabled;
      exec->step_of[order[i]->handle] = i;
    }
    Summarise(exec);
    return CUDA_SUCCESS;
  });
}

template <typename Handle, typename List>
CUresult Listed(Handle* out, size_t* count, const List& list) {
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const size_t most = out == nullptr ? 0 : std::min(*count, list.size());
  for (size_t i = 0; i < most; ++i) out[i] = MakeHandle<Handle>(list[i]);
  *count = out == nullptr ? list.size() : most;
  return CUDA_SUCCESS;
}

}  // namespace

CUDA_EXPORT CUresult cuGraphAddNode(CUgraphNode* made, CUgraph graph, const CUgraphNode* after,
                                    size_t count, CUgraphNodeParams* params) {
  return AddAny(made, graph, after, count, params);
}
CUDA_EXPORT CUresult cuGraphAddNode_v2(CUgraphNode* made, CUgraph graph, const CUgraphNode* after,
                                       const CUgraphEdgeData*, size_t count,
                                       CUgraphNodeParams* params) {
  return AddAny(made, graph, after, count, params);
}
CUDA_EXPORT CUresult cuGraphAddMemcpyNode(CUgraphNode* made, CUgraph graph,
                                          const CUgraphNode* after, size_t count,
                                          const CUDA_MEMCPY3D* params, CUcontext) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return Changed([&](NodeWork* work) { return CopyWork(*params, work); },
                 [&](NodeWork work) { return AddTo(graph, std::move(work), after, count, made); });
}
CUDA_EXPORT CUresult cuGraphAddMemsetNode(CUgraphNode* made, CUgraph graph,
                                          const CUgraphNode* after, size_t count,
                                          const CUDA_MEMSET_NODE_PARAMS* params, CUcontext) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return Changed([&](NodeWork* work) { return FillWork(*params, work); },
                 [&](NodeWork work) { return AddTo(graph, std::move(work), after, count, made); });
}
CUDA_EXPORT CUresult cuGraphAddEventRecordNode(CUgraphNode* made, CUgraph graph,
                                               const CUgraphNode* after, size_t count,
                                               CUevent event) {
  return Changed(
      [&](NodeWork* work) { return EventWork(CU_GRAPH_NODE_TYPE_EVENT_RECORD, event, work); },
      [&](NodeWork work) { return AddTo(graph, std::move(work), after, count, made); });
}
CUDA_EXPORT CUresult cuGraphAddEventWaitNode(CUgraphNode* made, CUgraph graph,
                                             const CUgraphNode* after, size_t count,
                                             CUevent event) {
  return Changed(
      [&](NodeWork* work) { return EventWork(CU_GRAPH_NODE_TYPE_WAIT_EVENT, event, work); },
      [&](NodeWork work) { return AddTo(graph, std::move(work), after, count, made); });
}

CUDA_EXPORT CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle,
                                                   CUDA_KERNEL_NODE_PARAMS* params) {
  return Call([&](Library&) {
    const Node* node = FindNode(handle, nullptr);
    if (node == nullptr || params == nullptr || node->work.type != CU_GRAPH_NODE_TYPE_KERNEL)
      return CUDA_ERROR_INVALID_VALUE;
    *params = node->work.kernel;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphMemAllocNodeGetParams(CUgraphNode handle,
                                                  CUDA_MEM_ALLOC_NODE_PARAMS* params) {
  return Call([&](Library&) {
    const Node* node = FindNode(handle, nullptr);
    if (node == nullptr || params == nullptr || node->work.type != CU_GRAPH_NODE_TYPE_MEM_ALLOC)
      return CUDA_ERROR_INVALID_VALUE;
    *params = {};
    params->poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    params->poolProps.location = {CU_MEM_LOCATION_TYPE_DEVICE, node->work.device};
    params->bytesize = node->work.bytes;
    params->dptr = node->work.address;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphMemFreeNodeGetParams(CUgraphNode handle, CUdeviceptr* pointer) {
  return Call([&](Library&) {
    const Node* node = FindNode(handle, nullptr);
    if (node == nullptr || pointer == nullptr || node->work.type != CU_GRAPH_NODE_TYPE_MEM_FREE)
      return CUDA_ERROR_INVALID_VALUE;
    *pointer = node->work.address;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuGraphNodeSetParams(CUgraphNode node, CUgraphNodeParams* params) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return Changed([&](NodeWork* work) { return WorkOf(params, work); },
                 [&](NodeWork work) { return SetNode(node, std::move(work)); });
}
CUDA_EXPORT CUresult cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                              CUgraphNodeParams* params) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return Changed([&](NodeWork* work) { return WorkOf(params, work); },
                 [&](NodeWork work) { return SetStep(exec, node, std::move(work)); });
}

#define SET_PARAMS(kind, Parameters, Work)                                         \
  CUDA_EXPORT CUresult cuGraph##kind(CUgraphNode node, const Parameters* params) { \
    if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;                        \
    return Changed([&](NodeWork* work) { return Work; },                           \
                   [&](NodeWork work) { return SetNode(node, std::move(work)); }); \
  }
#define SET_EXEC_PARAMS(kind, Parameters, Work, ...)                                            \
  CUDA_EXPORT CUresult cuGraphExec##kind(CUgraphExec exec, CUgraphNode node,                    \
                                         const Parameters* params __VA_OPT__(, ) __VA_ARGS__) { \
    if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;                                     \
    return Changed([&](NodeWork* work) { return Work; },                                        \
                   [&](NodeWork work) { return SetStep(exec, node, std::move(work)); });        \
  }
SET_PARAMS(KernelNodeSetParams, CUDA_KERNEL_NODE_PARAMS_v1, KernelWork(Current(*params), work))
SET_PARAMS(KernelNodeSetParams_v2, CUDA_KERNEL_NODE_PARAMS, KernelWork(*params, work))
SET_PARAMS(MemcpyNodeSetParams, CUDA_MEMCPY3D, CopyWork(*params, work))
SET_PARAMS(MemsetNodeSetParams, CUDA_MEMSET_NODE_PARAMS, FillWork(*params, work))
SET_PARAMS(HostNodeSetParams, CUDA_HOST_NODE_PARAMS, HostWork(*params, work))
SET_EXEC_PARAMS(KernelNodeSetParams, CUDA_KERNEL_NODE_PARAMS_v1, KernelWork(Current(*params), work))
SET_EXEC_PARAMS(KernelNodeSetParams_v2, CUDA_KERNEL_NODE_PARAMS, KernelWork(*params, work))
SET_EXEC_PARAMS(MemcpyNodeSetParams, CUDA_MEMCPY3D, CopyWork(*params, work), CUcontext)
SET_EXEC_PARAMS(MemsetNodeSetParams, CUDA_MEMSET_NODE_PARAMS, FillWork(*params, work), CUcontext)
SET_EXEC_PARAMS(HostNodeSetParams, CUDA_HOST_NODE_PARAMS, HostWork(*params, work))
#undef SET_PARAMS
#undef SET_EXEC_PARAMS

CUDA_EXPORT CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph,
                                          CUgraphExecUpdateResultInfo* info) {
  return Update(exec, graph, info);
}
CUDA_EXPORT CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode* node,
                                       CUgraphExecUpdateResult* result) {
  CUgraphExecUpdateResultInfo info = {};
  const CUresult updated = Update(exec, graph, &info);
  if (node != nullptr) *node = info.errorNode;
  if (result != nullptr) *result = info.result;
  return updated;
}

CUDA_EXPORT CUresult cuGraphNodeSetEnabled(CUgraphExec handle, CUgraphNode node,
                                           unsigned int enabled) {
  return Call([&](Library&) {
    GraphExec* exec = Execs().Find(handle);
    if (exec == nullptr || !exec->step_of.contains(Number(node))) return CUDA_ERROR_INVALID_VALUE;
    NodeWork& step = exec->steps[exec->step_of[Number(node)]];
    const bool may = step.type == CU_GRAPH_NODE_TYPE_KERNEL ||
                     step.type == CU_GRAPH_NODE_TYPE_MEMCPY ||
                     step.type == CU_GRAPH_NODE_TYPE_MEMSET;
    if (!may) return CUDA_ERROR_INVALID_VALUE;
    step.enabled = enabled != 0;
    Summarise(exec);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphNodeGetEnabled(CUgraphExec handle, CUgraphNode node,
                                           unsigned int* enabled) {
  return Call([&](Library&) {
    GraphExec* exec = Execs().Find(handle);
    if (exec == nullptr || enabled == nullptr || !exec->step_of.contains(Number(node)))
      return CUDA_ERROR_INVALID_VALUE;
    *enabled = exec->steps[exec->step_of[Number(node)]].enabled;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphExecGetFlags(CUgraphExec handle, cuuint64_t* flags) {
  return Call([&](Library&) {
    const GraphExec* exec = Execs().Find(handle);
    if (exec == nullptr || flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *flags = exec->flags;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuGraphClone(CUgraph* clone, CUgraph original) {
  return Call([&](Library& library) {
    const Graph* from = FindGraph(original);
    if (clone == nullptr || from == nullptr) return CUDA_ERROR_INVALID_VALUE;
    auto graph = std::make_unique<Graph>();
    graph->handle = library.NextHandle();
    std::map<uint64_t, uint64_t> renamed;
    for (const auto& [handle, node] : from->nodes) {
      // Memory of a graph cannot be that of two.
      if (node.work.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
          node.work.type == CU_GRAPH_NODE_TYPE_MEM_FREE)
        return CUDA_ERROR_NOT_SUPPORTED;
      renamed[handle] = library.NextHandle();
    }
    for (const auto& [handle, node] : from->nodes) {
      Node copy = node;
      copy.handle = renamed[handle];
      for (uint64_t& other : copy.after) other = renamed[other];
      graph->nodes.emplace(copy.handle, std::move(copy));
    }
    *clone = MakeHandle<CUgraph>(graph->handle);
    Graphs()[graph->handle] = std::move(graph);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphDestroyNode(CUgraphNode handle) {
  return Call([&](Library&) {
    Graph* graph = nullptr;
    if (FindNode(handle, &graph) == nullptr) return CUDA_ERROR_INVALID_VALUE;
    graph->nodes.erase(Number(handle));
    for (auto& [number, node] : graph->nodes) std::erase(node.after, Number(handle));
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphRemoveDependencies(CUgraph handle, const CUgraphNode* from,
                                               const CUgraphNode* to, size_t count) {
  return Call([&](Library&) {
    Graph* graph = FindGraph(handle);
    if (graph == nullptr || (count > 0 && (from == nullptr || to == nullptr)))
      return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; ++i) {
      const auto node = graph->nodes.find(Number(to[i]));
      if (node == graph->nodes.end() || std::erase(node->second.after, Number(from[i])) == 0)
        return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphNodeGetDependencies(CUgraphNode handle, CUgraphNode* nodes,
                                                size_t* count) {
  return Call([&](Library&) {
    const Node* node = FindNode(handle, nullptr);
    return node == nullptr ? CUDA_ERROR_INVALID_VALUE : Listed(nodes, count, node->after);
  });
}
CUDA_EXPORT CUresult cuGraphGetRootNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  return Call([&](Library&) {
    const Graph* graph = FindGraph(handle);
    if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    std::vector<uint64_t> roots;
    for (const auto& [number, node] : graph->nodes) {
      if (node.after.empty()) roots.push_back(number);
    }
    return Listed(nodes, count, roots);
  });
}
CUDA_EXPORT CUresult cuGraphGetEdges(CUgraph handle, CUgraphNode* from, CUgraphNode* to,
                                     size_t* count) {
  return Call([&](Library&) {
    const Graph* graph = FindGraph(handle);
    if (graph == nullptr || count == nullptr || (from == nullptr) != (to == nullptr))
      return CUDA_ERROR_INVALID_VALUE;
    std::vector<uint64_t> begins, ends;
    for (const auto& [number, node] : graph->nodes) {
      for (const uint64_t before : node.after) {
        begins.push_back(before);
        ends.push_back(number);
      }
    }
    size_t again = *count;
    Listed(from, &again, begins);
    return Listed(to, count, ends);
  });
}

}  // namespace tranche::sim::cuda
