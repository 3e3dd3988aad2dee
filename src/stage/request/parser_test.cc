#include "stage/request/parser.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

class ParseSpecTest : public testing::Test {
 protected:
  void SetUp() override {
    static const auto loaded = Catalog::Load();
    ASSERT_TRUE(loaded) << loaded.error().message;
    catalog_ = *loaded;
  }

  tl::expected<Spec, std::vector<Diagnostic>> Parse(std::string_view text) {
    return ParseSpec(text, "s.yaml", "/srv/specs", *catalog_);
  }
  // The one workload of a spec; `keys` in flow style.
  Workload One(const std::string& keys) {
    const auto spec = Parse("version: 1\nworkloads:\n  - {name: a, " + keys + "}\n");
    if (!spec) {
      for (const Diagnostic& diagnostic : spec.error())
        ADD_FAILURE() << FormatDiagnostic(diagnostic);
      return {};
    }
    return spec->workloads[0];
  }
  std::vector<std::string> Mistakes(const std::string& text) {
    std::vector<std::string> all;
    const auto spec = Parse(text);
    if (!spec) {
      for (const Diagnostic& diagnostic : spec.error()) all.push_back(FormatDiagnostic(diagnostic));
    }
    return all;
  }

  std::shared_ptr<const Catalog> catalog_;
};

TEST_F(ParseSpecTest, KindFollowsFromWhatTheWorkloadHas) {
  EXPECT_EQ(One("memory: 1GiB").kind, WorkloadKind::kBatch);
  EXPECT_EQ(One("model: phi-4").kind, WorkloadKind::kInference);
  EXPECT_EQ(One("memory: 1GiB, port: 8000").kind, WorkloadKind::kInference);
  EXPECT_EQ(One("memory: 1GiB, slo: {ttft_p99: 1s}").kind, WorkloadKind::kInference);
  EXPECT_EQ(One("memory: 1GiB, engine: triton").kind, WorkloadKind::kInference);
  EXPECT_EQ(One("kind: notebook, memory: 1GiB, port: 8888").kind, WorkloadKind::kNotebook);
}

TEST_F(ParseSpecTest, EngineFollowsFromModelAndCommand) {
  EXPECT_EQ(One("model: phi-4").engine, ServingEngine::kVllm);
  EXPECT_EQ(One("model: phi-4, command: [serve]").engine, ServingEngine::kCommand);
  EXPECT_EQ(One("model: phi-4, image: a/b").engine, ServingEngine::kCommand);
  EXPECT_EQ(One("memory: 1GiB").engine, ServingEngine::kCommand);
  EXPECT_EQ(One("model: phi-4").startup_grace, std::chrono::minutes(10));
  EXPECT_EQ(One("model: phi-4, engine: model-server").startup_grace, std::chrono::minutes(5));
  EXPECT_EQ(One("model: phi-4, startup_grace: 90s").startup_grace, std::chrono::seconds(90));
}

TEST_F(ParseSpecTest, IsolationWordsStandForAxes) {
  const Guarantees process{Guarantee::kCooperative, Guarantee::kCooperative, Guarantee::kNone,
                           Guarantee::kNone};
  EXPECT_EQ(One("memory: 1GiB").isolation, (IsolationAsk{"process", process, false}));
  EXPECT_EQ(One("memory: 1GiB, isolation: none").isolation, (IsolationAsk{"none", {}, false}));
  const Guarantees hardware{Guarantee::kHardware, Guarantee::kHardware, Guarantee::kHardware,
                            Guarantee::kNone};
  EXPECT_EQ(One("memory: 1GiB, isolation: hardware").isolation,
            (IsolationAsk{"hardware", hardware, false}));
  EXPECT_EQ(
      One("memory: 1GiB, isolation: {memory: kernel, jitter: low}").isolation,
      (IsolationAsk{"axes",
                    {Guarantee::kKernel, Guarantee::kNone, Guarantee::kNone, Guarantee::kNone},
                    true}));
}

TEST_F(ParseSpecTest, OneValueIsRequestAndLimit) {
  EXPECT_EQ(One("memory: 1.5GiB").memory, (Share<Bytes>{MiB(1536), MiB(1536)}));
  EXPECT_EQ(One("memory: {request: 1GiB, limit: 2GiB}").memory, (Share<Bytes>{GiB(1), GiB(2)}));
  EXPECT_EQ(One("memory: 1GiB, compute: 0.25").compute, (Share<Fraction>{{0.25}, {0.25}}));
  EXPECT_EQ(One("memory: 1GiB, compute: {request: 5%, limit: 100%}").compute,
            (Share<Fraction>{{0.05}, {1}}));
  EXPECT_EQ(One("model: phi-4").memory, std::nullopt);
}

TEST_F(ParseSpecTest, ModelsHaveThePrecisionAndContextOfTheirCheckpoint) {
  EXPECT_EQ(One("model: gpt-oss-20b").model->precision, "mxfp4");
  EXPECT_EQ(One("model: deepseek-v3").model->precision, "fp8");
  EXPECT_EQ(One("model: {name: gpt-oss-20b, precision: bf16}").model->precision, "bf16");
  EXPECT_EQ(One("model: phi-4").model->context, 4096);
  EXPECT_EQ(One("model: meta-llama/Llama-3.1-8B-Instruct").model->name,
            "meta-llama/Llama-3.1-8B-Instruct");
  EXPECT_EQ(One("model: {parameters: 8.03B}").model->parameters, 8.03e9);
  EXPECT_EQ(One("model: {parameters: 8.03B}").model->precision, "bf16");
  EXPECT_EQ(One("model: {parameters: 7000000000}").model->parameters, 7e9);
}

TEST_F(ParseSpecTest, GpusAreKnownByTheirKeys) {
  EXPECT_EQ(One("memory: 1GiB, gpu: h100-sxm5-80gb").gpu, "H100-SXM5-80GB");
  const auto spec = Parse(
      "version: 1\nprices: {l40s: 2}\nfleet: [{gpu: l40s}]\nworkloads: [{name: a, memory: "
      "1GiB}]\n");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->prices, (std::map<std::string, double>{{"L40S", 2}}));
  EXPECT_EQ(spec->fleet, std::vector<FleetEntry>({{"L40S", 1, {}, {}}}));
  EXPECT_THAT(
      Mistakes("version: 1\nprices: {l40s: 2, L40S: 3}\nworkloads: [{name: a, memory: 1GiB}]\n"),
      ElementsAre(HasSubstr("s.yaml:2:19: L40S has two prices")));
}

TEST_F(ParseSpecTest, PathsBeginAtTheSpec) {
  EXPECT_EQ(One("memory: 1GiB").working_directory, "/srv/specs");
  EXPECT_EQ(One("memory: 1GiB, image: a/b").working_directory, "");
  EXPECT_EQ(One("memory: 1GiB, working_directory: ../x/").working_directory, "/srv/x");
  EXPECT_EQ(One("memory: 1GiB, working_directory: /").working_directory, "/");
  EXPECT_EQ(One("memory: 1GiB, env_from: ./a/../b.env").env_from, "/srv/specs/b.env");
  EXPECT_EQ(One("memory: 1GiB, env_from: /etc/b.env").env_from, "/etc/b.env");
}

TEST_F(ParseSpecTest, EnvironmentAndArgumentsAreTakenAsWritten) {
  const Workload workload =
      One("memory: 1GiB, command: [serve, 8000, true, 1.50, \"\"], env: {A: 1.0, B: no, C: \"\"}");
  EXPECT_THAT(workload.command, ElementsAre("serve", "8000", "true", "1.50", ""));
  EXPECT_EQ(workload.env,
            (std::map<std::string, std::string>{{"A", "1.0"}, {"B", "no"}, {"C", ""}}));
}

TEST_F(ParseSpecTest, AllowRootOfTheFileHoldsUnlessTheWorkloadSaysOtherwise) {
  const auto spec = Parse(
      "version: 1\nallow_root: true\nworkloads:\n  - {name: a, memory: 1GiB}\n"
      "  - {name: b, memory: 1GiB, allow_root: false}\n");
  ASSERT_TRUE(spec);
  EXPECT_TRUE(spec->workloads[0].allow_root);
  EXPECT_FALSE(spec->workloads[1].allow_root);
}

TEST_F(ParseSpecTest, RemembersWhereAWorkloadStands) {
  const auto spec = Parse(
      "version: 1\nworkloads:\n  - name: a\n    memory: 1GiB\n  - name: b\n    memory: 1GiB\n");
  ASSERT_TRUE(spec);
  EXPECT_EQ(spec->workloads[1].at, (SourceMark{"s.yaml", 5, 5}));
  EXPECT_EQ(spec->directory, "/srv/specs");
}

TEST_F(ParseSpecTest, RoutesOfSiblingsAndPrefixesOfWordsAreFine) {
  EXPECT_THAT(Mistakes("version: 1\nworkloads:\n  - {name: a, model: phi-4, route: /chat}\n"
                       "  - {name: b, model: phi-4, route: /chat-fast}\n  - {name: c, model: "
                       "phi-4, route: /x/a}\n"
                       "  - {name: d, model: phi-4, route: /x/b}\n"),
              ElementsAre());
}

TEST_F(ParseSpecTest, PortsThatTouchDoNotOverlap) {
  EXPECT_THAT(
      Mistakes(
          "version: 1\nworkloads:\n  - {name: a, memory: 1GiB, port: 8000, replicas: 10}\n"
          "  - {name: b, memory: 1GiB, port: 8010}\n  - {name: c, memory: 1GiB, port: 7999}\n"),
      ElementsAre());
  // A wide range is found also behind a narrow one that begins later.
  EXPECT_THAT(
      Mistakes(
          "version: 1\nworkloads:\n  - {name: a, memory: 1GiB, port: 8000, replicas: 100}\n"
          "  - {name: b, memory: 1GiB, port: 8099}\n  - {name: c, memory: 1GiB, port: 8050}\n"),
      ElementsAre(HasSubstr(":4:35: port 8099 of 'b' and ports 8000-8099 of 'a' overlap"),
                  HasSubstr(":5:35: port 8050 of 'c' and ports 8000-8099 of 'a' overlap")));
}

TEST_F(ParseSpecTest, QuotaMayBeUsedUp) {
  const auto spec = [](const std::string& memory) {
    return "version: 1\nteams: [{name: t, quota: {memory: 40GiB}}]\nworkloads:\n"
           "  - {name: a, team: t, memory: " +
           memory + ", replicas: 4}\n";
  };
  EXPECT_THAT(Mistakes(spec("10GiB")), ElementsAre());
  EXPECT_THAT(Mistakes(spec("10.01GiB")),
              ElementsAre(HasSubstr("requests 40.04 GiB of memory, its quota is 40 GiB")));
}

// A value that could not be read must not make rules complain about its default.
TEST_F(ParseSpecTest, OneMistakeIsToldOnce) {
  for (const char* keys :
       {"kind: trainig, model: phi-4", "kind: trainig", "memory: lots",
        "memory: 1GiB, engine: vlm, route: /x", "memory: 1GiB, gpus: 2, mechanism: mgi",
        "model: {name: phi-4, context: many}", "memory: 1GiB, isolation: hard, mechanism: mps"}) {
    EXPECT_EQ(Mistakes(std::string("version: 1\nworkloads:\n  - {name: a, ") + keys + "}\n").size(),
              1u)
        << keys;
  }
}

TEST_F(ParseSpecTest, RefusesWhatWouldHurt) {
  EXPECT_THAT(Mistakes(std::string(size_t{100} << 20, 'x')),
              ElementsAre(HasSubstr("s.yaml: the file is larger than 4 MiB")));
  std::string many = "version: 1\nworkloads:\n";
  for (int i = 0; i < 100000; ++i) many += "- {a: 1}\n";
  EXPECT_THAT(Mistakes(many), ElementsAre(HasSubstr("stands for more than 300000 values")));
  std::string keys = "version: 1\n";
  for (int i = 0; i < 5000; ++i) keys += "k" + std::to_string(i) + ": 1\n";
  EXPECT_EQ(Mistakes(keys).size(), 101u);
  EXPECT_EQ(Mistakes("version: 1\nworkloads: " + std::string(100000, '[')).size(), 1u);
  EXPECT_EQ(Mistakes("version: 1\nx: " + std::string(3 << 20, 'a') + "\n").size(), 2u);
}

TEST_F(ParseSpecTest, ThousandsOfWorkloadsAreRead) {
  std::string text = "version: 1\nworkloads:\n";
  for (int i = 0; i < 3000; ++i) {
    text += "- {name: w" + std::to_string(i) + ", model: phi-4, route: /r" + std::to_string(i) +
            ", port: " + std::to_string(10000 + i) + "}\n";
  }
  const auto spec = Parse(text);
  ASSERT_TRUE(spec) << FormatDiagnostic(spec.error()[0]);
  EXPECT_EQ(spec->workloads.size(), 3000u);
}

TEST(FormatDiagnostic, NamesThePlaceWhenThereIsOne) {
  EXPECT_EQ(FormatDiagnostic({"a.yaml", 12, 5, "unknown key 'memroy'", "did you mean 'memory'?"}),
            "a.yaml:12:5: unknown key 'memroy'\n    did you mean 'memory'?");
  EXPECT_EQ(FormatDiagnostic({"a.yaml", 0, 0, "the file is empty", ""}),
            "a.yaml: the file is empty");
}

TEST_F(ParseSpecTest, AProfileIsEnoughToKnowTheMemory) {
  const Workload own = One("profile: 1g.10gb+me");
  EXPECT_EQ(own.profile, "1g.10gb+me");
  EXPECT_FALSE(own.memory);
  // In one that it shares its part is to be said.
  EXPECT_THAT(Mistakes("version: 1\nworkloads:\n  - {name: a, profile: 3g.40gb, mechanism: mps}\n"),
              ElementsAre(HasSubstr("does not say how much memory")));
  EXPECT_EQ(One("profile: 3g.40gb, mechanism: mps, memory: 4GiB").mechanism, Mechanism::kMps);
}

TEST_F(ParseSpecTest, ProfilesThatCannotBeAreToldWithTheNearest) {
  const auto mistake = [&](const std::string& keys, const std::string& fleet = "") {
    const auto all = Mistakes("version: 1\n" + fleet + "workloads:\n  - {name: a, " + keys + "}\n");
    return all.size() == 1 ? all[0] : std::to_string(all.size()) + " mistakes";
  };
  EXPECT_THAT(mistake("profile: 3g40gb"),
              testing::AllOf(HasSubstr("profile cannot be '3g40gb'"), HasSubstr("'3g.40gb'")));
  EXPECT_THAT(mistake("profile: [3g.40gb]"), HasSubstr("profile"));
  EXPECT_THAT(mistake("profile: 3g.40gb, memory: 1GiB, mechanism: fraction"),
              HasSubstr("is to run by fraction"));
  EXPECT_THAT(mistake("profile: 3g.40gb, gpus: 2"), HasSubstr("whole GPUs, not a slice"));
  EXPECT_THAT(mistake("profile: 3g.40gb, gpu: L40S"), HasSubstr("has no MIG"));
  // Of a machine only its driver says which profiles there are.
  EXPECT_EQ(One("profile: 3g.39gb").profile, "3g.39gb");
  EXPECT_THAT(mistake("profile: 3g.39gb", "fleet: [{gpu: H100-SXM5-80GB}]\n"),
              testing::AllOf(HasSubstr("no GPU of the fleet has a MIG profile '3g.39gb'"),
                             HasSubstr("did you mean '3g.40gb'")));
  EXPECT_THAT(mistake("profile: 1g.10gb", "fleet: [{gpu: L40S}]\n"),
              HasSubstr("add a GPU that has MIG"));
}

}  // namespace
}  // namespace tranche
