#include "edge/driver/vgpu/fake_sysfs.h"

#include <fmt/format.h>

#include <algorithm>
#include <sstream>

namespace tranche {
namespace {

const std::string kPci = "/sys/bus/pci/devices/";
const std::string kMdevs = "/sys/bus/mdev/devices/";

tl::unexpected<Error> NotThere(const std::string& path) {
  return Fail(ErrorCode::kNotFound, path + ": No such file or directory");
}

}  // namespace

std::string FakeVgpuSysfs::FunctionAt(int i) const {
  return fmt::format("{}{:02x}.{:x}", gpu_.substr(0, 8), (i + 4) / 8, (i + 4) % 8);
}

void FakeVgpuSysfs::EnableFunctions() {
  enabled_ = true;
  instances.clear();
  if (lose_instances) lose_instances();
  mixed = false;
}

void FakeVgpuSysfs::Reboot() {
  ++boots;
  enabled_ = mixed = false;
  scheduler = "Best Effort";
  made_.clear();
  at_.clear();
  where_.clear();
}

std::string FakeVgpuSysfs::Save() const {
  std::string text = fmt::format("{} {} {}\n{}\n", enabled_, mixed, uuids_, scheduler);
  for (const auto& [place, id] : made_) {
    const auto function = where_.find(place);
    text += fmt::format("{} {} {} {}\n", place, id, at_.at(place),
                        function == where_.end() ? "-" : function->second);
  }
  return text;
}

void FakeVgpuSysfs::Load(const std::string& saved) {
  std::istringstream in(saved);
  std::string word;
  in >> word;
  enabled_ = word == "true";
  in >> word;
  mixed = word == "true";
  in >> uuids_ >> std::ws;
  std::getline(in, scheduler);
  made_.clear();
  at_.clear();
  where_.clear();
  std::string place, function;
  uint32_t id = 0;
  for (int at = 0; in >> place >> id >> at >> function;) {
    made_[place] = id;
    at_[place] = at;
    if (function != "-") where_[place] = function;
  }
}

Result<std::string> FakeVgpuSysfs::Run(const std::vector<std::string>& argv) {
  std::string line;
  for (const std::string& word : argv) line += (line.empty() ? "" : " ") + word;
  const bool manage = argv.front() == "/usr/lib/nvidia/sriov-manage";
  if (manage && argv.size() == 3 && argv[2] == gpu_) {
    boundary("before " + line);
    if (argv[1] == "-d" && !made_.empty())
      return Fail(ErrorCode::kFailed, "sriov-manage: device is in use");
    if (argv[1] == "-e")
      EnableFunctions();
    else
      enabled_ = false;
    boundary("after " + line);
    return std::string();
  }
  if (!smi) return Fail(ErrorCode::kNotFound, "there is no nvidia-smi");
  const std::string smi_for = "/usr/bin/nvidia-smi vgpu -i " + gpu_;
  if (line == "/usr/bin/nvidia-smi -q -i " + gpu_) {
    return fmt::format(
        "    GPU Virtualization Mode\n        Virtualization Mode               : Host VGPU\n"
        "        vGPU Heterogeneous Mode           : {}\n",
        mixed ? "Enabled" : "Disabled");
  }
  if (line == smi_for + " -s -v") {
    std::string text = fmt::format("GPU {}\n", gpu_);
    for (const Type& type : types_) {
      text += fmt::format(
          "    vGPU Type ID                      : 0x{:x}\n        Name                          : "
          "{}\n        Class                         : Compute\n        GPU Instance Profile ID    "
          "   "
          ": {}\n        Max Instances                 : {}\n        Max Instances Per VM          "
          ": 1\n        Max Instances Per GI          : {}\n        FB Memory                     "
          ": "
          "{} MiB\n",
          type.id, type.name,
          type.instance_profile < 0 ? "N/A" : std::to_string(type.instance_profile), type.most,
          type.slices == 0 ? "N/A" : std::to_string(type.most_per_instance), type.gib * 1024);
    }
    return text;
  }
  if (line == smi_for + " -ss")
    return fmt::format("GPU {}\n    Scheduler Policy : {}\n", gpu_, scheduler);
  if (line == smi_for + " -shm 1" || line == smi_for + " -shm 0") {
    boundary("before " + line);
    if (!made_.empty()) return Fail(ErrorCode::kFailed, "In use by another client");
    mixed = line.back() == '1';
    boundary("after " + line);
    return std::string();
  }
  const std::string set = "/usr/bin/nvidia-smi vgpu set-scheduler-state -i " + gpu_ + " -p ";
  if (line.rfind(set, 0) == 0) {
    boundary("before " + line);
    for (const auto& [device, pids] : holders) {
      if (!pids.empty()) return Fail(ErrorCode::kFailed, "In use by another client");
    }
    scheduler = line.back() == '2'   ? "Equal Share"
                : line.back() == '3' ? "Fixed Share"
                                     : "Best Effort";
    boundary("after " + line);
    return std::string();
  }
  return Fail(ErrorCode::kFailed, "unknown: " + line);
}

bool FakeVgpuSysfs::IsFunction(const std::string& address) const {
  // Mediated devices on a GPU without virtual functions are its own.
  if (most_functions_ == 0) return address == gpu_;
  for (int i = 0; enabled_ && i < most_functions_; ++i) {
    if (FunctionAt(i) == address) return true;
  }
  return false;
}

bool FakeVgpuSysfs::Split(const std::string& path, std::string* function, std::string* rest) const {
  if (path.rfind(kPci, 0) != 0) return false;
  const std::string below = path.substr(kPci.size());
  const size_t slash = below.find('/');
  *function = below.substr(0, slash);
  *rest = slash == std::string::npos ? "" : below.substr(slash + 1);
  return true;
}

const FakeVgpuSysfs::Type* FakeVgpuSysfs::Find(uint32_t id) const {
  const auto found =
      std::find_if(types_.begin(), types_.end(), [&](const Type& type) { return type.id == id; });
  return found == types_.end() ? nullptr : &*found;
}

bool FakeVgpuSysfs::HasRoom(const Instance& instance, const Type& type) const {
  int there = 0;
  for (const auto& [place, id] : made_) {
    if (at_.at(place) != instance.id) continue;
    if (Find(id)->gib != type.gib) return false;
    ++there;
  }
  return there < type.most_per_instance;
}

int FakeVgpuSysfs::PlaceFor(const Type& type) const {
  constexpr int kParts = 128;
  int same = 0, gib = 0;
  std::vector<bool> taken(kParts, false);
  std::set<int> held;
  for (const auto& [place, id] : made_) {
    const Type& other = *Find(id);
    if ((other.slices != 0) != (type.slices != 0)) return -1;
    if (type.slices == 0 && !mixed && other.gib != type.gib) return -1;
    same += id == type.id;
    gib += other.gib;
    held.insert(at_.at(place));
    if (other.slices != 0 || !mixed) continue;
    for (int i = 0; i < kParts / other.most_mixed; ++i)
      taken[static_cast<size_t>(at_.at(place) + i)] = true;
  }
  if (type.slices != 0) {
    for (const Instance& instance : Instances()) {
      const bool suits = instance.slices == type.slices &&
                         (type.instance_profile < 0 || type.instance_profile == instance.profile);
      if (suits && HasRoom(instance, type)) return instance.id;
    }
    return -1;
  }
  if (gib + type.gib > gib_ || (mixed ? type.most_mixed == 0 : same >= type.most)) return -1;
  if (!mixed) {
    int at = 0;
    while (held.count(at) != 0) ++at;
    return at;
  }
  const int size = kParts / type.most_mixed;
  for (int at = 0; at + size <= kParts; at += size) {
    if (std::none_of(taken.begin() + at, taken.begin() + at + size, [](bool t) { return t; }))
      return at;
  }
  return -1;
}

bool FakeVgpuSysfs::Exists(const std::string& path) const {
  if (const auto other = instead.find(path); other != instead.end())
    return other->second.has_value();
  if (path == "/usr/lib/nvidia/sriov-manage") return host_driver;
  if (path == "/usr/bin/nvidia-smi") return smi;
  if (path.rfind(kMdevs, 0) == 0) return where_.count(path.substr(kMdevs.size())) != 0;
  std::string function, rest;
  if (!Split(path, &function, &rest)) return false;
  if (rest.empty()) return function == gpu_ || IsFunction(function);
  if (!IsFunction(function)) return false;
  return rest == (interface_ == VgpuInterface::kVendorVfio ? "nvidia" : "mdev_supported_types");
}

std::vector<std::string> FakeVgpuSysfs::List(const std::string& folder) const {
  std::vector<std::string> names;
  std::string function, rest;
  if (folder + "/" == kPci) {
    names.push_back(gpu_);
    for (int i = 0; enabled_ && i < most_functions_; ++i) names.push_back(FunctionAt(i));
    return names;
  }
  if (!Split(folder, &function, &rest)) {
    if (folder.rfind(kMdevs, 0) == 0 && folder.ends_with("/vfio-dev")) return {};
    return names;
  }
  if (function == gpu_ && rest.empty()) {
    for (int i = 0; enabled_ && i < most_functions_; ++i)
      names.push_back(fmt::format("virtfn{}", i));
  } else if (IsFunction(function) && rest == "mdev_supported_types") {
    for (const Type& type : types_) names.push_back(fmt::format("nvidia-{}", type.id));
  } else if (IsFunction(function) && rest.rfind("mdev_supported_types/", 0) == 0) {
    for (const auto& [uuid, place] : where_) {
      if (place == function && rest.ends_with(fmt::format("nvidia-{}/devices", made_.at(uuid))))
        names.push_back(uuid);
    }
  } else if (IsFunction(function) && rest == "vfio-dev" &&
             interface_ == VgpuInterface::kVendorVfio) {
    names.push_back("vfio" + function.substr(function.size() - 1));
  }
  return names;
}

Result<std::string> FakeVgpuSysfs::Read(const std::string& path) const {
  if (read_fails.count(path) != 0) return Fail(ErrorCode::kFailed, "reading " + path + ": EIO");
  if (const auto other = instead.find(path); other != instead.end())
    return other->second ? Result<std::string>(*other->second) : NotThere(path);
  if (path == "/proc/sys/kernel/random/uuid")
    return fmt::format("00000000-0000-4000-8000-{:012d}", ++uuids_);
  if (path == "/proc/sys/kernel/random/boot_id") return fmt::format("boot-{}", boots);
  if (path == "/proc/driver/nvidia/params" && !params.empty()) return params;
  std::string function, rest;
  if (!Split(path, &function, &rest)) return NotThere(path);
  if (rest == "vendor") return std::string("0x10de");
  if (rest == "class") return std::string("0x030200");
  if (function == gpu_ && rest == "sriov_totalvfs") return std::to_string(most_functions_);
  if (!IsFunction(function)) return NotThere(path);
  const auto made = made_.find(function);
  if (rest == "nvidia/current_vgpu_type")
    return std::to_string(made == made_.end() ? 0 : made->second);
  if (rest == "nvidia/gpu_instance_id" || rest == "nvidia/placement_id") {
    const bool mig = made != made_.end() && Find(made->second)->slices != 0;
    if (made == made_.end() || mig != (rest == "nvidia/gpu_instance_id"))
      return Fail(ErrorCode::kNotFound, path + ": No such device or address");
    return std::to_string(at_.at(function));
  }
  if (rest == "nvidia/creatable_vgpu_types") {
    std::string text = "ID    : vGPU Name\n";
    for (const Type& type : types_) {
      if (made == made_.end() && PlaceFor(type) >= 0)
        text += fmt::format("{:<5} : {}\n", type.id, type.name);
    }
    return text;
  }
  for (const Type& type : types_) {
    const std::string folder = fmt::format("mdev_supported_types/nvidia-{}/", type.id);
    if (rest == folder + "name") return type.name;
    if (rest == folder + "description") {
      return fmt::format(
          "num_heads=1, frl_config=60, framebuffer={}M, max_resolution=4096x2160, max_instance={}",
          type.gib * 1024, type.most);
    }
    if (rest != folder + "available_instances") continue;
    if (PlaceFor(type) < 0) return std::string("0");
    if (most_functions_ == 0) {
      int same = 0;
      for (const auto& [place, id] : made_) same += id == type.id;
      return std::to_string(type.most - same);
    }
    const bool taken = std::any_of(where_.begin(), where_.end(),
                                   [&](const auto& entry) { return entry.second == function; });
    return std::string(taken ? "0" : "1");
  }
  return NotThere(path);
}

Status FakeVgpuSysfs::Make(const std::string& place, uint32_t id) {
  const Type* type = Find(id);
  const int at = type == nullptr ? -1 : PlaceFor(*type);
  if (at < 0) return Fail(ErrorCode::kDoesNotFit, "writing: Input/output error");
  if (forgets) return {};
  made_[place] = id;
  at_[place] = at;
  return {};
}

Status FakeVgpuSysfs::Write(const std::string& path, const std::string& text) {
  boundary("before writing " + path);
  Status written = WriteAll(path, text);
  boundary("after writing " + path);
  return written;
}

Status FakeVgpuSysfs::WriteAll(const std::string& path, const std::string& text) {
  if (write_fails.count(path) != 0)
    return Fail(ErrorCode::kBusy, "writing " + path + ": Device or resource busy");
  if (path.rfind(kMdevs, 0) == 0) {
    const std::string uuid = path.substr(kMdevs.size(), path.rfind('/') - kMdevs.size());
    made_.erase(uuid);
    where_.erase(uuid);
    return {};
  }
  std::string function, rest;
  if (!Split(path, &function, &rest) || !IsFunction(function)) return NotThere(path);
  if (rest == "nvidia/current_vgpu_type") {
    if (text == "0") {
      made_.erase(function);
      return {};
    }
    if (made_.count(function) != 0)
      return Fail(ErrorCode::kBusy, "writing " + path + ": Device or resource busy");
    return Make(function, static_cast<uint32_t>(std::stoul(text)));
  }
  for (const Type& type : types_) {
    if (rest != fmt::format("mdev_supported_types/nvidia-{}/create", type.id)) continue;
    if (Status made = Make(text, type.id); !made) return made;
    if (!forgets) where_[text] = function;
    return {};
  }
  return NotThere(path);
}

std::string FakeVgpuSysfs::LinkName(const std::string& path) const {
  std::string function, rest;
  if (Split(path, &function, &rest) && function == gpu_ && rest.rfind("virtfn", 0) == 0)
    return FunctionAt(std::stoi(rest.substr(6)));
  if (function != gpu_ && rest == "physfn") return gpu_;
  if (path.rfind(kMdevs, 0) == 0 && path.ends_with("/iommu_group"))
    return "7" + path.substr(path.rfind('/') - 1, 1);
  return "";
}

std::vector<int> FakeVgpuSysfs::Holders(const std::string& device) const {
  const auto found = holders.find(device);
  return found == holders.end() ? std::vector<int>() : found->second;
}

}  // namespace tranche
