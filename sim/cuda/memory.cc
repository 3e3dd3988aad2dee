#include <algorithm>
#include <cstdlib>
#include <vector>

#include "sim/cuda/library.h"

namespace tranche::sim::cuda {
namespace {

// The steps in which small memory is handed out, and the blocks in which large memory is.
constexpr uint64_t kSmallStep = 512;
constexpr uint64_t kLargeStep = uint64_t{2} << 20;
// Contents beyond this are refused rather than let the host run out.
constexpr size_t kMaxContents = size_t{1} << 30;

uint64_t Charged(uint64_t bytes) {
  const uint64_t step = bytes < kLargeStep ? kSmallStep : kLargeStep;
  return (bytes + step - 1) / step * step;
}

CUresult Allocate(CUdeviceptr* pointer, uint64_t bytes) {
  return CallInContext([&](Library& library, Library::Context& context) {
    if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    // More than any device has; the arithmetic below stays in range.
    if (bytes > uint64_t{1} << 48) return CUDA_ERROR_OUT_OF_MEMORY;
    const uint64_t charged = Charged(bytes);
    const Rc rc = library.machine().Allocate(context.serial, charged);
    if (rc != Rc::kOk) return ToCuda(rc);
    *pointer = library.NextAddress(bytes);
    Library::Allocation& allocation = context.allocations[*pointer];
    allocation.bytes = bytes;
    allocation.charged = charged;
    return CUDA_SUCCESS;
  });
}

CUresult Free(CUdeviceptr pointer) {
  return CallInContext([&](Library& library, Library::Context& context) {
    if (pointer == 0) return CUDA_SUCCESS;
    const auto found = context.allocations.find(pointer);
    if (found == context.allocations.end()) return CUDA_ERROR_INVALID_VALUE;
    const Rc rc = library.machine().Free(context.serial, found->second.charged);
    context.allocations.erase(found);
    return ToCuda(rc);
  });
}

// Where a range of device memory lies.
struct Range {
  Library::Allocation* allocation = nullptr;  // nullptr: not all of it is in one allocation
  uint64_t offset = 0;
};

Range Locate(Library::Context& context, CUdeviceptr at, uint64_t bytes) {
  auto next = context.allocations.upper_bound(at);
  if (next == context.allocations.begin()) return {};
  auto& [base, allocation] = *--next;
  const uint64_t offset = at - base;
  if (offset > allocation.bytes || bytes > allocation.bytes - offset) return {};
  return {&allocation, offset};
}

CUresult CopyIn(CUdeviceptr to, const void* from, size_t bytes) {
  return CallInContext([&](Library& library, Library::Context& context) {
    const Range range = Locate(context, to, bytes);
    if (range.allocation == nullptr || (from == nullptr && bytes > 0))
      return CUDA_ERROR_INVALID_VALUE;
    if (library.ContentsHeld() + bytes > kMaxContents) return CUDA_ERROR_OPERATING_SYSTEM;
    range.allocation->contents.Write(range.offset, from, bytes);
    return CUDA_SUCCESS;
  });
}

CUresult CopyOut(void* to, CUdeviceptr from, size_t bytes) {
  return CallInContext([&](Library&, Library::Context& context) {
    const Range range = Locate(context, from, bytes);
    if (range.allocation == nullptr || (to == nullptr && bytes > 0))
      return CUDA_ERROR_INVALID_VALUE;
    range.allocation->contents.Read(range.offset, to, bytes);
    return CUDA_SUCCESS;
  });
}

CUresult CopyWithin(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return CallInContext([&](Library& library, Library::Context& context) {
    const Range source = Locate(context, from, bytes), target = Locate(context, to, bytes);
    if (source.allocation == nullptr || target.allocation == nullptr)
      return CUDA_ERROR_INVALID_VALUE;
    if (library.ContentsHeld() + bytes > kMaxContents) return CUDA_ERROR_OPERATING_SYSTEM;
    std::vector<char> buffer(std::min(bytes, Contents::kPage));
    for (size_t done = 0; done < bytes;) {
      const size_t part = std::min(bytes - done, buffer.size());
      source.allocation->contents.Read(source.offset + done, buffer.data(), part);
      target.allocation->contents.Write(target.offset + done, buffer.data(), part);
      done += part;
    }
    return CUDA_SUCCESS;
  });
}

CUresult Fill(CUdeviceptr to, uint32_t value, size_t width, size_t count) {
  return CallInContext([&](Library&, Library::Context& context) {
    if (to % width != 0 || count > (uint64_t{1} << 48)) return CUDA_ERROR_INVALID_VALUE;
    const Range range = Locate(context, to, count * width);
    if (range.allocation == nullptr) return CUDA_ERROR_INVALID_VALUE;
    range.allocation->contents.Fill(range.offset, value, width, count);
    return CUDA_SUCCESS;
  });
}

CUresult AllocateHost(void** pointer, size_t bytes) {
  return CallInContext([&](Library&, const Library::Context&) {
    if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    *pointer = std::malloc(bytes);
    return *pointer == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
  });
}

CUresult MemoryInfoOf(uint64_t* free, uint64_t* total) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    MemoryInfo memory;
    const Target target = library.devices()[static_cast<size_t>(context.device)].target;
    const Rc rc = library.machine().GetMemory(target, &memory);
    *free = memory.free;
    *total = memory.total - memory.reserved;
    return ToCuda(rc);
  });
}

}  // namespace

CUDA_EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t f = 0, t = 0;
  const CUresult result = MemoryInfoOf(&f, &t);
  if (result == CUDA_SUCCESS) {
    *free = f;
    *total = t;
  }
  return result;
}

// From a time of 32-bit sizes, as cuMemAlloc and cuMemFree below.
CUDA_EXPORT CUresult cuMemGetInfo(unsigned int* free, unsigned int* total) {
  if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t f = 0, t = 0;
  const CUresult result = MemoryInfoOf(&f, &t);
  if (result == CUDA_SUCCESS) {
    *free = static_cast<unsigned int>(std::min<uint64_t>(f, 0xffffffffu));
    *total = static_cast<unsigned int>(std::min<uint64_t>(t, 0xffffffffu));
  }
  return result;
}

CUDA_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* pointer, size_t bytes) {
  return Allocate(pointer, bytes);
}
CUDA_EXPORT CUresult cuMemAlloc(CUdeviceptr_v1* pointer, unsigned int bytes) {
  CUdeviceptr full = 0;
  if (pointer == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = Allocate(&full, bytes);
  if (result != CUDA_SUCCESS) return result;
  if (full > 0xffffffffu) {
    // There is no address left that this old call could return.
    Free(full);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *pointer = static_cast<CUdeviceptr_v1>(full);
  return CUDA_SUCCESS;
}
CUDA_EXPORT CUresult cuMemAllocManaged(CUdeviceptr* pointer, size_t bytes, unsigned int flags) {
  if (flags != 1 && flags != 2) return CUDA_ERROR_INVALID_VALUE;  // attached to all, or to the host
  return Allocate(pointer, bytes);
}
CUDA_EXPORT CUresult cuMemAllocAsync(CUdeviceptr* pointer, size_t bytes, CUstream) {
  return Allocate(pointer, bytes);
}
CUDA_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr* pointer, size_t* pitch, size_t width,
                                        size_t height, unsigned int element_size) {
  const bool fits = element_size == 4 || element_size == 8 || element_size == 16;
  if (pitch == nullptr || width == 0 || height == 0 || !fits || width > size_t{1} << 40 ||
      height > size_t{1} << 20) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  *pitch = (width + kSmallStep - 1) / kSmallStep * kSmallStep;
  return Allocate(pointer, *pitch * height);
}

CUDA_EXPORT CUresult cuMemFree_v2(CUdeviceptr pointer) { return Free(pointer); }
CUDA_EXPORT CUresult cuMemFree(CUdeviceptr_v1 pointer) { return Free(pointer); }
CUDA_EXPORT CUresult cuMemFreeAsync(CUdeviceptr pointer, CUstream) { return Free(pointer); }

CUDA_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* size, CUdeviceptr pointer) {
  return CallInContext([&](Library&, Library::Context& context) {
    const Range range = Locate(context, pointer, 1);
    if (range.allocation == nullptr) return CUDA_ERROR_NOT_FOUND;
    if (base != nullptr) *base = pointer - range.offset;
    if (size != nullptr) *size = range.allocation->bytes;
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemAllocHost_v2(void** pointer, size_t bytes) {
  return AllocateHost(pointer, bytes);
}
CUDA_EXPORT CUresult cuMemHostAlloc(void** pointer, size_t bytes, unsigned int) {
  return AllocateHost(pointer, bytes);
}
CUDA_EXPORT CUresult cuMemFreeHost(void* pointer) {
  return CallInContext([&](Library&, const Library::Context&) {
    std::free(pointer);
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return CopyIn(to, from, bytes);
}
CUDA_EXPORT CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return CopyOut(to, from, bytes);
}
CUDA_EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return CopyWithin(to, from, bytes);
}
CUDA_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes,
                                          CUstream) {
  return CopyIn(to, from, bytes);
}
CUDA_EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes, CUstream) {
  return CopyOut(to, from, bytes);
}
CUDA_EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                          CUstream) {
  return CopyWithin(to, from, bytes);
}

CUDA_EXPORT CUresult cuMemsetD8_v2(CUdeviceptr to, unsigned char value, size_t count) {
  return Fill(to, value, 1, count);
}
CUDA_EXPORT CUresult cuMemsetD16_v2(CUdeviceptr to, unsigned short value, size_t count) {
  return Fill(to, value, 2, count);
}
CUDA_EXPORT CUresult cuMemsetD32_v2(CUdeviceptr to, unsigned int value, size_t count) {
  return Fill(to, value, 4, count);
}
CUDA_EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count, CUstream) {
  return Fill(to, value, 1, count);
}
CUDA_EXPORT CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count, CUstream) {
  return Fill(to, value, 4, count);
}

}  // namespace tranche::sim::cuda
