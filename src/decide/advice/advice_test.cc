#include "decide/advice/advice.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "decide/advice/facts.h"

namespace tranche {
namespace {

using ::testing::HasSubstr;
using ::testing::UnorderedElementsAreArray;

const Catalog& Loaded() {
  static const auto catalog = Catalog::Load().value();
  return *catalog;
}
const AdviceRules& Rules() {
  static const AdviceRules rules = AdviceRules::Load().value();
  return rules;
}
AdviceAsk Ask(const char* gpu, std::optional<Bytes> memory = std::nullopt) {
  AdviceAsk ask;
  ask.gpu = Loaded().FindGpu(gpu).value();
  if (memory) ask.need = [bytes = *memory](Bytes, int) { return bytes; };
  return ask;
}

TEST(AdviceRulesTest, EmbeddedRulesLoadAndEveryQuestionCanBeAnswered) {
  const auto rules = AdviceRules::Load();
  ASSERT_TRUE(rules) << rules.error().message;
  std::vector<std::string> asked;
  for (const AdviceQuestion& question : rules->questions()) asked.push_back(question.name);
  EXPECT_THAT(asked, UnorderedElementsAreArray(AnswerableQuestions()));
  for (const char* limit :
       {"busy_sm", "training_sm", "long_context_tokens", "large_batch", "slice_headroom"}) {
    EXPECT_GT(rules->Limit(limit), 0) << limit;
  }
}

// Every way in which the facts can lie, on every GPU: the walk ends, tells why, and leaves no
// mechanism without a word.
TEST(AdviceTest, EveryWalkEndsAndExplainsEveryMechanism) {
  std::set<std::string> seen;
  // One of each sort: without MIG, without vGPU, with MIG, of unknown memory.
  for (const char* name : {"T4", "RTX4090", "H100-SXM5-80GB", "GB300"}) {
    const CatalogGpu& gpu = *Loaded().FindGpu(name).value();
    for (int bits = 0; bits < 1 << 8; ++bits) {
      for (const char* isolation : {"hardware", "process", "none"}) {
        AdviceAsk ask = Ask(gpu.key.c_str());
        ask.isolation = isolation;
        ask.kind = kAllWorkloadKinds[static_cast<size_t>(bits) % 4];
        ask.trusted = (bits & 4) != 0;
        ask.virtual_machines = (bits & 8) != 0;
        ask.mig_locked = (bits & 16) != 0;
        ask.resized = (bits & 32) != 0;
        if ((bits & 64) != 0) ask.latency_slo = std::chrono::milliseconds(50);
        if ((bits & 128) != 0) {
          ask.need = [large = (bits & 1) != 0](Bytes, int) { return GiB(large ? 50 : 15); };
        }
        if ((bits & 2) != 0) ask.sm_utilization = 0.3;
        const auto advice = Advise(ask, Rules());
        ASSERT_TRUE(advice) << advice.error().message;
        std::set<Mechanism> told;
        if (advice->mechanism) told.insert(*advice->mechanism);
        for (const AdviceRejection& rejection : advice->rejected) {
          EXPECT_FALSE(rejection.because.empty());
          EXPECT_EQ(rejection.because.find('{'), std::string::npos) << rejection.because;
          EXPECT_TRUE(told.insert(rejection.mechanism).second);
        }
        EXPECT_EQ(told.size(), kAllMechanisms.size());
        for (const AdviceStep& step : advice->path) {
          seen.insert(step.name + "=" + step.answer);
          EXPECT_FALSE(step.because.empty());
          EXPECT_EQ(step.because.find('{'), std::string::npos) << step.because;
          EXPECT_EQ(step.question.find('{'), std::string::npos) << step.question;
        }
        // What is asked holds.
        if (!advice->mechanism) continue;
        if (ask.isolation == std::string("hardware")) {
          EXPECT_TRUE(*advice->mechanism == Mechanism::kMig ||
                      *advice->mechanism == Mechanism::kExclusive ||
                      (*advice->mechanism == Mechanism::kVgpu && gpu.mig_capable));
        }
        if (!ask.trusted) {
          EXPECT_NE(*advice->mechanism, Mechanism::kMps);
          EXPECT_NE(*advice->mechanism, Mechanism::kFraction);
        }
        if (ask.latency_slo) {
          EXPECT_NE(*advice->mechanism, Mechanism::kTimeSlicing);
        }
        if (*advice->mechanism == Mechanism::kMig) {
          EXPECT_TRUE(gpu.mig_capable && !ask.mig_locked && !ask.resized);
        }
      }
    }
  }
  for (const char* answer : {"busy=training", "fits_gpu=no", "fits_gpu=unknown", "vgpu_gate=no",
                             "vgpu_hardware=time_sliced", "mig_locked=no", "fits_slice=memory",
                             "resized=yes", "latency=yes", "kind=batch"}) {
    EXPECT_TRUE(seen.count(answer)) << answer;
  }
}

TEST(AdviceTest, NothingSatisfiesWhatIsLargerThanTheGpu) {
  const auto advice = Advise(Ask("H100-SXM5-80GB", GiB(500)), Rules());
  ASSERT_TRUE(advice);
  EXPECT_FALSE(advice->mechanism);
  EXPECT_EQ(advice->rejected.size(), kAllMechanisms.size());
  EXPECT_THAT(advice->path.back().because, HasSubstr("500 GiB"));
}

TEST(AdviceTest, AModelLargerThanTheGpuIsDivided) {
  AdviceAsk ask = Ask("H100-SXM5-80GB");
  ask.divisible = true;
  ask.need = [](Bytes, int gpus) { return Bytes{GiB(140).value / static_cast<uint64_t>(gpus)}; };
  const auto advice = Advise(ask, Rules());
  EXPECT_EQ(advice->mechanism, Mechanism::kExclusive);
  EXPECT_EQ(advice->gpus, 2);
  EXPECT_EQ(advice->memory, GiB(70));
  // As many GPUs as were asked for are taken at their word.
  ask.gpus = 4;
  EXPECT_EQ(Advise(ask, Rules())->gpus, 4);
}

TEST(AdviceTest, AMemorySliceMustHaveTheComputeToo) {
  AdviceAsk ask = Ask("H100-SXM5-80GB", GiB(8));
  ask.isolation = "hardware";
  const std::pair<double, const char*> kCases[] = {
      {0.10, "1g.10gb"}, {0.20, "2g.20gb"}, {0.45, "3g.40gb"}, {0.48, "4g.40gb"}};
  for (const auto& [use, profile] : kCases) {
    ask.sm_utilization = use;
    EXPECT_EQ(Advise(ask, Rules())->profile, profile) << use;
  }
  ask.sm_utilization = 0.6;
  const auto advice = Advise(ask, Rules());
  EXPECT_EQ(advice->mechanism, Mechanism::kExclusive);
  EXPECT_EQ(advice->rejected.front().question, "fits_slice");
}

TEST(AdviceTest, WithoutAnAmountThereIsNoProfile) {
  AdviceAsk ask = Ask("H100-SXM5-80GB");
  ask.isolation = "hardware";
  const auto advice = Advise(ask, Rules());
  EXPECT_EQ(advice->mechanism, Mechanism::kMig);
  EXPECT_EQ(advice->profile, "");
  EXPECT_FALSE(advice->tenants_per_gpu);
  ASSERT_EQ(advice->notes.size(), 1u);
  EXPECT_THAT(advice->notes[0], HasSubstr("--memory"));
}

TEST(AdviceTest, LongContextsWithoutAnAmountGoByTheirSize) {
  AdviceAsk ask = Ask("H100-SXM5-80GB");
  ask.context = 131072;
  ask.concurrency = 8;
  EXPECT_EQ(Advise(ask, Rules())->path.back().name, "long_context");
  ask.concurrency = 7;
  EXPECT_NE(Advise(ask, Rules())->path.back().name, "long_context");
  // Where the need is known to be small, it is not guessed.
  ask.concurrency = 8;
  ask.need = [](Bytes, int) { return GiB(20); };
  EXPECT_NE(Advise(ask, Rules())->path.back().name, "long_context");
}

TEST(AdviceTest, ReasonsAgainstAreAllOfThem) {
  AdviceAsk ask = Ask("L40S", GiB(8));
  ask.isolation = "process";
  ask.latency_slo = std::chrono::milliseconds(50);
  ask.sm_utilization = 0.9;
  const auto reasons = ReasonsAgainst(ask, Rules(), Mechanism::kTimeSlicing).value();
  std::vector<std::string> names;
  for (const AdviceStep& reason : reasons) names.push_back(reason.name);
  EXPECT_THAT(names, ::testing::ElementsAre("busy", "isolation", "latency"));
  EXPECT_TRUE(ReasonsAgainst(ask, Rules(), Mechanism::kExclusive).value().empty());
}

TEST(AdviceTest, WhatIsOnlyNotPreferredSaysWhatComesFirst) {
  AdviceAsk ask = Ask("H100-SXM5-80GB", GiB(8));
  ask.trusted = true;
  ask.steady = true;
  const auto advice = Advise(ask, Rules());
  EXPECT_EQ(advice->mechanism, Mechanism::kMps);
  for (const AdviceRejection& rejection : advice->rejected) {
    if (rejection.mechanism == Mechanism::kMig) {
      EXPECT_THAT(rejection.because, HasSubstr("would do"));
    }
  }
}

TEST(AdviceTest, WordsAreFilledIn) {
  EXPECT_EQ(advice::Fill("a {x} b {y}{x}.", {{"x", "1"}}), "a 1 b 1.");
  EXPECT_EQ(advice::Fill("{x", {{"x", "1"}}), "1");
  EXPECT_EQ(advice::Fill("", {}), "");
}

constexpr const char* kLeaves = R"(
leaves:
  exclusive: {accept: a, source: s}
  mig: {accept: a, source: s}
  mps: {accept: a, source: s}
  time-slicing: {accept: a, source: s}
  fraction: {accept: a, source: s}
  vgpu: {accept: a, source: s}
sources: {s: here}
billing: {spot: {because: b, source: s}, on-demand: {because: b, source: s}}
limits: {busy_sm: {value: 0.8, source: s}}
)";

TEST(AdviceRulesTest, ATreeThatCannotBeWalkedIsRefusedWithEveryMistake) {
  const auto broken = AdviceRules::Parse(std::string(R"(questions:
  fits_gpu:
    ask: 'Does it {fit}?'
    source: nowhere
    answers:
      yes: {because: b, then: busy, choose: [mig]}
      no: {because: b, then: fits_gpu}
      unknown: {because: b, rejects: [migg], choose: []}
  lost: {ask: q, source: s, answers: {yes: {because: b, choose: []}}}
)") + kLeaves);
  ASSERT_FALSE(broken);
  for (const char* mistake :
       {"no word '{fit}'", "'source' is none", "either `then` or `choose`", "leads to 'busy'",
        "leads to 'fits_gpu'", "migg", "nothing leads to the question 'lost'"}) {
    EXPECT_THAT(broken.error().message, HasSubstr(mistake));
  }
}

TEST(AdviceTest, RulesThatAskTheUnknownAreRefused) {
  const auto strange = AdviceRules::Parse(
      std::string("questions:\n  weather: {ask: q, source: s, answers: {yes: {because: b, choose: "
                  "[mig]}}}\n") +
      kLeaves);
  ASSERT_TRUE(strange) << strange.error().message;
  EXPECT_THAT(Advise(Ask("L4"), *strange).error().message, HasSubstr("weather"));
  const auto silent = AdviceRules::Parse(
      std::string("questions:\n  busy: {ask: q, source: s, answers: {no: {because: b, choose: "
                  "[mig]}}}\n") +
      kLeaves);
  ASSERT_TRUE(silent) << silent.error().message;
  EXPECT_THAT(Advise(Ask("L4"), *silent).error().message, HasSubstr("no answer 'unknown'"));
}

}  // namespace
}  // namespace tranche
