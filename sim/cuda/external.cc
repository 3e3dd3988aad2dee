#include <unistd.h>

#include "sim/cuda/memory.h"

// Memory of another interface (Vulkan and the like), by a file descriptor: charged where it was
// made, and mapped here. What is mapped is freed by itself, and not to be used once the object is
// gone.
namespace tranche::sim::cuda {
namespace {

struct External {
  uint64_t bytes = 0;
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
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuExternalMemoryGetMappedMipmappedArray(
    CUmipmappedArray* array, CUexternalMemory handle,
    const CUDA_EXTERNAL_MEMORY_MIPMAPPED_ARRAY_DESC* description) {
  uint64_t bytes = 0;
  const CUresult found = CallInContext([&](Library&, const Library::Context&) {
    const auto object = All().find(Number(handle));
    if (array == nullptr || description == nullptr || object == All().end() ||
        description->offset >= object->second.bytes)
      return CUDA_ERROR_INVALID_VALUE;
    bytes = object->second.bytes - description->offset;
    return CUDA_SUCCESS;
  });
  if (found != CUDA_SUCCESS) return found;
  return MapMipmap(array, description->arrayDesc, description->numLevels, bytes);
}
CUDA_EXPORT CUresult cuDestroyExternalMemory(CUexternalMemory handle) {
  return CallInContext([&](Library&, const Library::Context&) {
    return All().erase(Number(handle)) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_HANDLE;
  });
}

}  // namespace tranche::sim::cuda
