#pragma once

#include <stdint.h>

#include "limiter/policy/compute_constants.h"

// What the processes of all slices share about one GPU: plain integers at fixed offsets, all zeros
// for a device that nobody uses. Times are nanoseconds of one monotonic clock.
//
// Every function over it must be called with the device's calls serialised. None waits or calls
// anything; what is to be done comes back as a value.
namespace tranche::limiter {

inline constexpr uint32_t kMostTenants = 64;
inline constexpr int32_t kNobody = -1;

// One slice, whatever the number of its processes and threads: they add up.
struct alignas(64) TenantLine {
  int64_t virtual_time;  // GPU ns per weight
  int64_t tokens;        // GPU ns left under the limit; negative is debt, which is never forgiven
  int64_t tokens_rest;   // millionths of a nanosecond
  int64_t guarantee_rest;
  int64_t guarantee;     // GPU ns of the request not yet received
  int64_t in_flight;     // predicted ns launched and not seen complete
  int64_t largest_unit;  // the longest launched so far, which a bucket must hold
  int64_t settled_at;
  int64_t delta_credit;  // of the calibrated marker round trip, not yet taken off a busy period
  int64_t charged;       // GPU ns since the slice began
  int64_t active_at;     // last launch
  int64_t progress_at;   // last completion, or the launch that ended idleness
  int64_t woken_until;
  int64_t pending;      // prediction of the unit that waits
  int64_t lag_at_idle;  // weighted ns behind the best, when it last fell idle
  uint32_t units;       // in flight
  uint32_t weight;      // ppm
  uint32_t limit;       // ppm; kWhole and above is none
  uint32_t request;     // ppm
  int32_t priority;
  uint32_t used;  // this line belongs to a slice
  uint32_t waiting;
  uint32_t throttled;
  uint32_t wakeup;  // came back from idleness and has not had its turn yet
};

struct ComputeDevice {
  int32_t holder_plus_1;  // 0: nobody's turn
  uint32_t ending;        // the holder launches no more
  uint64_t turn;          // counts turns
  int64_t turn_from;      // charged of the holder when its turn began
  int64_t granted_at;
  int64_t grace_until;  // 0: not armed
  int64_t delta;        // calibrated round trip of an empty marker
  TenantLine tenants[kMostTenants];
};

static_assert(sizeof(TenantLine) % 64 == 0);

}  // namespace tranche::limiter
