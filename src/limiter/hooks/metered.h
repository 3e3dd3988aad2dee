#pragma once

#include "limiter/policy/label.h"
#include "limiter/state.h"
#include "limiter/symbols.h"

// What the hooks of several families share.
namespace tranche::limiter {

// More than any device has.
constexpr uint64_t kTooMuch = uint64_t{1} << 42;

constexpr uint64_t Granules(uint64_t bytes) { return (bytes + kGranule - 1) / kGranule * kGranule; }

// Else what a program passes is not even looked at.
inline bool IsLimited() { return TheState().attached != State::kNoSlice; }

// The device of the calling thread's context; negative when there is none.
inline CUdevice CurrentOrdinal() { return CurrentPlace(TheState()).ordinal; }

// As Charge.other of an array that may lie in a granule with small memory.
constexpr uint64_t kHidden = 1;

// Gives back what a charge stands for.
inline void GiveBack(State& state, const Charge& charge) {
  Account account = Account::OfSlice(charge.device);
  if (charge.other <= kHidden) {
    account.Release(charge.bytes);
    if (charge.other == kHidden) __atomic_fetch_sub(&state.small_arrays, 1, __ATOMIC_SEQ_CST);
    return;
  }
  // Small memory: its granule goes with the last that lies in it.
  auto* granule = reinterpret_cast<Granule*>(charge.other);
  Charge all;
  bool gone = false;
  if (!state.handles.RemoveUser(Kind::kGranule, granule->number, &all, &gone) || !gone) return;
  state.granules.Give(granule);
  account.Release(kGranule);
}

// Instead of a call that was refused. A context that can do nothing any more says so itself.
template <typename Make>
CUresult Refused(const Make& make) {
  CUdevice ordinal = -1;
  return REAL(cuCtxGetDevice)(&ordinal) == CUDA_SUCCESS ? CUDA_ERROR_OUT_OF_MEMORY : make();
}

// More than any device has: the driver says what is wrong with it.
template <typename Make, typename Undo>
CUresult TooMuch(const Make& make, const Undo& undo) {
  const CUresult answer = make();
  if (answer != CUDA_SUCCESS) return answer;
  undo();
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// Calls make(), which makes something that takes `bytes`, all known before; remembers it with
// keep(), which may fail; and undo()es it then.
template <typename Make, typename Keep, typename Undo>
CUresult Metered(Account account, uint64_t bytes, const Make& make, const Keep& keep,
                 const Undo& undo) {
  if (!account.metered() || account.pointless()) return make();
  if (bytes > kTooMuch) return TooMuch(make, undo);
  if (!account.Reserve(bytes))
    return account.context() == 0 ? CUDA_ERROR_OUT_OF_MEMORY : Refused(make);
  TRANCHE_LABEL(kBeforeMake);
  const CUresult answer = make();
  TRANCHE_LABEL(kMade);
  if (answer != CUDA_SUCCESS) {
    account.Release(bytes);
    return answer;
  }
  Charge charge;
  charge.bytes = bytes;
  charge.users = 1;
  charge.device = account.device();
  charge.context = account.context();
  if (keep(charge)) {
    TRANCHE_LABEL(kKept);
    return CUDA_SUCCESS;
  }
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
  TRANCHE_LABEL(kForgotten);
  const CUresult answer = destroy();
  TRANCHE_LABEL(kDestroyed);
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
