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
  EXPECT_TRUE(ParseYaml("a: Gr\xc3\xbc\xc3\x9f""e\n"));
}

TEST(ParseYaml, RefusesSecondDocumentsAndLargeFiles) {
  EXPECT_FALSE(ParseYaml("a: 1\n---\nb: 2\n"));
  EXPECT_FALSE(ParseYaml(std::string(size_t{17} << 20, ' ')));
}

TEST(ParseYaml, EmptyFileIsNull) { EXPECT_TRUE(ParseYaml("")->IsNull()); }

}  // namespace
}  // namespace tranche
