#include "stage/plan/alternatives.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stage/plan/planner.h"
#include "stage/plan/testing.h"

namespace tranche::planning {
namespace {

using ::testing::HasSubstr;

class AlternativesTest : public testing::Test {
 protected:
  AlternativesTest() : machine_(MachineWith({"H100-SXM5-80GB", "L40S"})) {
    machine_.gpus[0].price_per_hour = 2.4;
    machine_.gpus[1].price_per_hour = 1.1;
  }
  Result<std::vector<Alternative>> Ask(const Spec& spec, const std::string& workload) {
    const auto plan_for = [&](const Spec& one) -> Result<Plan> {
      return MakePlan(machine_, one, {}, TestCatalog(), {});
    };
    return AlternativesTo(*plan_for(spec), workload, plan_for);
  }
  Machine machine_;
};

TEST_F(AlternativesTest, SaysByHowMuchEachLost) {
  const auto found = Ask(SpecOf({Shared("notes", GiB(5)), Shared("other", GiB(5))}), "notes");
  ASSERT_TRUE(found);
  // On the cheaper GPU, together.
  EXPECT_TRUE(found->front().chosen);
  EXPECT_EQ(found->front().gpu, "L40S");
  EXPECT_EQ(found->front().cost_per_hour, 1.1);
  int slices = 0;
  for (const Alternative& one : *found) {
    EXPECT_FALSE(one.because.empty());
    if (one.gpu == "L40S" && one.mechanism == Mechanism::kMig) {
      EXPECT_FALSE(one.cost_per_hour);
      EXPECT_THAT(one.because, HasSubstr("no mig"));
    }
    if (one.gpu != "H100-SXM5-80GB" || one.mechanism != Mechanism::kMig) continue;
    ++slices;
    // The other one moves to that GPU, too.
    EXPECT_NEAR(one.more_per_hour.value_or(0), 2.4 - 1.1, 1e-9);
    EXPECT_THAT(one.because, HasSubstr("more per hour"));
  }
  EXPECT_EQ(slices, 1);
}

TEST_F(AlternativesTest, SaysWhoWouldHaveNoRoomThen) {
  const auto found = Ask(SpecOf({Hardware("slice", GiB(30)), Hardware("whole", GiB(70))}), "slice");
  ASSERT_TRUE(found);
  const bool told = std::any_of(found->begin(), found->end(), [](const Alternative& one) {
    return one.because.find("whole") != std::string::npos;
  });
  EXPECT_TRUE(told);
}

TEST_F(AlternativesTest, OfAWorkloadThatIsNotThere) {
  const auto found = Ask(SpecOf({Shared("notes", GiB(5))}), "note");
  ASSERT_FALSE(found);
  EXPECT_EQ(found.error().code, ErrorCode::kNotFound);
  EXPECT_THAT(found.error().hint, HasSubstr("notes"));
}

}  // namespace
}  // namespace tranche::planning
