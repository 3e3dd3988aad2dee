#pragma once

#include <map>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "edge/driver/cgroup_tree.h"

namespace tranche {

// A tree of groups in memory, for tests, with the kernel's rules: a group needs its parent, goes
// only when it is empty, has the files of a controller only when its parent lists it, and has
// either processes or controllers for its children. Any thread.
class FakeCgroupTree final : public CgroupTree {
 public:
  // `regions`: of the dmem controller, with their sizes; none: the kernel has no such controller.
  explicit FakeCgroupTree(std::map<std::string, uint64_t> regions = {});

  const std::string& mount() const override { return mount_; }
  Status CheckWritable() const override;
  Status MakeGroup(const std::string& group) override;
  Status RemoveGroup(const std::string& group) override;
  std::vector<std::string> GroupsIn(const std::string& group) const override;
  Result<std::string> Read(const std::string& group, const std::string& file) const override;
  Status Write(const std::string& group, const std::string& file, const std::string& text) override;

  // ---- What a test does to it ----

  void ForbidWriting();
  // A process ends, or enters the root.
  void Forget(int pid);
  std::set<int> Members(const std::string& group) const;

 private:
  struct Group {
    std::set<int> processes;
    bool shares_dmem = false;  // with its children
    std::map<std::string, std::string> most;
  };

  bool HasDmem(const std::string& group) const;
  Status SetMost(Group& group, const std::string& text);
  Status MoveTo(const std::string& group, int pid);

  const std::string mount_ = "/sys/fs/cgroup";
  const std::map<std::string, uint64_t> regions_;
  mutable std::mutex mutex_;
  // Everything below is guarded by mutex_.
  std::map<std::string, Group> groups_;
  bool writable_ = true;
};

}  // namespace tranche
