#include "face/cli/mig_files.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/json.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;

Gpu GpuWith(int index, const std::string& pci, bool mig, std::vector<std::string> instances) {
  Gpu gpu;
  gpu.index = index;
  gpu.pci_device_id = pci;
  gpu.mig_mode = MigMode{mig, mig};
  MigProfile half;
  half.name = "3g.40gb";
  half.compute_slices = 3;
  gpu.mig_profiles = {half};
  int start = 0;
  for (const std::string& name : instances) {
    MigInstance instance;
    instance.profile = name;
    instance.placement = {start, 1};
    instance.compute_instances = {{0, "MIG-" + std::to_string(start++), 0, 3, {0, 3}}};
    gpu.mig_instances.push_back(instance);
  }
  return gpu;
}

TEST(MigFiles, AnInstanceDividedFurtherCountsAsItsParts) {
  Gpu gpu = GpuWith(0, "", true, {"3g.40gb", "3g.40gb"});
  gpu.mig_instances[1].compute_instances = {{0, "MIG-a", 0, 1, {0, 1}}, {1, "MIG-b", 0, 1, {1, 1}}};
  EXPECT_EQ(MigDevicesOf(gpu), (std::map<std::string, int>{{"3g.40gb", 1}, {"1c.3g.40gb", 2}}));
  gpu.mig_instances[0].compute_instances.clear();
  EXPECT_EQ(MigDevicesOf(gpu), (std::map<std::string, int>{{"1c.3g.40gb", 2}}));
}

TEST(MigFiles, DifferencesAreOfModeThenOfInstances) {
  Machine machine;
  machine.gpus = {GpuWith(0, "", true, {"3g.40gb"}), GpuWith(1, "", false, {}), Gpu()};
  machine.gpus[2].index = 2;
  EXPECT_THAT(
      MigDifferences(machine, {{0, true, {{"3g.40gb", 1}}}, {1, false, {}}, {2, false, {}}}, false),
      IsEmpty());
  EXPECT_THAT(
      MigDifferences(machine, {{0, true, {}}, {1, true, {}}, {2, true, {}}, {9, true, {}}}, false),
      ElementsAre("gpu0 has 1 x 3g.40gb; wanted: none", "gpu1: MIG mode is off, on is wanted",
                  "gpu2 has no MIG"));
  EXPECT_THAT(MigDifferences(machine, {{0, true, {}}}, true), IsEmpty());
}

TEST(MigFiles, AConfigurationNamesNoMoreThanItMust) {
  Machine machine;
  machine.gpus = {GpuWith(0, "0xA", true, {"3g.40gb"}), GpuWith(1, "0xA", true, {"3g.40gb"})};
  Json entries = MigPartedConfig(machine, "now")["mig-configs"]["now"];
  ASSERT_EQ(entries.size(), 1u);
  EXPECT_EQ(entries[0]["devices"], "all");
  EXPECT_FALSE(entries[0].contains("device-filter"));
  EXPECT_EQ(entries[0]["mig-devices"]["3g.40gb"], 1);

  machine.gpus.push_back(GpuWith(2, "0xB", false, {}));
  entries = MigPartedConfig(machine, "now")["mig-configs"]["now"];
  ASSERT_EQ(entries.size(), 2u);
  EXPECT_EQ(entries[0]["device-filter"], "0xB");
  EXPECT_EQ(entries[1]["device-filter"], "0xA");
  EXPECT_EQ(entries[1]["devices"], "all");

  machine.gpus.push_back(GpuWith(3, "0xA", true, {}));
  entries = MigPartedConfig(machine, "now")["mig-configs"]["now"];
  ASSERT_EQ(entries.size(), 3u);
  for (const Json& entry : entries) EXPECT_TRUE(entry["devices"].is_array());
}

}  // namespace
}  // namespace tranche
