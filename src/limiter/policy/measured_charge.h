#pragma once

#include <stdint.h>

#include "limiter/policy/accounts.h"
#include "limiter/policy/compute_constants.h"
#include "limiter/policy/compute_state.h"

// The clock charges a tenant from the launch until its completion is seen. Where the GPU's own time
// stamps say how long the work took, the difference is given back: what it costs to launch and to
// notice is nobody's GPU time.
namespace tranche::limiter {

struct MeasuredCharge {
  int64_t charged_at_landing;  // of the line, when the last completion was reported
  int64_t given_back;          // in all; no more than this is ever taken again
  int64_t shared_at_landing;   // of the line, then
  uint64_t comparable;         // at that completion nobody else of the tenant had work in flight
};

// A completion was reported and charged by the clock; since the one before it the GPU worked `took`
// ns for the tenant, negative: unknown. `alone`: as comparable, now. Changes the line's accounts;
// not where others were on the GPU since, whose part the time stamps hold as well.
inline void CorrectCharge(TenantLine* line, MeasuredCharge* measured, int64_t took, bool alone) {
  const bool undisturbed = line->shared == measured->shared_at_landing;
  if (took >= 0 && alone && undisturbed && measured->comparable != 0) {
    int64_t back = line->charged - measured->charged_at_landing - took;
    if (back < -measured->given_back) back = -measured->given_back;
    measured->given_back += back;
    ChargeLine(line, -back);
  }
  measured->charged_at_landing = line->charged;
  measured->shared_at_landing = line->shared;
  measured->comparable = alone;
}

}  // namespace tranche::limiter
