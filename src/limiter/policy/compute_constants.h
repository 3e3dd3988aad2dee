#pragma once

#include <stdint.h>

// The numbers of the compute controller, in nanoseconds of GPU or host time. They come from our
// discrete-event study of controllers; what a real GPU says may move them (a context switch above
// 150 us asks for a turn of 10 ms).
namespace tranche::limiter {

inline constexpr int64_t kMicrosecond = 1000;
inline constexpr int64_t kMillisecond = 1000 * kMicrosecond;
inline constexpr int64_t kNever = INT64_MAX;

inline constexpr int64_t kTurn = 5 * kMillisecond;
// Above this a change of contexts asks for turns of twice that.
inline constexpr int64_t kDearSwitch = 150 * kMicrosecond;
// Predicted work in flight under contention; two units may always follow each other up to
// kTwoUnits.
inline constexpr int64_t kInFlight = 2 * kMillisecond;
inline constexpr int64_t kTwoUnits = 4 * kMillisecond;
// More for one whose host computes for so long between launches that it would run dry, and pauses
// no longer than kLongestPause.
inline constexpr int64_t kInFlightAhead = 12 * kMillisecond;
inline constexpr int64_t kLongestPause = 20 * kMillisecond;
// The same for a tenant whom nobody has disturbed within kContentionMemory.
inline constexpr int64_t kInFlightAlone = 50 * kMillisecond;
inline constexpr int64_t kContentionMemory = 200 * kMillisecond;
// How long an idle holder keeps its turn while somebody waits.
inline constexpr int64_t kGrace = 50 * kMicrosecond;
// An idle holder keeps it for as long as it usually pauses, if that is short beside what it then
// does (a part in percent) and beside either this or a part of the unit that waits.
inline constexpr int64_t kAnticipation = 1 * kMillisecond;
inline constexpr int64_t kPauseOfBurst = 12;
inline constexpr int64_t kPauseBeforeLongUnit = 25;
inline constexpr int64_t kPauseOfWaitingUnit = 5;
// A tenant whose bursts are this short is let in early.
inline constexpr int64_t kShortBurst = 1 * kMillisecond;
// How long one that was woken counts as active before it has launched.
inline constexpr int64_t kWakePatience = 300 * kMicrosecond;
inline constexpr int64_t kShortestTurn = 300 * kMicrosecond;
inline constexpr int64_t kPreemptLag = 500 * kMicrosecond;
// Lag that idling may earn, and lag from before the idling that may be kept.
inline constexpr int64_t kIdleCredit = 20 * kMillisecond;
inline constexpr int64_t kMostLag = 500 * kMillisecond;
// Least depth of a token bucket, and how full a throttled one must be to open again.
inline constexpr int64_t kBucket = 20 * kMillisecond;
inline constexpr int64_t kThrottleHysteresis = 1 * kMillisecond;
// A lone tenant may have launched ahead; from so much on a newcomer does not wait for it.
inline constexpr int64_t kDeepQueue = 2500 * kMicrosecond;
// A holder that completes nothing for so long loses its exclusiveness.
inline constexpr int64_t kOverlapAfter = 250 * kMillisecond;
// A marker follows so much predicted work of one stream, or the tail of it after kTailDelay.
inline constexpr int64_t kMarkerEvery = 500 * kMicrosecond;
inline constexpr int64_t kTailDelay = 300 * kMicrosecond;
// What an unmeasured unit is taken for.
inline constexpr int64_t kUnmeasuredUnit = 1 * kMillisecond;

// Shares and weights are parts per million.
inline constexpr int64_t kWhole = 1000000;
// Keeps virtual time within 64 bits.
inline constexpr int64_t kLeastWeight = 1000;
inline constexpr int64_t kMostWeight = 1000 * kWhole;

// The longest that anything is believed to take (73 minutes), and how long a pause between two
// settlements is.
inline constexpr int64_t kLongest = int64_t{1} << 42;
// No clock and no sum of ours gets here.
inline constexpr int64_t kUnbelievable = int64_t{1} << 61;

}  // namespace tranche::limiter
