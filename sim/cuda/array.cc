#include <algorithm>
#include <array>
#include <optional>

#include "sim/cuda/memory.h"
#include "sim/cuda/vmm.h"

// Arrays and mipmapped arrays: memory without an address, in steps of kArrayStep. Sparse arrays and
// those whose mapping is deferred take nothing until memory is mapped to them.
namespace tranche::sim::cuda {
namespace {

constexpr uint64_t kArrayStep = uint64_t{64} << 10;
constexpr unsigned int kSparse = 0x40, kDeferred = 0x80;
constexpr unsigned int kMostLevels = 18;

struct Array {
  CUDA_ARRAY3D_DESCRIPTOR descriptor = {};
  CUcontext context = nullptr;
  CUdeviceptr memory = 0;  // 0 = takes none
  uint64_t bytes = 0;
  uint64_t owner = 0;            // a level of that mipmapped array
  std::vector<uint64_t> levels;  // of a mipmapped array
  using Place = std::array<uint64_t, 6>;
  std::map<Place, uint64_t> mapped;  // of a sparse one: to where, physical memory by its handle
};

// Under the library's lock, as all here.
std::map<uint64_t, Array>& Arrays() {
  static auto* arrays = new std::map<uint64_t, Array>;
  return *arrays;
}

uint64_t ElementBytes(CUarray_format format) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return 2;
    case CU_AD_FORMAT_UNSIGNED_INT32:
    case CU_AD_FORMAT_SIGNED_INT32:
    case CU_AD_FORMAT_FLOAT:
      return 4;
    default:
      return 0;  // formats of several planes or blocks
  }
}

// 0: not a shape that there is.
uint64_t Footprint(const CUDA_ARRAY3D_DESCRIPTOR& d) {
  const uint64_t element = ElementBytes(d.Format) * d.NumChannels;
  constexpr uint64_t kMost = 1 << 17;
  if (element == 0 || d.NumChannels > 4 || d.NumChannels == 3 || d.Width == 0 || d.Width > kMost ||
      d.Height > kMost || d.Depth > 1 << 14) {
    return 0;
  }
  return RoundUp(
      d.Width * element * std::max<uint64_t>(1, d.Height) * std::max<uint64_t>(1, d.Depth),
      kArrayStep);
}

// `room`: of memory that is held elsewhere, for the array to lie in.
CUresult Create(uint64_t* handle, const CUDA_ARRAY3D_DESCRIPTOR& descriptor, unsigned int levels,
                std::optional<uint64_t> room = {}) {
  return CallInContext([&](Library& library, Library::Context& context) {
    Array array;
    array.descriptor = descriptor;
    array.context = ContextStack().back();
    array.bytes = Footprint(descriptor);
    if (array.bytes == 0) return CUDA_ERROR_INVALID_VALUE;
    CUDA_ARRAY3D_DESCRIPTOR level = descriptor;
    std::vector<CUDA_ARRAY3D_DESCRIPTOR> shapes = {descriptor};
    for (unsigned int i = 1; i < levels; ++i) {
      level.Width = std::max<size_t>(1, level.Width / 2);
      if (level.Height > 0) level.Height = std::max<size_t>(1, level.Height / 2);
      if (level.Depth > 0) level.Depth = std::max<size_t>(1, level.Depth / 2);
      array.bytes += Footprint(level);
      shapes.push_back(level);
    }
    if (room && array.bytes > *room) return CUDA_ERROR_INVALID_VALUE;
    if (!room && (descriptor.Flags & (kSparse | kDeferred)) == 0) {
      const CUresult allocated = AllocateIn(library, array.context, context, array.bytes,
                                            Library::Kind::kLinear, &array.memory);
      if (allocated != CUDA_SUCCESS) return allocated;
    }
    *handle = library.NextHandle();
    if (levels > 0) {
      for (const auto& shape : shapes) {
        const uint64_t number = library.NextHandle();
        Array& of_level = Arrays()[number];
        of_level.descriptor = shape;
        of_level.bytes = Footprint(shape);
        of_level.owner = *handle;
        array.levels.push_back(number);
      }
    }
    Arrays()[*handle] = std::move(array);
    return CUDA_SUCCESS;
  });
}

void Unuse(Library& library, uint64_t physical) {
  --FindPhysical(physical)->mappings;
  DropUnused(library, physical);
}

// Where in an array.
Array::Place PlaceOf(const CUarrayMapInfo& map) {
  if (map.subresourceType == CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_MIPTAIL)
    return {1, map.subresource.miptail.layer, map.subresource.miptail.offset};
  const auto& level = map.subresource.sparseLevel;
  return {0, level.level, level.layer, level.offsetX, level.offsetY, level.offsetZ};
}

CUresult MapPiece(Library& library, const CUarrayMapInfo& map) {
  const auto found =
      Arrays().find(map.resourceType == CU_RESOURCE_TYPE_ARRAY ? Number(map.resource.array)
                                                               : Number(map.resource.mipmap));
  if (found == Arrays().end() || (found->second.descriptor.Flags & kSparse) == 0)
    return CUDA_ERROR_INVALID_VALUE;
  auto& mapped = found->second.mapped;
  const Array::Place place = PlaceOf(map);
  if (map.memOperationType == CU_MEM_OPERATION_TYPE_MAP) {
    Physical* physical = FindPhysical(map.memHandle.memHandle);
    if (physical == nullptr) return CUDA_ERROR_INVALID_VALUE;
    ++physical->mappings;
  }
  const auto before = mapped.find(place);
  if (before != mapped.end()) {
    Unuse(library, before->second);
    mapped.erase(before);
  }
  if (map.memOperationType == CU_MEM_OPERATION_TYPE_MAP) mapped[place] = map.memHandle.memHandle;
  return CUDA_SUCCESS;
}

CUresult Destroy(uint64_t handle) {
  return Call([&](Library& library) {
    const auto found = Arrays().find(handle);
    if (found == Arrays().end() || found->second.owner != 0) return CUDA_ERROR_INVALID_HANDLE;
    for (const uint64_t level : found->second.levels) Arrays().erase(level);
    if (found->second.memory != 0) FreeAllocation(library, found->second.memory);
    for (const auto& [place, physical] : found->second.mapped) Unuse(library, physical);
    Arrays().erase(handle);
    return CUDA_SUCCESS;
  });
}

template <typename Body>
CUresult WithArray(uint64_t handle, const Body& body) {
  return Call([&](Library&) {
    const auto found = Arrays().find(handle);
    return found == Arrays().end() ? CUDA_ERROR_INVALID_HANDLE : body(found->second);
  });
}

CUresult Requirements(uint64_t handle, CUDA_ARRAY_MEMORY_REQUIREMENTS* requirements) {
  return WithArray(handle, [&](const Array& array) {
    // Only of arrays whose memory comes later.
    if (requirements == nullptr || (array.descriptor.Flags & kDeferred) == 0)
      return CUDA_ERROR_INVALID_VALUE;
    *requirements = {};
    requirements->size = array.bytes;
    requirements->alignment = kArrayStep;
    return CUDA_SUCCESS;
  });
}

template <typename Handle>
CUresult CreateTo(Handle* handle, const CUDA_ARRAY3D_DESCRIPTOR& descriptor, unsigned int levels) {
  if (handle == nullptr) return CUDA_ERROR_INVALID_VALUE;
  uint64_t number = 0;
  const CUresult created = Create(&number, descriptor, levels);
  if (created == CUDA_SUCCESS) *handle = MakeHandle<Handle>(number);
  return created;
}

}  // namespace

bool FindArray(CUarray handle, ArrayPlace* place) {
  const auto found = Arrays().find(Number(handle));
  if (found == Arrays().end() || found->second.memory == 0) return false;
  const CUDA_ARRAY3D_DESCRIPTOR& shape = found->second.descriptor;
  place->memory = found->second.memory;
  place->pitch = shape.Width * ElementBytes(shape.Format) * shape.NumChannels;
  place->height = std::max<size_t>(1, shape.Height);
  return true;
}

CUresult MapMipmap(CUmipmappedArray* array, const CUDA_ARRAY3D_DESCRIPTOR& descriptor,
                   unsigned int levels, uint64_t room) {
  if (levels == 0 || levels > kMostLevels) return CUDA_ERROR_INVALID_VALUE;
  uint64_t number = 0;
  const CUresult created = Create(&number, descriptor, levels, room);
  if (created == CUDA_SUCCESS) *array = MakeHandle<CUmipmappedArray>(number);
  return created;
}

// At once, though a driver would do it in the order of the stream.
CUDA_EXPORT CUresult cuMemMapArrayAsync(CUarrayMapInfo* maps, unsigned int count, CUstream) {
  return CallInContext([&](Library& library, const Library::Context&) {
    if (maps == nullptr || count == 0) return CUDA_ERROR_INVALID_VALUE;
    for (unsigned int i = 0; i < count; ++i) {
      const CUresult mapped = MapPiece(library, maps[i]);
      if (mapped != CUDA_SUCCESS) return mapped;
    }
    return CUDA_SUCCESS;
  });
}

CUDA_EXPORT CUresult cuArrayCreate_v2(CUarray* array, const CUDA_ARRAY_DESCRIPTOR* d) {
  if (d == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return CreateTo(array, {d->Width, d->Height, 0, d->Format, d->NumChannels, 0}, 0);
}
CUDA_EXPORT CUresult cuArrayCreate(CUarray* array, const CUDA_ARRAY_DESCRIPTOR_v1* d) {
  if (d == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return CreateTo(array, {d->Width, d->Height, 0, d->Format, d->NumChannels, 0}, 0);
}
CUDA_EXPORT CUresult cuArray3DCreate_v2(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR* d) {
  return d == nullptr ? CUDA_ERROR_INVALID_VALUE : CreateTo(array, *d, 0);
}
CUDA_EXPORT CUresult cuArray3DCreate(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR_v1* d) {
  if (d == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return CreateTo(array, {d->Width, d->Height, d->Depth, d->Format, d->NumChannels, d->Flags}, 0);
}
CUDA_EXPORT CUresult cuArrayDestroy(CUarray array) { return Destroy(Number(array)); }
CUDA_EXPORT CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* out, CUarray handle) {
  return WithArray(Number(handle), [&](const Array& array) {
    if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
    const CUDA_ARRAY3D_DESCRIPTOR& d = array.descriptor;
    *out = {d.Width, d.Height, d.Format, d.NumChannels};
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* out, CUarray handle) {
  return WithArray(Number(handle), [&](const Array& array) {
    if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
    *out = array.descriptor;
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* requirements,
                                                  CUarray array, CUdevice) {
  return Requirements(Number(array), requirements);
}

CUDA_EXPORT CUresult cuMipmappedArrayCreate(CUmipmappedArray* array,
                                            const CUDA_ARRAY3D_DESCRIPTOR* d, unsigned int levels) {
  if (d == nullptr || levels == 0 || levels > kMostLevels) return CUDA_ERROR_INVALID_VALUE;
  return CreateTo(array, *d, levels);
}
CUDA_EXPORT CUresult cuMipmappedArrayDestroy(CUmipmappedArray array) {
  return Destroy(Number(array));
}
CUDA_EXPORT CUresult cuMipmappedArrayGetLevel(CUarray* level, CUmipmappedArray handle,
                                              unsigned int number) {
  return WithArray(Number(handle), [&](const Array& array) {
    if (level == nullptr || number >= array.levels.size()) return CUDA_ERROR_INVALID_VALUE;
    *level = MakeHandle<CUarray>(array.levels[number]);
    return CUDA_SUCCESS;
  });
}
CUDA_EXPORT CUresult cuMipmappedArrayGetMemoryRequirements(
    CUDA_ARRAY_MEMORY_REQUIREMENTS* requirements, CUmipmappedArray array, CUdevice) {
  return Requirements(Number(array), requirements);
}

}  // namespace tranche::sim::cuda
