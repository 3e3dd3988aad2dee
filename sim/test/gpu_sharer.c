/*
 * Gives a GPU work for a while of its clock, and says how many kernels were done.
 *
 *   gpu_sharer SHAPE KERNEL_US BLOCKS MILLISECONDS
 *
 * SHAPE: deep (keeps 64 in the queue), sync (waits after each), spin (asks after each until it is
 * done), threads (two threads that each wait after each).
 *
 *   gpu_sharer look FUNCTION 0 0: what cuGetProcAddress answers, its code and its status.
 *   gpu_sharer see 0 0 MILLISECONDS: with a context, prints how many GPUs there are, and of the
 *     first one the SMs, whether MPS is in between, and the MiB that are free; then waits.
 */
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "abi/cuda.h"

#define DRIVER(name) ((__typeof__(&name))Find(#name))

static void* driver;
static void* Find(const char* name) {
  void* found = dlsym(driver, name);
  if (found == NULL) {
    fprintf(stderr, "no %s\n", name);
    exit(2);
  }
  return found;
}

static void Need(CUresult answer, const char* what) {
  if (answer == CUDA_SUCCESS) return;
  fprintf(stderr, "%s: %d\n", what, (int)answer);
  exit(1);
}

static double Now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static unsigned long long kernel_ns;
static unsigned int blocks;
static double end_at;
static CUcontext context;
static CUfunction kernel;
static int spin;

static void Launch(CUstream stream) {
  void* arguments[] = {&kernel_ns};
  Need(DRIVER(cuLaunchKernel)(kernel, blocks, 1, 1, 32, 1, 1, 0, stream, arguments, NULL),
       "launch");
}

static void* EachWaitedFor(void* count) {
  CUstream stream;
  Need(DRIVER(cuCtxSetCurrent)(context), "current");
  Need(DRIVER(cuStreamCreate)(&stream, CU_STREAM_NON_BLOCKING), "stream");
  while (Now() < end_at) {
    Launch(stream);
    while (spin && DRIVER(cuStreamQuery)(stream) == CUDA_ERROR_NOT_READY) {
    }
    Need(DRIVER(cuStreamSynchronize)(stream), "wait");
    ++*(unsigned long*)count;
  }
  return NULL;
}

static unsigned long Deep(void) {
  CUevent done[64];
  unsigned long count = 0;
  for (int i = 0; i < 64; ++i)
    Need(DRIVER(cuEventCreate)(&done[i], CU_EVENT_DISABLE_TIMING), "event");
  for (unsigned long i = 0; Now() < end_at; ++i) {
    if (i >= 64) {
      Need(DRIVER(cuEventSynchronize)(done[i % 64]), "wait");
      ++count;
    }
    Launch(NULL);
    Need(DRIVER(cuEventRecord)(done[i % 64], NULL), "record");
  }
  return count;
}

static int See(double milliseconds) {
  int count = 0, sms = 0, mps = 0;
  size_t free_bytes = 0, total = 0;
  Need(DRIVER(cuInit)(0), "init");
  Need(DRIVER(cuCtxCreate_v2)(&context, 0, 0), "context");
  Need(DRIVER(cuDeviceGetCount)(&count), "count");
  Need(DRIVER(cuDeviceGetAttribute)(&sms, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, 0), "SMs");
  Need(DRIVER(cuDeviceGetAttribute)(&mps, CU_DEVICE_ATTRIBUTE_MPS_ENABLED, 0), "MPS");
  Need(DRIVER(cuMemGetInfo_v2)(&free_bytes, &total), "memory");
  printf("%d %d %d %lu\n", count, sms, mps, (unsigned long)(free_bytes >> 20));
  fflush(stdout);
  usleep((useconds_t)(milliseconds * 1e3));
  return 0;
}

int main(int argc, char** argv) {
  if (argc != 5) return 64;
  driver = dlopen("libcuda.so.1", RTLD_NOW | RTLD_GLOBAL);
  if (driver == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    return 2;
  }
  if (strcmp(argv[1], "see") == 0) return See(strtod(argv[4], NULL));
  if (strcmp(argv[1], "look") == 0) {
    void* found = NULL;
    CUdriverProcAddressQueryResult status = CU_GET_PROC_ADDRESS_SUCCESS;
    const CUresult answer = DRIVER(cuGetProcAddress_v2)(argv[2], &found, 13000, 0, &status);
    printf("%s: %d %d\n", argv[2], (int)answer, (int)status);
    return (found == NULL) != (answer != CUDA_SUCCESS);
  }
  kernel_ns = strtoull(argv[2], NULL, 10) * 1000;
  blocks = (unsigned int)strtoul(argv[3], NULL, 10);
  CUmodule module;
  Need(DRIVER(cuInit)(0), "init");
  Need(DRIVER(cuCtxCreate_v2)(&context, 0, 0), "context");
  Need(DRIVER(cuModuleLoadData)(&module, "tranche-kernels 1\nkernel work argument\n"), "module");
  Need(DRIVER(cuModuleGetFunction)(&kernel, module, "work"), "function");
  end_at = Now() + strtod(argv[4], NULL) / 1e3;
  unsigned long counts[2] = {0, 0};
  if (strcmp(argv[1], "deep") == 0) {
    counts[0] = Deep();
  } else if (strcmp(argv[1], "threads") == 0) {
    pthread_t threads[2];
    for (int i = 0; i < 2; ++i) pthread_create(&threads[i], NULL, EachWaitedFor, &counts[i]);
    for (int i = 0; i < 2; ++i) pthread_join(threads[i], NULL);
  } else {
    spin = strcmp(argv[1], "spin") == 0;
    EachWaitedFor(&counts[0]);
  }
  printf("%lu\n", counts[0] + counts[1]);
  return 0;
}
