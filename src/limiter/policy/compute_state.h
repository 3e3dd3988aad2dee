#pragma once

#include <stdint.h>

#include "limiter/policy/compute_constants.h"

// What the processes of all slices share about one GPU: plain integers at fixed offsets, all zeros
// for a device that nobody uses. Times are nanoseconds of one monotonic clock.
//
// Every function over it must be called with the device's calls serialised. None waits or calls
// anything; what is to be done comes back as a value. A tenant may have written anything here: no
// number is an index, a divisor or a summand before it was checked.
namespace tranche::limiter {

inline constexpr uint32_t kMostTenants = 64;
inline constexpr int32_t kNobody = -1;

// One slice, whatever the number of its processes and threads: they add up.
struct alignas(64) TenantLine {
  int64_t virtual_time;  // GPU ns per weight
  int64_t tokens;        // GPU ns left under the limit; negative is debt, which is never forgiven
  int64_t tokens_rest;   // millionths of a nanosecond
  int64_t guarantee_rest;
  int64_t guarantee;       // GPU ns of the request not yet received
  int64_t in_flight;       // predicted ns launched and not seen complete
  int64_t largest_unit;    // the longest launched so far, which a bucket must hold
  int64_t flight_largest;  // the longest since nothing was in flight
  int64_t settled_at;
  int64_t delta_credit;  // of the calibrated marker round trip, not yet taken off a busy period
  int64_t charged;       // GPU ns since the slice began
  int64_t shared;        // ns in which others were on the GPU too
  int64_t active_at;     // last launch
  int64_t progress_at;   // last completion, or the launch that ended idleness
  int64_t woken_until;
  int64_t pending;      // prediction of the unit that waits
  int64_t reopen_at;    // tokens that open it again when throttled; 0: kThrottleHysteresis
  int64_t lag_at_idle;  // weighted ns behind the best other, when it last fell idle
  int64_t idle_since;
  int64_t gap_mean;        // of its pauses
  int64_t host_pause;      // of its host, between a launch and the next one that found nothing left
  int64_t burst_mean;      // of what it is charged between two pauses; 0: never paused
  int64_t burst_from;      // `charged` when it came back
  int64_t overlap_charge;  // since charge_mark, guessed because others ran too
  int64_t charge_mark;     // `charged` when it last completed something, or began
  int64_t delta_given;     // of the round trip, taken off the present busy period
  int64_t limited_at;      // under MPS: when it was last kept from launching
  uint32_t units;          // in flight
  uint32_t weight;         // ppm
  uint32_t limit;          // ppm; kWhole and above is none
  uint32_t request;        // ppm
  int32_t priority;
  uint32_t used;     // this line belongs to a slice
  uint32_t waiting;  // it wants to launch and may not
  uint32_t asleep;   // of those that wait, somebody has not been woken
  uint32_t throttled;
  uint32_t demand;  // under MPS: the part of the GPU that it would use at once, ppm
  uint32_t wakeup;  // came back from idleness and has not had its turn yet
};

struct ComputeDevice {
  int32_t holder_plus_1;  // 0: nobody's turn
  uint32_t ending;        // the holder launches no more
  uint32_t overlap;       // an Overlap
  uint32_t solo_plus_1;   // under MPS: who must be alone on the GPU, to be measured
  uint32_t solo_runs;     // it is
  uint32_t unused;
  uint64_t present;   // a bit for every line in use
  uint64_t active;    // those that have something in flight or want to
  uint64_t turn;      // counts turns
  int64_t turn_from;  // charged of the holder when its turn began
  int64_t granted_at;
  int64_t grace_until;  // 0: not armed
  int64_t delta;        // calibrated round trip of an empty marker
  int64_t sync_delta;   // the same of a wait of the program for its work
  int64_t floor;        // virtual time that all active tenants have reached
  int64_t settled_at;
  int64_t turn_length;  // 0: kTurn
  int64_t outsider_at;  // when somebody of another party last wanted the GPU; 0: never
  int64_t idle;         // ns in which nobody had anything in flight, since the first settlement
  TenantLine tenants[kMostTenants];
};

// Why others may launch beside the holder.
enum class Overlap : uint32_t {
  kNone,
  kDrain,       // it had launched far ahead when they came
  kUnstoppable  // it completes nothing
};

static_assert(sizeof(TenantLine) % 64 == 0);
static_assert(sizeof(ComputeDevice) <= 32768);

}  // namespace tranche::limiter
