#include <gtest/gtest.h>

#include <map>

#include "base/json.h"
#include "base/yaml.h"
#include "face/cli/render/answer.h"
#include "face/cli/render/slot_bar.h"
#include "face/cli/render/table.h"
#include "face/cli/render/terminal.h"

namespace tranche {
namespace {

Environment Env(std::map<std::string, std::string> values) {
  return [values = std::move(values)](const std::string& name) -> std::optional<std::string> {
    const auto it = values.find(name);
    if (it == values.end()) return std::nullopt;
    return it->second;
  };
}

bool Colors(bool tty, std::map<std::string, std::string> values,
            ColorChoice choice = ColorChoice::kAuto) {
  return Terminal(tty, 80, choice, Env(std::move(values))).Paint(Style::kRed, "x") != "x";
}

TEST(Terminal, ColorsOnlyWhereTheyAreWanted) {
  EXPECT_TRUE(Colors(true, {{"TERM", "xterm"}}));
  EXPECT_FALSE(Colors(false, {{"TERM", "xterm"}}));
  EXPECT_FALSE(Colors(true, {{"TERM", "dumb"}}));
  EXPECT_FALSE(Colors(true, {{"NO_COLOR", "1"}}));
  EXPECT_TRUE(Colors(true, {{"NO_COLOR", ""}}));  // no-color.org: only when not empty
  EXPECT_TRUE(Colors(false, {{"CLICOLOR_FORCE", "1"}}));
  EXPECT_TRUE(Colors(false, {{"FORCE_COLOR", "1"}, {"TERM", "dumb"}}));
  EXPECT_FALSE(Colors(false, {{"FORCE_COLOR", "0"}}));
  EXPECT_FALSE(Colors(false, {{"NO_COLOR", "1"}, {"CLICOLOR_FORCE", "1"}}));
  EXPECT_TRUE(Colors(false, {{"NO_COLOR", "1"}}, ColorChoice::kAlways));
  EXPECT_FALSE(Colors(true, {}, ColorChoice::kNever));
}

TEST(Terminal, ColumnsWinOverTheTty) {
  EXPECT_EQ(Terminal(true, 80, ColorChoice::kAuto, Env({})).width(), 80);
  EXPECT_EQ(Terminal(true, 80, ColorChoice::kAuto, Env({{"COLUMNS", "50"}})).width(), 50);
  EXPECT_EQ(Terminal(true, 80, ColorChoice::kAuto, Env({{"COLUMNS", "wide"}})).width(), 80);
  EXPECT_EQ(Terminal(false, 80, ColorChoice::kAuto, Env({})).width(), 0);
}

TEST(Printable, NothingSteersTheTerminal) {
  EXPECT_EQ(Printable("a\x1b[31mb"), "a?[31mb");
  EXPECT_EQ(Printable("a\xc2\x9b"
                      "31mb"),
            "a?31mb");
  EXPECT_EQ(Printable("a\xff\xc0\xaf z"), "a??? z");
  EXPECT_EQ(Printable("über\tx\n"), "über x?");
  EXPECT_EQ(Printable("two\nlines", true), "two\nlines");
}

TEST(Elide, CutsWholeCodePoints) {
  EXPECT_EQ(Elide("exactly", 7), "exactly");
  EXPECT_EQ(Elide("a long command", 9), "a long...");
  EXPECT_EQ(Elide("ääääää", 5), "ää...");
}

Table Sample() {
  Table table;
  table.columns = {{"name", "NAME"},
                   {"memory_bytes", "MEMORY", Align::kRight},
                   {"uuid", "UUID", Align::kLeft, true},
                   {"command", "COMMAND", Align::kLeft, false, true}};
  table.rows = {{"phi", Cell("20 GiB", "21474836480"), "MIG-1", "python3 -m server, \"fast\""},
                {"qwen", Cell(), "MIG-2", "sh"}};
  return table;
}

TEST(Table, AlignsAndShowsUnknownAsDash) {
  const Terminal terminal(false, 0, ColorChoice::kAuto, Env({}));
  EXPECT_EQ(RenderTable(Sample(), terminal, false),
            "NAME  MEMORY  COMMAND\n"
            "phi   20 GiB  python3 -m server, \"fast\"\n"
            "qwen       -  sh\n");
  EXPECT_NE(RenderTable(Sample(), terminal, true).find("MIG-2"), std::string::npos);
}

TEST(Table, CutsOnlyElasticColumnsToTheWidth) {
  const Terminal terminal(true, 28, ColorChoice::kNever, Env({}));
  EXPECT_EQ(RenderTable(Sample(), terminal, false),
            "NAME  MEMORY  COMMAND\n"
            "phi   20 GiB  python3 -m ...\n"
            "qwen       -  sh\n");
}

TEST(Table, CsvHasBaseUnitsAndEmptyForUnknown) {
  EXPECT_EQ(RenderCsv(Sample()),
            "name,memory_bytes,uuid,command\r\n"
            "phi,21474836480,MIG-1,\"python3 -m server, \"\"fast\"\"\"\r\n"
            "qwen,,MIG-2,sh\r\n");
}

TEST(SlotBar, DrawsPlacements) {
  EXPECT_EQ(SlotBar(8, {{{0, 2}, "2g.20gb"}, {{2, 2}, "2g.20gb"}, {{6, 1}, "1g.10gb"}}),
            "[22|22|..|1|.]");
  EXPECT_EQ(SlotBar(4, {}), "[....]");
  EXPECT_EQ(SlotBar(0, {}), "");
  EXPECT_EQ(SlotBar(4, {{{2, 9}, "7g.80gb"}, {{-3, 1}, "1g.5gb"}}), "[..|77]");
}

TEST(Yaml, ReadsBackAsTheSameDocument) {
  const Json json = {{"name", "no"},
                     {"empty", Json::array()},
                     {"text", "a: \"b\"\nc"},
                     {"list", {1, "two", {{"x", 1.5}, {"y", {true, nullptr}}}}},
                     {"version", "1.0"}};
  const std::string text = JsonToYaml(json);
  EXPECT_EQ(text,
            "name: \"no\"\nempty: []\ntext: \"a: \\\"b\\\"\\nc\"\nlist:\n  - 1\n  - two\n"
            "  - x: 1.5\n    \"y\":\n      - true\n      - null\nversion: \"1.0\"\n");
  const auto parsed = ParseYaml(text);
  ASSERT_TRUE(parsed) << parsed.error().message;
  EXPECT_EQ(parsed->Find("text")->scalar, "a: \"b\"\nc");
  EXPECT_TRUE(parsed->Find("version")->quoted);
  EXPECT_EQ(parsed->Find("list")->items[2].Find("y")->items.size(), 2u);
}

TEST(OutputFormat, SuggestsTheNearest) {
  EXPECT_EQ(*ParseOutputFormat("yaml"), OutputFormat::kYaml);
  EXPECT_EQ(ParseOutputFormat("jsno").error().hint, "did you mean 'json'?");
}

}  // namespace
}  // namespace tranche
