#include "decide/serving/published_scenarios.h"

#include <gtest/gtest.h>

#include <cstdlib>

#include "decide/geometry/packing.h"

// Held against what was published of ParvaGPU, on its measurements, which are no part of the
// source: the environment says where they are.

namespace tranche::serving {
namespace {

class PublishedScenarios : public testing::Test {
 protected:
  void SetUp() override {
    const char* folder = std::getenv("TRANCHE_SHARED_DATA");
    if (folder == nullptr) {
      GTEST_SKIP() << "TRANCHE_SHARED_DATA does not say where parvagpu/ is";
    }
    folder_ = std::string(folder) + "/parvagpu";
    if (!published::Read(folder_, 0, gpus_, 1, {})) GTEST_SKIP() << "there is no " << folder_;
  }

  std::string folder_;
  published::Gpus gpus_ = published::GpusOf(**Catalog::Load());
};

TEST_F(PublishedScenarios, TakeNoMoreGpusAndLessOfThem) {
  int with_less = 0;
  for (int number = 0; number < published::kScenarios; ++number) {
    const auto scenario = published::Read(folder_, number, gpus_, 1, {});
    ASSERT_TRUE(scenario);
    const ReplicasAnswer answer = ChooseReplicas(scenario->problem);
    EXPECT_TRUE(answer.impossible.empty()) << number;
    EXPECT_EQ(answer.layout.LeftOut(), 0) << number;
    EXPECT_LE(answer.cost, published::kGpus[number]) << number;
    EXPECT_LE(answer.takes, published::kSlices[number]) << number;
    if (answer.takes < published::kSlices[number]) ++with_less;
    std::vector<double> borne(scenario->models.size());
    for (const fleet::Used& used : answer.layout.used) {
      EXPECT_TRUE(CanPlace(gpus_.geometry, published::ProfilesOn(used, answer, *scenario, gpus_)));
    }
    for (const ReplicasAnswer::Item& item : answer.items) {
      const published::Model& model = scenario->models[static_cast<size_t>(item.service)];
      const Setting& setting = model.settings[static_cast<size_t>(item.ways.front())];
      EXPECT_LE(setting.point.seconds, model.objective.seconds / 2) << model.name;
      borne[static_cast<size_t>(item.service)] +=
          setting.point.per_second * static_cast<double>(item.count);
    }
    for (size_t m = 0; m < borne.size(); ++m) {
      EXPECT_GE(borne[m], scenario->models[m].per_second) << scenario->models[m].name;
    }
  }
  EXPECT_GE(with_less, 5);
}

TEST_F(PublishedScenarios, KeepTheirObjectivesUnderArrivals) {
  constexpr QueueRun kShort{2000, 5};
  for (const int number : {0, 2}) {
    const auto scenario = published::Read(folder_, number, gpus_, 0.01, kShort);
    ASSERT_TRUE(scenario);
    const ReplicasAnswer answer = ChooseReplicas(scenario->problem);
    EXPECT_LE(answer.cost, published::kGpus[number]);
    EXPECT_LE(answer.takes, published::kSlices[number]);
    for (size_t m = 0; m < scenario->models.size(); ++m) {
      double longest = 0;
      const QueueOutcome outcome = published::Confirm(*scenario, answer, m, {20000, 11}, &longest);
      EXPECT_LE(outcome.missed_share(), 0.02) << scenario->models[m].name;
      EXPECT_LE(longest, 0.5);
    }
  }
}

}  // namespace
}  // namespace tranche::serving
