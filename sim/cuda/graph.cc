#include "sim/cuda/graph.h"

#include <algorithm>
#include <set>

#include "sim/cuda/conditional.h"
#include "sim/cuda/memory.h"
#include "sim/cuda/modules.h"
#include "sim/cuda/streams.h"
#include "sim/cuda/work.h"

// Graphs: made node by node or by capture (capture.cc), instantiated, launched. Memory nodes have
// their address from the start and take memory when a launch comes to them.
namespace tranche::sim::cuda {

std::map<uint64_t, std::unique_ptr<Graph>>& Graphs() {
  static auto* graphs = new std::map<uint64_t, std::unique_ptr<Graph>>;
  return *graphs;
}

Graph* FindGraph(CUgraph handle) {
  const auto found = Graphs().find(Number(handle));
  return found == Graphs().end() ? nullptr : found->second.get();
}

Node* FindNode(CUgraphNode handle, Graph** owner) {
  for (auto& [number, graph] : Graphs()) {
    const auto found = graph->nodes.find(Number(handle));
    if (found == graph->nodes.end()) continue;
    if (owner != nullptr) *owner = graph.get();
    return &found->second;
  }
  return nullptr;
}

CUresult AddNode(Library& library, Graph* graph, NodeWork work, const CUgraphNode* after,
                 size_t count, CUgraphNode* made) {
  Node node;
  node.handle = library.NextHandle();
  node.work = std::move(work);
  for (size_t i = 0; i < count; ++i) {
    if (!graph->nodes.contains(Number(after[i]))) return CUDA_ERROR_INVALID_VALUE;
    node.after.push_back(Number(after[i]));
  }
  if (made != nullptr) *made = MakeHandle<CUgraphNode>(node.handle);
  const uint64_t handle = node.handle;
  graph->nodes.emplace(handle, std::move(node));
  return CUDA_SUCCESS;
}

void FreeGraphMemory(Library& library, int device, uint64_t bytes) {
  library.devices()[static_cast<size_t>(device)].graph_used -= bytes;
}

Slots<GraphExec, 1 << 16>& Execs() {
  static auto* execs = new Slots<GraphExec, 1 << 16>;
  return *execs;
}

bool Order(const Graph& graph, std::vector<const Node*>* order) {
  std::set<uint64_t> done;
  while (order->size() < graph.nodes.size()) {
    const size_t before = order->size();
    for (const auto& [handle, node] : graph.nodes) {
      if (done.contains(handle)) continue;
      const bool ready = std::all_of(node.after.begin(), node.after.end(),
                                     [&](uint64_t other) { return done.contains(other); });
      if (!ready) continue;
      done.insert(handle);
      order->push_back(&node);
    }
    if (order->size() == before) return false;
  }
  return true;
}

void Summarise(GraphExec* exec) {
  exec->only_kernels = true;
  exec->kernel_ns = 0;
  exec->blocks = 0;
  for (const NodeWork& step : exec->steps) {
    if (!step.enabled) continue;
    if (step.type == CU_GRAPH_NODE_TYPE_KERNEL && step.condition == 0) {
      exec->kernel_ns += step.cost_ns;
      exec->blocks = std::max(exec->blocks, step.blocks);
    } else if (step.type != CU_GRAPH_NODE_TYPE_EMPTY) {
      exec->only_kernels = false;
    }
  }
}

CUresult AddTo(CUgraph graph_handle, NodeWork work, const CUgraphNode* after, size_t count,
               CUgraphNode* made) {
  return Call([&](Library& library) {
    Graph* graph = FindGraph(graph_handle);
    if (graph == nullptr || made == nullptr || (after == nullptr && count > 0))
      return CUDA_ERROR_INVALID_VALUE;
    return AddNode(library, graph, std::move(work), after, count, made);
  });
}

CUresult KernelWork(const CUDA_KERNEL_NODE_PARAMS_v2& params, NodeWork* work) {
  const Kernel* kernel =
      params.func != nullptr ? Kernels().Find(params.func) : Kernels().Find(params.kern);
  const uint64_t blocks = uint64_t{params.gridDimX} * params.gridDimY * params.gridDimZ;
  if (kernel == nullptr || blocks == 0) return CUDA_ERROR_INVALID_VALUE;
  work->type = CU_GRAPH_NODE_TYPE_KERNEL;
  work->kernel = params;
  work->blocks = blocks;
  work->cost_ns = kernel->cost_ns;
  if (kernel->cost_is_argument && params.kernelParams != nullptr)
    work->cost_ns = *static_cast<const uint64_t*>(params.kernelParams[0]);
  if (kernel->counts && params.kernelParams != nullptr)
    work->condition = *static_cast<const CUgraphConditionalHandle*>(params.kernelParams[0]);
  return CUDA_SUCCESS;
}

CUDA_KERNEL_NODE_PARAMS_v2 Current(const CUDA_KERNEL_NODE_PARAMS_v1& p) {
  return {p.func,      p.gridDimX,       p.gridDimY,     p.gridDimZ, p.blockDimX, p.blockDimY,
          p.blockDimZ, p.sharedMemBytes, p.kernelParams, p.extra,    nullptr,     nullptr};
}

namespace {

bool Flatten(const Graph& graph, GraphExec* exec) {
  std::vector<const Node*> order;
  if (!Order(graph, &order)) return false;
  for (const Node* node : order) {
    if (node->work.type == CU_GRAPH_NODE_TYPE_GRAPH) {
      const Graph* child = FindGraph(node->work.child);
      if (child == nullptr || !Flatten(*child, exec)) return false;
      continue;
    }
    NodeWork step = node->work;
    if (step.type == CU_GRAPH_NODE_TYPE_CONDITIONAL) {
      for (const CUgraph body : *step.bodies) {
        GraphExec inside;
        const Graph* of = FindGraph(body);
        if (of == nullptr || !Flatten(*of, &inside)) return false;
        // Memory is not for bodies to take.
        for (const NodeWork& within : inside.steps)
          if (within.type == CU_GRAPH_NODE_TYPE_MEM_ALLOC ||
              within.type == CU_GRAPH_NODE_TYPE_MEM_FREE)
            return false;
        step.inside.push_back(std::move(inside.steps));
      }
    }
    exec->step_of[node->handle] = exec->steps.size();
    exec->steps.push_back(std::move(step));
  }
  return true;
}

CUresult Instantiate(CUgraphExec* handle, CUgraph graph_handle, unsigned long long flags) {
  return Call([&](Library&) {
    const Graph* graph = FindGraph(graph_handle);
    if (handle == nullptr || graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
    GraphExec* exec = Execs().Make();
    if (exec == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    exec->flags = flags;
    exec->graph = graph_handle;
    if (!Flatten(*graph, exec)) {
      Execs().Drop(exec);
      return CUDA_ERROR_INVALID_VALUE;
    }
    Summarise(exec);
    *handle = reinterpret_cast<CUgraphExec>(exec);
    return CUDA_SUCCESS;
  });
}

CUresult TakeGraphMemory(Library& library, const NodeWork& step, bool free_first) {
  Library::Device& device = library.devices()[static_cast<size_t>(step.device)];
  if (library.allocations().contains(step.address)) {
    if (!free_first) return CUDA_ERROR_INVALID_VALUE;
    FreeAllocation(library, step.address);
  }
  const uint64_t charged = RoundUp(step.bytes, kGranule);
  if (device.graph_used + charged > device.graph_reserved) {
    uint64_t serial = 0;
    CUresult taken = library.Holder(step.device, &serial);
    const uint64_t more = device.graph_used + charged - device.graph_reserved;
    if (taken == CUDA_SUCCESS) taken = library.Charge(serial, more);
    if (taken != CUDA_SUCCESS) return taken;
    device.graph_reserved += more;
    device.graph_reserved_high = std::max(device.graph_reserved_high, device.graph_reserved);
  }
  device.graph_used += charged;
  device.graph_used_high = std::max(device.graph_used_high, device.graph_used);
  Library::Allocation& allocation = library.allocations()[step.address];
  allocation.kind = Library::Kind::kGraph;
  allocation.bytes = step.bytes;
  allocation.charged = charged;
  allocation.device = step.device;
  return CUDA_SUCCESS;
}

void Give(Stream* stream, uint64_t cost, uint64_t blocks) {
  if (cost > 0) GiveKernel(stream, cost, blocks);
}

CUresult RunEach(const GraphExec& exec, const std::vector<NodeWork>& steps, Stream* stream);

unsigned int ValueOf(const NodeWork& step) {
  unsigned int value = 0;
  Call([&](Library&) {
    value = ConditionValue(step.condition);
    return CUDA_SUCCESS;
  });
  return value;
}

CUresult RunConditional(const GraphExec& exec, const NodeWork& step, Stream* stream) {
  // On a GPU such a loop would never end; here it is the launch that would not.
  constexpr int kMostPasses = 1 << 16;
  const unsigned int value = ValueOf(step);
  size_t body = value;
  if (step.conditional == CU_GRAPH_COND_TYPE_IF) body = value != 0 ? 0 : 1;
  if (step.conditional != CU_GRAPH_COND_TYPE_WHILE)
    return body < step.inside.size() ? RunEach(exec, step.inside[body], stream) : CUDA_SUCCESS;
  for (int pass = 0; ValueOf(step) != 0; ++pass) {
    if (pass == kMostPasses) return CUDA_ERROR_LAUNCH_TIMEOUT;
    const CUresult done = RunEach(exec, step.inside[0], stream);
    if (done != CUDA_SUCCESS) return done;
  }
  return CUDA_SUCCESS;
}

CUresult RunSteps(const GraphExec& exec, Stream* stream) {
  if (exec.only_kernels) {
    Give(stream, exec.kernel_ns, exec.blocks);
    return CUDA_SUCCESS;
  }
  Call([&](Library&) {
    ResetConditions(exec.graph);
    return CUDA_SUCCESS;
  });
  return RunEach(exec, exec.steps, stream);
}

CUresult RunEach(const GraphExec& exec, const std::vector<NodeWork>& steps, Stream* stream) {
  constexpr unsigned long long kAutoFree = CUDA_GRAPH_INSTANTIATE_FLAG_AUTO_FREE_ON_LAUNCH;
  for (const NodeWork& step : steps) {
    if (!step.enabled) continue;
    CUresult done = CUDA_SUCCESS;
    switch (step.type) {
      case CU_GRAPH_NODE_TYPE_KERNEL:
        Give(stream, step.cost_ns, step.blocks);
        if (step.condition != 0) {
          done = Call([&](Library&) {
            LowerCondition(step.condition);
            return CUDA_SUCCESS;
          });
        }
        break;
      case CU_GRAPH_NODE_TYPE_CONDITIONAL:
        done = RunConditional(exec, step, stream);
        break;
      case CU_GRAPH_NODE_TYPE_MEM_ALLOC:
        done = Call([&](Library& library) {
          return TakeGraphMemory(library, step, (exec.flags & kAutoFree) != 0);
        });
        break;
      case CU_GRAPH_NODE_TYPE_MEM_FREE:
        done = Call([&](Library& library) { return FreeAllocation(library, step.address); });
        break;
      default:
        if (step.run) step.run(stream);
    }
    if (done != CUDA_SUCCESS) return done;
  }
  return CUDA_SUCCESS;
}

CUresult AddKernel(CUgraphNode* made, CUgraph graph, const CUgraphNode* after, size_t count,
                   const CUDA_KERNEL_NODE_PARAMS_v2& params) {
  NodeWork work;
  const CUresult right = KernelWork(params, &work);
  return right == CUDA_SUCCESS ? AddTo(graph, std::move(work), after, count, made) : right;
}

}  // namespace

CUDA_EXPORT CUresult cuGraphCreate(CUgraph* handle, unsigned int flags) {
  return Call([&](Library& library) {
    if (handle == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
    auto graph = std::make_unique<Graph>();
    graph->handle = library.NextHandle();
    *handle = MakeHandle<CUgraph>(graph->handle);
    Graphs()[graph->handle] = std::move(graph);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphDestroy(CUgraph handle) {
  return Call([&](Library&) {
    return Graphs().erase(Number(handle)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUDA_EXPORT CUresult cuGraphAddKernelNode(CUgraphNode* made, CUgraph graph,
                                          const CUgraphNode* after, size_t count,
                                          const CUDA_KERNEL_NODE_PARAMS_v1* params) {
  return params == nullptr ? CUDA_ERROR_INVALID_VALUE
                           : AddKernel(made, graph, after, count, Current(*params));
}
CUDA_EXPORT CUresult cuGraphAddKernelNode_v2(CUgraphNode* made, CUgraph graph,
                                             const CUgraphNode* after, size_t count,
                                             const CUDA_KERNEL_NODE_PARAMS* params) {
  return params == nullptr ? CUDA_ERROR_INVALID_VALUE
                           : AddKernel(made, graph, after, count, *params);
}
CUDA_EXPORT CUresult cuGraphAddEmptyNode(CUgraphNode* made, CUgraph graph, const CUgraphNode* after,
                                         size_t count) {
  return AddTo(graph, NodeWork{}, after, count, made);
}
CUDA_EXPORT CUresult cuGraphAddHostNode(CUgraphNode* made, CUgraph graph, const CUgraphNode* after,
                                        size_t count, const CUDA_HOST_NODE_PARAMS* params) {
  if (params == nullptr || params->fn == nullptr) return CUDA_ERROR_INVALID_VALUE;
  NodeWork work;
  work.type = CU_GRAPH_NODE_TYPE_HOST;
  work.run = [p = *params](Stream* on) { WhenDone(on, [p] { p.fn(p.userData); }); };
  return AddTo(graph, std::move(work), after, count, made);
}
CUDA_EXPORT CUresult cuGraphAddChildGraphNode(CUgraphNode* made, CUgraph graph,
                                              const CUgraphNode* after, size_t count,
                                              CUgraph child) {
  NodeWork work;
  work.type = CU_GRAPH_NODE_TYPE_GRAPH;
  work.child = child;
  return AddTo(graph, std::move(work), after, count, made);
}
CUDA_EXPORT CUresult cuGraphAddMemAllocNode(CUgraphNode* made, CUgraph graph,
                                            const CUgraphNode* after, size_t count,
                                            CUDA_MEM_ALLOC_NODE_PARAMS* params) {
  if (params == nullptr || params->bytesize == 0 || params->bytesize > kMaxBytes ||
      params->poolProps.location.type != CU_MEM_LOCATION_TYPE_DEVICE) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  NodeWork work;
  work.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC;
  work.bytes = params->bytesize;
  work.device = params->poolProps.location.id;
  const CUresult placed = CallOnDevice(work.device, [&](Library& library, const auto&) {
    work.address = library.NextAddress(work.bytes);
    return CUDA_SUCCESS;
  });
  if (placed != CUDA_SUCCESS) return placed;
  params->dptr = work.address;
  return AddTo(graph, std::move(work), after, count, made);
}
CUDA_EXPORT CUresult cuGraphAddMemFreeNode(CUgraphNode* made, CUgraph graph,
                                           const CUgraphNode* after, size_t count,
                                           CUdeviceptr pointer) {
  NodeWork work;
  work.type = CU_GRAPH_NODE_TYPE_MEM_FREE;
  work.address = pointer;
  return AddTo(graph, std::move(work), after, count, made);
}
CUDA_EXPORT CUresult cuGraphAddDependencies(CUgraph handle, const CUgraphNode* from,
                                            const CUgraphNode* to, size_t count) {
  return Call([&](Library&) {
    Graph* graph = FindGraph(handle);
    if (graph == nullptr || (count > 0 && (from == nullptr || to == nullptr)))
      return CUDA_ERROR_INVALID_VALUE;
    for (size_t i = 0; i < count; ++i) {
      const auto node = graph->nodes.find(Number(to[i]));
      if (node == graph->nodes.end() || !graph->nodes.contains(Number(from[i])))
        return CUDA_ERROR_INVALID_VALUE;
      node->second.after.push_back(Number(from[i]));
    }
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  return Call([&](Library&) {
    const Graph* graph = FindGraph(handle);
    if (graph == nullptr || count == nullptr) return CUDA_ERROR_INVALID_VALUE;
    size_t i = 0;
    for (const auto& [number, node] : graph->nodes) {
      if (nodes != nullptr && i < *count) nodes[i] = MakeHandle<CUgraphNode>(number);
      ++i;
    }
    *count = nodes == nullptr ? i : std::min(*count, i);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType* type) {
  return Call([&](Library&) {
    const Node* node = FindNode(handle, nullptr);
    if (node == nullptr || type == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *type = node->work.type;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuGraphInstantiate(CUgraphExec* exec, CUgraph graph, CUgraphNode*, char*,
                                        size_t) {
  return Instantiate(exec, graph, 0);
}
CUDA_EXPORT CUresult cuGraphInstantiate_v2(CUgraphExec* exec, CUgraph graph, CUgraphNode*, char*,
                                           size_t) {
  return Instantiate(exec, graph, 0);
}
CUDA_EXPORT CUresult cuGraphInstantiateWithFlags(CUgraphExec* exec, CUgraph graph,
                                                 unsigned long long flags) {
  return Instantiate(exec, graph, flags);
}
CUDA_EXPORT CUresult cuGraphInstantiateWithParams(CUgraphExec* exec, CUgraph graph,
                                                  CUDA_GRAPH_INSTANTIATE_PARAMS* params) {
  if (params == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult made = Instantiate(exec, graph, params->flags);
  params->hErrNode_out = nullptr;
  params->result_out =
      made == CUDA_SUCCESS ? CUDA_GRAPH_INSTANTIATE_SUCCESS : CUDA_GRAPH_INSTANTIATE_ERROR;
  return made;
}
CUDA_EXPORT CUresult cuGraphExecDestroy(CUgraphExec handle) {
  return Call([&](Library&) {
    GraphExec* exec = Execs().Find(handle);
    if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
    Execs().Drop(exec);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuGraphUpload(CUgraphExec handle, CUstream stream) {
  if (Execs().Find(handle) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return FindStream(stream) == nullptr ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}
CUDA_EXPORT CUresult cuGraphLaunch(CUgraphExec handle, CUstream stream_handle) {
  const GraphExec* exec = Execs().Find(handle);
  if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Stream* stream = FindStream(stream_handle);
  if (stream == nullptr)
    return ContextStack().empty() ? CUDA_ERROR_INVALID_CONTEXT : CUDA_ERROR_INVALID_HANDLE;
  if (stream->capture.load(std::memory_order_acquire) != nullptr)
    return CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED;
  if (stream->gated.load(std::memory_order_acquire)) {
    Perform(stream, [=] { RunSteps(*exec, stream); });
    return CUDA_SUCCESS;
  }
  const CUresult given = RunSteps(*exec, stream);
  Spend(kGraphLaunchTakes);
  return given;
}

CUDA_EXPORT CUresult cuDeviceGetGraphMemAttribute(CUdevice number, CUgraphMem_attribute attribute,
                                                  void* value) {
  return CallOnDevice(number, [&](Library&, const Library::Device& device) {
    if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
    auto* bytes = static_cast<cuuint64_t*>(value);
    switch (attribute) {
      case CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT:
        *bytes = device.graph_used;
        return CUDA_SUCCESS;
      case CU_GRAPH_MEM_ATTR_USED_MEM_HIGH:
        *bytes = device.graph_used_high;
        return CUDA_SUCCESS;
      case CU_GRAPH_MEM_ATTR_RESERVED_MEM_CURRENT:
        *bytes = device.graph_reserved;
        return CUDA_SUCCESS;
      case CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH:
        *bytes = device.graph_reserved_high;
        return CUDA_SUCCESS;
    }
    return CUDA_ERROR_INVALID_VALUE;
  });
}
CUDA_EXPORT CUresult cuDeviceSetGraphMemAttribute(CUdevice number, CUgraphMem_attribute attribute,
                                                  void* value) {
  return CallOnDevice(number, [&](Library&, Library::Device& device) {
    if (value == nullptr || *static_cast<cuuint64_t*>(value) != 0) return CUDA_ERROR_INVALID_VALUE;
    if (attribute == CU_GRAPH_MEM_ATTR_USED_MEM_HIGH) {
      device.graph_used_high = device.graph_used;
    } else if (attribute == CU_GRAPH_MEM_ATTR_RESERVED_MEM_HIGH) {
      device.graph_reserved_high = device.graph_reserved;
    } else {
      return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuDeviceGraphMemTrim(CUdevice number) {
  return CallOnDevice(number, [&](Library& library, Library::Device& device) {
    const uint64_t unused = device.graph_reserved - device.graph_used;
    if (device.holder != 0) library.Discharge(device.holder, unused);
    device.graph_reserved = device.graph_used;
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
