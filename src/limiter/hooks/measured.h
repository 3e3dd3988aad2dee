#pragma once

#include "limiter/hooks/metered.h"

// Calls of which nobody says what they take of the device: it shows in what the driver says that
// this process holds, before and after, less what was granted to it meanwhile. Where the driver
// does not say that (OwnUse), it shows in what is free, less what the whole slice was granted: one
// such call at a time in the slice then, and what other slices do to the same GPU in just that
// moment shows as well. A load that is refused for that reason is tried again.
namespace tranche::limiter {

// What this process holds of a device beyond what it is charged, everything being at rest.
class Unseen {
 public:
  // False where nobody says what it holds.
  static bool Read(int32_t device, int64_t* bytes);

 private:
  static bool ReadAtRest(int32_t device, int64_t* bytes);
};

// Around a call; one at a time in a process.
class Measurement {
 public:
  enum How {
    kLoad,
    kLookup,  // of something that is mostly there already: then it costs two looks at what is free
  };
  // `account`: of the current context's device.
  Measurement(const Account& account, How how);
  ~Measurement();
  Measurement(const Measurement&) = delete;
  Measurement& operator=(const Measurement&) = delete;

  // Bytes more than at the beginning; negative: less.
  int64_t Taken() const;
  // `taken` will be charged, or what took it undone: the next lookup begins from there.
  void Remember(int64_t taken) const;
  // Whether nothing but this process's own doings shows in it.
  bool exact() const { return exact_; }

 private:
  static bool Free(uint64_t* bytes);

  Account account_;
  bool alone_;
  int lock_ = -1;
  int64_t unseen_ = 0;
  bool exact_ = false;
  bool brief_ = false;  // `unseen_` is that of the last time
  bool works_ = false;
  uint64_t free_ = 0;
  uint64_t used_ = 0;
};

// How often a load is tried whose measure may hold what others did.
constexpr int kTries = 3;

// Calls make(), and charges what it is seen to take to `kind`, `handle()`: more with every such
// call, until GiveBackMeasured or the end of the current context (unless `outlives`). When the
// limit does not allow it, undo() is called and the answer is OUT_OF_MEMORY. `again`: undo() leaves
// everything as it was.
template <typename Make, typename Handle, typename Undo>
CUresult Measured(Kind kind, bool outlives, bool again, const Make& make, const Handle& handle,
                  const Undo& undo) {
  Account account = Account::Current();
  if (!account.metered() || account.device() < 0) return make();
  for (int left = kTries;; --left) {
    const Measurement measurement(account, again ? Measurement::kLoad : Measurement::kLookup);
    TRANCHE_LABEL(kMeasuring);
    const CUresult answer = make();
    TRANCHE_LABEL(kMeasured);
    if (answer != CUDA_SUCCESS) return answer;
    const int64_t taken = measurement.Taken();
    measurement.Remember(taken);
    if (taken <= 0) return answer;
    const auto bytes = static_cast<uint64_t>(taken);
    const bool last = !again || measurement.exact() || left == 1;
    if (last ? account.Reserve(bytes) : account.TryReserve(bytes)) {
      Charge charge;
      charge.bytes = bytes;
      charge.device = account.device();
      charge.context = outlives ? 0 : account.context();
      if (TheState().handles.AddBytes(kind, handle(), charge)) return answer;
      account.Release(bytes);
    } else if (!last) {
      undo();
      continue;
    } else {
      account.Count(&TrancheCounters::undone);
    }
    undo();
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
}

// Calls destroy(), and gives back what was measured for that handle.
template <typename Destroy>
CUresult GiveBackMeasured(Kind kind, uint64_t handle, const Destroy& destroy) {
  return Unmetered(kind, handle, destroy);
}

}  // namespace tranche::limiter
