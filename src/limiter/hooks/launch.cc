#include "limiter/launch_gate.h"
#include "limiter/symbols.h"

// Everything that starts work on the GPU, except graphs.
namespace tranche::limiter {
namespace {

KernelKey KeyOf(CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
                unsigned int block_x, unsigned int block_y, unsigned int block_z,
                unsigned int shared) {
  return {function, uint64_t{grid_x} * grid_y * grid_z, block_x * block_y * block_z, shared};
}

KernelKey KeyOf(CUfunction function, const CUlaunchConfig& config) {
  return KeyOf(function, config.gridDimX, config.gridDimY, config.gridDimZ, config.blockDimX,
               config.blockDimY, config.blockDimZ, config.sharedMemBytes);
}

KernelKey KeyOf(const CUDA_LAUNCH_PARAMS& launch) {
  return KeyOf(launch.function, launch.gridDimX, launch.gridDimY, launch.gridDimZ, launch.blockDimX,
               launch.blockDimY, launch.blockDimZ, launch.sharedMemBytes);
}

// What it takes depends on a shape that was set before and that only the driver knows.
KernelKey KeyOf(CUfunction function, int width, int height) {
  return {function, uint64_t{static_cast<uint32_t>(width)} * static_cast<uint32_t>(height),
          UINT32_MAX, 0};
}

}  // namespace

HOOK(cuLaunchKernel,
     (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
      unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
      CUstream stream, void** parameters, void** extra)) {
  GATED(KeyOf(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared), Legacy(stream),
        REAL(cuLaunchKernel)(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared,
                             stream, parameters, extra));
}
HOOK(cuLaunchKernel_ptsz,
     (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
      unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
      CUstream stream, void** parameters, void** extra)) {
  GATED(KeyOf(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared),
        PerThread(stream),
        REAL(cuLaunchKernel_ptsz)(function, grid_x, grid_y, grid_z, block_x, block_y, block_z,
                                  shared, stream, parameters, extra));
}

HOOK(cuLaunchKernelEx,
     (const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra)) {
  const auto launch = [=] { return REAL(cuLaunchKernelEx)(config, function, parameters, extra); };
  if (config == nullptr) return launch();
  GATED(KeyOf(function, *config), Legacy(config->hStream), launch());
}
HOOK(cuLaunchKernelEx_ptsz,
     (const CUlaunchConfig* config, CUfunction function, void** parameters, void** extra)) {
  const auto launch = [=] {
    return REAL(cuLaunchKernelEx_ptsz)(config, function, parameters, extra);
  };
  if (config == nullptr) return launch();
  GATED(KeyOf(function, *config), PerThread(config->hStream), launch());
}

HOOK(cuLaunchCooperativeKernel,
     (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
      unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
      CUstream stream, void** parameters)) {
  GATED(KeyOf(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared), Legacy(stream),
        REAL(cuLaunchCooperativeKernel)(function, grid_x, grid_y, grid_z, block_x, block_y, block_z,
                                        shared, stream, parameters));
}
HOOK(cuLaunchCooperativeKernel_ptsz,
     (CUfunction function, unsigned int grid_x, unsigned int grid_y, unsigned int grid_z,
      unsigned int block_x, unsigned int block_y, unsigned int block_z, unsigned int shared,
      CUstream stream, void** parameters)) {
  GATED(KeyOf(function, grid_x, grid_y, grid_z, block_x, block_y, block_z, shared),
        PerThread(stream),
        REAL(cuLaunchCooperativeKernel_ptsz)(function, grid_x, grid_y, grid_z, block_x, block_y,
                                             block_z, shared, stream, parameters));
}
// One after the other would be another program, so it is one unit, on the first one's stream.
HOOK(cuLaunchCooperativeKernelMultiDevice,
     (CUDA_LAUNCH_PARAMS * launches, unsigned int devices, unsigned int flags)) {
  const auto launch = [=] {
    return REAL(cuLaunchCooperativeKernelMultiDevice)(launches, devices, flags);
  };
  if (launches == nullptr || devices == 0) return launch();
  GATED(KeyOf(launches[0]), Legacy(launches[0].hStream), launch());
}

HOOK(cuLaunch, (CUfunction function)) {
  GATED(KeyOf(function, 1, 1), LegacyStream(), REAL(cuLaunch)(function));
}
HOOK(cuLaunchGrid, (CUfunction function, int width, int height)) {
  GATED(KeyOf(function, width, height), LegacyStream(),
        REAL(cuLaunchGrid)(function, width, height));
}
HOOK(cuLaunchGridAsync, (CUfunction function, int width, int height, CUstream stream)) {
  GATED(KeyOf(function, width, height), Legacy(stream),
        REAL(cuLaunchGridAsync)(function, width, height, stream));
}

}  // namespace tranche::limiter
