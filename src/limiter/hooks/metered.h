#pragma once

#include "limiter/hooks/small_arrays.h"
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

// While what a call takes or gives and what it is charged for it are apart.
class InCall {
 public:
  explicit InCall(State& state) : state_(state) { state_.call_gate.Enter(); }
  ~InCall() { state_.call_gate.Leave(); }
  InCall(const InCall&) = delete;
  InCall& operator=(const InCall&) = delete;

 private:
  State& state_;
};

// As Charge.other: an array that may lie in a granule with small memory; managed memory.
constexpr uint64_t kHidden = 1, kManaged = 2;

// Gives back what a charge stands for. True: a granule in which small memory lay.
inline bool GiveBack(State& state, const Charge& charge) {
  if (charge.other == kHidden) {
    RemoveSmallArray(state, charge.device);
    return true;
  }
  if (charge.other <= kManaged) {
    Account::OfSlice(charge.device).Release(charge.bytes);
    if (charge.other == kManaged) __atomic_fetch_sub(&state.managed, 1, __ATOMIC_SEQ_CST);
    return false;
  }
  // Small memory: its granule goes with the last that lies in it.
  auto* granule = reinterpret_cast<Granule*>(charge.other);
  Charge all;
  bool gone = false;
  if (!state.handles.RemoveUser(Kind::kGranule, granule->number, &all, &gone) || !gone)
    return false;
  state.granules.Give(granule);
  RemoveGranule(state, charge.device);
  return true;
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
  const InCall call(TheState());
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
  const InCall call(state);
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
