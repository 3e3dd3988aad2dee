#include "stage/inventory/inventory.h"

#include "edge/driver/kernel_limits.h"
#include "stage/inventory/capabilities.h"
#include "stage/inventory/health.h"
#include "stage/inventory/host.h"
#include "stage/inventory/proc.h"

namespace tranche {

Result<Machine> TakeInventory(Driver& driver, const Catalog& catalog, Clock& clock,
                              const std::string& root) {
  Result<Machine> machine = driver.Read();
  if (!machine) return machine;
  machine->hostname = ReadHostname(root);
  machine->read_at = clock.Now();
  for (Gpu& gpu : machine->gpus) {
    const CatalogGpu* known = catalog.IdentifyGpu(gpu.name, gpu.pci_device_id);
    gpu.model = known != nullptr ? known->key : "";
    JudgeHealth(&gpu);
    for (GpuProcess& process : gpu.processes) Identify(root, &process);
  }
  HostAbilities host = ReadHostAbilities(root);
  const KernelLimits kernel(driver, OpenCgroupTree(root), "");
  for (const Gpu& gpu : machine->gpus) {
    const Status can = gpu.health.usable ? kernel.CanHold(gpu) : Status();
    host.no_kernel_memory[gpu.uuid] = can ? "" : can.error().message;
  }
  machine->capabilities = JudgeCapabilities(*machine, catalog, host);
  machine->fingerprint = MachineFingerprint(*machine);
  return machine;
}

}  // namespace tranche
