#include "stage/inventory/inventory.h"

#include <algorithm>
#include <cstdlib>

#include "edge/driver/kernel_limits.h"
#include "edge/driver/mps/mps_control.h"
#include "stage/inventory/capabilities.h"
#include "stage/inventory/health.h"
#include "stage/inventory/host.h"
#include "stage/inventory/proc.h"

extern "C" char** environ;

namespace tranche {
namespace {

// Whether a daemon's CUDA_VISIBLE_DEVICES lets it have that GPU; one that names none has all.
bool Serves(const FoundMpsDaemon& daemon, const Gpu& gpu) {
  const std::string& list = daemon.visible_devices;
  if (list.empty()) return true;
  for (size_t at = 0; at <= list.size();) {
    const size_t comma = std::min(list.find(',', at), list.size());
    const std::string one = list.substr(at, comma - at);
    at = comma + 1;
    if (one == std::to_string(gpu.index)) return true;
    // The beginning of a UUID is enough.
    if (one.rfind("GPU-", 0) == 0 && gpu.uuid.rfind(one, 0) == 0) return true;
    for (const MigInstance& instance : gpu.mig_instances) {
      for (const MigComputeInstance& compute : instance.compute_instances) {
        if (!one.empty() && compute.uuid == one) return true;
      }
    }
  }
  return false;
}

std::optional<int> MpsVersion(const Result<MpsControl>& control) {
  if (!control) return std::nullopt;
  const auto version = control->Version();
  return version ? std::optional(*version) : std::nullopt;
}

}  // namespace

Result<Machine> TakeInventory(Driver& driver, const Catalog& catalog, Clock& clock,
                              const std::string& root,
                              const std::set<std::string>& exclusive_for_mps) {
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
  for (const FoundMpsDaemon& daemon : FindMpsDaemons(root)) {
    for (Gpu& gpu : machine->gpus) {
      if (Serves(daemon, gpu))
        gpu.mps_daemons.push_back({daemon.pid, daemon.ours, daemon.pipe_directory});
    }
  }
  HostAbilities host = ReadHostAbilities(root);
  const char* path = std::getenv("PATH");
  std::vector<std::string> environment;
  for (char** entry = environ; *entry != nullptr; ++entry) environment.emplace_back(*entry);
  const auto mps = MpsControl::Find(path != nullptr ? path : "", std::move(environment));
  host.no_mps = mps ? "" : mps.error().message;
  host.mps_version = MpsVersion(mps);
  host.exclusive_for_mps = exclusive_for_mps;
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
