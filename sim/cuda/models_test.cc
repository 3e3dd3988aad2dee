// Graphs by their parameters, copies of boxes, what reaches between GPUs, memory of modules, and
// memory from elsewhere.
#include <fcntl.h>

#include <atomic>
#include <cstring>
#include <numeric>
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
    "code 4194304\n";

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
    EXPECT_EQ(cuDestroyExternalMemory(memory), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8_v2(pointer, 3, 1), CUDA_ERROR_INVALID_VALUE);
    description.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_WIN32;
    EXPECT_EQ(cuImportExternalMemory(&memory, &description), CUDA_ERROR_NOT_SUPPORTED);
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
