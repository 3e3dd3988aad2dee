#include "limiter/hooks/pointers.h"
#include "limiter/hooks/pools.h"

// Linear, pitched and managed memory.
namespace tranche::limiter {
namespace {

// The pitch is the driver's choice: at most this alignment on any GPU until today.
constexpr uint64_t kPitchStep = 512;

// As much as the driver will take at most; 0 where it refuses or the product means nothing.
uint64_t PitchedBytes(uint64_t width, uint64_t height) {
  if (width == 0 || height == 0) return 0;
  const uint64_t pitch = (width + kPitchStep - 1) / kPitchStep * kPitchStep;
  if (pitch < width || height > kTooMuch / pitch) return kTooMuch + 1;
  return pitch * height;
}

CUresult Free(CUdeviceptr pointer, CUresult (*free)(CUdeviceptr)) {
  bool known = false;
  const CUresult answer = FreePointer(
      pointer, [&] { return free(pointer); }, &known);
  // It may have been a pool's: the driver takes either here.
  if (!known && answer == CUDA_SUCCESS && pointer != 0) SettlePools();
  return answer;
}

}  // namespace

HOOK(cuMemAlloc_v2, (CUdeviceptr * pointer, size_t bytes)) {
  return AllocatePointer(pointer, bytes, [&] { return REAL(cuMemAlloc_v2)(pointer, bytes); });
}

// Addresses of 32 bits, for programs older than CUDA 3.2.
HOOK(cuMemAlloc, (CUdeviceptr_v1 * pointer, unsigned int bytes)) {
  CUdeviceptr made = 0;
  return AllocatePointer(&made, bytes, [&] {
    const CUresult answer = REAL(cuMemAlloc)(pointer, bytes);
    if (answer == CUDA_SUCCESS) made = *pointer;
    return answer;
  });
}

HOOK(cuMemAllocPitch_v2,
     (CUdeviceptr * pointer, size_t* pitch, size_t width, size_t height, unsigned int element)) {
  return AllocatePointer(pointer, PitchedBytes(width, height), [&] {
    return REAL(cuMemAllocPitch_v2)(pointer, pitch, width, height, element);
  });
}

HOOK(cuMemAllocPitch, (CUdeviceptr_v1 * pointer, unsigned int* pitch, unsigned int width,
                       unsigned int height, unsigned int element)) {
  CUdeviceptr made = 0;
  return AllocatePointer(&made, PitchedBytes(width, height), [&] {
    const CUresult answer = REAL(cuMemAllocPitch)(pointer, pitch, width, height, element);
    if (answer == CUDA_SUCCESS) made = *pointer;
    return answer;
  });
}

// In full, wherever it may be resident: it may be on the device as a whole at any time.
HOOK(cuMemAllocManaged, (CUdeviceptr * pointer, size_t bytes, unsigned int flags)) {
  return AllocatePointer(pointer, bytes,
                         [&] { return REAL(cuMemAllocManaged)(pointer, bytes, flags); });
}

HOOK(cuMemFree_v2, (CUdeviceptr pointer)) { return Free(pointer, REAL(cuMemFree_v2)); }

HOOK(cuMemFree, (CUdeviceptr_v1 pointer)) {
  bool known = false;
  return FreePointer(
      pointer, [&] { return REAL(cuMemFree)(pointer); }, &known);
}

}  // namespace tranche::limiter
