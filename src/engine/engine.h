#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "catalog/catalog.h"
#include "edge/driver/driver.h"
#include "model/deployment.h"
#include "model/lease.h"
#include "model/machine.h"
#include "model/plan.h"
#include "model/receipt.h"
#include "model/spec.h"
#include "model/status.h"
#include "stage/plan/planner.h"

namespace tranche {

// Where Tranche keeps things. Root: /run/tranche, /var/lib/tranche, /etc/tranche; a user: the XDG
// directories; $TRANCHE_STATE_DIR wins over both.
struct Paths {
  std::string state;  // journal, receipts, logs
  std::string run;    // socket, lock, pid files, nginx
  std::string config;
  std::string socket() const { return run + "/tranche.sock"; }

  static Paths FromEnvironment();
};

// On whose behalf something is done. Workloads run as this user; root needs allow_root.
struct Caller {
  uint32_t uid = 0;
  uint32_t gid = 0;
};

struct ApplyOptions {
  Caller caller;
  bool allow_root = false;
  bool adopt = false;
};

// What happens while a plan is applied: called before and after each step, from the applying
// thread.
using StepProgress = std::function<void(const StepReceipt&)>;

// The stages in order, as functions: what `apply` means, for the CLI's --local and for the daemon
// alike. Owns the state directory through its lock, from Open until destruction. All methods are
// safe from any thread; those that change the machine exclude each other.
class Engine {
 public:
  struct Parts {
    std::unique_ptr<Driver> driver;
    std::shared_ptr<const Catalog> catalog;
    std::shared_ptr<Clock> clock;
    Paths paths;
    std::string root = "/";  // where /proc is looked for
  };

  // kBusy, naming the pid, when another process holds the state directory. Finishes or undoes what
  // an interrupted apply left behind (the journal says which) and adopts the workloads that still
  // run.
  static Result<std::unique_ptr<Engine>> Open(Parts parts);
  virtual ~Engine() = default;

  virtual Result<Machine> Inventory() = 0;
  virtual Result<Plan> MakePlan(const Spec& spec, const PlanOptions& options) = 0;
  // Refuses with kStale (saying what moved) a plan made for another machine or deployment, with
  // kBusy a plan whose steps meet someone's work, before the first step. Returns the receipt also
  // when steps failed and were undone (receipt.error says why); an error only when nothing was
  // tried.
  virtual Result<Receipt> Apply(const Plan& plan, const ApplyOptions& options,
                                const StepProgress& progress) = 0;
  virtual Result<Receipt> Down(const ApplyOptions& options, const StepProgress& progress) = 0;
  virtual Result<SystemStatus> GetStatus() = 0;
  // The last `lines` lines of a replica's log, oldest first, from byte `from` on when given; `next`
  // is where to go on reading (to follow: ask again from there).
  struct LogPart {
    std::string text;
    uint64_t next = 0;
  };
  virtual Result<LogPart> Logs(const std::string& workload, int replica, int lines,
                               std::optional<uint64_t> from) = 0;
  // Of one replica, or of all when absent.
  virtual Status Stop(const std::string& workload, std::optional<int> replica) = 0;
  virtual Status Restart(const std::string& workload, std::optional<int> replica) = 0;
  virtual Result<Deployment> GetDeployment() = 0;
  // What was applied last, with nothing in it when nothing was.
  virtual Result<Spec> GetSpec() = 0;
  // From now on nothing new is placed on the GPU, or it is again; outlives the daemon and every
  // plan. Moves nobody: a plan made after it does. kNotFound for a GPU that is not here.
  virtual Status SetDrained(const std::string& gpu_uuid, bool drained) = 0;

  // A part of a GPU for a program that the caller's process `pid` is about to start; ends with it.
  // kDoesNotFit, with the reason for each GPU that was meant, when none has room.
  virtual Result<Lease> GrantLease(const LeaseRequest& request, const Caller& caller, int pid) = 0;
  // kPermission for a lease of somebody else's, unless the caller is root; kDoesNotFit when others
  // hold what is asked for.
  virtual Result<Lease> ChangeLease(const std::string& id, const LeaseChange& change,
                                    const Caller& caller) = 0;
  virtual Status EndLease(const std::string& id, const Caller& caller) = 0;

  // One turn of supervision: reaps and restarts workloads, checks health, takes backends in and out
  // of the routes, rotates logs, ends leases, handles driver events, re-establishes the plan when
  // instances vanished. Never blocks for long; call it a few times per second.
  virtual void Tick() = 0;
  // Stops every workload gracefully and the router; for `apply --local` when it is interrupted. The
  // layout and the store stay.
  virtual void StopAll() = 0;
};

}  // namespace tranche
