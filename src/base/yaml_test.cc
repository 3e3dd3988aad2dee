#include "base/yaml.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

TEST(ParseYaml, KeepsPlaces) {
  const auto root = ParseYaml("version: 1\nworkloads:\n  - name: phi\n    memory: \"10GiB\"\n");
  ASSERT_TRUE(root);
  const YamlNode* workloads = root->Find("workloads");
  ASSERT_NE(workloads, nullptr);
  const YamlNode* memory = workloads->items[0].Find("memory");
  ASSERT_NE(memory, nullptr);
  EXPECT_EQ(memory->scalar, "10GiB");
  EXPECT_TRUE(memory->quoted);
  EXPECT_EQ(memory->line, 4);
  EXPECT_EQ(memory->column, 13);
  EXPECT_FALSE(root->Find("version")->quoted);
}

TEST(ParseYaml, ExpandsAliases) {
  const auto root = ParseYaml("a: &x {n: 1}\nb: *x\n");
  ASSERT_TRUE(root);
  EXPECT_EQ(root->Find("b")->Find("n")->scalar, "1");
}

TEST(ParseYaml, RefusesDuplicateKeys) {
  const auto root = ParseYaml("a: 1\nb: 2\na: 3\n");
  ASSERT_FALSE(root);
  EXPECT_EQ(root.error().message, "'a' is given twice");
  EXPECT_EQ(root.error().line, 3);
}

TEST(ParseYaml, NotesDuplicateKeysAndKeepsTheFirst) {
  std::vector<YamlError> duplicates;
  const auto root = ParseYaml("a: 1\nb: {c: 2, c: 3}\na: 4\n", {}, &duplicates);
  ASSERT_TRUE(root);
  EXPECT_EQ(root->members.size(), 2u);
  EXPECT_EQ(root->Find("a")->scalar, "1");
  ASSERT_EQ(duplicates.size(), 2u);
  EXPECT_EQ(duplicates[0].message, "'c' is given twice");
  EXPECT_EQ(duplicates[1].line, 3);
}

TEST(ParseYaml, RefusesTagsButTakesStrings) {
  EXPECT_FALSE(ParseYaml("a: !!binary aGVsbG8=\n"));
  EXPECT_FALSE(ParseYaml("a: !python/object {x: 1}\n"));
  EXPECT_FALSE(ParseYaml("a: !x [1]\n"));
  const auto root = ParseYaml("a: !!str 10\n");
  ASSERT_TRUE(root);
  EXPECT_TRUE(root->Find("a")->quoted);
}

TEST(ParseYaml, RefusesTextThatIsNotClosed) {
  for (const char* text : {"a: \"b\n", "a: 'b''\nc: 1\n", "x: \"1\"\na: \"b\\\"\n",
                           "\xef\xbb\xbf\"b", "k\xc3\xa4se: 'b"}) {
    const auto root = ParseYaml(text);
    ASSERT_FALSE(root) << text;
    EXPECT_EQ(root.error().message, "not YAML: a quoted text is not closed");
  }
  EXPECT_TRUE(ParseYaml("a: \"b\\\"\"\n"));
  EXPECT_TRUE(ParseYaml("a: 'b'''\n"));
  EXPECT_TRUE(ParseYaml("\xef\xbb\xbf\"b\""));
}

TEST(ParseYaml, SyntaxErrorsSayWhatToDo) {
  EXPECT_EQ(ParseYaml("a:\n\t- b\n").error().hint, "indent with spaces; YAML takes no tabs");
  EXPECT_EQ(ParseYaml("a: [b\nc: d\n").error().hint,
            "a [ that was opened before is not closed with ]");
  EXPECT_NE(ParseYaml("a: *b\n").error().hint, "");
}

TEST(ParseYaml, MissingValueIsWhereItsKeyIs) {
  const auto root = ParseYaml("a:\n\n\nb: 1\n");
  ASSERT_TRUE(root);
  EXPECT_TRUE(root->Find("a")->IsNull());
  EXPECT_EQ(root->Find("a")->line, 1);
}

// Copies cost what they hold: a long text behind many aliases, and anchors around anchors.
TEST(ParseYaml, RefusesBombsOfLongTextsAndNestedAnchors) {
  std::string text = "a: &a \"" + std::string(1 << 20, 'x') + "\"\nb: [";
  for (int i = 0; i < 100; ++i) text += "*a, ";
  const auto copies = ParseYaml(text + "*a]\n");
  ASSERT_FALSE(copies);
  EXPECT_EQ(copies.error().message, "the file's aliases stand for more than 16 MiB");

  std::string nested;
  for (int i = 0; i < 40; ++i) nested += "&a" + std::to_string(i) + " [";
  for (int i = 0; i < 50000; ++i) nested += "1,";
  EXPECT_FALSE(ParseYaml(nested + std::string(40, ']')));
}

TEST(ParseYaml, RefusesAliasBombs) {
  std::string bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n";
  for (int i = 1; i < 12; ++i) {
    bomb += "a" + std::to_string(i) + ": &a" + std::to_string(i) + " [";
    for (int k = 0; k < 10; ++k) bomb += (k ? ", *a" : "*a") + std::to_string(i - 1);
    bomb += "]\n";
  }
  const auto root = ParseYaml(bomb);
  ASSERT_FALSE(root);
  EXPECT_EQ(root.error().message, "the file stands for more than 1000000 values");
}

TEST(ParseYaml, RefusesDeepNesting) {
  EXPECT_FALSE(ParseYaml(std::string(100000, '[')));
  EXPECT_FALSE(ParseYaml(std::string(60, '[') + std::string(60, ']')));
  std::string stairs;
  for (int i = 0; i < 3000; ++i) stairs += std::string(i, ' ') + "a:\n";
  EXPECT_FALSE(ParseYaml(stairs));
}

TEST(ParseYaml, RefusesBytesThatAreNoText) {
  const auto root = ParseYaml(std::string("a: 1\nb: \xff\n"));
  ASSERT_FALSE(root);
  EXPECT_EQ(root.error().line, 2);
  EXPECT_EQ(root.error().column, 4);
  EXPECT_TRUE(
      ParseYaml("a: Gr\xc3\xbc\xc3\x9f"
                "e\n"));
}

TEST(ParseYaml, RefusesSecondDocumentsAndLargeFiles) {
  EXPECT_FALSE(ParseYaml("a: 1\n---\nb: 2\n"));
  EXPECT_FALSE(ParseYaml(std::string(size_t{17} << 20, ' ')));
}

TEST(ParseYaml, EmptyFileIsNull) { EXPECT_TRUE(ParseYaml("")->IsNull()); }

}  // namespace
}  // namespace tranche
