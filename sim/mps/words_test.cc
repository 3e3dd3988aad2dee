// Values and tables: how the commands of MPS read and write them.
#include <gtest/gtest.h>
#include <unistd.h>

#include "sim/mps/table.h"
#include "sim/mps/values.h"

namespace tranche::sim::mps {
namespace {

TEST(MpsValuesTest, SizesAreWholeAndHaveAUnit) {
  EXPECT_EQ(Size("4G", "GM"), uint64_t{4} << 30);
  EXPECT_EQ(Size("512M", "GM"), uint64_t{512} << 20);
  EXPECT_EQ(Size("1024K", "GMK"), uint64_t{1} << 20);
  for (const char* odd : {"", "G", "4", "1.5G", "-1G", "4g", "0G", "4GB", "999999999999G", "1024K"})
    EXPECT_EQ(Size(odd, "GM"), std::nullopt) << odd;
}

TEST(MpsValuesTest, PercentagesMayHaveDecimals) {
  EXPECT_EQ(Percentage("30", 1), 30);
  EXPECT_EQ(Percentage("12.5", 1), 12.5);
  EXPECT_EQ(Percentage("0.5", 0), 0.5);
  for (const char* odd : {"", "0", "0.5", "101", "-3", "nan", "30%", "many"})
    EXPECT_EQ(Percentage(odd, 1), std::nullopt) << odd;
  EXPECT_EQ(Percentage("0", 0), std::nullopt);
}

TEST(MpsValuesTest, NamesAreShortAndSmall) {
  EXPECT_TRUE(IsName("uid_1000"));
  EXPECT_TRUE(IsName(std::string(64, 'a')));
  for (const std::string& odd : {std::string(), std::string(65, 'a'), std::string("A"),
                                 std::string("a-b"), std::string("a/b"), std::string("a.b")})
    EXPECT_FALSE(IsName(odd)) << odd;
}

TEST(MpsValuesTest, AProcessIsCalledAsItWasStarted) {
  const auto self = static_cast<uint32_t>(getpid());
  EXPECT_EQ(CommandOf(self, true).rfind(CommandOf(self, false), 0), 0u);
  EXPECT_FALSE(CommandOf(self, false).empty());
  EXPECT_EQ(CommandOf(0, true), "");
  EXPECT_NE(PidNamespaceOf(self), "0");
}

TEST(MpsTableTest, ColumnsAreAsWideAsTheirWidest) {
  const Table table{{"name", "include-remainder", "Total SMs"},
                    {{"training", "false", "132"}, {"a", "-", "64"}}};
  EXPECT_EQ(Print(table, Format::kTable),
            "NAME      INCLUDE-REMAINDER  Total SMs\n"
            "training  false              132\n"
            "a         -                  64\n");
}

TEST(MpsTableTest, CsvQuotesWhatHasAComma) {
  const Table table{{"pid", "cmd"}, {{"7", "python -c 'a, \"b\"'"}, {"8", "sleep 1"}}};
  EXPECT_EQ(Print(table, Format::kCsv), "pid,cmd\n7,\"python -c 'a, \"\"b\"\"'\"\n8,sleep 1\n");
  EXPECT_EQ(Print({{"pid"}, {{"7"}}}, Format::kCsvNoHeader), "7\n");
  EXPECT_EQ(FormatNamed("csv,noheader"), Format::kCsvNoHeader);
  EXPECT_EQ(FormatNamed("json"), std::nullopt);
}

}  // namespace
}  // namespace tranche::sim::mps
