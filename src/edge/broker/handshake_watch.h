#pragma once

#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/units.h"
#include "model/machine.h"

namespace tranche {

// Finds the processes that use a GPU without a limiter that has reported in. A limiter reports
// before the driver gives its process anything, so whoever the driver lists and no table knows is
// held to nothing. From one thread.
class HandshakeWatch {
 public:
  explicit HandshakeWatch(std::string root = "/") : root_(std::move(root)) {}

  // Of `processes`, as the driver lists them for one GPU at `now`, those that are alive, are none
  // of `members` (as they see their own pid) and were so the last time, too: one that ends is on
  // the driver's list for a moment longer than in its table.
  std::vector<GpuProcess> Look(const std::string& gpu_uuid,
                               const std::vector<GpuProcess>& processes,
                               const std::set<int>& members, Duration now);

 private:
  const std::string root_;
  // When each was first seen so, by GPU and pid.
  std::map<std::string, std::map<int, Duration>> seen_;
};

// Whether `pid` was started by `ancestor`, or by one that was.
bool DescendsFrom(int pid, int ancestor, const std::string& root = "/");

}  // namespace tranche
