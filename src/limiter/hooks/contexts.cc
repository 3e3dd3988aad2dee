#include "limiter/hooks/contexts.h"

#include "limiter/metering.h"

// A context takes memory of its own before the program has any. How much is measured by whoever
// makes the slice, on this GPU with this driver.
namespace tranche::limiter {
namespace {

// The context is gone, and with it what was allocated in it.
void GiveBackAllOf(uint64_t context) {
  State& state = TheState();
  if (context == 0 || state.attached == State::kNoSlice) return;
  state.contexts.Drop(context);
  Charge charge;
  Kind kind = Kind::kNone;
  uint64_t from = 0;
  while (state.handles.TakeOneOf(context, &from, &kind, &charge)) GiveBack(state, charge);
  for (int32_t i = 0; i < static_cast<int32_t>(TRANCHE_SLICE_DEVICES); ++i) TrueUpSmallArrays(i);
}

CUresult DestroyContext(CUcontext context, CUresult (*destroy)(CUcontext)) {
  if (IsMetered()) ForgetContext(context);
  const CUresult answer =
      Unmetered(Kind::kContext, Number(context), [&] { return destroy(context); });
  if (answer == CUDA_SUCCESS) GiveBackAllOf(Number(context));
  return answer;
}

template <typename Create>
CUresult CreateContext(CUcontext* context, CUdevice ordinal, const Create& create) {
  Account account = Account::Of(ordinal);
  if (context == nullptr) return create();
  return Metered(
      account, account.context_bytes(), create,
      [&](Charge charge) {
        charge.context = 0;
        TheState().contexts.Put(Number(*context), ordinal);
        return TheState().handles.Put(Kind::kContext, Number(*context), charge);
      },
      [&] {
        REAL(cuCtxDestroy_v2)
        (*context);
      });
}

bool Tracked(const State& state, CUdevice ordinal) {
  return state.attached != State::kNoSlice && ordinal >= 0 &&
         ordinal < static_cast<int>(kMaxOrdinals);
}

bool IsActive(CUdevice ordinal) {
  unsigned int flags = 0;
  int active = 0;
  return REAL(cuDevicePrimaryCtxGetState)(ordinal, &flags, &active) == CUDA_SUCCESS && active != 0;
}

// The driver says whether there is a primary context; when there is none any more, what it took is
// given back. `context`: what it was, if it is known.
void SettlePrimary(State& state, CUdevice ordinal, uint64_t context) {
  uint64_t epoch = 0;
  {
    const Guard guard(state.contexts_lock);
    epoch = state.primary_epoch[ordinal];
  }
  if (IsActive(ordinal)) return;
  TRANCHE_LABEL(kPrimaryEnded);
  bool charged = false;
  {
    const Guard guard(state.contexts_lock);
    // Else whoever is about to make it will settle.
    if (state.primary_busy[ordinal] != 0 || state.primary_epoch[ordinal] != epoch) return;
    charged = state.primary_charged[ordinal] != 0;
    state.primary_charged[ordinal] = 0;
    state.primary_users[ordinal] = 0;
  }
  GiveBackAllOf(context);
  Account account = Account::Of(ordinal);
  if (charged) account.Release(account.context_bytes());
}

// What is measured in a primary context ends with it: with its last user, or at a reset. Returns
// the context.
uint64_t BeforePrimaryEnds(CUdevice ordinal, bool by_last_user) {
  State& state = TheState();
  if (!Tracked(state, ordinal)) return 0;
  const Guard guard(state.contexts_lock);
  return by_last_user && state.primary_users[ordinal] > 1 ? 0 : state.primary_contexts[ordinal];
}

template <typename End>
CUresult EndPrimary(CUdevice ordinal, bool by_user, const End& end) {
  State& state = TheState();
  const uint64_t context = BeforePrimaryEnds(ordinal, by_user);
  if (context != 0 && IsMetered()) ForgetContext(reinterpret_cast<CUcontext>(context));
  const CUresult answer = end();
  if (answer != CUDA_SUCCESS || !Tracked(state, ordinal)) return answer;
  if (by_user) {
    const Guard guard(state.contexts_lock);
    if (state.primary_users[ordinal] > 0) --state.primary_users[ordinal];
  } else {
    // Whether it stays or not, it is empty.
    GiveBackAllOf(context);
  }
  SettlePrimary(state, ordinal, context);
  return answer;
}

}  // namespace

PrimaryCall::PrimaryCall(CUdevice ordinal) : ordinal_(ordinal) {
  State& state = TheState();
  Account account = Account::Of(ordinal);
  if (!Tracked(state, ordinal) || account.pointless()) return;
  tracked_ = true;
  bool charged = false;
  {
    const Guard guard(state.contexts_lock);
    ++state.primary_busy[ordinal];
    ++state.primary_epoch[ordinal];
    charged = state.primary_charged[ordinal] != 0;
  }
  if (charged) return;
  granted_ = account.Reserve(account.context_bytes());
  if (!granted_) return;
  {
    const Guard guard(state.contexts_lock);
    charged = state.primary_charged[ordinal] != 0;
    state.primary_charged[ordinal] = 1;
  }
  // Another thread was here at the same time.
  if (charged) account.Release(account.context_bytes());
}

PrimaryCall::~PrimaryCall() {
  if (!tracked_) return;
  State& state = TheState();
  {
    const Guard guard(state.contexts_lock);
    --state.primary_busy[ordinal_];
    if (context_ != 0) {
      ++state.primary_users[ordinal_];
      state.primary_contexts[ordinal_] = context_;
    }
  }
  if (context_ == 0) SettlePrimary(state, ordinal_, 0);
}

void PrimaryCall::Retained(const CUcontext* context) {
  if (!tracked_) return;
  context_ = Number(*context);
  TheState().contexts.Put(context_, ordinal_);
}

bool ChargePrimaryIfActive(CUdevice ordinal) {
  return !Tracked(TheState(), ordinal) || !IsActive(ordinal) || PrimaryCall(ordinal).granted();
}

void SettlePrimary(CUdevice ordinal) {
  State& state = TheState();
  if (Tracked(state, ordinal)) SettlePrimary(state, ordinal, BeforePrimaryEnds(ordinal, false));
}

void ContextIsGone(uint64_t context) { GiveBackAllOf(context); }

HOOK(cuInit, (unsigned int flags)) {
  // Limits that were asked for and cannot be held are an error, not a hope.
  if (TheState().attached == State::kRefused) return CUDA_ERROR_SYSTEM_NOT_READY;
  return REAL(cuInit)(flags);
}

HOOK(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice ordinal)) {
  if (context == nullptr) return REAL(cuDevicePrimaryCtxRetain)(context, ordinal);
  PrimaryCall call(ordinal);
  if (!call.granted()) return CUDA_ERROR_OUT_OF_MEMORY;
  TRANCHE_LABEL(kPrimaryCharged);
  const CUresult answer = REAL(cuDevicePrimaryCtxRetain)(context, ordinal);
  TRANCHE_LABEL(kPrimaryMade);
  if (answer == CUDA_SUCCESS) call.Retained(context);
  return answer;
}

HOOK(cuDevicePrimaryCtxRelease_v2, (CUdevice ordinal)) {
  return EndPrimary(ordinal, true, [&] { return REAL(cuDevicePrimaryCtxRelease_v2)(ordinal); });
}
HOOK(cuDevicePrimaryCtxRelease, (CUdevice ordinal)) {
  return EndPrimary(ordinal, true, [&] { return REAL(cuDevicePrimaryCtxRelease)(ordinal); });
}

HOOK(cuCtxCreate_v2, (CUcontext * context, unsigned int flags, CUdevice ordinal)) {
  return CreateContext(context, ordinal,
                       [&] { return REAL(cuCtxCreate_v2)(context, flags, ordinal); });
}
HOOK(cuCtxCreate, (CUcontext * context, unsigned int flags, CUdevice ordinal)) {
  return CreateContext(context, ordinal,
                       [&] { return REAL(cuCtxCreate)(context, flags, ordinal); });
}
HOOK(cuCtxCreate_v3, (CUcontext * context, CUexecAffinityParam* affinities, int count,
                      unsigned int flags, CUdevice ordinal)) {
  return CreateContext(context, ordinal, [&] {
    return REAL(cuCtxCreate_v3)(context, affinities, count, flags, ordinal);
  });
}
HOOK(cuCtxCreate_v4,
     (CUcontext * context, CUctxCreateParams* parameters, unsigned int flags, CUdevice ordinal)) {
  return CreateContext(context, ordinal,
                       [&] { return REAL(cuCtxCreate_v4)(context, parameters, flags, ordinal); });
}
HOOK(cuCtxDestroy_v2, (CUcontext context)) {
  return DestroyContext(context, REAL(cuCtxDestroy_v2));
}
HOOK(cuCtxDestroy, (CUcontext context)) { return DestroyContext(context, REAL(cuCtxDestroy)); }

// Of old programs: uses of a context are counted, and it goes with the last.
HOOK(cuCtxAttach, (CUcontext * context, unsigned int flags)) {
  const CUresult answer = REAL(cuCtxAttach)(context, flags);
  Charge charge;
  if (answer == CUDA_SUCCESS && IsLimited())
    TheState().handles.AddUser(Kind::kContext, Number(*context), &charge);
  return answer;
}
HOOK(cuCtxDetach, (CUcontext context)) {
  State& state = TheState();
  Charge charge;
  const bool known = IsLimited() && state.handles.Find(Kind::kContext, Number(context), &charge);
  if (known && charge.users <= 1) return DestroyContext(context, REAL(cuCtxDetach));
  const CUresult answer = REAL(cuCtxDetach)(context);
  bool gone = false;
  if (known && answer == CUDA_SUCCESS)
    state.handles.RemoveUser(Kind::kContext, Number(context), &charge, &gone);
  return answer;
}

// A batch is of one context.
HOOK(cuCtxSetCurrent, (CUcontext context)) {
  if (IsMetered()) BeforeWaiting();
  return REAL(cuCtxSetCurrent)(context);
}
HOOK(cuCtxPushCurrent_v2, (CUcontext context)) {
  if (IsMetered()) BeforeWaiting();
  return REAL(cuCtxPushCurrent_v2)(context);
}
HOOK(cuCtxPushCurrent, (CUcontext context)) {
  if (IsMetered()) BeforeWaiting();
  return REAL(cuCtxPushCurrent)(context);
}
HOOK(cuCtxPopCurrent_v2, (CUcontext * context)) {
  if (IsMetered()) BeforeWaiting();
  return REAL(cuCtxPopCurrent_v2)(context);
}
HOOK(cuCtxPopCurrent, (CUcontext * context)) {
  if (IsMetered()) BeforeWaiting();
  return REAL(cuCtxPopCurrent)(context);
}

// Whether the context lives on, empty, is the driver's to say.
HOOK(cuDevicePrimaryCtxReset_v2, (CUdevice ordinal)) {
  return EndPrimary(ordinal, false, [&] { return REAL(cuDevicePrimaryCtxReset_v2)(ordinal); });
}
HOOK(cuDevicePrimaryCtxReset, (CUdevice ordinal)) {
  return EndPrimary(ordinal, false, [&] { return REAL(cuDevicePrimaryCtxReset)(ordinal); });
}

}  // namespace tranche::limiter
