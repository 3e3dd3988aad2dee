#include "sim/cuda/memory.h"

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <vector>

#include "sim/cuda/capture.h"
#include "sim/cuda/streams.h"
#include "sim/cuda/work.h"

// Linear, pitched and managed memory, pinned memory of the host, copies and fills.
namespace tranche::sim::cuda {
namespace {

// Contents beyond this are refused rather than let the host run out.
constexpr size_t kMaxContents = size_t{1} << 30;

}  // namespace

CUresult AllocateIn(Library& library, CUcontext handle, Library::Context& context, uint64_t bytes,
                    Library::Kind kind, CUdeviceptr* pointer) {
  if (bytes > kMaxBytes) return CUDA_ERROR_OUT_OF_MEMORY;
  Library::Allocation allocation;
  allocation.kind = kind;
  allocation.bytes = bytes;
  allocation.context = handle;
  allocation.device = context.device;
  const bool counted = kind != Library::Kind::kManaged;
  if (bytes < kGranule && counted) {
    allocation.shared = true;
    allocation.charged = RoundUp(bytes, kSmallStep);
    auto place = context.heap.Take(allocation.charged);
    if (!place) {
      const CUresult charged = library.Charge(context.serial, kGranule);
      if (charged != CUDA_SUCCESS) return charged;
      context.heap.Add(library.NextAddress(kGranule), kGranule);
      place = context.heap.Take(allocation.charged);
    }
    *pointer = *place;
  } else {
    allocation.charged = RoundUp(bytes, kGranule);
    const CUresult charged = library.Charge(context.serial, allocation.charged, counted);
    if (charged != CUDA_SUCCESS) return charged;
    *pointer = library.NextAddress(allocation.charged);
  }
  library.allocations().emplace(*pointer, std::move(allocation));
  return CUDA_SUCCESS;
}

CUresult FreeAllocation(Library& library, CUdeviceptr pointer) {
  if (pointer == 0) return CUDA_SUCCESS;
  const auto found = library.allocations().find(pointer);
  if (found == library.allocations().end()) return CUDA_ERROR_INVALID_VALUE;
  const Library::Allocation& allocation = found->second;
  switch (allocation.kind) {
    case Library::Kind::kPool:
      return FreeToPool(library, pointer);
    case Library::Kind::kGraph:
      FreeGraphMemory(library, allocation.device, allocation.charged);
      break;
    case Library::Kind::kExternal:
      break;  // held elsewhere
    case Library::Kind::kMapping:
    case Library::Kind::kImported:
    case Library::Kind::kGlobal:
      return CUDA_ERROR_INVALID_VALUE;  // is unmapped or closed, not freed
    case Library::Kind::kLinear:
    case Library::Kind::kManaged: {
      Library::Context* context = library.Find(allocation.context);
      if (context == nullptr) break;  // went with everything that it had
      if (!allocation.shared) {
        library.Discharge(context->serial, allocation.charged,
                          allocation.kind != Library::Kind::kManaged);
        break;
      }
      context->heap.Give(pointer, allocation.charged);
      if (context->heap.TakeBlockIfFree(pointer)) library.Discharge(context->serial, kGranule);
      break;
    }
  }
  library.allocations().erase(found);
  return CUDA_SUCCESS;
}

Range Locate(Library& library, CUdeviceptr at, uint64_t bytes) {
  auto next = library.allocations().upper_bound(at);
  if (next == library.allocations().begin()) return {};
  auto& [base, allocation] = *std::prev(next);
  const uint64_t offset = at - base;
  if (offset > allocation.bytes || bytes > allocation.bytes - offset) return {};
  return {&allocation, offset};
}

CUresult WriteMemory(Library& library, uint64_t at, const void* from, size_t bytes) {
  if (bytes == 0) return CUDA_SUCCESS;
  const Range range = Locate(library, at, bytes);
  if (range.allocation == nullptr) {
    // The addresses of the device lie below those of any program.
    if (Locate(library, at, 1).allocation != nullptr || at < (uint64_t{1} << 40))
      return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(reinterpret_cast<void*>(at), from, bytes);
    return CUDA_SUCCESS;
  }
  if (library.ContentsHeld() + bytes > kMaxContents) return CUDA_ERROR_OPERATING_SYSTEM;
  range.allocation->contents->Write(range.offset, from, bytes);
  return CUDA_SUCCESS;
}

CUresult ReadMemory(Library& library, uint64_t at, void* to, size_t bytes) {
  if (bytes == 0) return CUDA_SUCCESS;
  const Range range = Locate(library, at, bytes);
  if (range.allocation == nullptr) {
    if (Locate(library, at, 1).allocation != nullptr || at < (uint64_t{1} << 40))
      return CUDA_ERROR_INVALID_VALUE;
    std::memcpy(to, reinterpret_cast<const void*>(at), bytes);
    return CUDA_SUCCESS;
  }
  range.allocation->contents->Read(range.offset, to, bytes);
  return CUDA_SUCCESS;
}

CUresult CopyBytes(Library& library, uint64_t to, uint64_t from, size_t bytes) {
  std::vector<char> buffer(std::min(bytes, Contents::kPage));
  for (size_t done = 0; done < bytes;) {
    const size_t part = std::min(bytes - done, buffer.size());
    CUresult copied = ReadMemory(library, from + done, buffer.data(), part);
    if (copied == CUDA_SUCCESS) copied = WriteMemory(library, to + done, buffer.data(), part);
    if (copied != CUDA_SUCCESS) return copied;
    done += part;
  }
  return CUDA_SUCCESS;
}

namespace {

// Assumed, bytes per second: what a link of 16 lanes carries, what is left where memory of the host
// is not pinned; on the device each byte is read and written.
uint64_t LinkSpeed(Arch arch) {
  constexpr uint64_t kGb = 1000000000;
  if (arch >= Arch::kHopper) return 50 * kGb;
  return arch >= Arch::kAmpere ? 24 * kGb : 12 * kGb;
}
constexpr uint64_t kPageable = 10'000'000'000;
// What takes less is over with the call.
constexpr uint64_t kLeastCopy = 1000;

bool IsPinned(Library& library, uint64_t at) {
  const auto next = library.host_memory().upper_bound(at);
  if (next == library.host_memory().begin()) return false;
  const auto& [from, bytes] = *std::prev(next);
  return at - from < bytes;
}

}  // namespace

uint64_t CopyTime(uint64_t to, uint64_t from, uint64_t bytes) {
  uint64_t ns = 0;
  CallInContext([&](Library& library, const Library::Context& context) {
    const Target target = library.devices()[static_cast<size_t>(context.device)].target;
    const GpuSpec& gpu = library.machine().spec().gpus[target.gpu];
    uint64_t speed = gpu.bandwidth / 2;
    for (const uint64_t side : {to, from}) {
      if (Locate(library, side, 1).allocation != nullptr) continue;
      speed = IsPinned(library, side) ? LinkSpeed(gpu.arch) : kPageable;
      if (speed == kPageable) break;
    }
    if (speed > 0 && bytes <= kMaxBytes)
      ns = static_cast<uint64_t>(static_cast<double>(bytes) * 1e9 / static_cast<double>(speed));
    return CUDA_SUCCESS;
  });
  return ns < kLeastCopy ? 0 : ns;
}

CUresult OnStream(CUstream handle, CUgraphNodeType type, std::function<void()> body,
                  uint64_t copy_ns) {
  Stream* stream = FindStream(handle);
  if (stream == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  const auto run = [body = std::move(body), copy_ns](Stream* on) {
    body();
    if (copy_ns > 0) GiveCopy(on, copy_ns);
  };
  if (stream->capture.load() != nullptr) {
    NodeWork work;
    work.type = type;
    work.run = run;
    return AddCaptured(stream, std::move(work));
  }
  Perform(stream, [run, stream] { run(stream); });
  if (copy_ns > 0) Spend(kLaunchTakes);
  return CUDA_SUCCESS;
}

void WaitForCopy(uint64_t copy_ns) {
  Stream* stream = copy_ns == 0 ? nullptr : FindStream(nullptr);
  if (stream == nullptr) return;
  Perform(stream, [stream, copy_ns] { GiveCopy(stream, copy_ns); });
  WaitFor(stream);
}

namespace {

CUresult Allocate(CUdeviceptr* pointer, uint64_t bytes,
                  Library::Kind kind = Library::Kind::kLinear) {
  return CallInContext([&](Library& library, Library::Context& context) {
    if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    return AllocateIn(library, ContextStack().back(), context, bytes, kind, pointer);
  });
}

CUresult Free(CUdeviceptr pointer) {
  return CallInContext(
      [&](Library& library, const Library::Context&) { return FreeAllocation(library, pointer); });
}

enum Sides : int { kToDevice = 1, kFromDevice = 2 };

bool IsDevice(Library& library, CUdeviceptr at, size_t bytes) {
  return Locate(library, at, bytes).allocation != nullptr;
}

// Of `sides`, the addresses that must be the device's.
CUresult CheckCopy(Library& library, uint64_t to, uint64_t from, size_t bytes, int sides) {
  if ((sides & kToDevice) != 0 && !IsDevice(library, to, bytes)) return CUDA_ERROR_INVALID_VALUE;
  if ((sides & kFromDevice) != 0 && !IsDevice(library, from, bytes))
    return CUDA_ERROR_INVALID_VALUE;
  return bytes > 0 && (to == 0 || from == 0) ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult Copy(uint64_t to, uint64_t from, size_t bytes, int sides) {
  const CUresult copied = CallInContext([&](Library& library, const Library::Context&) {
    const CUresult checked = CheckCopy(library, to, from, bytes, sides);
    return checked == CUDA_SUCCESS ? CopyBytes(library, to, from, bytes) : checked;
  });
  if (copied == CUDA_SUCCESS) WaitForCopy(CopyTime(to, from, bytes));
  return copied;
}

// Then memory may be that of a node, which is there only once the graph runs.
bool Captures(CUstream handle) {
  const Stream* stream = Number(handle) == 2 ? nullptr : FindStream(handle);
  return stream != nullptr && stream->capture.load() != nullptr;
}

CUresult CopyAsync(uint64_t to, uint64_t from, size_t bytes, int sides, CUstream stream) {
  const CUresult checked = CallInContext([&](Library& library, const Library::Context&) {
    return Captures(stream) ? CUDA_SUCCESS : CheckCopy(library, to, from, bytes, sides);
  });
  if (checked != CUDA_SUCCESS) return checked;
  return OnStream(
      stream, CU_GRAPH_NODE_TYPE_MEMCPY,
      [=] { Call([&](Library& library) { return CopyBytes(library, to, from, bytes); }); },
      CopyTime(to, from, bytes));
}

template <typename T>
uint64_t At(const T* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

CUresult FillNow(Library& library, CUdeviceptr to, uint32_t value, size_t width, size_t count) {
  if (to % width != 0 || count > kMaxBytes) return CUDA_ERROR_INVALID_VALUE;
  const Range range = Locate(library, to, count * width);
  if (range.allocation == nullptr) return CUDA_ERROR_INVALID_VALUE;
  range.allocation->contents->Fill(range.offset, value, width, count);
  return CUDA_SUCCESS;
}

CUresult Fill(CUdeviceptr to, uint32_t value, size_t width, size_t count) {
  return CallInContext([&](Library& library, const Library::Context&) {
    return FillNow(library, to, value, width, count);
  });
}

CUresult FillAsync(CUdeviceptr to, uint32_t value, size_t width, size_t count, CUstream stream) {
  const CUresult checked = CallInContext([&](Library& library, const Library::Context&) {
    const bool right = to % width == 0 && count <= kMaxBytes &&
                       (Captures(stream) || IsDevice(library, to, count * width));
    return right ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
  if (checked != CUDA_SUCCESS) return checked;
  return OnStream(stream, CU_GRAPH_NODE_TYPE_MEMSET, [=] {
    Call([&](Library& library) { return FillNow(library, to, value, width, count); });
  });
}

// Rows that lie apart.
CUresult Fill2D(CUdeviceptr to, size_t pitch, uint32_t value, size_t element, size_t width,
                size_t height) {
  return CallInContext([&](Library& library, const Library::Context&) {
    for (size_t row = 0; row < height; ++row) {
      const CUresult filled = FillNow(library, to + row * pitch, value, element, width);
      if (filled != CUDA_SUCCESS) return filled;
    }
    return CUDA_SUCCESS;
  });
}

CUresult AllocateHost(void** pointer, size_t bytes) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    *pointer = std::malloc(bytes);
    if (*pointer == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
    library.host_memory()[At(*pointer)] = bytes;
    return CUDA_SUCCESS;
  });
}

CUresult MemoryInfoOf(uint64_t* free, uint64_t* total) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    MemoryInfo memory;
    const Target target = library.devices()[static_cast<size_t>(context.device)].target;
    const Rc rc = library.machine().GetOwnMemory(
        target, library.devices()[static_cast<size_t>(context.device)].memory_limit, &memory);
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
  return Allocate(pointer, bytes, Library::Kind::kManaged);
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

CUDA_EXPORT CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* size, CUdeviceptr pointer) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const Range range = Locate(library, pointer, 1);
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
  return CallInContext([&](Library& library, const Library::Context&) {
    if (pointer == nullptr) return CUDA_SUCCESS;
    if (library.host_memory().erase(At(pointer)) == 0) return CUDA_ERROR_INVALID_VALUE;
    std::free(pointer);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned int) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    const bool added = library.host_memory().emplace(At(pointer), bytes).second;
    return added ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
  });
}
CUDA_EXPORT CUresult cuMemHostUnregister(void* pointer) {
  return CallInContext([&](Library& library, const Library::Context&) {
    return library.host_memory().erase(At(pointer)) == 1 ? CUDA_SUCCESS
                                                         : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
  });
}
// One address space: the device sees pinned memory where the host does.
CUDA_EXPORT CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* device, void* host, unsigned int) {
  if (device == nullptr || host == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *device = At(host);
  return CUDA_SUCCESS;
}

CUDA_EXPORT CUresult cuMemcpy(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return Copy(to, from, bytes, 0);
}
CUDA_EXPORT CUresult cuMemcpyHtoD_v2(CUdeviceptr to, const void* from, size_t bytes) {
  return Copy(to, At(from), bytes, kToDevice);
}
CUDA_EXPORT CUresult cuMemcpyDtoH_v2(void* to, CUdeviceptr from, size_t bytes) {
  return Copy(At(to), from, bytes, kFromDevice);
}
CUDA_EXPORT CUresult cuMemcpyDtoD_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes) {
  return Copy(to, from, bytes, kToDevice | kFromDevice);
}
CUDA_EXPORT CUresult cuMemcpyAsync(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                   CUstream stream) {
  return CopyAsync(to, from, bytes, 0, stream);
}
CUDA_EXPORT CUresult cuMemcpyHtoDAsync_v2(CUdeviceptr to, const void* from, size_t bytes,
                                          CUstream stream) {
  return CopyAsync(to, At(from), bytes, kToDevice, stream);
}
CUDA_EXPORT CUresult cuMemcpyDtoHAsync_v2(void* to, CUdeviceptr from, size_t bytes,
                                          CUstream stream) {
  return CopyAsync(At(to), from, bytes, kFromDevice, stream);
}
CUDA_EXPORT CUresult cuMemcpyDtoDAsync_v2(CUdeviceptr to, CUdeviceptr from, size_t bytes,
                                          CUstream stream) {
  return CopyAsync(to, from, bytes, kToDevice | kFromDevice, stream);
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
CUDA_EXPORT CUresult cuMemsetD8Async(CUdeviceptr to, unsigned char value, size_t count,
                                     CUstream stream) {
  return FillAsync(to, value, 1, count, stream);
}
CUDA_EXPORT CUresult cuMemsetD16Async(CUdeviceptr to, unsigned short value, size_t count,
                                      CUstream stream) {
  return FillAsync(to, value, 2, count, stream);
}
CUDA_EXPORT CUresult cuMemsetD32Async(CUdeviceptr to, unsigned int value, size_t count,
                                      CUstream stream) {
  return FillAsync(to, value, 4, count, stream);
}
CUDA_EXPORT CUresult cuMemsetD2D8_v2(CUdeviceptr to, size_t pitch, unsigned char value,
                                     size_t width, size_t height) {
  return Fill2D(to, pitch, value, 1, width, height);
}
CUDA_EXPORT CUresult cuMemsetD2D16_v2(CUdeviceptr to, size_t pitch, unsigned short value,
                                      size_t width, size_t height) {
  return Fill2D(to, pitch, value, 2, width, height);
}
CUDA_EXPORT CUresult cuMemsetD2D32_v2(CUdeviceptr to, size_t pitch, unsigned int value,
                                      size_t width, size_t height) {
  return Fill2D(to, pitch, value, 4, width, height);
}

}  // namespace tranche::sim::cuda
