// Many threads of one process, which call whatever they like at the same time.
#include <atomic>
#include <thread>
#include <vector>

#include "sim/test/cuda_fixture.h"

namespace tranche::sim {
namespace {

constexpr char kImage[] =
    "tranche-kernels 1\n"
    "kernel nothing 0\n"
    "kernel brief 2000\n"
    "global flag 4\n";

class CudaThreads : public CudaProcess {
 protected:
  static void Expect(CUresult answer, const char* what) { EXPECT_EQ(answer, CUDA_SUCCESS) << what; }

  // What one of them does, with an event that all record and wait for.
  static void Work(CUcontext context, CUevent common, uint32_t seed) {
    Expect(cuCtxSetCurrent(context), "current");
    CUstream stream = nullptr;
    CUevent own = nullptr;
    CUmodule module = nullptr;
    CUfunction brief = nullptr, nothing = nullptr;
    Expect(cuStreamCreate(&stream, seed % 2 == 0 ? CU_STREAM_NON_BLOCKING : 0), "stream");
    Expect(cuEventCreate(&own, 0), "event");
    Expect(cuModuleLoadData(&module, kImage), "module");
    Expect(cuModuleGetFunction(&brief, module, "brief"), "function");
    Expect(cuModuleGetFunction(&nothing, module, "nothing"), "function");
    CUgraph graph = nullptr;
    CUgraphExec exec = nullptr;
    Expect(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_THREAD_LOCAL), "capture");
    for (int i = 0; i < 3; ++i)
      Expect(cuLaunchKernel(brief, 4, 1, 1, 32, 1, 1, 0, stream, nullptr, nullptr), "launch");
    Expect(cuStreamEndCapture(stream, &graph), "captured");
    Expect(cuGraphInstantiateWithFlags(&exec, graph, 0), "instantiate");
    std::atomic<int> told{0};
    int tells = 0;
    uint32_t random = seed * 2654435761u + 1;
    for (int i = 0; i < 150; ++i) {
      random = random * 1664525u + 1013904223u;
      CUdeviceptr pointer = 0;
      switch (random >> 24 & 7) {
        case 0:
          Expect(cuMemAlloc_v2(&pointer, random % 3000000 + 1), "alloc");
          Expect(cuMemsetD8_v2(pointer, 1, 1), "set");
          Expect(cuMemFree_v2(pointer), "free");
          break;
        case 1:
          Expect(cuMemAllocAsync(&pointer, random % 3000000 + 1, stream), "alloc async");
          Expect(cuMemsetD8Async(pointer, 1, 1, stream), "set async");
          Expect(cuMemFreeAsync(pointer, stream), "free async");
          break;
        case 2:
          Expect(cuLaunchKernel(brief, 4, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr), "launch");
          Expect(cuEventRecord(common, nullptr), "record");
          break;
        case 3:
          Expect(cuStreamWaitEvent(stream, common, 0), "wait event");
          Expect(cuLaunchKernel(nothing, 1, 1, 1, 32, 1, 1, 0, stream, nullptr, nullptr), "launch");
          break;
        case 4:
          Expect(cuGraphLaunch(exec, stream), "graph");
          Expect(cuEventRecord(own, stream), "record");
          Expect(cuEventSynchronize(own), "sync");
          break;
        case 5:
          ++tells;
          Expect(cuLaunchHostFunc(
                     stream, [](void* count) { ++*static_cast<std::atomic<int>*>(count); }, &told),
                 "host");
          break;
        case 6: {
          CUmodule other = nullptr;
          Expect(cuModuleLoadData(&other, kImage), "module");
          Expect(cuModuleUnload(other), "unload");
          break;
        }
        default:
          EXPECT_NE(cuEventQuery(common), CUDA_ERROR_INVALID_HANDLE);
          Expect(cuStreamSynchronize(stream), "sync");
      }
    }
    Expect(cuCtxSynchronize(), "sync");
    EXPECT_EQ(told, tells);
    Expect(cuGraphExecDestroy(exec), "exec");
    Expect(cuGraphDestroy(graph), "graph");
    Expect(cuModuleUnload(module), "unload");
    Expect(cuEventDestroy_v2(own), "event");
    Expect(cuStreamDestroy_v2(stream), "stream");
  }
};

TEST_F(CudaThreads, CallWhateverTheyLike) {
  InContext([&] {
    CUcontext context = nullptr;
    CUevent common = nullptr;
    Expect(cuCtxGetCurrent(&context), "current");
    Expect(cuEventCreate(&common, CU_EVENT_DISABLE_TIMING), "event");
    const uint64_t before = Used();
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < 6; ++i) threads.emplace_back([=] { Work(context, common, i); });
    for (std::thread& thread : threads) thread.join();
    Expect(cuCtxSynchronize(), "sync");
    CUmemoryPool pool = nullptr;
    Expect(cuDeviceGetDefaultMemPool(&pool, 0), "pool");
    Expect(cuMemPoolTrimTo(pool, 0), "trim");
    EXPECT_EQ(Used(), before);
  });
}

// The same with contexts that come and go.
TEST_F(CudaThreads, HaveContextsOfTheirOwn) {
  InContext([&] {
    const uint64_t before = Used();
    std::vector<std::thread> threads;
    for (uint32_t i = 0; i < 4; ++i) {
      threads.emplace_back([] {
        for (int k = 0; k < 10; ++k) {
          CUcontext context = nullptr;
          CUmodule module = nullptr;
          CUfunction brief = nullptr;
          Expect(cuCtxCreate_v2(&context, 0, 0), "context");
          Expect(cuModuleLoadData(&module, kImage), "module");
          Expect(cuModuleGetFunction(&brief, module, "brief"), "function");
          Expect(cuLaunchKernel(brief, 4, 1, 1, 32, 1, 1, 0, nullptr, nullptr, nullptr), "launch");
          if (k % 2 == 0) Expect(cuCtxSynchronize(), "sync");
          Expect(cuCtxDestroy_v2(context), "destroy");
        }
      });
    }
    for (std::thread& thread : threads) thread.join();
    EXPECT_EQ(Used(), before);
  });
}

}  // namespace
}  // namespace tranche::sim
