#pragma once

#include "limiter/hooks/metered.h"

// Contexts, for the hooks of calls that make or end some beside what they are called for.
namespace tranche::limiter {

// Around a call that makes the primary context of that device if there is none: what it takes is
// on our account from before it can be there until the driver says that it is gone.
class PrimaryCall {
 public:
  explicit PrimaryCall(CUdevice ordinal);
  ~PrimaryCall();
  PrimaryCall(const PrimaryCall&) = delete;
  PrimaryCall& operator=(const PrimaryCall&) = delete;

  // False: it would not fit, and the call must not be made.
  bool granted() const { return granted_; }
  // The call succeeded, and the program has one use more of that context.
  void Retained(const CUcontext* context);

 private:
  CUdevice ordinal_;
  bool tracked_ = false;
  bool granted_ = true;
  uint64_t context_ = 0;
};

// After a call that may have made it beside what it was called for. False: it does not fit.
bool ChargePrimaryIfActive(CUdevice ordinal);
// After a call that may have ended it.
void SettlePrimary(CUdevice ordinal);
// What was allocated in that context is gone with it.
void ContextIsGone(uint64_t context);

}  // namespace tranche::limiter
