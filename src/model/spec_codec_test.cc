#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "base/json.h"
#include "model/spec.h"
#include "model/spec_rules.h"

namespace tranche {
namespace {

using testing::HasSubstr;

// Every field set to something that is not its default.
Workload FullWorkload() {
  Workload workload;
  workload.name = "chat";
  workload.team = "search";
  workload.kind = WorkloadKind::kInference;
  workload.isolation = {
      "axes",
      {Guarantee::kHardware, Guarantee::kDriver, Guarantee::kNone, Guarantee::kKernel},
      true};
  workload.trusted = true;
  workload.memory = Share<Bytes>{{12345678901}, {99999999999}};
  workload.compute = Share<Fraction>{{0.1}, {1.0 / 3}};
  workload.gpus = 2;
  workload.gpu = "L40S";
  workload.mechanism = Mechanism::kTimeSlicing;
  workload.profile = "1g.10gb+me";
  workload.model = ModelAsk{"phi-4", 14.66e9, "int4", 8192, 4, "fp8"};
  workload.traffic = Traffic{4.25, 512, 256};
  workload.slo =
      Slo{std::chrono::milliseconds(200), Duration(300000001), std::chrono::seconds(10), 20.5};
  workload.engine = ServingEngine::kLlamaCpp;
  workload.command = {"serve", "--port", "${PORT}", ""};
  workload.args = {"--fast"};
  workload.image = "example/server:1";
  workload.env = {{"A", "1"}, {"B", "\xc3\xa4\n\""}};
  workload.env_from = "/etc/chat.env";
  workload.working_directory = "/srv/chat";
  workload.port = 8100;
  workload.route = "/chat";
  workload.replicas = 3;
  workload.by_traffic = {true, false, true};
  workload.startup_grace = std::chrono::milliseconds(1500);
  workload.lease = std::chrono::hours(24 * 3650);
  workload.preemptible = true;
  workload.tier = "gold";
  workload.on_unenforced = OnUnenforced::kWarn;
  workload.allow_root = true;
  workload.at = {"s.yaml", 4, 7};
  return workload;
}

Workload Named(const std::string& name) {
  Workload workload;
  workload.name = name;
  return workload;
}

Spec FullSpec() {
  Spec spec;
  spec.currency = "EUR";
  spec.allow_root = true;
  spec.fleet = {{"L40S", 8, 2.06, 0.1}, {"T4", 1, {}, {}}};
  spec.prices = {{"L40S", 2.06}, {"T4", 0}};
  spec.teams = {{"search", 2.5, GiB(120), 1.5}, {"research", 1, {}, {}}};
  spec.workloads = {FullWorkload(), Named("b")};
  spec.directory = "/srv/specs";
  return spec;
}

TEST(SpecCodec, ComesBackExactly) {
  const Spec spec = FullSpec();
  const auto printed = ParseJson(PrintJson(ToJson(spec)));
  ASSERT_TRUE(printed);
  const auto back = SpecFromJson(*printed);
  ASSERT_TRUE(back) << back.error().message;
  EXPECT_EQ(*back, spec);
  EXPECT_EQ(PrintJson(ToJson(*back)), PrintJson(ToJson(spec)));
}

TEST(SpecCodec, LongLeasesKeepTheirMicroseconds) {
  Workload workload = FullWorkload();
  workload.lease = std::chrono::hours(24 * 3650) + std::chrono::microseconds(1);
  EXPECT_EQ(WorkloadFromJson(*ParseJson(PrintJson(ToJson(workload))))->lease, workload.lease);
}

TEST(SpecCodec, UsesBaseUnitsAndNames) {
  const Json json = ToJson(FullWorkload());
  EXPECT_EQ(json["memory"]["request_bytes"], 12345678901);
  EXPECT_EQ(json["slo"]["ttft_p50_seconds"], 0.2);
  EXPECT_EQ(json["engine"], "llama.cpp");
  EXPECT_EQ(json["mechanism"], "time-slicing");
  EXPECT_FALSE(ToJson(Workload{}).contains("memory")) << "unknown is not 0";
}

// Plan files and the API are outside input: each of these must be refused, not used.
TEST(SpecCodec, ChecksWhatItReads) {
  const auto refused = [](const std::function<void(Json&)>& damage) {
    Json json = ToJson(FullSpec());
    damage(json);
    const auto spec = SpecFromJson(json);
    return spec ? "" : spec.error().message;
  };
  EXPECT_THAT(refused([](Json& s) { s = Json::array(); }), HasSubstr("spec is not an object"));
  EXPECT_THAT(refused([](Json& s) { s["version"] = 2; }), HasSubstr("version"));
  EXPECT_THAT(refused([](Json& s) { s["currency"] = "$"; }), HasSubstr("currency"));
  EXPECT_THAT(refused([](Json& s) { s["fleet"][0]["count"] = 1000000000; }), HasSubstr("count"));
  EXPECT_THAT(refused([](Json& s) { s["prices"]["L40S"] = -1; }), HasSubstr("prices"));
  EXPECT_THAT(refused([](Json& s) { s["teams"][0]["name"] = "a/b"; }), HasSubstr("name"));
  const auto workload = [&](const char* key, const Json& value) {
    return refused([&](Json& s) { s["workloads"][0][key] = value; });
  };
  EXPECT_THAT(workload("name", "../../etc"), HasSubstr("name is not a name"));
  EXPECT_THAT(workload("name", 1), HasSubstr("name is not a string"));
  EXPECT_THAT(workload("kind", "web"), HasSubstr("not a kind of workload"));
  EXPECT_THAT(workload("isolation", {{"word", "hard"}}), HasSubstr("isolation"));
  EXPECT_THAT(workload("memory", {{"request_bytes", 2}, {"limit_bytes", 1}}),
              HasSubstr("request and limit"));
  EXPECT_THAT(workload("memory", {{"request_bytes", -2}, {"limit_bytes", 1}}),
              HasSubstr("request_bytes"));
  EXPECT_THAT(workload("compute", {{"request_fraction", 0.5}, {"limit_fraction", 2}}),
              HasSubstr("request and limit"));
  EXPECT_THAT(workload("gpus", 0), HasSubstr("gpus is outside 1 to 1024"));
  EXPECT_THAT(workload("replicas", 1e12), HasSubstr("replicas"));
  EXPECT_THAT(workload("mechanism", "magic"), HasSubstr("mechanism"));
  for (const char* profile : {"", "3g40gb", "03g.40gb", "3g.0gb", "3g.40gb+", "3g.40gb+me,gfx"}) {
    EXPECT_THAT(workload("profile", profile), HasSubstr("profile is not a MIG profile"));
  }
  EXPECT_THAT(workload("command", {"a", 1}), HasSubstr("not a string"));
  EXPECT_THAT(workload("command", Json::array({std::string("a\0b", 3)})), HasSubstr("NUL"));
  EXPECT_THAT(workload("env", {{"1A", "x"}}), HasSubstr("env"));
  EXPECT_THAT(workload("env", {{"A", 1}}), HasSubstr("env"));
  EXPECT_THAT(workload("env_from", "relative"), HasSubstr("absolute"));
  EXPECT_THAT(workload("port", 65536), HasSubstr("port"));
  EXPECT_THAT(workload("route", "/a;return"), HasSubstr("route"));
  EXPECT_THAT(workload("startup_grace_seconds", -1), HasSubstr("duration"));
  EXPECT_THAT(workload("startup_grace_seconds", 1e300), HasSubstr("duration"));
  EXPECT_THAT(workload("lease_seconds", "8h"), HasSubstr("lease_seconds"));
  EXPECT_THAT(workload("on_unenforced", "ignore"), HasSubstr("on_unenforced"));
  EXPECT_THAT(refused([](Json& s) { s["workloads"][0]["model"]["precision"] = "q4"; }),
              HasSubstr("precision"));
  EXPECT_THAT(refused([](Json& s) { s["workloads"][0]["model"]["context"] = 0; }),
              HasSubstr("context"));
  EXPECT_EQ(refused([](Json&) {}), "");
}

TEST(WorkloadDigest, TellsWhatAReplicaWasStartedFrom) {
  const Workload workload = FullWorkload();
  const std::string digest = WorkloadDigest(workload);
  EXPECT_EQ(digest.size(), 19u);
  EXPECT_EQ(digest.substr(0, 3), "w1:");

  Workload moved = workload;
  moved.at = {"other.yaml", 99, 1};
  moved.replicas = 7;
  EXPECT_EQ(WorkloadDigest(moved), digest);

  // Every other field counts.
  std::set<std::string> digests = {digest};
  const std::vector<std::function<void(Workload&)>> changes = {
      [](Workload& w) { w.name = "x"; },
      [](Workload& w) { w.team = "x"; },
      [](Workload& w) { w.kind = WorkloadKind::kBatch; },
      [](Workload& w) { w.isolation.word = "none"; },
      [](Workload& w) { w.isolation.axes.access = Guarantee::kNone; },
      [](Workload& w) { w.isolation.low_jitter = false; },
      [](Workload& w) { w.trusted = false; },
      [](Workload& w) { w.memory->limit = GiB(99); },
      [](Workload& w) { w.memory.reset(); },
      [](Workload& w) { w.compute->request.value = 0.2; },
      [](Workload& w) { w.gpus = 3; },
      [](Workload& w) { w.gpu = ""; },
      [](Workload& w) { w.mechanism.reset(); },
      [](Workload& w) { w.profile = "3g.40gb"; },
      [](Workload& w) { w.model->context = 1; },
      [](Workload& w) { w.model->parameters.reset(); },
      [](Workload& w) { w.traffic->requests_per_second = 5; },
      [](Workload& w) { w.slo.reset(); },
      [](Workload& w) { w.engine = ServingEngine::kVllm; },
      [](Workload& w) { w.command.emplace_back("x"); },
      [](Workload& w) { w.args.clear(); },
      [](Workload& w) { w.image = "x"; },
      [](Workload& w) { w.env["A"] = "2"; },
      [](Workload& w) { w.env_from = ""; },
      [](Workload& w) { w.working_directory = "/"; },
      [](Workload& w) { w.port = 1; },
      [](Workload& w) { w.route = "/x"; },
      [](Workload& w) { w.startup_grace = std::chrono::seconds(1); },
      [](Workload& w) { w.lease.reset(); },
      [](Workload& w) { w.preemptible = false; },
      [](Workload& w) { w.tier = ""; },
      [](Workload& w) { w.on_unenforced = OnUnenforced::kStop; },
      [](Workload& w) { w.allow_root = false; }};
  for (size_t i = 0; i < changes.size(); ++i) {
    Workload changed = workload;
    changes[i](changed);
    EXPECT_TRUE(digests.insert(WorkloadDigest(changed)).second) << "change " << i;
  }
}

// A digest is stored with what runs: a new version that computes another one restarts everything.
TEST(WorkloadDigest, IsTheSameInEveryVersion) {
  EXPECT_EQ(WorkloadDigest(Named("chat")), "w1:f3501b23bcfac76c");
}

TEST(SpecNames, ComeBack) {
  for (const WorkloadKind kind : kAllWorkloadKinds)
    EXPECT_EQ(ParseWorkloadKind(WorkloadKindName(kind)), kind);
  for (const ServingEngine engine : kAllServingEngines)
    EXPECT_EQ(ParseServingEngine(ServingEngineName(engine)), engine);
  EXPECT_EQ(ParseServingEngine("vlm").error().hint, "did you mean 'vllm'?");
  EXPECT_EQ(ParseOnUnenforced("stop"), OnUnenforced::kStop);
  EXPECT_FALSE(ParseOnUnenforced("ignore"));
}

TEST(HasSomethingToRun, NeedsACommandAnImageOrAModelToServe) {
  Workload workload;
  EXPECT_FALSE(HasSomethingToRun(workload));
  workload.command = {"serve"};
  EXPECT_TRUE(HasSomethingToRun(workload));
  Workload served;
  served.engine = ServingEngine::kVllm;
  served.model = ModelAsk{};
  served.model->parameters = 7e9;
  EXPECT_FALSE(HasSomethingToRun(served)) << "nobody knows which model";
  served.args = {"--model", "own/model"};
  EXPECT_TRUE(HasSomethingToRun(served));
  served.args.clear();
  served.model->name = "phi-4";
  EXPECT_TRUE(HasSomethingToRun(served));
}

TEST(SpecRules, LabelsAndRoutes) {
  for (const char* label : {"a", "7b", "a-b", "a1"}) EXPECT_TRUE(IsLabel(label)) << label;
  EXPECT_TRUE(IsLabel(std::string(63, 'a')));
  for (const char* label : {"", "-a", "a-", "A", "a_b", "a.b", "a/b", "\xc3\xa4"})
    EXPECT_FALSE(IsLabel(label)) << label;
  EXPECT_FALSE(IsLabel(std::string(64, 'a')));
  for (const char* route : {"/", "/a", "/a/b", "/a.b~c_d-E", "/..a"})
    EXPECT_TRUE(IsRoute(route)) << route;
  for (const char* route : {"", "a", "/a/", "//", "/a//b", "/.", "/..", "/a/../b", "/a b", "/a;",
                            "/a?b", "/%2e", "/{a}"}) {
    EXPECT_FALSE(IsRoute(route)) << route;
  }
}

}  // namespace
}  // namespace tranche
