#include "sim/mps/devices.h"

#include <algorithm>
#include <cstdio>

#include "sim/machine/mig.h"
#include "sim/mps/values.h"

namespace tranche::sim::mps {
namespace {

// "GPU-74d43ed3", "MIG-74d43ed3".
constexpr size_t kShort = 12;

}  // namespace

Devices::Devices(Machine* machine, std::vector<Target> targets)
    : machine_(machine), targets_(std::move(targets)) {
  machine->Read([&](const MachineState& state) {
    for (const Target& target : targets_) {
      const ComputeInstance* ci = FindCi(state.gpus[target.gpu], target.ci);
      uuids_.emplace_back(ci == nullptr ? machine->spec().gpus[target.gpu].uuid : ci->uuid);
    }
    return Rc::kOk;
  });
}

const GpuSpec& Devices::Gpu(size_t ordinal) const {
  return machine_->spec().gpus[targets_[ordinal].gpu];
}

std::string Devices::ShortUuid(size_t ordinal) const {
  for (size_t length = kShort; length < uuids_[ordinal].size(); ++length) {
    std::string shortened = uuids_[ordinal].substr(0, length);
    if (NamedByUuid(shortened)) return shortened;
  }
  return uuids_[ordinal];
}

std::string Devices::PciId(size_t ordinal) const {
  const GpuSpec& gpu = Gpu(ordinal);
  char id[40];
  std::snprintf(id, sizeof(id), "%08X:%02X:%02X.0", gpu.pci_domain, gpu.pci_bus, gpu.pci_device);
  return id;
}

std::optional<size_t> Devices::OrdinalOf(uint32_t gpu) const {
  for (size_t i = 0; i < targets_.size(); ++i) {
    if (targets_[i].gpu == gpu) return i;
  }
  return std::nullopt;
}

std::optional<size_t> Devices::Named(const std::string& name) const {
  const auto ordinal = Number(name);
  if (!ordinal) return NamedByUuid(name);
  return *ordinal < size() ? std::optional<size_t>(*ordinal) : std::nullopt;
}

std::optional<size_t> Devices::NamedByUuid(const std::string& name) const {
  if (name.size() <= 4 || (name.rfind("GPU-", 0) != 0 && name.rfind("MIG-", 0) != 0))
    return std::nullopt;
  std::optional<size_t> found;
  for (size_t i = 0; i < size(); ++i) {
    if (uuids_[i].rfind(name, 0) != 0) continue;
    if (found) return std::nullopt;
    found = i;
  }
  return found;
}

}  // namespace tranche::sim::mps
