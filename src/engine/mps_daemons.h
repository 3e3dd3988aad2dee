#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/process.h"
#include "edge/driver/mps/mps_control.h"
#include "model/lease.h"

namespace tranche {

// What ended the GPU work of all clients of an MPS server.
struct MpsTrouble {
  std::string device_uuid;
  std::string what;  // "the MPS server (pid 4242) died, ..."
};

// The MPS daemons that Tranche has started, one for each GPU or MIG instance, so that a fault stays
// there. They outlive us, as the replicas do that use them. A device is known by its UUID. Any
// thread.
class MpsDaemons {
 public:
  // Each has a folder below `run`.
  explicit MpsDaemons(std::string run) : folder_(std::move(run) + "/mps") {}

  // The daemon of that device, started if none runs. `most`: what its server lets any process have
  // that becomes a client from now on. kUnsupported where its program is not installed.
  // `partitioned`: it divides the SMs for good, and a client must name its part. kBusy while
  // clients use one that does otherwise.
  Result<MpsDaemonFiles> Ensure(const std::string& device_uuid, const MpsDefaults& most,
                                bool partitioned = false);
  // What was last set there by Ensure(); absent: not by this process. It is not lowered before
  // somebody else comes.
  std::optional<MpsDefaults> MostSetOn(const std::string& device_uuid);
  // A static partition with at least so many of that GPU's SMs, on its daemon that has partitions.
  // All but those `in_use` by others make room for it. What CUDA_MPS_SM_PARTITION is to say.
  Result<std::string> Partition(const std::string& gpu_uuid, int sms,
                                const std::set<std::string>& in_use);
  // Ends those of all devices but these, for which their last clients may need a moment. One whose
  // programs go on stays, until it is asked again.
  void EndOthers(const std::set<std::string>& device_uuids);
  // Of these devices, the one that this process is the MPS server of.
  std::optional<std::string> DeviceOfServer(int pid,
                                            const std::set<std::string>& device_uuids) const;
  // What happened to those of these devices since it was last asked. To be called again and again.
  std::vector<MpsTrouble> Look(const std::set<std::string>& device_uuids);

 private:
  struct Seen {
    std::optional<ProcessId> daemon, server;
    bool faulted = false;
  };
  MpsDaemonFiles FilesOf(const std::string& device_uuid) const;
  // With the mutex held.
  std::string LookAt(const MpsDaemonFiles& files, Seen* seen);

  const std::string folder_;
  std::mutex mutex_;
  std::map<std::string, Seen> seen_;        // by device; guarded by mutex_
  std::map<std::string, MpsDefaults> set_;  // likewise
};

// What one process of a slice may have at most, as an MPS server counts it. `compute`: of the
// server's device.
MpsDefaults MostOfProcess(Bytes memory, const std::optional<Share<Fraction>>& compute);
// The most that any process of the tenants of that device may have.
MpsDefaults MostOfTenants(const std::vector<Lease>& leases, const std::string& device_uuid);

// The control program as it is found from here.
Result<MpsControl> FindMpsControl();

}  // namespace tranche
