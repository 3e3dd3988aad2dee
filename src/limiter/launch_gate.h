#pragma once

#include "limiter/metering.h"
#include "limiter/state.h"

// The one place that every launch passes before it reaches the driver: where a compute share is
// kept.
namespace tranche::limiter {

// The default stream as the entry point that was called means it.
inline CUstream Legacy(CUstream stream) { return stream == nullptr ? LegacyStream() : stream; }
inline CUstream PerThread(CUstream stream) {
  return stream == nullptr ? PerThreadStream() : stream;
}

template <typename Launch>
CUresult Gated(const KernelKey& key, CUstream stream, const Launch& launch) {
  if (__builtin_expect(!IsMetered(), 1)) return launch();
  const LaunchTicket ticket = BeforeMetered(key, stream);
  const CUresult answer = launch();
  if (ticket.launcher != nullptr) AfterMetered(ticket, answer);
  return answer;
}

// A call that returns only when the GPU has done something.
template <typename Wait>
CUresult Waiting(const Wait& wait) {
  if (__builtin_expect(!IsMetered(), 1)) return wait();
  BeforeWaiting();
  const CUresult answer = wait();
  AfterWaiting();
  return answer;
}

}  // namespace tranche::limiter
