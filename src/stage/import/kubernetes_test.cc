#include "stage/import/testing.h"

namespace tranche {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string Pod(const std::string& limits, const std::string& annotations = "{}",
                const std::string& spec = "") {
  return "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: " + annotations +
         "}\nspec:\n  containers:\n    - {name: c, image: i, resources: {limits: " + limits +
         "}}\n" + spec;
}

std::string SpecOf(const std::string& text) {
  const auto imported = ImportText(text);
  return imported ? imported->spec : "mistakes: " + MistakesOf(text);
}

TEST(Pods, HamiResourcesBecomeAFraction) {
  const std::string spec =
      SpecOf(Pod("{nvidia.com/gpu: 1, nvidia.com/gpumem: 3000, nvidia.com/gpucores: 30}"));
  EXPECT_THAT(spec, HasSubstr("mechanism: fraction"));
  EXPECT_THAT(spec, HasSubstr("memory: 3000MiB"));
  EXPECT_THAT(spec, HasSubstr("compute: 30%"));
}

TEST(Pods, HamiModesAndTypesAreTheSpecsWords) {
  EXPECT_THAT(SpecOf(Pod("{nvidia.com/gpu: 1, nvidia.com/gpumem: 3000}",
                         "{nvidia.com/vgpu-mode: mps, nvidia.com/use-gputype: L40S}")),
              testing::AllOf(HasSubstr("mechanism: mps"), HasSubstr("gpu: L40S")));
  EXPECT_THAT(
      SpecOf(Pod("{nvidia.com/gpu: 1, nvidia.com/gpumem: 3000}", "{nvidia.com/vgpu-mode: mig}")),
      HasSubstr("mechanism: mig"));
  const auto imported = ImportText(Pod("{nvidia.com/gpu: 1, nvidia.com/gpumem-percentage: 50}",
                                       "{nvidia.com/numa-bind: \"true\"}"));
  ASSERT_TRUE(imported);
  EXPECT_THAT(NotesOf(*imported), HasSubstr("nvidia.com/numa-bind"));
}

TEST(Pods, WholeGpusAndSlices) {
  EXPECT_THAT(SpecOf(Pod("{nvidia.com/gpu: 4}")),
              testing::AllOf(HasSubstr("mechanism: exclusive"), HasSubstr("gpus: 4")));
  EXPECT_THAT(SpecOf(Pod("{nvidia.com/mig-2g.20gb: 1}")),
              testing::AllOf(HasSubstr("mechanism: mig"), HasSubstr("isolation: hardware")));
}

TEST(Pods, ProgramsArgumentsAndReplicasComeAlong) {
  const std::string spec = SpecOf(
      "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web, namespace: search}\nspec:\n"
      "  replicas: 3\n  template:\n    spec:\n      containers:\n"
      "        - name: main\n          image: vllm/vllm-openai:latest\n"
      "          args: [\"--model\", \"a\"]\n          env: [{name: A, value: \"b: c\"}]\n"
      "          ports: [{containerPort: 8000}]\n"
      "          resources: {requests: {nvidia.com/gpu: \"1\"}}\n");
  EXPECT_THAT(spec, HasSubstr("name: web"));
  EXPECT_THAT(spec, HasSubstr("team: search"));
  EXPECT_THAT(spec, HasSubstr("args: [\"--model\", \"a\"]"));
  EXPECT_THAT(spec, HasSubstr("A: \"b: c\""));
  EXPECT_THAT(spec, HasSubstr("port: 8000"));
  EXPECT_THAT(spec, HasSubstr("replicas: 3"));
}

struct Rule {
  std::string text;
  std::string mistake;
};

class KubernetesRules : public testing::TestWithParam<Rule> {};

TEST_P(KubernetesRules, IsTold) {
  EXPECT_THAT(MistakesOf(GetParam().text), HasSubstr(GetParam().mistake)) << GetParam().text;
}

std::string Claim(const std::string& devices) {
  return "apiVersion: resource.k8s.io/v1\nkind: ResourceClaim\nmetadata: {name: c}\nspec:\n"
         "  devices: " +
         devices + "\n";
}

std::string Shared(const std::string& sharing, const std::string& kind = "GpuConfig") {
  return Claim(
      "{requests: [{name: g, exactly: {deviceClassName: gpu.nvidia.com}}], config: [{opaque: "
      "{driver: gpu.nvidia.com, parameters: {apiVersion: resource.nvidia.com/v1beta1, kind: " +
      kind + ", sharing: " + sharing + "}}}]}");
}

INSTANTIATE_TEST_SUITE_P(
    Rules, KubernetesRules,
    testing::Values(
        Rule{Pod("{nvidia.com/gpu: 1.5}"), "6: nvidia.com/gpu is '1.5', not a whole number"},
        Rule{Pod("{nvidia.com/gpu: -1}"), "not a whole number"},
        Rule{Pod("{nvidia.com/gpu: 1, nvidia.com/gpucores: 130}"), "is 130, more than 100"},
        Rule{Pod("{nvidia.com/mig-huge: 1}"), "is no MIG profile"},
        Rule{Pod("{nvidia.com/gpu: 1}", "{nvidia.com/vgpu-mode: magic}"),
             "not one of hami-core, mig, mps"},
        Rule{"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec: {}\n", "has no containers"},
        Rule{"apiVersion: v1\nkind: Pod\nmetadata: {name: p}\n", "the pod has no spec"},
        Rule{Pod("{cpu: 1}"), "nothing in the file asks for a part of a GPU"},
        Rule{Claim("{}"), "has no requests"},
        Rule{Claim("{requests: [{name: g}]}"), "has no deviceClassName"},
        Rule{Claim("{requests: [{exactly: {deviceClassName: gpu.nvidia.com}}]}"), "has no name"},
        Rule{Shared("{strategy: Magic}"), "not one of TimeSlicing, MPS"},
        Rule{Shared("{}"), "sharing has no strategy"},
        Rule{Shared("{strategy: MPS, timeSlicingConfig: {interval: Long}}"),
             "timeSlicingConfig with strategy MPS"},
        Rule{Shared("{strategy: TimeSlicing, mpsConfig: {}}"), "mpsConfig with strategy"},
        Rule{Shared("{strategy: TimeSlicing, timeSlicingConfig: {interval: Ages}}"),
             "not one of Default, Short, Medium, Long"},
        Rule{Shared("{strategy: MPS, mpsConfig: {defaultActiveThreadPercentage: 101}}"),
             "not 1 to 100"},
        Rule{Shared("{strategy: MPS, mpsConfig: {defaultPinnedDeviceMemoryLimit: 1Ki}}"),
             "not a size of 1Mi or more"},
        Rule{Shared("{strategy: MPS}", "OtherConfig"), "is of kind 'OtherConfig'"}));

TEST(ResourceClaims, SharingBecomesAMechanism) {
  EXPECT_THAT(SpecOf(Shared("{strategy: MPS, mpsConfig: {defaultActiveThreadPercentage: 50, "
                            "defaultPinnedDeviceMemoryLimit: 10Gi}}")),
              testing::AllOf(HasSubstr("mechanism: mps"), HasSubstr("compute: 50%"),
                             HasSubstr("memory: 10GiB")));
  EXPECT_THAT(SpecOf(Shared("{strategy: TimeSlicing, timeSlicingConfig: {interval: Long}}")),
              HasSubstr("mechanism: time-slicing"));
}

TEST(ResourceClaims, SharingAMigDeviceBecomesMpsInAnInstanceOfItsProfile) {
  const std::string spec = SpecOf(
      Claim("{requests: [{name: m, exactly: {deviceClassName: mig.nvidia.com, selectors: [{cel: "
            "{expression: \"device.attributes['gpu.nvidia.com'].profile == '3g.40gb'\"}}]}}], "
            "config: [{opaque: {driver: gpu.nvidia.com, parameters: {apiVersion: "
            "resource.nvidia.com/v1beta1, kind: MigDeviceConfig, sharing: {strategy: MPS, "
            "mpsConfig: {defaultActiveThreadPercentage: 50, defaultPinnedDeviceMemoryLimit: "
            "10Gi}}}}}]}"));
  // Half of the slice, which on the smallest part of a GPU that it is anywhere is a fifth of it.
  EXPECT_THAT(spec, testing::AllOf(HasSubstr("mechanism: mps"), HasSubstr("profile: 3g.40gb"),
                                   HasSubstr("memory: 10GiB"), HasSubstr("isolation: process"),
                                   HasSubstr("compute: 19.4%")));
}

TEST(ResourceClaims, SelectorsNameSlicesAndGpus) {
  EXPECT_THAT(
      SpecOf(Claim("{requests: [{name: m, exactly: {deviceClassName: mig.nvidia.com, count: 2, "
                   "selectors: [{cel: {expression: \"device.attributes['gpu.nvidia.com'].profile "
                   "== '1g.10gb'\"}}]}}]}")),
      testing::AllOf(HasSubstr("mechanism: mig"), HasSubstr("replicas: 2")));
  const auto imported = ImportText(
      Claim("{requests: [{name: g, deviceClassName: gpu.nvidia.com, selectors: [{cel: {expression: "
            "\"device.attributes['gpu.nvidia.com'].magic == 1\"}}]}]}"));
  ASSERT_TRUE(imported);
  EXPECT_THAT(NotesOf(*imported), HasSubstr("is not understood"));
}

TEST(ResourceClaims, PodsThatUseOneAreItsWorkloads) {
  const std::string spec = SpecOf(
      Shared("{strategy: MPS, mpsConfig: {defaultActiveThreadPercentage: 25}}") +
      "---\napiVersion: v1\nkind: Pod\nmetadata: {name: p}\nspec:\n  resourceClaims: [{name: gpu, "
      "resourceClaimName: c}]\n  containers:\n    - {name: a, image: x, resources: {claims: "
      "[{name: "
      "gpu}]}}\n    - {name: b, image: y, resources: {claims: [{name: gpu}]}}\n");
  EXPECT_THAT(spec, testing::AllOf(HasSubstr("name: p-a"), HasSubstr("name: p-b"),
                                   HasSubstr("compute: 25%"), HasSubstr("image: \"y\"")));
  EXPECT_THAT(spec, Not(HasSubstr("name: c\n")));
}

TEST(Mps, NamespacesBecomeWorkloads) {
  const std::string text =
      "schema_version = \"1.0\"\n[servers.training]\nallowed_devices = \"GPU-a\"\n"
      "pinned_memory_limit = \"10G\"\nactive_thread_percentage = \"50\"\nuid = 1000\n"
      "[servers.training.namespaces.high]\npinned_memory_limit = \"5G\"\n"
      "active_thread_percentage = \"25\"\n[servers.training.namespaces.free]\n"
      "[features.memacct]\nenabled = true\n";
  const auto imported = ImportText(text);
  ASSERT_TRUE(imported) << MistakesOf(text);
  EXPECT_THAT(imported->formats, testing::ElementsAre("mps"));
  EXPECT_THAT(imported->spec,
              testing::AllOf(HasSubstr("name: training-high"), HasSubstr("memory: 5GiB"),
                             HasSubstr("compute: 25%"), HasSubstr("name: training\n")));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("has no limits"));
}

TEST(Mps, MistakesAreToldAtOnceWithTheirLines) {
  const std::string all = MistakesOf(
      "schema_version = \"2.0\"\n[servers.Big]\npinned_memory_limit = \"10\"\n"
      "active_thread_percentage = \"120\"\ncolour = 1\n");
  EXPECT_THAT(all, HasSubstr("1: schema_version '2.0' is not known"));
  EXPECT_THAT(all, HasSubstr("servers.Big is no name in MPS"));
  EXPECT_THAT(all, HasSubstr("3: servers.Big.pinned_memory_limit is '10', not a size"));
  EXPECT_THAT(all, HasSubstr("4: servers.Big.active_thread_percentage is '120', not 1 to 100"));
  EXPECT_THAT(all, HasSubstr("5: unknown key 'colour'"));
}

TEST(Mps, BrokenTomlHasAPlace) {
  EXPECT_THAT(MistakesOf("[servers.a]\npinned_memory_limit = \n"), HasSubstr("2: not TOML"));
  EXPECT_THAT(MistakesOf("[servers.a]\nx = " + std::string(3000, '[') + "\n"),
              HasSubstr("nested deeper"));
}

}  // namespace
}  // namespace tranche
