/*
 * Lets a second GPU use memory of the first, as programs do that compute on several at once.
 *
 *   cuda_peers own | peer
 *
 * own: only the GPU that has it may use it, as every program of virtual memory says.
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

int main(int argc, char** argv) {
  if (argc != 2) return 64;
  /* Else it would see the GPU of its slice alone. */
  unsetenv("CUDA_VISIBLE_DEVICES");
  CUcontext context;
  need(cuInit(0), "cuInit");
  need(cuDevicePrimaryCtxRetain(&context, 0), "cuDevicePrimaryCtxRetain");
  need(cuCtxSetCurrent(context), "cuCtxSetCurrent");
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
