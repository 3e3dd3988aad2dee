#include "stage/import/testing.h"

namespace tranche {
namespace {

using testing::AllOf;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kOfTheVendor = R"(schema_version = "1.0"

[servers.training]
allowed_devices = "GPU-0"
uid = 1000
pinned_memory_limit = "1M"
locality_domains = false

[servers.training.namespaces.high_priority]
pinned_memory_limit = "20G"
active_thread_percentage = "60"
client_priority = "0"

[servers.training.namespaces.background]
pinned_memory_limit = "512M"
active_thread_percentage = 30
client_priority = 1

[[servers.training.devices]]
uuid = "GPU-0"

[[servers.training.devices.sm_partitions]]
name = "large"
chunks = 8
include_remainder = true

[[servers.training.devices.sm_partitions]]
name = "background"
chunks = 2

[features.memacct]
enabled = true
audit_log = false

[features.context-share]
enabled = false
default_socket = "/run/share"
)";

TEST(Mps, ChunksAreAShareOfTheSmsOfTheGpuThatWasNamed) {
  Machine machine = MachineOf("H100-SXM5-80GB", 1);
  machine.gpus[0].compute_capability = std::string("9.0");
  ImportOptions options;
  options.machine = &machine;
  const auto imported = ImportText(kOfTheVendor, options);
  ASSERT_TRUE(imported) << MistakesOf(kOfTheVendor, options);
  // 64 and 16 of 132.
  EXPECT_THAT(imported->spec,
              AllOf(HasSubstr("name: training-large\n"), HasSubstr("compute: 48.4%"),
                    HasSubstr("isolation: {memory: cooperative, compute: driver}"),
                    HasSubstr("name: training-background\n"), HasSubstr("compute: 12.1%")));
  // A percentage means nothing in a partition.
  EXPECT_THAT(imported->spec, Not(HasSubstr("compute: 30%")));
  EXPECT_THAT(imported->spec, HasSubstr("compute: 60%"));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("no whole chunk"));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("namespaces.high_priority: has no SM partition"));
  EXPECT_THAT(NotesOf(*imported), Not(HasSubstr("namespaces.background: has no SM partition")));
  // Four SMs each before Hopper.
  machine = MachineOf("A100-SXM4-40GB", 1);
  machine.gpus[0].compute_capability = std::string("8.0");
  EXPECT_THAT(ImportText(kOfTheVendor, options)->spec, HasSubstr("compute: 29.6%"));
  machine.gpus[0].compute_capability = std::string("7.0");
  const auto volta = ImportText(kOfTheVendor, options);
  EXPECT_THAT(volta->spec, Not(HasSubstr("driver")));
  EXPECT_THAT(NotesOf(*volta), HasSubstr("how large a chunk"));
}

TEST(Mps, WithoutAGpuChunksAreNoted) {
  const auto imported = ImportText(kOfTheVendor);
  ASSERT_TRUE(imported) << MistakesOf(kOfTheVendor);
  EXPECT_THAT(imported->spec, AllOf(HasSubstr("compute: 30%"), Not(HasSubstr("driver"))));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("--gpu MODEL says which"));
}

TEST(Mps, ADefaultThatHoldsNoContextIsForNobody) {
  const auto imported = ImportText(kOfTheVendor);
  EXPECT_THAT(imported->spec, Not(HasSubstr("name: training\n")));
  EXPECT_THAT(NotesOf(*imported), HasSubstr("1 MiB hold no CUDA context"));
  const auto named = ImportText(
      "schema_version = \"1.0\"\n[servers.a.namespaces.default]\npinned_memory_limit = \"63M\"\n"
      "[servers.a.namespaces.b]\npinned_memory_limit = \"64M\"\n");
  ASSERT_TRUE(named);
  EXPECT_THAT(named->spec, AllOf(HasSubstr("name: a-b\n"), Not(HasSubstr("default"))));
}

TEST(Mps, ANamespaceOfAServerNamedForAGpuIsCalledByItsOwnName) {
  const auto imported = ImportText(
      "schema_version = \"1.0\"\n[servers.gpu0.namespaces.chat]\npinned_memory_limit = \"1G\"\n"
      "[servers.gpu1.namespaces.chat]\npinned_memory_limit = \"1G\"\n"
      "[servers.gpus.namespaces.chat]\npinned_memory_limit = \"1G\"\n");
  ASSERT_TRUE(imported);
  EXPECT_THAT(imported->spec, AllOf(HasSubstr("name: chat\n"), HasSubstr("replicas: 2\n"),
                                    HasSubstr("name: gpus-chat\n")));
}

TEST(Mps, NamesThatYamlTakesForNumbersAreQuoted) {
  for (const char* name : {"0", "1e5", "no", "null", "0x10"}) {
    const auto imported = ImportText(std::string("schema_version = \"1.0\"\n[servers.") + name +
                                     "]\npinned_memory_limit = \"1G\"\n");
    ASSERT_TRUE(imported);
    EXPECT_THAT(imported->spec, HasSubstr(std::string("name: \"") + name + "\"\n"));
  }
}

TEST(Mps, EachRuleViolatedOnceIsTold) {
  const std::string head = "schema_version = \"1.0\"\n[servers.a]\n";
  const auto mistake = [&](const std::string& rest, const ImportOptions& options = {}) {
    return MistakesOf(head + rest, options);
  };
  EXPECT_THAT(mistake("[[servers.a.devices]]\n"), HasSubstr("devices[0] has no uuid"));
  EXPECT_THAT(mistake("[[servers.a.devices]]\nuuid = \"GPU-0\"\ncolour = 1\n"),
              HasSubstr("unknown key 'colour' in servers.a.devices[0]"));
  const std::string device = "[[servers.a.devices]]\nuuid = \"GPU-0\"\n";
  const std::string partition = device + "[[servers.a.devices.sm_partitions]]\n";
  EXPECT_THAT(mistake(partition + "chunks = 1\n"), HasSubstr("sm_partitions[0] has no name"));
  EXPECT_THAT(mistake(partition + "name = \"x\"\n"), HasSubstr("sm_partitions[0] has no chunks"));
  EXPECT_THAT(mistake(partition + "name = \"X\"\nchunks = 1\n"), HasSubstr("is no name in MPS"));
  EXPECT_THAT(mistake(partition + "name = \"x\"\nchunks = 0\n"), HasSubstr("not 1 or more"));
  EXPECT_THAT(mistake(partition + "name = \"x\"\nchunks = \"two\"\n"), Not(testing::IsEmpty()));
  EXPECT_THAT(mistake(partition + "name = \"x\"\nchunks = 1\nsms = 8\n"),
              HasSubstr("unknown key 'sms'"));
  EXPECT_THAT(mistake(partition + "name = \"x\"\nchunks = 1\ninclude_remainder = 1\n"),
              HasSubstr("include_remainder"));
  EXPECT_THAT(mistake("active_thread_percentage = \"0.5\"\n"), HasSubstr("not 1 to 100"));
  EXPECT_THAT(mistake("active_thread_percentage = \"nan\"\n"), HasSubstr("not 1 to 100"));
  EXPECT_THAT(mistake("client_priority = \"2\"\n"), HasSubstr("not 0 or 1"));
  EXPECT_THAT(mistake("[features.colours]\nenabled = true\n"),
              HasSubstr("unknown key 'colours' in features"));
  EXPECT_THAT(mistake("[features.memacct]\ndefault_socket = \"x\"\n"),
              HasSubstr("unknown key 'default_socket' in features.memacct"));
  EXPECT_THAT(mistake("[features.memacct]\nenabled = \"yes\"\n"), HasSubstr("enabled"));
  Machine machine = MachineOf("H100-SXM5-80GB", 1);
  machine.gpus[0].compute_capability = std::string("9.0");
  ImportOptions options;
  options.machine = &machine;
  EXPECT_THAT(mistake(partition + "name = \"x\"\nchunks = 17\n", options),
              HasSubstr("chunks is 17, and H100-SXM5-80GB has 16"));
}

}  // namespace
}  // namespace tranche
