#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "base/json_fwd.h"
#include "client/http.h"
#include "model/deployment.h"
#include "model/lease.h"
#include "model/machine.h"
#include "model/plan.h"
#include "model/receipt.h"
#include "model/status.h"

namespace tranche {

// The daemon's API (api/openapi.yaml) as typed calls. Errors have the code, message and hint that
// the daemon gave; kUnavailable when there is none. Not thread-safe: one per thread.
class Client {
 public:
  explicit Client(std::string socket) : socket_(std::move(socket)) {}

  struct LogPart {
    std::string text;
    uint64_t next = 0;
  };
  struct ApplyRequest {
    bool allow_root = false;
    bool adopt = false;
  };
  using Progress = std::function<void(const StepReceipt&)>;

  Result<std::string> Version();
  Result<Machine> Inventory();
  Result<Deployment> GetDeployment();
  Result<Spec> GetSpec();
  Status SetDrained(const std::string& gpu_uuid, bool drained);
  Result<SystemStatus> GetStatus();
  Result<Plan> MakePlan(const Spec& spec, bool adopt);
  Result<Plan> MakeDownPlan();
  Result<Receipt> Apply(const Plan& plan, const ApplyRequest& request, const Progress& progress,
                        const Interrupted& interrupted = {});
  Result<Receipt> Down(const ApplyRequest& request, const Progress& progress,
                       const Interrupted& interrupted = {});
  Result<LogPart> Logs(const std::string& workload, int replica, int lines,
                       std::optional<uint64_t> from);
  Status Stop(const std::string& workload, std::optional<int> replica);
  Status Restart(const std::string& workload, std::optional<int> replica);
  // For the calling process.
  Result<Lease> GrantLease(const LeaseRequest& request);
  Result<Lease> ChangeLease(const std::string& id, const LeaseChange& change);
  Status EndLease(const std::string& id);

  const std::string& socket() const { return socket_; }

 private:
  Result<Json> Call(const HttpRequest& request);
  Result<Receipt> Stream(const HttpRequest& request, const Progress& progress,
                         const Interrupted& interrupted);

  std::string socket_;
};

}  // namespace tranche
