#include "client.h"

#include <benchmark/benchmark.h>
#include <dlfcn.h>
#include <spawn.h>
#include <sys/wait.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <vector>

#include "abi/cuda.h"

extern "C" char** environ;

namespace tranche::bench {
namespace {

void Need(CUresult answer, const char* what) {
  if (answer == CUDA_SUCCESS) return;
  std::fprintf(stderr, "%s: %d\n", what, static_cast<int>(answer));
  std::exit(1);
}

template <typename Function>
Function* Find(const char* name) {
  static void* const library = dlopen("libcuda.so.1", RTLD_NOW);
  void* function = library == nullptr ? nullptr : dlsym(library, name);
  if (function == nullptr) {
    std::fprintf(stderr, "no %s: %s\n", name, dlerror());
    std::exit(1);
  }
  return reinterpret_cast<Function*>(function);
}

#define DRIVER(name) Find<decltype(::name)>(#name)

struct Gpu {
  CUcontext context = nullptr;
  CUfunction nothing = nullptr;
  CUgraphExec graph = nullptr;
  CUstream stream = nullptr;
};

Gpu& TheGpu() {
  static Gpu gpu = [] {
    Gpu made;
    CUdevice device = 0;
    CUmodule module = nullptr;
    CUgraph graph = nullptr;
    Need(DRIVER(cuInit)(0), "cuInit");
    Need(DRIVER(cuDeviceGet)(&device, 0), "cuDeviceGet");
    Need(DRIVER(cuDevicePrimaryCtxRetain)(&made.context, device), "cuDevicePrimaryCtxRetain");
    Need(DRIVER(cuCtxSetCurrent)(made.context), "cuCtxSetCurrent");
    // A kernel of no cost: what is measured is the way to the driver.
    Need(DRIVER(cuModuleLoadData)(&module, "tranche-kernels 1\nkernel nothing 0\n"),
         "cuModuleLoadData");
    Need(DRIVER(cuModuleGetFunction)(&made.nothing, module, "nothing"), "cuModuleGetFunction");
    Need(DRIVER(cuStreamCreate)(&made.stream, CU_STREAM_NON_BLOCKING), "cuStreamCreate");
    Need(DRIVER(cuStreamBeginCapture_v2)(made.stream, CU_STREAM_CAPTURE_MODE_RELAXED), "capture");
    Need(DRIVER(cuLaunchKernel)(made.nothing, 1, 1, 1, 1, 1, 1, 0, made.stream, nullptr, nullptr),
         "cuLaunchKernel");
    Need(DRIVER(cuStreamEndCapture)(made.stream, &graph), "cuStreamEndCapture");
    Need(DRIVER(cuGraphInstantiateWithFlags)(&made.graph, graph, 0), "cuGraphInstantiate");
    return made;
  }();
  return gpu;
}

void Launch(benchmark::State& state) {
  const Gpu& gpu = TheGpu();
  const auto launch = DRIVER(cuLaunchKernel);
  for (auto _ : state)
    Need(launch(gpu.nothing, 1, 1, 1, 1, 1, 1, 0, gpu.stream, nullptr, nullptr), "launch");
}
BENCHMARK(Launch);

void GraphLaunch(benchmark::State& state) {
  const Gpu& gpu = TheGpu();
  const auto launch = DRIVER(cuGraphLaunch);
  for (auto _ : state) Need(launch(gpu.graph, gpu.stream), "graph launch");
}
BENCHMARK(GraphLaunch);

// While so many others live.
void AllocFree(benchmark::State& state) {
  TheGpu();
  const auto alloc = DRIVER(cuMemAlloc_v2);
  const auto free = DRIVER(cuMemFree_v2);
  std::vector<CUdeviceptr> live(static_cast<size_t>(state.range(0)));
  for (CUdeviceptr& pointer : live) Need(alloc(&pointer, 4096), "cuMemAlloc");
  for (auto _ : state) {
    CUdeviceptr pointer = 0;
    Need(alloc(&pointer, 4096), "cuMemAlloc");
    Need(free(pointer), "cuMemFree");
  }
  for (const CUdeviceptr pointer : live) Need(free(pointer), "cuMemFree");
}
BENCHMARK(AllocFree)->Arg(10)->Arg(1000)->Arg(100000);

}  // namespace

int RunClient(int argc, char** argv) {
  benchmark::Initialize(&argc, argv);
  benchmark::RunSpecifiedBenchmarks();
  return 0;
}

int StartClient() {
  int count = 0;
  Need(DRIVER(cuInit)(0), "cuInit");
  Need(DRIVER(cuDeviceGetCount)(&count), "cuDeviceGetCount");
  return count == 1 ? 0 : 1;
}

namespace {

using Instant = std::chrono::steady_clock::time_point;

pid_t Spawn(const char* self) {
  const char* words[] = {self, "--start", nullptr};
  pid_t pid = -1;
  if (posix_spawn(&pid, self, nullptr, nullptr, const_cast<char**>(words), environ) == 0)
    return pid;
  std::fprintf(stderr, "cannot start %s\n", self);
  std::exit(1);
}

void Await(pid_t pid) {
  int status = 0;
  if (waitpid(pid, &status, 0) == pid && WIFEXITED(status) && WEXITSTATUS(status) == 0) return;
  std::fprintf(stderr, "a started program failed\n");
  std::exit(1);
}

void WriteSince(Instant begin, std::FILE* out) {
  const std::chrono::duration<double, std::nano> passed = std::chrono::steady_clock::now() - begin;
  std::fprintf(out, "%.0f\n", passed.count());
}

}  // namespace

int StartOthers(const char* self, int count, bool at_once, const char* path) {
  std::FILE* out = std::fopen(path, "we");
  if (out == nullptr) {
    std::fprintf(stderr, "cannot write %s\n", path);
    return 1;
  }
  if (!at_once) {
    for (int i = 0; i < count; ++i) {
      const Instant begin = std::chrono::steady_clock::now();
      Await(Spawn(self));
      WriteSince(begin, out);
    }
    return std::fclose(out) == 0 ? 0 : 1;
  }
  const Instant begin = std::chrono::steady_clock::now();
  std::vector<pid_t> pids;
  for (int i = 0; i < count; ++i) pids.push_back(Spawn(self));
  for (const pid_t pid : pids) Await(pid);
  WriteSince(begin, out);
  return std::fclose(out) == 0 ? 0 : 1;
}

}  // namespace tranche::bench
