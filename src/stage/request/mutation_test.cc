#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <fstream>
#include <random>
#include <sstream>

#include "base/json.h"
#include "stage/request/fields.h"
#include "stage/request/parser.h"
#include "stage/request/schema.h"
#include "stage/request/schema_validator.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

std::vector<std::string> Seeds(std::initializer_list<const char*> directories) {
  std::vector<std::string> seeds;
  for (const char* directory : directories) {
    for (const auto& entry : fs::directory_iterator(fs::path(TRANCHE_SOURCE_DIR) / directory)) {
      if (entry.path().extension() != ".yaml") continue;
      std::ifstream in(entry.path(), std::ios::binary);
      std::ostringstream text;
      text << in.rdbuf();
      if (text.str().size() < 4000) seeds.push_back(text.str());
    }
  }
  // directory_iterator promises no order, and a failure must come again with the same seed.
  std::sort(seeds.begin(), seeds.end());
  return seeds;
}

// Small damages of the kind that editors, merges and fuzzers do.
class Mutator {
 public:
  Mutator(std::vector<std::string> good, std::vector<std::string> broken)
      : good_(std::move(good)), seeds_(std::move(broken)) {
    seeds_.insert(seeds_.end(), good_.begin(), good_.end());
  }

  std::string Next() {
    // One small damage to a good spec finds the rules; several to any file find the crashes.
    const bool gently = Below(2) == 0;
    std::string text = Pick(gently ? good_ : seeds_);
    for (int i = gently ? 0 : Below(4); i >= 0; --i) Damage(&text);
    return text;
  }

 private:
  int Below(size_t n) { return static_cast<int>(random_() % n); }
  const std::string& Pick(const std::vector<std::string>& from) { return from[Below(from.size())]; }
  size_t Place(const std::string& text) { return random_() % (text.size() + 1); }

  // A word, number or mark of the text: [begin, end).
  std::pair<size_t, size_t> Token(const std::string& text) {
    const auto is_word = [](char c) {
      return std::isalnum(static_cast<unsigned char>(c)) || c == '_' || c == '.' || c == '-';
    };
    size_t begin = std::min(Place(text), text.empty() ? 0 : text.size() - 1), end = begin;
    while (begin > 0 && is_word(text[begin - 1])) --begin;
    while (end < text.size() && is_word(text[end])) ++end;
    return {begin, std::min(std::max(end, begin + 1), text.size())};
  }

  void Damage(std::string* text) {
    static const std::vector<std::string> kWords = {"0",
                                                    "-1",
                                                    "1e999",
                                                    ".nan",
                                                    ".inf",
                                                    "~",
                                                    "true",
                                                    "\"",
                                                    "'",
                                                    "[",
                                                    "]",
                                                    "{",
                                                    "}",
                                                    ": ",
                                                    ", ",
                                                    "- ",
                                                    "&a ",
                                                    "*a",
                                                    "!!str ",
                                                    "|\n",
                                                    ">\n",
                                                    "? ",
                                                    "#",
                                                    "%",
                                                    "\t",
                                                    "\r\n",
                                                    "\n",
                                                    "\n---\n",
                                                    "\xff",
                                                    std::string(1, '\0'),
                                                    "\xef\xbb\xbf",
                                                    "\xc2\x9b",
                                                    "\"\\0\"",
                                                    "${PORT}",
                                                    "99999999999999999999",
                                                    "10GiB",
                                                    "30%",
                                                    "8h",
                                                    "7B",
                                                    "/x",
                                                    "../..",
                                                    "name",
                                                    "memory",
                                                    "model",
                                                    "isolation",
                                                    "workloads",
                                                    "teams",
                                                    "fleet",
                                                    "gpus: 2\n",
                                                    "version"};
    const auto [begin, end] = Token(*text);
    switch (Below(7)) {
      case 0:
        text->insert(Place(*text), Pick(kWords));
        break;
      case 1:
        text->replace(begin, end - begin, Pick(kWords));
        break;
      case 2:
        text->erase(begin, end - begin);
        break;
      case 3: {  // a word of another spec
        const std::string& other = Pick(seeds_);
        const auto [from, to] = Token(other);
        text->replace(begin, end - begin, other.substr(from, to - from));
        break;
      }
      case 4: {  // one letter more, less or other
        const size_t at = Place(*text);
        if (Below(2) == 0 && at < text->size()) {
          (*text)[at] = static_cast<char>(Below(256));
        } else if (at < text->size()) {
          text->erase(at, 1);
        }
        break;
      }
      case 5: {  // a line twice, or moved
        const size_t at = Place(*text);
        const size_t start = at == 0 ? 0 : text->rfind('\n', at - 1) + 1;
        const std::string line = text->substr(start, text->find('\n', start) - start + 1);
        if (Below(2) == 0) text->erase(start, line.size());
        text->insert(Below(2) == 0 ? start : Place(*text), line);
        break;
      }
      default:
        text->resize(Place(*text));
        break;
    }
  }

  std::vector<std::string> good_;
  std::vector<std::string> seeds_;
  std::mt19937 random_{20260401};
};

TEST(Mutations, NeverCrashAndAlwaysSayWhere) {
  const auto catalog = Catalog::Load();
  ASSERT_TRUE(catalog);
  const Json schema = SpecJsonSchema(SpecShape());
  const auto good = Seeds({"examples", "test/golden/good"});
  ASSERT_GE(good.size(), 8u);
  Mutator mutator(good, Seeds({"test/golden"}));
  int taken = 0, refused = 0;
  for (int i = 0; i < 4000 && !testing::Test::HasFailure(); ++i) {
    const std::string text = mutator.Next();
    SCOPED_TRACE("mutation " + std::to_string(i) + ":\n" + text);
    const auto spec = ParseSpec(text, "m.yaml", "/specs", **catalog);
    if (!spec) {
      ++refused;
      ASSERT_FALSE(spec.error().empty());
      const int lines = static_cast<int>(std::count(text.begin(), text.end(), '\n')) + 1;
      std::pair<int, int> last{0, 0};
      for (const Diagnostic& diagnostic : spec.error()) {
        EXPECT_EQ(diagnostic.file, "m.yaml");
        EXPECT_FALSE(diagnostic.message.empty());
        EXPECT_LE(diagnostic.line, lines);
        EXPECT_EQ(diagnostic.line > 0, diagnostic.column > 0);
        const std::pair<int, int> place{diagnostic.line, diagnostic.column};
        EXPECT_LE(last, place) << "not in order";
        last = place;
        for (const char c : FormatDiagnostic(diagnostic)) {
          EXPECT_TRUE(c == '\n' || static_cast<unsigned char>(c) >= 0x20) << "a control character";
        }
      }
      continue;
    }
    ++taken;
    const auto back = SpecFromJson(ToJson(*spec));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, *spec);
    const auto printed = ParseJson(PrintJson(ToJson(*spec)));
    ASSERT_TRUE(printed);
    EXPECT_EQ(*SpecFromJson(*printed), *spec);
    // What the parser takes, editors must not underline.
    std::vector<YamlError> duplicates;
    EXPECT_EQ(SchemaViolation(schema, JsonOfYaml(*ParseYaml(text, {}, &duplicates))), "");
  }
  EXPECT_GT(taken, 100);
  EXPECT_GT(refused, 1000);
}

}  // namespace
}  // namespace tranche
