#include "limiter/launch_gate.h"
#include "limiter/symbols.h"

// Everything that starts work on the GPU, except graphs.
namespace tranche::limiter {

HOOK(cuLaunchKernel,
     (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
      unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
      CUstream stream, void** parameters, void** extra)) {
  BeforeLaunch(stream);
  return REAL(cuLaunchKernel)(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared,
                              stream, parameters, extra);
}
HOOK(cuLaunchKernel_ptsz,
     (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
      unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
      CUstream stream, void** parameters, void** extra)) {
  BeforeLaunch(stream);
  return REAL(cuLaunchKernel_ptsz)(function, grid_x, grid_y, grid_z, block_x, block_y, block_z,
                                   shared, stream, parameters, extra);
}

HOOK(cuLaunchKernelEx,
     (const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra)) {
  BeforeLaunch(config == nullptr ? nullptr : config->hStream);
  return REAL(cuLaunchKernelEx)(config, function, parameters, extra);
}
HOOK(cuLaunchKernelEx_ptsz,
     (const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra)) {
  BeforeLaunch(config == nullptr ? nullptr : config->hStream);
  return REAL(cuLaunchKernelEx_ptsz)(config, function, parameters, extra);
}

HOOK(cuLaunchCooperativeKernel,
     (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
      unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
      CUstream stream, void** parameters)) {
  BeforeLaunch(stream);
  return REAL(cuLaunchCooperativeKernel)(function, grid_x, grid_y, grid_z, block_x, block_y,
                                         block_z, shared, stream, parameters);
}
HOOK(cuLaunchCooperativeKernel_ptsz,
     (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
      unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
      CUstream stream, void** parameters)) {
  BeforeLaunch(stream);
  return REAL(cuLaunchCooperativeKernel_ptsz)(function, grid_x, grid_y, grid_z, block_x, block_y,
                                              block_z, shared, stream, parameters);
}
HOOK(cuLaunchCooperativeKernelMultiDevice,
     (CUDA_LAUNCH_PARAMS * launches, unsigned int devices, unsigned int flags)) {
  for (unsigned int i = 0; launches != nullptr && i < devices; ++i)
    BeforeLaunch(launches[i].hStream);
  return REAL(cuLaunchCooperativeKernelMultiDevice)(launches, devices, flags);
}

HOOK(cuLaunch, (CUfunction function)) {
  BeforeLaunch(nullptr);
  return REAL(cuLaunch)(function);
}
HOOK(cuLaunchGrid, (CUfunction function, int width, int height)) {
  BeforeLaunch(nullptr);
  return REAL(cuLaunchGrid)(function, width, height);
}
HOOK(cuLaunchGridAsync, (CUfunction function, int width, int height, CUstream stream)) {
  BeforeLaunch(stream);
  return REAL(cuLaunchGridAsync)(function, width, height, stream);
}

}  // namespace tranche::limiter
