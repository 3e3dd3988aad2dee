#include "sim/cuda/memory.h"

// Copies of rectangles and boxes, of arrays, and between contexts.
namespace tranche::sim::cuda {
namespace {

// One side of a copy: where row `y` of slice `z` begins.
struct Side {
  uint64_t base = 0;
  size_t pitch = 0, height = 0;
  bool on_device = true;
  uint64_t Row(size_t x, size_t y, size_t z) const { return base + (z * height + y) * pitch + x; }
};

template <typename Host>
CUresult SideOf(CUmemorytype type, Host* host, CUdeviceptr device, CUarray array, size_t pitch,
                size_t height, Side* side) {
  *side = {device, pitch, height};
  switch (type) {
    case CU_MEMORYTYPE_HOST:
      side->base = reinterpret_cast<uint64_t>(host);
      side->on_device = false;
      break;
    case CU_MEMORYTYPE_DEVICE:
    case CU_MEMORYTYPE_UNIFIED:
      break;
    case CU_MEMORYTYPE_ARRAY: {
      ArrayPlace place;
      if (!FindArray(array, &place)) return CUDA_ERROR_INVALID_VALUE;
      *side = {place.memory, place.pitch, place.height};
      break;
    }
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
  return side->base == 0 ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

template <typename Old>
CUDA_MEMCPY3D Boxed(const Old& p) {
  CUDA_MEMCPY3D box = {};
  box.srcXInBytes = p.srcXInBytes;
  box.srcY = p.srcY;
  box.srcMemoryType = p.srcMemoryType;
  box.srcHost = p.srcHost;
  box.srcDevice = p.srcDevice;
  box.srcArray = p.srcArray;
  box.srcPitch = p.srcPitch;
  box.dstXInBytes = p.dstXInBytes;
  box.dstY = p.dstY;
  box.dstMemoryType = p.dstMemoryType;
  box.dstHost = p.dstHost;
  box.dstDevice = p.dstDevice;
  box.dstArray = p.dstArray;
  box.dstPitch = p.dstPitch;
  box.WidthInBytes = p.WidthInBytes;
  box.Height = p.Height;
  box.Depth = 1;
  if constexpr (requires { p.Depth; }) {
    box.srcZ = p.srcZ;
    box.srcHeight = p.srcHeight;
    box.dstZ = p.dstZ;
    box.dstHeight = p.dstHeight;
    box.Depth = p.Depth;
  }
  return box;
}

}  // namespace

uint64_t CopyTime(const CUDA_MEMCPY3D& p) {
  Side from, to;
  Call([&](Library&) {
    SideOf(p.srcMemoryType, p.srcHost, p.srcDevice, p.srcArray, p.srcPitch, p.srcHeight, &from);
    return SideOf(p.dstMemoryType, p.dstHost, p.dstDevice, p.dstArray, p.dstPitch, p.dstHeight,
                  &to);
  });
  if (p.WidthInBytes > kMaxBytes || p.Height > kMaxBytes >> 20 || p.Depth > kMaxBytes >> 20)
    return 0;
  const double bytes = static_cast<double>(p.WidthInBytes) * static_cast<double>(p.Height) *
                       static_cast<double>(p.Depth);
  return bytes > static_cast<double>(kMaxBytes)
             ? 0
             : CopyTime(to.base, from.base, static_cast<uint64_t>(bytes));
}

namespace {

template <typename Parameters>
CUresult Now(const Parameters* parameters) {
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_MEMCPY3D box = Boxed(*parameters);
  const CUresult copied = CallInContext(
      [&](Library& library, const Library::Context&) { return Copy3D(library, box); });
  if (copied == CUDA_SUCCESS) WaitForCopy(CopyTime(box));
  return copied;
}

template <typename Parameters>
CUresult Later(const Parameters* parameters, CUstream stream) {
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUDA_MEMCPY3D box = Boxed(*parameters);
  const CUresult right = CallInContext([&](Library&, const Library::Context&) {
    Side from, to;
    const CUresult source = SideOf(box.srcMemoryType, box.srcHost, box.srcDevice, box.srcArray,
                                   box.srcPitch, box.srcHeight, &from);
    return source != CUDA_SUCCESS ? source
                                  : SideOf(box.dstMemoryType, box.dstHost, box.dstDevice,
                                           box.dstArray, box.dstPitch, box.dstHeight, &to);
  });
  if (right != CUDA_SUCCESS) return right;
  return OnStream(
      stream, CU_GRAPH_NODE_TYPE_MEMCPY,
      [box] { Call([&](Library& library) { return Copy3D(library, box); }); }, CopyTime(box));
}

// A row of an array, from its first element on.
CUresult Linear(uint64_t to, CUarray to_array, uint64_t from, CUarray from_array, size_t to_offset,
                size_t from_offset, size_t bytes) {
  const CUresult copied = CallInContext([&](Library& library, const Library::Context&) {
    ArrayPlace place;
    if (to_array != nullptr) {
      if (!FindArray(to_array, &place)) return CUDA_ERROR_INVALID_HANDLE;
      to = place.memory + to_offset;
    }
    if (from_array != nullptr) {
      if (!FindArray(from_array, &place)) return CUDA_ERROR_INVALID_HANDLE;
      from = place.memory + from_offset;
    }
    return to == 0 || from == 0 ? CUDA_ERROR_INVALID_VALUE : CopyBytes(library, to, from, bytes);
  });
  if (copied == CUDA_SUCCESS) WaitForCopy(CopyTime(to, from, bytes));
  return copied;
}

uint64_t At(const void* pointer) { return reinterpret_cast<uint64_t>(pointer); }

CUresult Peer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from, CUcontext from_context,
              size_t bytes) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (library.Find(to_context) == nullptr || library.Find(from_context) == nullptr)
      return CUDA_ERROR_INVALID_CONTEXT;
    if (Locate(library, to, bytes).allocation == nullptr ||
        Locate(library, from, bytes).allocation == nullptr)
      return CUDA_ERROR_INVALID_VALUE;
    return CopyBytes(library, to, from, bytes);
  });
}

}  // namespace

CUresult Copy3D(Library& library, const CUDA_MEMCPY3D& p) {
  Side from, to;
  CUresult right =
      SideOf(p.srcMemoryType, p.srcHost, p.srcDevice, p.srcArray, p.srcPitch, p.srcHeight, &from);
  if (right == CUDA_SUCCESS)
    right =
        SideOf(p.dstMemoryType, p.dstHost, p.dstDevice, p.dstArray, p.dstPitch, p.dstHeight, &to);
  const bool pitched =
      p.Height <= 1 || (from.pitch >= p.WidthInBytes && to.pitch >= p.WidthInBytes);
  const bool high = p.Depth <= 1 || (from.height >= p.Height && to.height >= p.Height);
  if (right != CUDA_SUCCESS || !pitched || !high || p.WidthInBytes > kMaxBytes ||
      p.Height > kMaxBytes >> 20 || p.Depth > kMaxBytes >> 20) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  // All of it or nothing: memory of the host is not looked at before the other side is known to
  // have room.
  const size_t last_row = p.Height - 1, last_slice = p.Depth - 1;
  const bool empty = p.WidthInBytes == 0 || p.Height == 0 || p.Depth == 0;
  const auto beyond = [&](const Side& side, size_t x, size_t y, size_t z) {
    return side.on_device &&
           Locate(library, side.Row(x, y + last_row, z + last_slice), p.WidthInBytes).allocation ==
               nullptr;
  };
  if (!empty &&
      (beyond(from, p.srcXInBytes, p.srcY, p.srcZ) || beyond(to, p.dstXInBytes, p.dstY, p.dstZ))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  for (size_t z = 0; z < p.Depth && right == CUDA_SUCCESS; ++z) {
    for (size_t y = 0; y < p.Height && right == CUDA_SUCCESS; ++y) {
      right = CopyBytes(library, to.Row(p.dstXInBytes, p.dstY + y, p.dstZ + z),
                        from.Row(p.srcXInBytes, p.srcY + y, p.srcZ + z), p.WidthInBytes);
    }
  }
  return right;
}

CUDA_EXPORT CUresult cuMemcpy2D(const CUDA_MEMCPY2D_v1* copy) { return Now(copy); }
CUDA_EXPORT CUresult cuMemcpy2D_v2(const CUDA_MEMCPY2D* copy) { return Now(copy); }
CUDA_EXPORT CUresult cuMemcpy2DUnaligned(const CUDA_MEMCPY2D_v1* copy) { return Now(copy); }
CUDA_EXPORT CUresult cuMemcpy2DUnaligned_v2(const CUDA_MEMCPY2D* copy) { return Now(copy); }
CUDA_EXPORT CUresult cuMemcpy3D(const CUDA_MEMCPY3D_v1* copy) { return Now(copy); }
CUDA_EXPORT CUresult cuMemcpy3D_v2(const CUDA_MEMCPY3D* copy) { return Now(copy); }
CUDA_EXPORT CUresult cuMemcpy3DPeer(const CUDA_MEMCPY3D_PEER* copy) { return Now(copy); }
CUDA_EXPORT CUresult cuMemcpy2DAsync(const CUDA_MEMCPY2D_v1* copy, CUstream stream) {
  return Later(copy, stream);
}
CUDA_EXPORT CUresult cuMemcpy2DAsync_v2(const CUDA_MEMCPY2D* copy, CUstream stream) {
  return Later(copy, stream);
}
CUDA_EXPORT CUresult cuMemcpy3DAsync(const CUDA_MEMCPY3D_v1* copy, CUstream stream) {
  return Later(copy, stream);
}
CUDA_EXPORT CUresult cuMemcpy3DAsync_v2(const CUDA_MEMCPY3D* copy, CUstream stream) {
  return Later(copy, stream);
}
CUDA_EXPORT CUresult cuMemcpy3DPeerAsync(const CUDA_MEMCPY3D_PEER* copy, CUstream stream) {
  return Later(copy, stream);
}

CUDA_EXPORT CUresult cuMemcpyAtoH_v2(void* to, CUarray from, size_t offset, size_t bytes) {
  return Linear(At(to), nullptr, 0, from, 0, offset, bytes);
}
CUDA_EXPORT CUresult cuMemcpyHtoA_v2(CUarray to, size_t offset, const void* from, size_t bytes) {
  return Linear(0, to, At(from), nullptr, offset, 0, bytes);
}
CUDA_EXPORT CUresult cuMemcpyAtoD_v2(CUdeviceptr to, CUarray from, size_t offset, size_t bytes) {
  return Linear(to, nullptr, 0, from, 0, offset, bytes);
}
CUDA_EXPORT CUresult cuMemcpyDtoA_v2(CUarray to, size_t offset, CUdeviceptr from, size_t bytes) {
  return Linear(0, to, from, nullptr, offset, 0, bytes);
}
CUDA_EXPORT CUresult cuMemcpyAtoA_v2(CUarray to, size_t to_offset, CUarray from, size_t from_offset,
                                     size_t bytes) {
  return Linear(0, to, 0, from, to_offset, from_offset, bytes);
}

CUDA_EXPORT CUresult cuMemcpyPeer(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                                  CUcontext from_context, size_t bytes) {
  const CUresult copied = Peer(to, to_context, from, from_context, bytes);
  if (copied == CUDA_SUCCESS) WaitForCopy(CopyTime(to, from, bytes));
  return copied;
}
CUDA_EXPORT CUresult cuMemcpyPeerAsync(CUdeviceptr to, CUcontext to_context, CUdeviceptr from,
                                       CUcontext from_context, size_t bytes, CUstream stream) {
  const CUresult right = Peer(to, to_context, from, from_context, 0);
  if (right != CUDA_SUCCESS) return right;
  return OnStream(
      stream, CU_GRAPH_NODE_TYPE_MEMCPY,
      [=] { Call([&](Library& library) { return CopyBytes(library, to, from, bytes); }); },
      CopyTime(to, from, bytes));
}

}  // namespace tranche::sim::cuda
