#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/process.h"
#include "base/result.h"
#include "edge/store/installation.h"
#include "model/machine.h"
#include "model/plan.h"
#include "model/receipt.h"
#include "model/status.h"

namespace tranche {

// How far one step of an apply has come. `Intended` is written before anything is done, so after a
// crash it means "perhaps done".
enum class StepPhase { kIntended, kDone, kSkipped, kFailed, kUndoIntended, kUndone, kUndoFailed };

struct StepRecord {
  int step_id = 0;
  StepPhase phase = StepPhase::kIntended;
  std::string detail = {};  // what Do returned
  Time started = {}, finished = {};

  bool operator==(const StepRecord&) const = default;
};

// One run of a plan. It is open from before its first step until it was completed or undone.
struct ApplyRecord {
  int64_t id = 0;  // given by the store
  Plan plan;
  Installation before, after;
  Time started;
  std::vector<StepRecord> steps;  // those that were begun, by step id
};

// What is known of the process of one replica. Written before the process is started, so that one
// whose pid was never recorded can be told by its generation.
struct ReplicaRecord {
  std::string workload;
  int replica = 0;
  std::string digest;  // WorkloadDigest of what it was started from
  Slice slice;
  uint64_t generation = 0;  // counts the starts
  std::optional<ProcessId> process;
  std::string device_uuid;
  std::optional<int> port;
  int restarts = 0;
  ReplicaState state = ReplicaState::kStarting;
  std::string detail;
  std::optional<Time> started_at, lease_ends_at;

  bool operator==(const ReplicaRecord&) const = default;
};

// Something worth telling later: a restart, an XID, a slice made again.
struct EventRecord {
  Time time;
  std::string subject;  // "phi/0", "gpu0"
  std::string message;
  bool operator==(const EventRecord&) const = default;
};

// The state that outlives the daemon, in one SQLite file. Every method is one transaction, on the
// disk when it returns. All methods are safe from any thread. The caller holds the StateLock.
class Store {
 public:
  // Makes the file when there is none. A file that is not ours, is broken, or was written by a
  // newer Tranche is left as it is and refused with what to do about it.
  static Result<std::unique_ptr<Store>> Open(const std::string& path);
  virtual ~Store() = default;

  // Made up when the store was: tells two Tranches on one machine apart.
  virtual const std::string& deployment_id() const = 0;

  virtual Result<Installation> GetInstallation() = 0;
  // For changes outside an apply: `stop` and `restart`.
  virtual Status PutInstallation(const Installation& installation) = 0;

  // ---- The journal ----
  // kFailed when another apply is still open. Returns the id.
  virtual Result<int64_t> BeginApply(const ApplyRecord& apply) = 0;
  virtual Status PutStep(int64_t apply_id, const StepRecord& step) = 0;
  // Closes the apply, keeps its receipt, and makes `installation` the current one, all or nothing.
  virtual Status CloseApply(int64_t apply_id, const Receipt& receipt,
                            const Installation& installation) = 0;
  // What an interrupted process left behind.
  virtual Result<std::optional<ApplyRecord>> FindOpenApply() = 0;
  // The latest `count`, newest first.
  virtual Result<std::vector<Receipt>> GetReceipts(int count) = 0;

  // ---- Replicas ----
  virtual Result<std::vector<ReplicaRecord>> GetReplicas() = 0;
  virtual Status PutReplica(const ReplicaRecord& record) = 0;
  virtual Status DeleteReplica(const std::string& workload, int replica) = 0;

  // ---- Events ----
  virtual Status AddEvent(const EventRecord& event) = 0;
  // The latest `count`, newest first.
  virtual Result<std::vector<EventRecord>> GetEvents(int count) = 0;
};

}  // namespace tranche
