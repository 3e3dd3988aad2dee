#pragma once

// How an address that the driver gave out becomes that of a hook.
namespace tranche::limiter {

// `address` is what the driver answered for `base` to a program of CUDA `version`. Itself where
// there is no hook for it; if it hands out memory or starts work, that is counted.
void* HookForAddress(const char* base, void* address, int version, bool per_thread);

}  // namespace tranche::limiter
