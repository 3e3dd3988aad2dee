/*
 * Takes device memory through one family of calls until it is refused, or so many times.
 *
 *   cuda_fill ACCESS FAMILY CHUNK_MIB [COUNT] [hold | again]
 *
 * ACCESS: linked (the program linked with -lcuda), dlopen, deepbind, proc (cuGetProcAddress).
 * FAMILY: linear small pitch managed async pool vmm vmm-released array mipmap graph context info
 * Prints "COUNT CODE USED TOTAL": how often it was given, what the last answer was, and what
 * cuMemGetInfo says then. With hold it stays until it is killed or standard input ends; with again
 * it gives all back and takes all once more, which has to give the same count. Exits 1 when a call
 * that cannot be refused fails.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "abi/cuda.h"

#define MOST 100000

#ifdef LINKED
#define FIND(name) ((void*)&name)
#else
static void* library;
static int by_proc_address;

static void* find(const char* symbol, const char* base, int version) {
  void* function = dlsym(library, symbol);
  if (by_proc_address) {
    CUresult (*get)(const char*, void**, int, cuuint64_t, CUdriverProcAddressQueryResult*) =
        dlsym(library, "cuGetProcAddress_v2");
    function = NULL;
    if (get(base, &function, version, 0, NULL) != CUDA_SUCCESS) function = NULL;
  }
  return function;
}
#endif

#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) \
  static CUresult(*p_##name) parameters;
#include "abi/cuda_symbols.inc"

static void load(const char* access_mode) {
#ifdef LINKED
  (void)access_mode;
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) p_##name = name;
#include "abi/cuda_symbols.inc"
#else
  int flags = RTLD_NOW;
  if (strcmp(access_mode, "deepbind") == 0) flags |= RTLD_DEEPBIND;
  by_proc_address = strcmp(access_mode, "proc") == 0;
  library = dlopen("libcuda.so.1", flags);
  if (library == NULL) {
    fprintf(stderr, "%s\n", dlerror());
    exit(1);
  }
#define CUDA_SYMBOL(name, base, since, per_thread, parameters, arguments) \
  if (!per_thread && since != 0) *(void**)&p_##name = find(#name, #base, since);
#include "abi/cuda_symbols.inc"
#endif
}

static void need(CUresult answer, const char* what) {
  if (answer == CUDA_SUCCESS) return;
  fprintf(stderr, "%s: %d\n", what, (int)answer);
  exit(1);
}

static CUdeviceptr pointers[MOST];
static CUdeviceptr addresses[MOST];
static void* handles[MOST];
static CUmemoryPool pool;

static CUresult take(const char* family, size_t bytes, int i) {
  if (strcmp(family, "linear") == 0 || strcmp(family, "small") == 0)
    return p_cuMemAlloc_v2(&pointers[i], bytes);
  if (strcmp(family, "pitch") == 0) {
    size_t pitch;
    return p_cuMemAllocPitch_v2(&pointers[i], &pitch, 1000, bytes / 1024, 4);
  }
  if (strcmp(family, "managed") == 0)
    return p_cuMemAllocManaged(&pointers[i], bytes, CU_MEM_ATTACH_GLOBAL);
  if (strcmp(family, "async") == 0) return p_cuMemAllocAsync(&pointers[i], bytes, NULL);
  if (strcmp(family, "pool") == 0)
    return p_cuMemAllocFromPoolAsync(&pointers[i], bytes, pool, NULL);
  if (strncmp(family, "vmm", 3) == 0) {
    CUmemAllocationProp properties;
    memset(&properties, 0, sizeof(properties));
    properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    CUmemGenericAllocationHandle handle;
    const CUresult answer = p_cuMemCreate(&handle, bytes, &properties, 0);
    if (answer != CUDA_SUCCESS) return answer;
    pointers[i] = handle;
    if (strcmp(family, "vmm-released") != 0) return answer;
    /* The mapping keeps the memory when the handle is gone. */
    need(p_cuMemAddressReserve(&addresses[i], bytes, 0, 0, 0), "cuMemAddressReserve");
    need(p_cuMemMap(addresses[i], bytes, 0, handle, 0), "cuMemMap");
    need(p_cuMemRelease(handle), "cuMemRelease");
    return answer;
  }
  if (strcmp(family, "array") == 0) {
    CUDA_ARRAY_DESCRIPTOR descriptor = {1024, bytes / 4096, CU_AD_FORMAT_FLOAT, 1};
    return p_cuArrayCreate_v2((CUarray*)&handles[i], &descriptor);
  }
  if (strcmp(family, "mipmap") == 0) {
    CUDA_ARRAY3D_DESCRIPTOR descriptor = {1024, bytes / 4096, 0, CU_AD_FORMAT_FLOAT, 1, 0};
    return p_cuMipmappedArrayCreate((CUmipmappedArray*)&handles[i], &descriptor, 3);
  }
  if (strcmp(family, "context") == 0) return p_cuCtxCreate_v2((CUcontext*)&handles[i], 0, 0);
  if (strcmp(family, "graph") == 0) {
    CUDA_MEM_ALLOC_NODE_PARAMS parameters;
    memset(&parameters, 0, sizeof(parameters));
    parameters.poolProps.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    parameters.poolProps.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    parameters.bytesize = bytes;
    CUgraph graph;
    CUgraphNode node;
    CUgraphExec exec;
    need(p_cuGraphCreate(&graph, 0), "cuGraphCreate");
    need(p_cuGraphAddMemAllocNode(&node, graph, NULL, 0, &parameters), "cuGraphAddMemAllocNode");
    CUresult answer = p_cuGraphInstantiateWithFlags(&exec, graph, 0);
    if (answer == CUDA_SUCCESS) answer = p_cuGraphLaunch(exec, NULL);
    return answer;
  }
  if (strcmp(family, "info") == 0) return CUDA_ERROR_OUT_OF_MEMORY;
  fprintf(stderr, "no family '%s'\n", family);
  exit(1);
}

static void give(const char* family, size_t bytes, int i) {
  if (strcmp(family, "async") == 0 || strcmp(family, "pool") == 0)
    need(p_cuMemFreeAsync(pointers[i], NULL), "cuMemFreeAsync");
  else if (strcmp(family, "vmm-released") == 0)
    need(p_cuMemUnmap(addresses[i], bytes), "cuMemUnmap");
  else if (strcmp(family, "vmm") == 0)
    need(p_cuMemRelease(pointers[i]), "cuMemRelease");
  else if (strcmp(family, "array") == 0)
    need(p_cuArrayDestroy(handles[i]), "cuArrayDestroy");
  else if (strcmp(family, "mipmap") == 0)
    need(p_cuMipmappedArrayDestroy(handles[i]), "cuMipmappedArrayDestroy");
  else if (strcmp(family, "context") == 0)
    need(p_cuCtxDestroy_v2(handles[i]), "cuCtxDestroy");
  else
    need(p_cuMemFree_v2(pointers[i]), "cuMemFree");
}

int main(int argc, char** argv) {
  if (argc < 4) return 64;
  const char* family = argv[2];
  const size_t bytes = (size_t)(atof(argv[3]) * 1048576);
  const int most = argc > 4 ? atoi(argv[4]) : MOST;
  const char* then = argc > 5 ? argv[5] : "";
  load(argv[1]);
  CUcontext context;
  CUdevice device;
  need(p_cuInit(0), "cuInit");
  need(p_cuDeviceGet(&device, 0), "cuDeviceGet");
  need(p_cuDevicePrimaryCtxRetain(&context, device), "cuDevicePrimaryCtxRetain");
  need(p_cuCtxSetCurrent(context), "cuCtxSetCurrent");
  if (strcmp(family, "pool") == 0) {
    CUmemPoolProps properties;
    memset(&properties, 0, sizeof(properties));
    properties.allocType = CU_MEM_ALLOCATION_TYPE_PINNED;
    properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    need(p_cuMemPoolCreate(&pool, &properties), "cuMemPoolCreate");
  }
  int count = 0, first = -1;
  CUresult answer = CUDA_SUCCESS;
  for (int round = 0; round < (strcmp(then, "again") == 0 ? 3 : 1); ++round) {
    if (round > 0) {
      first = count;
      for (int i = 0; i < count; ++i) give(family, bytes, i);
      need(p_cuCtxSetCurrent(context), "cuCtxSetCurrent");
      need(p_cuCtxSynchronize(), "cuCtxSynchronize");
    }
    for (count = 0, answer = CUDA_SUCCESS; count < most && count < MOST; ++count) {
      answer = take(family, bytes, count);
      if (answer != CUDA_SUCCESS) break;
    }
    if (first >= 0 && first != count) {
      fprintf(stderr, "%d the first time, then %d\n", first, count);
      return 1;
    }
  }
  size_t free_bytes = 0, total = 0, total_too = 0;
  need(p_cuCtxSetCurrent(context), "cuCtxSetCurrent");
  need(p_cuMemGetInfo_v2(&free_bytes, &total), "cuMemGetInfo");
  // May be refused, as drivers differ there.
  (void)p_cuMemGetInfo_v2(NULL, &total_too);
  need(p_cuDeviceTotalMem_v2(&total_too, device), "cuDeviceTotalMem");
#ifndef ANY_LIMITER /* others tell two numbers */
  if (total != total_too) return 2;
#endif
  printf("%d %d %zu %zu\n", count, (int)answer, total - free_bytes, total);
  fflush(stdout);
  char byte;
  if (strcmp(then, "hold") == 0)
    while (read(0, &byte, 1) > 0) continue;
  return 0;
}
