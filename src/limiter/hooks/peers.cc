#include "limiter/policy/memory_ledger.h"
#include "limiter/state.h"
#include "limiter/symbols.h"

// Programs that let GPUs reach each other's memory wait on one GPU for what runs on another. With
// turns on both, each could wait for the other's for ever: so there are none from then on, and the
// slice says so.
namespace tranche::limiter {
namespace {

void EndTurns() {
  State& state = TheState();
  for (uint32_t i = 0; state.slice != nullptr && i < state.slice->device_count; ++i)
    MemoryLedger::Store(&state.slice->devices[i].turns_off, 1);
}

CUresult EndsTurnsIf(CUresult answer) {
  if (answer == CUDA_SUCCESS) EndTurns();
  return answer;
}

// Of which device that is; -1: of none.
CUdevice DeviceOfMemory(CUdeviceptr pointer) {
  int ordinal = -1;
  return REAL(cuPointerGetAttribute)(&ordinal, CU_POINTER_ATTRIBUTE_DEVICE_ORDINAL, pointer) ==
                 CUDA_SUCCESS
             ? ordinal
             : -1;
}

// Whether any of those who may use it is a GPU other than the one that has it.
bool IsShared(CUdevice own, const CUmemAccessDesc* users, size_t count) {
  for (size_t i = 0; own >= 0 && i < count; ++i) {
    const bool may = users[i].flags != CU_MEM_ACCESS_FLAGS_PROT_NONE;
    if (may && users[i].location.type == CU_MEM_LOCATION_TYPE_DEVICE && users[i].location.id != own)
      return true;
  }
  return false;
}

// Memory of another process, which may have it on another GPU.
CUresult OpenedByIpc(CUresult answer, const CUdeviceptr* pointer) {
  State& state = TheState();
  if (answer == CUDA_SUCCESS && state.slice != nullptr &&
      DeviceOfMemory(*pointer) != CurrentPlace(state).ordinal)
    EndTurns();
  return answer;
}

bool IsPoolOf(State& state, CUmemoryPool pool, CUdevice ordinal) {
  Charge known;
  if (state.handles.Find(Kind::kPool, reinterpret_cast<uint64_t>(pool), &known))
    return known.other == static_cast<uint64_t>(ordinal);
  CUmemoryPool its = nullptr;
  return REAL(cuDeviceGetDefaultMemPool)(&its, ordinal) == CUDA_SUCCESS && its == pool;
}

}  // namespace

HOOK(cuCtxEnablePeerAccess, (CUcontext context, unsigned int flags)) {
  return EndsTurnsIf(REAL(cuCtxEnablePeerAccess)(context, flags));
}
HOOK(cuMemSetAccess,
     (CUdeviceptr pointer, size_t bytes, const CUmemAccessDesc* users, size_t count)) {
  const CUresult answer = REAL(cuMemSetAccess)(pointer, bytes, users, count);
  const bool in_slice = TheState().slice != nullptr;
  if (in_slice && answer == CUDA_SUCCESS && IsShared(DeviceOfMemory(pointer), users, count))
    EndTurns();
  return answer;
}
HOOK(cuMemPoolSetAccess, (CUmemoryPool pool, const CUmemAccessDesc* users, size_t count)) {
  const CUresult answer = REAL(cuMemPoolSetAccess)(pool, users, count);
  State& state = TheState();
  for (size_t i = 0; answer == CUDA_SUCCESS && state.slice != nullptr && i < count; ++i) {
    const CUmemAccessDesc& user = users[i];
    const bool may = user.flags != CU_MEM_ACCESS_FLAGS_PROT_NONE &&
                     user.location.type == CU_MEM_LOCATION_TYPE_DEVICE;
    if (may && !IsPoolOf(state, pool, user.location.id)) EndTurns();
  }
  return answer;
}
HOOK(cuIpcOpenMemHandle_v2, (CUdeviceptr * pointer, CUipcMemHandle handle, unsigned int flags)) {
  return OpenedByIpc(REAL(cuIpcOpenMemHandle_v2)(pointer, handle, flags), pointer);
}
HOOK(cuIpcOpenMemHandle, (CUdeviceptr * pointer, CUipcMemHandle handle, unsigned int flags)) {
  return OpenedByIpc(REAL(cuIpcOpenMemHandle)(pointer, handle, flags), pointer);
}
HOOK(cuMulticastAddDevice, (CUmemGenericAllocationHandle group, CUdevice device)) {
  return EndsTurnsIf(REAL(cuMulticastAddDevice)(group, device));
}

}  // namespace tranche::limiter
