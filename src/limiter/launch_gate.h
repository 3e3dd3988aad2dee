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
__attribute__((noinline)) CUresult GatedAndMetered(const KernelKey& key, CUstream stream,
                                                   const Launch& launch) {
  if (!IsMetered()) return launch();
  const LaunchTicket ticket = BeforeMetered(key, stream);
  const CUresult answer = launch();
  if (ticket.launcher != nullptr) AfterMetered(ticket, answer);
  return answer;
}

// The body of a hook that launches: `call` is the driver's function with the hook's own arguments,
// `key` and `stream` are looked at only where something is measured. Where nothing is, all that is
// left is a jump to the driver; so nothing of what the program gave may have an address, and the
// closure holds copies.
#define GATED(key, stream, call)                       \
  if (__builtin_expect(IsUnmetered(), 1)) return call; \
  return GatedAndMetered(key, stream, [=] { return call; })

// A call that returns only when the GPU has done something.
template <typename Wait>
CUresult Waiting(const Wait& wait) {
  if (__builtin_expect(IsUnmetered(), 1) || !IsMetered()) return wait();
  BeforeWaiting();
  const CUresult answer = wait();
  AfterWaiting();
  return answer;
}

}  // namespace tranche::limiter
