#pragma once

#include <stdint.h>

#include "abi/gpu_gate.h"
#include "limiter/policy/compute_table.h"

namespace tranche::limiter {

// The gate of this process's party to one GPU (abi/gpu_gate.h), from the side of those who pass it.
// Any thread. Without a gate file everybody on the GPU is of one party, and all of this does
// nothing.
class GpuGate {
 public:
  GpuGate() = default;
  // `table`: the party's own; `slot`: in it, of this process.
  GpuGate(const TrancheGate* gate, ComputeTable* table, uint32_t slot)
      : gate_(gate), table_(table), slot_(slot) {}

  // The file, read-only; nullptr when there is none or it is of another version.
  static const TrancheGate* Map(const char* path);

  // Waits until it is open, or nobody is there any more who would open it.
  void Await() const {
    if (gate_ != nullptr && (__atomic_load_n(&gate_->open, __ATOMIC_ACQUIRE) & 1) == 0) Knock();
  }
  // To be asked after an admission: a gate that was passed may have been closed before the broker
  // could see that anybody did. Either it sees the admission, or this says that it is closed.
  bool StillOpen() const;
  // When somebody of another party last wanted the GPU, in libc::Now(); 0: never.
  int64_t WantedAt() const {
    return gate_ == nullptr
               ? 0
               : static_cast<int64_t>(__atomic_load_n(&gate_->wanted_at, __ATOMIC_RELAXED));
  }
  // Something is complete; `idle`: nothing of the party's is in flight any more.
  void Left(bool idle) const;

 private:
  bool IsOpen(int64_t now) const;
  void Knock() const;
  void Ring() const;

  const TrancheGate* gate_ = nullptr;
  ComputeTable* table_ = nullptr;
  uint32_t slot_ = 0;
};

}  // namespace tranche::limiter
