#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "stage/import/mig_parted.h"

namespace tranche {
namespace {

using testing::HasSubstr;

const Catalog& TheCatalog() {
  static const std::shared_ptr<const Catalog> catalog = *Catalog::Load();
  return *catalog;
}

Machine TwoModels() {
  Machine machine;
  for (int i = 0; i < 3; ++i) {
    Gpu gpu;
    gpu.index = i;
    gpu.uuid = "GPU-" + std::to_string(i);
    gpu.pci_device_id = i < 2 ? "0x233010DE" : "0x26B910DE";
    machine.gpus.push_back(gpu);
  }
  return machine;
}

constexpr const char* kFile = R"(version: v1
mig-configs:
  balanced:
  - {device-filter: "0x233010de", devices: all, mig-enabled: true, mig-devices: {"1g.10gb": 2, "3g.40gb": 1, "2g.20gb": 0}}
  - {device-filter: ["0x26B910DE"], devices: all, mig-enabled: false}
  first:
  - {devices: [0], mig-enabled: true, mig-devices: {"7g.80gb": 1}}
  - {devices: [0, 1], mig-enabled: true, mig-devices: {}}
)";

TEST(MigPartedWants, AreOfEachGpuThatAnEntryMatches) {
  const auto wants = ReadMigPartedWants(kFile, "balanced", TwoModels(), TheCatalog());
  ASSERT_TRUE(wants) << wants.error().front().message;
  ASSERT_EQ(wants->size(), 3u);
  EXPECT_EQ((*wants)[0].gpu_index, 0);
  EXPECT_EQ((*wants)[1].devices, (std::map<std::string, int>{{"1g.10gb", 2}, {"3g.40gb", 1}}))
      << "nothing is wanted of what is counted 0";
  EXPECT_EQ((*wants)[2].gpu_index, 2);
  EXPECT_FALSE((*wants)[2].mig_enabled);
}

TEST(MigPartedWants, EveryEntryCountsNotOnlyTheLast) {
  const auto wants = ReadMigPartedWants(kFile, "first", TwoModels(), TheCatalog());
  ASSERT_TRUE(wants);
  ASSERT_EQ(wants->size(), 3u);
  EXPECT_EQ((*wants)[0].gpu_index, 0);
  EXPECT_EQ((*wants)[0].devices.size(), 1u);
  EXPECT_EQ((*wants)[1].gpu_index, 0);
  EXPECT_TRUE((*wants)[1].devices.empty());
}

TEST(MigPartedWants, TheConfigurationHasToBeThere) {
  const auto none = ReadMigPartedWants(kFile, "", TwoModels(), TheCatalog());
  ASSERT_FALSE(none);
  EXPECT_EQ(none.error().front().hint, "choose one of balanced, first");
  const auto typo = ReadMigPartedWants(kFile, "balancd", TwoModels(), TheCatalog());
  ASSERT_FALSE(typo);
  EXPECT_EQ(typo.error().front().hint, "did you mean 'balanced'?");
  for (const char* wrong :
       {"", "[]", "version: v1", "version: v2\nmig-configs: {}", "version: v1\nmig-configs: {a: 1}",
        "version: v1\nmig-configs: {a: [{devices: some, mig-enabled: true}]}", "a: *b", "{"}) {
    EXPECT_FALSE(ReadMigPartedWants(wrong, "a", TwoModels(), TheCatalog())) << wrong;
  }
}

}  // namespace
}  // namespace tranche
