#include "edge/driver/kernel_limits.h"

#include <fmt/format.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <sstream>

namespace tranche {
namespace {

constexpr const char* kOurs = "tranche";  // all our groups are in it
constexpr const char* kController = "dmem";

std::string Lower(std::string text) {
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return text;
}

// What a file of lines "REGION AMOUNT" says of one region; "" when it says nothing.
std::string AmountOf(const std::string& text, const std::string& region) {
  std::istringstream lines(text);
  std::string name, amount;
  while (lines >> name >> amount) {
    if (name == region) return amount;
  }
  return "";
}

bool HasWord(const std::string& text, const std::string& word) {
  std::istringstream words(text);
  std::string one;
  while (words >> one) {
    if (one == word) return true;
  }
  return false;
}

}  // namespace

std::string KernelGroupPrefix(const std::string& directory) {
  uint32_t hash = 2166136261u;  // FNV-1a: the same in every build
  for (const char c : directory) hash = (hash ^ static_cast<uint8_t>(c)) * 16777619u;
  return fmt::format("{:08x}-", hash);
}

// The key is "nvidia/<PCI address with eight digits of the domain>/vidmem".
std::string KernelLimits::RegionOf(const Gpu& gpu) const {
  const auto capacity = (*tree_)->Read("", "dmem.capacity");
  if (!capacity || gpu.pci_bus_id.empty()) return "";
  std::istringstream lines(*capacity);
  std::string name, amount;
  const std::string wanted = fmt::format("nvidia/{}/vidmem", Lower(gpu.pci_bus_id));
  while (lines >> name >> amount) {
    if (Lower(name) == wanted) return name;
  }
  return "";
}

Status KernelLimits::CanHold(const Gpu& gpu) const {
  if (!tree_) return tl::unexpected(tree_.error());
  if (Status may = (*tree_)->CheckWritable(); !may) return may;
  const auto read = driver_.GetMemoryLimits(gpu.uuid, (*tree_)->mount());
  if (read) return {};
  if (read.error().code == ErrorCode::kUnsupported && !RegionOf(gpu).empty()) return {};
  return tl::unexpected(read.error());
}

// A controller is for the children of whoever lists it. The root may always list it; a namespace's
// root has processes, and may not.
Status KernelLimits::LetChildrenUseDmem() {
  for (const std::string& group : {std::string(), std::string(kOurs)}) {
    const auto used = (*tree_)->Read(group, "cgroup.subtree_control");
    if (used && HasWord(*used, kController)) continue;
    Status set = (*tree_)->Write(group, "cgroup.subtree_control", fmt::format("+{}", kController));
    if (!set) return set;
  }
  return {};
}

std::string KernelLimits::GroupAt(const std::string& folder) const {
  const std::string& mount = (*tree_)->mount();
  return folder.size() > mount.size() ? folder.substr(mount.size() + 1) : "";
}

Result<KernelGroup> KernelLimits::Make(const std::string& name, const Gpu& gpu, Bytes most) {
  if (Status can = CanHold(gpu); !can) return tl::unexpected(can.error());
  const std::string at = fmt::format("{}/{}{}", kOurs, prefix_, name);
  KernelGroup group{(*tree_)->FolderOf(at), gpu.uuid, ""};
  const bool by_driver = driver_.GetMemoryLimits(gpu.uuid, (*tree_)->mount()).has_value();
  if (!by_driver) group.region = RegionOf(gpu);

  if (Status made = (*tree_)->MakeGroup(kOurs); !made) return tl::unexpected(made.error());
  // The driver keeps its limits itself where the controller is not to be had.
  if (Status shared = LetChildrenUseDmem(); !shared && !by_driver)
    return tl::unexpected(shared.error());
  if (Status made = (*tree_)->MakeGroup(at); !made) return tl::unexpected(made.error());
  Status set = SetMost(group, most);
  if (set) return group;
  (void)Remove(group);
  return tl::unexpected(set.error());
}

Status KernelLimits::SetMost(const KernelGroup& group, Bytes most) {
  if (!tree_) return tl::unexpected(tree_.error());
  if (group.region.empty())
    return driver_.SetMemoryLimits(group.gpu_uuid, group.folder, {Bytes{0}, most});
  Status set = (*tree_)->Write(GroupAt(group.folder), "dmem.max",
                               fmt::format("{} {}", group.region, most.value));
  if (!set) return set;
  const auto now = Most(group);
  if (!now) return tl::unexpected(now.error());
  if (*now == most) return {};
  return Fail(ErrorCode::kFailed,
              fmt::format("{}/dmem.max took {} and says {}", group.folder, FormatBytes(most),
                          *now ? FormatBytes(**now) : "max"));
}

Result<std::optional<Bytes>> KernelLimits::Most(const KernelGroup& group) const {
  if (!tree_) return tl::unexpected(tree_.error());
  if (group.region.empty()) {
    const auto read = driver_.GetMemoryLimits(group.gpu_uuid, group.folder);
    if (!read) return tl::unexpected(read.error());
    return read->limits.hard;
  }
  const auto text = (*tree_)->Read(GroupAt(group.folder), "dmem.max");
  if (!text) return tl::unexpected(text.error());
  const std::string amount = AmountOf(*text, group.region);
  if (amount.empty() || amount == "max") return std::optional<Bytes>();
  uint64_t bytes = 0;
  const auto [end, wrong] = std::from_chars(amount.data(), amount.data() + amount.size(), bytes);
  if (wrong != std::errc() || end != amount.data() + amount.size())
    return Fail(ErrorCode::kFailed, fmt::format("{}/dmem.max says '{}'", group.folder, amount));
  return std::optional<Bytes>(Bytes{bytes});
}

Status KernelLimits::Enter(const KernelGroup& group, int pid) {
  if (!tree_) return tl::unexpected(tree_.error());
  return (*tree_)->Write(GroupAt(group.folder), kGroupMembers, fmt::format("{}", pid));
}

Status KernelLimits::Remove(const KernelGroup& group) {
  if (!tree_) return tl::unexpected(tree_.error());
  const std::string at = GroupAt(group.folder);
  const auto members = (*tree_)->Read(at, kGroupMembers);
  if (members && members->find_first_not_of(" \n") != std::string::npos) {
    return Fail(ErrorCode::kBusy, group.folder + " still has processes",
                "it goes when they have ended");
  }
  // The driver wants its limits gone before the group; what it no longer knows has none.
  if (group.region.empty() && members) ForgetInDriver(group);
  return (*tree_)->RemoveGroup(at);
}

// What cannot be told to the driver is no reason to keep the group.
void KernelLimits::ForgetInDriver(const KernelGroup& group) {
  std::vector<std::string> uuids{group.gpu_uuid};
  if (group.gpu_uuid.empty()) {
    uuids.clear();
    const auto machine = driver_.Read();
    if (!machine) return;
    for (const Gpu& gpu : machine->gpus) uuids.push_back(gpu.uuid);
  }
  for (const std::string& uuid : uuids) (void)driver_.SetMemoryLimits(uuid, group.folder, {});
}

std::vector<std::string> KernelLimits::Folders() const {
  std::vector<std::string> folders;
  if (!tree_) return folders;
  for (const std::string& name : (*tree_)->GroupsIn(kOurs)) {
    if (name.rfind(prefix_, 0) == 0)
      folders.push_back((*tree_)->FolderOf(std::string(kOurs) + "/" + name));
  }
  return folders;
}

}  // namespace tranche
