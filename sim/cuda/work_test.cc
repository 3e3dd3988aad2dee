// Kernels, streams, events, values in memory, graphs: in which order, and until when.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include <atomic>
#include <string>
#include <vector>

#include "sim/test/cuda_fixture.h"

namespace tranche::sim {
namespace {

constexpr char kImage[] =
    "tranche-kernels 1\n"
    "kernel nothing 0\n"
    "kernel long 20000000\n"
    "kernel spin argument\n";

class CudaWork : public CudaProcess {
 protected:
  static CUfunction Function(const char* name) {
    CUmodule module = nullptr;
    CUfunction function = nullptr;
    EXPECT_EQ(cuModuleLoadData(&module, kImage), CUDA_SUCCESS);
    EXPECT_EQ(cuModuleGetFunction(&function, module, name), CUDA_SUCCESS);
    return function;
  }
  static CUresult Launch(CUfunction function, CUstream stream, void** arguments = nullptr) {
    return cuLaunchKernel(function, 1, 1, 1, 32, 1, 1, 0, stream, arguments, nullptr);
  }
  static CUstream MakeStream(unsigned int flags = CU_STREAM_NON_BLOCKING) {
    CUstream stream = nullptr;
    EXPECT_EQ(cuStreamCreate(&stream, flags), CUDA_SUCCESS);
    return stream;
  }
  static CUevent MakeEvent() {
    CUevent event = nullptr;
    EXPECT_EQ(cuEventCreate(&event, 0), CUDA_SUCCESS);
    return event;
  }
  // By the clock of the GPU: what its work took, and no less.
  static double Milliseconds(CUevent from, CUevent to) {
    EXPECT_EQ(cuEventSynchronize(to), CUDA_SUCCESS);
    float milliseconds = 0;
    EXPECT_EQ(cuEventElapsedTime(&milliseconds, from, to), CUDA_SUCCESS);
    return milliseconds;
  }
};

TEST_F(CudaWork, AKernelTakesWhatItDeclares) {
  InContext([] {
    const CUfunction spin = Function("spin");
    const CUstream stream = MakeStream();
    const CUevent begin = MakeEvent(), end = MakeEvent();
    uint64_t cost = 30000000;
    void* arguments[] = {&cost};
    EXPECT_EQ(cuEventRecord(begin, stream), CUDA_SUCCESS);
    EXPECT_EQ(Launch(spin, stream, arguments), CUDA_SUCCESS);
    EXPECT_EQ(Launch(spin, stream, arguments), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(end, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    EXPECT_GE(Milliseconds(begin, end), 60);
    EXPECT_EQ(cuStreamQuery(stream), CUDA_SUCCESS);
  });
}

TEST_F(CudaWork, EveryWayToLaunchIsTheSameWork) {
  InContext([] {
    const CUfunction kernel = Function("long");
    const CUevent begin = MakeEvent(), end = MakeEvent();
    CUlaunchConfig config = {};
    config.gridDimX = config.gridDimY = config.gridDimZ = 1;
    config.blockDimX = config.blockDimY = config.blockDimZ = 1;
    EXPECT_EQ(cuEventRecord(begin, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(Launch(kernel, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuLaunchKernelEx(&config, kernel, nullptr, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuLaunchCooperativeKernel(kernel, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr),
              CUDA_SUCCESS);
    EXPECT_EQ(cuLaunchKernel_ptsz(kernel, 1, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
              CUDA_SUCCESS);
    EXPECT_EQ(cuFuncSetBlockShape(kernel, 32, 1, 1), CUDA_SUCCESS);
    EXPECT_EQ(cuLaunchGrid(kernel, 2, 2), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(end, nullptr), CUDA_SUCCESS);
    EXPECT_GE(Milliseconds(begin, end), 100);
    EXPECT_EQ(cuLaunchKernel(kernel, 0, 1, 1, 1, 1, 1, 0, nullptr, nullptr, nullptr),
              CUDA_ERROR_INVALID_VALUE);
    EXPECT_EQ(Launch(reinterpret_cast<CUfunction>(uint64_t{0x1234}), nullptr),
              CUDA_ERROR_INVALID_HANDLE);
    EXPECT_EQ(Launch(kernel, reinterpret_cast<CUstream>(uint64_t{0x12345})),
              CUDA_ERROR_INVALID_HANDLE);
  });
}

TEST_F(CudaWork, ImagesThatAreNotUnderstoodHoldAnyKernel) {
  InContext([] {
    CUlibrary library = nullptr;
    CUkernel kernel = nullptr;
    CUfunction function = nullptr;
    EXPECT_EQ(cuLibraryLoadData(&library, "\177ELF", nullptr, nullptr, 0, nullptr, nullptr, 0),
              CUDA_SUCCESS);
    EXPECT_EQ(cuLibraryGetKernel(&kernel, library, "_Z3addv"), CUDA_SUCCESS);
    EXPECT_EQ(cuKernelGetFunction(&function, kernel), CUDA_SUCCESS);
    EXPECT_EQ(Launch(function, nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuLibraryUnload(library), CUDA_SUCCESS);
    EXPECT_EQ(Launch(function, nullptr), CUDA_ERROR_INVALID_HANDLE);
    CUmodule module = nullptr;
    EXPECT_EQ(cuModuleLoadData(&module, kImage), CUDA_SUCCESS);
    EXPECT_EQ(cuModuleGetFunction(&function, module, "absent"), CUDA_ERROR_NOT_FOUND);
  });
}

TEST_F(CudaWork, HostFunctionsRunWhenTheStreamComesToThem) {
  InContext([] {
    struct Seen {
      CUevent before = nullptr;
      std::atomic<int> state{0};
    } seen;
    const CUstream stream = MakeStream();
    seen.before = MakeEvent();
    EXPECT_EQ(Launch(Function("long"), stream), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(seen.before, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuLaunchHostFunc(
                  stream,
                  [](void* data) {
                    auto* it = static_cast<Seen*>(data);
                    it->state = cuEventQuery(it->before) == CUDA_SUCCESS ? 1 : 2;
                  },
                  &seen),
              CUDA_SUCCESS);
    EXPECT_EQ(cuStreamSynchronize(stream), CUDA_SUCCESS);
    EXPECT_EQ(seen.state, 1);
  });
}

TEST_F(CudaWork, AStreamWaitsForAValue) {
  InContext([] {
    void* host = nullptr;
    EXPECT_EQ(cuMemHostAlloc(&host, 64, 0), CUDA_SUCCESS);
    auto* value = static_cast<std::atomic<uint64_t>*>(host);
    value[0] = value[1] = 0;
    const auto address = reinterpret_cast<CUdeviceptr>(host);
    const CUstream stream = MakeStream();
    const CUevent after = MakeEvent();
    EXPECT_EQ(cuStreamWaitValue64_v2(stream, address, 5, CU_STREAM_WAIT_VALUE_GEQ), CUDA_SUCCESS);
    EXPECT_EQ(Launch(Function("nothing"), stream), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamWriteValue64_v2(stream, address + 8, 77, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(after, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamQuery(stream), CUDA_ERROR_NOT_READY);
    EXPECT_EQ(cuEventQuery(after), CUDA_ERROR_NOT_READY);
    EXPECT_EQ(value[1], 0u);
    *value = 5;
    EXPECT_EQ(cuEventSynchronize(after), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamSynchronize(stream), CUDA_SUCCESS);
    EXPECT_EQ(value[1], 77u);
    EXPECT_EQ(cuStreamWaitValue64_v2(stream, 0, 5, 0), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST_F(CudaWork, ACaptureIsLaunchedAsAGraph) {
  InContext([] {
    const CUfunction kernel = Function("long");
    const CUstream stream = MakeStream(), other = MakeStream();
    const CUevent fork = MakeEvent(), join = MakeEvent();
    EXPECT_EQ(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    EXPECT_EQ(Launch(kernel, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(fork, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamWaitEvent(other, fork, 0), CUDA_SUCCESS);
    EXPECT_EQ(Launch(kernel, other), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(join, other), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamWaitEvent(stream, join, 0), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamSynchronize(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
    CUstreamCaptureStatus status = CU_STREAM_CAPTURE_STATUS_NONE;
    const CUgraphNode* tips = nullptr;
    size_t tip_count = 0;
    EXPECT_EQ(cuStreamGetCaptureInfo_v2(stream, &status, nullptr, nullptr, &tips, &tip_count),
              CUDA_SUCCESS);
    EXPECT_EQ(status, CU_STREAM_CAPTURE_STATUS_ACTIVE);
    EXPECT_EQ(tip_count, 2u) << "its own last, and that of the other";
    CUgraph graph = nullptr;
    EXPECT_EQ(cuStreamEndCapture(stream, &graph), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamQuery(stream), CUDA_SUCCESS) << "nothing ran";
    size_t count = 0;
    EXPECT_EQ(cuGraphGetNodes(graph, nullptr, &count), CUDA_SUCCESS);
    EXPECT_EQ(count, 2u);
    CUgraphExec exec = nullptr;
    EXPECT_EQ(cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
    const CUevent begin = MakeEvent(), end = MakeEvent();
    EXPECT_EQ(cuEventRecord(begin, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphLaunch(exec, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuEventRecord(end, stream), CUDA_SUCCESS);
    EXPECT_GE(Milliseconds(begin, end), 40);
    EXPECT_EQ(cuGraphExecDestroy(exec), CUDA_SUCCESS);
    EXPECT_EQ(cuGraphLaunch(exec, stream), CUDA_ERROR_INVALID_VALUE);
  });
}

TEST_F(CudaWork, GraphMemoryIsTakenByTheLaunch) {
  InContext([&] {
    const CUstream stream = MakeStream();
    EXPECT_EQ(cuStreamBeginCapture_v2(stream, CU_STREAM_CAPTURE_MODE_GLOBAL), CUDA_SUCCESS);
    CUdeviceptr pointer = 0;
    EXPECT_EQ(cuMemAllocAsync(&pointer, 16 * kMiB, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8Async(pointer, 9, 100, stream), CUDA_SUCCESS);
    EXPECT_EQ(cuMemsetD8_v2(pointer, 1, 100), CUDA_ERROR_INVALID_VALUE)
        << "not there before a launch";
    CUgraph graph = nullptr;
    EXPECT_EQ(cuStreamEndCapture(stream, &graph), CUDA_SUCCESS);
    CUgraphExec exec = nullptr;
    EXPECT_EQ(cuGraphInstantiateWithFlags(&exec, graph, 0), CUDA_SUCCESS);
    const uint64_t before = Used();
    EXPECT_EQ(cuGraphLaunch(exec, stream), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 16 * kMiB);
    char seen = 0;
    EXPECT_EQ(cuMemcpyDtoH_v2(&seen, pointer + 99, 1), CUDA_SUCCESS);
    EXPECT_EQ(seen, 9);
    EXPECT_EQ(cuGraphLaunch(exec, stream), CUDA_ERROR_INVALID_VALUE) << "not freed";
    cuuint64_t used = 0;
    EXPECT_EQ(cuDeviceGetGraphMemAttribute(0, CU_GRAPH_MEM_ATTR_USED_MEM_CURRENT, &used),
              CUDA_SUCCESS);
    EXPECT_EQ(used, 16 * kMiB);
    EXPECT_EQ(cuMemFreeAsync(pointer, stream), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before + 16 * kMiB) << "kept for the next launch";
    EXPECT_EQ(cuDeviceGraphMemTrim(0), CUDA_SUCCESS);
    EXPECT_EQ(Used(), before);
  });
}

TEST_F(CudaWork, AGreenContextHoldsSomeSms) {
  InContext([] {
    CUdevResource all = {}, part = {}, rest = {};
    EXPECT_EQ(cuDeviceGetDevResource(0, &all, CU_DEV_RESOURCE_TYPE_SM), CUDA_SUCCESS);
    EXPECT_EQ(all.sm.smCount, 132u);
    unsigned int groups = 1;
    EXPECT_EQ(cuDevSmResourceSplitByCount(&part, &groups, &all, &rest, 0, 30), CUDA_SUCCESS);
    EXPECT_EQ(part.sm.smCount, 32u);
    EXPECT_EQ(rest.sm.smCount, 100u);
    CUdevResourceDesc description = nullptr;
    CUgreenCtx green = nullptr;
    CUstream stream = nullptr;
    EXPECT_EQ(cuDevResourceGenerateDesc(&description, &part, 1), CUDA_SUCCESS);
    EXPECT_EQ(cuGreenCtxCreate(&green, description, 0, CU_GREEN_CTX_DEFAULT_STREAM), CUDA_SUCCESS);
    EXPECT_EQ(cuGreenCtxStreamCreate(&stream, green, CU_STREAM_NON_BLOCKING, 0), CUDA_SUCCESS);
    EXPECT_EQ(Launch(Function("nothing"), stream), CUDA_SUCCESS);
    EXPECT_EQ(cuGreenCtxDestroy(green), CUDA_SUCCESS);
    EXPECT_EQ(cuStreamQuery(stream), CUDA_ERROR_INVALID_HANDLE);
  });
}

TEST_F(CudaWork, WhatIsNotModelledIsCounted) {
  InContext([] {
    unsigned long long calls = 0;
    EXPECT_EQ(cuTexRefCreate(nullptr), CUDA_ERROR_NOT_SUPPORTED);
    EXPECT_EQ(cuTrancheSimUnmodelledCalls("cuTexRefCreate", &calls), CUDA_SUCCESS);
    EXPECT_EQ(calls, 1u);
    EXPECT_EQ(cuTrancheSimUnmodelledCalls(nullptr, &calls), CUDA_SUCCESS);
    EXPECT_GE(calls, 1u);
    EXPECT_EQ(cuTrancheSimUnmodelledCalls("cuNoSuchThing", &calls), CUDA_ERROR_NOT_FOUND);
  });
}

// Processes die at any instant of giving work, more of them than a GPU has contexts: the one that
// lives is served to the end, and nothing of the dead is left.
TEST_F(CudaWork, AStormOfKillsHoldsNobodyUp) {
  constexpr int kKills = 80, kAtOnce = 4;
  setenv("TRANCHE_SIM_DIR", dir_.c_str(), 1);
  // Gives work for ever, and says so after each piece.
  const auto start = [&](int* out) {
    int ends[2];
    EXPECT_EQ(pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = fork();
    if (child == 0) {
      uint64_t cost = 20000;
      void* arguments[] = {&cost};
      CUcontext context = nullptr;
      if (cuInit(0) != CUDA_SUCCESS || cuCtxCreate_v2(&context, 0, 0) != CUDA_SUCCESS) _exit(1);
      const CUfunction spin = Function("spin");
      const CUevent event = MakeEvent();
      for (;;) {
        for (int i = 0; i < 8; ++i)
          if (Launch(spin, nullptr, arguments) != CUDA_SUCCESS) _exit(1);
        if (cuEventRecord(event, nullptr) != CUDA_SUCCESS ||
            cuEventSynchronize(event) != CUDA_SUCCESS || write(ends[1], "", 1) != 1)
          _exit(1);
      }
    }
    close(ends[1]);
    *out = ends[0];
    return child;
  };
  const auto hear = [](int out, int times) {
    char byte = 0;
    while (times-- > 0)
      if (read(out, &byte, 1) != 1) return false;
    return true;
  };
  // Not what was said before.
  const auto hear_anew = [&](int out, int times) {
    pollfd ready = {out, POLLIN, 0};
    char old[256];
    while (poll(&ready, 1, 0) == 1 && read(out, old, sizeof(old)) > 0) {
    }
    return hear(out, times);
  };
  int survivor_out = -1;
  const pid_t survivor = start(&survivor_out);
  ASSERT_TRUE(hear(survivor_out, 1));
  const uint64_t alone = Used();
  pid_t doomed[kAtOnce];
  int outs[kAtOnce];
  for (int i = 0; i < kAtOnce; ++i) doomed[i] = start(&outs[i]);
  for (int i = 0; i < kKills; ++i) {
    const int at = i % kAtOnce;
    ASSERT_TRUE(hear(outs[at], 1 + i % 3)) << i;
    kill(doomed[at], SIGKILL);
    waitpid(doomed[at], nullptr, 0);
    close(outs[at]);
    ASSERT_TRUE(hear_anew(survivor_out, 2)) << "after kill " << i;
    doomed[at] = i < kKills - kAtOnce ? start(&outs[at]) : -1;
  }
  EXPECT_EQ(Used(), alone);
  EXPECT_TRUE(hear_anew(survivor_out, 20));
  kill(survivor, SIGKILL);
  waitpid(survivor, nullptr, 0);
  close(survivor_out);
  unsetenv("TRANCHE_SIM_DIR");
  InContext([] {
    EXPECT_EQ(Launch(Function("long"), nullptr), CUDA_SUCCESS);
    EXPECT_EQ(cuCtxSynchronize(), CUDA_SUCCESS);
  });
}

}  // namespace
}  // namespace tranche::sim
