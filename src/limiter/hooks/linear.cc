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

}  // namespace

HOOK(cuMemAlloc_v2, (CUdeviceptr * pointer, size_t bytes)) {
  return AllocatePointer(pointer, bytes, [&] { return REAL(cuMemAlloc_v2)(pointer, bytes); });
}

// Addresses of 32 bits, for programs older than CUDA 3.2.
HOOK(cuMemAlloc, (CUdeviceptr_v1 * pointer, unsigned int bytes)) {
  if (!IsLimited()) return REAL(cuMemAlloc)(pointer, bytes);
  CUdeviceptr made = 0;
  return AllocatePointer(&made, bytes, [&] {
    const CUresult answer = REAL(cuMemAlloc)(pointer, bytes);
    if (answer == CUDA_SUCCESS) made = *pointer;
    return answer;
  });
}

HOOK(cuMemAllocPitch_v2,
     (CUdeviceptr * pointer, size_t* pitch, size_t width, size_t height, unsigned int element)) {
  const auto allocate = [&] {
    return REAL(cuMemAllocPitch_v2)(pointer, pitch, width, height, element);
  };
  // What no driver takes it may refuse itself, also where the limit would.
  if (IsLimited() && pointer != nullptr && pitch == nullptr)
    return TooMuch(allocate, [&] { REAL(cuMemFree_v2)(*pointer); });
  return AllocatePointer(pointer, PitchedBytes(width, height), allocate);
}

HOOK(cuMemAllocPitch, (CUdeviceptr_v1 * pointer, unsigned int* pitch, unsigned int width,
                       unsigned int height, unsigned int element)) {
  if (!IsLimited()) return REAL(cuMemAllocPitch)(pointer, pitch, width, height, element);
  CUdeviceptr made = 0;
  return AllocatePointer(&made, PitchedBytes(width, height), [&] {
    const CUresult answer = REAL(cuMemAllocPitch)(pointer, pitch, width, height, element);
    if (answer == CUDA_SUCCESS) made = *pointer;
    return answer;
  });
}

// In full, wherever it may be resident: it may be on the device as a whole at any time. It moves by
// pages of its own, so it shares no granule.
HOOK(cuMemAllocManaged, (CUdeviceptr * pointer, size_t bytes, unsigned int flags)) {
  const auto allocate = [&] { return REAL(cuMemAllocManaged)(pointer, bytes, flags); };
  const bool known = flags != 0 && flags <= CU_MEM_ATTACH_SINGLE;
  if (IsLimited() && pointer != nullptr && !known)
    return TooMuch(allocate, [&] { REAL(cuMemFree_v2)(*pointer); });
  return AllocateApart(pointer, bytes, allocate, kManaged);
}

HOOK(cuMemFree_v2, (CUdeviceptr pointer)) {
  return Free(pointer, [&] { return REAL(cuMemFree_v2)(pointer); });
}

HOOK(cuMemFree, (CUdeviceptr_v1 pointer)) {
  return Free(pointer, [&] { return REAL(cuMemFree)(pointer); });
}

}  // namespace tranche::limiter
