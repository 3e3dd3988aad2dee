#pragma once

#include <mutex>
#include <set>
#include <string>

#include "edge/driver/mps/mps_control.h"

namespace tranche {

// The MPS daemons that Tranche has started, one for each GPU, so that a fault stays on its GPU.
// They outlive us, as the replicas do that use them. Any thread.
class MpsDaemons {
 public:
  // Each has a folder below `run`.
  explicit MpsDaemons(std::string run) : folder_(std::move(run) + "/mps") {}

  // The daemon of that GPU, started if none runs. kUnsupported where its program is not installed.
  Result<MpsDaemonFiles> Ensure(const std::string& gpu_uuid);
  // Ends those of all GPUs but these. One whose programs still run stays, until it is asked again.
  void EndOthers(const std::set<std::string>& gpu_uuids);

 private:
  MpsDaemonFiles FilesOf(const std::string& gpu_uuid) const;

  const std::string folder_;
  std::mutex mutex_;
};

// The control program as it is found from here.
Result<MpsControl> FindMpsControl();

}  // namespace tranche
