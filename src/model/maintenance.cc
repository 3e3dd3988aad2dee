#include "model/maintenance.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/suggest.h"

namespace tranche {
namespace {

using std::chrono::days;
using std::chrono::minutes;
using std::chrono::seconds;

constexpr int kMinutesOfDay = 24 * 60;

// By the clock on the wall there.
struct LocalTime {
  int weekday = 0;  // 0 is Monday
  int minute = 0;   // of the day
};

LocalTime LocalTimeOf(Time at, int offset) {
  const int64_t second =
      std::chrono::floor<seconds>(at.time_since_epoch()).count() + int64_t{offset};
  constexpr int64_t kDay = 24 * 60 * 60;
  const int64_t day = second >= 0 ? second / kDay : -((-second + kDay - 1) / kDay);
  // The epoch was a Thursday.
  return {static_cast<int>(((day + 3) % 7 + 7) % 7), static_cast<int>((second - day * kDay) / 60)};
}

bool Has(const MaintenanceWindow& window, int weekday) {
  return window.days.empty() || std::find(window.days.begin(), window.days.end(),
                                          static_cast<Weekday>(weekday)) != window.days.end();
}

bool IsIn(const MaintenanceWindow& window, const LocalTime& local) {
  const int from = window.from_minute, to = window.to_minute;
  if (from < to) return Has(window, local.weekday) && local.minute >= from && local.minute < to;
  if (local.minute >= from) return Has(window, local.weekday);
  // The part after midnight belongs to the day before.
  return local.minute < to && Has(window, (local.weekday + 6) % 7);
}

}  // namespace

const char* WeekdayName(Weekday day) {
  constexpr std::array<const char*, 7> kNames = {"mon", "tue", "wed", "thu", "fri", "sat", "sun"};
  return kNames[static_cast<size_t>(day)];
}

Result<Weekday> ParseWeekday(std::string_view name) {
  for (const Weekday day : kAllWeekdays) {
    if (name == WeekdayName(day)) return day;
  }
  return Fail(ErrorCode::kInvalid, fmt::format("'{}' is not a day of the week", name),
              "use mon, tue, wed, thu, fri, sat or sun");
}

std::optional<int> MinuteOfDay(std::string_view text) {
  if (text.size() != 5 || text[2] != ':') return std::nullopt;
  for (const size_t i : {0, 1, 3, 4}) {
    if (text[i] < '0' || text[i] > '9') return std::nullopt;
  }
  const int hour = (text[0] - '0') * 10 + (text[1] - '0');
  const int minute = (text[3] - '0') * 10 + (text[4] - '0');
  if (hour > 23 || minute > 59) return std::nullopt;
  return hour * 60 + minute;
}

std::string WindowText(const MaintenanceWindow& window) {
  std::string text;
  for (const Weekday day : window.days) {
    text += (text.empty() ? "" : ", ") + std::string(WeekdayName(day));
  }
  return fmt::format("{} {:02}:{:02}-{:02}:{:02} {}", text.empty() ? "daily" : text,
                     window.from_minute / 60, window.from_minute % 60, window.to_minute / 60,
                     window.to_minute % 60, window.time_zone);
}

Result<bool> IsOpen(const std::vector<MaintenanceWindow>& windows, Time now,
                    const ZoneOffset& offset) {
  for (const MaintenanceWindow& window : windows) {
    const Result<int> ahead = offset(window.time_zone, now);
    if (!ahead) return tl::unexpected(ahead.error());
    if (IsIn(window, LocalTimeOf(now, *ahead))) return true;
  }
  return false;
}

Result<Time> NextOpening(const std::vector<MaintenanceWindow>& windows, Time now,
                         const ZoneOffset& offset) {
  // Minute by minute, as the clocks of each zone go: what a change of clocks does to a window is
  // then as on the wall, without a rule of its own.
  const Time first = std::chrono::ceil<minutes>(now);
  for (int minute = 0; minute <= 8 * kMinutesOfDay; ++minute) {
    const Time at = first + minutes(minute);
    const Result<bool> open = IsOpen(windows, at, offset);
    if (!open) return tl::unexpected(open.error());
    if (*open) return at;
  }
  return Fail(ErrorCode::kFailed, "no maintenance window opens within eight days");
}

}  // namespace tranche
