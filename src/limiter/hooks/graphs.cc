#include "limiter/hooks/pools.h"
#include "limiter/launch_gate.h"

// Graphs: work like a kernel, and memory of their own, which the driver takes when a graph is
// instantiated, uploaded or launched, from one store per device.
namespace tranche::limiter {
namespace {

constexpr size_t kNodesAtOnce = 1024;

// What the memory nodes of a graph take at most; 0 for one without.
uint64_t MemoryOf(CUgraph graph) {
  size_t count = 0;
  if (graph == nullptr || REAL(cuGraphGetNodes)(graph, nullptr, &count) != CUDA_SUCCESS ||
      count == 0)
    return 0;
  // On the stack if it fits: what is larger than that is asked in one go all the same, or not at
  // all, since the driver gives the first nodes only.
  CUgraphNode nodes[kNodesAtOnce];
  if (count > kNodesAtOnce) return UINT64_MAX;
  if (REAL(cuGraphGetNodes)(graph, nodes, &count) != CUDA_SUCCESS) return UINT64_MAX;
  uint64_t bytes = 0;
  for (size_t i = 0; i < count && i < kNodesAtOnce; ++i) {
    CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
    if (REAL(cuGraphNodeGetType)(nodes[i], &type) != CUDA_SUCCESS) continue;
    CUDA_MEM_ALLOC_NODE_PARAMS_v1 parameters = {};
    if (type != CU_GRAPH_NODE_TYPE_MEM_ALLOC) continue;
    Charge added;
    if (REAL(cuGraphMemAllocNodeGetParams)(nodes[i], &parameters) == CUDA_SUCCESS)
      bytes += Granules(parameters.bytesize);
    else if (TheState().handles.Find(Kind::kGraphNode, Number(nodes[i]), &added))
      bytes += Granules(added.bytes);
  }
  return bytes;
}

CUdevice CurrentOrdinal() {
  CUdevice ordinal = -1;
  return REAL(cuCtxGetDevice)(&ordinal) == CUDA_SUCCESS ? ordinal : -1;
}

// Calls instantiate() and remembers what a launch of it may take.
template <typename Instantiate>
CUresult InstantiateGraph(CUgraphExec* exec, CUgraph graph, const Instantiate& instantiate) {
  State& state = TheState();
  if (state.attached == State::kNoSlice) return instantiate();
  uint64_t bytes = MemoryOf(graph);
  // A graph too large to be looked at node by node is charged as it grows.
  if (bytes == UINT64_MAX) bytes = kGranule;
  const CUresult answer = instantiate();
  if (answer != CUDA_SUCCESS || bytes == 0) return answer;
  Charge charge;
  charge.bytes = bytes;
  state.handles.Put(Kind::kGraphExec, Number(*exec), charge);
  return answer;
}

// Calls run(), which launches or uploads. The memory is taken while the graph runs, after the call:
// it is charged before, once per graph, until it can be read off.
template <typename Run>
CUresult RunGraph(CUgraphExec exec, const Run& run) {
  State& state = TheState();
  Charge charge;
  if (state.attached == State::kNoSlice ||
      !state.handles.Find(Kind::kGraphExec, Number(exec), &charge))
    return run();
  const uint64_t epoch = __atomic_load_n(&state.graph_epoch, __ATOMIC_SEQ_CST) + 1;
  if (charge.other == epoch) return run();
  const CUdevice ordinal = CurrentOrdinal();
  Pool* pool = PoolCall::Find(UINT64_MAX - static_cast<uint32_t>(ordinal), ordinal, true);
  if (pool == nullptr) return ordinal < 0 ? run() : CUDA_ERROR_OUT_OF_MEMORY;
  PoolCall growing(pool);
  bool begun = charge.bytes <= kTooMuch && growing.Begin(charge.bytes, charge.bytes);
  if (!begun && REAL(cuCtxSynchronize)() == CUDA_SUCCESS) {
    // What earlier launches were charged for may long be free.
    SettlePools(true);
    begun = growing.Begin(charge.bytes, charge.bytes);
  }
  if (!begun) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult answer = run();
  if (answer != CUDA_SUCCESS) {
    growing.Abandon();
    return answer;
  }
  growing.Keep();
  charge.other = epoch;
  state.handles.Put(Kind::kGraphExec, Number(exec), charge);
  return answer;
}

}  // namespace

// A driver may not tell afterwards how large a node is.
HOOK(cuGraphAddMemAllocNode, (CUgraphNode * node, CUgraph graph, const CUgraphNode* dependencies,
                              size_t count, CUDA_MEM_ALLOC_NODE_PARAMS* parameters)) {
  const CUresult answer =
      REAL(cuGraphAddMemAllocNode)(node, graph, dependencies, count, parameters);
  State& state = TheState();
  if (answer != CUDA_SUCCESS || state.attached == State::kNoSlice) return answer;
  Charge charge;
  charge.bytes = parameters->bytesize;
  state.handles.Put(Kind::kGraphNode, Number(*node), charge);
  return answer;
}

HOOK(cuGraphInstantiate,
     (CUgraphExec * exec, CUgraph graph, CUgraphNode* error, char* log, size_t log_bytes)) {
  return InstantiateGraph(
      exec, graph, [&] { return REAL(cuGraphInstantiate)(exec, graph, error, log, log_bytes); });
}
HOOK(cuGraphInstantiate_v2,
     (CUgraphExec * exec, CUgraph graph, CUgraphNode* error, char* log, size_t log_bytes)) {
  return InstantiateGraph(
      exec, graph, [&] { return REAL(cuGraphInstantiate_v2)(exec, graph, error, log, log_bytes); });
}
HOOK(cuGraphInstantiateWithFlags, (CUgraphExec * exec, CUgraph graph, unsigned long long flags)) {
  return InstantiateGraph(exec, graph,
                          [&] { return REAL(cuGraphInstantiateWithFlags)(exec, graph, flags); });
}
HOOK(cuGraphInstantiateWithParams,
     (CUgraphExec * exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* parameters)) {
  return InstantiateGraph(
      exec, graph, [&] { return REAL(cuGraphInstantiateWithParams)(exec, graph, parameters); });
}
HOOK(cuGraphInstantiateWithParams_ptsz,
     (CUgraphExec * exec, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* parameters)) {
  return InstantiateGraph(exec, graph, [&] {
    return REAL(cuGraphInstantiateWithParams_ptsz)(exec, graph, parameters);
  });
}
HOOK(cuGraphExecDestroy, (CUgraphExec exec)) {
  State& state = TheState();
  const CUresult answer = REAL(cuGraphExecDestroy)(exec);
  Charge charge;
  if (answer == CUDA_SUCCESS && state.attached != State::kNoSlice)
    state.handles.Take(Kind::kGraphExec, Number(exec), &charge);
  return answer;
}

HOOK(cuGraphUpload, (CUgraphExec exec, CUstream stream)) {
  return RunGraph(exec, [&] { return REAL(cuGraphUpload)(exec, stream); });
}
HOOK(cuGraphUpload_ptsz, (CUgraphExec exec, CUstream stream)) {
  return RunGraph(exec, [&] { return REAL(cuGraphUpload_ptsz)(exec, stream); });
}
HOOK(cuGraphLaunch, (CUgraphExec exec, CUstream stream)) {
  return Gated({exec}, Legacy(stream),
               [&] { return RunGraph(exec, [&] { return REAL(cuGraphLaunch)(exec, stream); }); });
}
HOOK(cuGraphLaunch_ptsz, (CUgraphExec exec, CUstream stream)) {
  return Gated({exec}, PerThread(stream), [&] {
    return RunGraph(exec, [&] { return REAL(cuGraphLaunch_ptsz)(exec, stream); });
  });
}

}  // namespace tranche::limiter
