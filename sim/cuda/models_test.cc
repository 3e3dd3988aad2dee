// Graphs by their parameters, copies of boxes, what reaches between GPUs, memory of modules, and
// memory from elsewhere.
#include <fcntl.h>

#include <atomic>
#include <cstring>
#include <numeric>
#include <random>
#include <vector>

#include "sim/test/cuda_fixture.h"

namespace tranche::sim {
namespace {

constexpr char kImage[] =
    "tranche-kernels 1\n"
    "kernel short 1000000\n"
    "kernel long 20000000\n"
    "global table 6291456\n"
    "global flag 4\n"
    "code 4194304\n"
    "kernel next 1000000 counts\n";

class CudaModels : public CudaProcess {
 protected:
  static CUfunction Function(const char* name) {
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    EXPECT_EQ(cuModuleLoadData(&module, kImage), CUDA_SUCCESS);
    EXPECT_EQ(cuModuleGetFunction(&function, module, name), CUDA_SUCCESS);
    return function;
  }
  static CUgraphNodeParams KernelNode(CUfunction function) {
    CUgraphNodeParams params = {};
    params.type = CU_GRAPH_NODE_TYPE_KERNEL;
    params.kernel.func = function;
    params.kernel.gridDimX = params.kernel.gridDimY = params.kernel.gridDimZ = 1;
    params.kernel.blockDimX = params.kernel.blockDimY = params.kernel.blockDimZ = 1;
    return params;
  }
  // GPU time of one launch.
  static double Milliseconds(CUgraphExec exec) {
    CUstream stream = nullptr;
    CUevent begin = nullptr, end = nullptr;
    EXPECT_EQ(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    EXPECT_EQ(cuEventCreate(&begin, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuEventCreate(&end, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(begin, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphLaunch(exec, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(end, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuEventSynchronize(end), CUDA_SUCCESS);
    float milliseconds = 0;
    EXPECT_EQ(cuEventElapsedTime(&milliseconds, begin, end), CUDA_SUCCESS);
    return milliseconds;
  }
};

TEST_F(CudaModels, NodesOfAnyKindByTheirParameters) {
  InContext([&] {
    CUgraph graph = nullptr;
    EXPECT_EQ(cuGraphCreate(&graph, 0), CUDA_SUCCESS);
    CUgraphNodeParams take = {};
    take.type = CU_GRAPH_NODE_TYPE_MEM_ALLOC;
    take.alloc.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    take.alloc.bytesize = 8 * kMiB;
    CUgraphNode taken = nullptr, filled = nullptr, copied = nullptr, ran = nullptr, told = nullptr,
                freed = nullptr;
    EXPECT_EQ(cuGraphAddNode(&taken, graph, nullptr, 0, &take), CUDA_SUCCESS);
    EXPECT_NE(take.alloc.dptr, 0u);
    CUgraphNodeParams fill = {};
    fill.type = CU_GRAPH_NODE_TYPE_MEMSET;
    fill.memset = {take.alloc.dptr, 0, 7, 1, 64, 1, nullptr};
    EXPECT_EQ(cuGraphAddNode_v2(&filled, graph, &taken, nullptr, 1, &fill), CUDA_SUCCESS);
    static char seen[64];
    CUgraphNodeParams copy = {};
    copy.type = CU_GRAPH_NODE_TYPE_MEMCPY;
    copy.memcpy.copyParams.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    copy.memcpy.copyParams.srcDevice = take.alloc.dptr;
    copy.memcpy.copyParams.dstMemoryType = CU_MEMORYTYPE_HOST;
    copy.memcpy.copyParams.dstHost = seen;
    copy.memcpy.copyParams.WidthInBytes = 64;
    copy.memcpy.copyParams.Height = copy.memcpy.copyParams.Depth = 1;
    EXPECT_EQ(cuGraphAddNode(&copied, graph, &filled, 1, &copy), CUDA_SUCCESS);
    CUgraphNodeParams kernel = KernelNode(Function("short"));
    EXPECT_EQ(cuGraphAddNode(&ran, graph, &copied, 1, &kernel), CUDA_SUCCESS);
    static std::atomic<int> calls{0};
    CUgraphNodeParams host = {};
    host.type = CU_GRAPH_NODE_TYPE_HOST;
    host.host.fn = [](void*) { ++calls; };
    EXPECT_EQ(cuGraphAddNode(&told, graph, &ran, 1, &host), CUDA_SUCCESS);
    CUgraphNodeParams give = {};
    give.type = CU_GRAPH_NODE_TYPE_MEM_FREE;
    give.free.dptr = take.alloc.dptr;
    EXPECT_EQ(cuGraphAddNode(&freed, graph, &told, 1, &give), CUDA_SUCCESS);
    CUgraphNodeParams odd = {};
    odd.type = CU_GRAPH_NODE_TYPE_EXT_SEMAS_WAIT;
    EXPECT_EQ(cuGraphAddNode(&freed, graph, nullptr, 0, &odd), CUDA_ERROR_NOT_SUPPORTED);

    CUgraphExec exec = nullptr;
    EXPECT_EQ(cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
    const uint64_t before = Used();
    for (int i = 0; i < 2; ++i) EXPECT_GE(Milliseconds(exec), 1);
    EXPECT_EQ(cuCtxSynchronize(), CUDA_SUCCESS);
    EXPECT_EQ(seen[63], 7);
    EXPECT_EQ(calls, 2);
    EXPECT_EQ(Used(), before + 8 * kMiB) << "kept for the next launch";
    size_t count = 0;
    EXPECT_EQ(cuGraphGetEdges(graph, nullptr, nullptr, &count), CUDA_SUCCESS);
    EXPECT_EQ(count, 5u);
    CUgraphNode root = nullptr;
    count = 1;
    EXPECT_EQ(cuGraphGetRootNodes(graph, &root, &count), CUDA_SUCCESS);
    EXPECT_EQ(root, taken);
  });
}

TEST_F(CudaModels, WhatIsInstantiatedCanBeChanged) {
  InContext([] {
    const CUfunction short_one = Function("short"), long_one = Function("long");
    CUgraph graph = nullptr, other = nullptr, third = nullptr;
    EXPECT_EQ(cuGraphCreate(&graph, 0), CUDA_SUCCESS);
    CUgraphNode node = nullptr, second = nullptr;
    CUgraphNodeParams params = KernelNode(short_one);
    EXPECT_EQ(cuGraphAddNode(&node, graph, nullptr, 0, &params), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphClone(&other, graph), CUDA_SUCCESS);
    CUgraphExec exec = nullptr;
    EXPECT_EQ(cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
    CUgraphNodeParams longer = KernelNode(long_one);
    EXPECT_EQ(cuGraphExecNodeSetParams(exec, node, &longer), CUDA_SUCCESS);
    EXPECT_GE(Milliseconds(exec), 20);
    CUDA_KERNEL_NODE_PARAMS plain = {};
    plain.func = short_one;
    plain.gridDimX = plain.gridDimY = plain.gridDimZ = 1;
    plain.blockDimX = plain.blockDimY = plain.blockDimZ = 1;
    EXPECT_EQ(cuGraphExecKernelNodeSetParams_v2(exec, node, &plain), CUDA_SUCCESS);
    unsigned int enabled = 0;
    EXPECT_EQ(cuGraphNodeSetEnabled(exec, node, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphNodeGetEnabled(exec, node, &enabled), CUDA_SUCCESS);
    EXPECT_EQ(enabled, 0u);
    EXPECT_EQ(cuGraphNodeSetEnabled(exec, node, 1), CUDA_SUCCESS);

    // Another graph of the same shape.
    CUgraphNode of_other = nullptr;
    size_t count = 1;
    EXPECT_EQ(cuGraphGetNodes(other, &of_other, &count), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphNodeSetParams(of_other, &longer), CUDA_SUCCESS);
    CUgraphExecUpdateResultInfo info = {};
    EXPECT_EQ(cuGraphExecUpdate_v2(exec, other, &info), CUDA_SUCCESS);
    EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_SUCCESS);
    EXPECT_GE(Milliseconds(exec), 20);
    // And those of others.
    EXPECT_EQ(cuGraphAddNode(&second, other, &of_other, 1, &params), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphExecUpdate_v2(exec, other, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    EXPECT_EQ(info.result, CU_GRAPH_EXEC_UPDATE_ERROR_TOPOLOGY_CHANGED);
    EXPECT_EQ(cuGraphCreate(&third, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphAddEmptyNode(&second, third, nullptr, 0), CUDA_SUCCESS);
    CUgraphNode wrong = nullptr;
    CUgraphExecUpdateResult result = CU_GRAPH_EXEC_UPDATE_SUCCESS;
    EXPECT_EQ(cuGraphExecUpdate(exec, third, &wrong, &result),
              CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
    EXPECT_EQ(result, CU_GRAPH_EXEC_UPDATE_ERROR_NODE_TYPE_CHANGED);
    EXPECT_EQ(wrong, second);
    CUgraphNodeParams empty = {};
    empty.type = CU_GRAPH_NODE_TYPE_EMPTY;
    EXPECT_EQ(cuGraphExecNodeSetParams(exec, node, &empty), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuGraphDestroyNode(second), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphDestroyNode(second), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST_F(CudaModels, ConditionsDecideWhatRuns) {
  InContext([] {
    const CUfunction next = Function("next");
    CUgraph graph = nullptr;
    EXPECT_EQ(cuGraphCreate(&graph, 0), CUDA_SUCCESS);
    CUgraphConditionalHandle passes = 0, chosen = 0;
    EXPECT_EQ(cuGraphConditionalHandleCreate(&passes, graph, nullptr, 7, 1), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphConditionalHandleCreate(&chosen, graph, nullptr, 2, 1), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphConditionalHandleCreate(&chosen, nullptr, nullptr, 2, 1),
              CUDA_ERROR_INVALID_VALUE);
    const auto add = [&](CUgraphConditionalHandle handle, CUgraphConditionalNodeType type,
                         unsigned int bodies, CUgraphNode* node, CUgraph* body) {
      CUgraphNodeParams params = {};
      params.type = CU_GRAPH_NODE_TYPE_CONDITIONAL;
      params.conditional.handle = handle;
      params.conditional.type = type;
      params.conditional.size = bodies;
      const CUgraphNode after = *node;
      const CUresult added = cuGraphAddNode(node, graph, &after, after == nullptr ? 0 : 1, &params);
      for (unsigned int i = 0; added == CUDA_SUCCESS && i < bodies; ++i)
        body[i] = params.conditional.phGraph_out[i];
      return added;
    };
    const auto fill = [](CUgraph body, CUfunction function, CUgraphConditionalHandle handle) {
      CUgraphNodeParams params = KernelNode(function);
      void* arguments[] = {&handle};
      params.kernel.kernelParams = arguments;
      CUgraphNode node = nullptr;
      EXPECT_EQ(cuGraphAddNode(&node, body, nullptr, 0, &params), CUDA_SUCCESS);
    };
    CUdeviceptr marks = 0;
    EXPECT_EQ(cuMemAlloc_v2(&marks, 5), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8_v2(marks, 0, 5), CUDA_SUCCESS);
    const auto mark = [&](CUgraph body, int place) {
      CUgraphNodeParams params = {};
      params.type = CU_GRAPH_NODE_TYPE_MEMSET;
      params.memset = {marks + static_cast<CUdeviceptr>(place), 0, 1, 1, 1, 1, nullptr};
      CUgraphNode made = nullptr;
      EXPECT_EQ(cuGraphAddNode(&made, body, nullptr, 0, &params), CUDA_SUCCESS);
    };
    // Seven passes of 1 ms; then the third of three; then, since nothing is left of the first
    // condition, the second of two.
    CUgraphNode node = nullptr;
    CUgraph loop[2] = {}, choices[3] = {}, either[2] = {};
    EXPECT_EQ(add(passes, CU_GRAPH_COND_TYPE_WHILE, 2, &node, loop), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(add(12345, CU_GRAPH_COND_TYPE_WHILE, 1, &node, loop), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(add(passes, CU_GRAPH_COND_TYPE_WHILE, 1, &node, loop), CUDA_SUCCESS);
    EXPECT_EQ(add(chosen, CU_GRAPH_COND_TYPE_SWITCH, 3, &node, choices), CUDA_SUCCESS);
    EXPECT_EQ(add(passes, CU_GRAPH_COND_TYPE_IF, 2, &node, either), CUDA_SUCCESS);
    fill(loop[0], next, passes);
    for (int i = 0; i < 3; ++i) mark(choices[i], i);
    for (int i = 0; i < 2; ++i) mark(either[i], 3 + i);
    CUgraphExec exec = nullptr;
    EXPECT_EQ(cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
    for (int i = 0; i < 2; ++i) {
      EXPECT_GE(Milliseconds(exec), 7);
      char seen[5] = {};
      EXPECT_EQ(cuMemcpyDtoH_v2(seen, marks, 5), CUDA_SUCCESS);
      EXPECT_EQ(std::string(seen, 5), std::string("\0\0\1\0\1", 5));
      EXPECT_EQ(cuMemsetD8_v2(marks, 0, 5), CUDA_SUCCESS);
    }
  });
}

TEST_F(CudaModels, BoxesAreCopiedRowByRow) {
  InContext([] {
    std::vector<unsigned char> host(16 * 8);
    std::iota(host.begin(), host.end(), static_cast<unsigned char>(0));
    CUdeviceptr device = 0;
    size_t pitch = 0;
    EXPECT_EQ(cuMemAllocPitch_v2(&device, &pitch, 16, 8, 4), CUDA_SUCCESS);
    CUDA_MEMCPY2D in = {};
    in.srcMemoryType = CU_MEMORYTYPE_HOST;
    in.srcHost = host.data();
    in.srcPitch = 16;
    in.dstMemoryType = CU_MEMORYTYPE_DEVICE;
    in.dstDevice = device;
    in.dstPitch = pitch;
    in.WidthInBytes = 16;
    in.Height = 8;
    EXPECT_EQ(cuMemcpy2D_v2(&in), CUDA_SUCCESS);
    unsigned char byte = 0;
    EXPECT_EQ(cuMemcpyDtoH_v2(&byte, device + 5 * pitch + 3, 1), CUDA_SUCCESS);
    EXPECT_EQ(byte, 5 * 16 + 3);

    // A part of it into an array, and back.
    CUarray array = nullptr;
    CUDA_ARRAY_DESCRIPTOR shape = {4, 4, CU_AD_FORMAT_UNSIGNED_INT8, 1};
    EXPECT_EQ(cuArrayCreate_v2(&array, &shape), CUDA_SUCCESS);
    CUDA_MEMCPY3D part = {};
    part.srcMemoryType = CU_MEMORYTYPE_DEVICE;
    part.srcDevice = device;
    part.srcPitch = pitch;
    part.srcHeight = 8;
    part.srcXInBytes = 2;
    part.srcY = 1;
    part.dstMemoryType = CU_MEMORYTYPE_ARRAY;
    part.dstArray = array;
    part.WidthInBytes = 4;
    part.Height = 4;
    part.Depth = 1;
    EXPECT_EQ(cuMemcpy3DAsync_v2(&part, nullptr), CUDA_SUCCESS);
    unsigned char back[16] = {};
    EXPECT_EQ(cuMemcpyAtoH_v2(back, array, 0, 16), CUDA_SUCCESS);
    EXPECT_EQ(back[0], 16 + 2);
    EXPECT_EQ(back[15], 4 * 16 + 5);
    in.dstPitch = 8;
    EXPECT_EQ(cuMemcpy2D_v2(&in), CUDA_ERROR_INVALID_VALUE) << "rows would overlap";
    in.dstPitch = pitch;
    in.Height = size_t{1} << 20;
    EXPECT_EQ(cuMemcpy2D_v2(&in), CUDA_ERROR_INVALID_VALUE) << "beyond the end";
    EXPECT_EQ(cuMemcpy2D_v2(nullptr), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST_F(CudaModels, ModulesTakeWhatTheyAreMadeOf) {
  InContext([&] {
    const uint64_t before = Used();
    CUmodule module = nullptr;
    EXPECT_EQ(cuModuleLoadData(&module, kImage), CUDA_SUCCESS);
    // 4 MiB of code, 6 MiB of the table, and a granule that the flag shares with other small ones.
    EXPECT_EQ(Used(), before + 12 * kMiB);
    CUdeviceptr table = 0;
    size_t bytes = 0;
    EXPECT_EQ(cuModuleGetGlobal_v2(&table, &bytes, module, "table"), CUDA_SUCCESS);
    EXPECT_EQ(bytes, 6 * kMiB);
    EXPECT_EQ(cuMemsetD8_v2(table, 1, bytes), CUDA_SUCCESS);
    EXPECT_EQ(cuMemFree_v2(table), CUDA_ERROR_INVALID_VALUE) << "it is the module's";
    EXPECT_EQ(cuModuleGetGlobal_v2(&table, &bytes, module, "none"), CUDA_ERROR_NOT_FOUND);
    EXPECT_EQ(cuModuleUnload(module), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);

    // A library takes nothing until it is used in a context.
    CUlibrary library = nullptr;
    EXPECT_EQ(cuLibraryLoadData(&library, kImage, nullptr, nullptr, 0, nullptr, nullptr, 0),
              CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    EXPECT_EQ(cuLibraryGetGlobal(&table, &bytes, library, "flag"), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 12 * kMiB);
    EXPECT_EQ(cuLibraryGetModule(&module, library), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 12 * kMiB);
    EXPECT_EQ(cuLibraryUnload(library), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
  });
}

TEST_F(CudaModels, MemoryFromElsewhereIsChargedThere) {
  InContext([&] {
    const uint64_t before = Used();
    CUDA_EXTERNAL_MEMORY_HANDLE_DESC description = {};
    description.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD;
    description.handle.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    description.size = 4 * kMiB;
    const int given = description.handle.fd;
    CUexternalMemory memory = nullptr;
    EXPECT_EQ(cuImportExternalMemory(&memory, &description), CUDA_SUCCESS);
    EXPECT_EQ(fcntl(given, F_GETFD), -1) << "the descriptor was given away";
    CUDA_EXTERNAL_MEMORY_BUFFER_DESC buffer = {};
    buffer.offset = kMiB;
    buffer.size = 3 * kMiB;
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuExternalMemoryGetMappedBuffer(&pointer, memory, &buffer), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8_v2(pointer, 3, 3 * kMiB), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    buffer.size = 4 * kMiB;
    EXPECT_EQ(cuExternalMemoryGetMappedBuffer(&pointer, memory, &buffer), CUDA_ERROR_INVALID_VALUE);
    CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC mipmap = {};
    mipmap.arrayDesc = {256, 256, 0, CU_AD_FORMAT_FLOAT, 4, 0};
    mipmap.numLevels = 2;
    CUmipmappedArray array = nullptr;
    EXPECT_EQ(cuExternalMemoryGetMappedMipmappedArray(&array, memory, &mipmap), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    mipmap.arrayDesc.Width = 4096;
    CUmipmappedArray larger = nullptr;
    EXPECT_EQ(cuExternalMemoryGetMappedMipmappedArray(&larger, memory, &mipmap),
              CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuDestroyExternalMemory(memory), CUDA_SUCCESS);
    EXPECT_EQ(cuDestroyExternalMemory(memory), CUDA_ERROR_INVALID_HANDLE);
    // What was mapped is freed by itself.
    EXPECT_EQ(cuMemFree_v2(pointer), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8_v2(pointer, 3, 1), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMipmappedArrayDestroy(array), CUDA_SUCCESS);
    description.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32;
    EXPECT_EQ(cuImportExternalMemory(&memory, &description), CUDA_ERROR_NOT_SUPPORTED);
  });
}

TEST_F(CudaModels, WhatIsMappedToASparseArrayLivesOnInIt) {
  InContext([&] {
    const uint64_t before = Used();
    CUmemAllocationProp properties = {};
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    CUmemGenericAllocationHandle memory = 0;
    EXPECT_EQ(cuMemCreate(&memory, 4 * kMiB, &properties, 0), CUDA_SUCCESS);
    const CUDA_ARRAY3D_DESCRIPTOR shape = {1024, 1024, 0, CU_AD_FORMAT_FLOAT, 4, 0x40};
    CUarray array = nullptr;
    EXPECT_EQ(cuArray3DCreate_v2(&array, &shape), CUDA_SUCCESS);
    CUarrayMapInfo map = {};
    map.resourceType = CU_RESOURCE_TYPE_ARRAY;
    map.resource.array = array;
    map.memOperationType = CU_MEM_OPERATION_TYPE_MAP;
    map.memHandle.memHandle = memory;
    map.deviceBitMask = 1;
    EXPECT_EQ(cuMemMapArrayAsync(&map, 1, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuMemRelease(memory), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 4 * kMiB);
    CUarrayMapInfo nothing = map;
    nothing.memHandle.memHandle = memory + 1;
    EXPECT_EQ(cuMemMapArrayAsync(&nothing, 1, nullptr), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuArrayDestroy(array), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
  });
}

// In another process of the machine, after what `body` did there; 0: all went well.
int Elsewhere(const std::function<void()>& body) {
  const pid_t child = fork();
  if (child == 0) {
    EXPECT_EQ(cuInit(0), CUDA_SUCCESS);
    CUcontext context = nullptr;
    EXPECT_EQ(cuCtxCreate_v2(&context, 0, 0), CUDA_SUCCESS);
    body();
    _exit(testing::Test::HasFailure() ? 1 : 0);
  }
  int status = -1;
  waitpid(child, &status, 0);
  return status;
}

// Two processes, of which the second waits for what the first has to tell.
class CudaShares : public CudaModels {
 protected:
  struct Told {
    CUipcEventHandle event;
    CUmemPoolPtrExportData pointer;
    int descriptor;
  };
  void TearDown() override {
    for (int end : {to_[0], to_[1], back_[0], back_[1]}) close(end);
  }
  // `first` runs in this process's first child, `second` in another one.
  void Both(const std::function<void()>& first, const std::function<void()>& second) {
    ASSERT_EQ(pipe(to_), 0);
    ASSERT_EQ(pipe(back_), 0);
    setenv("TRANCHE_SIM_DIR", dir_.c_str(), 1);
    const pid_t other = fork();
    if (other == 0) _exit(Elsewhere(second) == 0 ? 0 : 1);
    EXPECT_EQ(Elsewhere(first), 0);
    int status = -1;
    waitpid(other, &status, 0);
    EXPECT_EQ(status, 0);
    unsetenv("TRANCHE_SIM_DIR");
  }
  void Tell(const Told& told) const {
    EXPECT_EQ(write(to_[1], &told, sizeof(told)), ssize_t{sizeof(told)});
  }
  Told Hear() const {
    Told told = {};
    EXPECT_EQ(read(to_[0], &told, sizeof(told)), ssize_t{sizeof(told)});
    return told;
  }
  void Answer() const { EXPECT_EQ(write(back_[1], "", 1), 1); }
  void AwaitAnswer() const {
    char byte = 0;
    EXPECT_EQ(read(back_[0], &byte, 1), 1);
  }

  int to_[2] = {-1, -1}, back_[2] = {-1, -1};
};

TEST_F(CudaShares, AnEventOfAnotherProcessIsWaitedFor) {
  Both(
      [&] {
        CUevent event = nullptr, private_one = nullptr;
        EXPECT_EQ(cuEventCreate(&event, 4), CUDA_ERROR_INVALID_VALUE) << "it cannot be timed";
        EXPECT_EQ(cuEventCreate(&event, 4 | 2), CUDA_SUCCESS);
        EXPECT_EQ(cuEventCreate(&private_one, 0), CUDA_SUCCESS);
        Told told = {};
        EXPECT_EQ(cuIpcGetEventHandle(&told.event, private_one), CUDA_ERROR_INVALID_VALUE);
        EXPECT_EQ(cuIpcGetEventHandle(&told.event, event), CUDA_SUCCESS);
        CUevent own = nullptr;
        EXPECT_EQ(cuIpcOpenEventHandle(&own, told.event), CUDA_ERROR_INVALID_CONTEXT);
        EXPECT_EQ(cuLaunchKernel(Function("long"), 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
                  CUDA_SUCCESS);
        EXPECT_EQ(cuEventRecord(event, nullptr), CUDA_SUCCESS);
        EXPECT_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
        Tell(told);
        // The other one records it, too.
        AwaitAnswer();
        EXPECT_EQ(cuEventSynchronize(event), CUDA_SUCCESS);
        EXPECT_EQ(cuEventDestroy_v2(event), CUDA_SUCCESS);
      },
      [&] {
        const Told told = Hear();
        CUevent event = nullptr;
        EXPECT_EQ(cuIpcOpenEventHandle(&event, told.event), CUDA_SUCCESS);
        EXPECT_EQ(cuEventQuery(event), CUDA_ERROR_NOT_READY);
        CUstream stream = nullptr;
        EXPECT_EQ(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
        EXPECT_EQ(cuStreamWaitEvent(stream, event, 0), CUDA_SUCCESS);
        EXPECT_EQ(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
        EXPECT_EQ(cuStreamSynchronize(stream), CUDA_SUCCESS);
        EXPECT_EQ(cuEventQuery(event), CUDA_SUCCESS);
        EXPECT_EQ(cuLaunchKernel(Function("short"), 1, 1, 1, 1, 1, 1, 0, stream, nullptr, nullptr),
                  CUDA_SUCCESS);
        EXPECT_EQ(cuEventRecord(event, stream), CUDA_SUCCESS);
        Answer();
        EXPECT_EQ(cuEventSynchronize(event), CUDA_SUCCESS);
        CUipcEventHandle made_up = {};
        EXPECT_EQ(cuIpcOpenEventHandle(&event, made_up), CUDA_ERROR_INVALID_VALUE);
      });
}

TEST_F(CudaShares, APoolOfAnotherProcessIsChargedThere) {
  CUmemPoolProps properties = {};
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.handleTypes = CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR;
  properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
  // To whoever imports, memory of the same process is another's as well.
  InContext([&] {
    CUmemoryPool pool = nullptr, plain = nullptr;
    EXPECT_EQ(cuMemPoolCreate(&pool, &properties), CUDA_SUCCESS);
    CUmemPoolProps closed = properties;
    closed.handleTypes = CU_MEM_HANDLE_TYPE_NONE;
    EXPECT_EQ(cuMemPoolCreate(&plain, &closed), CUDA_SUCCESS);
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAllocFromPoolAsync(&pointer, 8 * kMiB, pool, nullptr), CUDA_SUCCESS);
    Told told = {};
    EXPECT_EQ(cuMemPoolExportToShareableHandle(&told.descriptor, plain,
                                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
              CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMemPoolExportToShareableHandle(&told.descriptor, pool,
                                               CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
              CUDA_SUCCESS);
    EXPECT_EQ(cuMemPoolExportPointer(&told.pointer, pointer), CUDA_SUCCESS);
    EXPECT_EQ(cuMemPoolExportPointer(&told.pointer, pointer + 1), CUDA_ERROR_INVALID_VALUE);
    CUmemoryPool imported = nullptr;
    CUdeviceptr seen = 0;
    const uint64_t before = Used();
    EXPECT_EQ(cuMemPoolImportFromShareableHandle(
                  &imported, reinterpret_cast<void*>(static_cast<intptr_t>(told.descriptor)),
                  CU_MEM_HANDLE_TYPE_POSIX_FILE_DESCRIPTOR, 0),
              CUDA_SUCCESS);
    EXPECT_EQ(cuMemPoolImportPointer(&seen, imported, &told.pointer), CUDA_SUCCESS);
    EXPECT_EQ(cuMemPoolImportPointer(&seen, pool, &told.pointer), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMemsetD8_v2(seen, 1, 8 * kMiB), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAllocFromPoolAsync(&pointer, 1, imported, nullptr), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuDeviceSetMemPool(0, imported), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(Used(), before);
    EXPECT_EQ(cuMemFreeAsync(seen, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuMemPoolDestroy(imported), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
  });
}

TEST_F(CudaModels, ADestroyedPoolGoesWithTheLastOfItsMemory) {
  InContext([&] {
    CUmemPoolProps properties = {};
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    const uint64_t before = Used();
    CUmemoryPool pool = nullptr;
    EXPECT_EQ(cuMemPoolCreate(&pool, &properties), CUDA_SUCCESS);
    cuuint64_t all = ~cuuint64_t{0};
    EXPECT_EQ(cuMemPoolSetAttribute(pool, CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all), CUDA_SUCCESS);
    CUdeviceptr first = 0, second = 0;
    EXPECT_EQ(cuMemAllocFromPoolAsync(&first, 40 * kMiB, pool, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAllocFromPoolAsync(&second, 40 * kMiB, pool, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 80 * kMiB);
    EXPECT_EQ(cuMemFreeAsync(first, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuMemPoolDestroy(pool), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 40 * kMiB);
    EXPECT_EQ(cuMemPoolDestroy(pool), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMemAllocFromPoolAsync(&first, kMiB, pool, nullptr), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMemsetD8_v2(second, 1, 40 * kMiB), CUDA_SUCCESS);
    EXPECT_EQ(cuMemFreeAsync(second, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
  });
}

// Whatever order pools, graphs and modules come and go in: nothing is held that nobody has, and
// what somebody has is held.
TEST_F(CudaModels, RandomSequencesLeaveNothing) {
  for (unsigned int seed = 1; seed <= 8; ++seed) {
    SCOPED_TRACE(seed);
    InContext([&] {
      std::mt19937 random(seed);
      const auto below = [&](size_t n) { return static_cast<size_t>(random() % n); };
      struct Piece {
        CUdeviceptr at;
        size_t bytes;
      };
      CUmemPoolProps properties = {};
      properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
      properties.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
      const uint64_t before = Used();
      std::vector<CUmemoryPool> pools;
      std::vector<Piece> pieces;
      std::vector<CUmodule> modules;
      uint64_t live = 0;
      const auto free_piece = [&](size_t i) {
        const bool later = below(2) == 0;
        EXPECT_EQ(later ? cuMemFreeAsync(pieces[i].at, nullptr) : cuMemFree_v2(pieces[i].at),
                  CUDA_SUCCESS);
        live -= pieces[i].bytes;
        pieces.erase(pieces.begin() + static_cast<std::ptrdiff_t>(i));
      };
      for (int step = 0; step < 300; ++step) {
        switch (below(9)) {
          case 0:
            pools.emplace_back();
            EXPECT_EQ(cuMemPoolCreate(&pools.back(), &properties), CUDA_SUCCESS);
            if (below(2) == 0) {
              cuuint64_t all = ~cuuint64_t{0};
              EXPECT_EQ(
                  cuMemPoolSetAttribute(pools.back(), CU_MEMPOOL_ATTR_RELEASE_THRESHOLD, &all),
                  CUDA_SUCCESS);
            }
            break;
          case 1:
            if (pools.empty()) break;
            EXPECT_EQ(cuMemPoolDestroy(pools.back()), CUDA_SUCCESS);
            pools.pop_back();
            break;
          case 2:
          case 3:
          case 4: {
            Piece piece = {0, below(24 * kMiB) + 1};
            const bool own = !pools.empty() && below(3) != 0;
            EXPECT_EQ(own ? cuMemAllocFromPoolAsync(&piece.at, piece.bytes,
                                                    pools[below(pools.size())], nullptr)
                          : cuMemAlloc_v2(&piece.at, piece.bytes),
                      CUDA_SUCCESS);
            live += piece.bytes;
            pieces.push_back(piece);
            break;
          }
          case 5:
          case 6:
            if (!pieces.empty()) free_piece(below(pieces.size()));
            break;
          case 7:
            if (modules.empty() || below(2) == 0) {
              modules.emplace_back();
              EXPECT_EQ(cuModuleLoadData(&modules.back(), kImage), CUDA_SUCCESS);
              live += 10 * kMiB;
            } else {
              EXPECT_EQ(cuModuleUnload(modules.back()), CUDA_SUCCESS);
              modules.pop_back();
              live -= 10 * kMiB;
            }
            break;
          default:
            EXPECT_EQ(cuCtxSynchronize(), CUDA_SUCCESS);
        }
        EXPECT_GE(Used(), before + live);
      }
      while (!pieces.empty()) free_piece(0);
      for (const CUmemoryPool pool : pools) EXPECT_EQ(cuMemPoolDestroy(pool), CUDA_SUCCESS);
      for (const CUmodule module : modules) EXPECT_EQ(cuModuleUnload(module), CUDA_SUCCESS);
      EXPECT_EQ(Used(), before);
    });
  }
}

TEST_F(CudaModels, CopiesTakeTime) {
  InContext([] {
    constexpr size_t kBytes = 32 * kMiB;
    CUdeviceptr device = 0, other = 0;
    void* pinned = nullptr;
    EXPECT_EQ(cuMemAlloc_v2(&device, kBytes), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAlloc_v2(&other, kBytes), CUDA_SUCCESS);
    EXPECT_EQ(cuMemHostAlloc(&pinned, kBytes, 0), CUDA_SUCCESS);
    std::memset(pinned, 1, kBytes);
    const std::vector<char> pageable(kBytes);
    CUstream stream = nullptr;
    EXPECT_EQ(cuStreamCreate(&stream, CU_STREAM_NON_BLOCKING), CUDA_SUCCESS);
    const auto took = [&](const std::function<void()>& copy) {
      CUevent begin = nullptr, end = nullptr;
      EXPECT_EQ(cuEventCreate(&begin, 0), CUDA_SUCCESS);
      EXPECT_EQ(cuEventCreate(&end, 0), CUDA_SUCCESS);
      // Behind a kernel, so that the host's pace says nothing.
      EXPECT_EQ(cuLaunchKernel(Function("long"), 1, 1, 1, 1, 1, 1, 0, stream, nullptr, nullptr), 0);
      EXPECT_EQ(cuEventRecord(begin, stream), CUDA_SUCCESS);
      copy();
      EXPECT_EQ(cuEventRecord(end, stream), CUDA_SUCCESS);
      EXPECT_EQ(cuEventSynchronize(end), CUDA_SUCCESS);
      float milliseconds = 0;
      EXPECT_EQ(cuEventElapsedTime(&milliseconds, begin, end), CUDA_SUCCESS);
      return milliseconds;
    };
    // 10 GB/s, 50 GB/s, and half of the memory's own speed (sim/cuda/README.md).
    EXPECT_GE(took([&] { cuMemcpyHtoDAsync_v2(device, pageable.data(), kBytes, stream); }), 3.3);
    EXPECT_GE(took([&] { cuMemcpyHtoDAsync_v2(device, pinned, kBytes, stream); }), 0.67);
    EXPECT_GE(took([&] { cuMemcpyDtoDAsync_v2(other, device, kBytes, stream); }), 0.01);
    EXPECT_EQ(cuMemFreeHost(pinned), CUDA_SUCCESS);
  });
}

class CudaPeers : public CudaModels {
 protected:
  void SetUp() override {
    dir_ = scratch_.path() + "/machine";
    ASSERT_TRUE(Machine::Create(dir_, SpecOf("H100-SXM5-80GB", 2)));
    auto machine = Machine::Open(dir_);
    ASSERT_TRUE(machine) << machine.error().message;
    machine_ = std::move(*machine);
  }
};

TEST_F(CudaPeers, WholeGpusReachEachOther) {
  InContext([] {
    int can = 0;
    EXPECT_EQ(cuDeviceCanAccessPeer(&can, 0, 1), CUDA_SUCCESS);
    EXPECT_EQ(can, 1);
    EXPECT_EQ(cuDeviceCanAccessPeer(&can, 0, 0), CUDA_SUCCESS);
    EXPECT_EQ(can, 0);
    EXPECT_EQ(cuDeviceGetP2PAttribute(&can, CU_DEVICE_P2P_ATTRIBUTE_ACCESS_SUPPORTED, 0, 1),
              CUDA_SUCCESS);
    EXPECT_EQ(can, 1);
    CUcontext own = nullptr, other = nullptr;
    EXPECT_EQ(cuCtxGetCurrent(&own), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxCreate_v2(&other, 0, 1), CUDA_SUCCESS);
    CUdeviceptr there = 0, here = 0;
    EXPECT_EQ(cuMemAlloc_v2(&there, 64), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8_v2(there, 5, 64), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxSetCurrent(own), CUDA_SUCCESS);
    EXPECT_EQ(cuMemAlloc_v2(&here, 64), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxEnablePeerAccess(other, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxEnablePeerAccess(other, 0), CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED);
    EXPECT_EQ(cuCtxEnablePeerAccess(own, 0), CUDA_ERROR_PEER_ACCESS_UNSUPPORTED);
    EXPECT_EQ(cuMemcpyPeer(here, own, there, other, 64), CUDA_SUCCESS);
    char seen = 0;
    EXPECT_EQ(cuMemcpyDtoH_v2(&seen, here + 63, 1), CUDA_SUCCESS);
    EXPECT_EQ(seen, 5);
    EXPECT_EQ(cuCtxDisablePeerAccess(other), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxDisablePeerAccess(other), CUDA_ERROR_PEER_ACCESS_NOT_ENABLED);
  });
}

TEST_F(CudaPeers, AMulticastObjectHoldsMemoryOfSeveral) {
  InContext([&] {
    CUmulticastObjectProp properties = {};
    properties.numDevices = 2;
    properties.size = 4 * kMiB;
    CUmemGenericAllocationHandle object = 0, memory = 0;
    EXPECT_EQ(cuMulticastCreate(&object, &properties), CUDA_SUCCESS);
    const uint64_t before = Used();
    CUmemAllocationProp of_memory = {};
    of_memory.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    of_memory.location = {CU_MEM_LOCATION_TYPE_DEVICE, 0};
    EXPECT_EQ(cuMemCreate(&memory, 4 * kMiB, &of_memory, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuMulticastAddDevice(object, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuMulticastBindMem(object, 0, memory, 0, 4 * kMiB, 0), CUDA_ERROR_ILLEGAL_STATE)
        << "a device is missing";
    EXPECT_EQ(cuMulticastAddDevice(object, 1), CUDA_SUCCESS);
    EXPECT_EQ(cuMulticastAddDevice(object, 1), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMulticastBindMem(object, 0, memory, 0, 4 * kMiB, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuMulticastBindMem(object, 0, memory, 0, 4 * kMiB, 0), CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(cuMemRelease(memory), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 4 * kMiB) << "bound, so it stays";
    EXPECT_EQ(cuMemRelease(object), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
    EXPECT_EQ(cuMulticastAddDevice(object, 0), CUDA_ERROR_INVALID_VALUE);
  });
}

}  // namespace
}  // namespace tranche::sim
