#include <unistd.h>

#include <set>

#include "sim/cuda/memory.h"

// Memory of another interface (Vulkan and the like), by a file descriptor: charged where it was
// made, and mapped here.
namespace tranche::sim::cuda {
namespace {

struct External {
  uint64_t bytes = 0;
  std::set<CUdeviceptr> mapped;
};
// Under the library's lock.
std::map<uint64_t, External>& All() {
  static auto* all = new std::map<uint64_t, External>;
  return *all;
}

}  // namespace

CUDA_EXPORT CUresult cuImportExternalMemory(CUexternalMemory* handle,
                                            const CUDA_EXTERNAL_MEMORY_HANDLE_DESC* description) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (handle == nullptr || description == nullptr || description->size == 0 ||
        description->size > kMaxBytes)
      return CUDA_ERROR_INVALID_VALUE;
    // The others are Windows' and NvSci's.
    if (description->type != CU_EXTERNAL_MEMORY_HANDLE_TYPE_OPAQUE_FD)
      return CUDA_ERROR_NOT_SUPPORTED;
    // Whoever imports gives the descriptor away.
    if (close(description->handle.fd) != 0) return CUDA_ERROR_INVALID_VALUE;
    const uint64_t number = library.NextHandle();
    All()[number].bytes = description->size;
    *handle = MakeHandle<CUexternalMemory>(number);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult
cuExternalMemoryGetMappedBuffer(CUdeviceptr* pointer, CUexternalMemory handle,
                                const CUDA_EXTERNAL_MEMORY_BUFFER_DESC* description) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    const auto found = All().find(Number(handle));
    if (pointer == nullptr || description == nullptr || found == All().end() ||
        description->flags != 0 || description->size == 0 ||
        description->offset > found->second.bytes ||
        description->size > found->second.bytes - description->offset) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    *pointer = library.NextAddress(description->size);
    Library::Allocation& allocation = library.allocations()[*pointer];
    allocation.kind = Library::Kind::kExternal;
    allocation.bytes = description->size;
    allocation.context = ContextStack().back();
    allocation.device = context.device;
    found->second.mapped.insert(*pointer);
    return CUDA_SUCCESS;
  });
}
// What is mapped of it goes with it.
CUDA_EXPORT CUresult cuDestroyExternalMemory(CUexternalMemory handle) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const auto found = All().find(Number(handle));
    if (found == All().end()) return CUDA_ERROR_INVALID_HANDLE;
    for (const CUdeviceptr pointer : found->second.mapped) library.allocations().erase(pointer);
    All().erase(found);
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
