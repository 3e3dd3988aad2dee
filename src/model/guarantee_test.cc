#include "model/guarantee.h"

#include <gtest/gtest.h>

#include "model/mechanism.h"

namespace tranche {
namespace {

TEST(Guarantees, EveryAxisMustHold) {
  const Guarantees mig{Guarantee::kHardware, Guarantee::kHardware, Guarantee::kHardware,
                       Guarantee::kKernel};
  EXPECT_TRUE(mig.Satisfies(
      {Guarantee::kHardware, Guarantee::kHardware, Guarantee::kHardware, Guarantee::kNone}));
  EXPECT_TRUE(mig.Satisfies({}));
  Guarantees shared = mig;
  shared.fault = Guarantee::kNone;
  EXPECT_FALSE(shared.Satisfies(
      {Guarantee::kNone, Guarantee::kNone, Guarantee::kHardware, Guarantee::kNone}));
}

TEST(Guarantee, NamesReadBack) {
  for (const Guarantee guarantee : {Guarantee::kNone, Guarantee::kCooperative, Guarantee::kDriver,
                                    Guarantee::kKernel, Guarantee::kHardware}) {
    EXPECT_EQ(ParseGuarantee(GuaranteeName(guarantee)), guarantee);
  }
  EXPECT_EQ(ParseGuarantee("hardwere").error().hint, "did you mean 'hardware'?");
}

TEST(Mechanism, NamesReadBack) {
  for (const Mechanism mechanism : kAllMechanisms) {
    EXPECT_EQ(ParseMechanism(MechanismName(mechanism)), mechanism);
  }
  EXPECT_EQ(ParseMechanism("time-slice").error().hint, "did you mean 'time-slicing'?");
}

}  // namespace
}  // namespace tranche
