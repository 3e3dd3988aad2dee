#include "limiter/hooks/physical.h"

#include "limiter/hooks/metered.h"

// Physical memory by handle. It lives as long as its handle or any mapping of it.
namespace tranche::limiter {
namespace {

void Drop(State& state, uint64_t handle) {
  Charge charge;
  bool gone = false;
  if (state.handles.RemoveUser(Kind::kPhysical, handle, &charge, &gone) && gone)
    Account::OfSlice(charge.device).Release(charge.bytes);
}

}  // namespace

HOOK(cuMemCreate, (CUmemGenericAllocationHandle * handle, size_t bytes,
                   const CUmemAllocationProp* properties, unsigned long long flags)) {
  const auto create = [&] { return REAL(cuMemCreate)(handle, bytes, properties, flags); };
  // By where the memory is to lie, whatever context is current.
  if (!IsLimited() || handle == nullptr || properties == nullptr || bytes == 0 ||
      properties->location.type != CU_MEM_LOCATION_TYPE_DEVICE)
    return create();
  return Metered(
      Account::Of(properties->location.id), Granules(bytes), create,
      [&](Charge charge) {
        charge.context = 0;  // it outlives every context
        return TheState().handles.Put(Kind::kPhysical, *handle, charge);
      },
      [&] {
        REAL(cuMemRelease)
        (*handle);
      });
}

HOOK(cuMemRelease, (CUmemGenericAllocationHandle handle)) {
  State& state = TheState();
  const InCall call(state);
  const CUresult answer = REAL(cuMemRelease)(handle);
  if (answer == CUDA_SUCCESS && state.attached != State::kNoSlice) Drop(state, handle);
  return answer;
}

HOOK(cuMemRetainAllocationHandle, (CUmemGenericAllocationHandle * handle, void* address)) {
  const CUresult answer = REAL(cuMemRetainAllocationHandle)(handle, address);
  State& state = TheState();
  Charge charge;
  if (answer == CUDA_SUCCESS && state.attached != State::kNoSlice)
    state.handles.AddUser(Kind::kPhysical, *handle, &charge);
  return answer;
}

// What this process made is one user more of the same handle; what another one made is on its
// account, and on no other.
HOOK(cuMemImportFromShareableHandle,
     (CUmemGenericAllocationHandle * handle, void* os_handle, CUmemAllocationHandleType type)) {
  const CUresult answer = REAL(cuMemImportFromShareableHandle)(handle, os_handle, type);
  State& state = TheState();
  Charge charge;
  if (answer == CUDA_SUCCESS && state.attached != State::kNoSlice)
    state.handles.AddUser(Kind::kPhysical, *handle, &charge);
  return answer;
}

HOOK(cuMemMap, (CUdeviceptr address, size_t bytes, size_t offset,
                CUmemGenericAllocationHandle handle, unsigned long long flags)) {
  State& state = TheState();
  Charge charge;
  // Held before the driver maps it, so that another thread's cuMemRelease takes nothing away.
  const bool known =
      state.attached != State::kNoSlice && state.handles.AddUser(Kind::kPhysical, handle, &charge);
  CUresult answer = REAL(cuMemMap)(address, bytes, offset, handle, flags);
  TRANCHE_LABEL(kMapped);
  if (!known) return answer;
  if (answer == CUDA_SUCCESS) {
    Charge mapping;
    mapping.bytes = bytes;
    mapping.other = handle;
    if (state.handles.Put(Kind::kMapping, address, mapping)) return answer;
    REAL(cuMemUnmap)(address, bytes);
    answer = CUDA_ERROR_OUT_OF_MEMORY;
  }
  Drop(state, handle);
  return answer;
}

HOOK(cuMemUnmap, (CUdeviceptr address, size_t bytes)) {
  State& state = TheState();
  const InCall call(state);
  const CUresult answer = REAL(cuMemUnmap)(address, bytes);
  TRANCHE_LABEL(kUnmapped);
  if (answer != CUDA_SUCCESS || state.attached == State::kNoSlice) return answer;
  // One call may undo several mappings that lie side by side, whole ones always.
  for (uint64_t at = address; at - address < bytes;) {
    Charge mapping;
    if (!state.handles.Take(Kind::kMapping, at, &mapping)) {
      at += kGranule;
      continue;
    }
    Drop(state, mapping.other);
    at += mapping.bytes == 0 ? kGranule : mapping.bytes;
  }
  return answer;
}

namespace {

uint64_t ArrayOf(const CUarrayMapInfo& map) {
  return map.resourceType == CU_RESOURCE_TYPE_ARRAY ? Number(map.resource.array)
                                                    : Number(map.resource.mipmap);
}

// A mapping ends with its array as other things do with their context, whose address is another.
uint64_t LifeOf(uint64_t array) { return array | uint64_t{1} << 63; }

// Where in its array. A driver maps and unmaps the same pieces; what is unmapped in others is used
// until the array is gone, as far as we know.
uint64_t PlaceOf(const CUarrayMapInfo& map) {
  constexpr uint64_t kSpread = UINT64_C(0x9e3779b97f4a7c15);
  uint64_t place = ArrayOf(map) * kSpread + map.subresourceType;
  const auto add = [&](uint64_t part) { place = (place ^ place >> 29) * kSpread + part; };
  if (map.subresourceType == CU_ARRAY_SPARSE_SUBRESOURCE_TYPE_SPARSE_LEVEL) {
    add(map.subresource.sparseLevel.level);
    add(map.subresource.sparseLevel.layer);
    add(map.subresource.sparseLevel.offsetX);
    add(map.subresource.sparseLevel.offsetY);
    add(map.subresource.sparseLevel.offsetZ);
  } else {
    add(map.subresource.miptail.layer);
    add(map.subresource.miptail.offset);
  }
  return place;
}

void EndMapping(State& state, uint64_t place) {
  Charge mapping;
  if (!state.handles.Take(Kind::kArrayMapping, place, &mapping)) return;
  __atomic_fetch_sub(&state.array_mappings, 1, __ATOMIC_SEQ_CST);
  Drop(state, mapping.other);
}

// Holds the memory for the mapping that is about to be made. What lay there before is not used any
// more.
void BeginMapping(State& state, const CUarrayMapInfo& map) {
  Charge charge;
  if (!state.handles.AddUser(Kind::kPhysical, map.memHandle.memHandle, &charge)) return;
  EndMapping(state, PlaceOf(map));
  Charge mapping;
  mapping.other = map.memHandle.memHandle;
  mapping.context = LifeOf(ArrayOf(map));
  // Where there is no memory to remember it, it stays charged.
  if (state.handles.Put(Kind::kArrayMapping, PlaceOf(map), mapping))
    __atomic_fetch_add(&state.array_mappings, 1, __ATOMIC_SEQ_CST);
}

template <typename Call>
CUresult MapArrays(const CUarrayMapInfo* maps, unsigned int count, const Call& call) {
  const CUresult answer = call();
  State& state = TheState();
  if (answer != CUDA_SUCCESS || !IsLimited()) return answer;
  for (unsigned int i = 0; i < count; ++i) {
    if (maps[i].memOperationType == CU_MEM_OPERATION_TYPE_MAP)
      BeginMapping(state, maps[i]);
    else
      EndMapping(state, PlaceOf(maps[i]));
  }
  return answer;
}

}  // namespace

void EndArrayMappings(uint64_t array) {
  State& state = TheState();
  if (__atomic_load_n(&state.array_mappings, __ATOMIC_SEQ_CST) == 0) return;
  uint64_t from = 0;
  Kind kind = Kind::kNone;
  Charge mapping;
  while (state.handles.TakeOneOf(LifeOf(array), &from, &kind, &mapping)) {
    __atomic_fetch_sub(&state.array_mappings, 1, __ATOMIC_SEQ_CST);
    Drop(state, mapping.other);
  }
}

HOOK(cuMemMapArrayAsync, (CUarrayMapInfo * maps, unsigned int count, CUstream stream)) {
  return MapArrays(maps, count, [&] { return REAL(cuMemMapArrayAsync)(maps, count, stream); });
}
HOOK(cuMemMapArrayAsync_ptsz, (CUarrayMapInfo * maps, unsigned int count, CUstream stream)) {
  return MapArrays(maps, count, [&] { return REAL(cuMemMapArrayAsync_ptsz)(maps, count, stream); });
}

namespace {

// Where memory of a device lies in a multicast object.
uint64_t BindingOf(CUmemGenericAllocationHandle object, int32_t device, size_t offset) {
  return (object * 256 + static_cast<uint64_t>(device)) * UINT64_C(0x9e3779b97f4a7c15) +
         offset / kGranule;
}

// Calls bind(), which has the object use that memory as a mapping would.
template <typename Bind>
CUresult BindTo(CUmemGenericAllocationHandle object, size_t offset, size_t bytes,
                CUmemGenericAllocationHandle memory, const Bind& bind) {
  State& state = TheState();
  Charge charge;
  if (!IsLimited() || !state.handles.AddUser(Kind::kPhysical, memory, &charge)) return bind();
  const CUresult answer = bind();
  TRANCHE_LABEL(kBound);
  Charge binding;
  binding.bytes = bytes;
  binding.other = memory;
  // Where there is no memory to remember it, it stays charged.
  if (answer == CUDA_SUCCESS)
    state.handles.Put(Kind::kBinding, BindingOf(object, charge.device, offset), binding);
  else
    Drop(state, memory);
  return answer;
}

}  // namespace

HOOK(cuMulticastBindMem,
     (CUmemGenericAllocationHandle object, size_t offset, CUmemGenericAllocationHandle memory,
      size_t memory_offset, size_t bytes, unsigned long long flags)) {
  return BindTo(object, offset, bytes, memory, [&] {
    return REAL(cuMulticastBindMem)(object, offset, memory, memory_offset, bytes, flags);
  });
}

HOOK(cuMulticastBindAddr, (CUmemGenericAllocationHandle object, size_t offset, CUdeviceptr address,
                           size_t bytes, unsigned long long flags)) {
  const auto bind = [&] {
    return REAL(cuMulticastBindAddr)(object, offset, address, bytes, flags);
  };
  CUmemGenericAllocationHandle memory = 0;
  if (!IsLimited() ||
      REAL(cuMemRetainAllocationHandle)(&memory, reinterpret_cast<void*>(address)) != CUDA_SUCCESS)
    return bind();
  const CUresult answer = BindTo(object, offset, bytes, memory, bind);
  REAL(cuMemRelease)(memory);
  return answer;
}

HOOK(cuMulticastUnbind,
     (CUmemGenericAllocationHandle object, CUdevice ordinal, size_t offset, size_t bytes)) {
  const CUresult answer = REAL(cuMulticastUnbind)(object, ordinal, offset, bytes);
  TRANCHE_LABEL(kUnbound);
  if (answer != CUDA_SUCCESS || !IsLimited()) return answer;
  State& state = TheState();
  const int32_t device = Account::Of(ordinal).device();
  for (size_t at = offset; device >= 0 && at - offset < bytes; at += kGranule) {
    Charge binding;
    if (state.handles.Take(Kind::kBinding, BindingOf(object, device, at), &binding))
      Drop(state, binding.other);
  }
  return answer;
}

}  // namespace tranche::limiter
