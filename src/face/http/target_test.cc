#include "face/http/target.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

TEST(Target, IsTakenApartAndDecoded) {
  const auto target =
      ParseTarget("/v1/workloads/a%2Fb/replicas/0/logs?lines=5&from=&x=a%20b&&flag");
  ASSERT_TRUE(target);
  EXPECT_EQ(target->segments,
            (std::vector<std::string>{"v1", "workloads", "a/b", "replicas", "0", "logs"}));
  EXPECT_EQ(target->query.at("lines"), "5");
  EXPECT_EQ(target->query.at("from"), "");
  EXPECT_EQ(target->query.at("x"), "a b");
  EXPECT_EQ(target->query.at("flag"), "");
}

TEST(Target, RefusesWhatIsBroken) {
  for (const char* text :
       {"", "v1", "*", "http://host/v1", "/%", "/%2", "/%zz", "/a%00b", "/a?x=%0a"}) {
    EXPECT_FALSE(ParseTarget(text)) << text;
  }
}

TEST(MatchPath, FindsTheNamedParts) {
  const auto match = MatchPath("/v1/workloads/{workload}/stop", {"v1", "workloads", "phi", "stop"});
  ASSERT_TRUE(match);
  EXPECT_EQ(match->at("workload"), "phi");
  EXPECT_FALSE(MatchPath("/v1/workloads/{workload}/stop", {"v1", "workloads", "", "stop"}));
  EXPECT_FALSE(MatchPath("/v1/workloads/{workload}/stop", {"v1", "workloads", "phi"}));
  EXPECT_FALSE(MatchPath("/v1/status", {"v1", "status", ""}));
  EXPECT_TRUE(MatchPath("/openapi.yaml", {"openapi.yaml"}));
}

}  // namespace
}  // namespace tranche
