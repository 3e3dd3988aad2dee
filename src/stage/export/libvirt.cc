#include <fmt/format.h>

#include <cstdlib>

#include "stage/export/formats.h"

namespace tranche::exporting {
namespace {

struct PciAddress {
  unsigned domain = 0, bus = 0, slot = 0, function = 0;
};

// "00000000:3B:00.0", as NVML says it, or "0000:3b:00.0", as the kernel does.
std::optional<PciAddress> ParsePci(const std::string& text) {
  PciAddress address;
  char end = 0;
  if (std::sscanf(text.c_str(), "%x:%x:%x.%x%c", &address.domain, &address.bus, &address.slot,
                  &address.function, &end) != 4 ||
      address.domain > 0xffff || address.bus > 0xff || address.slot > 0x1f ||
      address.function > 7) {
    return std::nullopt;
  }
  return address;
}

}  // namespace

void ExportLibvirt(const ExportInput& input, const Replicas& replicas, Exported* out) {
  for (const Replica& replica : replicas) {
    if (replica.mechanism() != Mechanism::kExclusive) {
      out->notes.push_back(fmt::format(
          "{}: a slice by {} cannot be given to a virtual machine; that takes mechanism: vgpu, or "
          "exclusive for a whole GPU",
          replica.name, MechanismName(replica.mechanism())));
      continue;
    }
    std::vector<std::string> uuids = replica.assignment->slice.more_gpu_uuids;
    uuids.insert(uuids.begin(), replica.assignment->slice.gpu_uuid);
    std::string devices;
    for (const std::string& uuid : uuids) {
      const Gpu* gpu = input.machine != nullptr ? input.machine->FindGpu(uuid) : nullptr;
      const auto pci = gpu != nullptr ? ParsePci(gpu->pci_bus_id) : std::nullopt;
      if (!pci) {
        devices.clear();
        break;
      }
      devices += fmt::format(
          "    <!-- {} -->\n"
          "    <hostdev mode='subsystem' type='pci' managed='yes'>\n"
          "      <source>\n"
          "        <address domain='0x{:04x}' bus='0x{:02x}' slot='0x{:02x}' function='0x{:x}'/>\n"
          "      </source>\n"
          "    </hostdev>\n",
          XmlText(gpu->name), pci->domain, pci->bus, pci->slot, pci->function);
    }
    if (devices.empty()) {
      out->notes.push_back(replica.name +
                           ": the PCI address of its GPU is not at hand; --machine "
                           "FILE, or export on the machine itself");
      continue;
    }
    out->files.push_back(
        {fmt::format("{}.xml", replica.name),
         fmt::format("<!-- Written by tranche export, from plan {}. The machine is yours: only the "
                     "devices are the plan's. -->\n"
                     "<domain type='kvm'>\n"
                     "  <name>{}</name>\n"
                     "  <memory unit='GiB'>16</memory>\n"
                     "  <vcpu>4</vcpu>\n"
                     "  <os>\n    <type arch='x86_64' machine='q35'>hvm</type>\n  </os>\n"
                     "  <devices>\n{}  </devices>\n"
                     "</domain>\n",
                     input.plan.id, XmlText(replica.name), devices)});
  }
}

}  // namespace tranche::exporting
