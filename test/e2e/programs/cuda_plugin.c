/* A library that needs the driver as it is linked, as extension modules do. */
#include "abi/cuda.h"

void plugin_driver(void** functions);
void plugin_driver(void** functions) {
  functions[0] = (void*)&cuInit;
  functions[1] = (void*)&cuDeviceGet;
  functions[2] = (void*)&cuDevicePrimaryCtxRetain;
  functions[3] = (void*)&cuCtxSetCurrent;
  functions[4] = (void*)&cuMemAlloc_v2;
}
