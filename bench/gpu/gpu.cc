#include "gpu.h"

#include "kernels.h"

namespace tranche::gpu_check {
namespace {

constexpr unsigned kThreads = 128;  // of a block

// Told by whoever has seen the driver, which this program may meet through a limiter.
bool IsSimulated() {
  return std::getenv("GPU_CHECK_SIMULATED") != nullptr ||
         dlsym(Libcuda(), "cuTrancheSimUnmodelledCalls") != nullptr;
}

}  // namespace

Gpu::Gpu() : simulated(IsSimulated()) {
  CU(cuInit, 0);
  CU(cuDeviceGet, &device, 0);
  CU(cuDeviceGetAttribute, &multiprocessors, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device);
  CU(cuDevicePrimaryCtxRetain, &context, device);
  CU(cuCtxSetCurrent, context);
  CU(cuModuleLoadData, &module, code());
  CU(cuStreamCreate, &stream, CU_STREAM_NON_BLOCKING);
}

const char* Gpu::code() const { return simulated ? kSimulatedKernels : kPtx; }

CUfunction Gpu::Kernel(const char* name) const {
  CUfunction kernel = nullptr;
  CU(cuModuleGetFunction, &kernel, module, name);
  return kernel;
}

CUdeviceptr Gpu::Memory(size_t bytes) const {
  CUdeviceptr memory = 0;
  CU(cuMemAlloc_v2, &memory, bytes);
  CU(cuMemsetD8_v2, memory, 0, bytes);
  CU(cuCtxSynchronize);
  return memory;
}

std::vector<uint64_t> Gpu::Read(CUdeviceptr from, size_t words) const {
  std::vector<uint64_t> read(words);
  CU(cuMemcpyDtoH_v2, read.data(), from, words * sizeof(uint64_t));
  return read;
}

void Gpu::Wait() const { CU(cuStreamSynchronize, stream); }

int64_t Gpu::GlobalTimer() const {
  const CUdeviceptr where = Memory(8);
  uint64_t nominal = 0;
  CUdeviceptr argument = where;
  void* arguments[] = {&nominal, &argument};
  CU(cuLaunchKernel, Kernel("now"), 1, 1, 1, 1, 1, 1, 0, stream, arguments, nullptr);
  Wait();
  const uint64_t now = Read(where, 1)[0];
  CU(cuMemFree_v2, where);
  return static_cast<int64_t>(now);
}

void Spin::Launch(CUstream stream) {
  void* arguments[] = {&nominal, &iterations, &counters, &from, &to};
  CU(cuLaunchKernel, kernel, blocks, 1, 1, kThreads, 1, 1, 0, stream, arguments, nullptr);
}

double Spin::Calibrate(const Gpu& gpu) {
  if (gpu.simulated) return static_cast<double>(nominal);
  CUevent begin = nullptr, end = nullptr;
  CU(cuEventCreate, &begin, CU_EVENT_DEFAULT);
  CU(cuEventCreate, &end, CU_EVENT_DEFAULT);
  const double wanted = static_cast<double>(nominal);
  // Several in a row, so that what it takes to start one is hidden as it is in use.
  const int launches = static_cast<int>(std::clamp(4e6 / wanted, 2.0, 400.0));
  iterations = std::max<uint64_t>(1, nominal / 200);
  double each = 0;
  for (int round = 0; round < 6; ++round) {
    CU(cuEventRecord, begin, gpu.stream);
    for (int i = 0; i < launches; ++i) Launch(gpu.stream);
    CU(cuEventRecord, end, gpu.stream);
    gpu.Wait();
    float milliseconds = 0;
    CU(cuEventElapsedTime, &milliseconds, begin, end);
    each = static_cast<double>(milliseconds) * 1e6 / launches;
    if (each <= 0) Give("a kernel takes no time here");
    // The first rounds find the clock rising.
    if (round < 5)
      iterations = std::max<uint64_t>(
          1, static_cast<uint64_t>(static_cast<double>(iterations) * wanted / each));
  }
  CU(cuEventDestroy_v2, begin);
  CU(cuEventDestroy_v2, end);
  return each;
}

}  // namespace tranche::gpu_check
