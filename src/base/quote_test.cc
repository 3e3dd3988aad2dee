#include "base/quote.h"

#include <gtest/gtest.h>

#include "base/json.h"
#include "base/yaml.h"

namespace tranche {
namespace {

TEST(Quote, IsReadBackAsItWas) {
  std::string text = "it's \"100%\": {a: [b]} \\ # no comment ";
  for (char c = 1; c < 0x20; ++c) text += c;
  text += "Gr\xc3\xbc\xc3\x9f";
  const auto json = ParseJson(Quote(text));
  ASSERT_TRUE(json) << json.error().message;
  EXPECT_EQ(json->get<std::string>(), text);
  const auto yaml = ParseYaml("a: " + Quote(text) + "\n");
  ASSERT_TRUE(yaml) << yaml.error().message;
  EXPECT_EQ(yaml->Find("a")->scalar, text);
}

TEST(Quote, AListIsReadBackAsItWas) {
  const auto yaml = ParseYaml("a: " + QuoteList({"", ",", "- x", "null"}) + "\n");
  ASSERT_TRUE(yaml);
  ASSERT_EQ(yaml->Find("a")->items.size(), 4u);
  EXPECT_EQ(yaml->Find("a")->items[1].scalar, ",");
  EXPECT_EQ(QuoteList({}), "[]");
}

}  // namespace
}  // namespace tranche
