#pragma once

#include <map>
#include <mutex>
#include <string>

#include "edge/broker/lease_book.h"
#include "edge/broker/limiter_files.h"
#include "edge/runtime/runtime.h"
#include "edge/store/installation.h"
#include "engine/locked_driver.h"
#include "engine/mps_daemons.h"
#include "model/deployment.h"

namespace tranche {

// The slices of replicas that are held by the limiter, alone or beneath it by an MPS server: a
// lease in the book for each that runs, and what its process must be told. Any thread.
class FractionSlices {
 public:
  FractionSlices(LeaseBook& leases, LockedDriver& driver, MpsDaemons& mps)
      : leases_(leases), driver_(driver), mps_(mps) {}

  static bool Holds(Mechanism mechanism, const Workload& workload) {
    return mechanism == Mechanism::kFraction || mechanism == Mechanism::kMps ||
           (mechanism == Mechanism::kTimeSlicing && workload.memory_cap);
  }

  // Whether its SMs are its own, in a static partition of its MPS server.
  static bool HasPartition(const Workload& workload, const Slice& slice);

  // The slice of a replica that is about to be started so. kUnsupported when nothing could hold its
  // program, and the spec does not say `on_unenforced: warn`.
  Result<LimiterUse> Make(const ReplicaLaunch& start, const Launch& launch, const Slice& slice);
  // The started process has it now.
  void Hold(const ReplicaMark& mark, ProcessId process);
  // Nobody was started.
  void GiveBack(const ReplicaLaunch& start);

 private:
  Result<LimiterUse> MakeSlice(const ReplicaLaunch& start, const Launch& launch,
                               const Slice& slice);
  void LeaveMps(const ReplicaLaunch& start);
  Result<Bytes> ContextCost(const LimiterFiles& files, const std::string& libcuda,
                            const std::string& gpu_uuid, const ReplicaLaunch& start,
                            const std::map<std::string, std::string>& as_client);

  // Of a client of its device's server. `compute`: of that device.
  Result<std::map<std::string, std::string>> MpsEnvironment(
      const ReplicaLaunch& start, const Workload& workload,
      const std::optional<Share<Fraction>>& compute, const Slice& slice, const Gpu& gpu);
  // `leases`: all that there are.
  Result<std::string> PartitionFor(const ReplicaLaunch& start, const Slice& slice, const Gpu& gpu,
                                   const std::vector<Lease>& leases);

  LeaseBook& leases_;
  LockedDriver& driver_;
  MpsDaemons& mps_;
  std::mutex mutex_;
  std::map<std::string, std::string> partitions_;  // by lease; guarded by mutex_
  std::map<std::string, Bytes> context_costs_;  // by device and whether by MPS; guarded by mutex_
};

}  // namespace tranche
