#pragma once

#include "abi/cuda.h"

namespace tranche::limiter {

// Whether contexts of this process on that device run at the same time as those of others, as
// clients of an MPS server. The driver says so; one that is too old for that (before CUDA 12.3) is
// taken to use the server whose control daemon lives behind CUDA_MPS_PIPE_DIRECTORY.
bool IsMpsClient(CUdevice ordinal);

}  // namespace tranche::limiter
