#pragma once

#include "limiter/state.h"
#include "limiter/symbols.h"

// What the hooks of several families share.
namespace tranche::limiter {

// Devices hand out memory in granules of 2 MiB.
constexpr uint64_t kGranule = uint64_t{2} << 20;
constexpr uint64_t kTooMuch = uint64_t{1} << 48;

constexpr uint64_t Granules(uint64_t bytes) { return (bytes + kGranule - 1) / kGranule * kGranule; }

// 0 when there is none.
inline uint64_t CurrentContext() {
  CUcontext context = nullptr;
  REAL(cuCtxGetCurrent)(&context);
  return reinterpret_cast<uint64_t>(context);
}

// Gives back what a charge stands for.
inline void GiveBack(State& state, const Charge& charge) {
  Account account = Account::OfSlice(charge.device);
  if (charge.bytes != 0) {
    account.Release(charge.bytes);
    return;
  }
  // Small memory: its granule goes with the last that lies in it.
  Charge granule;
  bool gone = false;
  if (state.handles.RemoveUser(Kind::kGranule, charge.other, &granule, &gone) && gone)
    account.Release(kGranule);
}

// Calls make(), which makes something that takes `bytes`, all known before; remembers it with
// keep(), which may fail; and undo()es it then.
template <typename Make, typename Keep, typename Undo>
CUresult Metered(Account account, uint64_t bytes, const Make& make, const Keep& keep,
                 const Undo& undo) {
  if (!account.metered() || account.pointless()) return make();
  if (bytes > kTooMuch || !account.Reserve(bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult answer = make();
  if (answer != CUDA_SUCCESS) {
    account.Release(bytes);
    return answer;
  }
  Charge charge;
  charge.bytes = bytes;
  charge.users = 1;
  charge.device = account.device();
  charge.context = CurrentContext();
  if (keep(charge)) return CUDA_SUCCESS;
  // The host has no memory to remember it, and what is not remembered would be charged for ever.
  undo();
  account.Release(bytes);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// Calls destroy(); what stood under that handle is given back if the driver agrees. Taken out
// before, since the driver may give the same handle to another thread at once.
template <typename Destroy>
CUresult Unmetered(Kind kind, uint64_t handle, const Destroy& destroy) {
  State& state = TheState();
  Charge charge;
  const bool known = state.handles.Take(kind, handle, &charge);
  const CUresult answer = destroy();
  if (!known) return answer;
  if (answer == CUDA_SUCCESS)
    GiveBack(state, charge);
  else
    state.handles.Put(kind, handle, charge);
  return answer;
}

template <typename Handle>
uint64_t Number(Handle* handle) {
  return reinterpret_cast<uint64_t>(handle);
}

}  // namespace tranche::limiter
