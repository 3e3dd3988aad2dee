/*
 * What has gone wrong in limiters: one case each. Runs within a slice of 4 GiB on device 0.
 *
 *   cuda_cases CASE
 *
 * Says what is not as it should be and exits 1, or prints what the test compares.
 */
#include <dlfcn.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/cuda.h"
#include "abi/nvml.h"
#include "abi/slice_table.h"

#define MIB ((size_t)1 << 20)
#define GIB ((size_t)1 << 30)
#define MOST 4096

static void* cuda;
static CUdevice device;
static CUcontext context;

static void die(const char* what) {
  fprintf(stderr, "not so: %s\n", what);
  exit(1);
}
static void* find(void* library, const char* name) {
  void* function = dlsym(library, name);
  if (function == NULL) die(name);
  return function;
}
#define CUDA(name) ((__typeof__(&name))find(cuda, #name))
static void expect(int condition, const char* what) {
  if (!condition) die(what);
}
#define NEED(call) expect((call) == CUDA_SUCCESS, #call)

static void begin(void) {
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  if (cuda == NULL) die(dlerror());
  NEED(CUDA(cuInit)(0));
  NEED(CUDA(cuDeviceGet)(&device, 0));
  NEED(CUDA(cuDevicePrimaryCtxRetain)(&context, device));
  NEED(CUDA(cuCtxSetCurrent)(context));
}

static size_t used(void) {
  size_t free_bytes = 0, total = 0;
  NEED(CUDA(cuMemGetInfo_v2)(&free_bytes, &total));
  expect(free_bytes <= total, "no more is free than there is");
  return total - free_bytes;
}

static CUdeviceptr pointers[MOST];
static int fill(size_t bytes) {
  int count = 0;
  CUresult answer = CUDA_SUCCESS;
  while (count < MOST) {
    answer = CUDA(cuMemAlloc_v2)(&pointers[count], bytes);
    if (answer != CUDA_SUCCESS) break;
    ++count;
  }
  expect(answer == CUDA_ERROR_OUT_OF_MEMORY, "what is refused is out of memory");
  return count;
}

static CUmemAllocationProp place(CUmemLocationType type, int id) {
  CUmemAllocationProp properties;
  memset(&properties, 0, sizeof(properties));
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = type;
  properties.location.id = id;
  return properties;
}

/* Memory of the host has nothing to do with the device's. */
static void host_when_full(void) {
  begin();
  fill(10 * MIB);
  const size_t before = used();
  void* host = NULL;
  NEED(CUDA(cuMemAllocHost_v2)(&host, 64 * MIB));
  NEED(CUDA(cuMemFreeHost)(host));
  NEED(CUDA(cuMemHostAlloc)(&host, 64 * MIB, 0));
  NEED(CUDA(cuMemFreeHost)(host));
  CUmemAllocationProp properties = place(CU_MEM_LOCATION_TYPE_HOST_NUMA, 0);
  CUmemGenericAllocationHandle handle = 0;
  const CUresult answer = CUDA(cuMemCreate)(&handle, 64 * MIB, &properties, 0);
  expect(answer != CUDA_ERROR_OUT_OF_MEMORY, "the host's memory is not refused");
  if (answer == CUDA_SUCCESS) NEED(CUDA(cuMemRelease)(handle));
  expect(used() == before, "the device's memory is as it was");
}

/* The context ends with the last of its users, and so does what it takes. */
static void primary_twice(void) {
  begin();
  const size_t one = used();
  NEED(CUDA(cuDevicePrimaryCtxRetain)(&context, device));
  expect(used() == one, "a second user takes nothing");
  NEED(CUDA(cuDevicePrimaryCtxRelease_v2)(device));
  expect(used() == one, "the context stays with its first user");
  expect(one > 0, "a context takes memory");
}

/* Memory comes from one call and is given back by another. */
static void cross_free(void) {
  begin();
  CUstream stream;
  CUmemoryPool pool;
  CUmemPoolProps properties;
  memset(&properties, 0, sizeof(properties));
  properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  NEED(CUDA(cuStreamCreate)(&stream, CU_STREAM_NON_BLOCKING));
  NEED(CUDA(cuMemPoolCreate)(&pool, &properties));
  const size_t before = used();
  for (int i = 0; i < 500; ++i) {
    CUdeviceptr pointer;
    NEED(CUDA(cuMemAllocAsync)(&pointer, 20 * MIB, stream));
    NEED(CUDA(cuMemFree_v2)(pointer));
    NEED(CUDA(cuMemAlloc_v2)(&pointer, 20 * MIB));
    NEED(CUDA(cuMemFreeAsync)(pointer, stream));
    NEED(CUDA(cuMemAllocFromPoolAsync)(&pointer, 20 * MIB, pool, stream));
    NEED(CUDA(cuMemFreeAsync)(pointer, stream));
    NEED(CUDA(cuStreamSynchronize)(stream));
  }
  CUmemoryPool standard;
  NEED(CUDA(cuDeviceGetDefaultMemPool)(&standard, device));
  NEED(CUDA(cuMemPoolTrimTo)(standard, 0));
  NEED(CUDA(cuMemPoolTrimTo)(pool, 0));
  expect(used() == before, "after 500 rounds all is given back");
}

static void double_free(void) {
  begin();
  const size_t before = used();
  CUdeviceptr pointer;
  for (int i = 0; i < 50; ++i) {
    NEED(CUDA(cuMemAlloc_v2)(&pointer, 30 * MIB));
    NEED(CUDA(cuMemFree_v2)(pointer));
    expect(CUDA(cuMemFree_v2)(pointer) != CUDA_SUCCESS, "a second time is refused");
    expect(used() == before, "nothing is given back twice");
  }
}

/* The limit comes to lie below what is held, while the program runs. */
static void limit_below_use(void) {
  begin();
  for (int i = 0; i < 20; ++i) NEED(CUDA(cuMemAlloc_v2)(&pointers[i], 100 * MIB));
  const int fd = open(getenv("TRANCHE_SLICE_FILE"), O_WRONLY);
  const off_t at = offsetof(TrancheSlice, devices) + offsetof(TrancheDevice, memory_limit);
  uint64_t limit = GIB;
  expect(pwrite(fd, &limit, sizeof(limit), at) == sizeof(limit), "the limit is lowered");
  size_t free_bytes = 7, total = 0;
  NEED(CUDA(cuMemGetInfo_v2)(&free_bytes, &total));
  expect(free_bytes == 0 && total == GIB, "nothing is free, and asking is no error");
  CUdeviceptr more;
  expect(CUDA(cuMemAlloc_v2)(&more, MIB) == CUDA_ERROR_OUT_OF_MEMORY, "nothing more is given");
  for (int i = 0; i < 20; ++i) NEED(CUDA(cuMemFree_v2)(pointers[i]));
  NEED(CUDA(cuMemAlloc_v2)(&more, 100 * MIB));
  limit = 8 * GIB;
  expect(pwrite(fd, &limit, sizeof(limit), at) == sizeof(limit), "the limit is raised");
  NEED(CUDA(cuMemGetInfo_v2)(&free_bytes, &total));
  expect(total == 8 * GIB, "and holds at once");
}

/* NVML before CUDA; the devices numbered otherwise; then the limit as ever. Prints what it got. */
static void nvml_first(void) {
  void* nvml = dlopen("libnvidia-ml.so.1", RTLD_NOW);
  if (nvml == NULL) die(dlerror());
  unsigned int count = 0;
  NEED(((__typeof__(&nvmlInit_v2))find(nvml, "nvmlInit_v2"))());
  NEED(((__typeof__(&nvmlDeviceGetCount_v2))find(nvml, "nvmlDeviceGetCount_v2"))(&count));
  begin();
  printf("%d\n", fill(10 * MIB));
}

/* Of devices of which the slice has no part nothing is given: not even a context. Prints, for each
   device that is seen, what it gives. */
static void all_devices(void) {
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  if (cuda == NULL) die(dlerror());
  NEED(CUDA(cuInit)(0));
  int count = 0;
  NEED(CUDA(cuDeviceGetCount)(&count));
  for (int i = 0; i < count; ++i) {
    NEED(CUDA(cuDeviceGet)(&device, i));
    int given = 0;
    if (CUDA(cuDevicePrimaryCtxRetain)(&context, device) == CUDA_SUCCESS) {
      NEED(CUDA(cuCtxSetCurrent)(context));
      given = fill(10 * MIB);
      /* On whatever device is current, memory is taken from the one that is named. */
      CUmemGenericAllocationHandle handle;
      for (int other = 0; other < count; ++other) {
        CUmemAllocationProp properties = place(CU_MEM_LOCATION_TYPE_DEVICE, other);
        expect(CUDA(cuMemCreate)(&handle, 10 * MIB, &properties, 0) != CUDA_SUCCESS,
               "cuMemCreate gives no more on any device");
      }
    }
    printf("%d\n", given);
  }
}

/* Memory of another interface, which comes in by a descriptor: as if it had been allocated here. */
static void external(void) {
  begin();
  const size_t before = used();
  CUDA_EXTERNAL_MEMORY_HANDLE_DESC description;
  memset(&description, 0, sizeof(description));
  description.type = CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD;
  description.handle.fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
  description.size = 5 * GIB;
  CUexternalMemory memory = NULL;
  expect(CUDA(cuImportExternalMemory)(&memory, &description) == CUDA_ERROR_OUT_OF_MEMORY,
         "more than the slice is refused");
  expect(fcntl(description.handle.fd, F_GETFD) >= 0, "the descriptor is still the program's");
  description.size = GIB;
  NEED(CUDA(cuImportExternalMemory)(&memory, &description));
  expect(used() == before + GIB, "it is the slice's");
  NEED(CUDA(cuDestroyExternalMemory)(memory));
  expect(used() == before, "it is given back");
}

/* Only initialized: nothing is held, and so it stays. */
static void only_init(void) {
  cuda = dlopen("libcuda.so.1", RTLD_NOW);
  if (cuda == NULL) die(dlerror());
  NEED(CUDA(cuInit)(0));
  printf("ready\n");
  fflush(stdout);
  char byte;
  while (read(0, &byte, 1) > 0) continue;
}

int main(int argc, char** argv) {
  static const struct {
    const char* name;
    void (*run)(void);
  } kCases[] = {
      {"host_when_full", host_when_full},
      {"primary_twice", primary_twice},
      {"cross_free", cross_free},
      {"double_free", double_free},
      {"limit_below_use", limit_below_use},
      {"nvml_first", nvml_first},
      {"all_devices", all_devices},
      {"only_init", only_init},
      {"external", external},
  };
  for (size_t i = 0; argc == 2 && i < sizeof(kCases) / sizeof(kCases[0]); ++i) {
    if (strcmp(argv[1], kCases[i].name) != 0) continue;
    kCases[i].run();
    return 0;
  }
  return 64;
}
