#include "face/http/api.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "agent/fake_engine.h"
#include "base/json.h"
#include "base/yaml.h"

namespace tranche {
namespace {

class ApiTest : public testing::Test {
 protected:
  ApiTest()
      : api_({engine_, std::make_shared<const Catalog>(), Access(getuid(), std::nullopt), "1.2.3",
              [this](const std::string& line) { log_ += line + "\n"; }}) {
    engine_.machine.read_at = Time(std::chrono::seconds(1));
  }

  ApiReply Ask(const std::string& method, const std::string& target, const std::string& body = "") {
    return api_.Handle({method, target, body, Peer{1, getuid(), getgid(), {}}});
  }
  static Json Body(const ApiReply& reply) { return ParseJson(reply.body).value_or(Json()); }

  FakeEngine engine_;
  std::string log_;
  Api api_;
};

// The description is the contract: it holds exactly the routes that are served.
TEST_F(ApiTest, ServesExactlyWhatItDescribes) {
  const auto document = ParseYaml(OpenApiDocument());
  ASSERT_TRUE(document) << document.error().message << " at line " << document.error().line;
  const YamlNode* paths = document->Find("paths");
  ASSERT_NE(paths, nullptr);
  std::set<std::pair<std::string, std::string>> described;
  for (const auto& [path, methods] : paths->members) {
    for (const auto& [method, operation] : methods.members) {
      std::string upper = method.scalar;
      std::transform(upper.begin(), upper.end(), upper.begin(),
                     [](unsigned char c) { return std::toupper(c); });
      described.emplace(upper, path.scalar);
      EXPECT_NE(operation.Find("operationId"), nullptr) << path.scalar;
      EXPECT_NE(operation.Find("responses"), nullptr) << path.scalar;
    }
  }
  const auto routes = ApiRoutes();
  EXPECT_EQ(described,
            (std::set<std::pair<std::string, std::string>>(routes.begin(), routes.end())));
}

// Every "$ref" points at something.
TEST_F(ApiTest, DescribesEverythingItRefersTo) {
  const auto document = ParseYaml(OpenApiDocument());
  ASSERT_TRUE(document);
  const std::string text(OpenApiDocument());
  int references = 0;
  const std::string mark = "\"#/components/";
  for (size_t at = text.find(mark); at != std::string::npos; at = text.find(mark, at + 1)) {
    const size_t begin = at + mark.size();
    const std::string path = text.substr(begin, text.find('"', begin) - begin);
    const size_t slash = path.find('/');
    const YamlNode* section = document->Find("components")->Find(path.substr(0, slash));
    ASSERT_NE(section, nullptr) << path;
    EXPECT_NE(section->Find(path.substr(slash + 1)), nullptr) << path;
    ++references;
  }
  EXPECT_GT(references, 50);
}

TEST_F(ApiTest, AnswersEveryGet) {
  for (const auto& [method, path] : ApiRoutes()) {
    if (method != "GET") continue;
    std::string target = path;
    if (const size_t at = target.find("{workload}"); at != std::string::npos) {
      target = "/v1/workloads/phi/replicas/0/logs";
    }
    EXPECT_EQ(Ask(method, target).status, 200) << target << "\n" << Ask(method, target).body;
  }
  EXPECT_EQ(Ask("GET", "/openapi.yaml").content_type, "application/yaml");
  EXPECT_EQ(Body(Ask("GET", "/v1/version"))["version"], "1.2.3");
  EXPECT_EQ(Body(Ask("GET", "/v1/status"))["daemon"], true);
}

TEST_F(ApiTest, RefusesStrangersBeforeAnythingElse) {
  const Peer stranger{1, getuid() + 4000, 4000, {}};
  for (const auto& [method, path] : ApiRoutes()) {
    const ApiReply reply = api_.Handle({method, path, "not even json", stranger});
    EXPECT_EQ(reply.status, 403) << path;
    EXPECT_EQ(reply.content_type, "application/problem+json");
    EXPECT_EQ(Body(reply)["code"], "permission");
  }
  EXPECT_TRUE(engine_.stopped.empty());
}

TEST_F(ApiTest, SaysWhatIsWrongWithARequest) {
  EXPECT_EQ(Ask("GET", "/v1/nothing").status, 404);
  const ApiReply wrong_method = Ask("DELETE", "/v1/status");
  EXPECT_EQ(wrong_method.status, 405);
  EXPECT_EQ(wrong_method.allow, "GET");
  EXPECT_EQ(Ask("GET", "/%zz").status, 400);
  EXPECT_EQ(Ask("POST", "/v1/plans", "{").status, 400);
  EXPECT_EQ(Ask("POST", "/v1/plans", "[]").status, 400);
  EXPECT_EQ(Ask("POST", "/v1/plans", "{}").status, 400);
  EXPECT_EQ(Ask("POST", "/v1/plans", R"({"spec": {"version": 9}})").status, 400);
  EXPECT_EQ(Ask("POST", "/v1/apply", R"({"plan": {}})").status, 400);
  EXPECT_EQ(Ask("POST", "/v1/apply", R"({"plan": {}, "adopt": "yes"})").status, 400);
  EXPECT_EQ(Ask("POST", "/v1/workloads/phi/stop", R"({"replica": -1})").status, 400);
  EXPECT_EQ(Ask("GET", "/v1/workloads/phi/replicas/x/logs").status, 400);
  EXPECT_EQ(Ask("GET", "/v1/workloads/phi/replicas/0/logs?lines=1e9").status, 400);
  EXPECT_EQ(Ask("GET", "/v1/workloads/phi/replicas/0/logs?from=-1").status, 400);
  EXPECT_TRUE(engine_.applied.empty());
}

TEST_F(ApiTest, PassesAnErrorOnWithItsHint) {
  const ApiReply busy = Ask("POST", "/v1/workloads/phi/restart");
  EXPECT_EQ(busy.status, 409);
  const Json problem = Body(busy);
  EXPECT_EQ(problem["type"], "about:blank");
  EXPECT_EQ(problem["status"], 409);
  EXPECT_EQ(problem["code"], "busy");
  EXPECT_EQ(problem["detail"], "it is being applied");
  EXPECT_EQ(problem["hint"], "wait");
  EXPECT_EQ(Ask("GET", "/v1/workloads/nobody/replicas/0/logs").status, 404);
}

TEST_F(ApiTest, StopsOneReplicaOrAll) {
  EXPECT_EQ(Ask("POST", "/v1/workloads/phi/stop").status, 200);
  EXPECT_EQ(Ask("POST", "/v1/workloads/phi/stop", R"({"replica": 2})").status, 200);
  EXPECT_EQ(engine_.stopped, (std::vector<std::string>{"phi", "phi/2"}));
}

TEST_F(ApiTest, ChangesWaitTheirTurn) {
  EXPECT_TRUE(Api::Changes("POST", "/v1/apply"));
  EXPECT_TRUE(Api::Changes("POST", "/v1/workloads/phi/stop?x=1"));
  EXPECT_FALSE(Api::Changes("POST", "/v1/plans"));
  EXPECT_FALSE(Api::Changes("GET", "/v1/apply"));
}

TEST_F(ApiTest, DrainsAGpuAndTakesItBack) {
  Gpu gpu;
  gpu.uuid = "GPU-1";
  engine_.machine.gpus.push_back(gpu);
  EXPECT_EQ(Ask("POST", "/v1/gpus/GPU-1/drain", R"({"drained": true})").status, 200);
  EXPECT_EQ(Ask("POST", "/v1/gpus/GPU-1/drain", R"({"drained": false})").status, 200);
  EXPECT_EQ(engine_.drained, (std::vector<std::string>{"+GPU-1", "-GPU-1"}));
  EXPECT_EQ(Ask("POST", "/v1/gpus/GPU-2/drain", R"({"drained": true})").status, 404);
  EXPECT_EQ(Ask("POST", "/v1/gpus/GPU-1/drain").status, 400) << "which of the two must be said";
  EXPECT_TRUE(Api::Changes("POST", "/v1/gpus/GPU-1/drain"));
  EXPECT_EQ(Body(Ask("GET", "/v1/spec"))["spec"]["workloads"], Json::array());
}

}  // namespace
}  // namespace tranche
