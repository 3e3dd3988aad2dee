#include <gtest/gtest.h>

#include <map>
#include <set>
#include <string>

#include "limiter/symbols.h"
#include "limiter/test/passes.h"

// Every function of the driver is either hooked, in all its versions, or declared to pass, with the
// reason. The limiter itself is part of this program.
namespace tranche::limiter {
namespace {

// By the name without its version: which of its versions have a hook.
std::map<std::string, std::map<std::string, bool>> AllFunctions() {
  std::map<std::string, std::map<std::string, bool>> all;
  for (uint32_t i = 0; i < kSymbols; ++i)
    all[InfoOf(i).base][InfoOf(i).name] = HookOf(i) != nullptr;
  return all;
}

TEST(LimiterHooks, EveryFunctionIsHookedOrDeclaredToPass) {
  std::set<std::string> passing;
  for (const Passing& group : PassingFunctions()) {
    EXPECT_FALSE(group.why.empty());
    for (const std::string_view function : group.functions)
      EXPECT_TRUE(passing.emplace(function).second) << function << " is declared twice";
  }
  const auto all = AllFunctions();
  EXPECT_EQ(kSymbols, 637u);
  for (const auto& [base, versions] : all) {
    for (const auto& [name, hooked] : versions) {
      EXPECT_NE(hooked, passing.contains(base))
          << name << (hooked ? " has a hook, and is declared to pass" : " is forgotten");
    }
  }
  for (const std::string& function : passing)
    EXPECT_TRUE(all.contains(function)) << function << " is no function of the driver";
}

}  // namespace
}  // namespace tranche::limiter
