#include "edge/driver/vgpu/vgpu_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdio>

#include "base/suggest.h"

namespace tranche {
namespace {

constexpr const char* kPci = "/sys/bus/pci/devices";
constexpr const char* kMdevs = "/sys/bus/mdev/devices";
constexpr const char* kSriovManage = "/usr/lib/nvidia/sriov-manage";
constexpr const char* kNvidia = "nvidia";  // the folder of the vendor's interface
constexpr const char* kNvidiaVendor = "0x10de";
constexpr const char* kDisplayClass = "0x03";
constexpr const char* kNoVgpu = "0";

std::string Folder(const std::string& address) { return fmt::format("{}/{}", kPci, address); }

// The name without its maker, as people write it: "A40-8C".
std::string ShortName(const std::string& name) {
  const size_t blank = name.find(' ');
  const std::string maker = name.substr(0, blank);
  return maker == "NVIDIA" || maker == "GRID" ? name.substr(blank + 1) : name;
}
bool IsCalled(const VgpuType& type, const std::string& name) {
  return type.name == name || ShortName(type.name) == ShortName(name);
}

// Those that can be made at all, each once, by size.
std::vector<std::string> Names(const VgpuGpu& gpu) {
  std::vector<VgpuType> types;
  for (const VgpuFunction& function : gpu.functions) {
    for (const VgpuType& type : function.creatable) {
      if (std::find(types.begin(), types.end(), type) == types.end()) types.push_back(type);
    }
  }
  std::stable_sort(types.begin(), types.end(), [](const VgpuType& a, const VgpuType& b) {
    return a.framebuffer > b.framebuffer;
  });
  std::vector<std::string> names;
  for (const VgpuType& type : types) names.push_back(ShortName(type.name));
  return names;
}

std::string Listed(const std::vector<std::string>& names) {
  std::string text;
  for (const std::string& name : names) text += (text.empty() ? "" : ", ") + name;
  return text;
}

}  // namespace

std::string KernelPciAddress(const std::string& address) {
  unsigned domain = 0, bus = 0, slot = 0, function = 0;
  char end = 0;
  if (std::sscanf(address.c_str(), "%x:%x:%x.%x%c", &domain, &bus, &slot, &function, &end) != 4 ||
      domain > 0xffff || bus > 0xff || slot > 0x1f || function > 7)
    return "";
  return fmt::format("{:04x}:{:02x}:{:02x}.{:x}", domain, bus, slot, function);
}

std::string LibvirtDevice(const VgpuDevice& device, VgpuInterface interface) {
  if (interface == VgpuInterface::kMdev) {
    return fmt::format(
        "<hostdev mode='subsystem' type='mdev' managed='no' model='vfio-pci'>\n"
        "  <source>\n"
        "    <address uuid='{}'/>\n"
        "  </source>\n"
        "</hostdev>\n",
        device.id);
  }
  unsigned domain = 0, bus = 0, slot = 0, function = 0;
  std::sscanf(device.function.c_str(), "%x:%x:%x.%x", &domain, &bus, &slot, &function);
  // Managed, libvirt would take the function from the driver, and the vGPU with it.
  return fmt::format(
      "<hostdev mode='subsystem' type='pci' managed='no'>\n"
      "  <source>\n"
      "    <address domain='0x{:04x}' bus='0x{:02x}' slot='0x{:02x}' function='0x{:x}'/>\n"
      "  </source>\n"
      "</hostdev>\n",
      domain, bus, slot, function);
}

std::vector<std::string> VgpuHost::Gpus() const {
  std::vector<std::string> gpus;
  for (const std::string& address : files_->List(kPci)) {
    const auto vendor = files_->Read(Folder(address) + "/vendor");
    const auto kind = files_->Read(Folder(address) + "/class");
    if (!vendor || *vendor != kNvidiaVendor || !kind || kind->rfind(kDisplayClass, 0) != 0)
      continue;
    // A virtual function names the one it is of.
    if (files_->LinkName(Folder(address) + "/physfn").empty()) gpus.push_back(address);
  }
  return gpus;
}

std::vector<std::string> VgpuHost::FunctionsOf(const std::string& gpu) const {
  std::vector<std::string> functions;
  for (const std::string& name : files_->List(Folder(gpu))) {
    if (name.rfind("virtfn", 0) != 0) continue;
    const std::string function = KernelPciAddress(files_->LinkName(Folder(gpu) + "/" + name));
    if (!function.empty()) functions.push_back(function);
  }
  std::sort(functions.begin(), functions.end());
  return functions;
}

std::optional<int> VgpuHost::Number(const std::string& path) const {
  const auto text = files_->Read(path);
  if (!text || text->empty() || text->size() > 9 ||
      text->find_first_not_of("0123456789") != std::string::npos)
    return std::nullopt;
  return std::stoi(*text);
}

void VgpuHost::FindDevice(VgpuDevice* device, const std::string& folder) const {
  const auto names = files_->List(folder + "/vfio-dev");
  if (!names.empty()) {
    device->device = "/dev/vfio/devices/" + names.front();
    device->holders = files_->Holders(device->device);
  }
  // Through its group as well: older VMMs open that.
  const std::string group = files_->LinkName(folder + "/iommu_group");
  if (group.empty()) return;
  const std::string path = "/dev/vfio/" + group;
  if (device->device.empty()) device->device = path;
  for (const int pid : files_->Holders(path)) device->holders.push_back(pid);
}

Result<VgpuGpu> VgpuHost::ReadVendor(const std::string& gpu,
                                     const std::vector<std::string>& functions) const {
  VgpuGpu out{gpu, VgpuInterface::kVendorVfio, {}, {}};
  for (const std::string& address : functions) {
    const std::string folder = Folder(address) + "/" + kNvidia;
    const auto creatable = files_->Read(folder + "/creatable_vgpu_types");
    if (!creatable) return tl::unexpected(creatable.error());
    VgpuFunction function{address, ParseCreatableTypes(*creatable), {}};
    function.creatable_count.assign(function.creatable.size(), 1);
    const auto current = Number(folder + "/current_vgpu_type");
    if (!current) {
      return Fail(ErrorCode::kFailed,
                  fmt::format("{}/current_vgpu_type holds no type's number", folder));
    }
    if (*current != 0) {
      VgpuDevice device{address,
                        address,
                        {static_cast<uint32_t>(*current), "", {}, {}, 0},
                        Number(folder + "/gpu_instance_id"),
                        Number(folder + "/placement_id"),
                        "",
                        {}};
      FindDevice(&device, Folder(address));
      // What it is called is told only where it could be made.
      for (const VgpuType& type : function.creatable) {
        if (type.id == device.type.id) device.type = type;
      }
      out.devices.push_back(std::move(device));
      // One function, one vGPU.
      function.creatable.clear();
      function.creatable_count.clear();
    }
    out.functions.push_back(std::move(function));
  }
  for (VgpuDevice& device : out.devices) {
    for (const VgpuFunction& function : out.functions) {
      for (const VgpuType& type : function.creatable) {
        if (device.type.name.empty() && type.id == device.type.id) device.type = type;
      }
    }
  }
  return out;
}

Result<VgpuGpu> VgpuHost::ReadMdev(const std::string& gpu,
                                   const std::vector<std::string>& functions) const {
  VgpuGpu out{gpu, VgpuInterface::kMdev, {}, {}};
  for (const std::string& address : functions) {
    const std::string folder = Folder(address) + "/mdev_supported_types";
    VgpuFunction function{address, {}, {}};
    for (const std::string& name : files_->List(folder)) {
      const size_t dash = name.rfind('-');
      const std::string number = dash == std::string::npos ? "" : name.substr(dash + 1);
      if (number.empty() || number.size() > 6 ||
          number.find_first_not_of("0123456789") != std::string::npos)
        continue;
      const std::string place = folder + "/" + name;
      const auto called = files_->Read(place + "/name");
      if (!called) return tl::unexpected(called.error());
      const auto type = ParseVgpuTypeName(static_cast<uint32_t>(std::stoul(number)), *called);
      if (!type) continue;
      for (const std::string& uuid : files_->List(place + "/devices")) {
        const std::string device_folder = fmt::format("{}/{}", kMdevs, uuid);
        VgpuDevice device{uuid,
                          address,
                          *type,
                          Number(device_folder + "/nvidia/gpu_instance_id"),
                          Number(device_folder + "/nvidia/placement_id"),
                          "",
                          {}};
        FindDevice(&device, device_folder);
        out.devices.push_back(std::move(device));
      }
      const auto available = Number(place + "/available_instances");
      if (!available || *available == 0) continue;
      function.creatable.push_back(*type);
      function.creatable_count.push_back(*available);
    }
    out.functions.push_back(std::move(function));
  }
  std::sort(out.devices.begin(), out.devices.end(),
            [](const VgpuDevice& a, const VgpuDevice& b) { return a.id < b.id; });
  return out;
}

Result<VgpuGpu> VgpuHost::Read(const std::string& address) const {
  const std::string gpu = KernelPciAddress(address);
  if (gpu.empty() || !files_->Exists(Folder(gpu)))
    return Fail(ErrorCode::kNotFound, fmt::format("there is no PCI device {}", address));
  const std::vector<std::string> functions = FunctionsOf(gpu);
  const auto has = [&](const std::string& function, const char* what) {
    return files_->Exists(Folder(function) + "/" + what);
  };
  if (!functions.empty()) {
    if (has(functions.front(), kNvidia)) return ReadVendor(gpu, functions);
    if (has(functions.front(), "mdev_supported_types")) return ReadMdev(gpu, functions);
  }
  if (has(gpu, "mdev_supported_types")) return ReadMdev(gpu, {gpu});
  const auto most = Number(Folder(gpu) + "/sriov_totalvfs");
  if (most && *most > 0 && files_->Exists(kSriovManage)) {
    // None yet; which interface they will have shows then.
    return VgpuGpu{gpu, VgpuInterface::kVendorVfio, {}, {}};
  }
  return Fail(ErrorCode::kUnsupported,
              fmt::format("{} cannot be divided into vGPUs: {}", gpu,
                          files_->Exists(kSriovManage)
                              ? "it has no virtual functions and no mediated devices"
                              : fmt::format("there is no {}, so this is no vGPU host driver",
                                            kSriovManage)),
              "vGPU takes NVIDIA's host driver and licence; without them use mig, mps or fraction");
}

Status VgpuHost::EnableFunctions(const std::string& address) {
  const auto gpu = Read(address);
  if (!gpu) return tl::unexpected(gpu.error());
  if (!gpu->functions.empty()) return {};
  if (Status made = run_({kSriovManage, "-e", gpu->address}); !made)
    return FailedWhile("making the virtual functions of " + gpu->address, made.error());
  const auto after = Read(address);
  if (!after) return tl::unexpected(after.error());
  if (!after->functions.empty()) return {};
  return Fail(ErrorCode::kFailed,
              fmt::format("{} -e {} is done, but there are no virtual functions", kSriovManage,
                          gpu->address),
              "look at the kernel's log");
}

Result<VgpuDevice> VgpuHost::CreateVendor(const VgpuFunction& function, const VgpuType& type) {
  const std::string folder = Folder(function.address) + "/" + kNvidia;
  const std::string file = folder + "/current_vgpu_type";
  if (Status written = files_->Write(file, std::to_string(type.id)); !written)
    return tl::unexpected(written.error());
  const auto now = Number(file);
  if (now != static_cast<int>(type.id)) {
    (void)files_->Write(file, kNoVgpu);
    return Fail(
        ErrorCode::kFailed,
        fmt::format("the driver took {} on {} and does not show it", type.name, function.address),
        "look at the kernel's log");
  }
  VgpuDevice device{function.address,
                    function.address,
                    type,
                    Number(folder + "/gpu_instance_id"),
                    Number(folder + "/placement_id"),
                    "",
                    {}};
  FindDevice(&device, Folder(function.address));
  return device;
}

Result<VgpuDevice> VgpuHost::CreateMdev(const VgpuFunction& function, const VgpuType& type) {
  const auto uuid = files_->Read("/proc/sys/kernel/random/uuid");
  if (!uuid) return tl::unexpected(uuid.error());
  const std::string create =
      fmt::format("{}/mdev_supported_types/nvidia-{}/create", Folder(function.address), type.id);
  if (Status written = files_->Write(create, *uuid); !written)
    return tl::unexpected(written.error());
  const std::string folder = fmt::format("{}/{}", kMdevs, *uuid);
  if (!files_->Exists(folder)) {
    return Fail(
        ErrorCode::kFailed,
        fmt::format("the driver took {} on {} and does not show it", type.name, function.address),
        "look at the kernel's log");
  }
  VgpuDevice device{*uuid,
                    function.address,
                    type,
                    Number(folder + "/nvidia/gpu_instance_id"),
                    Number(folder + "/nvidia/placement_id"),
                    "",
                    {}};
  FindDevice(&device, folder);
  return device;
}

Result<VgpuDevice> VgpuHost::Create(const std::string& address, const std::string& type) {
  const auto gpu = Read(address);
  if (!gpu) return tl::unexpected(gpu.error());
  if (gpu->functions.empty()) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("{} has no virtual functions yet", gpu->address),
                "make them first; that destroys MIG instances on it");
  }
  for (const VgpuFunction& function : gpu->functions) {
    const auto found =
        std::find_if(function.creatable.begin(), function.creatable.end(),
                     [&](const VgpuType& candidate) { return IsCalled(candidate, type); });
    if (found == function.creatable.end()) continue;
    auto made = gpu->interface == VgpuInterface::kVendorVfio ? CreateVendor(function, *found)
                                                             : CreateMdev(function, *found);
    if (made) return made;
    return FailedWhile(fmt::format("making {} on {}", ShortName(found->name), function.address),
                       made.error());
  }
  const std::vector<std::string> names = Names(*gpu);
  const std::string similar = DidYouMean(ShortName(type), names);
  return Fail(ErrorCode::kDoesNotFit,
              fmt::format("no {} can be made on {} now", ShortName(type), gpu->address),
              names.empty() ? "it is full: remove a vGPU of it first"
                            : fmt::format("these can: {}{}", Listed(names),
                                          similar.empty() ? "" : "; " + similar));
}

Status VgpuHost::Remove(const VgpuDevice& expected, VgpuInterface interface) {
  const bool vendor = interface == VgpuInterface::kVendorVfio;
  const std::string folder =
      vendor ? Folder(expected.function) : fmt::format("{}/{}", kMdevs, expected.id);
  const std::string current = fmt::format("{}/{}/current_vgpu_type", folder, kNvidia);
  const bool there =
      vendor ? Number(current) == static_cast<int>(expected.type.id) : files_->Exists(folder);
  if (!there) {
    return Fail(ErrorCode::kNotFound, fmt::format("the vGPU {} ({}) is not there any more",
                                                  expected.id, expected.type.name));
  }
  VgpuDevice now = expected;
  now.holders.clear();
  FindDevice(&now, folder);
  if (!now.holders.empty()) {
    return Fail(ErrorCode::kBusy,
                fmt::format("the vGPU {} is in use by pid {}", expected.id, now.holders.front()),
                "shut its virtual machine down first");
  }
  const Status gone =
      vendor ? files_->Write(current, kNoVgpu) : files_->Write(folder + "/remove", "1");
  if (!gone) return FailedWhile("removing the vGPU " + expected.id, gone.error());
  const bool left = vendor ? Number(current) != 0 : files_->Exists(folder);
  if (!left) return {};
  return Fail(ErrorCode::kFailed, fmt::format("the vGPU {} was removed and is there", expected.id),
              "look at the kernel's log");
}

}  // namespace tranche
