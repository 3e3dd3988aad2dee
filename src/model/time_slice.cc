#include "model/time_slice.h"

#include <string>
#include <vector>

#include "base/suggest.h"

namespace tranche {

const char* TimeSliceName(TimeSlice time_slice) {
  switch (time_slice) {
    case TimeSlice::kDefault:
      return "default";
    case TimeSlice::kShort:
      return "short";
    case TimeSlice::kMedium:
      return "medium";
    case TimeSlice::kLong:
      return "long";
  }
  return "default";
}

Result<TimeSlice> ParseTimeSlice(std::string_view name) {
  std::vector<std::string> names;
  for (const TimeSlice time_slice : kAllTimeSlices) {
    if (TimeSliceName(time_slice) == name) return time_slice;
    names.emplace_back(TimeSliceName(time_slice));
  }
  const std::string suggestion = DidYouMean(name, names);
  return Fail(ErrorCode::kInvalid, "'" + std::string(name) + "' is not a time slice",
              suggestion.empty() ? "use default, short, medium or long" : suggestion);
}

}  // namespace tranche
