/*
 * Lets a second GPU use memory of the first, as programs do that compute on several at once.
 *
 *   cuda_peers own | peer | pool-own | pool-peer | export GPU | open HANDLE
 *
 * own: only the GPU that has it may use it, as every program of virtual memory says. export: prints
 * a handle of memory on that GPU, and keeps it until standard input ends; open: opens such memory
 * of another process, with a context on the first GPU.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi/cuda.h"

static void need(CUresult answer, const char* what) {
  if (answer == CUDA_SUCCESS) return;
  fprintf(stderr, "%s: %d\n", what, (int)answer);
  exit(1);
}

static void pool(int users_count) {
  CUmemoryPool made;
  need(cuDeviceGetDefaultMemPool(&made, 0), "cuDeviceGetDefaultMemPool");
  CUmemAccessDesc users[2];
  memset(users, 0, sizeof(users));
  for (int i = 0; i < 2; ++i) {
    users[i].location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    users[i].location.id = i;
    users[i].flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  }
  need(cuMemPoolSetAccess(made, users, (size_t)users_count), "cuMemPoolSetAccess");
}

static void export_from(int gpu) {
  CUcontext context;
  CUdeviceptr pointer;
  CUipcMemHandle handle;
  need(cuDevicePrimaryCtxRetain(&context, gpu), "cuDevicePrimaryCtxRetain");
  need(cuCtxSetCurrent(context), "cuCtxSetCurrent");
  need(cuMemAlloc_v2(&pointer, 2 << 20), "cuMemAlloc");
  need(cuIpcGetMemHandle(&handle, pointer), "cuIpcGetMemHandle");
  const unsigned char* byte = (const unsigned char*)&handle;
  for (size_t i = 0; i < sizeof(handle); ++i) printf("%02x", byte[i]);
  puts("");
  fflush(stdout);
  while (getchar() != EOF) continue;
}

static void open_handle(const char* digits) {
  CUipcMemHandle handle;
  unsigned char* byte = (unsigned char*)&handle;
  for (size_t i = 0; i < sizeof(handle); ++i) {
    unsigned value = 0;
    if (sscanf(digits + 2 * i, "%2x", &value) != 1) exit(64);
    byte[i] = (unsigned char)value;
  }
  CUdeviceptr pointer;
  need(cuIpcOpenMemHandle_v2(&pointer, handle, 1), "cuIpcOpenMemHandle");
}

int main(int argc, char** argv) {
  if (argc != 2 && argc != 3) return 64;
  /* Else it would see the GPU of its slice alone. */
  unsetenv("CUDA_VISIBLE_DEVICES");
  CUcontext context;
  need(cuInit(0), "cuInit");
  if (strcmp(argv[1], "export") == 0) return export_from(atoi(argv[2])), 0;
  need(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
  need(cuCtxSetCurrent(context), "cuCtxSetCurrent");
  if (strcmp(argv[1], "open") == 0) return open_handle(argv[2]), 0;
  if (strncmp(argv[1], "pool", 4) == 0) return pool(strcmp(argv[1], "pool-peer") == 0 ? 2 : 1), 0;
  const size_t bytes = 2 << 20;
  CUmemAllocationProp properties;
  memset(&properties, 0, sizeof(properties));
  properties.type = CU_MEM_ALLOCATION_TYPE_PINNED;
  properties.location.type = CU_MEM_LOCATION_TYPE_DEVICE;
  CUmemGenericAllocationHandle handle;
  CUdeviceptr address;
  need(cuMemCreate(&handle, bytes, &properties, 0), "cuMemCreate");
  need(cuMemAddressReserve(&address, bytes, 0, 0, 0), "cuMemAddressReserve");
  need(cuMemMap(address, bytes, 0, handle, 0), "cuMemMap");
  CUmemAccessDesc users[2];
  memset(users, 0, sizeof(users));
  for (int i = 0; i < 2; ++i) {
    users[i].location.type = CU_MEM_LOCATION_TYPE_DEVICE;
    users[i].location.id = i;
    users[i].flags = CU_MEM_ACCESS_FLAGS_PROT_READWRITE;
  }
  need(cuMemSetAccess(address, bytes, users, strcmp(argv[1], "peer") == 0 ? 2 : 1),
       "cuMemSetAccess");
  return 0;
}
