#pragma once

#include <map>
#include <mutex>
#include <string>

#include "edge/broker/lease_book.h"
#include "edge/broker/limiter_files.h"
#include "edge/runtime/runtime.h"
#include "edge/store/installation.h"
#include "engine/locked_driver.h"
#include "model/deployment.h"

namespace tranche {

// The slices of replicas that are held by the limiter: a lease in the book for each that runs, and
// what its process must be told. Any thread.
class FractionSlices {
 public:
  FractionSlices(LeaseBook& leases, LockedDriver& driver) : leases_(leases), driver_(driver) {}

  // The slice of a replica that is about to be started so. kUnsupported when nothing could hold its
  // program, and the spec does not say `on_unenforced: warn`.
  Result<LimiterUse> Make(const ReplicaLaunch& start, const Launch& launch, const Slice& slice);
  // The started process has it now.
  void Hold(const ReplicaMark& mark, ProcessId process);
  // Nobody was started.
  void GiveBack(const ReplicaMark& mark);

 private:
  Result<Bytes> ContextCost(const LimiterFiles& files, const std::string& libcuda,
                            const std::string& gpu_uuid);

  LeaseBook& leases_;
  LockedDriver& driver_;
  std::mutex mutex_;
  std::map<std::string, Bytes> context_costs_;  // by GPU; guarded by mutex_
};

}  // namespace tranche
