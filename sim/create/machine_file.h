#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "sim/create/gpu_catalog.h"
#include "sim/machine/state.h"

// The description of a machine that a person writes (machine.yaml), and the machine made from it.
namespace tranche::sim {

struct GpuDraft {
  std::string model =
      {};  // key or alias; empty for a GPU that no catalog knows, given by the fields below
  uint32_t count = 1;
  bool mirrored = false;
  bool mig = false;  // MIG mode on from the start
  bool lost = false;
  bool no_permission = false;
  // Only without `model`.
  std::string name = {};
  uint32_t pci_device_id = 0;
  std::string compute_capability = {};
  uint64_t memory_bytes = 0;
  uint32_t sm = 0;
};

struct MachineDraft {
  std::string driver;  // empty = the default
  bool driver_loaded = true;
  bool driver_mismatched = false;
  bool root_only = false;    // the directory's owner has no rights of root
  bool passthrough = false;  // a virtual machine: no GPU resets
  std::vector<GpuDraft> gpus;
  std::vector<std::string> missing_symbols;
  std::vector<std::pair<std::string, uint32_t>> slow;  // NVML function, milliseconds
};

// `file` names the text in messages. All mistakes are reported, one per line of the message.
Result<MachineDraft> ParseMachineFile(std::string_view text, const std::string& file);
std::string PrintMachineFile(const MachineDraft& draft);

// `owner` owns the directory. UUIDs and serial numbers are new each time.
Result<MachineSpec> Furnish(const GpuCatalog& catalog, const MachineDraft& draft, uint32_t owner);
// What is wrong with the machine, or switched on, from the start.
void ApplyDraft(const MachineSpec& spec, const MachineDraft& draft, MachineState* state);

// The machine files that come with the program.
std::vector<std::string> BuiltInMachines();
// "" when there is none of that name.
std::string_view BuiltInMachine(const std::string& name);

}  // namespace tranche::sim
