#include "base/json.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

TEST(ParseJson, RefusesWhatIsBrokenDeepOrHuge) {
  EXPECT_TRUE(ParseJson("{\"a\": [1, 2.5, \"x\", null]}"));
  for (const char* text : {"", "{", "[1,]", "{\"a\": nan}", "\"a", "1 2", "\xff"}) {
    const auto json = ParseJson(text);
    ASSERT_FALSE(json) << text;
    EXPECT_EQ(json.error().code, ErrorCode::kInvalid);
  }
  EXPECT_TRUE(ParseJson(std::string(64, '[') + std::string(64, ']')));
  EXPECT_FALSE(ParseJson(std::string(65, '[') + std::string(65, ']')));
  EXPECT_FALSE(ParseJson(std::string(100000, '[')));
  // Brackets in strings are no levels.
  EXPECT_TRUE(ParseJson("\"" + std::string(100, '[') + "\\\"" + "\""));
  EXPECT_FALSE(ParseJson(std::string((size_t{64} << 20) + 1, ' ')));
}

TEST(PrintJson, ReplacesWhatIsNotText) {
  EXPECT_EQ(PrintJsonLine(Json{{"b", 1}, {"a", std::string("\xff")}}),
            "{\"b\":1,\"a\":\"\xef\xbf\xbd\"}");
  EXPECT_EQ(PrintJson(Json::array()), "[]\n");
}

TEST(JsonReader, TellsTheFirstMistake) {
  const Json json = {
      {"text", "x"}, {"count", 3}, {"below", -1}, {"list", {1}}, {"nothing", nullptr}};
  JsonReader reader(json, "thing");
  EXPECT_EQ(reader.String("text"), "x");
  EXPECT_EQ(reader.Int("below"), -1);
  EXPECT_EQ(reader.Unsigned("count"), 3u) << "whether it was parsed or built";
  EXPECT_EQ(reader.Array("list").size(), 1u);
  EXPECT_FALSE(reader.Has("nothing"));
  EXPECT_FALSE(reader.Has("absent"));
  EXPECT_TRUE(reader.status());
  EXPECT_EQ(reader.Unsigned("below"), 0u);
  EXPECT_EQ(reader.String("absent"), "");
  ASSERT_FALSE(reader.status());
  EXPECT_EQ(reader.status().error().message, "thing.below is not a number from 0 up");
}

TEST(JsonReader, ReadsAListOfWordsUpToTheFirstThatIsNone) {
  const Json json = {{"words", {"a", "b"}}, {"mixed", {"a", 1, "b"}}, {"none", "a"}};
  JsonReader reader(json, "list");
  EXPECT_EQ(reader.Strings("words"), (std::vector<std::string>{"a", "b"}));
  EXPECT_TRUE(reader.status());
  EXPECT_EQ(reader.Strings("mixed"), std::vector<std::string>{"a"});
  ASSERT_FALSE(reader.status());
  EXPECT_EQ(reader.status().error().message, "list.mixed holds something that is not a string");
  EXPECT_TRUE(JsonReader(json, "list").Strings("none").empty());
}

TEST(JsonReader, ReadsNothingFromWhatIsNoObject) {
  const Json json = Json::array();
  JsonReader reader(json, "thing");
  EXPECT_EQ(reader.Int("a"), 0);
  EXPECT_TRUE(reader.Object("b").empty());
  EXPECT_EQ(reader.status().error().message, "thing is not an object");
}

}  // namespace
}  // namespace tranche
