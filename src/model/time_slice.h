#pragma once

#include <array>
#include <string_view>

#include "base/result.h"

namespace tranche {

// How long the driver lets one process have a GPU before the next gets its turn. A class, since the
// driver documents no durations. It holds for the whole GPU, and for processes started after it was
// set.
enum class TimeSlice { kDefault, kShort, kMedium, kLong };

inline constexpr std::array<TimeSlice, 4> kAllTimeSlices = {TimeSlice::kDefault, TimeSlice::kShort,
                                                            TimeSlice::kMedium, TimeSlice::kLong};

const char* TimeSliceName(TimeSlice time_slice);  // "short"
Result<TimeSlice> ParseTimeSlice(std::string_view name);

}  // namespace tranche
