#include "face/cli/arguments.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

struct Parsed {
  std::string file;
  std::string name;
  std::optional<int> lines;
  bool yes = false;
};

Arguments Declare(Parsed& parsed) {
  Arguments arguments;
  arguments.Option("-f,--file", "FILE", parsed.file, "a file")
      .Option("-n,--lines", "N", parsed.lines, "lines")
      .Flag("-y,--yes", parsed.yes, "yes")
      .Positional("NAME", parsed.name, "name");
  return arguments;
}

TEST(Arguments, FillTheirTargets) {
  Parsed parsed;
  const Arguments arguments = Declare(parsed);
  ASSERT_TRUE(ParseArguments({"phi", "-f", "a.yaml", "--lines=7", "-y"}, {&arguments}));
  EXPECT_EQ(parsed.file, "a.yaml");
  EXPECT_EQ(parsed.name, "phi");
  EXPECT_EQ(parsed.lines, 7);
  EXPECT_TRUE(parsed.yes);
}

TEST(Arguments, SayWhatIsWrong) {
  Parsed parsed;
  const Arguments arguments = Declare(parsed);
  const auto error = [&](const std::vector<std::string>& words) {
    const Status status = ParseArguments(words, {&arguments});
    return status ? Error{ErrorCode::kFailed, "accepted"} : status.error();
  };
  EXPECT_EQ(error({"--flie", "x"}),
            (Error{ErrorCode::kInvalid, "unknown option '--flie'", "did you mean '--file'?"}));
  EXPECT_EQ(error({"phi", "qwen"}).message, "unexpected argument 'qwen'");
  EXPECT_EQ(error({"-n", "many"}).code, ErrorCode::kInvalid);
  EXPECT_EQ(error({"-n", "99999999999999"}).code, ErrorCode::kInvalid);
  EXPECT_EQ(error({"-f"}).code, ErrorCode::kInvalid);
  EXPECT_EQ(error({"-f", "a", "-f", "b"}).code, ErrorCode::kInvalid);
}

TEST(Arguments, FindTheVerbBehindOptionsOfEveryVerb) {
  std::string output;
  bool quiet = false;
  Arguments globals;
  globals.Option("-o,--output", "FORMAT", output, "").Flag("-q,--quiet", quiet, "");
  EXPECT_EQ(FindVerb({"status", "-o", "json"}, globals), 0u);
  EXPECT_EQ(FindVerb({"-q", "-o", "json", "status"}, globals), 3u);
  EXPECT_EQ(FindVerb({"--output=json", "status"}, globals), 1u);
  EXPECT_EQ(FindVerb({"-o"}, globals), 1u);
  EXPECT_EQ(FindVerb({}, globals), 0u);
}

}  // namespace
}  // namespace tranche
