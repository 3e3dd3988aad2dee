#include <errno.h>
#include <sys/mman.h>

#include "limiter/hooks/pools.h"
#include "limiter/launch_gate.h"

// Graphs: work like a kernel, and memory of their own, which the driver takes when a graph is
// instantiated, uploaded or launched, from one store per device.
namespace tranche::limiter {
namespace {

// Graphs within graphs within graphs, at most.
constexpr int kDeepest = 16;

uint64_t MemoryOf(CUgraph graph, int depth);

// What one node takes at most.
uint64_t MemoryOf(CUgraphNode node, int depth) {
  CUgraphNodeType type = CU_GRAPH_NODE_TYPE_EMPTY;
  if (REAL(cuGraphNodeGetType)(node, &type) != CUDA_SUCCESS) return 0;
  CUgraph child = nullptr;
  if (type == CU_GRAPH_NODE_TYPE_GRAPH &&
      REAL(cuGraphChildGraphNodeGetGraph)(node, &child) == CUDA_SUCCESS)
    return MemoryOf(child, depth + 1);
  if (type != CU_GRAPH_NODE_TYPE_MEM_ALLOC) return 0;
  CUDA_MEM_ALLOC_NODE_PARAMS_v1 parameters = {};
  Charge added;
  if (REAL(cuGraphMemAllocNodeGetParams)(node, &parameters) == CUDA_SUCCESS)
    return Granules(parameters.bytesize);
  const bool known = TheState().handles.Find(Kind::kGraphNode, Number(node), &added);
  return known ? Granules(added.bytes) : 0;
}

// What the memory nodes of a graph take at most; 0 for one without.
uint64_t MemoryOf(CUgraph graph, int depth) {
  size_t count = 0;
  if (graph == nullptr || depth > kDeepest ||
      REAL(cuGraphGetNodes)(graph, nullptr, &count) != CUDA_SUCCESS || count == 0)
    return 0;
  const int before = errno;
  void* memory = mmap(nullptr, count * sizeof(CUgraphNode), PROT_READ | PROT_WRITE,
                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  errno = before;
  // Then it may take anything, and will not be launched.
  if (memory == MAP_FAILED) return kTooMuch + 1;
  auto* nodes = static_cast<CUgraphNode*>(memory);
  size_t given = count;
  uint64_t bytes = 0;
  if (REAL(cuGraphGetNodes)(graph, nodes, &given) == CUDA_SUCCESS) {
    for (size_t i = 0; i < count && i < given; ++i) bytes += MemoryOf(nodes[i], depth);
  }
  munmap(memory, count * sizeof(CUgraphNode));
  errno = before;
  return bytes;
}

// Calls instantiate() and remembers what a launch of it may take.
template <typename Instantiate>
CUresult InstantiateGraph(CUgraphExec* exec, CUgraph graph, const Instantiate& instantiate) {
  State& state = TheState();
  if (state.attached == State::kNoSlice) return instantiate();
  const uint64_t bytes = MemoryOf(graph, 0);
  const CUresult answer = instantiate();
  if (answer != CUDA_SUCCESS || bytes == 0) return answer;
  Charge charge;
  charge.bytes = bytes;
  if (state.handles.Put(Kind::kGraphExec, Number(*exec), charge))
    __atomic_fetch_add(&state.graphs_with_memory, 1, __ATOMIC_RELEASE);
  return answer;
}

// Whether what graphs hold on the device has room for one more, nothing being under way.
bool GraphsHave(const Pool& pool, uint64_t bytes) {
  uint64_t holds = 0, used = 0;
  return ReadPool(pool, false, &holds) && ReadPool(pool, true, &used) && holds == pool.charged &&
         holds >= used && holds - used >= bytes;
}

// Calls run(), which launches or uploads. The memory is taken while the graph runs, after the call:
// it is charged before, once per graph, until it can be read off.
template <typename Run>
__attribute__((noinline)) CUresult RunGraphWithMemory(State& state, CUgraphExec exec,
                                                      const Run& run) {
  Charge charge;
  if (!state.handles.Find(Kind::kGraphExec, Number(exec), &charge)) return run();
  const uint64_t epoch = __atomic_load_n(&state.graph_epoch, __ATOMIC_SEQ_CST) + 1;
  if (charge.other == epoch) return run();
  const CUdevice ordinal = CurrentOrdinal();
  Pool* pool = PoolCall::Find(UINT64_MAX - static_cast<uint32_t>(ordinal), ordinal, true);
  if (pool == nullptr) return ordinal < 0 ? run() : CUDA_ERROR_OUT_OF_MEMORY;
  PoolCall growing(pool);
  bool begun = charge.bytes <= kTooMuch && growing.Begin(charge.bytes);
  if (!begun && REAL(cuCtxSynchronize)() == CUDA_SUCCESS) {
    // What earlier launches were charged for may long be free, and serve this one.
    SettlePools(true);
    begun = growing.Begin(charge.bytes);
    if (!begun && GraphsHave(*pool, charge.bytes)) {
      growing.BeginWithin();
      begun = true;
    }
    if (!begun) {
      TrimPools(pool->device, true);
      begun = charge.bytes <= kTooMuch && growing.Begin(charge.bytes);
    }
  }
  if (!begun) {
    Account::OfSlice(pool->device).Count(&TrancheCounters::refused);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  TRANCHE_LABEL(kGraphBegun);
  const CUresult answer = run();
  TRANCHE_LABEL(kGraphRun);
  if (answer != CUDA_SUCCESS) {
    growing.Abandon();
    return answer;
  }
  growing.Keep();
  charge.other = epoch;
  state.handles.Put(Kind::kGraphExec, Number(exec), charge);
  return answer;
}

// Most graphs have none.
template <typename Run>
CUresult RunGraph(CUgraphExec exec, const Run& run) {
  State& state = TheState();
  if (__builtin_expect(__atomic_load_n(&state.graphs_with_memory, __ATOMIC_ACQUIRE) == 0, 1))
    return run();
  return RunGraphWithMemory(state, exec, run);
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
  if (answer == CUDA_SUCCESS && state.attached != State::kNoSlice &&
      state.handles.Take(Kind::kGraphExec, Number(exec), &charge))
    __atomic_fetch_sub(&state.graphs_with_memory, 1, __ATOMIC_RELEASE);
  return answer;
}

HOOK(cuGraphUpload, (CUgraphExec exec, CUstream stream)) {
  return RunGraph(exec, [&] { return REAL(cuGraphUpload)(exec, stream); });
}
HOOK(cuGraphUpload_ptsz, (CUgraphExec exec, CUstream stream)) {
  return RunGraph(exec, [&] { return REAL(cuGraphUpload_ptsz)(exec, stream); });
}
HOOK(cuGraphLaunch, (CUgraphExec exec, CUstream stream)) {
  GATED(GraphKey(exec), Legacy(stream),
        RunGraph(exec, [=] { return REAL(cuGraphLaunch)(exec, stream); }));
}
HOOK(cuGraphLaunch_ptsz, (CUgraphExec exec, CUstream stream)) {
  GATED(GraphKey(exec), PerThread(stream),
        RunGraph(exec, [=] { return REAL(cuGraphLaunch_ptsz)(exec, stream); }));
}

}  // namespace tranche::limiter
