#pragma once

#include "limiter/hooks/metered.h"

// Calls of which nobody says what they take of the device: it shows in what is free before and
// after, less what the others of the slice were granted meanwhile. One such call at a time in the
// whole slice. What other slices do to the same GPU in just that moment shows as well, and is then
// charged here, or saved.
namespace tranche::limiter {

class Measurement {
 public:
  // `account`: of the current context's device.
  explicit Measurement(const Account& account);
  ~Measurement();
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;

  // Bytes more than at the beginning; negative: less.
  int64_t Taken() const;

 private:
  static bool Free(uint64_t* bytes);

  Account account_;
  bool alone_;
  int lock_;
  bool works_ = false;
  uint64_t free_ = 0;
  uint64_t used_ = 0;
};

// Calls make(), and charges what it is seen to take to `kind`, `handle()`: more with every such
// call, until GiveBackMeasured or the end of the current context (unless `outlives`). When the
// limit does not allow it, undo() is called and the answer is OUT_OF_MEMORY.
template <typename Make, typename Handle, typename Undo>
CUresult Measured(Kind kind, bool outlives, const Make& make, const Handle& handle,
                  const Undo& undo) {
  Account account = Account::Current();
  if (!account.metered() || account.device() < 0) return make();
  const Measurement measurement(account);
  TRANCHE_LABEL(kMeasuring);
  const CUresult answer = make();
  TRANCHE_LABEL(kMeasured);
  if (answer != CUDA_SUCCESS) return answer;
  const int64_t taken = measurement.Taken();
  if (taken <= 0) return answer;
  const auto bytes = static_cast<uint64_t>(taken);
  if (account.Reserve(bytes)) {
    Charge charge;
    charge.bytes = bytes;
    charge.device = account.device();
    charge.context = outlives ? 0 : account.context();
    if (TheState().handles.AddBytes(kind, handle(), charge)) return answer;
    account.Release(bytes);
  } else {
    account.Count(&TrancheCounters::undone);
  }
  undo();
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// Calls destroy(), and gives back what was measured for that handle.
template <typename Destroy>
CUresult GiveBackMeasured(Kind kind, uint64_t handle, const Destroy& destroy) {
  return Unmetered(kind, handle, destroy);
}

}  // namespace tranche::limiter
