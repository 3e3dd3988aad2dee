#pragma once

#include <stdint.h>

namespace tranche::limiter {

// A sparse array, or mipmapped array, is gone, and what was mapped to it is used by it no more.
void EndArrayMappings(uint64_t array);

}  // namespace tranche::limiter
