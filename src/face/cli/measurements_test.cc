#include "face/cli/measurements.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tranche {
namespace {

using testing::HasSubstr;

TEST(Measurements, AsCsvAndAsJson) {
  const auto csv = ParseMeasurements(
      "program,batch,mechanism,slice,tenants,share,milliseconds\r\n"
      "# a remark\n"
      "bert,8,mig,2g.20gb,2,,40\n"
      "bert,8,fraction,,4,25%,100\n",
      "m.csv");
  ASSERT_TRUE(csv) << csv.error().message;
  ASSERT_EQ(csv->size(), 2u);
  EXPECT_EQ((*csv)[0].place, (SharePlace{Mechanism::kMig, 2, 2, 1, 1}));
  EXPECT_DOUBLE_EQ((*csv)[0].seconds, 0.04);
  EXPECT_DOUBLE_EQ((*csv)[1].place.share, 0.25);
  const auto json = ParseMeasurements(
      R"({"measurements": [{"program": "bert", "batch": 8, "mechanism": "mig", "slice": 2, "tenants": 2,
                            "per_second": 25}]})",
      "m.json");
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ((*json)[0].place, (*csv)[0].place);
  EXPECT_DOUBLE_EQ((*json)[0].seconds, 0.04);
}

TEST(Measurements, AllMistakesAtOnceWithTheirLines) {
  const auto wrong = ParseMeasurements(
      "program,batch,mechanism,slice,seconds\n"
      "a,0,,,1\n"
      "a,1,mig,,1\n"
      "a,1,magic,,1\n"
      "a,1,,,inf\n"
      "a,1,,,\n",
      "m.csv");
  ASSERT_FALSE(wrong);
  for (const char* line : {"m.csv:2", "m.csv:3", "m.csv:4", "m.csv:5", "m.csv:6"})
    EXPECT_THAT(wrong.error().message, HasSubstr(line));
}

TEST(Measurements, WhatIsNoneIsRefused) {
  for (const char* text : {"", "\n\n", "[]", "{}", "[7]", "[{\"program\": {}}]", "program\n",
                           "program,second\nx,1\n", "{\"measurements\": 3}", "\"\",\xff\n"}) {
    EXPECT_FALSE(ParseMeasurements(text, "m")) << text;
  }
}

}  // namespace
}  // namespace tranche
