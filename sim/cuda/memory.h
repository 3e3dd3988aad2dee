#pragma once

#include <functional>

#include "sim/cuda/library.h"

// Device memory, for the families that hand it out. All under the library's lock.
namespace tranche::sim::cuda {

// More than any device has; arithmetic on less stays in range.
inline constexpr uint64_t kMaxBytes = uint64_t{1} << 48;

// Memory of a context: whole granules, or below one granule a place in a granule that the
// context's other small allocations share.
CUresult AllocateIn(Library& library, CUcontext handle, Library::Context& context, uint64_t bytes,
                    Library::Kind kind, CUdeviceptr* pointer);
// What any family allocated and a plain free may free.
CUresult FreeAllocation(Library& library, CUdeviceptr pointer);

// Where a range of device memory lies.
struct Range {
  Library::Allocation* allocation = nullptr;  // nullptr: not all of it is in one allocation
  uint64_t offset = 0;
};
Range Locate(Library& library, CUdeviceptr at, uint64_t bytes);

// Memory of the device or of the host, whichever the address is.
CUresult ReadMemory(Library& library, uint64_t at, void* to, size_t bytes);
CUresult WriteMemory(Library& library, uint64_t at, const void* from, size_t bytes);

// Of memory of the device or of the host to such.
CUresult CopyBytes(Library& library, uint64_t to, uint64_t from, size_t bytes);
// For how long that keeps a copy engine of the current context's device busy, ns; 0 where it is too
// little to count. Takes the library's lock.
uint64_t CopyTime(uint64_t to, uint64_t from, uint64_t bytes);
// Gives work of that kind to a stream: at once, later, or into what it captures. It keeps a copy
// engine busy for so long.
CUresult OnStream(CUstream stream, CUgraphNodeType type, std::function<void()> body,
                  uint64_t copy_ns = 0);
// A copy that the caller waits for: behind all that the default stream was given.
void WaitForCopy(uint64_t copy_ns);

// array.cc: where the elements of an array lie, row behind row. False when there is no such array,
// or it has no memory.
struct ArrayPlace {
  CUdeviceptr memory = 0;
  size_t pitch = 0, height = 0;
};
bool FindArray(CUarray array, ArrayPlace* place);
// A mipmapped array in memory that is held elsewhere, of which there are `room` bytes.
CUresult MapMipmap(CUmipmappedArray* array, const CUDA_ARRAY3D_DESCRIPTOR& descriptor,
                   unsigned int levels, uint64_t room);

// copies.cc: as above, of a copy of which the sides are right.
uint64_t CopyTime(const CUDA_MEMCPY3D& copy);
// A copy of which only its parameters are known to be right.
CUresult Copy3D(Library& library, const CUDA_MEMCPY3D& copy);

// peers.cc: whether a GPU reaches the memory of another one, or of itself.
bool Reaches(Library& library, int from, int to);

// pool.cc
CUresult FreeToPool(Library& library, CUdeviceptr pointer);
// graph.cc
void FreeGraphMemory(Library& library, int device, uint64_t bytes);

}  // namespace tranche::sim::cuda
