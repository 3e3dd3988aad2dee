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

// A slice whose programs are clients.
struct MpsTenant {
  std::string lease;  // its id
  uint32_t uid = 0;
  MpsDefaults most;  // for each of its processes
  bool operator==(const MpsTenant&) const = default;
};

// Where a tenant's programs are sent.
struct MpsPlace {
  MpsDaemonFiles files;
  // What is most for it is kept by the server, in a namespace of its own. Else the server keeps
  // what is most for any tenant, and the environment of its programs is to say its own.
  bool apart = false;
};

// What the server of a device lets a process have.
struct MpsCeilings {
  bool apart = false;        // each tenant's own
  bool partitioned = false;  // SMs are divided for good
  MpsDefaults most;          // of those that are not apart, any process
};

// The MPS daemons that Tranche has started, one for each GPU or MIG instance, so that a fault stays
// there. They outlive us, as the replicas do that use them. A device is known by its UUID. Any
// thread.
class MpsDaemons {
 public:
  // Each has a folder below `run`.
  explicit MpsDaemons(std::string run) : folder_(std::move(run) + "/mps") {}

  // Makes room for a tenant on the daemon of that device, which is started if none runs. Its limits
  // hold for whoever becomes a client from now on. kUnsupported where the program is not installed.
  // `partitioned`: the daemon divides the SMs for good, and a client must name its part. kBusy
  // while clients use one that does otherwise.
  Result<MpsPlace> Ensure(const std::string& device_uuid, const MpsTenant& tenant,
                          bool partitioned = false);
  // It has its lease now, or came to nothing.
  void Arrive(const std::string& device_uuid, const std::string& lease);
  void Leave(const std::string& device_uuid, const std::string& lease);
  // Those that have a lease there now: what only others needed falls. One that Ensure() was asked
  // for and that has no lease yet keeps its room.
  void Settle(const std::string& device_uuid, const std::vector<MpsTenant>& tenants);
  // Absent where no daemon runs.
  std::optional<MpsCeilings> CeilingsOn(const std::string& device_uuid);
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
  struct Tenancy {
    MpsTenant tenant;
    bool has_lease = false;
  };
  MpsDaemonFiles FilesOf(const std::string& device_uuid) const;
  // With the mutex held, as all that follow.
  std::string LookAt(const MpsDaemonFiles& files, Seen* seen);
  // A daemon of that kind, or of the protocol that is there and in use.
  Result<MpsDaemonKind> Start(const MpsControl& control, const std::string& device_uuid,
                              MpsDaemonKind kind);
  Result<MpsPlace> Admit(const MpsControl& control, const MpsDaemonFiles& files,
                         const MpsTenant& tenant);
  Status Raise(const MpsControl& control, const MpsDaemonFiles& files, const MpsDefaults& most);
  MpsDefaults MostOn(const std::string& device_uuid, bool partitioned) const;
  // False: some namespace has clients still.
  bool Sweep(const MpsControl& control, const std::string& device_uuid);

  const std::string folder_;
  std::mutex mutex_;
  // By device; guarded by mutex_.
  std::map<std::string, Seen> seen_;
  std::map<std::string, MpsDefaults> set_;
  std::map<std::string, std::map<std::string, Tenancy>> tenants_;  // and by lease
  std::set<std::string> unswept_;
};

// What one process of a slice may have at most, as an MPS server counts it. `compute`: of the
// server's device.
MpsDefaults MostOfProcess(Bytes memory, const std::optional<Share<Fraction>>& compute);
// The slices of that device's MPS server.
std::vector<MpsTenant> MpsTenantsOf(const std::vector<Lease>& leases,
                                    const std::string& device_uuid);
// Of protocol 3, [a-z0-9_]: short, since a socket's path is.
std::string MpsNamespaceOf(const std::string& lease);

// The control program as it is found from here.
Result<MpsControl> FindMpsControl();

}  // namespace tranche
