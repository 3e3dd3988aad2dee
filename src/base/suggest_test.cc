#include "base/suggest.h"

#include <gtest/gtest.h>

namespace tranche {
namespace {

const std::vector<std::string> kWords = {"memory", "model", "isolation", "replicas"};

TEST(Suggest, FindsTypos) {
  EXPECT_EQ(Suggest("memroy", kWords), "memory");
  EXPECT_EQ(Suggest("Modell", kWords), "model");
  EXPECT_EQ(Suggest("replica", kWords), "replicas");
  EXPECT_EQ(DidYouMean("isolaton", kWords), "did you mean 'isolation'?");
}

TEST(Suggest, StaysSilentWhenNothingIsNear) {
  EXPECT_EQ(Suggest("zebra", kWords), "");
  EXPECT_EQ(DidYouMean("", kWords), "");
  EXPECT_EQ(Suggest(std::string(100000, 'm'), kWords), "");
}

}  // namespace
}  // namespace tranche
