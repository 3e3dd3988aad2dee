#include "edge/driver/vgpu/vgpu_host.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <cstdio>
#include <iterator>
#include <sstream>

#include "base/suggest.h"

namespace tranche {
namespace {

constexpr const char* kPci = "/sys/bus/pci/devices";
constexpr const char* kMdevs = "/sys/bus/mdev/devices";
constexpr const char* kSriovManage = "/usr/lib/nvidia/sriov-manage";
constexpr const char* kSmi = "/usr/bin/nvidia-smi";
constexpr const char* kParams = "/proc/driver/nvidia/params";
constexpr const char* kNvidia = "nvidia";  // the folder of the vendor's interface
constexpr const char* kNvidiaVendor = "0x10de";
constexpr const char* kDisplayClass = "0x03";
constexpr const char* kNoVgpu = "0";

std::string Folder(const std::string& address) { return fmt::format("{}/{}", kPci, address); }

bool IsCalled(const VgpuType& type, const std::string& name) {
  return type.name == name || ShortVgpuName(type.name) == ShortVgpuName(name);
}

void AddOnce(const VgpuType& type, std::vector<VgpuType>* types) {
  if (std::find(types->begin(), types->end(), type) == types->end()) types->push_back(type);
}

std::string LowerCase(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// What follows the colon on the first line that speaks of `what`, in lower case. "" when none does.
std::string ValueOf(const std::string& text, const std::string& what) {
  std::istringstream lines(LowerCase(text));
  for (std::string line; std::getline(lines, line);) {
    const size_t colon = line.find(':');
    if (line.find(what) == std::string::npos || colon == std::string::npos) continue;
    const size_t from = line.find_first_not_of(" \t", colon + 1);
    return from == std::string::npos ? ""
                                     : line.substr(from, line.find_last_not_of(" \t\r") + 1 - from);
  }
  return "";
}

// What the driver was loaded with, of one GPU or else of all: "RmPVMRL=0x01".
std::optional<VgpuScheduler> SchedulerInParams(const std::string& params, const std::string& gpu) {
  const auto in = [](const std::string& text) -> std::optional<VgpuScheduler> {
    const size_t at = text.find("rmpvmrl=");
    if (at == std::string::npos) return std::nullopt;
    unsigned value = 0;
    if (std::sscanf(text.c_str() + at, "rmpvmrl=%x", &value) != 1) return std::nullopt;
    switch (value & 0xff) {
      case 0x00:
        return VgpuScheduler::kBestEffort;
      case 0x01:
        return VgpuScheduler::kEqualShare;
      case 0x11:
        return VgpuScheduler::kFixedShare;
      default:
        return std::nullopt;
    }
  };
  const std::string own = ValueOf(params, "registrydwordsperdevice");
  const size_t here = own.find("pci=" + gpu);
  if (here != std::string::npos) {
    const size_t next = own.find("pci=", here + 4);
    if (const auto found = in(own.substr(here, next == std::string::npos ? next : next - here)))
      return found;
  }
  std::istringstream lines(LowerCase(params));
  for (std::string line; std::getline(lines, line);) {
    if (line.rfind("registrydwords:", 0) == 0) return in(line);
  }
  return std::nullopt;
}

const char* SchedulerNumber(VgpuScheduler scheduler) {
  switch (scheduler) {
    case VgpuScheduler::kEqualShare:
      return "2";
    case VgpuScheduler::kFixedShare:
      return "3";
    default:
      return "1";
  }
}

const char* SchedulerOption(VgpuScheduler scheduler) {
  switch (scheduler) {
    case VgpuScheduler::kEqualShare:
      return "0x01";
    case VgpuScheduler::kFixedShare:
      return "0x11";
    default:
      return "0x00";
  }
}

// Those that can be made at all, each once, by size.
std::vector<std::string> Names(const VgpuGpu& gpu) {
  std::vector<VgpuType> types;
  for (const VgpuFunction& function : gpu.functions) {
    for (const VgpuType& type : function.creatable) AddOnce(type, &types);
  }
  std::stable_sort(types.begin(), types.end(), [](const VgpuType& a, const VgpuType& b) {
    return a.framebuffer > b.framebuffer;
  });
  std::vector<std::string> names;
  for (const VgpuType& type : types) names.push_back(ShortVgpuName(type.name));
  return names;
}

// Of a file that has to be there: that it is not is no sign that this is no vGPU host.
tl::unexpected<Error> HalfRead(const Error& error) {
  return Fail(error.code == ErrorCode::kNotFound ? ErrorCode::kFailed : error.code, error.message,
              "look at the kernel's log: the driver may be starting, or stuck");
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

std::string WhyNothingCanBeMade(const VgpuGpu& gpu) {
  if (!gpu.devices.empty()) return "it is full: take a vGPU of it away first";
  return "there is no vGPU on it, so something else has it: in MIG mode types want an instance of "
         "their size first, and without it the GPU to be free of processes";
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
  VgpuGpu out{gpu, VgpuInterface::kVendorVfio, {}, {}, {}};
  for (const std::string& address : functions) {
    const std::string folder = Folder(address) + "/" + kNvidia;
    const auto creatable = files_->Read(folder + "/creatable_vgpu_types");
    if (!creatable) return HalfRead(creatable.error());
    auto types = ParseCreatableTypes(*creatable);
    if (!types) {
      return Fail(ErrorCode::kFailed,
                  fmt::format("{}/creatable_vgpu_types: {}", folder, types.error().message),
                  types.error().hint);
    }
    VgpuFunction function{address, *std::move(types), {}};
    function.creatable_count.assign(function.creatable.size(), 1);
    const auto current = Number(folder + "/current_vgpu_type");
    if (!current) {
      return Fail(ErrorCode::kFailed,
                  fmt::format("{}/current_vgpu_type holds no type's number", folder),
                  "look at the kernel's log: the driver may be starting, or stuck");
    }
    if (*current != 0) {
      VgpuDevice device{address,
                        address,
                        {static_cast<uint32_t>(*current), "", {}, {}, 0, 0},
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
  for (const VgpuFunction& function : out.functions) {
    for (const VgpuType& type : function.creatable) AddOnce(type, &out.types);
  }
  for (VgpuDevice& device : out.devices) {
    for (const VgpuType& type : out.types) {
      if (device.type.name.empty() && type.id == device.type.id) device.type = type;
    }
  }
  return out;
}

Result<VgpuGpu> VgpuHost::ReadMdev(const std::string& gpu,
                                   const std::vector<std::string>& functions) const {
  VgpuGpu out{gpu, VgpuInterface::kMdev, {}, {}, {}};
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
      if (!called) return HalfRead(called.error());
      auto type = ParseVgpuTypeName(static_cast<uint32_t>(std::stoul(number)), *called);
      if (!type) continue;
      if (const auto says = files_->Read(place + "/description"))
        ReadVgpuDescription(*says, &*type);
      AddOnce(*type, &out.types);
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
      if (!available) {
        return Fail(ErrorCode::kFailed,
                    fmt::format("{}/available_instances holds no number", place),
                    "look at the kernel's log: the driver may be starting, or stuck");
      }
      if (*available == 0) continue;
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
  // One that was given to another driver by hand is no place for a vGPU any more.
  const auto with = [&](const char* what) {
    std::vector<std::string> theirs;
    std::copy_if(functions.begin(), functions.end(), std::back_inserter(theirs),
                 [&](const std::string& function) { return has(function, what); });
    return theirs;
  };
  if (const auto vendor = with(kNvidia); !vendor.empty()) return ReadVendor(gpu, vendor);
  if (const auto mdev = with("mdev_supported_types"); !mdev.empty()) return ReadMdev(gpu, mdev);
  if (has(gpu, "mdev_supported_types")) return ReadMdev(gpu, {gpu});
  if (!functions.empty()) {
    return Fail(ErrorCode::kUnavailable,
                fmt::format("the virtual functions of {} are not the vGPU driver's: {} has neither "
                            "nvidia/ nor mdev_supported_types/",
                            gpu, functions.front()),
                "they belong to the driver nvidia, never to vfio-pci: bind them to it again, or "
                "take them away with sriov-manage -d");
  }
  const auto most = Number(Folder(gpu) + "/sriov_totalvfs");
  if (most && *most > 0 && files_->Exists(kSriovManage)) {
    // None yet; which interface they will have shows then.
    return VgpuGpu{gpu, VgpuInterface::kVendorVfio, {}, {}, {}};
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
  if (const auto made = run_({kSriovManage, "-e", gpu->address}); !made)
    return FailedWhile("making the virtual functions of " + gpu->address, made.error());
  const auto after = Read(address);
  if (!after) return tl::unexpected(after.error());
  if (!after->functions.empty()) return {};
  return Fail(ErrorCode::kFailed,
              fmt::format("{} -e {} is done, but there are no virtual functions", kSriovManage,
                          gpu->address),
              "look at the kernel's log");
}

Status VgpuHost::DisableFunctions(const std::string& address) {
  const auto gpu = Read(address);
  if (!gpu) return tl::unexpected(gpu.error());
  // A GPU without virtual functions has itself for one.
  const bool none = gpu->functions.empty() || gpu->functions.front().address == gpu->address;
  if (none) return {};
  if (!gpu->devices.empty()) {
    return Fail(ErrorCode::kBusy,
                fmt::format("there are vGPUs on {}: {}", gpu->address, gpu->devices.front().id),
                "take them away first");
  }
  if (const auto gone = run_({kSriovManage, "-d", gpu->address}); !gone) {
    return FailedWhile("taking away the virtual functions of " + gpu->address, gone.error());
  }
  const auto after = Read(address);
  if (after && !after->functions.empty()) {
    return Fail(ErrorCode::kFailed,
                fmt::format("{} -d {} is done, but the virtual functions are there", kSriovManage,
                            gpu->address),
                "look at the kernel's log");
  }
  return {};
}

std::vector<VgpuType> VgpuHost::Supported(const std::string& address) const {
  const auto said = run_({kSmi, "vgpu", "-i", KernelPciAddress(address), "-s", "-v"});
  return said ? ParseSupportedTypes(*said) : std::vector<VgpuType>();
}

Result<bool> VgpuHost::Mixed(const std::string& address) const {
  const std::string gpu = KernelPciAddress(address);
  const auto said = run_({kSmi, "-q", "-i", gpu});
  if (!said) return tl::unexpected(said.error());
  const std::string value = ValueOf(*said, "vgpu heterogeneous mode");
  if (value == "enabled" || value == "disabled") return value == "enabled";
  return Fail(ErrorCode::kUnsupported, "nvidia-smi does not say whether sizes may be mixed",
              "drivers from R550 on do");
}

Status VgpuHost::SetMixed(const std::string& address, bool mixed) {
  const auto gpu = Read(address);
  if (!gpu) return tl::unexpected(gpu.error());
  if (!gpu->devices.empty()) {
    return Fail(ErrorCode::kBusy,
                fmt::format("whether sizes are mixed on {} can only change while no vGPU is there, "
                            "and there is {}",
                            gpu->address, gpu->devices.front().id),
                "take them away first");
  }
  const auto set = run_({kSmi, "vgpu", "-i", gpu->address, "-shm", mixed ? "1" : "0"});
  if (!set) return FailedWhile("setting the sizes of vGPUs on " + gpu->address, set.error());
  return {};
}

Result<VgpuScheduler> VgpuHost::Scheduler(const std::string& address) const {
  const std::string gpu = KernelPciAddress(address);
  const auto said = run_({kSmi, "vgpu", "-i", gpu, "-ss"});
  const std::string value = said ? ValueOf(*said, "policy") : "";
  if (value.find("equal") != std::string::npos) return VgpuScheduler::kEqualShare;
  if (value.find("fixed") != std::string::npos) return VgpuScheduler::kFixedShare;
  if (value.find("best") != std::string::npos) return VgpuScheduler::kBestEffort;
  if (const auto params = files_->Read(kParams)) {
    if (const auto loaded = SchedulerInParams(*params, gpu)) return *loaded;
  }
  return Fail(ErrorCode::kUnsupported,
              fmt::format("neither nvidia-smi nor {} says how vGPUs take turns on {}{}", kParams,
                          gpu, said ? "" : ": " + said.error().message),
              "set it for good, which the second says: options nvidia "
              "NVreg_RegistryDwords=\"RmPVMRL=0x01\" (0x00 best effort, 0x01 equal share, 0x11 "
              "fixed share) in /etc/modprobe.d, then load the driver anew");
}

Status VgpuHost::SetScheduler(const std::string& address, VgpuScheduler scheduler) {
  const std::string gpu = KernelPciAddress(address);
  const auto set =
      run_({kSmi, "vgpu", "set-scheduler-state", "-i", gpu, "-p", SchedulerNumber(scheduler)});
  if (set) return {};
  return Fail(set.error().code,
              fmt::format("setting the vGPU scheduler of {} to {}: {}", gpu,
                          VgpuSchedulerName(scheduler), set.error().message),
              fmt::format("it changes only while no machine runs. For good: options nvidia "
                          "NVreg_RegistryDwordsPerDevice=\"pci={};RmPVMRL={}\" in "
                          "/etc/modprobe.d, then load the driver anew",
                          gpu, SchedulerOption(scheduler)));
}

VgpuDevice VgpuHost::DeviceAt(const VgpuSpot& spot) const {
  const bool vendor = spot.interface == VgpuInterface::kVendorVfio;
  const std::string folder = vendor ? Folder(spot.function) : fmt::format("{}/{}", kMdevs, spot.id);
  VgpuDevice device{spot.id,
                    spot.function,
                    spot.type,
                    Number(folder + "/nvidia/gpu_instance_id"),
                    Number(folder + "/nvidia/placement_id"),
                    "",
                    {}};
  FindDevice(&device, folder);
  return device;
}

std::string VgpuHost::BootId() const {
  return files_->Read("/proc/sys/kernel/random/boot_id").value_or("");
}

std::optional<VgpuDevice> VgpuHost::At(const VgpuSpot& spot) const {
  const bool vendor = spot.interface == VgpuInterface::kVendorVfio;
  const bool there = vendor ? Number(fmt::format("{}/{}/current_vgpu_type", Folder(spot.function),
                                                 kNvidia)) == static_cast<int>(spot.type.id)
                            : files_->Exists(fmt::format("{}/{}", kMdevs, spot.id));
  return there ? std::optional(DeviceAt(spot)) : std::nullopt;
}

Result<VgpuSpot> VgpuHost::FindSpot(const std::string& address, const std::string& type) const {
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
    if (gpu->interface == VgpuInterface::kVendorVfio)
      return VgpuSpot{function.address, function.address, *found, gpu->interface};
    const auto uuid = files_->Read("/proc/sys/kernel/random/uuid");
    if (!uuid) return tl::unexpected(uuid.error());
    return VgpuSpot{*uuid, function.address, *found, gpu->interface};
  }
  const std::vector<std::string> names = Names(*gpu);
  const std::string similar = DidYouMean(ShortVgpuName(type), names);
  return Fail(ErrorCode::kDoesNotFit,
              fmt::format("no {} can be made on {} now", ShortVgpuName(type), gpu->address),
              names.empty() ? WhyNothingCanBeMade(*gpu)
                            : fmt::format("these can: {}{}", Listed(names),
                                          similar.empty() ? "" : "; " + similar));
}

Result<VgpuDevice> VgpuHost::CreateAt(const VgpuSpot& spot) {
  const std::string folder = Folder(spot.function);
  const bool vendor = spot.interface == VgpuInterface::kVendorVfio;
  const std::string file = fmt::format("{}/{}/current_vgpu_type", folder, kNvidia);
  const Status written =
      vendor ? files_->Write(file, std::to_string(spot.type.id))
             : files_->Write(
                   fmt::format("{}/mdev_supported_types/nvidia-{}/create", folder, spot.type.id),
                   spot.id);
  if (!written) {
    return FailedWhile(fmt::format("making {} on {}", ShortVgpuName(spot.type.name), spot.function),
                       written.error());
  }
  if (auto device = At(spot)) return *std::move(device);
  if (vendor) (void)files_->Write(file, kNoVgpu);
  return Fail(
      ErrorCode::kFailed,
      fmt::format("the driver took {} on {} and does not show it", spot.type.name, spot.function),
      "look at the kernel's log");
}

Result<VgpuDevice> VgpuHost::Create(const std::string& address, const std::string& type) {
  const auto spot = FindSpot(address, type);
  if (!spot) return tl::unexpected(spot.error());
  return CreateAt(*spot);
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
