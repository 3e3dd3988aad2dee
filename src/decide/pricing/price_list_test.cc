#include "decide/pricing/price_list.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

#include "decide/pricing/csv.h"

namespace tranche {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

const Catalog& Loaded() {
  static const auto catalog = Catalog::Load().value();
  return *catalog;
}
Result<PriceList> Parse(const std::string& text, const std::string& file = "p.csv") {
  return ParsePrices(text, file, Loaded());
}

std::vector<pricing::CsvRow> RowsOf(const std::string& text) {
  std::vector<pricing::CsvRow> rows;
  EXPECT_TRUE(pricing::ForEachCsvRow(text, [&rows](const pricing::CsvRow& row) -> Status {
    rows.push_back(row);
    return {};
  }));
  return rows;
}

TEST(CsvTest, QuotesLineBreaksAndEndings) {
  const auto rows = RowsOf(
      "\xEF\xBB\xBF"
      "a,b\r\n\"x, \"\"y\"\"\",\"1\n2\"\n\n,last");
  ASSERT_EQ(rows.size(), 3u);
  EXPECT_THAT(rows[0].fields, ElementsAre("a", "b"));
  EXPECT_THAT(rows[1].fields, ElementsAre("x, \"y\"", "1\n2"));
  EXPECT_THAT(rows[2].fields, ElementsAre("", "last"));
  EXPECT_EQ(rows[2].line, 5);
}

TEST(CsvTest, RefusesWhatHasNoEndAndSaysWhere) {
  const auto any = [](const pricing::CsvRow&) -> Status { return {}; };
  const auto open = pricing::ForEachCsvRow("a\n\"b\nc", any);
  ASSERT_FALSE(open);
  EXPECT_THAT(open.error().message, HasSubstr("line 2"));
  EXPECT_FALSE(pricing::ForEachCsvRow("a\nb\nc\n", any, 2));
  EXPECT_TRUE(pricing::ForEachCsvRow("a\nb\n\n", any, 2));
  EXPECT_FALSE(pricing::ForEachCsvRow("a\n" + std::string(2000, ','), any));
}

TEST(PriceListTest, OwnCsv) {
  const auto list = Parse(
      "gpu,count,price_hour,region,spot\n"
      "h100,8,19.20,eu-1,false\n"
      "H100 SXM5 80GB,8,9.60,eu-1,true\n"
      "some-tpu,1,1.5,eu-2,\n");
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->prices.size(), 3u);
  EXPECT_EQ(list->currency, "USD");
  EXPECT_EQ(list->prices[0].gpu, "H100-SXM5-80GB");
  EXPECT_DOUBLE_EQ(list->prices[0].per_hour, 2.40);
  EXPECT_EQ(list->prices[0].gpus, 8);
  EXPECT_EQ(list->prices[0].source, "p.csv:2");
  EXPECT_TRUE(list->prices[1].spot);
  EXPECT_EQ(list->prices[2].gpu, "");
  EXPECT_THAT(list->notes, ElementsAre(HasSubstr("some-tpu")));
}

TEST(PriceListTest, BothPricesInOneRowAndACurrency) {
  const auto list =
      Parse("spot_price_per_hour,gpu,price_per_hour,currency\n0.45,A100-SXM4-80GB,1.05,EUR\n");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->currency, "EUR");
  EXPECT_DOUBLE_EQ(FindPrice(*list, {"A100-SXM4-80GB", false, "", ""})->per_hour, 1.05);
  EXPECT_DOUBLE_EQ(FindPrice(*list, {"A100-SXM4-80GB", true, "", ""})->per_hour, 0.45);
}

TEST(PriceListTest, JsonMapAndList) {
  const auto map = Parse(R"({"H100-SXM5-80GB": 2.40, "L40S": 2.04})", "p.json");
  ASSERT_TRUE(map) << map.error().message;
  EXPECT_DOUBLE_EQ(FindPrice(*map, {"L40S", false, "", ""})->per_hour, 2.04);
  const auto list = Parse(
      R"([{"gpu_name": "A100", "gpu_memory": 80, "gpu_count": 2, "price": 4.2, "spot": false,
           "location": "r", "provider": "acme"},
          {"gpu_name": null, "gpu_count": 0, "price": 0.1}])",
      "p.json");
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->prices.size(), 1u);
  EXPECT_EQ(list->prices[0].gpu, "A100-SXM4-80GB");
  EXPECT_DOUBLE_EQ(list->prices[0].per_hour, 2.1);
  EXPECT_EQ(list->prices[0].provider, "acme");
}

// The form of SkyPilot's catalog: the order of columns differs per cloud, the dictionary is
// Python's, the total in it is not to be trusted, a machine without GPUs has no name.
TEST(PriceListTest, SkyPilot) {
  const auto list = Parse(
      "InstanceType,AcceleratorName,AcceleratorCount,vCPUs,MemoryGiB,Price,Region,GpuInfo,"
      "SpotPrice\n"
      "gpu_8x_v100,V100,8.0,92.0,448.0,6.32,us-east-1,\"{'Gpus': [{'Name': 'V100', 'Manufacturer': "
      "'NVIDIA', 'Count': 8.0, 'MemoryInfo': {'SizeInMiB': 16384}}], 'TotalGpuMemoryInMiB': "
      "16384}\",\n"
      "gpu_4x_a6000,A6000,4.0,56.0,400.0,4.36,us-east-1,\"{'Gpus': [{'MemoryInfo': {'SizeInMiB': "
      "49152}}]}\",1.00\n"
      "cpu,,,4.0,16.0,0.2,us-east-1,,\n"
      "nothing,L4,1.0,4.0,16.0,,us-east-1,,\n",
      "lambda.csv");
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->prices.size(), 3u);
  EXPECT_EQ(list->prices[0].gpu, "V100-SXM2-16GB");
  EXPECT_DOUBLE_EQ(list->prices[0].per_hour, 0.79);
  EXPECT_EQ(list->prices[0].provider, "lambda");
  EXPECT_EQ(list->prices[1].gpu, "");
  EXPECT_DOUBLE_EQ(list->prices[2].per_hour, 0.25);
  EXPECT_TRUE(list->prices[2].spot);
  EXPECT_EQ(list->notes.size(), 3u);
}

TEST(PriceListTest, Gpuhunt) {
  const auto list = Parse(
      "instance_name,location,price,cpu,memory,gpu_count,gpu_name,gpu_memory,spot,disk_size,"
      "gpu_vendor\n"
      "a,eu,30.0,96,1000,8,H100,80,False,,nvidia\n"
      "b,eu,12.0,96,1000,8,H100,80,True,,nvidia\n"
      "c,eu,2.0,8,30,1,MI300X,192,False,,amd\n"
      "d,eu,0.1,8,30,0,,,False,,\n"
      "e,eu,0.9,8,30,1,V100,32,False,,nvidia\n",
      "cloud.csv");
  ASSERT_TRUE(list) << list.error().message;
  ASSERT_EQ(list->prices.size(), 3u);
  EXPECT_EQ(list->prices[0].gpu, "H100-SXM5-80GB");
  EXPECT_DOUBLE_EQ(list->prices[0].per_hour, 3.75);
  EXPECT_TRUE(list->prices[1].spot);
  // The catalog's V100 has 16 GB; one of 32 GB is another board.
  EXPECT_EQ(list->prices[2].gpu, "");
}

TEST(PriceListTest, AllMistakesAtOnceWithTheirLines) {
  const auto list = Parse(
      "gpu,price_per_hour,count,spot\n"
      "H100-SXM5-80GB,-2,1,\nL40S,abc,1,\nL4,0,1,\nT4,0.5,0,\nT4,0.5,1,maybe\n,1,1,\nT4,,1,\n");
  ASSERT_FALSE(list);
  EXPECT_EQ(list.error().code, ErrorCode::kInvalid);
  EXPECT_THAT(list.error().message,
              AllOf(HasSubstr("p.csv:2: price_per_hour -2 is not above 0"),
                    HasSubstr("p.csv:3: price_per_hour 'abc'"), HasSubstr("p.csv:4:"),
                    HasSubstr("p.csv:5: count '0'"), HasSubstr("p.csv:6: spot 'maybe'"),
                    HasSubstr("p.csv:7: no gpu"), HasSubstr("p.csv:8: no price")));
}

TEST(PriceListTest, WhatIsNoPriceListSaysWhatOneLooksLike) {
  for (const char* text :
       {"", "\n\n", "a,b\n1,2\n", "{", "[1]", "[{\"a\": 1}]", "\"open\n", "gpu,price_per_hour\n"}) {
    const auto list = Parse(text);
    ASSERT_FALSE(list) << text;
    EXPECT_EQ(list.error().code, ErrorCode::kInvalid) << text;
  }
  EXPECT_THAT(Parse("a,b\n1,2\n").error().hint, HasSubstr("price_per_hour"));
}

TEST(PriceListTest, NoSumOfTwoCurrencies) {
  PriceList dollars = *Parse("gpu,price_per_hour\nL4,1\n");
  EXPECT_FALSE(dollars.Append(*Parse("gpu,price_per_hour,currency\nL4,1,EUR\n")));
  EXPECT_FALSE(Parse("gpu,price_per_hour,currency\nL4,1,EUR\nL4,1,USD\n"));
  EXPECT_TRUE(dollars.Append(*Parse("gpu,price_per_hour\nT4,0.3\n")));
  EXPECT_EQ(dollars.prices.size(), 2u);
}

TEST(PriceListTest, TheLowestThatMatchesOrWhatThereIs) {
  const PriceList list = *Parse(
      "gpu,price_per_hour,provider,region,spot\n"
      "L4,1.0,a,eu,\nL4,0.8,b,us,\nL4,0.9,b,eu,\nL4,0.2,b,eu,true\nT4,0.3,a,eu,true\n");
  EXPECT_DOUBLE_EQ(FindPrice(list, {"L4", false, "", ""})->per_hour, 0.8);
  EXPECT_DOUBLE_EQ(FindPrice(list, {"L4", false, "", "EU"})->per_hour, 0.9);
  EXPECT_DOUBLE_EQ(FindPrice(list, {"L4", false, "A", ""})->per_hour, 1.0);
  EXPECT_THAT(FindPrice(list, {"T4", false, "", ""}).error().hint, HasSubstr("spot"));
  EXPECT_THAT(FindPrice(list, {"T4", true, "z", ""}).error().hint, HasSubstr("another provider"));
  EXPECT_THAT(FindPrice(list, {"A30", false, "", ""}).error().hint, HasSubstr("L4, T4"));
  EXPECT_EQ(FindPrice({}, {"A30", false, "", ""}).error().code, ErrorCode::kNotFound);
}

TEST(PriceListTest, RealCatalogSample) {
  const char* shared = std::getenv("TRANCHE_SHARED_DATA");
  if (shared == nullptr) GTEST_SKIP() << "TRANCHE_SHARED_DATA is not set";
  std::ifstream file(std::string(shared) + "/prices/sample_lambda_v8.csv");
  ASSERT_TRUE(file);
  std::stringstream text;
  text << file.rdbuf();
  const auto list = Parse(text.str(), "sample_lambda_v8.csv");
  ASSERT_TRUE(list) << list.error().message;
  EXPECT_EQ(list->prices.size(), 3u);
  EXPECT_DOUBLE_EQ(FindPrice(*list, {"V100-SXM2-16GB", false, "", ""})->per_hour, 0.79);
}

}  // namespace
}  // namespace tranche
