#pragma once

#include "abi/cuda.h"

// The one place that every launch passes before it reaches the driver: where a compute share is
// kept. Until something is metered it is nothing.
namespace tranche::limiter {

inline void BeforeLaunch(CUstream) {}

}  // namespace tranche::limiter
