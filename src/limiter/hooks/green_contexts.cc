#include "limiter/hooks/contexts.h"
#include "limiter/metering.h"

// Green contexts: contexts with a part of a device's SMs. The driver may keep the primary context
// active as long as one of them lives; then that is on our account as well.
namespace tranche::limiter {
namespace {

CUcontext ContextOf(CUgreenCtx green) {
  CUcontext context = nullptr;
  return REAL(cuCtxFromGreenCtx)(&context, green) == CUDA_SUCCESS ? context : nullptr;
}

}  // namespace

HOOK(cuGreenCtxCreate,
     (CUgreenCtx * green, CUdevResourceDesc description, CUdevice ordinal, unsigned int flags)) {
  const auto create = [&] { return REAL(cuGreenCtxCreate)(green, description, ordinal, flags); };
  Account account = Account::Of(ordinal);
  if (green == nullptr || description == nullptr || !account.metered() || account.pointless())
    return create();
  return Metered(
      account, account.context_bytes(), create,
      [&](Charge charge) {
        charge.context = 0;
        State& state = TheState();
        TRANCHE_LABEL(kGreenMade);
        if (!ChargePrimaryIfActive(ordinal)) return false;
        state.contexts.Put(Number(ContextOf(*green)), ordinal);
        return state.handles.Put(Kind::kContext, Number(*green), charge);
      },
      [&] {
        REAL(cuGreenCtxDestroy)
        (*green);
      });
}

HOOK(cuGreenCtxDestroy, (CUgreenCtx green)) {
  State& state = TheState();
  if (state.attached == State::kNoSlice) return REAL(cuGreenCtxDestroy)(green);
  Charge charge;
  const bool known = state.handles.Find(Kind::kContext, Number(green), &charge);
  const CUcontext context = known ? ContextOf(green) : nullptr;
  const CUdevice ordinal = state.contexts.Find(Number(context));
  if (context != nullptr && IsMetered()) ForgetContext(context);
  const CUresult answer =
      Unmetered(Kind::kContext, Number(green), [&] { return REAL(cuGreenCtxDestroy)(green); });
  if (answer != CUDA_SUCCESS) return answer;
  ContextIsGone(Number(context));
  SettlePrimary(ordinal);
  return answer;
}

}  // namespace tranche::limiter
