#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "client/client.h"
#include "engine/engine.h"

namespace tranche {

// What verbs do to a deployment, whether the engine sits in the daemon or in this process.
class Operations {
 public:
  virtual ~Operations() = default;
  virtual Result<Machine> Inventory() = 0;
  virtual Result<Deployment> GetDeployment() = 0;
  virtual Result<Spec> GetSpec() = 0;
  virtual Status SetDrained(const std::string& gpu_uuid, bool drained) = 0;
  virtual Result<Plan> MakePlan(const Spec& spec, const PlanOptions& options) = 0;
  virtual Result<Plan> MakeDownPlan() = 0;
  // `interrupted` is asked now and then; when it says yes, the caller stops waiting (kInterrupted),
  // not the work.
  virtual Result<Receipt> Apply(const Plan& plan, const ApplyOptions& options,
                                const StepProgress& progress,
                                const std::function<bool()>& interrupted) = 0;
  virtual Result<Receipt> Down(const ApplyOptions& options, const StepProgress& progress,
                               const std::function<bool()>& interrupted) = 0;
  virtual Result<SystemStatus> GetStatus() = 0;
  virtual Result<Engine::LogPart> Logs(const std::string& workload, int replica, int lines,
                                       std::optional<uint64_t> from) = 0;
  virtual Status Stop(const std::string& workload, std::optional<int> replica) = 0;
  virtual Status Restart(const std::string& workload, std::optional<int> replica) = 0;
  // One turn of supervision where this process is the supervisor; nothing where the daemon is.
  virtual void Tick() = 0;
};

std::unique_ptr<Operations> MakeDaemonOperations(std::unique_ptr<Client> client);
// `engine` must outlive the result.
std::unique_ptr<Operations> MakeLocalOperations(Engine& engine,
                                                std::shared_ptr<const Catalog> catalog);

}  // namespace tranche
