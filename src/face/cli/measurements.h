#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "decide/performance/sharing.h"

namespace tranche {

// Measurements of a machine, for `tranche calibrate`. CSV with a heading line, or JSON as a list of
// objects (or {"measurements": [...]}) with the same names:
//
//   program    what ran; measurements of one program are fitted together
//   batch      its size of a unit (default 1)
//   mechanism  exclusive (default), mig, mps, time-slicing or fraction
//   slice      of mig: 2g.20gb, or compute slices of seven
//   tenants    that worked at once (default 1)
//   share      of the time or SMs: 0.3, 30%
//   seconds, milliseconds or per_second  of a unit: one of them
//
// kInvalid with all mistakes, each with its line (CSV) or number (JSON).
Result<std::vector<Observation>> ParseMeasurements(std::string_view text, const std::string& file);

}  // namespace tranche
