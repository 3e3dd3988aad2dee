#include "stage/inventory/inventory.h"

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
  machine->capabilities = JudgeCapabilities(*machine, catalog, ReadHostAbilities(root));
  machine->fingerprint = MachineFingerprint(*machine);
  return machine;
}

}  // namespace tranche
