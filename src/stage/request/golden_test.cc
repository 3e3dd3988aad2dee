#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "base/json.h"
#include "stage/request/parser.h"

namespace tranche {
namespace {

namespace fs = std::filesystem;

// The expected files are written anew with TRANCHE_UPDATE_GOLDEN=1; the change is then read by a
// person.
bool Updating() { return std::getenv("TRANCHE_UPDATE_GOLDEN") != nullptr; }

std::string Slurp(const fs::path& path) {
  std::ifstream in(path, std::ios::binary);
  std::ostringstream text;
  text << in.rdbuf();
  return text.str();
}

std::vector<fs::path> SpecsIn(const fs::path& directory) {
  std::vector<fs::path> paths;
  for (const auto& entry : fs::directory_iterator(directory)) {
    if (entry.path().extension() == ".yaml") paths.push_back(entry.path());
  }
  std::sort(paths.begin(), paths.end());
  return paths;
}

void ExpectFile(fs::path path, const std::string& text) {
  if (Updating()) std::ofstream(path, std::ios::binary) << text;
  EXPECT_EQ(Slurp(path), text) << "in " << path;
}

class Golden : public testing::Test {
 protected:
  void SetUp() override {
    auto loaded = Catalog::Load();
    ASSERT_TRUE(loaded) << loaded.error().message;
    catalog_ = *loaded;
  }

  const fs::path directory_ = fs::path(TRANCHE_SOURCE_DIR) / "test/golden";
  std::shared_ptr<const Catalog> catalog_;
};

TEST_F(Golden, EveryBrokenSpecIsExplained) {
  const auto specs = SpecsIn(directory_);
  EXPECT_GE(specs.size(), 40u);
  for (fs::path path : specs) {
    SCOPED_TRACE(path.filename());
    const auto spec = ParseSpec(Slurp(path), path.filename(), "/specs", *catalog_);
    ASSERT_FALSE(spec) << "a broken spec was taken";
    std::string text;
    for (const Diagnostic& diagnostic : spec.error()) text += FormatDiagnostic(diagnostic) + "\n";
    ExpectFile(path.replace_extension(".expected"), text);
  }
}

TEST_F(Golden, EveryGoodSpecMeansWhatItSays) {
  std::vector<fs::path> specs = SpecsIn(directory_ / "good");
  EXPECT_FALSE(specs.empty());
  for (fs::path path : specs) {
    SCOPED_TRACE(path.filename());
    const auto spec = ParseSpec(Slurp(path), path.filename(), "/specs", *catalog_);
    if (!spec) {
      for (const Diagnostic& diagnostic : spec.error())
        ADD_FAILURE() << FormatDiagnostic(diagnostic);
      continue;
    }
    ExpectFile(path.replace_extension(".json"), PrintJson(ToJson(*spec)));
    const auto back = SpecFromJson(ToJson(*spec));
    ASSERT_TRUE(back) << back.error().message;
    EXPECT_EQ(*back, *spec);
  }
}

}  // namespace
}  // namespace tranche
