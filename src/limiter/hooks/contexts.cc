#include "limiter/hooks/metered.h"
#include "limiter/metering.h"

// A context takes memory of its own before the program has any. How much is measured by whoever
// makes the slice, on this GPU with this driver.
namespace tranche::limiter {
namespace {

// The context is gone, and with it what was allocated in it.
void GiveBackAllOf(uint64_t context) {
  State& state = TheState();
  if (context == 0 || state.attached == State::kNoSlice) return;
  Charge charge;
  Kind kind = Kind::kNone;
  uint64_t from = 0;
  while (state.handles.TakeOneOf(context, &from, &kind, &charge)) GiveBack(state, charge);
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

// The driver destroys the primary context with the last of its users.
void LeavePrimary(CUdevice ordinal) {
  State& state = TheState();
  if (!Tracked(state, ordinal)) return;
  bool last = false;
  uint64_t context = 0;
  {
    const Guard guard(state.contexts_lock);
    uint32_t& users = state.primary_users[ordinal];
    last = users == 1;
    if (users > 0) --users;
    context = state.primary_contexts[ordinal];
  }
  Account account = Account::Of(ordinal);
  if (!last) return;
  GiveBackAllOf(context);
  account.Release(account.context_bytes());
}

void EmptyPrimary(CUdevice ordinal) {
  State& state = TheState();
  if (!Tracked(state, ordinal)) return;
  uint64_t context = 0;
  {
    const Guard guard(state.contexts_lock);
    context = state.primary_contexts[ordinal];
  }
  GiveBackAllOf(context);
}

// What is measured in a primary context ends with it: with its last user, or at a reset.
void BeforePrimaryEnds(CUdevice ordinal, bool by_last_user) {
  State& state = TheState();
  if (!IsMetered() || !Tracked(state, ordinal)) return;
  uint64_t context = 0;
  {
    const Guard guard(state.contexts_lock);
    if (by_last_user && state.primary_users[ordinal] > 1) return;
    context = state.primary_contexts[ordinal];
  }
  if (context != 0) ForgetContext(reinterpret_cast<CUcontext>(context));
}

}  // namespace

HOOK(cuInit, (unsigned int flags)) {
  // Limits that were asked for and cannot be held are an error, not a hope.
  if (TheState().attached == State::kRefused) return CUDA_ERROR_SYSTEM_NOT_READY;
  return REAL(cuInit)(flags);
}

HOOK(cuDevicePrimaryCtxRetain, (CUcontext * context, CUdevice ordinal)) {
  State& state = TheState();
  const auto retain = [&] { return REAL(cuDevicePrimaryCtxRetain)(context, ordinal); };
  Account account = Account::Of(ordinal);
  if (!Tracked(state, ordinal) || account.pointless()) return retain();
  bool first = false;
  {
    const Guard guard(state.contexts_lock);
    first = state.primary_users[ordinal]++ == 0;
  }
  CUresult answer = CUDA_ERROR_OUT_OF_MEMORY;
  const bool granted = !first || account.Reserve(account.context_bytes());
  if (granted) answer = retain();
  if (answer == CUDA_SUCCESS) {
    const Guard guard(state.contexts_lock);
    state.primary_contexts[ordinal] = Number(*context);
    return answer;
  }
  {
    const Guard guard(state.contexts_lock);
    --state.primary_users[ordinal];
  }
  if (first && granted) account.Release(account.context_bytes());
  return answer;
}

HOOK(cuDevicePrimaryCtxRelease_v2, (CUdevice ordinal)) {
  BeforePrimaryEnds(ordinal, true);
  const CUresult answer = REAL(cuDevicePrimaryCtxRelease_v2)(ordinal);
  if (answer == CUDA_SUCCESS) LeavePrimary(ordinal);
  return answer;
}
HOOK(cuDevicePrimaryCtxRelease, (CUdevice ordinal)) {
  BeforePrimaryEnds(ordinal, true);
  const CUresult answer = REAL(cuDevicePrimaryCtxRelease)(ordinal);
  if (answer == CUDA_SUCCESS) LeavePrimary(ordinal);
  return answer;
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

// The context lives on, empty.
HOOK(cuDevicePrimaryCtxReset_v2, (CUdevice ordinal)) {
  BeforePrimaryEnds(ordinal, false);
  const CUresult answer = REAL(cuDevicePrimaryCtxReset_v2)(ordinal);
  if (answer == CUDA_SUCCESS) EmptyPrimary(ordinal);
  return answer;
}
HOOK(cuDevicePrimaryCtxReset, (CUdevice ordinal)) {
  BeforePrimaryEnds(ordinal, false);
  const CUresult answer = REAL(cuDevicePrimaryCtxReset)(ordinal);
  if (answer == CUDA_SUCCESS) EmptyPrimary(ordinal);
  return answer;
}

}  // namespace tranche::limiter
