#include "sim/create/machine_file.h"

#include <gtest/gtest.h>

namespace tranche::sim {
namespace {

TEST(MachineFile, IsReadBackAsWritten) {
  MachineDraft draft;
  draft.driver = "535.183.06";
  draft.root_only = true;
  draft.gpus.push_back({.model = "A30", .count = 2, .mirrored = true, .mig = true});
  draft.gpus.push_back({.name = "NVIDIA X9000",
                        .pci_device_id = 0x3fff10de,
                        .compute_capability = "14.0",
                        .memory_bytes = uint64_t{300} << 30,
                        .sm = 200});
  draft.gpus.back().lost = true;
  draft.missing_symbols = {"nvmlDeviceGetName"};
  draft.slow = {{"nvmlInit_v2", 30}};
  std::string text = PrintMachineFile(draft);
  auto again = ParseMachineFile(text, "machine.yaml");
  ASSERT_TRUE(again) << again.error().message;
  EXPECT_EQ(PrintMachineFile(*again), text);
  EXPECT_EQ(again->gpus[1].memory_bytes, uint64_t{300} << 30);
  EXPECT_TRUE(again->gpus[0].mirrored && again->gpus[0].mig && again->gpus[1].lost);
}

TEST(MachineFile, AllMistakesAtOnce) {
  auto wrong = ParseMachineFile(
      "version: 1\n"
      "gpus:\n"
      "  - model: A30\n"
      "    cuont: 2\n"
      "  - mirrored: maybe\n"
      "  - model: T4\n"
      "    count: 99\n"
      "slow: {nvmlInit_v2: soon}\n",
      "m.yaml");
  ASSERT_FALSE(wrong);
  const std::string& message = wrong.error().message;
  for (const char* part : {"m.yaml:4:5: unknown key 'cuont'; did you mean 'count'?",
                           "'mirrored' wants true or false", "m.yaml:5:5: wants a 'model'",
                           "'count' wants 1 to 16", "'nvmlInit_v2' wants a number, not 'soon'"}) {
    EXPECT_NE(message.find(part), std::string::npos) << part << "\nnot in\n" << message;
  }
}

TEST(MachineFile, HostileFiles) {
  EXPECT_FALSE(ParseMachineFile("", "m"));
  EXPECT_FALSE(ParseMachineFile("[", "m"));
  EXPECT_FALSE(ParseMachineFile("just words", "m"));
  EXPECT_FALSE(ParseMachineFile("version: 2\ngpus: []\n", "m"));
  EXPECT_FALSE(ParseMachineFile("version: 1\ngpus: {model: A30}\n", "m"));
  EXPECT_FALSE(ParseMachineFile("version: 1\ngpus: [1, 2]\n", "m"));
  EXPECT_FALSE(ParseMachineFile("version: 1\ngpus: [{model: [A30]}]\n", "m"));
}

TEST(MachineFile, BuiltInMachinesCanBeMade) {
  auto catalog = GpuCatalog::Embedded();
  ASSERT_TRUE(catalog);
  EXPECT_GE(BuiltInMachines().size(), 17u);
  for (const std::string& name : BuiltInMachines()) {
    auto draft = ParseMachineFile(BuiltInMachine(name), name);
    ASSERT_TRUE(draft) << draft.error().message;
    auto spec = Furnish(*catalog, *draft, 0);
    ASSERT_TRUE(spec) << name << ": " << spec.error().message;
    EXPECT_GT(spec->gpu_count, 0u) << name;
  }
  EXPECT_TRUE(BuiltInMachine("no-such").empty());
}

TEST(MachineFile, TooManyGpus) {
  auto catalog = GpuCatalog::Embedded();
  MachineDraft draft;
  draft.gpus.push_back({.model = "T4", .count = 10});
  draft.gpus.push_back({.model = "T4", .count = 7});
  EXPECT_FALSE(Furnish(*catalog, draft, 0));
}

TEST(MachineFile, FaultsFromTheStart) {
  auto catalog = GpuCatalog::Embedded();
  auto draft = ParseMachineFile(BuiltInMachine("broken-lost-gpu"), "broken-lost-gpu");
  auto spec = Furnish(*catalog, *draft, 0);
  auto state = std::make_unique<MachineState>();
  ApplyDraft(*spec, *draft, state.get());
  EXPECT_EQ(state->gpus[0].lost, 0u);
  EXPECT_EQ(state->gpus[1].lost, 1u);
}

}  // namespace
}  // namespace tranche::sim
