#include <unistd.h>

#include <cstring>

#include "sim/cuda/memory.h"

// Memory of another process by a handle of 64 bytes. It stays charged to who allocated it; what is
// in it is not shared.
namespace tranche::sim::cuda {
namespace {

constexpr uint64_t kMagic = 0x6370692d6d656d21;

struct Handle {
  uint64_t magic = 0;
  int64_t pid = 0;
  uint64_t base = 0;
  uint64_t bytes = 0;
  uint64_t gpu = 0, ci = 0;
};
static_assert(sizeof(Handle) <= sizeof(CUipcMemHandle));

CUresult Open(CUdeviceptr* pointer, const CUipcMemHandle& from) {
  return CallInContext([&](Library& library, const Library::Context& context) {
    Handle handle;
    std::memcpy(static_cast<void*>(&handle), &from, sizeof(handle));
    if (pointer == nullptr || handle.magic != kMagic) return CUDA_ERROR_INVALID_VALUE;
    // A process does not open what it exported itself.
    if (handle.pid == getpid()) return CUDA_ERROR_INVALID_CONTEXT;
    const Target target = library.devices()[static_cast<size_t>(context.device)].target;
    if (target.gpu != handle.gpu || target.ci != handle.ci) return CUDA_ERROR_INVALID_DEVICE;
    *pointer = library.NextAddress(handle.bytes);
    Library::Allocation& allocation = library.allocations()[*pointer];
    allocation.kind = Library::Kind::kImported;
    allocation.bytes = handle.bytes;
    allocation.context = ContextStack().back();
    allocation.device = context.device;
    return CUDA_SUCCESS;
  });
}

}  // namespace

CUDA_EXPORT CUresult cuIpcGetMemHandle(CUipcMemHandle* out, CUdeviceptr pointer) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const Range range = Locate(library, pointer, 1);
    if (out == nullptr || range.allocation == nullptr ||
        range.allocation->kind != Library::Kind::kLinear) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    const Target target = library.devices()[static_cast<size_t>(range.allocation->device)].target;
    const Handle handle = {kMagic,     getpid(), pointer - range.offset, range.allocation->bytes,
                           target.gpu, target.ci};
    *out = {};
    std::memcpy(out, &handle, sizeof(handle));
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuIpcOpenMemHandle(CUdeviceptr* pointer, CUipcMemHandle handle, unsigned int) {
  return Open(pointer, handle);
}
CUDA_EXPORT CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* pointer, CUipcMemHandle handle,
                                           unsigned int) {
  return Open(pointer, handle);
}
CUDA_EXPORT CUresult cuIpcCloseMemHandle(CUdeviceptr pointer) {
  return CallInContext([&](Library& library, const Library::Context&) {
    const auto found = library.allocations().find(pointer);
    if (found == library.allocations().end() || found->second.kind != Library::Kind::kImported) {
      return CUDA_ERROR_INVALID_VALUE;
    }
    library.allocations().erase(found);
    return CUDA_SUCCESS;
  });
}

}  // namespace tranche::sim::cuda
