#include "edge/driver/fake/fake_cgroup_tree.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

namespace tranche {
namespace {

std::string ParentOf(const std::string& group) {
  const size_t slash = group.rfind('/');
  return slash == std::string::npos ? "" : group.substr(0, slash);
}

bool IsNumber(const std::string& text) {
  return !text.empty() && text.find_first_not_of("0123456789") == std::string::npos;
}

}  // namespace

FakeCgroupTree::FakeCgroupTree(std::map<std::string, uint64_t> regions)
    : regions_(std::move(regions)) {
  groups_[""].processes = {1};
}

Status FakeCgroupTree::CheckWritable() const {
  const std::lock_guard lock(mutex_);
  if (writable_) return {};
  return Fail(ErrorCode::kPermission, mount_ + ": Read-only file system");
}

Status FakeCgroupTree::MakeGroup(const std::string& group) {
  if (Status may = CheckWritable(); !may) return may;
  const std::lock_guard lock(mutex_);
  if (groups_.count(ParentOf(group)) == 0)
    return Fail(ErrorCode::kNotFound, group + ": No such file or directory");
  groups_[group];
  return {};
}

Status FakeCgroupTree::RemoveGroup(const std::string& group) {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find(group);
  if (found == groups_.end()) return {};
  const bool parent = std::any_of(groups_.begin(), groups_.end(), [&](const auto& other) {
    return !other.first.empty() && ParentOf(other.first) == group;
  });
  if (parent || !found->second.processes.empty())
    return Fail(ErrorCode::kBusy, group + ": Device or resource busy");
  groups_.erase(found);
  return {};
}

std::vector<std::string> FakeCgroupTree::GroupsIn(const std::string& group) const {
  const std::lock_guard lock(mutex_);
  std::vector<std::string> names;
  for (const auto& [name, one] : groups_) {
    if (!name.empty() && ParentOf(name) == group)
      names.push_back(name.substr(group.empty() ? 0 : group.size() + 1));
  }
  return names;
}

bool FakeCgroupTree::HasDmem(const std::string& group) const {
  if (regions_.empty()) return false;
  return group.empty() || groups_.at(ParentOf(group)).shares_dmem;
}

Result<std::string> FakeCgroupTree::Read(const std::string& group, const std::string& file) const {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find(group);
  std::string text;
  if (found != groups_.end() && file == kGroupMembers) {
    for (const int pid : found->second.processes) text += fmt::format("{}\n", pid);
    return text;
  }
  if (found != groups_.end() && file == "cgroup.controllers")
    return std::string(HasDmem(group) ? "cpu dmem\n" : "cpu\n");
  if (found != groups_.end() && file == "cgroup.subtree_control")
    return std::string(found->second.shares_dmem ? "dmem\n" : "\n");
  if (group.empty() && file == "dmem.capacity" && HasDmem(group)) {
    for (const auto& [region, size] : regions_) text += fmt::format("{} {}\n", region, size);
    return text;
  }
  if (found != groups_.end() && file == "dmem.max" && !group.empty() && HasDmem(group)) {
    for (const auto& [region, size] : regions_) {
      const auto most = found->second.most.find(region);
      text +=
          fmt::format("{} {}\n", region, most != found->second.most.end() ? most->second : "max");
    }
    return text;
  }
  return Fail(ErrorCode::kNotFound, group + "/" + file + ": No such file or directory");
}

Status FakeCgroupTree::Write(const std::string& group, const std::string& file,
                             const std::string& text) {
  if (Status may = CheckWritable(); !may) return may;
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find(group);
  if (found != groups_.end() && file == kGroupMembers && IsNumber(text))
    return MoveTo(group, std::stoi(text));
  if (found != groups_.end() && file == "cgroup.subtree_control" && text == "+dmem") {
    if (!HasDmem(group)) return Fail(ErrorCode::kFailed, "Invalid argument");
    if (!group.empty() && !found->second.processes.empty())
      return Fail(ErrorCode::kBusy, "Device or resource busy");
    found->second.shares_dmem = true;
    return {};
  }
  if (found != groups_.end() && file == "dmem.max" && !group.empty() && HasDmem(group))
    return SetMost(found->second, text);
  return Fail(ErrorCode::kNotFound, group + "/" + file + ": No such file or directory");
}

Status FakeCgroupTree::SetMost(Group& group, const std::string& text) {
  const size_t space = text.find(' ');
  const std::string region = text.substr(0, space);
  const std::string amount = space == std::string::npos ? "" : text.substr(space + 1);
  if (regions_.count(region) == 0 || !(amount == "max" || IsNumber(amount)))
    return Fail(ErrorCode::kFailed, "Invalid argument");
  // In whole pages, as the kernel counts.
  group.most[region] = amount == "max" ? amount : std::to_string(std::stoull(amount) / 4096 * 4096);
  return {};
}

Status FakeCgroupTree::MoveTo(const std::string& group, int pid) {
  if (!group.empty() && groups_[group].shares_dmem)
    return Fail(ErrorCode::kBusy, "Device or resource busy");
  for (auto& [name, other] : groups_) other.processes.erase(pid);
  groups_[group].processes.insert(pid);
  return {};
}

void FakeCgroupTree::ForbidWriting() {
  const std::lock_guard lock(mutex_);
  writable_ = false;
}

void FakeCgroupTree::Forget(int pid) {
  const std::lock_guard lock(mutex_);
  for (auto& [name, group] : groups_) group.processes.erase(pid);
}

std::set<int> FakeCgroupTree::Members(const std::string& group) const {
  const std::lock_guard lock(mutex_);
  const auto found = groups_.find(group);
  return found != groups_.end() ? found->second.processes : std::set<int>{};
}

}  // namespace tranche
