#include "base/units.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

using std::chrono::hours;
using std::chrono::milliseconds;
using std::chrono::minutes;

TEST(ParseBytes, ReadsBinaryAndDecimalUnits) {
  EXPECT_EQ(ParseBytes("10GiB"), GiB(10));
  EXPECT_EQ(ParseBytes("512 MiB"), MiB(512));
  EXPECT_EQ(ParseBytes("1.5GiB"), MiB(1536));
  EXPECT_EQ(ParseBytes("80GB"), Bytes{80'000'000'000});
}

TEST(ParseBytes, RefusesWhatNobodyAgreesOn) {
  for (const char* text :
       {"10", "", "GiB", "ten GiB", "-1GiB", "1e9GiB", "nanGiB", "infGiB", "10 gb", "1..5GiB"}) {
    EXPECT_FALSE(ParseBytes(text)) << text;
  }
  EXPECT_EQ(ParseBytes("10").error().hint, "write 10GiB or 10MiB");
  EXPECT_FALSE(ParseBytes("99999999999999999999999GiB"));
}

TEST(ParseFraction, ReadsPercentAndFraction) {
  EXPECT_DOUBLE_EQ(ParseFraction("30%")->value, 0.3);
  EXPECT_DOUBLE_EQ(ParseFraction("0.3")->value, 0.3);
  EXPECT_DOUBLE_EQ(ParseFraction("100%")->value, 1.0);
  EXPECT_FALSE(ParseFraction("0%"));
  EXPECT_FALSE(ParseFraction("101%"));
  EXPECT_EQ(ParseFraction("30").error().hint, "did you mean 30%?");
}

TEST(ParseDuration, ReadsCompounds) {
  EXPECT_EQ(ParseDuration("300ms"), Duration(milliseconds(300)));
  EXPECT_EQ(ParseDuration("8h"), Duration(hours(8)));
  EXPECT_EQ(ParseDuration("1h30m"), Duration(minutes(90)));
  for (const char* text : {"", "8", "h", "8 hours", "-1s", "1e3s"})
    EXPECT_FALSE(ParseDuration(text)) << text;
}

TEST(Format, ReadsBackExactly) {
  for (const Bytes bytes :
       {Bytes{0}, Bytes{1}, KiB(3), MiB(20096), GiB(80), Bytes{81559ull << 20}}) {
    EXPECT_EQ(ParseBytes(FormatBytesExact(bytes)), bytes);
  }
}

TEST(Format, SaysItForPeople) {
  EXPECT_EQ(FormatBytes(MiB(9984)), "9.75 GiB");
  EXPECT_EQ(FormatBytes(GiB(10)), "10 GiB");
  EXPECT_EQ(FormatBytes(MiB(512)), "512 MiB");
  EXPECT_EQ(FormatPercent(0.1212), "12%");
  EXPECT_EQ(FormatPercent(0.055), "5.5%");
  EXPECT_EQ(FormatDuration(minutes(90)), "1h30m");
  EXPECT_EQ(FormatDuration(milliseconds(300)), "300ms");
}

TEST(Bytes, LeftoverIsNeverNegative) { EXPECT_EQ(GiB(1) - GiB(2), Bytes{0}); }

}  // namespace
}  // namespace tranche
