/*
 * What NVML and CUDA say of device 0, beside each other.
 *
 *   nvml_view [MIB]: takes so much memory first
 *
 * Prints one fact per line, "NAME VALUE...". VIEW_UUID names another device for NVML.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/cuda.h"
#include "abi/nvml.h"

static void* cuda;

static void* find(void* library, const char* name) {
  void* function = dlsym(library, name);
  if (function == NULL) {
    fprintf(stderr, "%s: %s\n", name, dlerror());
    exit(1);
  }
  return function;
}
#ifdef LINKED
#define NVML(name) (&name)
#else
static void* nvml;
#define NVML(name) ((__typeof__(&name))find(nvml, #name))
#endif
#define CUDA(name) ((__typeof__(&name))find(cuda, #name))

static void need(unsigned int code, const char* what) {
  if (code == 0) return;
  fprintf(stderr, "%s: %u\n", what, code);
  exit(1);
}

int main(int argc, char** argv) {
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  if (cuda == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
#ifndef LINKED
  nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (nvml == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 1;
  }
#endif
  const int mib = argc > 1 ? atoi(argv[1]) : 0;
  CUdevice device;
  CUcontext context;
  CUdeviceptr pointer;
  CUuuid uuid;
  if (mib > 0) {
    need(CUDA(cuInit)(0), "cuInit");
    need(CUDA(cuDeviceGet)(&device, 0), "cuDeviceGet");
    need(CUDA(cuDevicePrimaryCtxRetain)(&context, device), "cuDevicePrimaryCtxRetain");
    need(CUDA(cuCtxSetCurrent)(context), "cuCtxSetCurrent");
    need(CUDA(cuMemAlloc_v2)(&pointer, (size_t)mib << 20), "cuMemAlloc");
    size_t free_bytes, total;
    need(CUDA(cuMemGetInfo_v2)(&free_bytes, &total), "cuMemGetInfo");
    printf("cuda_total %zu\ncuda_free %zu\n", total, free_bytes);
    need(CUDA(cuDeviceGetUuid_v2)(&uuid, device), "cuDeviceGetUuid");
  }
  need(NVML(nvmlInit_v2)(), "nvmlInit");
  unsigned int count;
  need(NVML(nvmlDeviceGetCount_v2)(&count), "nvmlDeviceGetCount");
  printf("devices %u\n", count);
  nvmlDevice_t handle;
  const char* wanted = getenv("VIEW_UUID");
  need(wanted == NULL ? NVML(nvmlDeviceGetHandleByIndex_v2)(0, &handle)
                      : NVML(nvmlDeviceGetHandleByUUID)(wanted, &handle),
       "nvmlDeviceGetHandle");
  nvmlMemory_t one;
  memset(&one, 0, sizeof(one));
  printf("v1_code %u\n", NVML(nvmlDeviceGetMemoryInfo)(handle, &one));
  printf("v1_total %llu\nv1_free %llu\nv1_used %llu\n", one.total, one.free, one.used);
  nvmlMemory_v2_t two;
  memset(&two, 0, sizeof(two));
  printf("v2_wrong_version %u\n", NVML(nvmlDeviceGetMemoryInfo_v2)(handle, &two));
  two.version = nvmlMemory_v2;
  printf("v2_code %u\n", NVML(nvmlDeviceGetMemoryInfo_v2)(handle, &two));
  printf("v2_total %llu\nv2_free %llu\nv2_used %llu\nv2_reserved %llu\n", two.total, two.free,
         two.used, two.reserved);
  printf("null %u\n", NVML(nvmlDeviceGetMemoryInfo)(handle, NULL));
  const nvmlDevice_t nothing = {NULL};
  printf("no_device %u\n", NVML(nvmlDeviceGetMemoryInfo)(nothing, &one));

  nvmlProcessInfo_t infos[64];
  count = 0;
  printf("processes_asked %u", NVML(nvmlDeviceGetComputeRunningProcesses_v3)(handle, &count, NULL));
  printf(" %u\n", count);
  count = 64;
  printf("processes_code %u\n",
         NVML(nvmlDeviceGetComputeRunningProcesses_v3)(handle, &count, infos));
  for (unsigned int i = 0; i < count; ++i)
    printf("process %s %llu %d\n", infos[i].pid == (unsigned int)getpid() ? "self" : "other",
           infos[i].usedGpuMemory, (int)infos[i].gpuInstanceId);
  nvmlProcessInfo_v1_t old[64];
  count = 64;
  printf("processes_v1 %u", NVML(nvmlDeviceGetComputeRunningProcesses)(handle, &count, old));
  printf(" %u\n", count);
  nvmlProcessDetail_v1_t details[64];
  nvmlProcessDetailList_t list;
  memset(&list, 0, sizeof(list));
  printf("details_wrong_version %u\n", NVML(nvmlDeviceGetRunningProcessDetailList)(handle, &list));
  list.version = nvmlProcessDetailList_v1;
  list.procArray = details;
  list.numProcArrayEntries = 64;
  printf("details %u", NVML(nvmlDeviceGetRunningProcessDetailList)(handle, &list));
  printf(" %u\n", list.numProcArrayEntries);
  count = 64;
  printf("graphics %u", NVML(nvmlDeviceGetGraphicsRunningProcesses_v3)(handle, &count, infos));
  printf(" %u\n", count);
  nvmlProcessUtilizationSample_t samples[64];
  count = 64;
  printf("samples %u", NVML(nvmlDeviceGetProcessUtilization)(handle, samples, &count, 0));
  printf(" %u\n", count);
  nvmlUtilization_t utilization = {0, 0};
  printf("utilization %u", NVML(nvmlDeviceGetUtilizationRates)(handle, &utilization));
  printf(" %u\n", utilization.gpu);
  need(NVML(nvmlShutdown)(), "nvmlShutdown");
  printf("after_shutdown %u\n", NVML(nvmlDeviceGetMemoryInfo)(handle, &one));
  return 0;
}
