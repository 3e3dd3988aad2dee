#include "edge/driver/nvml/profile_name.h"

#include <gtest/gtest.h>

#include "edge/driver/nvml/errors.h"
#include "edge/driver/nvml/reading.h"

namespace tranche {
namespace {

TEST(ProfileName, DriverNamesLoseTheirPrefixAndNothingElsePasses) {
  EXPECT_EQ(ProfileNameFromDriver("MIG 1g.10gb+me"), "1g.10gb+me");
  EXPECT_EQ(ProfileNameFromDriver("MIG 1g.24gb+me.all"), "1g.24gb+me.all");
  EXPECT_EQ(ProfileNameFromDriver("1g.24gb-me"), "1g.24gb-me");
  EXPECT_EQ(ProfileNameFromDriver(""), "");
  EXPECT_EQ(ProfileNameFromDriver("MIG "), "");
  EXPECT_EQ(ProfileNameFromDriver("MIG 1g.10gb; rm"), "");
  EXPECT_EQ(ProfileNameFromDriver("MIG ../../etc"), "");
}

struct Numbers {
  int slices;
  uint64_t mib, gpu_mib;
  MigVariant variant;
  const char* name;
};

class ProfileNameNumbers : public testing::TestWithParam<Numbers> {};

TEST_P(ProfileNameNumbers, MakeTheNameThatTheDriverGives) {
  const Numbers& numbers = GetParam();
  EXPECT_EQ(ProfileNameFromNumbers(numbers.slices, MiB(numbers.mib), MiB(numbers.gpu_mib),
                                   numbers.variant),
            numbers.name);
}

// Sizes and names from nvidia-smi transcripts of these GPUs.
INSTANTIATE_TEST_SUITE_P(Transcripts, ProfileNameNumbers,
                         testing::Values(Numbers{1, 4864, 40960, MigVariant::kPlain, "1g.5gb"},
                                         Numbers{1, 4864, 40960, MigVariant::kMedia, "1g.5gb+me"},
                                         Numbers{2, 9856, 40960, MigVariant::kPlain, "2g.10gb"},
                                         Numbers{7, 40192, 40960, MigVariant::kPlain, "7g.40gb"},
                                         Numbers{1, 5952, 24576, MigVariant::kPlain, "1g.6gb"},
                                         Numbers{4, 24000, 24576, MigVariant::kPlain, "4g.24gb"},
                                         Numbers{3, 40448, 81559, MigVariant::kPlain, "3g.40gb"},
                                         Numbers{1, 11008, 95830, MigVariant::kPlain, "1g.12gb"},
                                         Numbers{3, 71168, 143771, MigVariant::kPlain, "3g.71gb"},
                                         Numbers{1, 16384, 143771, MigVariant::kPlain, "1g.18gb"},
                                         Numbers{1, 45312, 183359, MigVariant::kPlain, "1g.45gb"}));

TEST(ProfileName, UnknownSizesDoNotDivideByZero) {
  EXPECT_EQ(ProfileNameFromNumbers(1, MiB(10), Bytes{0}, MigVariant::kPlain), "1g.0gb");
}

TEST(NvmlErrors, EveryCodeHasAReasonAndThoseOfACallerTheirKind) {
  for (nvmlReturn_t rc = 1; rc < 40; ++rc) EXPECT_STRNE(MeaningOf(rc).reason, "") << rc;
  EXPECT_EQ(MeaningOf(NVML_ERROR_NO_PERMISSION).code, ErrorCode::kPermission);
  EXPECT_EQ(MeaningOf(NVML_ERROR_DRIVER_NOT_LOADED).code, ErrorCode::kUnavailable);
  EXPECT_EQ(MeaningOf(NVML_ERROR_IN_USE).code, ErrorCode::kBusy);
  EXPECT_EQ(MeaningOf(NVML_ERROR_INSUFFICIENT_RESOURCES).code, ErrorCode::kDoesNotFit);
  EXPECT_EQ(MeaningOf(12345).code, ErrorCode::kFailed);
}

TEST(NvmlReading, TextIsCutAtItsEndAndCleaned) {
  const char full[4] = {'a', 'b', 'c', 'd'};
  EXPECT_EQ(CleanText(full, sizeof(full)), "abcd");
  EXPECT_EQ(CleanText("GPU\n\x1b[31m\xff", 10), "GPU??[31m?");
}

TEST(NvmlReading, ListsGrowAndAreNotBelievedBeyondTheirRoom) {
  unsigned int wanted = 100;
  const auto grown = ReadList<int>(
      [&](unsigned int* count, int* out) -> nvmlReturn_t {
        if (*count < wanted) {
          *count = wanted;
          wanted += 20;  // more came meanwhile
          return NVML_ERROR_INSUFFICIENT_SIZE;
        }
        for (unsigned int i = 0; i < wanted; ++i) out[i] = 7;
        *count = wanted;
        return NVML_SUCCESS;
      },
      1);
  ASSERT_TRUE(grown);
  EXPECT_EQ(grown->size(), wanted);
  const auto liar = ReadList<int>([](unsigned int* count, int*) -> nvmlReturn_t {
    *count = 4000000000u;
    return NVML_SUCCESS;
  });
  ASSERT_TRUE(liar);
  EXPECT_EQ(liar->size(), 64u);
  const auto greedy = ReadList<int>([](unsigned int* count, int*) -> nvmlReturn_t {
    *count = 4000000000u;
    return NVML_ERROR_INSUFFICIENT_SIZE;
  });
  EXPECT_EQ(greedy.error(), static_cast<nvmlReturn_t>(NVML_ERROR_INSUFFICIENT_SIZE));
}

}  // namespace
}  // namespace tranche
