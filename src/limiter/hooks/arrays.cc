
#include "limiter/hooks/metered.h"
#include "limiter/hooks/physical.h"

// Arrays, whose layout is the driver's secret (small_arrays.h: small ones). An array that is only
// declared ("deferred mapping") takes no memory and tells what it would take.
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

bool Keep(Kind kind, uint64_t handle, bool small, Charge charge) {
  State& state = TheState();
  if (small) charge.other = kHidden;
  if (!state.handles.Put(kind, handle, charge)) return false;
  if (small) AddSmallArray(state, charge.device);
  return true;
}

// Calls create(), which makes something of that size.
template <typename Create, typename Handle, typename Undo>
CUresult CreateOf(Account account, Kind kind, uint64_t bytes, const Create& create,
                  const Handle& handle, const Undo& undo) {
  const bool small = bytes < kGranule && account.device() >= 0;
  if (small) BeforeSmallArray(account.device());
  const CUresult answer = Metered(
      account, Granules(bytes), create,
      [&](const Charge& charge) { return Keep(kind, handle(), small, charge); }, undo);
  if (small && answer == CUDA_SUCCESS) TrueUpSmallArrays(account.device());
  return answer;
}

// Calls destroy(). What was mapped to it is used by it no more.
template <typename Destroy>
CUresult DestroyOf(Kind kind, uint64_t handle, const Destroy& destroy) {
  if (!IsLimited()) return destroy();
  State& state = TheState();
  Charge charge;
  const bool small = state.handles.Find(kind, handle, &charge) && charge.other == kHidden;
  const CUresult answer = Unmetered(kind, handle, destroy);
  if (answer != CUDA_SUCCESS) return answer;
  if (small) TrueUpSmallArrays(charge.device);
  EndArrayMappings(handle);
  return answer;
}

template <typename Create>
CUresult CreateArray(CUarray* array, const CUDA_ARRAY3D_DESCRIPTOR& descriptor,
                     const Create& create) {
  Account account = Account::Current();
  // Without memory of its own: what is mapped into it later is charged as what it is.
  if (!account.metered() || account.pointless() || (descriptor.Flags & (kDeferred | kSparse)) != 0)
    return create();
  return CreateOf(
      account, Kind::kArray, ArrayBytes(descriptor), create, [&] { return Number(*array); },
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
  return DestroyOf(Kind::kArray, Number(array), [&] { return REAL(cuArrayDestroy)(array); });
}

HOOK(cuMipmappedArrayCreate,
     (CUmipmappedArray * array, const CUDA_ARRAY3D_DESCRIPTOR* descriptor, unsigned int levels)) {
  const auto create = [&] { return REAL(cuMipmappedArrayCreate)(array, descriptor, levels); };
  if (array == nullptr || descriptor == nullptr || !IsLimited()) return create();
  Account account = Account::Current();
  if (!account.metered() || account.pointless() || (descriptor->Flags & (kDeferred | kSparse)) != 0)
    return create();
  return CreateOf(
      account, Kind::kMipmap, MipmapBytes(*descriptor, levels), create,
      [&] { return Number(*array); },
      [&] {
        REAL(cuMipmappedArrayDestroy)
        (*array);
      });
}

HOOK(cuMipmappedArrayDestroy, (CUmipmappedArray array)) {
  return DestroyOf(Kind::kMipmap, Number(array),
                   [&] { return REAL(cuMipmappedArrayDestroy)(array); });
}

}  // namespace tranche::limiter
