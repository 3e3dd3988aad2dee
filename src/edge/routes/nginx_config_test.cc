#include "edge/routes/nginx_config.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <iterator>

namespace tranche {
namespace {

using testing::HasSubstr;
using testing::Not;

const NginxSettings kSettings = {"/run/tranche/nginx", 8080, true};

std::vector<Route> ThreeRoutes() {
  return {{"/phi", "phi", {{"127.0.0.1", 9001, true}}},
          {"/team/qwen",
           "qwen",
           {{"127.0.0.1", 9002, true}, {"127.0.0.1", 9003, false}, {"::1", 9004, true}}},
          {"/mistral", "mistral", {{"127.0.0.1", 9005, false}}}};
}

TEST(NginxConfigTest, IsAsRecorded) {
  std::ifstream file(TRANCHE_SOURCE_DIR "/src/edge/routes/testdata/three_routes.conf");
  const std::string golden{std::istreambuf_iterator<char>(file), {}};
  EXPECT_EQ(NginxConfig(kSettings, ThreeRoutes()), golden);
}

TEST(NginxConfigTest, ADifferenceShowsInTheDigest) {
  const std::string digest = RoutesDigest(kSettings, ThreeRoutes());
  EXPECT_EQ(digest.size(), 16u);
  EXPECT_THAT(NginxConfig(kSettings, ThreeRoutes()), HasSubstr("\"config\":\"" + digest + "\""));
  auto down = ThreeRoutes();
  down[0].backends[0].up = false;
  EXPECT_NE(RoutesDigest(kSettings, down), digest);
  auto port = kSettings;
  port.port = 8081;
  EXPECT_NE(RoutesDigest(port, ThreeRoutes()), digest);
  EXPECT_EQ(RoutesDigest(kSettings, ThreeRoutes()), digest);
}

TEST(NginxConfigTest, ARouteForTheRestReplacesTheAnswerForTheRest) {
  const std::string without = NginxConfig(kSettings, {});
  EXPECT_THAT(without, HasSubstr("no_route"));
  const std::string with = NginxConfig(kSettings, {{"/", "web", {{"127.0.0.1", 1, true}}}});
  EXPECT_THAT(with, Not(HasSubstr("no_route")));
  EXPECT_THAT(with, HasSubstr("location / {"));
}

TEST(CheckRoutesTest, WhatIsPlainIsAccepted) {
  EXPECT_TRUE(CheckRoutes(ThreeRoutes()));
  EXPECT_TRUE(CheckRoutes({}));
  EXPECT_TRUE(
      CheckRoutes({{"/", "all", {}}, {"/a.b/c_d-e~f", "some", {}}, {"/healthzy", "x", {}}}));
}

TEST(CheckRoutesTest, PathsThatAreMoreThanPathsAreRefused) {
  for (const char* path : {"",
                           "phi",
                           "/phi/",
                           "//phi",
                           "/phi//x",
                           "/.",
                           "/../etc",
                           "/phi/..",
                           "/a b",
                           "/phi;",
                           "/phi{",
                           "/phi}",
                           "/$uri",
                           "/phi'",
                           "/phi\"",
                           "/phi\\",
                           "/phi\nreturn 200",
                           "/phi#",
                           "/ph%69",
                           "/healthz",
                           "/healthz/x",
                           "/phi?x",
                           "~/phi",
                           "= /phi",
                           "/\xc3\xa9"}) {
    const auto checked = CheckRoutes({{path, "phi", {}}});
    ASSERT_FALSE(checked) << path;
    EXPECT_EQ(checked.error().code, ErrorCode::kInvalid);
    EXPECT_THAT(checked.error().message, HasSubstr("workload phi"));
  }
  EXPECT_FALSE(CheckRoutes({{"/" + std::string(300, 'a'), "phi", {}}}));
}

TEST(CheckRoutesTest, NamesThatAreMoreThanNamesAreRefused) {
  for (const char* name : {"", "a b", "a\nb", "a;b", "a'b", "a\"b", "$a", "{a}", "a\\"}) {
    EXPECT_FALSE(CheckRoutes({{"/phi", name, {}}})) << name;
  }
}

TEST(CheckRoutesTest, BackendsAreAddressesWithPorts) {
  for (const RouteBackend& backend :
       {RouteBackend{"localhost", 1, true}, RouteBackend{"127.0.0.1;", 1, true},
        RouteBackend{"", 1, true}, RouteBackend{"127.0.0.1", 0, true},
        RouteBackend{"127.0.0.1", 65536, true}, RouteBackend{"127.0.0.1", -1, true},
        RouteBackend{"unix:/x", 1, true}, RouteBackend{"::1]", 1, true}}) {
    EXPECT_FALSE(CheckRoutes({{"/phi", "phi", {backend}}})) << backend.host << ' ' << backend.port;
  }
}

TEST(CheckRoutesTest, APathBelongsToOneWorkload) {
  const auto checked = CheckRoutes({{"/phi", "a", {}}, {"/phi", "b", {}}});
  ASSERT_FALSE(checked);
  EXPECT_THAT(checked.error().message, HasSubstr("/phi is given twice"));
}

}  // namespace
}  // namespace tranche
