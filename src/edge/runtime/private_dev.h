#pragma once

#include <memory>
#include <string>
#include <vector>

#include "edge/runtime/runtime.h"

namespace tranche {

// The nodes below /dev that a replica with these grants may open: nvidiactl, nvidia-uvm, its GPUs,
// and the capability nodes of its MIG instances, whose minor numbers
// /proc/driver/nvidia/capabilities tells. Relative to /dev: "nvidia0", "nvidia-caps/nvidia-cap12".
Result<std::vector<std::string>> GrantedNodes(const std::string& root,
                                              const std::vector<DeviceGrant>& grants);

// Whether `root`/dev has NVIDIA nodes at all.
bool HasDeviceNodes(const std::string& root);

// A /dev for one process: the usual harmless nodes, and those GPU nodes that it was given.
// Everything is looked up and allocated beforehand, so that Enter only makes system calls.
class PrivateDev {
 public:
  PrivateDev(const std::string& root, const std::vector<std::string>& gpu_nodes);

  // In a child between fork and exec, as root: a mount namespace of its own with that /dev over the
  // machine's. Returns 0 or an errno. Mounts made later outside still appear inside.
  int Enter() const;

 private:
  struct Entry {
    std::string name;    // relative to /dev
    std::string source;  // below the old /dev, through a descriptor
    bool directory = false;
  };

  std::string old_dev_;
  std::vector<std::string> directories_;  // in /dev, parents first
  std::vector<Entry> entries_;
};

}  // namespace tranche
