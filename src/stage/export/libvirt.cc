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

// The virtual GPU that was made for a replica, or nullptr.
const VgpuThere* VgpuOf(const ExportInput& input, const Replica& replica) {
  const Slice& slice = replica.assignment->slice;
  const Gpu* gpu = input.machine != nullptr ? input.machine->FindGpu(slice.gpu_uuid) : nullptr;
  if (gpu == nullptr || !gpu->vgpu) return nullptr;
  for (const VgpuThere& there : gpu->vgpu->there) {
    const bool its = there.ours && there.workload == replica.assignment->workload &&
                     there.replica == replica.assignment->replica;
    if (its && there.type == slice.vgpu_type) return &there;
  }
  return nullptr;
}

// "" where it has no device that could be named. Managed, libvirt would take the function from the
// driver, and the vGPU with it.
std::string VgpuDevice(const VgpuThere& there, bool mediated) {
  const std::string comment =
      fmt::format("    <!-- {}; made by Tranche, and taken away by it -->\n", XmlText(there.type));
  if (mediated) {
    return comment + fmt::format(
                         "    <hostdev mode='subsystem' type='mdev' managed='no' "
                         "model='vfio-pci'>\n"
                         "      <source>\n"
                         "        <address uuid='{}'/>\n"
                         "      </source>\n"
                         "    </hostdev>\n",
                         XmlText(there.id));
  }
  const auto pci = ParsePci(there.function);
  if (!pci) return "";
  return comment + fmt::format(
                       "    <hostdev mode='subsystem' type='pci' managed='no'>\n"
                       "      <source>\n"
                       "        <address domain='0x{:04x}' bus='0x{:02x}' slot='0x{:02x}' "
                       "function='0x{:x}'/>\n"
                       "      </source>\n"
                       "    </hostdev>\n",
                       pci->domain, pci->bus, pci->slot, pci->function);
}

void AddMachine(const ExportInput& input, const Replica& replica, const std::string& devices,
                Exported* out) {
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

void AddVgpu(const ExportInput& input, const Replica& replica, Exported* out) {
  const VgpuThere* there = VgpuOf(input, replica);
  const std::string device =
      there != nullptr ? VgpuDevice(*there, replica.gpu->vgpu->mediated) : "";
  if (device.empty()) {
    out->notes.push_back(fmt::format(
        "{}: its {} is not made yet, and where it will be is the driver's to say: `tranche apply` "
        "the plan, then export again",
        replica.name, replica.assignment->slice.vgpu_type));
    return;
  }
  AddMachine(input, replica, device, out);
}

}  // namespace

void ExportLibvirt(const ExportInput& input, const Replicas& replicas, Exported* out) {
  for (const Replica& replica : replicas) {
    if (replica.mechanism() == Mechanism::kVgpu) {
      AddVgpu(input, replica, out);
      continue;
    }
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
    AddMachine(input, replica, devices, out);
  }
}

}  // namespace tranche::exporting
