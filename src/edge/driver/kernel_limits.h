#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "edge/driver/cgroup_tree.h"
#include "edge/driver/driver.h"

namespace tranche {

// A group of processes that the kernel holds to so much of one GPU's memory.
struct KernelGroup {
  std::string folder;    // "/sys/fs/cgroup/tranche/run-1"
  std::string gpu_uuid;  // the GPU it is about
  std::string region;    // its name in dmem.max; "": the NVIDIA driver keeps the limit
  bool operator==(const KernelGroup&) const = default;
};

// Holds processes to an amount of a GPU's memory in the kernel, whatever they do: by the limits of
// the NVIDIA driver (615 and newer) over cgroups, or where that offers none by cgroup v2's own dmem
// controller. Neither counts managed memory. Groups are made in a folder of ours below the root of
// the tree, outlive this object, and are found again by their folder. Any thread.
class KernelLimits {
 public:
  // `tree`: or why there is none. `prefix` tells groups of this Tranche from others on the machine.
  KernelLimits(Driver& driver, Result<std::unique_ptr<CgroupTree>> tree, std::string prefix)
      : driver_(driver), tree_(std::move(tree)), prefix_(std::move(prefix)) {}

  // Whether a group could be held to memory of that GPU. kUnsupported and kPermission say why not.
  Status CanHold(const Gpu& gpu) const;
  // A new, empty group that may hold `most` of the GPU, read back. Nothing is left when it fails.
  Result<KernelGroup> Make(const std::string& name, const Gpu& gpu, Bytes most);
  // What is held beyond it stays held.
  Status SetMost(const KernelGroup& group, Bytes most);
  // Absent: no limit is set (any more).
  Result<std::optional<Bytes>> Most(const KernelGroup& group) const;
  // That process, and all that it starts from now on.
  Status Enter(const KernelGroup& group, int pid);
  // With its limit; without gpu_uuid, on whichever GPU it is. kBusy while processes are in it: it
  // stays as it is.
  Status Remove(const KernelGroup& group);
  // The folders of all that this Tranche made and nobody removed.
  std::vector<std::string> Folders() const;

 private:
  // The name of the GPU's memory for the dmem controller; "" when that does not know it.
  std::string RegionOf(const Gpu& gpu) const;
  Status LetChildrenUseDmem();
  void ForgetInDriver(const KernelGroup& group);
  std::string GroupAt(const std::string& folder) const;

  Driver& driver_;
  const Result<std::unique_ptr<CgroupTree>> tree_;
  const std::string prefix_;
};

// A prefix for whoever keeps its state in `directory`: two on one machine never meet.
std::string KernelGroupPrefix(const std::string& directory);

}  // namespace tranche
