#include "stage/import/testing.h"

namespace tranche {
namespace {

using testing::HasSubstr;

constexpr const char* kTwoKeys = R"(apiVersion: v1
kind: ConfigMap
metadata:
  name: time-slicing-config
data:
  a100: |-
    version: v1
    sharing:
      timeSlicing:
        resources:
          - {name: nvidia.com/gpu, replicas: 8}
  any: |-
    version: v1
    sharing:
      timeSlicing:
        replicas: 3
)";

TEST(Documents, OfSeveralKeysOfAConfigMapOneIsTaken) {
  const auto imported = ImportText(kTwoKeys);
  ASSERT_TRUE(imported);
  EXPECT_EQ(imported->config, "any");
  EXPECT_THAT(imported->others, testing::ElementsAre("a100"));
  ImportOptions options;
  options.config = "a100";
  EXPECT_THAT(ImportText(kTwoKeys, options)->spec, HasSubstr("replicas: 8"));
}

TEST(Documents, LinesInsideAConfigMapAreThoseOfTheFile) {
  std::string text = kTwoKeys;
  text.replace(text.find("replicas: 8"), 11, "replicas: 1");
  EXPECT_THAT(MistakesOf(text), HasSubstr("11: "));
}

TEST(Documents, ADocumentThatLostItsIndentationIsRead) {
  const std::string text =
      "# GPU Operator configuration\napiVersion: v1\nkind: ConfigMap\nmetadata:\n"
      "name: gpu-operator-mig-config\nnamespace: gpu-operator\ndata:\nconfig.yaml: |\nversion: v1\n"
      "mig-configs:\nall-1g.10gb:\n- device-filter: [\"0x20B210DE\"] # A100\ndevices: all\n"
      "mig-enabled: true\nmig-devices:\n\"1g.10gb\": 7\nmixed:\n- device-filter: "
      "[\"0x20B210DE\"]\ndevices: all\nmig-enabled: true\nmig-devices:\n\"3g.40gb\": 1\n"
      "\"2g.20gb\": 1\n\"1g.10gb\": 2\n";
  const auto first = ImportText(text);
  ASSERT_TRUE(first) << MistakesOf(text);
  EXPECT_THAT(first->spec,
              testing::AllOf(HasSubstr("gpu: A100-SXM4-80GB"), HasSubstr("replicas: 7")));
  EXPECT_THAT(NotesOf(*first), HasSubstr("indentation"));
  ImportOptions options;
  options.config = "mixed";
  const auto second = ImportText(text, options);
  ASSERT_TRUE(second);
  EXPECT_THAT(second->spec, testing::AllOf(HasSubstr("mig-3g-40gb"), HasSubstr("mig-2g-20gb"),
                                           HasSubstr("mig-1g-10gb")));
}

TEST(Documents, SeveralObjectsInOneFile) {
  const std::string pod =
      "apiVersion: v1\nkind: Pod\nmetadata: {name: NAME}\nspec: {containers: [{name: c, resources: "
      "{limits: {nvidia.com/mig-1g.10gb: 1}}}]}\n";
  std::string a = pod, b = pod;
  a.replace(a.find("NAME"), 4, "one");
  b.replace(b.find("NAME"), 4, "two");
  const auto imported = ImportText("---\n" + a + "---\n# nothing\n---\n" + b);
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, testing::AllOf(HasSubstr("name: one"), HasSubstr("name: two")));
  const std::string list =
      "apiVersion: v1\nkind: List\nitems:\n- {apiVersion: v1, kind: Pod, "
      "metadata: {name: l}, spec: {containers: [{name: c, resources: {limits: "
      "{nvidia.com/gpu: 1}}}]}}\n";
  EXPECT_THAT(ImportText(list)->spec, HasSubstr("name: l"));
}

TEST(Documents, GarbageIsRefusedWithAReason) {
  EXPECT_THAT(MistakesOf(""), HasSubstr("the file is empty"));
  EXPECT_THAT(MistakesOf("---\n---\n# only a comment\n"), HasSubstr("the file is empty"));
  EXPECT_THAT(MistakesOf("hello world\n"), HasSubstr("not a configuration"));
  EXPECT_THAT(MistakesOf("- 1\n- 2\n"), HasSubstr("is a list"));
  EXPECT_THAT(MistakesOf("a: b\n"), HasSubstr("none of the formats"));
  EXPECT_THAT(MistakesOf("version: 1\nworkloads: []\n"), HasSubstr("a Tranche spec already"));
  EXPECT_THAT(MistakesOf("sharing: [\n"), HasSubstr("2: not YAML"));
  EXPECT_THAT(MistakesOf(std::string("\x00\x01\xff", 3)), HasSubstr("not a text file"));
  EXPECT_THAT(MistakesOf("apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\n"),
              HasSubstr("the ConfigMap has no data"));
  EXPECT_THAT(MistakesOf("sharing: " + std::string(5000, '{') + "\n"), HasSubstr("nested deeper"));
  EXPECT_THAT(MistakesOf("sharing: 1\nsharing: 2\n"), HasSubstr("is given twice"));
}

TEST(Documents, ManyMistakesAreCut) {
  std::string text = "version: v1\nsharing:\n  timeSlicing:\n    resources:\n";
  for (int i = 0; i < 500; ++i) text += "      - {name: nvidia.com/gpu, replicas: 1}\n";
  EXPECT_THAT(MistakesOf(text), HasSubstr("and 400 more mistakes"));
}

constexpr const char* kManyFormats[] = {
    "version: v1\nmig-configs:\n  a:\n    - {device-filter: [\"0x233010DE\"], devices: [0, 1], "
    "mig-enabled: true, mig-devices: {1g.10gb: 2, 1c.3g.40gb: 1}}\n",
    "schema_version = \"1.0\"\n[servers.a]\npinned_memory_limit = \"10G\"\nuid = 1\n"
    "[servers.a.namespaces.b]\nactive_thread_percentage = \"25\"\n[[servers.a.devices]]\n"
    "uuid = \"GPU-1\"\n",
    "apiVersion: v1\nkind: Pod\nmetadata: {name: p, annotations: {nvidia.com/vgpu-mode: mps}}\n"
    "spec:\n  nodeSelector: {nvidia.com/gpu.product: L40S}\n  resourceClaims: [{name: g, "
    "resourceClaimName: c}]\n  containers:\n    - {name: a, image: i, args: [\"x\"], env: [{name: "
    "A, value: b}], ports: [{containerPort: 80}], resources: {limits: {nvidia.com/gpu: 1, "
    "nvidia.com/gpumem: 3000}, claims: [{name: g}]}}\n---\napiVersion: resource.k8s.io/v1\nkind: "
    "ResourceClaim\nmetadata: {name: c}\nspec: {devices: {requests: [{name: g, exactly: "
    "{deviceClassName: gpu.nvidia.com, selectors: [{cel: {expression: \"device.attributes['a']"
    ".profile == '1g.10gb'\"}}]}}], config: [{opaque: {driver: gpu.nvidia.com, parameters: "
    "{apiVersion: resource.nvidia.com/v1beta1, kind: GpuConfig, sharing: {strategy: MPS, "
    "mpsConfig: {defaultPinnedDeviceMemoryLimit: 1Gi}}}}}]}}\n",
    "apiVersion: v1\nkind: ConfigMap\nmetadata:\nname: a\ndata:\nconfig.yaml: |\nversion: v1\n"
    "sharing:\nmps:\nresources:\n- name: nvidia.com/gpu\nreplicas: 10\n"};

TEST(Documents, NoChangeOfAnyFormatGoesUnanswered) {
  uint32_t state = 12345;
  const auto random = [&state](size_t below) {
    state = state * 1664525 + 1013904223;
    return static_cast<size_t>(state >> 8) % below;
  };
  int read = 0;
  for (const std::string whole : kManyFormats) {
    ASSERT_TRUE(ImportText(whole)) << whole << MistakesOf(whole);
    for (int round = 0; round < 300; ++round) {
      std::string text = whole;
      for (size_t changes = 1 + random(3); changes > 0; --changes) {
        const size_t at = random(text.size()), length = 1 + random(12);
        switch (random(4)) {
          case 0:
            text.erase(at, length);
            break;
          case 1:
            text.insert(at, whole.substr(random(whole.size()), length));
            break;
          case 2:
            text[at] = "{}[]:-#\"'|&*!%@.,=\t\n 09"[random(24)];
            break;
          default:
            text.insert(at, "99999999999999999999");
        }
        if (text.empty()) text = " ";
      }
      const auto imported = ImportText(text);
      EXPECT_TRUE(imported || !imported.error().empty()) << text;
      read += imported ? 1 : 0;
    }
  }
  EXPECT_GT(read, 50);
}

// Whatever is cut off or changed, there is an answer: a spec or mistakes, and no crash.
TEST(Documents, BrokenFilesAreAnsweredWhereverTheyBreak) {
  const std::string whole = kTwoKeys;
  for (size_t length = 0; length < whole.size(); length += 3) {
    const auto cut = ImportText(whole.substr(0, length));
    EXPECT_TRUE(cut || !cut.error().empty());
    std::string changed = whole;
    changed[length] = "{}[]:-#\"'|&*!%@`\t\n "[length % 19];
    const auto other = ImportText(changed);
    EXPECT_TRUE(other || !other.error().empty());
  }
}

}  // namespace
}  // namespace tranche
