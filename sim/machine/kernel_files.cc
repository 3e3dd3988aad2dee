#include "sim/machine/kernel_files.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdarg>
#include <cstdio>
#include <cstring>
#include <set>
#include <vector>

#include "sim/machine/lifecycle.h"
#include "sim/machine/mig.h"

namespace tranche::sim {
namespace {

// Ids of GPU instances go from 0 to 14, those of compute instances from 0 to 7; each GPU has a
// number for every one of them, used or not, after the two of MIG as a whole.
constexpr uint32_t kGisPerGpu = 15, kCisPerGi = 8;
constexpr uint32_t kConfigMinor = 1, kMonitorMinor = 2, kFirstMinor = 3;
constexpr uint32_t kControlMinor = 255, kModesetMinor = 254;

std::string Text(const char* format, ...) __attribute__((format(printf, 1, 2)));
std::string Text(const char* format, ...) {
  char text[512];
  va_list arguments;
  va_start(arguments, format);
  std::vsnprintf(text, sizeof(text), format, arguments);
  va_end(arguments);
  return text;
}

void MakeFolders(const std::string& path) {
  for (size_t at = path.find('/', 1); at != std::string::npos; at = path.find('/', at + 1))
    mkdir(path.substr(0, at).c_str(), 0755);
  mkdir(path.c_str(), 0755);
}

// In place, because a file that is mounted somewhere is that very file.
void Write(const std::string& path, const std::string& text) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) return;
  for (size_t at = 0; at < text.size();) {
    const ssize_t n = write(fd, text.data() + at, text.size() - at);
    if (n <= 0) break;
    at += static_cast<size_t>(n);
  }
  close(fd);
}

std::string Read(const char* path) {
  std::string text;
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return text;
  char buffer[4096];
  for (ssize_t n; (n = read(fd, buffer, sizeof(buffer))) > 0;)
    text.append(buffer, static_cast<size_t>(n));
  close(fd);
  return text;
}

std::vector<std::string> Entries(const std::string& folder) {
  std::vector<std::string> names;
  DIR* dir = opendir(folder.c_str());
  if (dir == nullptr) return names;
  while (const dirent* entry = readdir(dir)) {
    if (std::strcmp(entry->d_name, ".") != 0 && std::strcmp(entry->d_name, "..") != 0)
      names.emplace_back(entry->d_name);
  }
  closedir(dir);
  return names;
}

void RemoveAll(const std::string& path) {
  if (unlink(path.c_str()) == 0 || errno == ENOENT) return;
  for (const std::string& name : Entries(path)) RemoveAll(path + "/" + name);
  rmdir(path.c_str());
}

// A device node, or where that may not be made a file in its place: it is there, and cannot be
// used.
void Node(const std::string& path, uint32_t major, uint32_t minor, mode_t mode) {
  if (access(path.c_str(), F_OK) == 0) return;
  if (mknod(path.c_str(), S_IFCHR | mode, makedev(major, minor)) == 0) {
    chmod(path.c_str(), mode);
  } else if (errno != EEXIST) {
    Write(path, "");
    chmod(path.c_str(), mode);
  }
}

std::string Capability(uint32_t minor, uint32_t mode) {
  return Text("DeviceFileMinor: %u\nDeviceFileMode: %u\nDeviceFileModify: 1\n", minor, mode);
}

// The lines of the host itself, without those of a driver that may run there.
std::string WithoutNvidia(const std::string& text) {
  std::string kept;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size() - 1);
    const std::string line = text.substr(at, end - at + 1);
    if (line.find("nvidia") == std::string::npos) kept += line;
    at = end + 1;
  }
  return kept;
}

bool IsLoaded(const MachineSpec& spec, const MachineState& state, DriverModule module) {
  return spec.driver.loaded != 0 && (state.modules_absent >> module & 1) == 0;
}

std::string Modules(const MachineSpec& spec, const MachineState& state) {
  constexpr unsigned kSizes[kDriverModules] = {104165376, 1843200, 1814528, 131072};
  std::string text;
  for (uint32_t i = kDriverModules; i-- > 0;) {
    const auto module = static_cast<DriverModule>(i);
    if (!IsLoaded(spec, state, module)) continue;
    std::string users;
    uint32_t count = 0;
    for (uint32_t j = 0; j < kDriverModules; ++j) {
      const auto other = static_cast<DriverModule>(j);
      if (!IsLoaded(spec, state, other) || !StandsOn(other, module)) continue;
      users += std::string(ModuleName(other)) + ",";
      ++count;
    }
    text += Text("%s %u %u %s Live 0x0000000000000000 (POE)\n", ModuleName(module), kSizes[i],
                 count, users.empty() ? "-" : users.c_str());
  }
  return text + WithoutNvidia(Read("/proc/modules"));
}

std::string Devices(const MachineSpec& spec, const MachineState& state) {
  std::string text = WithoutNvidia(Read("/proc/devices"));
  if (!IsDriverLoaded(spec, state)) return text;
  const std::string ours = Text("%u nvidia\n%u nvidiactl\n%u nvidia-caps\n%u nvidia-uvm\n",
                                kNvidiaMajor, kNvidiaMajor, kCapabilitiesMajor, kUvmMajor);
  const size_t blocks = text.find("\nBlock devices:");
  if (blocks == std::string::npos) return text + ours;
  text.insert(blocks, ours);
  return text;
}

std::string Information(const MachineSpec& spec, const GpuSpec& gpu) {
  return Text(
      "Model: \t\t %s\nIRQ:   \t\t %u\nGPU UUID: \t %s\nVideo BIOS: \t ??.??.??.??.??\n"
      "Bus Type: \t PCIe\nDMA Size: \t 52 bits\nDMA Mask: \t 0xfffffffffffff\n"
      "Bus Location: \t %s\nDevice Minor: \t %u\nGPU Firmware: \t %s\nGPU Excluded:\t No\n",
      gpu.name, 128 + gpu.minor, gpu.uuid, PciAddress(gpu).c_str(), gpu.minor, spec.driver.version);
}

std::string MigMinors(const MachineSpec& spec) {
  std::string text = Text("config %u\nmonitor %u\n", kConfigMinor, kMonitorMinor);
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    const uint32_t gpu = spec.gpus[i].minor;
    for (uint32_t gi = 0; spec.gpus[i].mig_capable && gi < kGisPerGpu; ++gi) {
      text += Text("gpu%u/gi%u/access %u\n", gpu, gi, CapabilityMinor(gpu, gi));
      for (uint32_t ci = 0; ci < kCisPerGi; ++ci)
        text += Text("gpu%u/gi%u/ci%u/access %u\n", gpu, gi, ci, CapabilityMinor(gpu, gi, ci));
    }
  }
  return text;
}

void WriteDriver(const std::string& root, const MachineSpec& spec) {
  const std::string folder = root + "/proc/driver/nvidia";
  MakeFolders(folder + "/capabilities/mig");
  MakeFolders(root + "/proc/driver/nvidia-caps");
  Write(folder + "/version",
        Text("NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  %s  Release Build  "
             "(tranche-sim)\nGCC version:  none\n",
             spec.driver.version));
  Write(folder + "/params",
        "ResmanDebugLevel: 4294967295\nModifyDeviceFiles: 1\nDeviceFileUID: 0\nDeviceFileGID: 0\n"
        "DeviceFileMode: 438\n");
  Write(folder + "/capabilities/mig/config", Capability(kConfigMinor, 0400));
  Write(folder + "/capabilities/mig/monitor", Capability(kMonitorMinor, 0444));
  Write(root + "/proc/driver/nvidia-caps/mig-minors", MigMinors(spec));
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    const std::string gpu = folder + "/gpus/" + PciAddress(spec.gpus[i]);
    MakeFolders(gpu);
    Write(gpu + "/information", Information(spec, spec.gpus[i]));
  }
}

// The GPU as a PCI device. Its memory is not there: who maps resource0 finds no file.
void WritePciDevice(const std::string& root, const GpuSpec& gpu) {
  const std::string folder = root + "/sys/devices/pci0000:00/" + PciAddress(gpu);
  MakeFolders(folder);
  // The PCI ids of NVML are (device << 16 | vendor), and so for the subsystem.
  Write(folder + "/vendor", "0x10de\n");
  Write(folder + "/device", Text("0x%04x\n", gpu.pci_device_id >> 16));
  Write(folder + "/subsystem_vendor", Text("0x%04x\n", gpu.pci_subsystem_id & 0xffff));
  Write(folder + "/subsystem_device", Text("0x%04x\n", gpu.pci_subsystem_id >> 16));
  Write(folder + "/class", "0x030200\n");
  Write(folder + "/revision", "0xa1\n");
  Write(folder + "/numa_node", Text("%u\n", gpu.numa_node));
  Write(folder + "/irq", Text("%u\n", 128 + gpu.minor));
  Write(folder + "/enable", "1\n");
  std::string resource;
  for (int i = 0; i < 13; ++i)
    resource += "0x0000000000000000 0x0000000000000000 0x0000000000000000\n";
  Write(folder + "/resource", resource);
  std::string config(256, '\0');
  const auto put = [&config](size_t at, uint32_t value) {
    for (size_t i = 0; i < 4; ++i) config[at + i] = static_cast<char>(value >> (8 * i));
  };
  put(0, 0x10de | (gpu.pci_device_id & 0xffff0000u));
  put(8, 0x030200a1);
  put(0x2c, gpu.pci_subsystem_id);
  Write(folder + "/config", config);
  symlink("../../../bus/pci/drivers/nvidia", (folder + "/driver").c_str());
}

void WriteModuleFolder(const std::string& root, const MachineSpec& spec, DriverModule module,
                       bool loaded) {
  const std::string folder = root + "/sys/module/" + ModuleName(module);
  if (!loaded) return RemoveAll(folder);
  MakeFolders(folder);
  Write(folder + "/version", std::string(spec.driver.version) + "\n");
  Write(folder + "/initstate", "live\n");
  Write(folder + "/refcnt", "0\n");
}

void WriteNodes(const std::string& root, const MachineSpec& spec) {
  const std::string dev = root + "/dev";
  MakeFolders(dev + "/nvidia-caps");
  Node(dev + "/nvidiactl", kNvidiaMajor, kControlMinor, 0666);
  Node(dev + "/nvidia-modeset", kNvidiaMajor, kModesetMinor, 0666);
  Node(dev + "/nvidia-uvm", kUvmMajor, 0, 0666);
  Node(dev + "/nvidia-uvm-tools", kUvmMajor, 1, 0666);
  Node(dev + "/nvidia-caps/nvidia-cap1", kCapabilitiesMajor, kConfigMinor, 0400);
  Node(dev + "/nvidia-caps/nvidia-cap2", kCapabilitiesMajor, kMonitorMinor, 0444);
  for (uint32_t i = 0; i < spec.gpu_count; ++i)
    Node(dev + Text("/nvidia%u", spec.gpus[i].minor), kNvidiaMajor, spec.gpus[i].minor, 0666);
}

// What appears and vanishes with instances: their capabilities, and the nodes of these.
void WriteInstances(const std::string& root, const MachineSpec& spec, const MachineState& state) {
  const std::string capabilities = root + "/proc/driver/nvidia/capabilities";
  std::set<std::string> nodes = {"nvidia-cap1", "nvidia-cap2"};
  const auto grant = [&](const std::string& folder, uint32_t minor) {
    MakeFolders(folder);
    Write(folder + "/access", Capability(minor, 0444));
    const std::string node = Text("nvidia-cap%u", minor);
    Node(root + "/dev/nvidia-caps/" + node, kCapabilitiesMajor, minor, 0444);
    nodes.insert(node);
  };
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    const uint32_t minor = spec.gpus[i].minor;
    const std::string mig = capabilities + Text("/gpu%u/mig", minor);
    std::set<std::string> gis;
    for (const GpuInstance* gi : ListGis(state.gpus[i])) {
      const std::string folder = mig + Text("/gi%u", gi->id);
      gis.insert(Text("gi%u", gi->id));
      grant(folder, CapabilityMinor(minor, gi->id));
      std::set<std::string> cis = {"access"};
      for (const ComputeInstance* ci : ListCisOf(state.gpus[i], gi->serial)) {
        cis.insert(Text("ci%u", ci->id));
        grant(folder + Text("/ci%u", ci->id), CapabilityMinor(minor, gi->id, ci->id));
      }
      for (const std::string& name : Entries(folder)) {
        if (cis.count(name) == 0) RemoveAll(folder + "/" + name);
      }
    }
    for (const std::string& name : Entries(mig)) {
      if (gis.count(name) == 0) RemoveAll(mig + "/" + name);
    }
  }
  for (const std::string& name : Entries(root + "/dev/nvidia-caps")) {
    if (nodes.count(name) == 0) RemoveAll(root + "/dev/nvidia-caps/" + name);
  }
}

}  // namespace

uint32_t CapabilityMinor(uint32_t gpu_minor, uint32_t gi, uint32_t ci) {
  const uint32_t per_gi = 1 + kCisPerGi;
  return kFirstMinor + gpu_minor * kGisPerGpu * per_gi + gi * per_gi + (ci == kNoId ? 0 : 1 + ci);
}

std::string PciAddress(const GpuSpec& gpu) {
  return Text("%04x:%02x:%02x.0", gpu.pci_domain, gpu.pci_bus, gpu.pci_device);
}

void WriteKernelFiles(const std::string& dir, const MachineSpec& spec, const MachineState& state) {
  const std::string root = dir + "/root";
  if (access(root.c_str(), W_OK) != 0) return;
  const bool loaded = IsDriverLoaded(spec, state);
  MakeFolders(root + "/proc");
  Write(root + "/proc/modules", Modules(spec, state));
  Write(root + "/proc/devices", Devices(spec, state));
  MakeFolders(root + "/sys/bus/pci/drivers/nvidia");
  for (uint32_t i = 0; i < spec.gpu_count; ++i) WritePciDevice(root, spec.gpus[i]);
  for (uint32_t i = 0; i < kDriverModules; ++i) {
    const auto module = static_cast<DriverModule>(i);
    WriteModuleFolder(root, spec, module, IsLoaded(spec, state, module));
  }
  if (!loaded) {
    RemoveAll(root + "/proc/driver/nvidia");
    RemoveAll(root + "/proc/driver/nvidia-caps");
    return;
  }
  WriteDriver(root, spec);
  WriteNodes(root, spec);
  WriteInstances(root, spec, state);
}

bool KernelFilesDiffer(const MachineSpec& spec, const MachineState& a, const MachineState& b) {
  if (a.modules_absent != b.modules_absent) return true;
  for (uint32_t i = 0; i < spec.gpu_count; ++i) {
    for (uint32_t j = 0; j < kMaxGis; ++j) {
      if (a.gpus[i].gis[j].serial != b.gpus[i].gis[j].serial) return true;
    }
    for (uint32_t j = 0; j < kMaxCis; ++j) {
      if (a.gpus[i].cis[j].serial != b.gpus[i].cis[j].serial) return true;
    }
  }
  return false;
}

}  // namespace tranche::sim
