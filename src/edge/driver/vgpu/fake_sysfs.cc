#include "edge/driver/vgpu/fake_sysfs.h"

#include <fmt/format.h>

#include <algorithm>

namespace tranche {
namespace {

const std::string kPci = "/sys/bus/pci/devices/";
const std::string kMdevs = "/sys/bus/mdev/devices/";

tl::unexpected<Error> NotThere(const std::string& path) {
  return Fail(ErrorCode::kNotFound, path + ": No such file or directory");
}

}  // namespace

std::string FakeVgpuSysfs::FunctionAt(int i) const {
  return fmt::format("0000:41:{:02x}.{:x}", (i + 4) / 8, (i + 4) % 8);
}

bool FakeVgpuSysfs::IsFunction(const std::string& address) const {
  // Mediated devices on a GPU without virtual functions are its own.
  if (most_functions_ == 0) return address == kGpu;
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

bool FakeVgpuSysfs::Fits(const Type& type) const {
  int same = 0, gib = 0;
  for (const auto& [place, id] : made_) {
    const Type& other = *Find(id);
    if ((other.slices != 0) != (type.slices != 0)) return false;
    if (type.slices == 0 && !mixed && other.gib != type.gib) return false;
    same += id == type.id;
    gib += other.gib;
  }
  if (type.slices == 0) return same < type.most && gib + type.gib <= gib_;
  int free = 0;
  for (const int slices : instances) free += slices == type.slices;
  for (const auto& [place, id] : made_) free -= Find(id)->slices == type.slices;
  return free > 0;
}

bool FakeVgpuSysfs::Exists(const std::string& path) const {
  if (path == "/usr/lib/nvidia/sriov-manage") return host_driver;
  if (path.rfind(kMdevs, 0) == 0) return where_.count(path.substr(kMdevs.size())) != 0;
  std::string function, rest;
  if (!Split(path, &function, &rest)) return false;
  if (rest.empty()) return function == kGpu || IsFunction(function);
  if (!IsFunction(function)) return false;
  return rest == (interface_ == VgpuInterface::kVendorVfio ? "nvidia" : "mdev_supported_types");
}

std::vector<std::string> FakeVgpuSysfs::List(const std::string& folder) const {
  std::vector<std::string> names;
  std::string function, rest;
  if (folder + "/" == kPci) {
    names.push_back(kGpu);
    for (int i = 0; enabled_ && i < most_functions_; ++i) names.push_back(FunctionAt(i));
    return names;
  }
  if (!Split(folder, &function, &rest)) {
    if (folder.rfind(kMdevs, 0) == 0 && folder.ends_with("/vfio-dev")) return {};
    return names;
  }
  if (function == kGpu && rest.empty()) {
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
  if (path == "/proc/sys/kernel/random/uuid")
    return fmt::format("00000000-0000-4000-8000-{:012d}", ++uuids_);
  std::string function, rest;
  if (!Split(path, &function, &rest)) return NotThere(path);
  if (rest == "vendor") return std::string("0x10de");
  if (rest == "class") return std::string("0x030200");
  if (function == kGpu && rest == "sriov_totalvfs") return std::to_string(most_functions_);
  if (!IsFunction(function)) return NotThere(path);
  const auto made = made_.find(function);
  if (rest == "nvidia/current_vgpu_type")
    return std::to_string(made == made_.end() ? 0 : made->second);
  if (rest == "nvidia/gpu_instance_id" || rest == "nvidia/placement_id") {
    if (made == made_.end() || Find(made->second)->slices == 0)
      return Fail(ErrorCode::kNotFound, path + ": No such device or address");
    return std::to_string(Find(made->second)->slices);
  }
  if (rest == "nvidia/creatable_vgpu_types") {
    std::string text = "ID    : vGPU Name\n";
    for (const Type& type : types_) {
      if (made == made_.end() && Fits(type))
        text += fmt::format("{:<5} : {}\n", type.id, type.name);
    }
    return text;
  }
  for (const Type& type : types_) {
    const std::string folder = fmt::format("mdev_supported_types/nvidia-{}/", type.id);
    if (rest == folder + "name") return type.name;
    if (rest != folder + "available_instances") continue;
    if (!Fits(type)) return std::string("0");
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
  if (type == nullptr || !Fits(*type))
    return Fail(ErrorCode::kDoesNotFit, "writing: Input/output error");
  if (!forgets) made_[place] = id;
  return {};
}

Status FakeVgpuSysfs::Write(const std::string& path, const std::string& text) {
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
  if (Split(path, &function, &rest) && function == kGpu && rest.rfind("virtfn", 0) == 0)
    return FunctionAt(std::stoi(rest.substr(6)));
  if (function != kGpu && rest == "physfn") return kGpu;
  if (path.rfind(kMdevs, 0) == 0 && path.ends_with("/iommu_group"))
    return "7" + path.substr(path.rfind('/') - 1, 1);
  return "";
}

std::vector<int> FakeVgpuSysfs::Holders(const std::string& device) const {
  const auto found = holders.find(device);
  return found == holders.end() ? std::vector<int>() : found->second;
}

}  // namespace tranche
