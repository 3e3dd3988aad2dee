#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "base/json.h"
#include "model/machine.h"
#include "model/random_machine.h"

namespace tranche {
namespace {

using testing::ElementsAre;
using testing::IsEmpty;
using testing::MatchesRegex;

Machine H100() {
  Machine machine;
  machine.driver_version = std::string("580.95");
  Gpu gpu;
  gpu.uuid = "GPU-1234abcd-0000-0000-0000-000000000000";
  gpu.model = "H100-SXM5-80GB";
  gpu.mig_mode = MigMode{true, true};
  gpu.compute_mode = ComputeMode::kDefault;
  gpu.memory_slots = 8;
  MigInstance instance;
  instance.profile = "2g.20gb";
  instance.placement = {2, 2};
  instance.compute_instances.push_back({0, "MIG-1", 1, 2, {0, 2}});
  gpu.mig_instances.push_back(instance);
  machine.gpus.push_back(gpu);
  return machine;
}

TEST(MachineFingerprint, HasItsPinnedForm) {
  EXPECT_THAT(MachineFingerprint(H100()), MatchesRegex("m1:[0-9a-f]{16}"));
  EXPECT_EQ(MachineFingerprint(Machine{}), MachineFingerprint(Machine{}));
}

TEST(MachineFingerprint, LeavesOutWhoIsBusyAndWhatChangesAtEveryCreation) {
  const Machine machine = H100();
  Machine busy = machine;
  busy.gpus[0].processes.push_back({});
  busy.gpus[0].memory_used = GiB(3);
  busy.gpus[0].utilization = 0.7;
  busy.gpus[0].mig_instances[0].id = 11;
  busy.gpus[0].mig_instances[0].compute_instances[0].uuid = "MIG-2";
  busy.gpus[0].index = 3;
  busy.hostname = "elsewhere";
  EXPECT_EQ(MachineFingerprint(busy), MachineFingerprint(machine));
  EXPECT_THAT(MachineDifferences(machine, busy), IsEmpty());
}

TEST(MachineFingerprint, DoesNotDependOnTheOrderOfGpusAndInstances) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const Machine machine = RandomMachine(seed);
    Machine shuffled = machine;
    std::reverse(shuffled.gpus.begin(), shuffled.gpus.end());
    for (Gpu& gpu : shuffled.gpus) {
      std::reverse(gpu.mig_instances.begin(), gpu.mig_instances.end());
      for (MigInstance& instance : gpu.mig_instances) {
        std::reverse(instance.compute_instances.begin(), instance.compute_instances.end());
      }
    }
    EXPECT_EQ(MachineFingerprint(shuffled), MachineFingerprint(machine)) << seed;
  }
}

TEST(MachineFingerprint, TheLayoutHasTheFingerprintOfTheWhole) {
  for (uint32_t seed = 0; seed < 200; ++seed) {
    const Machine machine = RandomMachine(seed);
    const auto layout = MachineFromJson(ToJson(MachineLayout(machine)));
    ASSERT_TRUE(layout) << layout.error().message;
    EXPECT_EQ(MachineFingerprint(*layout), MachineFingerprint(machine));
    EXPECT_THAT(MachineDifferences(*layout, machine), IsEmpty());
  }
}

// One random edit of one random machine.
Machine Changed(Machine machine, uint32_t seed) {
  const Machine other = RandomMachine(seed + 10000);
  switch (seed % 5) {
    case 0:
      machine.driver_version = other.driver_version;
      break;
    case 1:
      machine.gpus = other.gpus;
      break;
    default:
      if (machine.gpus.empty() || other.gpus.empty()) break;
      if (seed % 5 == 2) machine.gpus[0].mig_instances = other.gpus[0].mig_instances;
      if (seed % 5 == 3) machine.gpus[0].mig_mode = other.gpus[0].mig_mode;
      if (seed % 5 == 4) machine.gpus[0].compute_mode = other.gpus[0].compute_mode;
  }
  return machine;
}

TEST(MachineDifferences, AreEmptyExactlyWhenTheFingerprintsAreEqual) {
  int moved = 0;
  for (uint32_t seed = 0; seed < 1000; ++seed) {
    const Machine before = RandomMachine(seed);
    const Machine after = Changed(before, seed);
    const bool equal = MachineFingerprint(before) == MachineFingerprint(after);
    EXPECT_EQ(MachineDifferences(before, after).empty(), equal) << "seed " << seed;
    if (!equal) ++moved;
  }
  EXPECT_GT(moved, 100);
}

TEST(MachineDifferences, ReadAsSentences) {
  const Machine planned = H100();
  Machine now = planned;
  now.driver_version = std::string("590.10");
  now.gpus[0].compute_mode = ComputeMode::kExclusiveProcess;
  now.gpus[0].mig_mode = MigMode{true, false};
  now.gpus[0].mig_instances[0].placement = {4, 1};
  now.gpus[0].mig_instances[0].profile = "1g.10gb";
  Gpu second = now.gpus[0];
  second.uuid = "GPU-9";
  second.index = 1;
  second.model = "";
  second.name = "Tesla T4";
  now.gpus.push_back(second);
  const std::string gpu0 = "gpu0 (H100-SXM5-80GB, GPU-1234abcd)";
  EXPECT_THAT(
      MachineDifferences(planned, now),
      ElementsAre("driver 580.95 was replaced by 590.10",
                  gpu0 + ": MIG mode was on and is on (off after a GPU reset) now",
                  gpu0 + ": compute mode was default and is exclusive_process now",
                  gpu0 + ": instance 2g.20gb at slots 2-3 is gone",
                  gpu0 + ": instance 1g.10gb at slot 4 is new", "gpu1 (Tesla T4, GPU-9) is new"));
  now.gpus.clear();
  now.driver_version = planned.driver_version;
  EXPECT_THAT(MachineDifferences(planned, now), ElementsAre(gpu0 + " is gone"));
}

TEST(MachineDifferences, NameARemadeComputeInstance) {
  const Machine planned = H100();
  Machine now = planned;
  now.gpus[0].mig_instances[0].compute_instances.clear();
  EXPECT_THAT(MachineDifferences(planned, now),
              ElementsAre("gpu0 (H100-SXM5-80GB, GPU-1234abcd): compute instances of 2g.20gb at "
                          "slots 2-3 were 0:2 and are none now"));
}

}  // namespace
}  // namespace tranche
