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
  if (handle == nullptr || properties == nullptr || bytes == 0 ||
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
  const CUresult answer = REAL(cuMemRelease)(handle);
  State& state = TheState();
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

HOOK(cuMemMap, (CUdeviceptr address, size_t bytes, size_t offset,
                CUmemGenericAllocationHandle handle, unsigned long long flags)) {
  State& state = TheState();
  Charge charge;
  // Held before the driver maps it, so that another thread's cuMemRelease takes nothing away.
  const bool known =
      state.attached != State::kNoSlice && state.handles.AddUser(Kind::kPhysical, handle, &charge);
  CUresult answer = REAL(cuMemMap)(address, bytes, offset, handle, flags);
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
  const CUresult answer = REAL(cuMemUnmap)(address, bytes);
  State& state = TheState();
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

}  // namespace tranche::limiter
