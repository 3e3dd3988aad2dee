#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "catalog/vgpu_catalog.h"
#include "stage/inventory/capabilities.h"
#include "stage/inventory/inventory.h"

namespace tranche {
namespace {

constexpr const char* kNoHardware = "a fleet has no hardware behind it";

template <typename T>
Reading<T> FromCatalog(const std::optional<T>& value) {
  return value ? Reading<T>(*value) : Reading<T>::Absent("the catalog does not know");
}

Gpu FleetGpu(const CatalogGpu& known, bool vgpus) {
  Gpu gpu;
  gpu.name = known.nvml_names.empty() ? known.key : known.nvml_names.front();
  gpu.model = known.key;
  if (!known.pci_device_ids.empty()) gpu.pci_device_id = known.pci_device_ids.front();
  gpu.minor_number = Reading<int>::Absent(kNoHardware);
  gpu.architecture = known.architecture;
  gpu.compute_capability = known.compute_capability;
  gpu.sm_count = FromCatalog(known.sm_count);
  gpu.memory_total = known.memory.value_or(Bytes{0});
  gpu.memory_used = Bytes{0};
  gpu.utilization = Reading<double>::Absent(kNoHardware);
  gpu.compute_mode = ComputeMode::kDefault;
  gpu.persistence_mode = Reading<bool>::Absent(kNoHardware);
  gpu.virtualization = std::string("none");
  gpu.health.recovery_action = Reading<std::string>::Absent(kNoHardware);
  gpu.health.remapped_rows = Reading<RemappedRows>::Absent(kNoHardware);
  gpu.health.uncorrectable_ecc_errors = Reading<uint64_t>::Absent(kNoHardware);
  if (known.mig_capable) {
    gpu.mig_mode = MigMode{};
    gpu.memory_slots = known.mig_memory_slots;
    gpu.mig_profiles = known.mig_profiles;
  } else {
    gpu.mig_mode = Reading<MigMode>::Absent("this GPU has no MIG");
  }
  if (!vgpus || !known.vgpu_capable) return gpu;
  // As under the host driver of a fresh machine.
  GpuVgpu vgpu;
  vgpu.mixed = false;
  vgpu.scheduler = Reading<VgpuScheduler>::Absent(kNoHardware);
  vgpu.offers = BuiltInVgpuCatalog().OffersOf(known.key, gpu.memory_total, gpu.mig_profiles, {});
  if (!vgpu.offers.empty()) gpu.vgpu = std::move(vgpu);
  return gpu;
}

}  // namespace

Machine MachineFromFleet(const Spec& spec, const Catalog& catalog) {
  Machine machine;
  machine.simulated_fleet = true;
  machine.hostname = "fleet";
  machine.driver_version = Reading<std::string>::Absent(kNoHardware);
  machine.cuda_version = Reading<std::string>::Absent(kNoHardware);
  // What virtual GPUs there could be is asked by those who want some.
  const bool vgpus =
      std::any_of(spec.workloads.begin(), spec.workloads.end(),
                  [](const Workload& workload) { return workload.mechanism == Mechanism::kVgpu; });
  std::map<std::string, int> numbers;
  for (const FleetEntry& entry : spec.fleet) {
    const auto known = catalog.FindGpu(entry.gpu);
    for (int i = 0; i < entry.count; ++i) {
      Gpu gpu;
      if (known) {
        gpu = FleetGpu(**known, vgpus);
      } else {
        gpu.name = entry.gpu;
        gpu.health.usable = false;
        gpu.health.problems.push_back(known.error().message);
      }
      const std::string& key = gpu.model.empty() ? entry.gpu : gpu.model;
      gpu.uuid = fmt::format("fleet-{}-{}", key, numbers[key]++);
      gpu.index = static_cast<int>(machine.gpus.size());
      gpu.price_per_hour = entry.price_per_hour;
      gpu.spot_price_per_hour = entry.spot_price_per_hour;
      machine.gpus.push_back(std::move(gpu));
    }
  }
  // What a daemon that runs as root on such machines could do.
  HostAbilities could{true, true, true};
  could.no_mps.clear();  // its program comes with the driver
  machine.capabilities = JudgeCapabilities(machine, catalog, could);
  machine.fingerprint = MachineFingerprint(machine);
  return machine;
}

}  // namespace tranche
