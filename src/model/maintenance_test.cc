#include "model/maintenance.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

using std::chrono::hours;
using std::chrono::minutes;

// Mid-week, since the epoch was a Thursday: 2026-11-18 00:00 UTC, a Wednesday.
const Time kWednesday = Time(std::chrono::seconds(1794960000));

Result<int> Utc(const std::string&, Time) { return 0; }
Result<int> TwoAhead(const std::string&, Time) { return 2 * 3600; }

bool OpenAt(const MaintenanceWindow& window, Time at, const ZoneOffset& offset = Utc) {
  return *IsOpen({window}, at, offset);
}

TEST(Maintenance, KnowsTimesOfDay) {
  EXPECT_EQ(MinuteOfDay("00:00"), 0);
  EXPECT_EQ(MinuteOfDay("23:59"), 23 * 60 + 59);
  for (const char* wrong : {"", "24:00", "12:60", "1:00", "12:0", "12.00", "ab:cd", "-1:00"}) {
    EXPECT_FALSE(MinuteOfDay(wrong)) << wrong;
  }
}

TEST(Maintenance, ADayOfTheWeekIsTheRightOne) {
  const MaintenanceWindow window{{Weekday::kWednesday}, 60, 120, "UTC"};
  EXPECT_FALSE(OpenAt(window, kWednesday + minutes(59)));
  EXPECT_TRUE(OpenAt(window, kWednesday + minutes(60)));
  EXPECT_TRUE(OpenAt(window, kWednesday + minutes(119)));
  EXPECT_FALSE(OpenAt(window, kWednesday + minutes(120)));
  for (int day = 1; day < 7; ++day) {
    EXPECT_FALSE(OpenAt(window, kWednesday + hours(24 * day) + minutes(90))) << day;
  }
  EXPECT_TRUE(OpenAt(window, kWednesday + hours(24 * 7) + minutes(90)));
  // Also before the epoch, where the division goes the other way.
  EXPECT_TRUE(OpenAt({{Weekday::kWednesday}, 0, 0, "UTC"}, Time(-hours(1))));
  EXPECT_FALSE(OpenAt({{Weekday::kThursday}, 0, 0, "UTC"}, Time(-hours(1))));
}

TEST(Maintenance, OverMidnightItIsStillTheDayItBeganOn) {
  const MaintenanceWindow window{{Weekday::kTuesday}, 22 * 60, 4 * 60, "UTC"};
  EXPECT_FALSE(OpenAt(window, kWednesday - hours(3)));
  EXPECT_TRUE(OpenAt(window, kWednesday - hours(2)));
  EXPECT_TRUE(OpenAt(window, kWednesday + hours(3)));
  EXPECT_FALSE(OpenAt(window, kWednesday + hours(4)));
  EXPECT_FALSE(OpenAt(window, kWednesday + hours(22)));  // Wednesday is none of its days
}

TEST(Maintenance, ItIsTheClockThereThatCounts) {
  const MaintenanceWindow window{{Weekday::kWednesday}, 0, 60, "Europe/Nowhere"};
  EXPECT_TRUE(OpenAt(window, kWednesday - hours(2), TwoAhead));
  EXPECT_FALSE(OpenAt(window, kWednesday, TwoAhead));
}

TEST(Maintenance, SaysWhenTheNextOneOpens) {
  const std::vector<MaintenanceWindow> windows = {{{Weekday::kSaturday}, 22 * 60, 4 * 60, "UTC"},
                                                  {{Weekday::kFriday}, 30, 40, "UTC"}};
  EXPECT_EQ(*NextOpening(windows, kWednesday, Utc), kWednesday + hours(48) + minutes(30));
  EXPECT_EQ(*NextOpening(windows, kWednesday + hours(49), Utc), kWednesday + hours(3 * 24 + 22));
  EXPECT_EQ(WindowText(windows[0]), "sat 22:00-04:00 UTC");
  EXPECT_EQ(WindowText({{}, 90, 100, "Asia/Tokyo"}), "daily 01:30-01:40 Asia/Tokyo");
}

TEST(Maintenance, AnUnknownTimeZoneIsAnErrorNotAClosedWindow) {
  const auto open = IsOpen({{{}, 0, 0, "Europe/Nowhere"}}, kWednesday,
                           [](const std::string&, Time) -> Result<int> {
                             return Fail(ErrorCode::kNotFound, "not here");
                           });
  ASSERT_FALSE(open);
  EXPECT_EQ(open.error().code, ErrorCode::kNotFound);
}

}  // namespace
}  // namespace tranche
