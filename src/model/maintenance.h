#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tranche {

enum class Weekday { kMonday, kTuesday, kWednesday, kThursday, kFriday, kSaturday, kSunday };

inline constexpr std::array<Weekday, 7> kAllWeekdays = {
    Weekday::kMonday, Weekday::kTuesday,  Weekday::kWednesday, Weekday::kThursday,
    Weekday::kFriday, Weekday::kSaturday, Weekday::kSunday};

const char* WeekdayName(Weekday day);  // "mon"
Result<Weekday> ParseWeekday(std::string_view name);

// When layouts may change. It begins on each of its days, and goes over midnight when it ends no
// later than it begins: from 22:00 to 04:00, or from 00:00 to 00:00 for the whole day.
struct MaintenanceWindow {
  std::vector<Weekday> days;  // empty: every day
  int from_minute = 0;        // of the day, by the clock of `time_zone`
  int to_minute = 0;
  std::string time_zone = "UTC";  // "Europe/Berlin"
  bool operator==(const MaintenanceWindow&) const = default;
};

// "22:30" as minutes; nothing for what is no time of day.
std::optional<int> MinuteOfDay(std::string_view text);
// "sat, sun 22:00-04:00 Europe/Berlin"
std::string WindowText(const MaintenanceWindow& window);

// Seconds that the clocks of a time zone are ahead of UTC at an instant.
using ZoneOffset = std::function<Result<int>(const std::string& time_zone, Time at)>;

// Whether any of the windows is open; an error when a time zone is not known here.
Result<bool> IsOpen(const std::vector<MaintenanceWindow>& windows, Time now,
                    const ZoneOffset& offset);
// The next instant, to the minute and within eight days, at which one is open.
Result<Time> NextOpening(const std::vector<MaintenanceWindow>& windows, Time now,
                         const ZoneOffset& offset);

}  // namespace tranche
