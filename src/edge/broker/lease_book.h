#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/process.h"
#include "edge/broker/slice_store.h"
#include "edge/broker/turns_table.h"
#include "model/lease.h"
#include "model/machine.h"

namespace tranche {

// The leases of a machine: who holds which part of which GPU, and the tables through which the
// limiters in the programs keep to it. A lease lasts until its `tranche run` gives it back, or
// until that and all processes of the program are gone. Leases outlive this object and are found
// again. Any thread.
class LeaseBook {
 public:
  // `folder`: where the tables lie and what is known of them.
  LeaseBook(std::string folder, std::shared_ptr<Clock> clock);
  ~LeaseBook();
  LeaseBook(const LeaseBook&) = delete;
  LeaseBook& operator=(const LeaseBook&) = delete;

  // Takes over what an earlier daemon granted and is still held. What cannot be read is left out,
  // and said.
  std::vector<std::string> Open();

  // Whoever calls has found that the GPU has room for it.
  Result<Lease> Grant(const LeaseRequest& request, const Gpu& gpu, uint32_t uid, ProcessId runner);
  // Within one turn of the GPU. Memory that is held beyond a new limit stays held.
  Status Change(const std::string& id, const LeaseChange& change);
  void End(const std::string& id);
  // Gives back what the dead held.
  void Tick();

  // As they are now; slice_file is left out.
  std::vector<Lease> List();
  Result<Lease> Find(const std::string& id);
  // The processes of the lease that use a GPU through the limiter, as they see their own pid.
  std::vector<int> Members(const std::string& id);

 private:
  struct Entry {
    Lease lease;
    ProcessId runner;
    int priority = 0;
    std::optional<uint32_t> line;
    std::unique_ptr<SliceStore> store;
  };

  std::string RecordPath(const std::string& id) const { return folder_ + "/" + id + ".json"; }
  Status Record(const Entry& entry) const;
  Result<Entry> Read(const std::string& path);
  Result<TurnsTable*> TurnsOf(const std::string& gpu_uuid, uint32_t uid);
  Lease AsItIs(const Entry& entry);
  void Remove(std::map<std::string, Entry>::iterator entry);

  const std::string folder_;
  const std::shared_ptr<Clock> clock_;
  std::mutex mutex_;  // guards all below
  std::map<std::string, Entry> entries_;
  std::map<std::string, std::unique_ptr<TurnsTable>> turns_;  // by GPU
};

}  // namespace tranche
