#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"

namespace tranche {

// The kernel's tree of groups of processes (cgroup v2). A group is named by its path below the
// mount, without a slash in front; "" is the root. Any thread.
class CgroupTree {
 public:
  virtual ~CgroupTree() = default;

  // Where it is mounted, as programs of this machine call it: "/sys/fs/cgroup".
  virtual const std::string& mount() const = 0;
  std::string FolderOf(const std::string& group) const {
    return group.empty() ? mount() : mount() + "/" + group;
  }

  // kPermission, with the reason, when groups cannot be made here.
  virtual Status CheckWritable() const = 0;
  // OK when it is there already. Its parent must be there.
  virtual Status MakeGroup(const std::string& group) = 0;
  // kBusy while processes or groups are in it; OK when it is not there.
  virtual Status RemoveGroup(const std::string& group) = 0;
  virtual std::vector<std::string> GroupsIn(const std::string& group) const = 0;
  // A file of a group. kNotFound when it has none of that name.
  virtual Result<std::string> Read(const std::string& group, const std::string& file) const = 0;
  virtual Status Write(const std::string& group, const std::string& file,
                       const std::string& text) = 0;
};

// The tree of a machine, whose /proc and /sys are looked for below `root`. kUnsupported where none
// is mounted.
Result<std::unique_ptr<CgroupTree>> OpenCgroupTree(const std::string& root = "/");

// The folder of a group, in which a process puts itself by writing "0" into kGroupMembers.
constexpr const char* kGroupMembers = "cgroup.procs";

}  // namespace tranche
