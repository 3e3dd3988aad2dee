#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/process.h"
#include "edge/broker/gpu_arbiter.h"
#include "edge/broker/slice_store.h"
#include "edge/broker/turns_table.h"
#include "edge/driver/kernel_limits.h"
#include "model/lease.h"
#include "model/machine.h"

namespace tranche {

// A MIG instance that several slices share.
struct SharedInstance {
  std::string uuid;
  Bytes memory;
  int sm_count = 0;  // 0: not known
};

// The leases of a machine: who holds which part of which GPU, and the tables through which the
// limiters in the programs keep to it. A lease lasts until whoever it was granted to (a `tranche
// run`, or a replica of a workload) gives it back, or until that and all processes of the program
// are gone. Leases outlive this object and are found again. Any thread.
class LeaseBook {
 public:
  // `folder`: of what is known of the leases, and of the paths of their tables, which are
  // `tables`'. `kernel` holds the memory of leases as well, where it can; none: the limiter alone
  // does. Both outlive this object.
  LeaseBook(std::string folder, TableHost& tables, std::shared_ptr<Clock> clock,
            KernelLimits* kernel = nullptr);
  ~LeaseBook();
  LeaseBook(const LeaseBook&) = delete;
  LeaseBook& operator=(const LeaseBook&) = delete;

  // Takes over what an earlier daemon granted and is still held. What cannot be read is left out,
  // and said.
  std::vector<std::string> Open();

  // What would hold the memory of such a lease there: fills in `cgroup` or `why_not_harder`.
  void ForeseeGuarantee(const Gpu& gpu, Lease* lease) const;

  // Whoever calls has found that the GPU has room for it. The runner itself enters the lease's
  // cgroup, so that whatever it starts is in it from its first instruction.
  Result<Lease> Grant(const LeaseRequest& request, const Gpu& gpu, uint32_t uid, ProcessId runner);
  // To a replica that is about to start; what its start before had is given back. Its time on the
  // GPU is always shared in turns, so that it disturbs nobody: without an ask it has what is spare.
  // Until SetRunner the caller's own process stands for it. `instance`: of the GPU, where it is a
  // part of that; its time is then the instance's.
  Result<Lease> GrantToReplica(const std::string& team, const std::string& workload, int replica,
                               const LeaseRequest& request, const Gpu& gpu, uint32_t uid,
                               const std::optional<SharedInstance>& instance = std::nullopt);
  static std::string IdOfReplica(const std::string& workload, int replica);
  void SetRunner(const std::string& id, ProcessId runner);
  // Within one turn of the GPU. Memory that is held beyond a new limit stays held.
  Status Change(const std::string& id, const LeaseChange& change);
  // What replicas may hold for now, by lease: at least what they were granted. Those not named, and
  // all others, may hold what they were granted. Also holds for leases that are granted later.
  void SetLoans(std::map<std::string, Bytes> may_hold);
  // For whoever looks at it; stays until it ends.
  void SetDetail(const std::string& id, const std::string& detail);
  void End(const std::string& id);
  // Gives back what the dead held.
  void Tick();
  // The same for one table, of a slice or of turns.
  void Reap(const std::string& table);

  // As they are now, those of `tranche run` and those of replicas; slice_file is left out.
  std::vector<Lease> List();
  Result<Lease> Find(const std::string& id);
  // Of the turns of a GPU or MIG instance, among users and teams.
  HandOvers HandOversOn(const std::string& device_uuid);
  // The processes of the lease that use a GPU through the limiter, as they see their own pid.
  std::vector<int> Members(const std::string& id);
  // Where the lease's processes find its table, and those of the turns that it takes.
  std::vector<std::string> TablesOf(const Lease& lease) const;
  // The lease whose table a process was told of; "" when it is none of these.
  std::string IdOfSliceFile(const std::string& path);

 private:
  struct Entry {
    Lease lease;
    ProcessId runner;
    int priority = 0;
    uint32_t line = 0;  // in the table of its party
    std::unique_ptr<SliceStore> store;
    KernelGroup group;  // of lease.cgroup; without a folder: none
  };

  std::string RecordPath(const std::string& id) const { return folder_ + "/" + id + ".json"; }
  // The turns of one GPU or MIG instance. The arbiter goes first: it reads the tables.
  struct Turns {
    std::map<std::string, std::unique_ptr<TurnsTable>> parties;
    GpuArbiter arbiter;
  };

  // `entry` says who and when; the rest follows from the request.
  Result<Lease> Add(Entry entry, const LeaseRequest& request, const Gpu& gpu,
                    const std::optional<SharedInstance>& instance = std::nullopt);
  Status Record(const Entry& entry) const;
  Result<Entry> Read(const std::string& path);
  Result<TurnsTable*> TurnsOf(const Lease& lease);
  TurnsTable* FindTurns(const Lease& lease) const;
  // Tells the arbiter what the slices of a party have been promised.
  void Weigh(const std::string& device_uuid, const std::string& party);
  Lease AsItIs(const Entry& entry);
  // Reaps it, and ends its lease when nobody has it any more.
  void ReapEntry(std::map<std::string, Entry>::iterator entry);
  void ApplyLoan(Entry& entry);
  // What the slice may hold from now on, for the limiter and for the kernel.
  void SetMost(Entry& entry, Bytes most);
  // The kernel holds the memory of an entry from now on, or the lease says why not.
  void HoldByKernel(Entry& entry, const Gpu& gpu);
  // As an earlier daemon set it; where that is lost and cannot be had again, the lease says so.
  void FindKernelLimit(Entry& entry);
  void LoseKernelLimit(Entry& entry, const Error& why);
  void RemoveGroup(KernelGroup group);
  void RemoveEmptyGroups();
  void Remove(std::map<std::string, Entry>::iterator entry);

  const std::string folder_;
  TableHost& tables_;
  const std::shared_ptr<Clock> clock_;
  KernelLimits* const kernel_;
  std::mutex mutex_;                  // guards all below
  std::vector<KernelGroup> leaving_;  // of leases that ended, with processes in them still
  std::map<std::string, Entry> entries_;
  std::map<std::string, Bytes> loans_;
  std::map<std::string, std::unique_ptr<Turns>> turns_;  // by device
};

}  // namespace tranche
