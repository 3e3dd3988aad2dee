#include "limiter/hooks/measured.h"

#include "limiter/libc.h"
#include "limiter/slice_file.h"

namespace tranche::limiter {
namespace {

// After that it is measured all the same, with whatever shows of the others: loading code may take
// seconds, and nobody is to wait for another's.
constexpr int64_t kPatience = 5000000;

}  // namespace

Measurement::Measurement(const Account& account)
    : account_(account),
      alone_(TheState().measure_gate.EnterAlone(libc::Now() + kPatience)),
      lock_(SliceFile::LockToMeasure(SlicePath(), libc::Now() + kPatience)) {
  works_ = Free(&free_);
  used_ = account_.used();
}

Measurement::~Measurement() {
  SliceFile::Unlock(lock_);
  if (alone_) TheState().measure_gate.LeaveAlone();
}

bool Measurement::Free(uint64_t* bytes) {
  size_t free = 0, total = 0;
  if (REAL(cuMemGetInfo_v2)(&free, &total) != CUDA_SUCCESS) return false;
  *bytes = free;
  return true;
}

int64_t Measurement::Taken() const {
  uint64_t free = 0;
  if (!works_ || !Free(&free)) return 0;
  return static_cast<int64_t>(free_ - free) - static_cast<int64_t>(account_.used() - used_);
}

}  // namespace tranche::limiter
