#pragma once

#include "limiter/state.h"

// Arrays of less than a granule. The driver puts several into one granule, beside small linear
// memory, and does not show where. So each is charged a granule, as if it lay alone, which is never
// too little; and what of that turns out not to be there is given back, as the driver says what
// the process holds. While such arrays live, that is looked up whenever one of them, or a granule,
// comes or goes.
namespace tranche::limiter {

bool HaveSmallArrays(State& state, int32_t device);
// Before one is made.
void BeforeSmallArray(int32_t device);
// It is there, charged for a granule; or not any more.
void AddSmallArray(State& state, int32_t device);
void RemoveSmallArray(State& state, int32_t device);
// A granule with small linear memory is not charged any more.
void RemoveGranule(State& state, int32_t device);
// After any of these calls: charges what is held.
void TrueUpSmallArrays(int32_t device);

}  // namespace tranche::limiter
