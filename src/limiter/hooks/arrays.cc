
#include "limiter/hooks/metered.h"

// Arrays, whose layout is the driver's secret. An array that is only declared ("deferred mapping")
// takes no memory and tells what it would take.
namespace tranche::limiter {
namespace {

constexpr unsigned int kDeferred = 0x80;  // CUDA_ARRAY3D_DEFERRED_MAPPING
constexpr unsigned int kSparse = 0x40;    // CUDA_ARRAY3D_SPARSE

uint64_t BytesOfFormat(CUarray_format format) {
  switch (format) {
    case CU_AD_FORMAT_UNSIGNED_INT8:
    case CU_AD_FORMAT_SIGNED_INT8:
      return 1;
    case CU_AD_FORMAT_UNSIGNED_INT16:
    case CU_AD_FORMAT_SIGNED_INT16:
    case CU_AD_FORMAT_HALF:
      return 2;
    default:
      return 4;  // the widest channel there is
  }
}

// Where the driver does not tell: texels, with room for rows and slices being padded.
uint64_t Estimate(const CUDA_ARRAY3D_DESCRIPTOR& d, unsigned int levels) {
  const uint64_t texel = BytesOfFormat(d.Format) * (d.NumChannels == 0 ? 1 : d.NumChannels);
  const uint64_t width = d.Width, height = d.Height == 0 ? 1 : d.Height;
  const uint64_t depth = d.Depth == 0 ? 1 : d.Depth;
  if (width > kTooMuch / texel || height > kTooMuch / (width * texel + 512)) return kTooMuch + 1;
  const uint64_t slice = (width * texel + 511) / 512 * 512 * height;
  if (slice != 0 && depth > kTooMuch / slice) return kTooMuch + 1;
  return levels > 1 ? slice * depth * 2 : slice * depth;
}

uint64_t ArrayBytes(CUDA_ARRAY3D_DESCRIPTOR descriptor) {
  const uint64_t estimate = Estimate(descriptor, 1);
  descriptor.Flags |= kDeferred;
  CUarray declared = nullptr;
  if (REAL(cuArray3DCreate_v2)(&declared, &descriptor) != CUDA_SUCCESS) return estimate;
  CUDA_ARRAY_MEMORY_REQUIREMENTS needs = {};
  const CUresult answer = REAL(cuArrayGetMemoryRequirements)(&needs, declared, CurrentOrdinal());
  REAL(cuArrayDestroy)(declared);
  return answer == CUDA_SUCCESS && needs.size != 0 ? needs.size : estimate;
}

uint64_t MipmapBytes(CUDA_ARRAY3D_DESCRIPTOR descriptor, unsigned int levels) {
  const uint64_t estimate = Estimate(descriptor, levels);
  descriptor.Flags |= kDeferred;
  CUmipmappedArray declared = nullptr;
  if (REAL(cuMipmappedArrayCreate)(&declared, &descriptor, levels) != CUDA_SUCCESS) return estimate;
  CUDA_ARRAY_MEMORY_REQUIREMENTS needs = {};
  const CUresult answer =
      REAL(cuMipmappedArrayGetMemoryRequirements)(&needs, declared, CurrentOrdinal());
  REAL(cuMipmappedArrayDestroy)(declared);
  return answer == CUDA_SUCCESS && needs.size != 0 ? needs.size : estimate;
}

// An array of less than a granule is charged for a whole one: where it lies, alone or with others,
// it does not show.
bool KeepArray(Kind kind, uint64_t handle, uint64_t bytes, Charge charge) {
  State& state = TheState();
  if (bytes < kGranule) charge.other = kHidden;
  if (!state.handles.Put(kind, handle, charge)) return false;
  if (charge.other == kHidden) __atomic_fetch_add(&state.small_arrays, 1, __ATOMIC_SEQ_CST);
  return true;
}

template <typename Create>
CUresult CreateArray(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR& descriptor,
                     const Create& create) {
  Account account = Account::Current();
  // Without memory of its own: what is mapped into it later is charged as what it is.
  if (!account.metered() || account.pointless() || (descriptor.Flags & (kDeferred | kSparse)) != 0)
    return create();
  const uint64_t bytes = ArrayBytes(descriptor);
  return Metered(
      account, Granules(bytes), create,
      [&](const Charge& charge) { return KeepArray(Kind::kArray, Number(*array), bytes, charge); },
      [&] {
        REAL(cuArrayDestroy)
        (*array);
      });
}

template <typename Descriptor>
CUDA_ARRAY3D_DESCRIPTOR Flat(const Descriptor& from) {
  CUDA_ARRAY3D_DESCRIPTOR to = {};
  to.Width = from.Width;
  to.Height = from.Height;
  to.Format = from.Format;
  to.NumChannels = from.NumChannels;
  return to;
}

}  // namespace

HOOK(cuArrayCreate_v2, (CUarray * array, const CUDA_ARRAY_DESCRIPTOR* descriptor)) {
  const auto create = [&] { return REAL(cuArrayCreate_v2)(array, descriptor); };
  if (array == nullptr || descriptor == nullptr || !IsLimited()) return create();
  return CreateArray(array, Flat(*descriptor), create);
}

HOOK(cuArrayCreate, (CUarray * array, const CUDA_ARRAY_DESCRIPTOR_v1* descriptor)) {
  const auto create = [&] { return REAL(cuArrayCreate)(array, descriptor); };
  if (array == nullptr || descriptor == nullptr || !IsLimited()) return create();
  return CreateArray(array, Flat(*descriptor), create);
}

HOOK(cuArray3DCreate_v2, (CUarray * array, const CUDA_ARRAY3D_DESCRIPTOR* descriptor)) {
  const auto create = [&] { return REAL(cuArray3DCreate_v2)(array, descriptor); };
  if (array == nullptr || descriptor == nullptr || !IsLimited()) return create();
  return CreateArray(array, *descriptor, create);
}

HOOK(cuArray3DCreate, (CUarray * array, const CUDA_ARRAY3D_DESCRIPTOR_v1* descriptor)) {
  const auto create = [&] { return REAL(cuArray3DCreate)(array, descriptor); };
  if (array == nullptr || descriptor == nullptr || !IsLimited()) return create();
  CUDA_ARRAY3D_DESCRIPTOR wide = Flat(*descriptor);
  wide.Depth = descriptor->Depth;
  wide.Flags = descriptor->Flags;
  return CreateArray(array, wide, create);
}

HOOK(cuArrayDestroy, (CUarray array)) {
  return Unmetered(Kind::kArray, Number(array), [&] { return REAL(cuArrayDestroy)(array); });
}

HOOK(cuMipmappedArrayCreate,
     (CUmipmappedArray * array, const CUDA_ARRAY3D_DESCRIPTOR* descriptor, unsigned int levels)) {
  const auto create = [&] { return REAL(cuMipmappedArrayCreate)(array, descriptor, levels); };
  if (array == nullptr || descriptor == nullptr || !IsLimited()) return create();
  Account account = Account::Current();
  if (!account.metered() || account.pointless() || (descriptor->Flags & (kDeferred | kSparse)) != 0)
    return create();
  const uint64_t bytes = MipmapBytes(*descriptor, levels);
  return Metered(
      account, Granules(bytes), create,
      [&](const Charge& charge) { return KeepArray(Kind::kMipmap, Number(*array), bytes, charge); },
      [&] {
        REAL(cuMipmappedArrayDestroy)
        (*array);
      });
}

HOOK(cuMipmappedArrayDestroy, (CUmipmappedArray array)) {
  return Unmetered(Kind::kMipmap, Number(array),
                   [&] { return REAL(cuMipmappedArrayDestroy)(array); });
}

}  // namespace tranche::limiter
