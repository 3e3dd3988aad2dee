// hold-context LIBCUDA GPU_UUID: makes a context on the GPU, says "y MPS SMS FREE" (or "n" and
// why), and keeps it until standard input ends. MPS: 1 when it is a client of an MPS server. SMS:
// as the context has them; FREE: bytes that it may still allocate; 0 where the driver does not say.
// A program of its own, since CUDA must not be set up in a forked child of a process with threads,
// and never in the process that asks.

#include <dlfcn.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>

#include "abi/cuda.h"

namespace {

int Refuse(const char* what, int code) {
  std::printf("n %s answers %d\n", what, code);
  return 1;
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 3) return 64;
  setenv("CUDA_VISIBLE_DEVICES", argv[2], 1);
  void* library = dlopen(argv[1], RTLD_NOW | RTLD_LOCAL);
  const auto find = [&](const char* name) {
    return library == nullptr ? nullptr : dlsym(library, name);
  };
  const auto init = reinterpret_cast<decltype(&cuInit)>(find("cuInit"));
  const auto get = reinterpret_cast<decltype(&cuDeviceGet)>(find("cuDeviceGet"));
  const auto retain =
      reinterpret_cast<decltype(&cuDevicePrimaryCtxRetain)>(find("cuDevicePrimaryCtxRetain"));
  if (init == nullptr || get == nullptr || retain == nullptr) {
    std::printf("n %s\n", dlerror());
    return 1;
  }
  CUdevice device = 0;
  CUcontext context = nullptr;
  if (const CUresult went = init(0); went != CUDA_SUCCESS) return Refuse("cuInit", went);
  if (const CUresult went = get(&device, 0); went != CUDA_SUCCESS)
    return Refuse("cuDeviceGet", went);
  if (const CUresult went = retain(&context, device); went != CUDA_SUCCESS)
    return Refuse("cuDevicePrimaryCtxRetain", went);
  const auto attribute =
      reinterpret_cast<decltype(&cuDeviceGetAttribute)>(find("cuDeviceGetAttribute"));
  const auto set_current = reinterpret_cast<decltype(&cuCtxSetCurrent)>(find("cuCtxSetCurrent"));
  const auto memory = reinterpret_cast<decltype(&cuMemGetInfo_v2)>(find("cuMemGetInfo_v2"));
  int mps = 0, sms = 0;
  size_t available = 0, total = 0;
  if (attribute == nullptr ||
      attribute(&mps, CU_DEVICE_ATTRIBUTE_MPS_ENABLED, device) != CUDA_SUCCESS)
    mps = 0;
  if (attribute == nullptr ||
      attribute(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, device) != CUDA_SUCCESS)
    sms = 0;
  if (memory == nullptr || set_current == nullptr || set_current(context) != CUDA_SUCCESS ||
      memory(&available, &total) != CUDA_SUCCESS)
    available = 0;
  std::printf("y %d %d %zu\n", mps != 0 ? 1 : 0, sms, available);
  std::fflush(stdout);
  char byte;
  while (read(STDIN_FILENO, &byte, 1) > 0) {
  }
  return 0;
}
