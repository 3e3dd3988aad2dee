#include "edge/driver/fake/test_machine.h"

#include <fmt/format.h>

namespace tranche {
namespace {

MigProfile H100Profile(const char* name, int id, int nvml_profile, int compute_slices,
                       int max_instances, uint64_t mib, int sm_count, EngineCounts engines,
                       std::vector<int> starts, int size, MigVariant variant) {
  MigProfile profile;
  profile.name = name;
  profile.id = id;
  profile.nvml_profile = nvml_profile;
  profile.compute_slices = compute_slices;
  profile.max_instances = max_instances;
  profile.memory = MiB(mib);
  profile.sm_count = sm_count;
  profile.engines = engines;
  profile.variant = variant;
  for (const int start : starts) profile.placements.push_back({start, size});
  return profile;
}

Gpu TestGpu(int index) {
  Gpu gpu;
  gpu.uuid = TestGpuUuid(index);
  gpu.index = index;
  gpu.pci_bus_id = fmt::format("00000000:{:02X}:00.0", 0x10 + index);
  gpu.utilization = 0.0;
  gpu.compute_mode = ComputeMode::kDefault;
  gpu.minor_number = index;
  gpu.persistence_mode = true;
  gpu.virtualization = std::string("none");
  gpu.health.recovery_action = std::string("none");
  gpu.health.uncorrectable_ecc_errors = uint64_t{0};
  return gpu;
}

}  // namespace

std::string TestGpuUuid(int index) {
  return fmt::format("GPU-00000000-0000-0000-0000-{:012d}", index);
}

Gpu TestH100(int index, bool mig_on) {
  Gpu gpu = TestGpu(index);
  gpu.name = "NVIDIA H100 80GB HBM3";
  gpu.model = "H100-SXM5-80GB";
  gpu.architecture = "hopper";
  gpu.pci_device_id = "0x233010DE";
  gpu.compute_capability = std::string("9.0");
  gpu.sm_count = 132;
  gpu.memory_total = MiB(81559);
  gpu.memory_used = MiB(590);
  if (mig_on) gpu.utilization = Reading<double>::Absent("not supported while MIG is on");
  gpu.mig_mode = MigMode{mig_on, mig_on};
  gpu.health.remapped_rows = RemappedRows{};
  gpu.memory_slots = 8;
  const MigVariant plain = MigVariant::kPlain;
  gpu.mig_profiles = {
      H100Profile("1g.10gb", 19, 0, 1, 7, 9984, 16, {1, 1, 0, 1, 0}, {0, 1, 2, 3, 4, 5, 6}, 1,
                  plain),
      H100Profile("1g.10gb+me", 20, 7, 1, 1, 9984, 16, {1, 1, 0, 1, 1}, {0, 1, 2, 3, 4, 5, 6}, 1,
                  MigVariant::kMedia),
      H100Profile("1g.20gb", 15, 9, 1, 4, 20096, 26, {1, 1, 0, 1, 0}, {0, 2, 4, 6}, 2, plain),
      H100Profile("2g.20gb", 14, 1, 2, 3, 20096, 32, {2, 2, 0, 2, 0}, {0, 2, 4}, 2, plain),
      H100Profile("3g.40gb", 9, 2, 3, 2, 40448, 60, {3, 3, 0, 3, 0}, {0, 4}, 4, plain),
      H100Profile("4g.40gb", 5, 3, 4, 1, 40448, 64, {4, 4, 0, 4, 0}, {0}, 4, plain),
      H100Profile("7g.80gb", 0, 4, 7, 1, 81152, 132, {8, 7, 0, 7, 1}, {0}, 8, plain),
  };
  return gpu;
}

Gpu TestT4(int index) {
  Gpu gpu = TestGpu(index);
  gpu.name = "Tesla T4";
  gpu.model = "T4";
  gpu.architecture = "turing";
  gpu.pci_device_id = "0x1EB810DE";
  gpu.compute_capability = std::string("7.5");
  gpu.sm_count = 40;
  gpu.memory_total = MiB(15360);
  gpu.memory_used = MiB(300);
  gpu.mig_mode = Reading<MigMode>::Absent("not supported on this GPU");
  gpu.health.remapped_rows = Reading<RemappedRows>::Absent("not supported on this GPU");
  return gpu;
}

Machine TestMachine(std::vector<Gpu> gpus) {
  Machine machine;
  machine.hostname = "testhost";
  machine.driver_version = std::string("580.95.05");
  machine.cuda_version = std::string("13.0");
  machine.gpus = std::move(gpus);
  return machine;
}

Machine TestMachine() { return TestMachine({TestH100()}); }

}  // namespace tranche
