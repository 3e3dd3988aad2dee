#include "limiter/hooks/measured.h"

// The memory that a context holds for stacks, for malloc on the device and for printf: as much as
// its limits say.
namespace tranche::limiter {
namespace {

// Threads that a multiprocessor holds at most, on any GPU until today: each has a stack.
constexpr uint64_t kThreadsPerSm = 2048;

// What a limit that is raised by so much takes at most; 0 for those that take nothing.
uint64_t MostFor(CUlimit limit, uint64_t more, CUdevice ordinal) {
  if (more > kTooMuch) return kTooMuch;
  if (limit == CU_LIMIT_MALLOC_HEAP_SIZE || limit == CU_LIMIT_PRINTF_FIFO_SIZE)
    return Granules(more);
  if (limit != CU_LIMIT_STACK_SIZE) return 0;
  int sm_count = 0;
  if (REAL(cuDeviceGetAttribute)(&sm_count, CU_DEVICE_ATTRIBUTE_MULTIPROCESSOR_COUNT, ordinal) !=
          CUDA_SUCCESS ||
      sm_count <= 0)
    return 0;
  const uint64_t threads = kThreadsPerSm * static_cast<uint64_t>(sm_count);
  return more > kTooMuch / threads ? kTooMuch : Granules(more * threads);
}

}  // namespace

HOOK(cuCtxSetLimit, (CUlimit limit, size_t value)) {
  const auto set = [&] { return REAL(cuCtxSetLimit)(limit, value); };
  Account account = Account::Current();
  if (!account.metered() || account.device() < 0) return set();
  State& state = TheState();
  size_t before = 0;
  if (REAL(cuCtxGetLimit)(&before, limit) != CUDA_SUCCESS) return set();
  const uint64_t most =
      value > before ? MostFor(limit, value - before, state.contexts.Find(account.context())) : 0;
  if (most >= kTooMuch) return TooMuch(set, [&] { REAL(cuCtxSetLimit)(limit, before); });
  if (!account.Reserve(most)) return CUDA_ERROR_OUT_OF_MEMORY;
  TRANCHE_LABEL(kLimitReserved);
  const Measurement measurement(account, Measurement::kLoad);
  const CUresult answer = set();
  TRANCHE_LABEL(kLimitSet);
  if (answer != CUDA_SUCCESS) {
    account.Release(most);
    return answer;
  }
  const int64_t taken = measurement.Taken();
  Charge charge;
  charge.device = account.device();
  charge.context = account.context();
  if (taken < 0) {
    account.Release(most);
    account.Release(
        state.handles.TakeBytes(Kind::kLimits, account.context(), static_cast<uint64_t>(-taken)));
    return answer;
  }
  charge.bytes = static_cast<uint64_t>(taken);
  if (account.Settle(most, charge.bytes)) {
    if (state.handles.AddBytes(Kind::kLimits, account.context(), charge)) return answer;
    account.Release(charge.bytes);
  } else {
    account.Release(most);
  }
  REAL(cuCtxSetLimit)(limit, before);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

}  // namespace tranche::limiter
